"""What chapter 07's explorer shows without delay: the network cut at every share, in every way."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.chapters.structure import ways
from shrink.chapters.structure.cuts import Setting, cut, recompute, settings
from shrink.chapters.structure.view import CURVE, STOPS
from shrink.chapters.structure.ways import NAME, SEEDS
from shrink.classroom.baselines import baseline, baseline_made_of
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split
from shrink.classroom.progress import new_bar
from shrink.classroom.training import accuracy
from shrink.pruning import Group

IMAGES = 500  # of the validation images, that are asked at every share
STATISTICS = 512  # training images from which the norms are computed anew
SECONDS = 20  # for one sweep over all stops

# (setting, whether the norms are computed anew) → accuracies, (stops,)
Curves = dict[tuple[Setting, bool], np.ndarray]


@dataclass(frozen=True)
class Subject:
    """A trained network, its dependency groups, and the images that it is asked and measured on."""

    net: nn.Module
    groups: dict[str, Group]
    asked: Split
    statistics: Tensor  # training images

    def right(self, net: nn.Module, anew: bool = False) -> float:
        """How much of the images the network gets right; `anew`, with new statistics of norms."""
        if anew:
            net = copy.deepcopy(net)
            recompute(net, self.statistics)
        return accuracy(net, self.asked)


def baseline_of(dataset: Dataset, seed: int) -> Subject:
    """The dense baseline of this seed, as a subject."""
    net = baseline(NAME, dataset, seed=seed)
    groups = pruning.dependency_groups(net, dataset.validation.images[:1])
    return Subject(net, groups, asked_of(dataset), dataset.train.images[:STATISTICS])


def asked_of(dataset: Dataset) -> Split:
    """The validation images that are asked."""
    return Split(dataset.validation.images[:IMAGES], dataset.validation.labels[:IMAGES])


def on_show(subject: Subject) -> Curves:
    """Of every setting the accuracies at each of STOPS."""
    made_of = (subject.net, subject.asked, subject.statistics, STOPS, _swept)
    return _curves(kept("sweeps/structure", lambda: _swept(subject, STOPS), *made_of))


def another(dataset: Dataset, seed: int) -> Curves:
    """The same of another seed's network, on CURVE. The network is made only if need be."""

    def make() -> dict[str, Tensor]:
        return _swept(baseline_of(dataset, seed), CURVE)

    images = (asked_of(dataset), dataset.train.images[:STATISTICS])
    made_of = (*baseline_made_of(NAME, dataset, seed), images, CURVE, _swept)
    return _curves(kept("sweeps/structure-another", make, *made_of))


def from_scratch(dataset: Dataset, seed: int) -> float:
    """The accuracy of the small network that was trained from new weights, with half of the
    channels and for as many epochs as training and fine-tuning together.
    """

    def make() -> dict[str, Tensor]:
        right = accuracy(ways.finished("from scratch", dataset, seed), asked_of(dataset))
        return {"right": torch.tensor(right, dtype=torch.float64)}

    recipe = ways.recipe("from scratch", dataset)
    made_of = (*baseline_made_of(NAME, dataset, seed), recipe, ways.from_scratch, asked_of(dataset))
    return float(kept("sweeps/structure-scratch", make, *made_of)["right"])


def first_picture(dataset: Dataset) -> None:
    """Make what the chapter needs up to its explorer."""
    for make in ways.trainings(dataset):
        make()
    on_show(baseline_of(dataset, SEEDS[0]))
    for seed in SEEDS:
        from_scratch(dataset, seed)
    for seed in SEEDS[1:]:
        another(dataset, seed)


def further_cells(dataset: Dataset) -> Iterator[Callable[[], object]]:
    """What makes the things that the cells below the explorer need, one by one."""
    yield from ()


def _swept(subject: Subject, stops: np.ndarray) -> dict[str, Tensor]:
    """For each setting the accuracies with the norms' statistics as they were, and anew."""
    every = list(settings())
    found = torch.full((len(every), 2, len(stops)), torch.nan, dtype=torch.float64)
    with new_bar("cutting at every share", seconds=SECONDS, total=len(every)) as bar:
        for row, setting in enumerate(every):
            for place, share in enumerate(stops.tolist()):
                if setting.granularity == "2:4" and share != 0.5:
                    continue
                made = cut(subject.net, subject.groups, setting, share).net
                for anew in (False, True):
                    found[row, int(anew), place] = subject.right(made, anew)
            bar.update()
    return {"right": found}


def _curves(found: dict[str, Tensor]) -> Curves:
    right = found["right"].numpy()
    return {
        (setting, anew): right[row, int(anew)]
        for row, setting in enumerate(settings())
        for anew in (False, True)
    }

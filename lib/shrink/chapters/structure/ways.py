"""Ways to a network with half of the channels, right ones and a wrong one; trained, and kept."""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.chapters.structure.cuts import each_its_own as taken_apart
from shrink.classroom.baselines import RECIPES, baseline, baseline_made_of
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset
from shrink.classroom.models import ResidualNet
from shrink.classroom.progress import bar_progress, new_bar
from shrink.classroom.training import Recipe, accuracy, train
from shrink.modes import seeded

NAME = "residual"
SEEDS = (0, 1, 2)
SHARE = 0.5  # of the units of a group that stay
ADDED = ("stem", "conv2")  # whose outputs are added, so that they make one group
EPOCHS = 3  # of fine-tuning
SECONDS = 0.012  # a step, on two cores

IMAGE = torch.zeros(1, 1, 28, 28)  # to trace a network with


def smallest_go(net: nn.Module, seed: int) -> nn.Module:
    """Of each group the units with the smallest L1 norm are removed."""
    return _halved(net, partial(pruning.group_scores, net, by="l1"))


def any_go(net: nn.Module, seed: int) -> nn.Module:
    """Units are removed at random."""
    return _halved(net, partial(pruning.group_scores, net, by="random", seed=seed))


def largest_go(net: nn.Module, seed: int) -> nn.Module:
    """The units with the largest L1 norm are removed."""
    return _halved(net, lambda group: -pruning.group_scores(net, group, "l1"))


def linked(net: nn.Module, seed: int) -> nn.Module:
    """Only the stem's group is halved: the stem and conv2 keep the same channels."""
    groups = pruning.dependency_groups(net, _image(net))
    strong = _strongest(pruning.group_scores(net, groups[ADDED[0]], "l1"))
    return pruning.remove_units(net, groups, {ADDED[0]: strong})


def each_its_own(net: nn.Module, seed: int) -> nn.Module:
    """The same wrongly: the stem and conv2 each keep their own strongest filters.

    All shapes fit, and channels are added that do not belong together.
    """
    groups = taken_apart(pruning.dependency_groups(net, _image(net)))
    own = {name: _strongest(pruning.group_scores(net, groups[name], "l1")) for name in ADDED}
    return pruning.remove_units(net, groups, own)


def not_pruned(net: nn.Module, seed: int) -> nn.Module:
    """The whole network, to be trained on for as long."""
    return copy.deepcopy(net)


def from_scratch(net: nn.Module, seed: int) -> nn.Module:
    """A network of half the channels with new weights."""
    hidden = tuple(round(SHARE * len(weight)) for weight in _makers(net))
    with seeded(seed):
        return ResidualNet(hidden).to(net.fc.weight.device)


Way = Callable[[nn.Module, int], nn.Module]  # the dense network and a seed → what is trained
WORTH: dict[str, Way] = {
    "smallest removed": smallest_go,
    "random removed": any_go,
    "largest removed": largest_go,
    "from scratch": from_scratch,
    "not pruned": not_pruned,
}
SURGERIES: dict[str, Way] = {"linked": linked, "each its own": each_its_own}
WAYS = WORTH | SURGERIES


def recipe(way: str, dataset: Dataset) -> Recipe:
    """The dense network's recipe for EPOCHS epochs; from scratch for as many as both together."""
    dense = RECIPES[NAME, dataset.name]
    return replace(dense, epochs=EPOCHS + dense.epochs * (way == "from scratch"))


def finished(way: str, dataset: Dataset, seed: int) -> nn.Module:
    """The network made small in this way, and trained; the first time with a progress bar."""
    model = WAYS[way](baseline(NAME, dataset, seed=seed), seed)
    made_of = (*_made_of(way, dataset, seed), train)

    def make() -> dict[str, Tensor]:
        plan = recipe(way, dataset)
        steps = plan.epochs * -(-len(dataset.train) // plan.batch_size)
        with new_bar(f"{way}, seed {seed}", seconds=SECONDS * steps, unit="step") as bar:
            train(model, dataset.train, plan, seed=100 + seed, progress=bar_progress(bar))
        return model.state_dict()

    model.load_state_dict(kept("structure/finished", make, *made_of))
    return model.eval()


def tested(way: str, dataset: Dataset, seeds: Sequence[int] = SEEDS) -> np.ndarray:
    """How much of the test images each seed's network gets right after training, in %."""
    return np.array([100 * _right(way, dataset, seed) for seed in seeds])


def trainings(dataset: Dataset) -> Iterator[Callable[[], object]]:
    """What makes all that the text needs and that takes long, one by one."""
    for seed in SEEDS[1:]:
        yield partial(baseline, NAME, dataset, seed=seed)
    for way in WAYS:
        yield partial(tested, way, dataset)
    for way in ("smallest removed", "from scratch"):  # the rows of the bill
        yield partial(finished, way, dataset, SEEDS[0])


def _right(way: str, dataset: Dataset, seed: int) -> float:
    def make() -> dict[str, Tensor]:
        right = accuracy(finished(way, dataset, seed), dataset.test)
        return {"right": torch.tensor(right, dtype=torch.float64)}

    made_of = (*_made_of(way, dataset, seed), train, dataset.test)
    return float(kept("structure/tested", make, *made_of)["right"])


def _halved(net: nn.Module, score: Callable[[pruning.Group], Tensor]) -> nn.Module:
    groups = pruning.dependency_groups(net, _image(net))
    scores = {name: score(group) for name, group in groups.items()}
    return pruning.remove_units(net, groups, pruning.keep_per_group(scores, SHARE))


def _strongest(scores: Tensor) -> Tensor:
    return pruning.keep_strongest(scores, round(SHARE * len(scores)))


def _makers(net: nn.Module) -> tuple[Tensor, ...]:
    """One weight for each of the four groups that makes its units."""
    return net.stem.weight, net.conv1.weight, net.down.weight, net.conv3.weight


def _image(net: nn.Module) -> Tensor:
    return IMAGE.to(net.fc.weight.device)


def _made_of(way: str, dataset: Dataset, seed: int) -> tuple[object, ...]:
    return *baseline_made_of(NAME, dataset, seed), WAYS[way], recipe(way, dataset), SHARE

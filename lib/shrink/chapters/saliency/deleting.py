"""Chapter 08's small networks with their weights deleted, in every order: what is shown at once."""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from shrink import pruning
from shrink.chapters.saliency import deletions
from shrink.classroom import models
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split, key_once
from shrink.classroom.progress import new_bar
from shrink.modes import in_use

NETWORKS = {"tanh": "tiny-tanh", "ReLU": "tiny-relu"}
TRAINED = {"out": True, "one epoch": False}
RESCALED = {"no": 1, "3x": 3, "10x": 10, "30x": 30}  # a unit's factor, at most
DELETED = np.arange(0, 100, 2) / 100  # of the weights
LOST = 12_000  # training images whose loss is measured: of few the gradient is not small
SINGLES = 200  # weights that are deleted one by one
IMAGES = 1000  # validation images that are asked
SECONDS = 5  # a case of one seed, on two cores


@dataclass(frozen=True)
class Case:
    """A small network: its kind, how long it was trained, and how far its units are rescaled."""

    network: str = "tanh"
    trained: str = "out"
    rescaled: str = "no"

    @property
    def is_rescaled(self) -> bool:
        return RESCALED[self.rescaled] > 1


def cases() -> Iterator[Case]:
    """Every case, each once; a tanh unit cannot be rescaled."""
    for network in NETWORKS:
        for trained in TRAINED:
            for rescaled in RESCALED if network == "ReLU" else ["no"]:
                yield Case(network, trained, rescaled)


def network_of(case: Case, dataset: Dataset, seed: int) -> nn.Module:
    """The trained network of a case."""
    net = deletions.trained(NETWORKS[case.network], dataset, seed, out=TRAINED[case.trained])
    return rescaled(case, net, seed)


def rescaled(case: Case, net: nn.Module, seed: int) -> nn.Module:
    """The network as the case has it."""
    strength = math.log(RESCALED[case.rescaled])
    return deletions.rescaled(net, strength, seed) if case.is_rescaled else net


def made_of(case: Case, dataset: Dataset) -> tuple[object, ...]:
    """What goes into `network_of` beside seed and images, for `kept`."""
    how = deletions.trained_made_of(NETWORKS[case.network], dataset, out=TRAINED[case.trained])
    return case, *how, rescaled


def loss_images(dataset: Dataset) -> Split:
    """The training images whose loss is measured."""
    return deletions.asked(dataset, LOST)


def asked_of(dataset: Dataset) -> Split:
    """The validation images that are asked."""
    return Split(dataset.validation.images[:IMAGES], dataset.validation.labels[:IMAGES])


@dataclass(frozen=True)
class Curves:
    """Of an order, at each of DELETED: the loss's rise, actual and predicted, and what is right."""

    actual: np.ndarray
    predicted: np.ndarray
    right: np.ndarray

    @classmethod
    def along(
        cls,
        net: nn.Module,
        split: Split,
        asked: Split,
        scores: Mapping[str, Tensor],
        saliency: Mapping[str, Tensor],
    ) -> "Curves":
        """Of the scores' order: the rise of `split`'s loss, and how much of `asked` is right."""
        actual, _ = deletions.rise_along(net, split, scores, DELETED)
        return cls(actual, predicted_along(scores, saliency), _right_along(net, asked, scores))


def predicted_along(scores: Mapping[str, Tensor], saliency: Mapping[str, Tensor]) -> np.ndarray:
    """The sum of the saliencies of what is deleted in the scores' order, at each of DELETED."""
    rises = [
        sum(float((saliency[name].double() * ~keep).sum()) for name, keep in masks.items())
        for masks in _masks_along(scores)
    ]
    return np.array(rises)


def _masks_along(scores: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    return [pruning.masks_from_scores(scores, share) for share in DELETED]


def _right_along(net: nn.Module, asked: Split, scores: Mapping[str, Tensor]) -> np.ndarray:
    weights, masks = models.weights(net), _masks_along(scores)
    copies = {n: torch.stack([w.detach() * m[n] for m in masks]) for n, w in weights.items()}

    def right(weights: dict[str, Tensor]) -> Tensor:
        answers = functional_call(net, weights, (asked.images,)).argmax(1)
        return (answers == asked.labels).double().mean()

    with in_use(net):
        return vmap(right, chunk_size=deletions.AT_ONCE)(copies).cpu().numpy()


def deleted(dataset: Dataset, seeds: tuple[int, ...]) -> dict[tuple[Case, str], list[Curves]]:
    """Of every case and order the curves of each seed. Networks are made only if need be."""

    def make() -> dict[str, Tensor]:
        count = len(list(cases())) * len(seeds)
        with new_bar("deleting weights", seconds=SECONDS * count, total=count) as bar:
            network = partial(network_of, dataset=dataset)
            return _deleted(dataset, seeds, network, bar.update)

    networks = [made_of(case, dataset) for case in cases()]
    images = key_once(dataset.train), asked_of(dataset)
    found = kept("sweeps/saliency-deleted", make, *images, seeds, networks, _deleted)
    curves = found["curves"].double().numpy()  # (cases, orders, seeds, 3, stops)
    every = [(case, order) for case in cases() for order in deletions.ORDERS]
    of = curves.reshape(len(every), *curves.shape[2:])
    return {key: [Curves(*one) for one in rows] for key, rows in zip(every, of, strict=True)}


def _deleted(
    dataset: Dataset,
    seeds: tuple[int, ...],
    network: Callable[..., nn.Module],
    done: Callable[[], object],
) -> dict[str, Tensor]:
    """`network` makes that of a case and a seed; `done` is called after each."""
    split, asked, every = loss_images(dataset), asked_of(dataset), list(cases())
    shape = (len(every), len(deletions.ORDERS), len(seeds), 3, len(DELETED))
    found = torch.empty(shape, dtype=torch.float32)
    for row, case in enumerate(every):
        for place, seed in enumerate(seeds):
            net = network(case, seed=seed)
            scores = scores_of(net, split, seed)
            for column, order in enumerate(deletions.ORDERS):
                along = Curves.along(net, split, asked, scores[order], scores["OBD"])
                curves = np.stack([along.actual, along.predicted, along.right])
                found[row, column, place] = torch.from_numpy(curves)
            done()
    return {"curves": found}


def scores_of(net: nn.Module, split: Split, seed: int) -> dict[str, dict[str, Tensor]]:
    """The scores of this seed's network by each of the orders' names."""
    return {by: deletions.order_of(net, split, by, seed=seed) for by in deletions.ORDERS}


def true_rises(case: Case, dataset: Dataset, seed: int) -> np.ndarray:
    """The true rise of the loss for each of the single deletions; rescaling does not change it."""
    whole = Case(case.network, case.trained)

    def make() -> dict[str, Tensor]:
        net = network_of(whole, dataset, seed)
        where = deletions.places(net, SINGLES, seed)
        return {"rises": deletions.true_rises(net, loss_images(dataset), where)}

    work = (deletions.places, loss_images, deletions.true_rises)
    parts = (key_once(dataset.train), *made_of(whole, dataset), seed, SINGLES, *work)
    return kept("sweeps/saliency-singles", make, *parts)["rises"].double().numpy()

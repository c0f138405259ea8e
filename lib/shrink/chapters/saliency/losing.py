"""Why OBD's diagonal loses to magnitude on LeNet-300-100: guesses, each with what would refute it.

the guess                                      would be refuted if OBD still lost
images that are fitted have p·(1 - p) near 0   on held-out images, and with softened logits
weight decay: no minimum of the loss alone     on a network trained without it
the recursion leaves terms out                 with Gauss-Newton, which leaves out fewer
the curvature holds near by only               when h is taken anew as weights go
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.chapters.saliency.deletions import Parts, asked, losses, order_of, parts_of, weights_of
from shrink.classroom import models
from shrink.classroom.baselines import RECIPES, baseline
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split, key_once
from shrink.classroom.progress import bar_progress, new_bar
from shrink.classroom.training import Recipe, accuracy, train
from shrink.modes import seeded

NAME = "lenet-300-100"
SEEDS = (0, 1, 2)
SPARSITIES = (0.5, 0.8, 0.9, 0.95)
TEMPERATURE = 4.0  # of softened logits
STEPS = 20  # in which h is taken anew
FEW = 1000  # images for the exact diagonal
SECONDS = 0.004  # a step of training, on two cores

Scores = dict[str, Tensor]


class Softened(nn.Module):
    """The network with its logits divided by the temperature, so that p·(1 - p) is not near 0."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images) / TEMPERATURE


def magnitude(net: nn.Module, dataset: Dataset) -> Scores:
    return order_of(net, asked(dataset), "magnitude")


def obd(net: nn.Module, dataset: Dataset) -> Scores:
    return order_of(net, asked(dataset), "OBD")


def gauss_newton(net: nn.Module, dataset: Dataset) -> Scores:
    """By the diagonal that is exact where all units are ReLU units; it is slow: of few images."""
    return order_of(net, asked(dataset, FEW), "OBD", diagonal="gauss-newton")


def held_out(net: nn.Module, dataset: Dataset) -> Scores:
    split = dataset.validation
    return order_of(net, Split(split.images[:2000], split.labels[:2000]), "OBD")


def softened(net: nn.Module, dataset: Dataset) -> Scores:
    found = order_of(Softened(net), asked(dataset), "OBD")
    return {name.removeprefix("net."): score for name, score in found.items()}


def damped(net: nn.Module, dataset: Dataset) -> Scores:
    """½·(h + c)·w², c ten times the mean of h: a part of each score is the way that w moves."""
    split = asked(dataset)
    weights = weights_of(net)
    found = pruning.hessian_diagonal(net, split.images, split.labels)
    c = 10 * torch.cat([found[name].flatten() for name in weights]).mean()
    return pruning.obd_saliency(weights, {name: found[name] + c for name in weights})


@dataclass(frozen=True)
class Way:
    """How weights are scored, in how many steps they go, and whether the network had decay."""

    score: Callable[[nn.Module, Dataset], Scores]
    steps: int = 1
    decay: bool = True


WAYS = {
    "magnitude": Way(magnitude),
    "OBD": Way(obd),
    "OBD, exact diagonal": Way(gauss_newton),
    "OBD, held-out images": Way(held_out),
    "OBD, softened logits": Way(softened),
    "magnitude, trained without decay": Way(magnitude, decay=False),
    "OBD, trained without decay": Way(obd, decay=False),
    "OBD, a constant added to h": Way(damped),
    f"OBD in {STEPS} steps, h anew in each": Way(obd, steps=STEPS),
}
TAKEN_APART = ("magnitude", "OBD")  # the ways of which `parts` is asked


@dataclass(frozen=True)
class Found:
    """Of each seed and each of SPARSITIES, (seeds, sparsities).

    `right`: the accuracy on validation images in %; `rise`: of the training loss; `moved`: the root
    of the sum of the squares of the weights that went.
    """

    right: np.ndarray
    rise: np.ndarray
    moved: np.ndarray


def compared(way: str, dataset: Dataset, seeds: Sequence[int] = SEEDS) -> Found:
    """What pruning in this way, one of WAYS, does to the trained networks; nothing is retrained."""
    found = [_compared(way, dataset, seed) for seed in seeds]
    names = ("right", "rise", "moved")  # what is stored has an order of its own
    return Found(**{name: np.stack([one[name].numpy() for one in found]) for name in names})


def parts(way: str, dataset: Dataset, seeds: Sequence[int] = SEEDS) -> list[list[Parts]]:
    """What the rise of the training loss is made of, for each seed and each of SPARSITIES."""
    return [[Parts(*row) for row in _parts(way, dataset, seed).tolist()] for seed in seeds]


def network(dataset: Dataset, seed: int, decay: bool) -> nn.Module:
    """The baseline, or the same trained without weight decay; kept."""
    if decay:
        return baseline(NAME, dataset, seed=seed)
    net = models.build(NAME, seed).to(dataset.train.images.device)
    recipe = _recipe(dataset, decay)

    def make() -> Scores:
        steps = recipe.epochs * -(-len(dataset.train) // recipe.batch_size)
        with new_bar(f"training {NAME} without decay", seconds=SECONDS * steps, unit="step") as bar:
            train(net, dataset.train, recipe, seed=seed, progress=bar_progress(bar))
        return net.state_dict()

    net.load_state_dict(kept("saliency/no-decay", make, *_trained_made_of(dataset, seed, decay)))
    return net.eval()


def _recipe(dataset: Dataset, decay: bool) -> Recipe:
    recipe = RECIPES[NAME, dataset.name]
    return recipe if decay else replace(recipe, weight_decay=0)


def _trained_made_of(dataset: Dataset, seed: int, decay: bool) -> tuple[object, ...]:
    """What goes into `network`, which in a key would count with the recipes of all networks."""
    recipe = _recipe(dataset, decay)
    return models.MODELS[NAME], seeded, seed, recipe, train, key_once(dataset.train)


def _masks(way: Way, net: nn.Module, dataset: Dataset) -> list[Scores]:
    def score(pruned: nn.Module) -> Scores:
        return way.score(pruned, dataset)

    return [pruning.prune_by_score(net, score, share, way.steps) for share in SPARSITIES]


def _compared(way: str, dataset: Dataset, seed: int) -> Scores:
    def make() -> Scores:
        net = network(dataset, seed, WAYS[way].decay)
        weights, masks = weights_of(net), _masks(WAYS[way], net, dataset)
        whole, *pruned = losses(
            net,
            asked(dataset),
            {n: torch.stack([w, *(w * mask[n] for mask in masks)]) for n, w in weights.items()},
        ).double()
        gone = [sum((w[~mask[n]] ** 2).sum() for n, w in weights.items()) for mask in masks]
        right = [_right(net, mask, dataset.validation) for mask in masks]
        return {
            "right": torch.tensor(right, dtype=torch.float64),
            "rise": torch.stack(pruned) - whole,
            "moved": torch.stack(gone).sqrt().double(),
        }

    return kept("saliency/losing", make, *_made_of(way, dataset, seed), losses, accuracy)


def _right(net: nn.Module, masks: Scores, split: Split) -> float:
    state = {**net.state_dict(), **pruning.apply_masks(weights_of(net), masks)}
    pruned = models.build(NAME, 0).to(split.images.device)
    pruned.load_state_dict(state)
    return 100 * accuracy(pruned, split)


def _parts(way: str, dataset: Dataset, seed: int) -> Tensor:
    def make() -> Scores:
        net, split = network(dataset, seed, WAYS[way].decay), asked(dataset)
        diagonal = pruning.hessian_diagonal(net, split.images, split.labels)
        found = [parts_of(net, split, mask, diagonal) for mask in _masks(WAYS[way], net, dataset)]
        rows = [(one.gradient, one.diagonal, one.mixed, one.beyond) for one in found]
        return {"parts": torch.tensor(rows, dtype=torch.float64)}

    work = (pruning.hessian_diagonal, parts_of)
    return kept("saliency/parts", make, *_made_of(way, dataset, seed), *work)["parts"]


def _made_of(way: str, dataset: Dataset, seed: int) -> tuple[object, ...]:
    return (
        *_trained_made_of(dataset, seed, WAYS[way].decay),
        key_once(dataset.validation),
        WAYS[way],
        asked,
        _masks,
    )

"""LeNet-300-100 pruned before training, by every method: what is left, and how well it learns."""

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.chapters.saliency import arms
from shrink.classroom import models
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split, key_once
from shrink.classroom.progress import new_bar
from shrink.classroom.training import accuracy

STEPS = (1, 10, 100)  # in which SNIP and SynFlow prune
ITERATED = ("SNIP", "SynFlow")
COMPRESSIONS = np.round(10 ** (np.arange(26) / 5), 6)  # processors differ in the last digits
LAYERS = ("fc1.weight", "fc2.weight", "fc3.weight")
SECONDS = 10  # a setting, on two cores


def settings() -> Iterator[tuple[str, int]]:
    """Every method of pruning before training, with the steps that it takes."""
    for method in arms.METHODS:
        for steps in STEPS if method in ITERATED else STEPS[:1]:
            yield method, steps


@dataclass(frozen=True)
class Remains:
    """What a method leaves of the network at each of COMPRESSIONS."""

    kept: np.ndarray  # (stops, layers) weights
    live: np.ndarray  # (stops, layers) weights on a path from an input to an output
    paths: np.ndarray  # (stops,)
    sums: np.ndarray  # (stops, layers) of the magnitudes of the scores, scored anew


@dataclass(frozen=True)
class Collapse:
    """Every setting's remains, and of each method the scores that meet in the hidden units."""

    remains: Mapping[tuple[str, int], Remains]
    into: Mapping[str, np.ndarray]  # method → (units,), the sum of the magnitudes
    out: Mapping[str, np.ndarray]
    sizes: np.ndarray  # (layers,) weights before pruning
    first: int  # how many of the units are those of the first hidden layer


def collapse(dataset: Dataset, seed: int) -> Collapse:
    """What every setting leaves of the initial network of this seed."""

    def make() -> dict[str, Tensor]:
        count = len(list(settings()))
        with new_bar("pruning before training", seconds=SECONDS * count, total=count) as bar:
            return _collapse(dataset, seed, bar.update)

    made_of = (key_once(dataset.train), seed, _collapse)
    found = kept("sweeps/saliency-collapse", make, *made_of)
    of = {name: tensor.double().numpy() for name, tensor in found.items()}
    parts = (of[name] for name in ("kept", "live", "paths", "sums"))
    rows = zip(settings(), *parts, strict=True)
    into, out = (dict(zip(arms.METHODS, of[end], strict=True)) for end in ("into", "out"))
    shapes = [weight.shape for weight in models.weights(arms.initial(seed)).values()]
    sizes = np.array([rows * columns for rows, columns in shapes])
    remains = {setting: Remains(*row) for setting, *row in rows}
    return Collapse(remains, into, out, sizes, first=shapes[0][0])


def _collapse(dataset: Dataset, seed: int, done: Callable[[], object]) -> dict[str, Tensor]:
    """`done` is called after each setting."""
    few, net = arms.scored(dataset.train, seed), arms.initial(seed).to(dataset.train.images.device)
    every = list(settings())
    counts = torch.empty(2, len(every), len(COMPRESSIONS), len(LAYERS), dtype=torch.int32)
    paths = torch.empty(len(every), len(COMPRESSIONS), dtype=torch.float64)
    sums = torch.empty(counts.shape[1:], dtype=torch.float32)
    for row, (method, steps) in enumerate(every):
        score = partial(arms.scores_by, method, images=few.images, labels=few.labels, seed=seed)
        scores = score(net)
        for place, compression in enumerate(COMPRESSIONS.tolist()):
            sparsity = 1 - 1 / compression
            if steps == 1:
                masks = pruning.masks_from_scores(scores, sparsity)
            else:
                masks = pruning.prune_by_score(net, score, sparsity, steps)
            live = pruning.live_masks(net, masks, arms.SHAPE)
            counts[0, row, place] = torch.tensor([int(masks[n].sum()) for n in LAYERS])
            counts[1, row, place] = torch.tensor([int(live[n].sum()) for n in LAYERS])
            paths[row, place] = arms.left_by(net, masks).paths
            left = score(pruned(net, masks))
            sums[row, place] = torch.stack([_sum_left(left[n], masks[n]) for n in LAYERS])
        done()
    into, out = _through_units(net, few, seed)
    return {
        "kept": counts[0],
        "live": counts[1],
        "paths": paths,
        "sums": sums,
        "into": into,
        "out": out,
    }


def _sum_left(scores: Tensor, mask: Tensor) -> Tensor:
    return (scores.abs() * mask).double().sum().cpu()


def pruned(net: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    """A copy with zeros where the masks are False."""
    smaller = copy.deepcopy(net)
    smaller.load_state_dict(pruning.apply_masks(net.state_dict(), masks))
    return smaller


def _through_units(net: nn.Module, few: Split, seed: int) -> tuple[Tensor, Tensor]:
    """Of each method the scores' magnitudes summed into each hidden unit, and out of it, over the
    largest such sum: (methods, units) each.
    """
    groups = pruning.dependency_groups(net, few.images[:1])
    rows = []
    for method in arms.METHODS:
        scores = arms.scores_by(method, net, few.images, few.labels, seed=seed)
        sizes = {name: score.abs() for name, score in scores.items()}
        sides = [pruning.unit_saliency(sizes, group) for group in groups.values()]
        both = torch.stack([torch.cat(side) for side in zip(*sides, strict=True)])
        rows.append((both / both.max()).float().cpu())
    into, out = torch.stack(rows, 1)
    return into, out


def accuracies(
    dataset: Dataset, seeds: tuple[int, ...]
) -> dict[tuple[str, str], tuple[np.ndarray, np.ndarray]]:
    """(method, control) → the shares kept, and what is right after training, (seeds, shares), %.

    The whole network after the same training is the method "none".
    """

    def make() -> dict[str, Tensor]:
        found = {}
        for (method, control), shares in _arms().items():
            rows = [_accuracies(dataset, method, control, shares, seed) for seed in seeds]
            found[f"{method}, {control}"] = torch.from_numpy(np.stack(rows))
        return found

    split = key_once(dataset.train), key_once(dataset.validation)
    made_of = (*split, seeds, _arms(), arms.trained_arm, accuracy)
    found = kept("sweeps/saliency-arms", make, *made_of)
    return {
        arm: (np.array(shares), found[", ".join(arm)].numpy()) for arm, shares in _arms().items()
    }


def _arms() -> dict[tuple[str, str], tuple[float, ...]]:
    """(method, control) → the shares of the weights that are kept."""
    every = {("none", arms.CONTROLS[0]): (1.0,)}
    for method in arms.METHODS:
        every[method, arms.CONTROLS[0]] = arms.SHARES
    for method in arms.METHODS[1:]:
        every |= {(method, control): arms.CONTROLLED for control in arms.CONTROLS[1:]}
    return every


def _accuracies(
    dataset: Dataset, method: str, control: str, shares: tuple[float, ...], seed: int
) -> np.ndarray:
    method = "magnitude" if method == "none" else method  # all weights are kept
    return arms.accuracies(dataset, method, control, shares, seed)

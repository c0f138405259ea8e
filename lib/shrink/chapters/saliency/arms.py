"""Pruning before training: who chooses the weights, two controls, and what training makes of it.

What an arm is worth is its accuracy on validation images. The training rate was chosen on them,
with seed 10, which is not shown.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.classroom import models
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split, key_once
from shrink.classroom.masked_training import train_masked
from shrink.classroom.models import LeNet300100
from shrink.classroom.progress import bar_progress, new_bar
from shrink.classroom.training import accuracy
from shrink.modes import seeded

METHODS = ("random", "magnitude", "SNIP", "GraSP", "SynFlow")
CONTROLS = ("as chosen", "shuffled", "re-initialised")
SEEDS = (0, 1, 2)
SHARES = (0.2, 0.1, 0.05, 0.02, 0.01, 0.005)  # of the weights that are kept
CONTROLLED = (0.05, 0.01)  # the shares at which the controls are trained too

SHAPE = (1, 28, 28)  # of one image, for SynFlow
SCORED = 1000  # training images, drawn from the seed, on which SNIP and GraSP take gradients
APART = 1000  # from the seed that makes a network to one that draws anew
STEPS = 100  # in which SynFlow prunes; the others prune at once
ORDER_STEPS = 300  # of the run that orders all weights
TRAINED = 12_800  # training images, the first ones
EPOCHS = 3
LEARNING_RATE = 8e-3  # the best of 0.002, 0.004 and 0.008
SECONDS = 2  # an arm, on two cores


def initial(seed: int) -> nn.Module:
    """LeNet-300-100 as it is before training, on the CPU."""
    with seeded(seed):
        return LeNet300100()


def scored(split: Split, seed: int, count: int = SCORED) -> Split:
    """So many images, drawn from the seed, on which SNIP and GraSP take their gradients."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randperm(len(split), generator=generator)[:count].to(split.labels.device)
    return Split(split.images[drawn], split.labels[drawn])


def scores_by(
    method: str, net: nn.Module, images: Tensor, labels: Tensor, *, seed: int
) -> dict[str, Tensor]:
    """A method's scores of the weights as they are now, by name: the smallest go.

    Random scores are not drawn with `seed` itself. If it is that of the network, its initial
    weights come from the same numbers, and the scores would be a copy of them.

    Raises `ValueError` for an unknown method.
    """
    weights = models.weights(net)
    if method == "random":
        generator = torch.Generator().manual_seed(APART + seed)
        drawn = {name: torch.rand(w.shape, generator=generator) for name, w in weights.items()}
        return {name: drawn[name].to(w.device) for name, w in weights.items()}
    if method == "magnitude":
        return {name: w.detach().abs() for name, w in weights.items()}
    if method == "SNIP":
        return pruning.snip_scores(net, images, labels)
    if method == "GraSP":
        return pruning.grasp_scores(net, images, labels)
    if method == "SynFlow":
        return pruning.synflow_scores(net, SHAPE)
    raise ValueError(f"no method named {method!r}; there are {', '.join(METHODS)}")


def masks_by(
    method: str,
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    sparsity: float,
    *,
    seed: int,
    steps: int | None = None,
) -> dict[str, Tensor]:
    """The masks that a method chooses for a network before training, name → bool, True = keep.

    In as many `steps`, scored anew in each: without it 100 for SynFlow, and 1 for the others. The
    images matter to SNIP and GraSP alone, `seed` to "random".
    """
    score = partial(scores_by, method, images=images, labels=labels, seed=seed)
    steps = steps or (STEPS if method == "SynFlow" else 1)
    return pruning.prune_by_score(net, score, sparsity, steps)


def order_by(
    method: str,
    net: nn.Module,
    images: Tensor,
    labels: Tensor,
    *,
    seed: int,
    steps: int | None = None,
) -> dict[str, Tensor]:
    """Numbers whose ranking gives the masks at every sparsity: the smaller, the earlier it goes.

    In one step these are the method's scores. In more `steps` (300 for SynFlow, unless it is given)
    a single run prunes exponentially down to one weight, and counts the weights as they go.
    """
    score = partial(scores_by, method, images=images, labels=labels, seed=seed)
    steps = steps or (ORDER_STEPS if method == "SynFlow" else 1)
    return score(net) if steps == 1 else _order_of_a_run(net, score, steps)


def _order_of_a_run(
    net: nn.Module, score: Callable[[nn.Module], Mapping[str, Tensor]], steps: int
) -> dict[str, Tensor]:
    net = copy.deepcopy(net)
    weights = models.weights(net)
    sizes = [w.numel() for w in weights.values()]
    n, gone = sum(sizes), 0
    device = next(iter(weights.values())).device
    order = torch.full((n,), n, dtype=torch.float64, device=device)  # n: it is still there
    for step in range(1, steps + 1):
        scores = torch.cat([s.flatten() for s in score(net).values()])
        left = (order == n).nonzero().flatten()
        count = round(n * pruning.exponential_sparsity(step, steps, 1 - 1 / n)) - gone
        going = left[scores[left].argsort(stable=True)[:count]]
        order[going] = torch.arange(gone, gone + count, device=device).double()
        gone += count
        with torch.no_grad():
            for w, kept_here in zip(weights.values(), (order == n).split(sizes), strict=True):
                w.mul_(kept_here.view(w.shape))
    parts = zip(weights.items(), order.split(sizes), strict=True)
    return {name: part.view(w.shape) for (name, w), part in parts}


def critical(order: Mapping[str, Tensor]) -> float:
    """The highest compression, weights over weights kept, at which each layer still has a weight.

    >>> critical({"a": torch.tensor([4.0, 3.0, 2.0]), "b": torch.tensor([1.0])})
    1.0
    >>> critical({"a": torch.tensor([3.0, 1.0, 2.0]), "b": torch.tensor([4.0])})
    2.0
    """
    flat = torch.cat([scores.flatten() for scores in order.values()])
    best = min(float(scores.max()) for scores in order.values())
    return len(flat) / int((flat >= best).sum())


@dataclass(frozen=True)
class Left:
    """What masks leave: weights by layer, and paths from the input to the output."""

    weights: dict[str, int]
    paths: float

    @property
    def empty(self) -> tuple[str, ...]:
        """The layers that have lost all weights."""
        return tuple(name for name, count in self.weights.items() if not count)


def left_by(net: nn.Module, masks: Mapping[str, Tensor]) -> Left:
    """What the masks leave of the network."""
    counts = {name: int(mask.sum()) for name, mask in masks.items()}
    return Left(counts, pruning.count_paths(net, masks, SHAPE))


def critical_of(dataset: Dataset, method: str, seed: int, steps: int | None = None) -> float:
    """`critical` of the order in which a method prunes the initial network of this seed; kept."""

    def make() -> dict[str, Tensor]:
        few, net = scored(dataset.train, seed), initial(seed).to(dataset.train.images.device)
        order = order_by(method, net, few.images, few.labels, seed=seed, steps=steps)
        return {"critical": torch.tensor(critical(order), dtype=torch.float64)}

    made_of = (key_once(dataset.train), initial, scored, order_by, critical, method, seed, steps)
    return float(kept("saliency/critical", make, *made_of)["critical"])


def masks_for(dataset: Dataset, method: str, sparsity: float, seed: int) -> dict[str, Tensor]:
    """A method's masks for the initial network of this seed, on the device of the data."""
    few = scored(dataset.train, seed)
    net = initial(seed).to(few.images.device)
    return masks_by(method, net, few.images, few.labels, sparsity, seed=seed)


def controlled(
    control: str, masks: dict[str, Tensor], seed: int
) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network before training, on the CPU, and its masks: as chosen, or one of both changed.

    Raises `ValueError` for an unknown control.
    """
    if control not in CONTROLS:
        raise ValueError(f"no control named {control!r}; there are {', '.join(CONTROLS)}")
    if control == "shuffled":
        masks = pruning.shuffle_masks(masks, seed)
    return initial(seed + APART * (control == "re-initialised")), masks


def trained_arm(
    dataset: Dataset, method: str, sparsity: float, control: str, seed: int, **options: object
) -> nn.Module:
    """LeNet-300-100, pruned before training and trained under its masks.

    `options` go to `train_masked`.
    """
    net, masks = controlled(control, masks_for(dataset, method, sparsity, seed), seed)
    net = net.to(dataset.train.images.device)
    shown = Split(dataset.train.images[:TRAINED], dataset.train.labels[:TRAINED])
    train_masked(
        net, masks, shown, epochs=EPOCHS, learning_rate=LEARNING_RATE, seed=seed, **options
    )
    return net.eval()


def accuracy_of(dataset: Dataset, method: str, sparsity: float, control: str, seed: int) -> float:
    """The fraction of the validation images that the trained network gets right; kept.

    Raises `ValueError` for a control of "random": it chooses nothing that could be changed, and its
    scores are the numbers that new initial weights would be drawn from.
    """
    if method == "random" and control != CONTROLS[0]:
        raise ValueError(f"random masks have no control: {control!r} would be random again")

    def make() -> dict[str, Tensor]:
        title = f"{method}, {100 * (1 - sparsity):g} % kept, {control}, seed {seed}"
        with new_bar(title, seconds=SECONDS, unit="step") as bar:
            net = trained_arm(dataset, method, sparsity, control, seed, progress=bar_progress(bar))
        right = accuracy(net, dataset.validation)
        return {"right": torch.tensor(right, dtype=torch.float64)}

    split = key_once(dataset.train), key_once(dataset.validation)
    made_of = (*split, trained_arm, accuracy, method, sparsity, control, seed)
    return float(kept("saliency/arms", make, *made_of)["right"])


def accuracies(
    dataset: Dataset, method: str, control: str, shares: Sequence[float], seed: int
) -> np.ndarray:
    """In %, for each share of the weights that is kept."""
    found = [accuracy_of(dataset, method, 1 - share, control, seed) for share in shares]
    return 100 * np.array(found)


def trainings(dataset: Dataset) -> Iterator[partial]:
    """What makes all that the text and the explorer need and that takes long, one by one."""
    for seed in SEEDS:
        for method in METHODS:
            yield partial(accuracies, dataset, method, CONTROLS[0], SHARES, seed)
        for method in METHODS[1:]:
            for control in CONTROLS[1:]:
                yield partial(accuracies, dataset, method, control, CONTROLLED, seed)
        for method, steps in (*((m, 1) for m in METHODS), ("SNIP", STEPS), ("SynFlow", STEPS)):
            yield partial(critical_of, dataset, method, seed, steps)

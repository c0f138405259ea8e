"""An exercise of chapter 04: each value of a codebook moves to the mean of its weights.

The oracle adds up one weight after the other, in Python's exact sums.
"""

import math
import random
import statistics
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from shrink.chapters.share.values import near_values, some_assignments, wrong_values
from shrink.classroom.exercises.attempt import Mistake, Wrong, known
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise

Updater = Callable[[Tensor, Tensor, Tensor], Tensor]


def _each(new: Callable[[list[float]], float], empty: Callable[[float], float] = float) -> Updater:
    """Each value by itself: `new` of its weights, or `empty` of the old value where it has none."""

    def update(weights: Tensor, assignments: Tensor, codebook: Tensor) -> Tensor:
        clusters: list[list[float]] = [[] for _ in codebook]
        numbers = assignments.flatten().tolist()
        for w, number in zip(weights.detach().flatten().tolist(), numbers, strict=True):
            clusters[number].append(w)
        old = codebook.detach().tolist()
        found = [new(own) if own else empty(c) for own, c in zip(clusters, old, strict=True)]
        return torch.tensor(found, dtype=codebook.dtype, device=codebook.device)

    return update


def _mean(own: list[float]) -> float:
    return math.fsum(own) / len(own)


def means(weights: Tensor, assignments: Tensor, codebook: Tensor) -> Tensor:
    """The means of the weights of each value; one that has none stays where it is."""
    return _each(_mean)(weights, assignments, codebook)


MEDIAN = Mistake(
    "median",
    _each(statistics.median),
    "this is the median of its weights, which minimises the distances; the mean minimises their "
    "squares",
)
EMPTY_ZERO = Mistake(
    "empty becomes 0",
    _each(_mean, lambda _: 0.0),
    "a value without weights has become 0; leave it where it is",
)


@known(
    "a value without weights is missing, so every value after it has another number: leave it "
    "where it is"
)
def _empty_dropped(weights: Tensor, assignments: Tensor, codebook: Tensor) -> Tensor:
    return means(weights, assignments, codebook)[assignments.unique()]


@known("the last values have no weights, and are missing: bincount needs minlength=len(codebook)")
def _cut_short(weights: Tensor, assignments: Tensor, codebook: Tensor) -> Tensor:
    last = int(assignments.max()) + 1 if assignments.numel() else 0
    return means(weights, assignments, codebook)[:last]


MISTAKES = (
    MEDIAN,
    EMPTY_ZERO,
    Mistake(
        "empty becomes NaN",
        _each(_mean, lambda _: math.nan),
        "the mean of no weights is 0 / 0, NaN: a value that no weight has stays where it is",
    ),
    _empty_dropped,
    _cut_short,
)


def _case(
    rng: random.Random, *shape: int, k: int, empty: tuple[int, ...] = ()
) -> tuple[Tensor, Tensor, Tensor]:
    """Weights with numbers that need not be the nearest; the values of `empty` have none."""
    count = torch.Size(shape).numel()
    assignments = some_assignments(rng, count, k, empty)
    weights = [rng.choice([-1, 1]) * rng.uniform(0.1, 3) for _ in range(count)]
    codebook = sorted(rng.uniform(-3, 3) for _ in range(k))
    return (
        torch.tensor(weights).view(shape),
        assignments.view(shape),
        torch.tensor(codebook),
    )


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, Tensor, Tensor]]]:
    def none_at_all() -> tuple[Tensor, Tensor, Tensor]:
        return torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.tensor([-1.5, 0.5])

    def parameters() -> tuple[Tensor, Tensor, Tensor]:
        weights, assignments, codebook = _case(rng, 3, 5, k=3)
        return torch.nn.Parameter(weights), assignments, codebook

    yield lambda: _case(rng, 14, k=3)
    yield lambda: _case(rng, 12, k=4, empty=(rng.choice([1, 2]),))
    yield lambda: _case(rng, 4, 5, k=5, empty=(3, 4))
    yield lambda: _case(rng, 2, 3, 2, 2, k=4, empty=(0,))
    yield lambda: _case(rng, 1, k=1)
    yield none_at_all
    yield lambda: _case(rng, 60, 50, k=16)
    yield parameters
    if torch.cuda.is_available():
        yield lambda: tuple(t.cuda() for t in _case(rng, 9, k=3))


def _wrong_codebook(
    given: Any, right: Tensor, weights: Tensor, assignments: Tensor, codebook: Tensor
) -> Wrong | None:
    def why(i: int) -> str:
        if count := int((assignments == i).sum()):
            return f"the {count} weights of value {i} have the mean {right[i]:.4g}"
        return f"value {i} has no weights, and stays {right[i]:.4g}"

    shape = f"the new codebook has as many values as the old one, {len(codebook)}, on one axis"
    return wrong_values(given, right, "the codebook", shape, why, atol=1e-5)


def _reference(weights: Tensor, assignments: Tensor, codebook: Tensor) -> Tensor:
    """The codebook with each value at the mean of its weights; without weights it stays.

    >>> w, numbers = torch.tensor([1.0, 2.0, 9.0]), torch.tensor([0, 0, 2])
    >>> update(w, numbers, torch.tensor([0.0, 5.0, 10.0]))
    tensor([1.5000, 5.0000, 9.0000])
    """
    numbers, k = assignments.flatten(), len(codebook)
    counts = torch.bincount(numbers, minlength=k)
    sums = torch.zeros(k, dtype=torch.float64, device=weights.device)
    sums.index_add_(0, numbers, weights.detach().flatten().double())
    moved = sums / counts.clamp(min=1)
    return torch.where(counts > 0, moved, codebook.double()).to(codebook.dtype)


update = Exercise(
    "update",
    by_cases(_cases, means, _wrong_codebook, mistakes=MISTAKES, alike=near_values),
    reference=_reference,
    core=True,
    minutes=15,
    mistakes=MISTAKES,
)

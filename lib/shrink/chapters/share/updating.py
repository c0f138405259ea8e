"""An exercise of chapter 04: each value of a codebook moves to the mean of its weights.

The oracle adds up one weight after the other, in Python's exact sums.
"""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import Near

Updater = Callable[[Tensor, Tensor, Tensor], Tensor]


def means(weights: Tensor, assignments: Tensor, codebook: Tensor) -> Tensor:
    """The means of the weights of each value; one that has none stays where it is."""
    return _each(lambda some, _: math.fsum(some) / len(some))(weights, assignments, codebook)


def _each(
    new: Callable[[list[float], float], float],
    empty: Callable[[float], float] = float,
) -> Updater:
    """Each value by itself: `new` of its weights and the old value, or `empty` of the old one."""

    def update(weights: Tensor, assignments: Tensor, codebook: Tensor) -> Tensor:
        clusters: list[list[float]] = [[] for _ in codebook]
        numbers = assignments.flatten().tolist()
        for w, number in zip(weights.detach().flatten().tolist(), numbers, strict=True):
            clusters[number].append(w)
        old = codebook.detach().tolist()
        found = [new(some, c) if some else empty(c) for some, c in zip(clusters, old, strict=True)]
        return torch.tensor(found, dtype=codebook.dtype, device=codebook.device)

    return update


def _mean(some: list[float], _: float = 0.0) -> float:
    return math.fsum(some) / len(some)


def _median(some: list[float], _: float) -> float:
    some = sorted(some)
    return (some[(len(some) - 1) // 2] + some[len(some) // 2]) / 2


def _dropped(weights: Tensor, assignments: Tensor, codebook: Tensor) -> Tensor:
    return means(weights, assignments, codebook)[assignments.unique()]


def _cut_short(weights: Tensor, assignments: Tensor, codebook: Tensor) -> Tensor:
    last = int(assignments.max()) + 1 if assignments.numel() else 0
    return means(weights, assignments, codebook)[:last]


def _over_all(weights: Tensor, assignments: Tensor, codebook: Tensor) -> Tensor:
    share = _each(lambda some, _: math.fsum(some) / weights.numel())
    return share(weights, assignments, codebook)


def _rebuilt(weights: Tensor, assignments: Tensor, codebook: Tensor) -> Tensor:
    return means(weights, assignments, codebook)[assignments]


MEDIAN = Mistake(
    "median",
    _each(_median),
    "this is the median of its weights, which makes the distances small; the mean makes their "
    "squares small",
)
EMPTY_ZERO = Mistake(
    "empty becomes 0",
    _each(_mean, lambda _: 0.0),
    "a value without weights has become 0; leave it where it is",
)

MISTAKES = (
    MEDIAN,
    EMPTY_ZERO,
    Mistake(
        "empty becomes NaN",
        _each(_mean, lambda _: math.nan),
        "the mean of no weights is 0 / 0, NaN: a value that no weight has stays where it is",
    ),
    Mistake(
        "empty dropped",
        _dropped,
        "a value without weights is missing, so that all numbers after it mean another value: "
        "leave it where it is",
    ),
    Mistake(
        "cut short",
        _cut_short,
        "the last values have no weights, and are missing: bincount needs minlength=len(codebook)",
    ),
    Mistake(
        "sum",
        _each(lambda some, _: math.fsum(some)),
        "this is the sum of its weights: divide by how many they are",
    ),
    Mistake(
        "divided by all",
        _over_all,
        "each sum is divided by the number of all weights: divide by the number of its own",
    ),
    Mistake(
        "middle",
        _each(lambda some, _: (min(some) + max(some)) / 2),
        "this is half-way between its least and its largest weight; the mean is meant",
    ),
    Mistake(
        "half-way",
        _each(lambda some, c: (_mean(some) + c) / 2),
        "a value moves all the way to the mean; its old place does not count",
    ),
    Mistake(
        "magnitudes",
        _each(lambda some, _: _mean(list(map(abs, some)))),
        "the mean of the weights, signs included, not of their magnitudes",
    ),
    Mistake(
        "old codebook",
        lambda weights, assignments, codebook: codebook.detach().clone(),
        "this is the codebook as it was: each value moves to the mean of its weights",
    ),
    Mistake(
        "weights",
        _rebuilt,
        "this is a value for each weight; return the codebook, one number a value",
    ),
)


def _seen(result: Any) -> Any:
    """A tensor by its shape and what is near its numbers."""
    if not isinstance(result, Tensor) or result.layout != torch.strided:
        return result
    numbers = result.detach().double().flatten()
    nan = tuple(numbers.isnan().tolist())
    return tuple(result.shape), nan, Near(tuple(numbers.nan_to_num().tolist()))


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, Tensor, Tensor]]]:
    def case(*shape: int, k: int, empty: tuple[int, ...] = ()) -> tuple[Tensor, Tensor, Tensor]:
        """Weights with numbers that need not be the nearest; the values of `empty` have none."""
        numbers = [i for i in range(k) if i not in empty]
        count = torch.Size(shape).numel()
        assignments = [*numbers, *(rng.choice(numbers) for _ in range(count - len(numbers)))]
        rng.shuffle(assignments)
        weights = [rng.choice([-1, 1]) * rng.uniform(0.1, 3) for _ in range(count)]
        codebook = sorted(rng.uniform(-3, 3) for _ in range(k))
        return (
            torch.tensor(weights).view(shape),
            torch.tensor(assignments[:count]).view(shape),
            torch.tensor(codebook),
        )

    def none_at_all() -> tuple[Tensor, Tensor, Tensor]:
        return torch.zeros(0), torch.zeros(0, dtype=torch.long), torch.tensor([-1.5, 0.5])

    def parameters() -> tuple[Tensor, Tensor, Tensor]:
        weights, assignments, codebook = case(3, 5, k=3)
        return torch.nn.Parameter(weights), assignments, codebook

    yield lambda: case(14, k=3)
    yield lambda: case(12, k=4, empty=(rng.choice([1, 2]),))
    yield lambda: case(4, 5, k=5, empty=(3, 4))
    yield lambda: case(2, 3, 2, 2, k=4, empty=(0,))
    yield lambda: case(1, k=1)
    yield none_at_all
    yield lambda: case(60, 50, k=16)
    yield parameters
    if torch.cuda.is_available():
        yield lambda: tuple(t.cuda() for t in case(9, k=3))


def _check_update(answer: Attempt, rng: random.Random) -> None:
    for weights, assignments, codebook in telling(_cases(rng), means, MISTAKES, _seen):
        given = answer(weights, assignments, codebook, alike=_seen)
        if wrong := _wrong_codebook(given, weights, assignments, codebook):
            raise wrong


def _wrong_codebook(
    given: Any, weights: Tensor, assignments: Tensor, codebook: Tensor
) -> Wrong | None:
    right = means(weights, assignments, codebook)
    if not isinstance(given, Tensor) or not given.is_floating_point():
        return Wrong("the codebook is a float tensor", expected=right, given=given)
    if given.shape != codebook.shape or given.device != codebook.device:
        return Wrong(
            f"the new codebook has as many values as the old one, {len(codebook)}, on one axis",
            expected=right,
            given=given,
        )
    near = torch.isclose(given.detach().double(), right.double(), rtol=1e-4, atol=1e-5)
    if near.all():
        return None
    i = int((~near).nonzero()[0])
    count = int((assignments == i).sum())
    why = (
        f"the {count} weights of value {i} have the mean {right[i]:.4g}"
        if count
        else f"value {i} has no weights, and stays {right[i]:.4g}"
    )
    return Wrong(f"{why}; yours is {given[i]:.4g}", expected=right, given=given)


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
    _check_update,
    reference=_reference,
    core=True,
    minutes=15,
    mistakes=MISTAKES,
)

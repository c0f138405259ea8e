"""An exercise of chapter 04: the best cut of sorted numbers into two clusters.

The oracle tries every cut, and adds up the squares in float64 from the numbers themselves.
"""

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Mistake, Wrong
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import count

_SLACK = 1e-4  # what rounding in float32 may make of equal costs


def _squares(part: Tensor) -> Tensor:
    return (part - part.mean()).square().sum()


def costs_of_cuts(x: Tensor, cost: Callable[[Tensor], Tensor] = _squares) -> list[float]:
    """The cost of both parts, for a cut before number 1, 2, … n - 1: their squared errors."""
    x = x.detach().double().cpu()
    return [float(cost(x[:i]) + cost(x[i:])) for i in range(1, len(x))]


def _least(cost: Callable[[Tensor], Tensor]) -> Callable[[Tensor], int]:
    """The cut with the least sum of the two parts' costs."""

    def best_cut(x: Tensor) -> int:
        costs = costs_of_cuts(x, cost)
        return 1 + costs.index(min(costs))

    return best_cut


_right = _least(_squares)

MISTAKES = (
    Mistake(
        "one before",
        lambda x: _right(x) - 1,
        "this is the position of the last number of the first part; return how many numbers the "
        "part has, so that x[:i] is the part",
    ),
    Mistake(
        "one after",
        lambda x: _right(x) + 1,
        "the first part has one too many: x[:i] does not hold x[i]",
    ),
    Mistake(
        "variances",
        _least(lambda part: part.var(correction=0)),
        "a variance is a mean over its part: a part of 9 numbers costs nine times its variance",
    ),
    Mistake(
        "largest gap",
        lambda x: int(x.diff().argmax()) + 1,
        "the best cut need not be at the largest gap: all numbers on both sides count",
    ),
    Mistake(
        "distances",
        _least(lambda part: (part - part.median()).abs().sum()),
        "the squares of the distances count, and they are least about the mean",
    ),
    Mistake(
        "about 0",
        _least(lambda part: part.sum().square() / len(part)),
        "the squared error of a part is its sum of squares MINUS the square of its sum over its "
        "count: the sign matters",
    ),
)


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor]]]:
    def lumps(n: int, offset: float = 0.0) -> tuple[Tensor]:
        """A crowd and a few far off, on one side or the other."""
        far = rng.uniform(3, 8)
        x = [rng.gauss(0, 1) if rng.random() < 0.75 else rng.gauss(far, 2) for _ in range(n)]
        sign = rng.choice([-1, 1])
        return (torch.tensor(sorted(sign * w + offset for w in x)),)

    def repeated() -> tuple[Tensor]:
        return (torch.tensor(sorted(float(rng.choice([0, 0, 0, 1, 5, 6, 14])) for _ in range(12))),)

    def right_in_two_ways() -> tuple[Tensor]:
        return (torch.tensor([0.0, 1.0, 2.0]) * rng.randint(1, 9),)

    def telling_of(name: str) -> tuple[Tensor]:
        """Numbers on which the mistake of that name costs more."""
        (mistake,) = (m for m in MISTAKES if m.name == name)
        for _ in range(1000):
            (x,) = lumps(14)
            if _wrong_cut(mistake(x), _right(x), x):
                break
        return (x,)

    yield lambda: lumps(9)
    for name in ("largest gap", "variances", "distances"):
        yield partial(telling_of, name)
    yield lambda: (torch.tensor(sorted([rng.uniform(-2, 0), rng.uniform(1, 3)])),)
    yield repeated
    yield right_in_two_ways
    yield lambda: lumps(25, offset=20.0)
    yield lambda: (torch.full((5,), rng.uniform(1, 2)),)
    yield lambda: lumps(40)


def _wrong_cut(given: Any, right: int, x: Tensor) -> Wrong | None:
    given = count(given)
    if type(given) is not int or not 1 <= given < len(x):
        return Wrong(
            f"return a whole number from 1 to {len(x) - 1}: each part has at least one number",
            expected=right,
            given=given,
        )
    costs = costs_of_cuts(x)
    mine, least = costs[given - 1], costs[right - 1]
    scale = float(x.detach().double().square().sum())
    if mine <= (1 + _SLACK) * least + 1e-6 * scale:
        return None
    return Wrong(
        f"cut before x[{given}], the squared error is {mine:.5g}; cut before x[{right}], it is "
        f"{least:.5g}",
        expected=right,
        given=given,
    )


best_cut = Exercise(
    "best_cut",
    by_cases(_cases, _right, _wrong_cut, mistakes=MISTAKES, alike=count),
    core=False,
    minutes=15,
    mistakes=MISTAKES,
)

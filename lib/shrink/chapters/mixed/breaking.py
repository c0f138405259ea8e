"""An exercise of chapter 11: two weights that nearest rounds wrong, both, and not it alone.

The error of a rounding is Δᵀ G Δ. Rounding to nearest is never the worst of the four: its Δ turned
round, -Δ, lies in the square that the four Δ span, and a convex function is nowhere in it above its
largest corner. So what is asked for is that the best of the four takes neither of the integers that
nearest takes.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from math import floor
from typing import Any

import numpy as np
from torch import Tensor

from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import none_may_hide
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import numbers

LARGEST = 100  # entry of G
LARGEST_WEIGHT = 10
MARGIN = 0.01  # of a weight, from whole numbers and from halves
LEAST_SHARE = 1e-3  # of the lower eigenvalue of G in the higher one
TIMES = 2  # as large as that of the best rounding each error must be

Pair = tuple[int, int]


@dataclass(frozen=True)
class Input:
    """G and two weights, in steps of the grid."""

    products: tuple[tuple[float, float], tuple[float, float]]
    weight: tuple[float, float]

    def error(self, rounded: Pair) -> float:
        a, b = (w - q for w, q in zip(self.weight, rounded, strict=True))
        (of_a, both), (_, of_b) = self.products
        return of_a * a * a + 2 * both * a * b + of_b * b * b

    def roundings(self) -> Iterator[Pair]:
        """All four."""
        return product(*((floor(w), floor(w) + 1) for w in self.weight))

    def best(self) -> Pair:
        return min(self.roundings(), key=self.error)


def _nearest(given: Input) -> Pair:
    return tuple(round(w) for w in given.weight)


def _down(given: Input) -> Pair:
    return tuple(floor(w) for w in given.weight)


def _up(given: Input) -> Pair:
    return tuple(floor(w) + 1 for w in given.weight)


def _in_turn(first: int) -> Callable[[Input], Pair]:
    """One weight to nearest, and the other as is best beside it."""

    def rounded(given: Input) -> Pair:
        fixed = round(given.weight[first])
        beside = (pair for pair in given.roundings() if pair[first] == fixed)
        return min(beside, key=given.error)

    return rounded


def _one_change_at_a_time(given: Input) -> Pair:
    q = _nearest(given)
    while True:
        near = [p for p in given.roundings() if sum(a != b for a, b in zip(p, q, strict=True)) < 2]
        better = min(near, key=given.error)
        if given.error(better) >= given.error(q):
            return q
        q = better


BREAKABLE = (
    Mistake("nearest", _nearest, "each weight alone"),
    Mistake("down", _down, "the errors have one sign and add up"),
    Mistake("up", _up, "likewise"),
    Mistake("first to nearest", _in_turn(0), "the second weight mends what it can"),
    Mistake("second to nearest", _in_turn(1), "the first weight mends what it can"),
    Mistake("one change at a time", _one_change_at_a_time, "stops where two changes would help"),
)


def read(given: Any) -> Input:
    """The input that an answer gave, or `Wrong` where it is none."""
    if not (isinstance(given, tuple | list) and len(given) == 2):
        raise Wrong("return two things", expected="(G, w)", given=given)
    rows, weight = given[0], numbers(given[1])
    if isinstance(rows, Tensor | np.ndarray) and rows.ndim == 2:
        rows = list(rows)
    pairs = [numbers(row) for row in rows] if isinstance(rows, tuple | list) else []
    if len(pairs) != 2 or any(pair is None or len(pair) != 2 for pair in pairs):
        raise Wrong("G is a list of two rows of two numbers", given=given)
    if weight is None or len(weight) != 2:
        raise Wrong("w is a list of two numbers", given=given)
    if not all(abs(number) <= LARGEST for pair in pairs for number in pair):
        raise Wrong(f"the numbers of G lie from -{LARGEST} to {LARGEST}", given=given)
    if not all(abs(number) <= LARGEST_WEIGHT for number in weight):
        raise Wrong(f"the weights lie from -{LARGEST_WEIGHT} to {LARGEST_WEIGHT}", given=given)
    _refuse_no_products(pairs, given)
    for w in weight:
        if abs(2 * w - round(2 * w)) < 2 * MARGIN:
            what = "halfway between two integers" if round(2 * w) % 2 else "an integer"
            raise Wrong(
                f"a weight of {w:g} is {what}, or nearer to that than {MARGIN}: which way it is "
                "rounded to nearest must be clear",
                given=given,
            )
    return Input((pairs[0], pairs[1]), weight)


def _refuse_no_products(g: list[tuple[float, float]], given: Any) -> None:
    if abs(g[0][1] - g[1][0]) > 1e-6:
        raise Wrong(
            f"G is symmetric, as E[x1 x2] = E[x2 x1], and yours has {g[0][1]:g} and {g[1][0]:g}",
            given=given,
        )
    low, high = np.linalg.eigvalsh(np.array(g))
    if low <= 0:
        raise Wrong(
            f"G is positive definite, and yours has the eigenvalue {low:.4g}: some errors would "
            "cost nothing or less. Both numbers of its diagonal are above 0, and the product of "
            "these two is above the square of the other number",
            given=given,
        )
    if low < LEAST_SHARE * high:
        raise Wrong(
            f"the eigenvalues of G are {low:.3g} and {high:.3g}: the lower one must be at least "
            f"{LEAST_SHARE:g} of the other, so that no error costs almost nothing",
            given=given,
        )


def _check(answer: Attempt, rng: random.Random) -> None:
    given = answer()
    read_in = read(given)
    best = read_in.best()
    least = read_in.error(best)
    found = {rule.name: rule(read_in) for rule in BREAKABLE}
    listed = ", ".join(f"{q} {read_in.error(q):.4g}" for q in read_in.roundings())
    none_may_hide(
        BREAKABLE,
        lambda rule: read_in.error(found[rule.name]) < TIMES * least,
        given,
        f"the error is less than {TIMES} times that of the best rounding, {best} "
        f"(errors: {listed})",
        otherwise="broken",
    )


break_nearest = Exercise("break_nearest", _check, core=False, minutes=10)

"""An exercise of chapter 10: three numbers that tell seven wrong gradients of rounding apart.

The integers are -1, 0 and 1. A way has two results: a gradient for each number, and one for the
step, without LSQ's factor.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import none_may_hide
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import near, numbers, plain

NUMBERS = 3
LARGEST = 10
LEAST_STEP = 0.01
TOLERANCE = 1e-6

Gradients = tuple[float, ...]  # of each number, and of the step at the end


@dataclass(frozen=True)
class Input:
    """Numbers, the step of their grid, and the gradient that comes from above for each."""

    x: Sequence[float]
    step: float
    upstream: Sequence[float]


Of = Callable[[float, float, float], float]  # a number, the step, the upstream gradient


def _integer(x: float, step: float) -> int:
    return max(-1, min(1, round(x / step)))


def _inside(x: float, step: float) -> bool:
    return abs(x / step) <= 1


def _straight_through(x: float, step: float, upstream: float) -> float:
    return upstream * _inside(x, step)


def _learned_step(x: float, step: float, upstream: float) -> float:
    return upstream * (_integer(x, step) - x / step * _inside(x, step))


def _way(by_x: Of = _straight_through, by_step: Of = _learned_step) -> Callable[[Input], Gradients]:
    """The gradients, right except for what is passed."""

    def gradients(given: Input) -> Gradients:
        rows = [(x, given.step, up) for x, up in zip(given.x, given.upstream, strict=True)]
        return (*(by_x(*row) for row in rows), sum(by_step(*row) for row in rows))

    return gradients


right = _way()
BREAKABLE = (
    Mistake(
        "identity",
        _way(by_x=lambda x, step, up: up),
        "what is clipped moves nothing, and is told to move",
    ),
    Mistake(
        "clipped at 1",
        _way(by_x=lambda x, step, up: up * (abs(x) <= 1)),
        "the range ends at the step, wherever 1 is",
    ),
    Mistake("no gradient", _way(by_x=lambda x, step, up: 0.0), "nothing learns"),
    Mistake(
        "q alone",
        _way(by_step=lambda x, step, up: up * _integer(x, step)),
        "the staircase's own slope forgets that rounding follows the step",
    ),
    Mistake(
        "q - x/s everywhere",
        _way(by_step=lambda x, step, up: up * (_integer(x, step) - x / step)),
        "a clipped number stays at its end of the grid, which moves with the step",
    ),
    Mistake(
        "ends forgotten",
        _way(by_step=lambda x, step, up: _learned_step(x, step, up) * _inside(x, step)),
        "a clipped number's output is q times the step, so it has a say",
    ),
    Mistake(
        "upstream forgotten",
        _way(
            by_x=lambda x, step, up: _straight_through(x, step, 1),
            by_step=lambda x, step, up: _learned_step(x, step, 1),
        ),
        "a test that sums the outputs does not see it",
    ),
)


def read(given: Any) -> Input:
    """The input that an answer gave, or `Wrong` where it is none."""
    if not (isinstance(given, tuple | list) and len(given) == 3):
        raise Wrong("return three things", expected="(x, step, upstream)", given=given)
    x, upstream = _row("x", given[0]), _row("upstream", given[2])
    step = plain(given[1])
    if type(step) not in (int, float) or not LEAST_STEP <= step <= LARGEST:
        raise Wrong(f"step is a number from {LEAST_STEP} to {LARGEST}", given=given)
    return Input(x, float(step), upstream)


def _row(name: str, given: Any) -> tuple[float, ...]:
    found = numbers(given)
    if found is None or len(found) != NUMBERS:
        many = f"a list of {NUMBERS} numbers"
        raise Wrong(f"{name} is {many}", expected=many, given=given)
    if not all(abs(number) <= LARGEST for number in found):
        raise Wrong(f"the numbers of {name} lie from -{LARGEST} to {LARGEST}", given=given)
    return found


def _alike(a: Gradients, b: Gradients) -> bool:
    return near(a, b, TOLERANCE)


def _told(gradients: Gradients) -> str:
    """Both results, as a student writes them."""
    *of_x, of_step = (f"{gradient + 0.0:.4g}" for gradient in gradients)
    return f"[{', '.join(of_x)}] for x and {of_step} for the step"


def _check(answer: Attempt, rng: random.Random) -> None:
    given = answer()
    read_in = read(given)
    expected = right(read_in)
    none_may_hide(
        BREAKABLE,
        lambda mistake: _alike(mistake(read_in), expected),
        given,
        f"the gradients come out right ({_told(expected)})",
    )
    for one, other in combinations(BREAKABLE, 2):
        if _alike(one(read_in), other(read_in)):
            raise Wrong(
                f"{one.name} and {other.name} both give {_told(one(read_in))}: your numbers show "
                "that the gradient is wrong, and not which mistake it is",
                given=given,
            )


break_the_gradient = Exercise("break_the_gradient", _check, core=False, minutes=8)

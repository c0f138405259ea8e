"""An exercise of chapter 03: a real number as an integer and a shift.

The oracle is fractions.
"""

import math
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any

import torch

from shrink.classroom.exercises.attempt import Mistake, Wrong, known
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import count, plain, whole
from shrink.quantization import integer


def nearest_fixed_point(real: float) -> tuple[int, int]:
    """The factor as an integer and a shift, real ≈ multiplier / 2**shift."""
    multiplier, shift = integer.fixed_point(real)
    return int(multiplier), int(shift)


def _to_31_bits(
    rounded: Callable[[float], int] = round, least_shift: float = -math.inf
) -> Callable[[float], tuple[int, int]]:
    """A multiplier of 31 bits, and no care for what is rounded up to one bit more."""

    def fixed_point(real: float) -> tuple[int, int]:
        shift = max(31 - math.frexp(real)[1], least_shift)
        return rounded(math.ldexp(real, shift)), shift

    return fixed_point


@known("rounding gave 2**31; 2**31 - 1 is not the nearest, 2**30 with a shift one less is")
def _cut_at_the_top(real: float) -> tuple[int, int]:
    multiplier, shift = _to_31_bits()(real)
    return min(multiplier, 2**31 - 1), shift


FIXED_POINT_MISTAKES = (
    Mistake(
        "rounded down",
        _to_31_bits(math.floor),
        "int() and // round down; round to the nearest",
    ),
    Mistake(
        "no carry",
        _to_31_bits(),
        "rounding gave 2**31, one too many for 31 bits: that is 2**30, and a shift one less",
    ),
    _cut_at_the_top,
    Mistake(
        "fixed shift",
        lambda real: (round(real * 2**31), 31),
        "the shift depends on the number: a small one takes a longer shift to keep 31 bits",
    ),
    Mistake(
        "only below 1",
        _to_31_bits(least_shift=31),
        "a factor may be above 1: then the shift is shorter than 31",
    ),
    Mistake(
        "float32",
        lambda real: nearest_fixed_point(torch.tensor(real).item()),
        "a float32 has 24 bits, and torch.tensor(real) is one: keep to Python's floats, or float64",
    ),
)


def _nearest(real: float) -> set[tuple[int, int]]:
    """The pair with the least error; both of them for a tie."""
    exact, shift = Fraction(real), 0
    while exact * 2**shift < 2**30:
        shift += 1
    while exact * 2**shift >= 2**31:
        shift -= 1
    below = math.floor(exact * 2**shift)
    pairs = {below: (below, shift), below + 1: (below + 1, shift)}
    if below + 1 == 2**31:
        pairs[below + 1] = (2**30, shift - 1)
    errors = {pair: abs(exact * 2**shift - number) for number, pair in pairs.items()}
    return {pair for pair, error in errors.items() if error == min(errors.values())}


def _reals(rng: random.Random) -> Iterator[Callable[[], tuple[float]]]:
    def between(low: float, high: float) -> Callable[[], tuple[float]]:
        return lambda: (2 ** rng.uniform(low, high),)

    def just_below(power: int) -> tuple[float]:
        return (math.ldexp(1 - 2.0 ** -rng.randint(34, 50), power),)

    def rounded_up() -> tuple[float]:
        number = rng.randrange(2**30, 2**31 - 1) + rng.uniform(0.55, 0.95)
        return (math.ldexp(number, -rng.randint(36, 40)),)

    yield rounded_up
    yield between(2, 9.9)
    yield lambda: (2.0 ** -rng.randint(1, 12),)
    yield lambda: just_below(rng.randint(-12, 0))
    yield between(-1, 0)
    yield between(-20, -17)
    yield between(0, 1)
    yield lambda: just_below(rng.randint(1, 10))
    yield lambda: (math.ldexp(2**31 - 1, -rng.randint(25, 45)),)  # as large as it gets
    yield lambda: (rng.choice([1.0, 3.0, 0.75, 640.0]),)
    yield lambda: (math.ldexp(rng.randrange(2**31 + 1, 2**32, 2), -rng.randint(30, 50)),)  # a tie


def _wrong_pair(given: Any, _: tuple[int, int], real: float) -> Wrong | None:
    right = _nearest(real)
    wrong = partial(Wrong, expected=" or ".join(map(str, sorted(right))), given=given)
    if not isinstance(given, tuple | list) or len(given) != 2:
        return wrong("return a pair, (multiplier, shift)")
    multiplier, shift = map(whole, given)
    if multiplier is None or shift is None:
        text = "multiplier and shift are whole numbers (int)"
        return wrong(text, known_mistakes=_pair(given) not in right)
    if (multiplier, shift) in right:
        return None
    return wrong(
        _how_far(multiplier, shift, real)
        or "2**30 <= multiplier < 2**31, and no other pair is nearer to the number"
    )


def _how_far(multiplier: int, shift: int, real: float) -> str | None:
    """What multiplier / 2**shift is of the number, unless it is nearly the same."""
    if max(abs(shift), multiplier.bit_length()) > 500:
        return "multiplier / 2**shift is far from the number"
    ratio = float(Fraction(multiplier) / Fraction(2) ** shift / Fraction(real))
    return None if abs(ratio - 1) < 1e-6 else f"multiplier / 2**shift is {ratio:.6g} of the number"


def _pair(result: Any) -> Any:
    """The same for a tuple and a list, and for a number of any kind."""
    return tuple(map(count, result)) if isinstance(result, tuple | list) else plain(result)


fixed_point = Exercise(
    "fixed_point",
    by_cases(_reals, nearest_fixed_point, _wrong_pair, mistakes=FIXED_POINT_MISTAKES, alike=_pair),
    reference=nearest_fixed_point,
    core=False,
    minutes=10,
    mistakes=FIXED_POINT_MISTAKES,
)

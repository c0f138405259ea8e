"""An exercise of chapter 03: the scale and the zero point of a range.

The oracle is exact: fractions.
"""

import math
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from typing import Any

from shrink import quantization
from shrink.chapters.quantize.integers import limits
from shrink.classroom.exercises.attempt import Mistake, Wrong, known
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import Near, numbers
from shrink.classroom.exercises.parts import Part

Range = tuple[float, float, int]


def _step(low: float, high: float, num_bits: int) -> float:
    return (high - low) / (2**num_bits - 1) or 1.0


def _exact_zero(low: float, scale: float, num_bits: int) -> float:
    """The zero point before it is rounded."""
    return limits(num_bits)[0] - low / scale


def _rounded_zero(low: float, scale: float, num_bits: int) -> int:
    return round(_exact_zero(low, scale, num_bits))


def _formula(
    scale: Callable[[float, float, int], float] = _step,
    zero: Callable[[float, float, int], float] = _rounded_zero,
) -> Callable[[float, float, int], tuple[float, float]]:
    """An answer with these formulas, by default the right ones, for the range with zero in it."""

    def scale_and_zero_point(x_min: float, x_max: float, num_bits: int) -> tuple[float, float]:
        low, high = min(x_min, 0.0), max(x_max, 0.0)
        step = scale(low, high, num_bits)
        return step, zero(low, step, num_bits)

    return scale_and_zero_point


_right = _formula()


@known("the range has to hold zero: it starts at min(x_min, 0) and ends at max(x_max, 0)")
def _not_widened(x_min: float, x_max: float, num_bits: int) -> tuple[float, int]:
    scale = _step(x_min, x_max, num_bits)
    return scale, _rounded_zero(x_min, scale, num_bits)


@known(
    "clamping the zero point moves all other numbers away: widen the range to hold zero, and "
    "nothing needs to be clamped"
)
def _clamped(x_min: float, x_max: float, num_bits: int) -> tuple[float, int]:
    (scale, zero_point), (q_min, q_max) = _not_widened(x_min, x_max, num_bits), limits(num_bits)
    return scale, min(max(zero_point, q_min), q_max)


RANGE_MISTAKES = (
    _not_widened,
    _clamped,
    Mistake(
        "not rounded",
        _formula(zero=_exact_zero),
        "the zero point is one of the integers, so that 0 comes back as exactly 0: round it",
    ),
    Mistake(
        "negated",
        _formula(zero=lambda *args: -_rounded_zero(*args)),
        "your zero point has the wrong sign: x is about scale * (q - zero_point)",
    ),
    Mistake(
        "levels",
        _formula(lambda low, high, b: (high - low) / 2**b or 1.0),
        "between 2**num_bits integers there is one step fewer",
    ),
    Mistake(
        "unsigned",
        _formula(zero=lambda low, scale, b: round(-low / scale)),
        "these are the integers from 0 on; ours begin at -2**(num_bits - 1)",
    ),
    Mistake(
        "symmetric",
        _formula(lambda low, high, b: max(-low, high) / limits(b)[1] or 1.0, lambda *_: 0),
        "this is the symmetric way; here low and high become the lowest and the highest integer",
    ),
)


def _ranges(rng: random.Random) -> Iterator[Callable[[], Range]]:
    def size() -> float:
        return rng.randint(20, 400) / 100

    def bits() -> int:
        return rng.randint(3, 7)

    def around(sign: int, fraction: float) -> Range:
        """With a zero point of this sign, and so far from a whole number."""
        num_bits = bits()
        zero, scale = sign * rng.randint(1, limits(num_bits)[1] - 1), size() / 10
        zero += fraction * rng.uniform(0.6, 1)
        low, high = ((q - zero) * scale for q in limits(num_bits))
        return round(low, 4), round(high, 4), num_bits

    def whole() -> Range:
        """With a zero point that is whole before it is rounded."""
        num_bits, scale = bits(), rng.randint(1, 15) / 8
        zero = rng.randint(1, limits(num_bits)[1] - 1)
        low, high = ((q - zero) * scale for q in limits(num_bits))
        return low, high, num_bits

    def constant(sign: int) -> Range:
        return (sign * size(),) * 2 + (bits(),)

    def symmetric() -> Range:
        """The zero point is halfway between two integers."""
        high = size()
        return -high, high, rng.choice([2, 4, 8])

    yield whole
    yield lambda: around(-1, -0.4)
    yield lambda: around(1, 0.4)
    yield lambda: around(-1, 0.4)
    yield lambda: around(1, -0.4)
    yield lambda: (size(), 4.5 + size(), bits())
    yield lambda: (-4.5 - size(), -size(), bits())
    yield lambda: (0.0, 0.0, bits())
    yield lambda: constant(1)
    yield lambda: constant(-1)
    yield lambda: (0.0, size(), 8)  # after a ReLU
    yield lambda: (-size(), 0.0, 8)
    yield symmetric
    yield lambda: (-size(), size(), 8)
    yield lambda: (-size(), size(), 2)
    yield lambda: (-0.01, size(), bits())  # lopsided
    yield lambda: (-1e-4 * size(), 1e-4 * size(), 8)
    yield lambda: (-1e6 * size(), 1e6 * size(), bits())


def _number(place: int) -> Callable[[Any], Any]:
    """What counts of a pair: its first or its second number."""

    def view(result: Any) -> Any:
        found = numbers(result)
        return Near(found[place : place + 1]) if found and len(found) == 2 else result

    return view


def _parts(x_min: float, x_max: float, num_bits: int) -> Iterator[Part]:
    """The scale alone, where the range holds zero and where it does not; the zero point at ends."""
    wide = x_max - x_min or 1.0
    for where, low, high in (("around", -wide, wide / 2), ("above", wide, 2 * wide)):
        yield Part(f"for the scale of a range {where} 0", (low, high, num_bits), _number(0))
    for where, low, high in (("from 0 on", 0.0, wide), ("up to 0", -wide, 0.0)):
        yield Part(f"for the zero point of a range {where}", (low, high, num_bits), _number(1))


def _near(result: Any) -> Any:
    found = numbers(result)
    return result if found is None else Near(found)


def _wrong_range(
    given: Any, expected: tuple, x_min: float, x_max: float, num_bits: int
) -> Wrong | None:
    steps, wrong = 2**num_bits - 1, partial(Wrong, expected=expected, given=given)
    found = numbers(given)
    if found is None or len(found) != 2:
        return wrong("return two numbers, (scale, zero_point)")
    scale, zero_point = found
    low, high = Fraction(min(x_min, 0.0)), Fraction(max(x_max, 0.0))
    right = (high - low) / steps or Fraction(1)
    if not math.isclose(scale, right, rel_tol=1e-5):
        return wrong(
            f"scale: from {float(low):g} to {float(high):g} there are {steps} steps, so a step "
            f"is {float(right):.6g} and not {scale:.6g}"
        )
    q_min, q_max = limits(num_bits)
    if not zero_point.is_integer() or not q_min <= zero_point <= q_max:
        return wrong(f"zero_point: one of the integers from {q_min} to {q_max}, not {zero_point:g}")
    exact = q_min - low / right
    if low != high and abs(Fraction(zero_point) - exact) > Fraction(501, 1000):
        return wrong(
            f"zero_point: {q_min} - ({float(low):g}) / scale is {float(exact):.4g}, "
            f"and the nearest integer is {round(exact)} and not {zero_point:g}"
        )
    return None


def _reference_range(x_min: float, x_max: float, num_bits: int) -> tuple[float, int]:
    """The scale and the zero point with which the signed integers span x_min to x_max, and zero.

    >>> scale_and_zero_point(-1.0, 2.0, num_bits=2)  # -2, -1, 0 and 1 are -1, 0, 1 and 2
    (1.0, -1)
    """
    p = quantization.choose_qparams(x_min, x_max, num_bits)
    return p.scale.item(), p.zero_point.item()


scale_and_zero_point = Exercise(
    "scale_and_zero_point",
    by_cases(_ranges, _right, _wrong_range, mistakes=RANGE_MISTAKES, alike=_near, parts=_parts),
    reference=_reference_range,
    core=True,
    minutes=10,
    mistakes=RANGE_MISTAKES,
)

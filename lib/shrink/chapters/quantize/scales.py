"""An exercise of chapter 03: the scale and the zero point of a range.

The oracle is exact: fractions.
"""

import math
import random
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

from shrink import quantization
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import Near, numbers

Range = tuple[float, float, int]


def integers(num_bits: int) -> tuple[int, int]:
    """The lowest and the highest of so many bits, signed."""
    return -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1


def _step(low: float, high: float, num_bits: int) -> float:
    return (high - low) / (2**num_bits - 1) or 1.0


def _zero(low: float, scale: float, num_bits: int) -> float:
    """The zero point before it is rounded."""
    return integers(num_bits)[0] - low / scale


def _range(
    scale: Callable[[float, float, int], float] = _step,
    zero: Callable[[float, float, int], float] = lambda *args: round(_zero(*args)),
) -> Callable[[float, float, int], tuple[float, float]]:
    """The right answer but for these."""

    def scale_and_zero_point(x_min: float, x_max: float, num_bits: int) -> tuple[float, float]:
        low, high = min(x_min, 0.0), max(x_max, 0.0)
        found = scale(low, high, num_bits)
        return found, zero(low, found, num_bits)

    return scale_and_zero_point


def _zero_rounded(rounded: Callable[[float], float]) -> Callable:
    return _range(zero=lambda *args: rounded(_zero(*args)))


def _as_it_is(low: float, high: float, num_bits: int) -> tuple[float, int]:
    """Not widened."""
    scale = _step(low, high, num_bits)
    return scale, round(_zero(low, scale, num_bits))


def _clamped(x_min: float, x_max: float, num_bits: int) -> tuple[float, int]:
    (scale, zero_point), (q_min, q_max) = _as_it_is(x_min, x_max, num_bits), integers(num_bits)
    return scale, min(max(zero_point, q_min), q_max)


def _constant(x_min: float, x_max: float, num_bits: int) -> tuple[float, float]:
    scale = _step if x_min != x_max else lambda *_: 1.0
    return _range(scale)(x_min, x_max, num_bits)


RANGE_MISTAKES = (
    Mistake(
        "not widened",
        _as_it_is,
        "the range has to hold zero: it starts at min(x_min, 0) and ends at max(x_max, 0)",
    ),
    Mistake(
        "not widened above",
        lambda x_min, x_max, num_bits: _as_it_is(min(x_min, 0.0), x_max, num_bits),
        "where all numbers are negative, the range has to reach up to zero: max(x_max, 0)",
    ),
    Mistake(
        "clamped",
        _clamped,
        "clamping the zero point moves all other numbers away: widen the range to hold zero, and "
        "nothing needs to be clamped",
    ),
    Mistake(
        "not rounded",
        _zero_rounded(float),
        "the zero point is one of the integers, so that zero is met exactly: round it",
    ),
    Mistake("cut off", _zero_rounded(int), "int() cuts off; round to the nearest integer"),
    Mistake(
        "half added",
        _zero_rounded(lambda zero: int(zero + 0.5)),
        "int(z + 0.5) rounds only what is above zero; the zero point may be negative: round(z)",
    ),
    Mistake("rounded down", _zero_rounded(math.floor), "round to the nearest integer, not down"),
    Mistake("rounded up", _zero_rounded(math.ceil), "round to the nearest integer, not up"),
    Mistake(
        "negated",
        _range(zero=lambda *args: -round(_zero(*args))),
        "your zero point has the wrong sign: x is about scale * (q - zero_point), not q plus it",
    ),
    Mistake(
        "wrong sign",
        _range(zero=lambda low, scale, b: round(integers(b)[0] + low / scale)),
        "low / scale is subtracted: low is negative, and zero lies above the lowest integer",
    ),
    Mistake(
        "not divided",
        _range(zero=lambda low, scale, b: round(integers(b)[0] - low)),
        "the zero point counts steps: how many are there from low to 0? Divide by the scale",
    ),
    Mistake(
        "levels",
        _range(lambda low, high, b: (high - low) / 2**b or 1.0),
        "2**num_bits integers have one step less between them",
    ),
    Mistake(
        "steps of one sign",
        _range(lambda low, high, b: (high - low) / integers(b)[1] or 1.0),
        "the range takes all the integers, the negative ones too: 2**num_bits - 1 steps",
    ),
    Mistake(
        "narrow",
        _range(
            lambda low, high, b: (high - low) / (2**b - 2) or 1.0,
            lambda low, scale, b: round(integers(b)[0] + 1 - low / scale),
        ),
        "the lowest integer is not left out here: from -2**(num_bits - 1) on",
    ),
    Mistake(
        "unsigned",
        _range(zero=lambda low, scale, b: round(-low / scale)),
        "these are the integers from 0 on; ours begin at -2**(num_bits - 1)",
    ),
    Mistake(
        "symmetric",
        _range(lambda low, high, b: max(-low, high) / integers(b)[1] or 1.0, lambda *_: 0),
        "this is the symmetric way; here low and high become the lowest and the highest integer",
    ),
    Mistake(
        "zero point 0",
        _range(zero=lambda *_: 0),
        "the zero point is the integer that 0 becomes, and low becomes the lowest one",
    ),
    Mistake(
        "from 0 to x_max",
        _range(lambda low, high, b: high / (2**b - 1) or 1.0),
        "the steps span the range from low to high, not from 0 to high",
    ),
    Mistake(
        "inverted",
        lambda *args: (1 / _range()(*args)[0], _range()(*args)[1]),
        "the scale is the width of a step, and you return steps per width",
    ),
    Mistake(
        "exchanged", lambda *args: _range()(*args)[::-1], "the scale comes first, then zero_point"
    ),
    Mistake(
        "always 8 bits",
        lambda x_min, x_max, num_bits: _range()(x_min, x_max, 8),
        "how many integers there are is up to num_bits",
    ),
    Mistake(
        "zero width",
        _range(lambda low, high, b: (high - low) / (2**b - 1)),
        "from 0 to 0 there is nothing to divide: the scale is 1 then",
    ),
    Mistake(
        "tiny scale",
        _range(lambda low, high, b: max(high - low, 1e-8) / (2**b - 1)),
        "a range from 0 to 0 gets the scale 1, not 0 and not something tiny",
    ),
    Mistake(
        "constant",
        _constant,
        "x_min and x_max may be equal and not zero: widen the range first, then look at its width",
    ),
)


def _ranges(rng: random.Random) -> Iterator[Callable[[], Range]]:
    def some() -> float:
        return rng.randint(20, 400) / 100

    def bits() -> int:
        return rng.randint(3, 7)

    def around(sign: int, fraction: float) -> Range:
        """With a zero point of this sign, and so far from a whole number."""
        num_bits = bits()
        zero, scale = sign * rng.randint(1, integers(num_bits)[1] - 1), some() / 10
        zero += fraction * rng.uniform(0.6, 1)
        low, high = ((q - zero) * scale for q in integers(num_bits))
        return round(low, 4), round(high, 4), num_bits

    def whole() -> Range:
        """With a zero point that is whole before it is rounded."""
        num_bits, scale = bits(), rng.randint(1, 15) / 8
        zero = rng.randint(1, integers(num_bits)[1] - 1)
        low, high = ((q - zero) * scale for q in integers(num_bits))
        return low, high, num_bits

    def constant(sign: int) -> Range:
        return (sign * some(),) * 2 + (bits(),)

    def symmetric() -> Range:
        """The zero point is halfway between two integers."""
        high = some()
        return -high, high, rng.choice([2, 4, 8])

    yield whole
    yield lambda: around(-1, -0.4)
    yield lambda: around(1, 0.4)
    yield lambda: around(-1, 0.4)
    yield lambda: around(1, -0.4)
    yield lambda: (some(), 4.5 + some(), bits())
    yield lambda: (-4.5 - some(), -some(), bits())
    yield lambda: (0.0, 0.0, bits())
    yield lambda: constant(1)
    yield lambda: constant(-1)
    yield lambda: (0.0, some(), 8)  # after a ReLU
    yield lambda: (-some(), 0.0, 8)
    yield symmetric
    yield lambda: (-some(), some(), 8)
    yield lambda: (-some(), some(), 2)
    yield lambda: (-0.01, some(), bits())  # lopsided
    yield lambda: (-1e-4 * some(), 1e-4 * some(), 8)
    yield lambda: (-1e6 * some(), 1e6 * some(), bits())


def _near(result: Any) -> Any:
    found = numbers(result)
    return result if found is None else Near(found)


def _check_scale_and_zero_point(answer: Attempt, rng: random.Random) -> None:
    for x_min, x_max, num_bits in telling(_ranges(rng), _range(), RANGE_MISTAKES, _near):
        if wrong := _wrong_range(
            answer(x_min, x_max, num_bits, alike=_near), x_min, x_max, num_bits
        ):
            raise wrong


def _wrong_range(given: Any, x_min: float, x_max: float, num_bits: int) -> Wrong | None:
    expected, steps = _range()(x_min, x_max, num_bits), 2**num_bits - 1
    found = numbers(given)
    if found is None or len(found) != 2:
        return Wrong(
            "return two numbers, (scale, zero_point)",
            expected=expected,
            given=given,
        )
    scale, zero_point = found
    low, high = Fraction(min(x_min, 0.0)), Fraction(max(x_max, 0.0))
    right = (high - low) / steps or Fraction(1)
    if not math.isclose(scale, right, rel_tol=1e-5):
        return Wrong(
            f"scale: from {float(low):g} to {float(high):g} there are {steps} steps, so a step "
            f"is {float(right):.6g} and not {scale:.6g}",
            expected=expected,
            given=given,
        )
    q_min, q_max = integers(num_bits)
    if not zero_point.is_integer() or not q_min <= zero_point <= q_max:
        return Wrong(
            f"zero_point: one of the integers from {q_min} to {q_max}, not {zero_point:g}",
            expected=expected,
            given=given,
        )
    exact = q_min - low / right
    if low != high and abs(Fraction(zero_point) - exact) > Fraction(501, 1000):
        return Wrong(
            f"zero_point: {q_min} - ({float(low):g}) / scale is {float(exact):.4g}, "
            f"and the nearest integer is {round(exact)} and not {zero_point:g}",
            expected=expected,
            given=given,
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
    _check_scale_and_zero_point,
    reference=_reference_range,
    core=True,
    minutes=10,
    mistakes=RANGE_MISTAKES,
)

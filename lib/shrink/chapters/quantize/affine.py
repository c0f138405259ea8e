"""The exercises of chapter 03, Quantize: here `quantize`, and how to break it.

The oracle is float64; where a number is halfway between two integers, both are right.
"""

import math
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shrink import quantization
from shrink.chapters.quantize.integers import comparable, limits, neighbours, not_int8
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong, known
from shrink.classroom.exercises.cases import by_cases, none_may_hide
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import count, plain

Case = tuple[Tensor, float, int, int]
EVERYTHING = (-math.inf, math.inf)


def _wrapped(q: Tensor) -> Tensor:
    """As int8 in two's complement, on any machine: 300 becomes 44."""
    return ((q.long() + 128) % 256 - 128).to(torch.int8)


def _quantizer(
    nearest: Callable[[Tensor], Tensor] = torch.round,
    shift: Callable[[int], int] = int,
    clamp_to: Callable[[int], tuple[float, float]] = limits,
    cast: Callable[[Tensor], Tensor] = _wrapped,
) -> Callable[[Tensor, float, int, int], Tensor]:
    """An answer that does these steps, by default the right ones."""

    def quantize(x: Tensor, scale: float, zero_point: int, num_bits: int) -> Tensor:
        q = nearest(x.detach().double() / scale) + shift(zero_point)
        return cast(q.clamp(*clamp_to(num_bits)))

    return quantize


_right = _quantizer()


@known(
    "a cast to int8 wraps around, 300 becomes 44, and then it is too late to clamp: add the zero "
    "point, clamp, and cast last"
)
def _cast_before_clamp(x: Tensor, scale: float, zero_point: int, num_bits: int) -> Tensor:
    q = _quantizer(clamp_to=lambda _: EVERYTHING)(x, scale, zero_point, num_bits)
    return q.clamp(*limits(num_bits))


@known("adding the zero point may lead out of the integers again: add first, then clamp")
def _clamp_before_zero_point(x: Tensor, scale: float, zero_point: int, num_bits: int) -> Tensor:
    return _wrapped(_right(x, scale, 0, num_bits).long() + zero_point)


@known("a very large number does not fit in int32 either: clamp while it is still a float")
def _int32_before_clamp(x: Tensor, scale: float, zero_point: int, num_bits: int) -> Tensor:
    q = (x.detach().double() / scale).round()
    q = torch.where(q.abs() < 2**31, q, -(2**31)) + zero_point  # what x86 makes of it
    return q.clamp(*limits(num_bits)).to(torch.int8)


WRONG_SIGN = Mistake(
    "wrong sign",
    _quantizer(shift=lambda zero_point: -zero_point),
    "x is about scale * (q - zero_point), so the zero point is added to x / scale",
)
TRUNCATION = Mistake(
    "truncation",
    _quantizer(nearest=torch.trunc),
    "a cast drops the digits after the point: round to the nearest first",
)
NOT_CLAMPED = Mistake(
    "no clamp",
    _quantizer(clamp_to=lambda _: EVERYTHING),
    "a number beyond the integers of num_bits becomes the nearest of them: clamp, then cast",
)

QUANTIZE_MISTAKES = (
    _cast_before_clamp,
    NOT_CLAMPED,
    WRONG_SIGN,
    TRUNCATION,
    Mistake(
        "floor", _quantizer(nearest=torch.floor), "round to the nearest, not down: round, not //"
    ),
    _clamp_before_zero_point,
    _int32_before_clamp,
)


def _tensors(rng: random.Random) -> Iterator[Callable[[], Case]]:
    def bits() -> int:
        return rng.randint(4, 7)

    def step() -> float:
        return rng.randint(20, 400) / 1000

    def between(low: int, high: int, scale: float) -> float:
        """A number of so many steps, not near a half."""
        return scale * (rng.randint(low, high) + rng.uniform(-0.42, 0.42))

    def case(
        *shape: int, num_bits: int, far: int = 0, zero: int | None = None, width: float = 1
    ) -> Case:
        """Half of the numbers lie within the integers, the others up to `far` steps away."""
        (q_min, q_max), scale = limits(num_bits), width * step()
        if zero is None:
            zero = rng.choice([-1, 1]) * rng.randint(min(2, q_max), q_max)
        x = [between(q_min - zero, q_max - zero, scale) for _ in range(torch.Size(shape).numel())]
        for i in range(0, len(x) if far else 0, 2):
            x[i] = (-1) ** (i // 2) * abs(between(q_max + abs(zero) + 2, far, scale))
        return torch.tensor(x).view(shape), scale, zero, num_bits

    def ties() -> Case:
        x = [rng.randint(-60, 60) + 0.5 for _ in range(8)]
        scale = rng.choice([0.25, 0.5, 2.0])
        return scale * torch.tensor(x), scale, rng.randint(-9, 9), 8

    def huge() -> Case:
        num_bits = rng.randint(2, 8)
        zero_point = rng.randint(0, limits(num_bits)[1])
        return torch.tensor([1e9, -1e9, 0.0, 1e6]), step(), zero_point, num_bits

    def changed(change: Callable[[Tensor], Any], *shape: int) -> Case:
        x, *rest = case(*shape, num_bits=8)
        return (change(x), *rest)

    yield lambda: case(12, num_bits=bits(), far=700)
    yield lambda: case(12, num_bits=8, far=700)
    yield lambda: case(3, 4, num_bits=8)
    yield lambda: case(8, num_bits=8, far=300, zero=rng.choice([-128, 127]))
    yield lambda: case(8, num_bits=bits(), far=90, zero=0)
    yield huge
    yield lambda: case(8, num_bits=2, far=9)
    yield lambda: case(12, num_bits=4, width=100)  # x reaches farther than the integers
    yield lambda: case(num_bits=8)
    yield lambda: case(0, num_bits=8)
    yield lambda: case(3, 0, num_bits=4)
    yield ties
    yield lambda: case(2, 3, 3, 3, num_bits=rng.randint(2, 8), far=1000)
    yield lambda: changed(Tensor.t, 3, 4)  # not contiguous
    yield lambda: changed(Tensor.double, 6)
    yield lambda: changed(Tensor.half, 6)
    yield lambda: changed(torch.nn.Parameter, 6)
    if torch.cuda.is_available():
        yield lambda: changed(Tensor.cuda, 6)


def _wrong_quantized(
    q: Any, right: Tensor, x: Tensor, scale: float, zero_point: int, num_bits: int
) -> Wrong | None:
    return not_int8(q, x, right) or _wrong_integers(q, x, scale, zero_point, num_bits)


def _wrong_integers(
    q: Tensor, x: Tensor, scale: float, zero_point: int, num_bits: int
) -> Wrong | None:
    """The first number that is neither of its neighbours, as x's type can tell them apart."""
    steps = x.detach().double() / scale
    slack = 2 * max(torch.finfo(x.dtype).eps, torch.finfo(torch.float32).eps) * steps.abs() + 1e-6
    low, high = neighbours(steps + zero_point, *limits(num_bits), slack)
    off = (q < low) | (q > high)
    if not off.any():
        return None
    at = tuple(off.nonzero()[0].tolist())
    q_min, q_max = limits(num_bits)
    return Wrong(
        f"{x[at]:.5g} / {scale:g} + {zero_point} is {steps[at] + zero_point:.5g}, which becomes "
        f"{low[at]}, of the integers from {q_min} to {q_max}, and not {q[at]}",
        expected=_right(x, scale, zero_point, num_bits),
        given=q,
    )


def _reference_quantize(x: Tensor, scale: float, zero_point: int, num_bits: int) -> Tensor:
    """The integers for x, int8 of its shape: round(x / scale) + zero_point, saturated.

    >>> quantize(torch.tensor([0.0, 0.6, -9.0, 9.0]), scale=0.5, zero_point=1, num_bits=3)
    tensor([ 1,  2, -4,  3], dtype=torch.int8)
    """
    both = torch.tensor(scale), torch.tensor(zero_point, dtype=torch.int32)
    return quantization.quantize(x, quantization.QParams(*both, num_bits))


quantize = Exercise(
    "quantize",
    by_cases(_tensors, _right, _wrong_quantized, mistakes=QUANTIZE_MISTAKES, alike=comparable),
    reference=_reference_quantize,
    core=True,
    minutes=15,
    mistakes=QUANTIZE_MISTAKES,
)


BREAKABLE = (
    _cast_before_clamp,
    WRONG_SIGN,
    TRUNCATION,
    # its integers stay wide: in int8 it would be the first of these
    Mistake(
        "no clamp", _quantizer(clamp_to=lambda _: EVERYTHING, cast=Tensor.long), NOT_CLAMPED.hint
    ),
)


def _read_input(given: Any) -> tuple[Tensor, float, int]:
    """x in float64, scale and zero point of what the answer gave; `Wrong` where it is no input."""
    wrong = partial(Wrong, given=given)
    if not (isinstance(given, tuple | list) and len(given) == 3):
        raise wrong("return three things", expected="(x, scale, zero_point)")
    x, scale, zero_point = given[0], plain(given[1]), count(given[2])
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dim() != 1:
        raise wrong("x is a float tensor with one axis")
    if len(x) > 4:
        raise wrong("four numbers are plenty", given=x)
    if type(scale) not in (int, float) or not 0 < scale < math.inf:
        raise wrong("scale is a number above 0")
    if type(zero_point) is not int or not -128 <= zero_point <= 127:
        raise wrong("zero_point is an integer from -128 to 127, those of 8 bits")
    x = x.detach().cpu().double()
    if not ((x / scale).abs() < 2**31 - 2**8).all():  # NaN is not either
        raise wrong(
            "x has NaN, or numbers so large that a cast of x / scale differs between machines: "
            "smaller ones do"
        )
    return x, scale, zero_point


def _check_break_the_quantizers(answer: Attempt, rng: random.Random) -> None:
    given = answer()
    case = (*_read_input(given), 8)
    none_may_hide(
        BREAKABLE,
        lambda mistake: not _wrong_integers(mistake(*case), *case),
        given,
        "on your input the integers come out right",
    )


break_the_quantizers = Exercise(
    "break_the_quantizers", _check_break_the_quantizers, core=False, minutes=8
)

"""Rounding to bf16 with integers, for the exercise of chapter 10: steps of it, known mistakes."""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import known

LOW = 0xFFFF  # the 16 bits that bf16 has not
SIGN = -(2**31)
INFINITY = 0x7F800000  # in float32, and as all that is larger a NaN
LARGEST = 0x7F7F0000  # of bf16, in float32

Bits = Callable[[Tensor], Tensor]


def bits_of(x: Tensor) -> Tensor:
    return x.detach().contiguous().view(torch.int32)


def _to_even(bits: Tensor) -> Tensor:
    """The nearest multiple of 2**16, for halves the even one."""
    return (bits + 0x7FFF + ((bits >> 16) & 1)) & ~LOW


def _rounding(rounded: Bits = _to_even, nan_kept: bool = True) -> Callable[[Tensor], Tensor]:
    """How to round, right except for what is passed."""

    @wraps(rounded)
    def round_to_bf16(x: Tensor) -> Tensor:
        bits = bits_of(x)
        found = rounded(bits).view(torch.float32)
        return torch.where(_is_nan(bits), torch.nan, found) if nan_kept else found

    return round_to_bf16


def _is_nan(bits: Tensor) -> Tensor:
    return (bits & ~SIGN) > INFINITY


@known(
    "this cuts the lower 16 bits off, which rounds towards 0: take the nearest number, which is "
    "above for about half of all"
)
@_rounding
def _truncation(bits: Tensor) -> Tensor:
    return bits & ~LOW


@known(
    "numbers that lie halfway all went up. They go to the *even* neighbour, whose last bit is 0: "
    "then half of them go down, and a sum of many does not drift"
)
@_rounding
def _halves_up(bits: Tensor) -> Tensor:
    return (bits + 0x8000) & ~LOW


@known(
    "rounding up turned 1111111 into 0000000, and the 1 to carry was lost: it belongs to the "
    "exponent, which stands right above. Add to the whole integer, and it gets there by itself"
)
@_rounding
def _carry_lost(bits: Tensor) -> Tensor:
    return (bits & ~0x7FFFFF) | (_to_even(bits) & 0x7F0000)


@known(
    "a NaN has an exponent of ones and a mantissa that is not 0. If its ones are all in the lower "
    "16 bits, they are cut away, which leaves infinity; if it is ones throughout, it runs over "
    "into the sign. Treat NaN separately"
)
def _nan_to_infinity(x: Tensor) -> Tensor:
    return _rounding(nan_kept=False)(x)


@known(
    "numbers below 2**-126 became 0. They are subnormal, with an exponent of 0 and no leading one, "
    "and bf16 has such numbers as well: as integers they round like all others"
)
@_rounding
def _subnormals_flushed(bits: Tensor) -> Tensor:
    return torch.where(bits & INFINITY == 0, bits & SIGN, _to_even(bits))


@known("the sign is gone: it is the highest bit, so keep it aside and put it back")
@_rounding
def _sign_lost(bits: Tensor) -> Tensor:
    return _to_even(bits & ~SIGN)


@known(
    "-0.0 became 0.0: it is not below 0, and its sign is a bit all the same. Take the sign from "
    "the integer, not from x < 0"
)
@_rounding
def _zero_without_sign(bits: Tensor) -> Tensor:
    rounded = _to_even(bits)
    return torch.where(rounded == SIGN, 0, rounded)


@known(
    "what rounds up beyond the largest number became the largest number: when its exponent "
    "becomes ones throughout, that is infinity, and stays so"
)
@_rounding
def _overflow_kept_finite(bits: Tensor) -> Tensor:
    too_large = ((_to_even(bits) & ~SIGN) == INFINITY) & ((bits & ~SIGN) < INFINITY)
    return torch.where(too_large, bits & SIGN | LARGEST, _to_even(bits))


@known(
    "the lower 16 bits are still there. You have added what makes the upper ones right: now set "
    "the lower ones to 0, with & ~0xFFFF or by shifting right and left"
)
@_rounding
def _not_cut(bits: Tensor) -> Tensor:
    return bits + 0x7FFF + ((bits >> 16) & 1)


MISTAKES = (
    _truncation,
    _halves_up,
    _carry_lost,
    _nan_to_infinity,
    _subnormals_flushed,
    _sign_lost,
    _zero_without_sign,
    _overflow_kept_finite,
    _not_cut,
)

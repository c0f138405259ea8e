"""What quantization is given, and the messages when it is not as it must be."""

import torch
from torch import Tensor

from shrink.arguments import whole_number
from shrink.tensors import check_plain

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_floats(x: Tensor, what: str = "x") -> None:
    """Raise unless it is a dense tensor of floating point, 16, 32 or 64 bits, with values.

    Integers are refused and not converted: pixels of 0 to 255 are not the images that a model was
    trained on, and bool or complex have no order of their own.
    """
    check_dense(x, what)
    if x.dtype not in FLOATS:
        raise TypeError(f"{what} must be floating point of 16, 32 or 64 bits, not {x.dtype}")


def check_integers(q: Tensor, what: str = "q") -> None:
    """Raise unless it is a dense tensor of integers, with values."""
    check_dense(q, what)
    if q.is_floating_point() or q.is_complex() or q.dtype == torch.bool:
        raise TypeError(f"{what} must be integers, not {q.dtype}")


def whole_numbers(q: Tensor, what: str = "q") -> Tensor:
    """A dense tensor of integers, or of floats that are whole, as int64; raises for any other."""
    if not isinstance(q, Tensor) or not q.is_floating_point():
        check_integers(q, what)
        return q.long()
    check_dense(q, what)
    values = q.detach().double()
    if not bool((values == values.round()).all()):  # false of NaN, too
        raise ValueError(f"{what} must be whole numbers, not {values[values != values.round()][0]}")
    return values.long()


def check_dense(x: Tensor, what: str) -> None:
    check_plain(what, x)
    if x.is_meta:
        raise ValueError(f"{what} is on meta, where there are no values")


def as_bound(x: Tensor | float, what: str) -> Tensor:
    """A number, or a tensor of them, as float32 without gradient; raises unless they are real."""
    try:
        bound = x if isinstance(x, Tensor) else torch.as_tensor(x)
    except (RuntimeError, TypeError, ValueError):
        raise TypeError(f"{what} must be a number or a tensor, not a {type(x).__name__}") from None
    check_dense(bound, what)
    dtype = bound.dtype
    if dtype.is_complex or dtype == torch.bool:
        raise TypeError(f"{what} must be real numbers, not {dtype}")
    return bound.detach().to(torch.float32)


def refuse_nan(total: Tensor, x: Tensor) -> None:
    """Raise `ValueError` where the sum of all, which is else finite, is NaN; with how many are."""
    if total.isnan():
        raise ValueError(f"{int(x.isnan().sum())} of {x.numel()} values are NaN")


def refuse_nonfinite(x: Tensor, what: str) -> None:
    """Raise `ValueError` when some are NaN or infinite, with how many."""
    nans, infinities = int(x.isnan().sum()), int(x.isinf().sum())
    if nans or infinities:
        raise ValueError(f"{what} has {nans} NaN and {infinities} infinite of {x.numel()} values")


def packed_bits(num_bits: int) -> int:
    """The number of bits of integers that are packed; raises unless it is a whole one of 1 to 7."""
    return whole_number("num_bits", num_bits, 1, 7)


def int8_bits(weight_bits: int, activation_bits: int) -> tuple[int, int]:
    """Both numbers of bits; raises unless they are whole, and int8 holds so many."""
    return (
        whole_number("weight_bits", weight_bits, 2, 8),
        whole_number("activation_bits", activation_bits, 2, 8),
    )

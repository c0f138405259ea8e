"""The signed integers of `num_bits`: their limits, what a number rounds to, what is not int8.

Where a number is halfway between two integers, both are right.
"""

from typing import Any

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Wrong, kind_of, place_of


def limits(num_bits: int) -> tuple[int, int]:
    """The lowest and the highest of so many bits."""
    return -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1


def neighbours(
    exact: Tensor, q_min: int, q_max: int, slack: Tensor | float
) -> tuple[Tensor, Tensor]:
    """The lowest and the highest right integer for each number: they differ where it is a tie.

    A number counts as a tie when it is within `slack` of one.
    """
    low, high = (exact - 0.5 - slack).ceil(), (exact + 0.5 + slack).floor()
    return low.clamp(q_min, q_max).long(), high.clamp(q_min, q_max).long()


def not_int8(q: Any, x: Tensor, right: Tensor) -> Wrong | None:
    """What is wrong with q before its numbers are looked at: it should be int8 of x's shape."""
    if not isinstance(q, Tensor):
        return Wrong("the integers are a tensor", expected=right, given=q)
    if q.dtype != torch.int8 or q.layout != torch.strided:
        found = kind_of(q)
        return Wrong("the integers are of dtype torch.int8", expected=right, given=found)
    if q.shape != x.shape or q.device != x.device:
        return Wrong(
            "the integers have the shape and device of the numbers that they stand for",
            expected=place_of(x.shape, x.device),
            given=place_of(q.shape, q.device),
        )
    return None


def comparable(result: Any) -> Any:
    """A dense tensor as what `==` compares: dtype, shape and numbers. Anything else as it is."""
    if not isinstance(result, Tensor) or result.layout != torch.strided:
        return result
    return str(result.dtype), tuple(result.shape), result.tolist()

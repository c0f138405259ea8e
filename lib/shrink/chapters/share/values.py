"""A number for each value of a codebook, as the checks of chapter 04 compare them."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Wrong
from shrink.classroom.exercises.numbers import Near


def near_values(result: Any) -> Any:
    """A tensor by its shape and what is near its numbers; anything else as it is."""
    if not isinstance(result, Tensor) or result.layout != torch.strided:
        return result
    numbers = result.detach().double().flatten()
    nan = tuple(numbers.isnan().tolist())
    return tuple(result.shape), nan, Near(tuple(numbers.nan_to_num().tolist()))


def wrong_values(
    given: Any, right: Tensor, name: str, shape: str, why: Callable[[int], str], atol: float
) -> Wrong | None:
    """What is wrong with the values `given`, if anything.

    Args:
        right: the right ones, float (k,).
        name: what they are together, as "the codebook".
        shape: how it is said that there must be k of them.
        why: the number of a value → why it is what it is.
        atol: how far each may be off, besides 1e-4 of itself.
    """
    if not isinstance(given, Tensor) or not given.is_floating_point():
        return Wrong(f"{name} is a float tensor", expected=right, given=given)
    if given.shape != right.shape or given.device != right.device:
        return Wrong(shape, expected=right, given=given)
    near = torch.isclose(given.detach().double(), right.double(), rtol=1e-4, atol=atol)
    if near.all():
        return None
    i = int((~near).nonzero()[0])
    return Wrong(f"{why(i)}; yours is {given[i]:.4g}", expected=right, given=given)

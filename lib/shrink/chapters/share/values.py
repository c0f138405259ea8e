"""What the checks of `update` and `codebook_gradient` share: a number for each value."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Wrong
from shrink.classroom.exercises.numbers import Near


def some_assignments(rng: random.Random, count: int, k: int, empty: Sequence[int]) -> Tensor:
    """`count` numbers below k, int64: each once where there is room, none of those in `empty`."""
    numbers = [i for i in range(k) if i not in empty]
    assignments = [*numbers, *(rng.choice(numbers) for _ in range(count - len(numbers)))]
    rng.shuffle(assignments)
    return torch.tensor(assignments[:count])


def near_values(result: Any) -> Any:
    """What two results are compared by: a tensor's shape and its numbers, roughly."""
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
        why: the number of a value → the reason for its right value.
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

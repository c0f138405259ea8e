"""What the checks of exercises 1 to 3 of chapter 10 share: kinds of tensors, and near numbers."""

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Wrong, kind_of, place_of

TOLERANCE = 1e-4  # float32 sums differ with their order


@dataclass(frozen=True, eq=False)
class Close:
    """The numbers of a tensor, which equal others that are near them, in the same shape.

    Where two numbers are right, `either` holds the others.
    """

    numbers: Tensor
    either: Tensor | None = None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Close) or self.numbers.shape != other.numbers.shape:
            return False
        pairs = product(self._options(), other._options())
        return bool(torch.stack([is_near(a, b) for a, b in pairs]).any(0).all())

    def _options(self) -> list[Tensor]:
        return [self.numbers] if self.either is None else [self.numbers, self.either]


def as_numbers(tensor: Tensor) -> Tensor:
    """In float64 on the CPU, without a graph, and of no type but torch's own."""
    return tensor.detach().as_subclass(Tensor).cpu().double()


def is_near(given: Tensor, right: Tensor) -> Tensor:
    """Where numbers agree, to the precision of float32."""
    return torch.isclose(given, right, rtol=TOLERANCE, atol=TOLERANCE / 10, equal_nan=True)


def is_floats(given: Any) -> bool:
    """Whether it is a tensor of real floats that has values and is not sparse."""
    return (
        isinstance(given, Tensor)
        and given.layout == torch.strided
        and not given.is_meta
        and given.is_floating_point()
    )


def wrong_kind(given: Any, what: str, like: Tensor, whose: str) -> Wrong | None:
    """What is wrong with a result that is to be a tensor such as `like`, its numbers aside."""
    place = place_of(like.shape, like.device)
    if not isinstance(given, Tensor):
        return _unlike(f"{what} is a tensor", place, given)
    if given.is_meta or given.layout != torch.strided or given.dtype != like.dtype:
        stored = ", without values (meta)" if given.is_meta else ""
        return _unlike(f"{what} has the type of {whose}", kind_of(like), kind_of(given) + stored)
    if given.shape != like.shape or given.device != like.device:
        told = f"{what} has the shape and device of {whose}"
        return _unlike(told, place, place_of(given.shape, given.device))
    if not as_numbers(given).isfinite().all():
        return _unlike(f"{what} holds numbers that are not finite", "finite numbers", given)
    return None


def _unlike(told: str, expected: str, given: Any) -> Wrong:
    """No hint: what is wrong is none of the known mistakes, whatever the numbers are."""
    return Wrong(told, expected=expected, given=given, known_mistakes=False)

"""Numbers as answers give them: of Python, numpy or torch, whole or not, near or equal."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor


def plain(number: Any) -> Any:
    """The Python number for one of numpy or torch; anything else as it is."""
    if isinstance(number, np.generic | np.ndarray | Tensor) and number.ndim == 0:
        return number.item()
    return number


def whole(number: Any) -> int | None:
    """The number as an int, or None where it is not a whole number by its type."""
    number = plain(number)
    return number if type(number) is int else None


def count(number: Any) -> Any:
    """The same for an int and a float of the same value; what is no number as it is."""
    number = plain(number)
    return int(number) if isinstance(number, float) and number.is_integer() else number


def numbers(result: Any) -> tuple[float, ...] | None:
    """The floats of a list, tuple, tensor or array with one axis; None for anything else."""
    found = _listed(result)
    if found is None or not {type(number) for number in found} <= {int, float}:
        return None
    return tuple(map(float, found))


def whole_numbers(result: Any) -> list[int] | None:
    """The ints of a list, tuple, tensor or array with one axis; None for anything else.

    >>> whole_numbers(np.array([1, 2])), whole_numbers([1, 2.0])
    ([1, 2], None)
    """
    found = _listed(result)
    return found if found is not None and {type(n) for n in found} <= {int} else None


def _listed(result: Any) -> list | None:
    if isinstance(result, Tensor) and result.layout != torch.strided:
        return None
    if isinstance(result, np.ndarray | Tensor) and result.ndim == 1:
        result = result.tolist()
    return [plain(number) for number in result] if isinstance(result, list | tuple) else None


@dataclass(frozen=True, eq=False)
class Near:
    """Numbers that equal others when they are near them, whatever the order of the sums was."""

    numbers: tuple[float, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Near) and near(self.numbers, other.numbers, 1e-6)


def near(a: Sequence[float], b: Sequence[float], tolerance: float) -> bool:
    """Whether there are as many, and each is near the other's, by `tolerance` relative."""
    return len(a) == len(b) and all(
        math.isclose(x, y, rel_tol=tolerance, abs_tol=tolerance / 1000)
        for x, y in zip(a, b, strict=True)
    )


@dataclass(frozen=True, eq=False)
class About:
    """A number that equals others that are near it: searches differ in the steps they take."""

    value: float
    relative: float  # how far they may be apart, as a part of the larger one
    absolute: float = 0.0  # or in any case

    def __eq__(self, other: object) -> bool:
        return isinstance(other, About) and math.isclose(
            self.value, other.value, rel_tol=self.relative, abs_tol=self.absolute
        )


def about(result: Any, relative: float, absolute: float = 0.0) -> Any:
    """A number of any kind, or a tensor of one, as an `About`; anything else as it is."""
    one = isinstance(result, Tensor | np.ndarray) and math.prod(result.shape) == 1
    number = plain(result.reshape(()) if one else result)
    return About(float(number), relative, absolute) if type(number) in (int, float) else result

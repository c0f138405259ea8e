"""What the checks of chapter 01 share: numbers as answers give them, and inputs that tell."""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from shrink.classroom.exercises.attempt import Mistake

_TRIES = 100


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
    if isinstance(result, np.ndarray | Tensor) and result.ndim == 1:
        result = result.tolist()
    if not isinstance(result, list | tuple):
        return None
    found = [plain(number) for number in result]
    return tuple(map(float, found)) if {type(n) for n in found} <= {int, float} else None


@dataclass(frozen=True, eq=False)
class Near:
    """Numbers that equal others when they are near them, whatever the order of the sums was."""

    numbers: tuple[float, ...]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Near) and near(self.numbers, other.numbers, 1e-6)


def near(a: Sequence[float], b: Sequence[float], tolerance: float) -> bool:
    return len(a) == len(b) and all(
        math.isclose(x, y, rel_tol=tolerance, abs_tol=tolerance / 1000)
        for x, y in zip(a, b, strict=True)
    )


def telling(
    draws: Iterable[Callable[[], tuple]],
    right: Callable[..., Any],
    mistakes: Sequence[Mistake],
    alike: Callable[[Any], Any],
    copied: Callable[[tuple], tuple] = tuple,
) -> Iterator[tuple]:
    """Inputs from each of `draws` that tell the mistakes apart, so that each gets its own hint.

    Of the mistakes that were right on all inputs before, no two are wrong in the same way.

    Args:
        right: the right answer to inputs.
        alike: what a check sees of an answer.
        copied: gives a mistake inputs of its own; needed where it changes them.
    """
    left = list(mistakes)
    for draw in draws:
        for _ in range(_TRIES):
            args = draw()
            expected = alike(right(*args))
            seen = [_outcome(mistake, copied(args), alike) for mistake in left]
            wrong = [outcome for outcome in seen if outcome != expected]
            if all(a != b for i, a in enumerate(wrong) for b in wrong[:i]):
                break
        left = [mistake for mistake, it in zip(left, seen, strict=True) if it == expected]
        yield args


def _outcome(mistake: Mistake, args: tuple, alike: Callable[[Any], Any]) -> Any:
    try:
        return alike(mistake.function(*args))
    except Exception as error:
        return repr(error)

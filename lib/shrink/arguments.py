"""Numbers that a function is given: of Python, numpy or torch, whole or real, and never a bool."""

import operator
from numbers import Real

import numpy as np
from torch import Tensor


def whole(number: object) -> int | None:
    """The Python int for a whole number of Python, numpy or torch; None for anything else.

    A bool is none, nor is a float, nor what has an axis.

    >>> import torch
    >>> whole(np.uint8(4)), whole(torch.tensor(4)), whole(4.0), whole(True)
    (4, 4, None, None)
    """
    if isinstance(number, Tensor | np.ndarray) and number.ndim:
        return None
    number = number.item() if isinstance(number, Tensor | np.generic | np.ndarray) else number
    if isinstance(number, bool):
        return None
    try:
        return operator.index(number)
    except TypeError:
        return None


def whole_number(name: str, number: object, least: int, most: int | None = None) -> int:
    """The Python int for the argument of this name, as `whole` has it.

    Raises:
        TypeError: it is no whole number.
        ValueError: it is less than `least` or more than `most`.

    >>> whole_number("gap_bits", np.int64(5), 1, 8)
    5
    """
    found = whole(number)
    if found is None:
        raise TypeError(f"{name} must be a whole number, not {number!r}")
    if found < least or (most is not None and found > most):
        allowed = f"be at least {least}" if most is None else f"lie between {least} and {most}"
        raise ValueError(f"{name} must {allowed}, not {found}")
    return found


def whole_seed(seed: object) -> int:
    """The Python int for a seed, as torch's generators want it; errors as of `whole_number`."""
    return whole_number("seed", seed, -(2**63), 2**64 - 1)


def real_number(name: str, number: object) -> int | float:
    """The Python number for the argument of this name, which cannot overflow; `TypeError` if none.

    >>> real_number("on_chip", np.uint8(200)) * 8
    1600
    """
    check_real(name, number)
    return number.item() if isinstance(number, np.generic) else number


def check_real(name: str, number: object) -> None:
    """Raise `TypeError` unless it is a real number of Python or numpy, and no bool."""
    if not isinstance(number, Real) or isinstance(number, bool):
        raise TypeError(f"{name} must be a number, not {number!r}")

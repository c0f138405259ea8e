"""What the coders ask of their input: numbers of symbols, and counts of them."""

import numpy as np
import torch
from torch import Tensor

from shrink import arguments
from shrink.coding.stored import named, plain

MOST = 2**16  # symbols in an alphabet
TOTAL = 2**57  # of the counts: sums over 57 levels then stay below 2^63


def integers(values: Tensor, name: str) -> np.ndarray:
    """The values of an integer tensor of one axis, on the CPU.

    Raises:
        TypeError: it is no plain tensor (sparse, say), or not of integers.
        ValueError: it has not one axis.
    """
    if not isinstance(values, Tensor):
        raise TypeError(f"{name} must be a tensor, not a {type(values).__name__}")
    with named(name):
        values = plain(values)
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        raise TypeError(f"{name} must be integers, not {values.dtype}")
    if values.dim() != 1:
        raise ValueError(f"{name} must have one axis, not the shape {tuple(values.shape)}")
    return values.numpy()


def alphabet(values: Tensor, name: str) -> np.ndarray:
    """A number for each symbol, from 0: int64; or as `integers`, and `ValueError`."""
    row = integers(values, name).astype(np.int64)
    if len(row) > MOST:
        raise ValueError(f"{name} must be of at most {MOST} symbols, not {len(row)}")
    if len(row) and row.min() < 0:
        raise ValueError(f"{name} must be at least 0, not {row.min()}")
    return row


def occurrences(counts: Tensor) -> np.ndarray:
    """How often each symbol occurs, at most 2^57 together: int64; or as `alphabet`."""
    row = alphabet(counts, "counts")
    if sum(row.tolist()) > TOTAL:
        raise ValueError(f"counts must be at most 2^57 together, not {sum(row.tolist())}")
    return row


def whole(value: int, name: str) -> int:
    """The Python int for a whole number, as `arguments.whole` has it; else `TypeError`."""
    found = arguments.whole(value)
    if found is None:
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    return found

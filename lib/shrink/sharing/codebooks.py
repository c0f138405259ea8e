"""A codebook: a few values, and the numbers of those that stand for given ones."""

import numpy as np
import torch
from torch import Tensor

from shrink.arguments import whole, whole_number
from shrink.tensors import check_floating, check_plain, check_whole

MOST = 2**16  # values in a codebook


def assign(values: Tensor, codebook: Tensor) -> Tensor:
    """The number of the nearest value in the codebook, for each of the values; at a tie the lower.

    Args:
        values: float, any shape.
        codebook: float, rising, of one axis, 1 to 65 536 values.

    Returns:
        uint8 of the shape of `values` for a codebook of at most 256 values, else int32.

    Raises:
        TypeError: the values are no dense tensor of floating point.
        ValueError: NaN or infinities, or a codebook that is empty, too long or not rising.

    >>> assign(torch.tensor([0.4, 0.5, 0.6, 9.0]), torch.tensor([0.0, 1.0]))
    tensor([0, 0, 1, 1], dtype=torch.uint8)
    """
    check_values(values)
    check_floating(codebook, "the codebook")
    check_k(codebook.numel())
    if codebook.dim() != 1 or not (codebook[1:] >= codebook[:-1]).all():
        raise ValueError(f"a codebook has one axis and rises, this one is {codebook}")
    return narrow(nearest(values, codebook), len(codebook))


def nearest(values: Tensor, codebook: Tensor) -> Tensor:
    """As `assign`, for a codebook that was checked: int64."""
    codebook = codebook.double()
    middles = (codebook[1:] + codebook[:-1]) / 2
    return torch.bucketize(values.detach().double().contiguous(), middles)


def narrow(numbers: Tensor, k: int) -> Tensor:
    """The numbers below k in the type that they are stored in: uint8, or int32."""
    return numbers.to(torch.uint8 if k <= 256 else torch.int32)


def rebuild(assignments: Tensor, codebook: Tensor) -> Tensor:
    """The values that the numbers stand for: of the codebook's type and the assignments' shape.

    Raises:
        TypeError: the codebook is no dense tensor, or the assignments none of whole numbers.
        ValueError: an assignment has no value.

    >>> rebuild(torch.tensor([[1, 0], [0, 0]]), torch.tensor([0.5, 2.0]))
    tensor([[2.0000, 0.5000],
            [0.5000, 0.5000]])
    """
    check_plain("the codebook", codebook)
    return codebook[below(len(codebook), assignments)]


def below(k: int, assignments: Tensor) -> Tensor:
    """The assignments as int64, each 0 to k - 1; raises as `rebuild`."""
    check_whole(assignments, "assignments")
    if assignments.numel():
        low, high = map(int, assignments.aminmax())
        if not 0 <= low <= high < k:
            raise ValueError(f"assignments are 0 to {k - 1}, not {low} to {high}")
    return assignments.long()


def distortion(values: Tensor, codebook: Tensor) -> float:
    """The mean squared distance of the values to the nearest in the codebook.

    >>> distortion(torch.tensor([0.0, 1.0, 4.0]), torch.tensor([1.0, 4.0]))  # (1 + 0 + 0) / 3
    0.3333333333333333
    """
    left = rebuild(assign(values, codebook), codebook.double())
    return float((values.detach().double() - left).square().mean())


def num_bytes(count: int, k: int) -> int:
    """The bytes of `count` shared weights: packed numbers of ⌈log2 k⌉ bits, k values of 4 bytes.

    >>> num_bytes(1000, 16)  # 500 and 64
    564
    """
    count, k = whole_number("count", count, 0), check_k(k)
    return -(-count * (k - 1).bit_length() // 8) + 4 * k


def in_order(values: Tensor) -> np.ndarray:
    """The numbers as float32, in rising order, as float64."""
    check_floating(values, "the values")
    values = values.detach().float().resolve_neg()
    check_values(values)
    if values.numel() == 0:
        raise ValueError("a codebook is found for at least one number, got none")
    return np.sort(values.cpu().numpy(), axis=None).astype(np.float64)


def check_values(values: Tensor) -> None:
    """Raise unless they are floating point, dense, and finite."""
    check_floating(values, "the values")
    if values.is_meta:
        raise ValueError("there are no values: they are on the device meta")
    bad = int((~values.isfinite()).sum())
    if bad:
        raise ValueError(f"{bad} of {values.numel()} values are NaN or infinite")


def check_k(k: int, most: int = MOST) -> int:
    """The k given, as an int; raises unless it is a whole number from 1 to `most`."""
    found = whole(k)
    if found is None or not 1 <= found <= most:
        raise ValueError(f"a codebook has 1 to {most} values, not {k!r}")
    return found

"""Products of signs: 64 of them in a word, multiplied by XNOR and added up by counting bits.

With 1 for a bit that is set and -1 for one that is not, two bits have the product 1 where they are
equal. So a sum of k products is k minus twice the number of bits that differ.
"""

import numpy as np
import torch
from torch import Tensor

from shrink.arguments import whole_number
from shrink.quantization.arguments import check_dense

WORD = 64  # signs
CHUNK = 2**16  # words at a time: few enough for the cache


def pack_signs(x: Tensor) -> Tensor:
    """The signs of each row, one bit each, of 0 a set one: (n, k) → int64 (⌈k / 64⌉, n) on the CPU.

    The words of a row stand in a column, so that numpy adds up many rows at once. What is left of
    the last word is 0 in every row, and so never differs.

    Args:
        x: real numbers of two axes: weights by rows, or inputs.

    Raises:
        TypeError: x is complex, or sparse, or no tensor.
        ValueError: x has not two axes, or has NaN, which has no sign (with how many).

    >>> pack_signs(torch.tensor([[0.5, -1.0, 0.0], [-1.0, -1.0, 1.0]]))  # 1 + 4 and 4
    tensor([[5, 4]])
    """
    check_dense(x, "x")
    if x.is_complex():
        raise TypeError(f"signs are of real numbers, not of {x.dtype}")
    if x.dim() != 2:
        raise ValueError(f"signs are packed by rows, and x has the shape {tuple(x.shape)}")
    x = x.detach().cpu()
    if nans := int(x.isnan().sum()):
        raise ValueError(f"{nans} of {x.numel()} values are NaN, which has no sign")
    bits = np.packbits((x >= 0).numpy(), axis=1, bitorder="little")
    whole = np.zeros((len(x), -(-x.shape[1] // WORD) * WORD // 8), np.uint8)
    whole[:, : bits.shape[1]] = bits
    return torch.from_numpy(np.ascontiguousarray(whole.view("<u8").T).view(np.int64))


def matmul(a: Tensor, b: Tensor, k: int) -> Tensor:
    """Sums of products of signs, in int32: of n rows and of m rows of length k → (n, m).

    One row of `a` after the other meets all of `b`: fast for a single input, whose weights are then
    read in a 32nd of the bytes. For many inputs a float product reads each weight once for all of
    them, and wins.

    Args:
        a, b: what `pack_signs` makes of (n, k) and (m, k).
        k: the number of signs in a row, which the words alone do not tell.

    Source: Rastegari et al. 2016, "XNOR-Net", section 3.2; Courbariaux et al. 2016, "Binarized
    neural networks", section 3.

    Raises:
        TypeError: one is no int64 tensor, or k is no whole number.
        ValueError: one has not two axes, or other words than rows of k signs have.

    >>> a = pack_signs(torch.tensor([[1.0, -1.0, 1.0]]))
    >>> b = pack_signs(torch.tensor([[1.0, 1.0, 1.0], [-1.0, 1.0, -1.0]]))
    >>> matmul(a, b, k=3)
    tensor([[ 1, -3]], dtype=torch.int32)
    """
    k = whole_number("k", k, 0, 2**31 - 1)
    rows, columns = (_words(x, k, name) for x, name in ((a, "a"), (b, "b")))
    sums = np.empty((rows.shape[1], columns.shape[1]), np.int32)
    block = max(CHUNK // max(columns.shape[1], 1), 1)
    for row, into in zip(rows.T[:, :, None], sums, strict=True):
        _count_differing(columns[:block], row[:block], into)
        for i in range(block, len(row), block):
            into += _count_differing(columns[i : i + block], row[i : i + block])
    sums *= -2
    sums += k
    return torch.from_numpy(sums)


def _count_differing(a: np.ndarray, b: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """The bits that differ, added up over the words of each column."""
    return np.add.reduce(np.bitwise_count(a ^ b), axis=0, dtype=np.int32, out=out)


def _words(x: Tensor, k: int, name: str) -> np.ndarray:
    check_dense(x, name)
    if x.dtype != torch.int64:
        raise TypeError(f"{name} must be int64, the words of pack_signs, not {x.dtype}")
    if x.dim() != 2 or len(x) != -(-k // WORD):
        raise ValueError(f"{name} of shape {tuple(x.shape)} is not the words of {k} signs a row")
    return x.cpu().numpy().view(np.uint64)

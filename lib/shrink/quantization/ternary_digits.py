"""Ternary digits, five to a byte: 3^5 = 243 of its 256 values, 1.6 bits a digit."""

import numpy as np
import torch
from torch import Tensor

from shrink.arguments import whole_number
from shrink.quantization.arguments import check_dense, whole_numbers

DIGITS = 5  # in a byte
PLACES = 3 ** np.arange(DIGITS, dtype=np.uint8)[::-1]  # 81, 27, 9, 3, 1


def pack_ternary(t: Tensor) -> Tensor:
    """Numbers -1, 0 and 1 as digits 0, 1 and 2 of base 3: uint8 of ⌈n / 5⌉ bytes.

    The first digit of a byte counts most; what is left of the last byte are digits 0.

    Args:
        t: n numbers, integers or whole floats, any shape.

    Raises:
        TypeError: t is bool, complex or sparse.
        ValueError: a number is another.

    >>> pack_ternary(torch.tensor([1, 0, -1, 1, 0, 1]))  # 2·81 + 27 + 0 + 2·3 + 1, 2·81
    tensor([196, 162], dtype=torch.uint8)
    """
    digits = whole_numbers(t, "t").cpu().flatten() + 1
    if len(wrong := digits[(digits < 0) | (digits > 2)]):
        raise ValueError(f"ternary numbers are -1, 0 and 1, not {int(wrong[0]) - 1}")
    padded = np.zeros(-(-len(digits) // DIGITS) * DIGITS, np.uint8)
    padded[: len(digits)] = digits.numpy()
    return torch.from_numpy(padded.reshape(-1, DIGITS) @ PLACES).to(t.device)


def unpack_ternary(packed: Tensor, count: int) -> Tensor:
    """The `count` numbers that `pack_ternary` was given: (count,) int8.

    Raises:
        TypeError: `packed` is no tensor, or count is not whole.
        ValueError: `packed` is not uint8 of one axis, its length is not that of so many numbers,
            or a byte is above 242.

    >>> unpack_ternary(torch.tensor([196, 162], dtype=torch.uint8), count=6)
    tensor([ 1,  0, -1,  1,  0,  1], dtype=torch.int8)
    """
    count = whole_number("count", count, 0)
    check_dense(packed, "packed")
    if packed.dtype != torch.uint8 or packed.dim() != 1:
        raise ValueError(f"packed must be uint8 of one axis, got {packed.dtype}, {packed.dim()}")
    if len(packed) != -(-count // DIGITS):
        raise ValueError(f"{count} ternary numbers are not {len(packed)} bytes")
    if len(packed) and int(packed.max()) >= 3**DIGITS:
        raise ValueError(f"a byte of five ternary digits is 0 to 242, not {int(packed.max())}")
    digits = packed.cpu().numpy()[:, None] // PLACES % 3
    return torch.from_numpy(digits.reshape(-1)[:count].astype(np.int8) - 1).to(packed.device)

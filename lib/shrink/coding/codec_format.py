"""The Deep Compression file: its constants, and how much work a file may cause its reader.

    "SHRK", version, number of tensors
    of each tensor: name, kind, shape, and what the kind needs
    CRC-32 of all that

Version 2 may store, in place of a tensor that equals an earlier one, that one's number alone, and
version 3 integers that are coded, beside their scales. In version 4 the integers of several tensors
are one arithmetic code, which stands before the checksum, and a name begins with the number of
bytes that it shares with the name before. A file without these is written as version 1, so that an
earlier Shrink reads it too.
"""

import math
from dataclasses import dataclass

import torch

from shrink.arguments import whole_number
from shrink.coding import ans

MAGIC, VERSION = b"SHRK", 4
AXES, TENSORS, NAME = 8, 4096, 255  # at most: axes of a tensor, tensors, bytes of a name
DENSE, QUANTIZED, SHARED, SPARSE, TIED, SCALED, ARITHMETIC = range(7)  # kinds of tensors
KINDS = {1: SPARSE, 2: TIED, 3: SCALED, 4: ARITHMETIC}  # the last kind that a version knows
VALUES = 256  # in a codebook, at most
CODES = ("fixed", "huffman", "ans")
LONGEST = 15  # bits of a Huffman code, so that its length takes 4
PRECISION = 12  # of ANS: its frequencies add up to 2^12
DTYPES = (
    torch.float32,
    torch.float16,
    torch.bfloat16,
    torch.float64,
    torch.int8,
    torch.uint8,
    torch.int16,
    torch.int32,
    torch.int64,
    torch.bool,
)
MOST = 2**20  # numbers in all tensors of a file, unless another limit is named
STEPS = MOST // 16  # of work for so many numbers: half a second or so on a laptop
TENSOR_STEPS = {DENSE: 2, QUANTIZED: 36, SHARED: 8, SPARSE: 16, TIED: 1, SCALED: 44, ARITHMETIC: 16}


class CodecError(ValueError):
    """Bytes are no Deep Compression file, or a damaged one: the message says what, and where."""


@dataclass
class Limits:
    """What a file may still ask for: numbers in tensors, and steps of work to decode them.

    Writer and reader keep the same limits, so that whatever is written can be read. A step is
    some ten microseconds: one round of ANS, or what 32 bytes of Huffman's stream take.
    """

    numbers: int
    steps: int

    @classmethod
    def of(cls, most: int) -> "Limits":
        """The limits of a file with at most `most` numbers; raises unless it is 0 to 2^35 - 1."""
        most = whole_number("most", most, 0, 2**35 - 1)
        return cls(most, max(STEPS, most // 16))

    def take_tensor(self, kind: int, shape: tuple[int, ...]) -> None:
        """Count a tensor; an axis of length 0 counts as 1. Raises `ValueError` if it is too many.

        A tensor that is the same as an earlier one counts as well.
        """
        numbers = math.prod(max(size, 1) for size in shape)
        if numbers > self.numbers:
            raise ValueError(
                f"{shape} is more than the {self.numbers} numbers allowed (`most` allows more)"
            )
        self.numbers -= numbers
        self.take_steps(TENSOR_STEPS[kind])

    def take_steps(self, steps: int) -> None:
        """Count work; raises `ValueError` if it is too much."""
        if steps > self.steps:
            raise ValueError(
                f"{steps} steps to decode are more than the {self.steps} left (`most` allows more)"
            )
        self.steps -= steps


def steps_of(code: str, count: int, k: int, size: int) -> int:
    """The steps to decode `count` symbols below k from a stream of `size` bytes."""
    if code == "fixed":
        return 2 + count // 512
    if code == "huffman":
        return 32 + size // 32
    return 24 + k // 4 + ans.rounds(count) + count // 32

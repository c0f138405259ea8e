"""Adaptive arithmetic coding of integers most of which are 0: no tables, and contexts instead.

An integer becomes decisions between two: is it 0, is it negative, how many bits has it, which are
they. Each decision has the share of ones among those of its *context* so far as its probability p,
and costs -log2 p bits: arithmetic coding narrows an interval to a share p of it. Whoever decodes
has seen the same decisions and knows p, so nothing but the interval is stored.
"""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from shrink.coding.stored import plain

BITS = 16  # of a probability
MOST = 255  # decisions that a context counts; then both counts are halved, so that it can change
WHOLE, LEAST = 2**32, 2**24  # the interval's width, and where another byte of it is settled
DENSITIES = (16, 8, 4, 2)  # a column's share of numbers that are not 0, in classes from 1/16 on
STEP = 4  # numbers in a step of work, as `codec_format.Limits` counts it; one not 0 is two more


class Context:
    """How often decisions of one kind were 0 and 1.

    >>> context = Context()
    >>> context.share(), context.seen(1), context.share()  # of 2^16: a half, and three quarters
    (32768, None, 49152)
    """

    def __init__(self) -> None:
        self.counts = [0, 0]

    def share(self) -> int:
        """The probability of 1 in 2^16: (n1 + 1/2) / (n + 1), Krichevsky and Trofimov's."""
        zeros, ones = self.counts
        return ((2 * ones + 1) << BITS) // (2 * (zeros + ones) + 2)

    def seen(self, bit: int) -> None:
        self.counts[bit] += 1
        if sum(self.counts) > MOST:
            self.counts = [n >> 1 for n in self.counts]


@dataclass
class Encoder:
    """Decisions into bytes: the interval low to low + width, of which leading bytes are settled."""

    low: int = 0
    width: int = WHOLE - 1
    settled: bytearray = field(default_factory=bytearray)

    def code(self, context: Context, bit: int) -> int:
        ones = (self.width >> BITS) * context.share()
        if bit:
            self.width = ones
        else:
            self.low += ones
            self.width -= ones
        context.seen(bit)
        while self.width < LEAST:
            self._settle()
        return bit

    def _settle(self) -> None:
        if self.low >= WHOLE:  # the sum has carried into bytes that are settled already
            self.low -= WHOLE
            at = len(self.settled) - 1
            while self.settled[at] == 255:
                self.settled[at] = 0
                at -= 1
            self.settled[at] += 1
        self.settled.append(self.low >> 24)
        self.low = (self.low & (LEAST - 1)) << 8
        self.width <<= 8

    def finish(self) -> bytes:
        """The shortest bytes in the interval; those after the end count as 0."""
        for kept in range(5):
            unit = 1 << 8 * (4 - kept)
            value = -(-self.low // unit) * unit
            if value < self.low + self.width:
                break
        self.low = value
        for _ in range(kept + 1):
            self._settle()
        return bytes(self.settled[:-1]).rstrip(b"\0")


@dataclass
class Decoder:
    """The decisions again, from the same contexts."""

    stream: bytes
    at: int = 4
    width: int = WHOLE - 1
    value: int = field(init=False)

    def __post_init__(self) -> None:
        self.value = int.from_bytes(self.stream[:4].ljust(4, b"\0"), "big")
        if self.value >= self.width:  # beyond all intervals, and further with each byte
            raise ValueError("it begins with four bytes of 255, as no arithmetic code does")

    def code(self, context: Context, _: int) -> int:
        ones = (self.width >> BITS) * context.share()
        bit = int(self.value < ones)
        if bit:
            self.width = ones
        else:
            self.value -= ones
            self.width -= ones
        context.seen(bit)
        while self.width < LEAST:
            byte = self.stream[self.at] if self.at < len(self.stream) else 0
            self.value, self.width, self.at = self.value << 8 | byte, self.width << 8, self.at + 1
        return bit

    def finish(self) -> None:
        """Raise `ValueError` if bytes are left over."""
        if self.at < len(self.stream):
            raise ValueError(f"{len(self.stream) - self.at} bytes are left over")


Contexts = defaultdict[Hashable, Context]
Take = Callable[[int], None]  # counts steps of work, and raises where they are too many


def encode(tensors: Sequence[Tensor], take: Take = lambda _: None) -> Tensor:
    """All integers of some tensors as one stream of bytes, in which most of the zeros cost little.

    Each tensor has contexts of its own. Whether a number is 0 depends on the share of others in its
    column so far: of weights (outputs, ...) a column is what one input, or place of a kernel, gives
    to each output, and inputs that matter little have many zeros. So it helps to sort outputs.

    Args:
        tensors: int8, any shape; the first axis is that of rows.
        take: is told the steps of work as they are done, as `decode` will do them.

    Returns:
        uint8 (bytes,). That of no numbers is empty.

    Source: Witten, Neal, Cleary 1987, "Arithmetic Coding for Data Compression"; contexts for
        weights: Wiedemann et al. 2020, "DeepCABAC", section III.

    Raises:
        TypeError: a tensor is not int8, or sparse.

    >>> q = torch.zeros(10, 100, dtype=torch.int8)
    >>> q[::5, ::10] = 1
    >>> stream = encode([q])
    >>> len(stream), torch.equal(decode(stream, [(10, 100)])[0], q)
    (16, True)
    """
    encoder = Encoder()
    for tensor in tensors:
        tensor = plain(tensor)
        if tensor.dtype != torch.int8:
            raise TypeError(f"integers are int8, not {tensor.dtype}")
        _code_all(encoder, _rows(tensor).tolist(), take)
    return torch.from_numpy(np.frombuffer(encoder.finish(), np.uint8).copy())


def decode(
    stream: Tensor, shapes: Sequence[tuple[int, ...]], take: Take = lambda _: None
) -> list[Tensor]:
    """The integers that `encode` was given, int8 of these shapes, on the CPU.

    Args:
        stream: uint8 (bytes,), and nothing but what `encode` wrote.
        shapes: those of the tensors, in their order.
        take: as for `encode`; it may raise, to end the work.

    Source: as `encode`.

    Raises:
        TypeError: the stream is not uint8.
        ValueError: it has more bytes than these shapes take, begins as no code does, or has an
            integer that no int8 holds. Most damage is not seen: a file needs a checksum as well.
    """
    stream = plain(stream)
    if stream.dtype != torch.uint8 or stream.dim() != 1:
        raise TypeError(f"stream must be uint8 of one axis, not {stream.dtype}, {stream.dim()}")
    decoder, found = Decoder(stream.numpy().tobytes()), []
    for shape in shapes:
        tensor = torch.zeros(shape, dtype=torch.int8)
        rows = _rows(tensor)
        numbers = rows.tolist()
        _code_all(decoder, numbers, take)
        rows.copy_(torch.tensor(numbers, dtype=torch.int8).view(rows.shape))
        found.append(tensor)
    decoder.finish()
    return found


def _rows(tensor: Tensor) -> Tensor:
    """A view or copy of two axes: the first one, and all others."""
    return tensor.reshape(len(tensor) if tensor.dim() else 1, -1) if tensor.numel() else tensor[:0]


def _code_all(coder: Encoder | Decoder, rows: list[list[int]], take: Take) -> None:
    """Code rows of integers; a decoder finds zeros there, and puts its own in their place."""
    contexts: Contexts = defaultdict(Context)
    others = [0] * (len(rows[0]) if rows else 0)  # numbers in each column that are not 0
    for above, row in enumerate(rows):
        take(1 + len(row) // STEP)
        for i, number in enumerate(row):
            row[i] = _code(coder, contexts, number, _density(others[i], above))
            if row[i]:
                others[i] += 1
                take(2)  # at once: a row may be as long as the limits allow numbers


def _density(others: int, above: int) -> int:
    """The class of a column with so many numbers that are not 0, of those above.

    >>> [_density(n, above=9) for n in (0, 1, 2, 3, 5, 9)]
    [0, 2, 2, 3, 4, 4]
    """
    return sum((4 * others + 1) * part > 4 * above + 2 for part in DENSITIES)


def _code(coder: Encoder | Decoder, contexts: Contexts, number: int, density: int) -> int:
    """The number that is coded: an encoder's own, whatever a decoder is given.

    Not 0; negative; one bit after the other: the magnitude has more than this many bits; and those
    after its first bit, which is 1, from the highest on.
    """
    if not coder.code(contexts["zero", density], int(number != 0)):
        return 0
    negative = coder.code(contexts["sign"], int(number < 0))
    magnitude, length = abs(number), 1
    while length < 8 and coder.code(contexts["length", length], magnitude.bit_length() > length):
        length += 1
    found = 1
    for place in reversed(range(length - 1)):
        context = contexts["bits", length, found]
        found = found << 1 | coder.code(context, magnitude >> place & 1)
    found = -found if negative else found
    if not -128 <= found <= 127:
        raise ValueError(f"an integer is {found}, beyond int8")
    return found

"""Files of the codec drawn from its own grammar: each field valid, at an edge, or wrong.

Unlike a file that was damaged, such a file has the right checksum, and every kind of tensor, table
and stream comes in every combination.
"""

import math
import random
import zlib

import numpy as np
import torch

from shrink.coding import ans, huffman

DENSE, QUANTIZED, SHARED, SPARSE, TIED, SCALED, ARITHMETIC = range(7)
WIDTHS = (4, 2, 2, 8, 1, 1, 2, 4, 8, 1)  # bytes of a number of each type; the last is bool
SIZES = (0, 1, 1, 2, 3, 5, 8, 17, 24)
EDGES = (255, 256, 4095, 4096, 4097, 2**16, 2**20 - 1, 2**20, 2**20 + 1, 2**31, 2**35 - 1)
FLOATS = (0.5, 1.0, 1e-3, 3e38, 1e-45, 1e-38, 0.0, -0.0, -1.0, math.inf, -math.inf, math.nan)


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _frequencies(counts: torch.Tensor, precision: int) -> torch.Tensor:
    """Some that add up to 2^precision: not the best, but soon found."""
    occurring = counts > 0
    if not occurring.any():
        return counts
    left = 2**precision - int(occurring.sum())
    frequencies = counts * left // counts.sum() + occurring
    frequencies[frequencies.argmax()] += 2**precision - frequencies.sum()
    return frequencies


def drawn(rng: random.Random) -> bytes:
    """A file, of which each field is odd rarely, often or never."""
    return Grammar(rng, rng.choice([0, 0.01, 0.03, 0.1])).file()


class Grammar:
    """Draws files: a field is wrong or at an edge with the probability `odd`."""

    def __init__(self, rng: random.Random, odd: float) -> None:
        self.rng, self.odd = rng, odd

    def file(self) -> bytes:
        self.names: list[bytes] = []
        self.numbers = 0  # in arithmetic code
        tensors = self.rng.choice([0, 1, 1, 1, 2, 3, 6])
        version = self.or_odd(self.rng.choice([1, 2, 3, 4]), [0, 5, 255])
        body = bytes([version]) + varint(self.or_odd(tensors, [0, tensors + 1, 4096, 4097, 2**34]))
        for _ in range(tensors):
            body += self.name(version) + self.tensor(version)
        if version == 4:
            body += self.some(self.rng.randrange(self.numbers // 4 + 1))
        body += self.or_odd(b"", [b"\0", bytes(300)])
        content = b"SHRK" + body
        return content + zlib.crc32(content).to_bytes(4, "little")

    def or_odd(self, valid, others):
        """The valid value, or now and then one of the others."""
        return self.rng.choice(others) if self.rng.random() < self.odd else valid

    def some(self, count: int) -> bytes:
        """Random bytes, at times too many or too few, and never more than 120 000."""
        return self.rng.randbytes(
            min(max(self.or_odd(count, [count - 1, count + 1, 0]), 0), 120_000)
        )

    # ---- tensors

    def name(self, version: int) -> bytes:
        fresh = f"layer{len(self.names)}.weight".encode()
        others = [b"", b"\xff\xfe", b"\xed\xa0\x80", b"x" * 255, b"\x1b[2J\n", *self.names[:1]]
        name = self.or_odd(fresh, others)
        before = self.names[-1] if self.names else b""
        self.names.append(name)
        if version == 4:
            shared = self.or_odd(5 if name[:5] == before[:5] else 0, [0, len(before), 255])
            rest = name[shared:]
            return bytes([shared, self.or_odd(len(rest), [0, 255])]) + rest
        return bytes([self.or_odd(len(name), [0, 255, len(name) // 2])]) + name

    def tensor(self, version: int) -> bytes:
        kind = self.or_odd(self.rng.randrange(4), [TIED, SCALED, ARITHMETIC, 7, 255])
        if version == 4 and self.rng.random() < 0.4:
            kind = ARITHMETIC
        if version > 2 and self.rng.random() < 0.2:
            kind = SCALED
        if version > 1 and len(self.names) > 1 and self.rng.random() < 0.2:
            kind = TIED
        if kind == TIED:
            earlier = self.rng.randrange(max(len(self.names) - 1, 1))
            return bytes([kind]) + varint(self.or_odd(earlier, [len(self.names), 4096, 2**34]))
        shape = self.shape()
        head = bytes([kind, self.or_odd(len(shape), [0, 8, 9, 255])]) + b"".join(map(varint, shape))
        draw = {
            DENSE: self.dense,
            QUANTIZED: self.quantized,
            SHARED: self.shared,
            SCALED: self.scaled,
            ARITHMETIC: self.arithmetic,
        }
        return head + draw.get(kind, self.sparse)(shape)

    def shape(self) -> tuple[int, ...]:
        axes = self.or_odd(self.rng.randrange(4), [8, 9])
        shape = [self.rng.choice(SIZES if axes < 4 else SIZES[1:4]) for _ in range(axes)]
        if shape and self.rng.random() < self.odd:
            shape[self.rng.randrange(axes)] = self.rng.choice(EDGES)
        return tuple(shape)

    def dense(self, shape: tuple[int, ...]) -> bytes:
        dtype = self.or_odd(self.rng.randrange(len(WIDTHS)), [len(WIDTHS), 255])
        raw = self.some(math.prod(shape) * WIDTHS[dtype % len(WIDTHS)])
        if dtype == len(WIDTHS) - 1 and self.rng.random() > self.odd:
            raw = bytes(byte & 1 for byte in raw)
        return bytes([dtype]) + raw

    def quantized(self, shape: tuple[int, ...]) -> bytes:
        columns = shape[-1] if shape else 1
        bits = self.or_odd(self.rng.randrange(2, 9), [0, 1, 9, 255])
        group = self.rng.choice([0, 0, 1, 2, columns]) if shape else 0
        group = min(group, max(columns, 1))
        group = self.or_odd(group, [max(columns - 1, 0), columns + 1, 2**20])
        count, scales = self.some_scales(self.scales(shape, group))
        shifted = self.or_odd(self.rng.randrange(2), [2, 255])
        raw = bytes([bits]) + varint(group) + scales
        raw += bytes([shifted]) + (self.some(count) if shifted else b"")
        return raw + self.some(-(-math.prod(shape) * bits // 8))

    def scaled(self, shape: tuple[int, ...]) -> bytes:
        _, raw = self.some_scales(self.scales(shape, 0))
        k = self.rng.choice([1, 2, 3, 5, 16, 17, 255, 256])
        values = bytes([self.or_odd(k - 1, [0, 255])]) + self.some(k)
        return raw + values + self.symbols(math.prod(shape), k)

    def arithmetic(self, shape: tuple[int, ...]) -> bytes:
        """Scales of two or four bytes; the integers follow at the end."""
        self.numbers += min(math.prod(shape), 4000)
        parts = self.scales(shape, 0)
        count, width = min(math.prod(parts), 2000), self.or_odd(self.rng.choice([2, 4]), [0, 3, 5])
        sizes = bytes([len(parts)]) + b"".join(map(varint, parts))
        return sizes + bytes([width]) + np.full(count, 0.25, f"<f{4 if width > 2 else 2}").tobytes()

    def some_scales(self, parts: tuple[int, ...]) -> tuple[int, bytes]:
        """How many there are, and their shape and numbers."""
        count = min(math.prod(parts), 2000)
        kinds = [0.25] * 5 if self.rng.random() > self.odd else FLOATS
        scales = np.array([self.rng.choice(kinds) for _ in range(count)], "<f4").tobytes()
        return count, bytes([len(parts)]) + b"".join(map(varint, parts)) + scales

    def scales(self, shape: tuple[int, ...], group: int) -> tuple[int, ...]:
        """The shape of the scales: with the tensor's axes, with none, or with others."""
        if group and shape:
            fitting = (*(self.rng.choice([size, 1]) for size in shape[:-1]), -(-shape[-1] // group))
        else:
            fitting = tuple(self.rng.choice([size, 1]) for size in shape)
            fitting = self.rng.choice([(), fitting])
        others = [(), fitting[1:], (1, *fitting), (2,) * len(shape), tuple(shape), (2**20,), (0,)]
        return self.or_odd(fitting, others)

    # ---- shared weights

    def codebook(self) -> tuple[int, bytes]:
        k, width = self.rng.choice([1, 2, 3, 5, 16, 17, 255, 256]), self.rng.choice([2, 4])
        wrong = self.rng.random() < self.odd
        values = [self.rng.choice(FLOATS) if wrong else self.rng.gauss(0, 1) for _ in range(k)]
        with np.errstate(over="ignore"):
            raw = np.array(values).astype(f"<f{width}").tobytes()
        return k, bytes([self.or_odd(k - 1, [0, 255]), self.or_odd(width, [0, 2, 3, 4])]) + raw

    def shared(self, shape: tuple[int, ...]) -> bytes:
        k, raw = self.codebook()
        return raw + self.symbols(math.prod(shape), k)

    def sparse(self, shape: tuple[int, ...]) -> bytes:
        k, raw = self.codebook()
        count, bits = math.prod(shape), self.or_odd(self.rng.randrange(1, 9), [0, 9, 255])
        entries = self.rng.randrange(min(count, 4097) + 1)
        raw += bytes([self.or_odd(self.rng.randrange(k), [min(k, 255), 255]), bits])
        raw += varint(self.or_odd(entries, [0, count, count + 1, 2**34]))
        room = max(count // max(entries, 1), 1)
        gaps = self.symbols(entries, 2 ** (bits % 10), highest=min(room, 2 ** (bits % 10)))
        return raw + gaps + self.symbols(entries, k)

    def symbols(self, count: int, k: int, highest: int | None = None) -> bytes:
        """So many symbols below `highest`, or k, in any code, with its table and its stream."""
        code = self.or_odd(self.rng.randrange(3), [3, 255])
        alike = count > 3000 or self.rng.random() < 0.3  # all one symbol: a long count, few bytes
        top = 1 if alike else highest or k
        drawn = torch.tensor([self.rng.randrange(top) for _ in range(0 if alike else count)]).long()
        if alike:
            drawn = torch.zeros(min(count, 2**17), dtype=torch.long)
        if code % 3 == 0:
            return bytes([code]) + self.packed(drawn, k)
        table, stream = self.coded(code % 3, drawn, k)
        size = self.or_odd(len(stream), [0, len(stream) + 1, max(len(stream) - 1, 0), 2**34])
        return bytes([code]) + table + varint(size) + stream

    def packed(self, symbols: torch.Tensor, k: int) -> bytes:
        """In as few bits as k takes; where it is odd, any bytes."""
        width = (k - 1).bit_length()
        bits = np.unpackbits(symbols.numpy().astype(np.uint8)[:, None], axis=1)[:, 8 - width :]
        raw = np.packbits(bits).tobytes()
        return raw if self.rng.random() > self.odd else self.some(len(raw))

    def coded(self, code: int, symbols: torch.Tensor, k: int) -> tuple[bytes, bytes]:
        """A table and a stream of ours, or, where it is odd, of any numbers."""
        counts, wrong = torch.bincount(symbols, minlength=k), self.rng.random() < self.odd
        if code == 1:
            lengths = huffman.code_lengths(counts, 15)
            stream = huffman.encode(symbols, lengths).numpy().tobytes()
            nibbles = [*lengths.tolist(), *[0] * (k % 2)]
            if wrong:
                nibbles = [self.rng.randrange(16) for _ in nibbles]
            table = bytes(a << 4 | b for a, b in zip(nibbles[::2], nibbles[1::2], strict=True))
        else:
            precision = self.or_odd(12, [8, 11, 13, 16])
            enough = precision if 2**precision >= k else 12
            frequencies = _frequencies(counts, enough)
            stream = ans.encode(symbols, frequencies).numpy().tobytes()
            values = frequencies.tolist()
            if wrong:
                values = [self.rng.choice([0, 1, 16, 4096, 2**16, 2**34]) for _ in values]
            table = b"".join(map(varint, values))
        return table, self.or_odd(stream, [b"", stream[:-1], stream + b"\0\0", self.some(40)])

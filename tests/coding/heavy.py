"""Files of at most 1 MB that take a reader as much work as the limits leave room for, and more."""

import random
import zlib
from collections.abc import Callable

import torch

from shrink.coding import ans, arithmetic, huffman
from tests.coding.grammar import ARITHMETIC, DENSE, QUANTIZED, SCALED, SHARED, SPARSE, varint

FIXED, HUFFMAN, ANS = (bytes([code]) for code in range(3))
TWO = bytes([1, 2, 0, 0, 0, 60])  # a codebook: 0.0 and 1.0
MANY = bytes([255, 2]) + bytes(512)  # one of 256 values
SCALE = bytes([0, 0, 0, 60])
EVEN = torch.full((256,), 8)  # lengths of Huffman codes
SKEWED = torch.tensor([*range(1, 16), 15] + [0] * 240)  # lengths of Huffman codes


def file_of(bodies: list[bytes], end: bytes | None = None) -> bytes:
    """A file of tensors that are named by their numbers; with an `end`, arithmetic code, of it."""
    prefix = b"" if end is None else b"\0"  # bytes that a name shares with the one before
    named = (prefix + bytes([4]) + b"%4d" % number + body for number, body in enumerate(bodies))
    version = b"\x03" if end is None else b"\x04"
    return signed(b"SHRK" + version + varint(len(bodies)) + b"".join(named) + (end or b""))


def signed(content: bytes) -> bytes:
    """The content with its checksum."""
    return content + zlib.crc32(content).to_bytes(4, "little")


def shaped(kind: int, *shape: int) -> bytes:
    return bytes([kind, len(shape)]) + b"".join(map(varint, shape))


def streamed(table: bytes, stream: torch.Tensor) -> bytes:
    return table + varint(len(stream)) + stream.numpy().tobytes()


def ans_of(count: int, k: int, precision: int = 12) -> bytes:
    """`count` times the same symbol; it has half of the slots."""
    frequencies = torch.zeros(k, dtype=torch.long)
    frequencies[:2] = 2 ** (precision - 1)
    stream = ans.encode(torch.zeros(count, dtype=torch.long), frequencies)
    return ANS + streamed(b"".join(map(varint, frequencies.tolist())), stream)


def huffman_of(symbols: torch.Tensor, lengths: torch.Tensor) -> bytes:
    table = bytes(a << 4 | b for a, b in lengths.view(-1, 2).tolist())
    return HUFFMAN + streamed(table, huffman.encode(symbols, lengths))


def sparse(code: bytes) -> bytes:
    """Four numbers, two of them stored, whose gaps and values are coded alike."""
    return shaped(SPARSE, 4) + TWO + bytes([0, 1, 2]) + 2 * code


def packed_gaps() -> bytes:
    """256 numbers on eight axes, 16 of them stored, whose gaps and values are packed."""
    head = shaped(SPARSE, 1, 1, 1, 1, 1, 1, 1, 256) + bytes([4, 4]) + bytes(20)
    return head + bytes([0, 3, 16]) + FIXED + bytes([1] * 6) + FIXED + bytes(6)


def few(code: bytes) -> bytes:
    """Two numbers with a codebook of 256 values."""
    return shaped(SHARED, 2) + MANY + code


def tiny_huffman() -> bytes:
    return huffman_of(torch.zeros(2, dtype=torch.long), torch.tensor([1, 1]))


def one_lane() -> bytes:
    """As many numbers as ANS decodes one by one."""
    return shaped(SHARED, 4096) + TWO + ans_of(4096, 2)


def alike(number: int) -> bytes:
    head = shaped(SPARSE, number) + TWO + bytes([0, 8]) + varint(number)
    return head + ans_of(number, 256) + ans_of(number, 2)


def long_huffman(symbols: torch.Tensor, lengths: torch.Tensor) -> bytes:
    return shaped(SHARED, len(symbols)) + MANY + huffman_of(symbols, lengths)


def by_their_odds() -> torch.Tensor:
    odds, generator = 0.5 ** SKEWED[:16].double(), torch.Generator().manual_seed(0)
    return torch.multinomial(odds, 2**20, replacement=True, generator=generator)


def grouped() -> bytes:
    head = shaped(QUANTIZED, 1, 2) + bytes([3, 1, 2, 1, 2])
    return head + 2 * SCALE + bytes([1, 1, 1, 0])


def scaled(*shape: int, code: bytes = FIXED, scales: bytes = bytes([0]) + SCALE) -> bytes:
    """Signs, so many that a byte is full, each the same; one scale for all, or some."""
    return shaped(SCALED, *shape) + scales + bytes([1, 255, 1]) + code


def signs_with_a_scale_each() -> bytes:
    scales = bytes([1]) + varint(2**17) + SCALE * 2**17
    return scaled(2**17, scales=scales) + bytes(2**14)


def a_scale_each() -> bytes:
    head = shaped(QUANTIZED, 2**17) + bytes([7, 1, 1]) + varint(2**17)
    return head + SCALE * 2**17 + b"\0" + bytes(7 * 2**14)


def all_places() -> bytes:
    head = shaped(SPARSE, 2**20) + TWO + bytes([0, 1]) + varint(2**19)
    return head + FIXED + b"\xff" * 2**16 + FIXED + bytes(2**16)


def coded(*shape: int) -> bytes:
    return shaped(ARITHMETIC, *shape) + bytes([0, 4]) + SCALE


def ones_of(number: int) -> bytes:
    """So many ones in a row, and nothing else, in arithmetic code: some 2 KB."""
    return arithmetic.encode([torch.ones(1, number, dtype=torch.int8)]).numpy().tobytes()


# What each is → the bodies of its tensors. Those that ask for too much are to be refused as soon.
BODIES: dict[str, Callable[[], list[bytes]]] = {
    "4096 of two tables of 2^16 slots": lambda: [sparse(ans_of(2, 2, precision=16))] * 4096,
    "4096 of two ANS tables": lambda: [sparse(ans_of(2, 2))] * 4096,
    "1000 of two ANS tables": lambda: [sparse(ans_of(2, 2))] * 1000,
    "4096 of two Huffman tables": lambda: [sparse(tiny_huffman())] * 4096,
    "900 of two Huffman tables": lambda: [sparse(tiny_huffman())] * 900,
    "1400 of 256 lengths": lambda: [few(huffman_of(torch.arange(2) + 14, SKEWED))] * 1400,
    "1400 of 256 frequencies": lambda: [few(ans_of(2, 256))] * 1400,
    "600 of 256 frequencies": lambda: [few(ans_of(2, 256))] * 600,
    "4096 of packed gaps": lambda: [packed_gaps()] * 4096,
    "3200 of packed gaps": lambda: [packed_gaps()] * 3200,
    "250 of one lane": lambda: [one_lane()] * 250,
    "15 of one lane": lambda: [one_lane()] * 15,
    "ANS of 2^20 alike": lambda: [alike(2**20)],
    "ANS of 2^19 alike": lambda: [alike(2**19)],
    "Huffman, skewed": lambda: [long_huffman(by_their_odds(), SKEWED)],
    "Huffman, 15 bits each": lambda: [long_huffman(torch.full((2**19 - 600,), 15), SKEWED)],
    "Huffman, 8 bits each": lambda: [long_huffman(torch.arange(2**20 - 3000) % 256, EVEN)],
    "Huffman and ANS": lambda: [long_huffman(torch.full((2**18,), 15), SKEWED)] + [one_lane()] * 11,
    "4096 in groups": lambda: [grouped()] * 4096,
    "1800 in groups": lambda: [grouped()] * 1800,
    "4096 as they are": lambda: [shaped(DENSE, 2) + bytes(9)] * 4096,
    "2^20 of two bits": lambda: [
        shaped(QUANTIZED, 2**20) + bytes([2, 0, 0]) + SCALE + bytes(1 + 2**18)
    ],
    "a scale for each number": lambda: [a_scale_each()],
    "4096 of signs": lambda: [scaled(1, 1) + bytes(1)] * 4096,
    "1400 of signs": lambda: [scaled(1, 1) + bytes(1)] * 1400,
    "2^20 signs": lambda: [scaled(2**20) + bytes(2**17)],
    "ANS of 2^20 signs": lambda: [scaled(2**20, code=ans_of(2**20, 2))],
    "a scale for each sign": lambda: [signs_with_a_scale_each()],
    "2^20 of one value": lambda: [shaped(SHARED, 2**20) + bytes([0, 2, 0, 60]) + FIXED],
    "gaps of one bit": lambda: [all_places()],
    "2^17 zeros in arithmetic code": lambda: [coded(2**7, 2**10)],
    "2^20 zeros in arithmetic code": lambda: [coded(2**10, 2**10)],
    "2^14 others in arithmetic code": lambda: [coded(2**7, 2**7)],
    "a row of 2^18 others in arithmetic code": lambda: [coded(1, 2**18 - 4 * 17)],
    "4096 of arithmetic code": lambda: [coded(1)] * 4096,
    "3000 of arithmetic code": lambda: [coded(1)] * 3000,
}
ENDS: dict[str, Callable[[], bytes]] = {
    "2^14 others in arithmetic code": lambda: random.Random(0).randbytes(2**14),
    "a row of 2^18 others in arithmetic code": lambda: ones_of(2**18),
}


def heavy(what: str) -> bytes:
    """One of the files, at most 1.1 MB."""
    end = ENDS.get(what, bytes)() if "arithmetic" in what else None
    return file_of(BODIES[what](), end)

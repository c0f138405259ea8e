"""Files of at most 1 MB that take a reader as much work as the limits leave room for, and more."""

import zlib
from collections.abc import Iterator

import torch

from shrink.coding import ans, huffman
from tests.coding.grammar import DENSE, QUANTIZED, SHARED, SPARSE, varint

FIXED, HUFFMAN, ANS = (bytes([code]) for code in range(3))
TWO = bytes([1, 2, 0, 0, 0, 60])  # a codebook: 0.0 and 1.0
MANY = bytes([255, 2]) + bytes(512)  # one of 256 values
SKEWED = torch.tensor([*range(1, 16), 15] + [0] * 240)  # lengths of Huffman codes


def file_of(bodies: list[bytes]) -> bytes:
    """A file of tensors that are named by their numbers."""
    named = (bytes([4]) + b"%4d" % number + body for number, body in enumerate(bodies))
    return signed(b"SHRK\x01" + varint(len(bodies)) + b"".join(named))


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


def tables() -> Iterator[tuple[str, bytes]]:
    """Many small tensors, each with tables of its own."""
    sparse = shaped(SPARSE, 4) + TWO + bytes([0, 1, 2])
    two_large = sparse + ans_of(2, 2, precision=16) * 2
    yield "4096 of two tables of 2^16 slots", file_of([two_large] * 4096)
    tiny = huffman_of(torch.zeros(2, dtype=torch.long), torch.tensor([1, 1]))
    for number in (1000, 4096):
        yield f"{number} of two ANS tables", file_of([sparse + ans_of(2, 2) * 2] * number)
        yield f"{number} of two Huffman tables", file_of([sparse + tiny * 2] * number)
    deep, wide = huffman_of(torch.arange(2) + 14, SKEWED), ans_of(2, 256)
    for number in (600, 1400):
        yield f"{number} of 256 lengths", file_of([shaped(SHARED, 2) + MANY + deep] * number)
        yield f"{number} of 256 frequencies", file_of([shaped(SHARED, 2) + MANY + wide] * number)


def streams() -> Iterator[tuple[str, bytes]]:
    """As many symbols as there may be, and as few at a time."""
    one_by_one = shaped(SHARED, 4096) + TWO + ans_of(4096, 2)
    for number in (15, 250):
        yield f"{number} of one lane", file_of([one_by_one] * number)
    for number in (2**18, 2**20):
        alike = shaped(SPARSE, number) + TWO + bytes([0, 8]) + varint(number)
        yield f"ANS of {number} alike", file_of([alike + ans_of(number, 256) + ans_of(number, 2)])
    odds = 0.5 ** SKEWED[:16].double()
    symbols = torch.multinomial(odds, 2**20, True, generator=torch.Generator().manual_seed(0))
    longest, even = torch.full((2**19 - 600,), 15), torch.arange(2**20 - 3000) % 256
    for what, drawn, lengths in (
        ("skewed", symbols, SKEWED),
        ("15 bits each", longest, SKEWED),
        ("8 bits each", even, torch.full((256,), 8)),
    ):
        body = shaped(SHARED, len(drawn)) + MANY + huffman_of(drawn, lengths)
        yield f"Huffman, {what}", file_of([body])
    half = shaped(SHARED, 2**18) + MANY + huffman_of(longest[: 2**18], SKEWED)
    yield "Huffman and ANS", file_of([half] + [one_by_one] * 11)


def numbers() -> Iterator[tuple[str, bytes]]:
    """Without tables: as many tensors, or numbers, as there may be."""
    scale = bytes([0, 0, 0, 60])
    grouped = shaped(QUANTIZED, 1, 2) + bytes([3, 1, 2, 1, 2]) + 2 * scale + bytes([1, 1, 1, 0])
    for number in (1800, 4096):
        yield f"{number} in groups", file_of([grouped] * number)
    yield "4096 as they are", file_of([shaped(DENSE, 2) + bytes(9)] * 4096)
    head = shaped(QUANTIZED, 2**20) + bytes([2, 0, 0]) + scale + b"\0"
    yield "2^20 of two bits", file_of([head + bytes(2**18)])
    each = bytes([7, 1, 1]) + varint(2**17) + scale * 2**17 + b"\0" + bytes(7 * 2**14)
    yield "a scale for each number", file_of([shaped(QUANTIZED, 2**17) + each])
    yield "2^20 of one value", file_of([shaped(SHARED, 2**20) + bytes([0, 2, 0, 60]) + FIXED])
    places = shaped(SPARSE, 2**20) + TWO + bytes([0, 1]) + varint(2**19) + FIXED
    yield "gaps of one bit", file_of([places + b"\xff" * 2**16 + FIXED + bytes(2**16)])


def files() -> dict[str, bytes]:
    """By what they are; those that ask for too much are to be refused, and as soon."""
    return dict([*tables(), *streams(), *numbers()])

"""An exercise of chapter 03: integers of few bits, packed into bytes.

The oracle is a string of zeros and ones.
"""

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shrink import quantization
from shrink.chapters.quantize.integers import comparable
from shrink.classroom.exercises.attempt import Mistake, Wrong, kind_of, known, place_of, show
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise


def _bits(values: list[int], num_bits: int) -> str:
    return "".join(f"{value:0{num_bits}b}" for value in values)


def _bytes(bits: str) -> list[int]:
    """Eight at a time; the last is filled up with zeros at its low end."""
    return [int(eight.ljust(8, "0"), 2) for eight in _eights(bits)]


def _eights(bits: str) -> list[str]:
    return [bits[i : i + 8] for i in range(0, len(bits), 8)]


def _low_first(values: list[int], num_bits: int) -> str:
    return "".join(f"{value:0{num_bits}b}"[::-1] for value in values)


def _from_the_low_end(bits: str) -> list[int]:
    return [int(eight[::-1], 2) for eight in _eights(bits)]


def _code(packed: Callable[[list[int], int], list[int]]) -> Callable[[Tensor, int], Tensor]:
    """A way from a list of integers to a list of bytes, made one from tensor to tensor."""
    return lambda q, num_bits: torch.tensor(
        packed(q.tolist(), num_bits), dtype=torch.uint8, device=q.device
    )


_right = _code(lambda values, b: _bytes(_bits(values, b)))


@known(
    "leave no bits free between integers: one may begin in a byte and end in the next",
    "no integer over an edge",
)
@_code
def _no_integer_over_an_edge(values: list[int], num_bits: int) -> list[int]:
    each = 8 // num_bits
    parts = [_bits(values[i : i + each], num_bits) for i in range(0, len(values), each)]
    return [int(part.ljust(8, "0"), 2) for part in parts]


PACKING_MISTAKES = (
    Mistake(
        "low bit first",
        _code(lambda values, b: _bytes(_low_first(values, b))),
        "your integers begin with their lowest bit; the highest comes first",
    ),
    Mistake(
        "little-endian",
        _code(lambda values, b: _from_the_low_end(_low_first(values, b))),
        "your first integer is in the low bits of the first byte; it belongs in the high ones",
    ),
    Mistake(
        "first columns",
        _code(lambda values, b: _bytes("".join(f"{value:08b}"[:b] for value in values))),
        "of the eight bits of a byte you took the first, which are zeros: the integer is in the "
        "last num_bits of them",
    ),
    Mistake(
        "filled up at the front",
        _code(lambda values, b: _bytes("0" * (-len(values) * b % 8) + _bits(values, b))),
        "the zeros that fill up come at the end, in the last byte, not at the front",
    ),
    Mistake(
        "last byte not moved up",
        _code(lambda values, b: [int(eight, 2) for eight in _eights(_bits(values, b))]),
        "the last byte has its bits at the high end, and the zeros that fill it up below",
    ),
    _no_integer_over_an_edge,
)


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, int]]]:
    def integers(count: int, num_bits: int) -> tuple[Tensor, int]:
        values = [rng.randrange(2**num_bits) for _ in range(count)]
        return torch.tensor(values, dtype=torch.uint8), num_bits

    yield lambda: integers(rng.choice([5, 6, 7, 9]), 3)
    yield lambda: integers(rng.choice([4, 6, 8]), 4)  # the bytes are full
    yield lambda: integers(rng.choice([5, 6, 7]), rng.choice([5, 6, 7]))
    yield lambda: integers(8, rng.choice([3, 5, 7]))
    yield lambda: integers(rng.choice([5, 6, 7]), 2)
    yield lambda: integers(rng.choice([9, 11, 20]), 1)
    yield lambda: integers(rng.choice([3, 5, 7]), 4)
    yield lambda: integers(1, rng.randint(1, 7))
    yield lambda: integers(0, rng.randint(1, 7))
    yield lambda: integers(rng.randint(200, 300), rng.randint(1, 7))
    yield lambda: (torch.full((5,), 127, dtype=torch.uint8), 7)
    yield lambda: (torch.zeros(rng.randint(2, 9), dtype=torch.uint8), rng.randint(1, 7))
    yield lambda: (integers(14, 3)[0][::2], 3)  # not contiguous
    if torch.cuda.is_available():
        yield lambda: (integers(7, 3)[0].cuda(), 3)


def _wrong_bytes(given: Any, packed: Tensor, q: Tensor, num_bits: int) -> Wrong | None:
    right = packed.tolist()
    wrong = partial(Wrong, expected=_written(right))
    if not isinstance(given, Tensor):
        return wrong("return a tensor", given=given)
    if given.dtype != torch.uint8 or given.layout != torch.strided:
        return wrong("bytes are of dtype torch.uint8", given=kind_of(given))
    if given.dim() != 1 or given.device != q.device:
        return Wrong(
            "the bytes have one axis, on the device of the integers",
            expected=place_of((len(right),), q.device),
            given=place_of(given.shape, given.device),
        )
    mine = given.tolist()
    if len(mine) != len(right):
        text = f"{len(q)} integers of {num_bits} bits take {len(right)} bytes, not {len(mine)}"
        return wrong(text, given=_written(mine))
    if mine != right:
        i = next(i for i, byte in enumerate(right) if byte != mine[i])
        text = f"byte {i} (counted from 0) is {right[i]:08b} and not {mine[i]:08b}"
        return wrong(text, given=_written(mine))
    return None


def _written(found: list[int]) -> str:
    return show(" ".join(f"{byte:08b}" for byte in found) or "no bytes")


pack_bits = Exercise(
    "pack_bits",
    by_cases(_cases, _right, _wrong_bytes, mistakes=PACKING_MISTAKES, alike=comparable),
    reference=quantization.pack_bits,
    core=False,
    minutes=15,
    mistakes=PACKING_MISTAKES,
)

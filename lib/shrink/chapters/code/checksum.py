"""An exercise of chapter 05: CRC-32, the checksum at the end of the file. The oracle is zlib's."""

import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from shrink.classroom.exercises.attempt import Mistake, Wrong, known
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import plain

ONES = 0xFFFFFFFF
POLYNOMIAL = 0xEDB88320
FORWARD = 0x04C11DB7  # the same with its highest power first


def _shifted(register: int) -> int:
    return register >> 1 ^ POLYNOMIAL * (register & 1)


def _register(
    start: int = ONES, last: int = ONES, step: Callable[[int], int] = _shifted
) -> Callable[[bytes], int]:
    """The right answer except for what is passed."""

    def crc32(content: bytes) -> int:
        register = start
        for byte in content:
            register ^= byte
            for _ in range(8):
                register = step(register)
        return register ^ last

    return crc32


@known("this takes the highest bit of each byte first; here the lowest comes first")
def _highest_bit_first(content: bytes) -> int:
    register = ONES
    for byte in content:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 & ONES) ^ FORWARD * (register >> 31)
    return register ^ ONES


MISTAKES = (
    Mistake("begins with zeros", _register(start=0), "the register begins with 32 ones, not zeros"),
    Mistake(
        "not inverted at the end",
        _register(last=0),
        "at the end invert all bits of the register: ^ 0xFFFFFFFF",
    ),
    Mistake(
        "neither ones nor inverted",
        _register(start=0, last=0),
        "the register begins with 32 ones, and at the end all its bits are inverted",
    ),
    Mistake(
        "the other polynomial",
        _register(step=lambda register: register >> 1 ^ FORWARD * (register & 1)),
        "0x04C11DB7 is for registers that move to the left; to the right it is 0xEDB88320",
    ),
    Mistake(
        "asked after the shift",
        _register(step=lambda register: register >> 1 ^ POLYNOMIAL * (register >> 1 & 1)),
        "look at the lowest bit before you shift it out",
    ),
    Mistake(
        "always",
        _register(step=lambda register: register >> 1 ^ POLYNOMIAL),
        "XOR with the constant only where the bit that was shifted out is a 1",
    ),
    _highest_bit_first,
)


def _contents(rng: random.Random) -> Iterator[Callable[[], tuple[bytes]]]:
    yield lambda: (rng.randbytes(rng.randint(3, 9)),)
    yield lambda: (b"",)
    yield lambda: (bytes([rng.randrange(256)]),)
    yield lambda: (bytes(rng.randint(1, 6)),)
    yield lambda: (rng.randbytes(300),)


def _wrong_checksum(given: Any, right: int, content: bytes) -> Wrong | None:
    given = plain(given)
    if type(given) is not int:
        return Wrong("return a whole number", expected=right, given=given)
    if not 0 <= given <= ONES:
        return Wrong("a CRC-32 has 32 bits, 0 to 2**32 - 1", expected=f"{right:#010x}", given=given)
    if given == right:
        return None
    return Wrong(
        f"this is not the checksum of these {len(content)} bytes",
        expected=f"{right:#010x}",
        given=f"{given:#010x}",
    )


crc32 = Exercise(
    "crc32",
    by_cases(_contents, zlib.crc32, _wrong_checksum, mistakes=MISTAKES, alike=plain),
    core=False,
    minutes=12,
    mistakes=MISTAKES,
)

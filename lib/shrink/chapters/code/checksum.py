"""An exercise of chapter 05: CRC-32, the checksum at the end of the file. The oracle is zlib's."""

import random
import zlib
from collections.abc import Callable, Iterator
from typing import Any

from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import whole

ONES = 0xFFFFFFFF
POLYNOMIAL = 0xEDB88320
FORWARD = 0x04C11DB7  # the same with its highest power first


def _register(
    start: int = ONES, last: int = ONES, polynomial: int = POLYNOMIAL, steps: int = 8
) -> Callable[[bytes], int]:
    """The right answer but for these."""

    def crc32(content: bytes) -> int:
        register = start
        for byte in content:
            register ^= byte
            for _ in range(steps):
                register = register >> 1 ^ polynomial * (register & 1)
        return register ^ last

    return crc32


def _asked_too_late(content: bytes) -> int:
    register = ONES
    for byte in content:
        register ^= byte
        for _ in range(8):
            register >>= 1
            register ^= POLYNOMIAL * (register & 1)
    return register ^ ONES


def _always(content: bytes) -> int:
    register = ONES
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ POLYNOMIAL
    return register ^ ONES


def _never(content: bytes) -> int:
    return _register(polynomial=0)(content)


def _highest_bit_first(content: bytes) -> int:
    register = ONES
    for byte in content:
        register ^= byte << 24
        for _ in range(8):
            register = (register << 1 & ONES) ^ FORWARD * (register >> 31)
    return register ^ ONES


def _inverted_each_time(content: bytes) -> int:
    register = ONES
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ POLYNOMIAL * (register & 1)
        register ^= ONES
    return register


def _last_byte_first(content: bytes) -> int:
    return zlib.crc32(content[::-1])


MISTAKES = (
    Mistake("begins with zeros", _register(start=0), "the register begins with 32 ones, not zeros"),
    Mistake(
        "not inverted at the end",
        _register(last=0),
        "at the end all bits of the register are inverted: ^ 0xFFFFFFFF",
    ),
    Mistake(
        "neither ones nor inverted",
        _register(start=0, last=0),
        "the register begins with 32 ones, and at the end all its bits are inverted",
    ),
    Mistake(
        "the other polynomial",
        _register(polynomial=FORWARD),
        "0x04C11DB7 is for registers that move to the left; to the right it is 0xEDB88320",
    ),
    Mistake(
        "asked after the shift",
        _asked_too_late,
        "whether the lowest bit is 1 is asked before it is shifted out",
    ),
    Mistake("always", _always, "the constant is put in only where the bit shifted out was a 1"),
    Mistake("never", _never, "where the bit shifted out was a 1, the constant is put in: ^"),
    Mistake(
        "highest bit first",
        _highest_bit_first,
        "this reads each byte from its highest bit; here the lowest comes first, to the right",
    ),
    Mistake(
        "seven steps", _register(steps=7), "eight steps a byte, one for each of its bits, not seven"
    ),
    Mistake(
        "inverted after each byte",
        _inverted_each_time,
        "the bits are inverted once, at the very end",
    ),
    Mistake("last byte first", _last_byte_first, "the first byte of the content comes first"),
    Mistake(
        "a sum", lambda content: sum(content) & ONES, "this is a sum: two bytes may change places"
    ),
    Mistake("Adler", lambda content: zlib.adler32(content), "this is another checksum, Adler-32"),
)


def _contents(rng: random.Random) -> Iterator[Callable[[], tuple[bytes]]]:
    yield lambda: (rng.randbytes(rng.randint(3, 9)),)
    yield lambda: (b"",)
    yield lambda: (bytes([rng.randrange(256)]),)
    yield lambda: (bytes(rng.randint(1, 6)),)
    yield lambda: (rng.randbytes(300),)


def _whole(result: Any) -> Any:
    found = whole(result)
    return result if found is None else found


def _check_crc32(answer: Attempt, rng: random.Random) -> None:
    for (content,) in telling(_contents(rng), zlib.crc32, MISTAKES, _whole):
        given, right = _whole(answer(content, alike=_whole)), zlib.crc32(content)
        if type(given) is not int:
            raise Wrong("return a whole number", expected=right, given=given)
        if not 0 <= given <= ONES:
            raise Wrong(
                "a CRC-32 has 32 bits, 0 to 2**32 - 1", expected=f"{right:#010x}", given=given
            )
        if given != right:
            raise Wrong(
                f"of {len(content)} bytes the checksum is another",
                expected=f"{right:#010x}",
                given=f"{given:#010x}",
            )


crc32 = Exercise("crc32", _check_crc32, reference=None, core=False, minutes=12, mistakes=MISTAKES)

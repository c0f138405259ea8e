"""Exercises of chapter 04: the bytes of shared weights, codebook included, and when they pay.

The oracle writes the numbers as text of zeros and ones, and counts.
"""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

from shrink import sharing
from shrink.classroom.exercises.attempt import Mistake, Wrong, known
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import count as whole_number


def _bits(k: int) -> int:
    """How many bits tell k values apart: those of the largest number, k - 1."""
    return len(f"{k - 1:b}") if k > 1 else 0


def _right_bytes(count: int, k: int) -> int:
    """Numbers in whole bytes, and a float32 for each value."""
    whole, rest = divmod(count * _bits(k), 8)
    return whole + (rest > 0) + 4 * k


def _bytes_with(
    bits: Callable[[int], float] = _bits,
    codebook: Callable[[int], int] = lambda k: 4 * k,
) -> Callable[[int, int], float]:
    """The bytes of numbers and codebook, right except for what is passed."""
    return lambda count, k: math.ceil(count * bits(k) / 8) + codebook(k)


BYTES_MISTAKES = (
    Mistake(
        "codebook forgotten",
        _bytes_with(codebook=lambda _: 0),
        "the assignments are of no use without the values: the codebook takes 4 bytes per value",
    ),
    Mistake(
        "bits not whole",
        _bytes_with(bits=math.log2),
        "an assignment takes a whole number of bits: round log2(k) up",
    ),
    Mistake(
        "bits rounded down",
        _bytes_with(bits=lambda k: k.bit_length() - 1),
        "log2(k) is rounded up: 5 values need 3 bits",
    ),
    Mistake(
        "bits of k",
        _bytes_with(bits=int.bit_length),
        "the largest assignment is k - 1, so count the bits of that: 16 values need 4, not 5",
    ),
    Mistake(
        "a byte each",
        lambda count, k: count * math.ceil(_bits(k) / 8) + 4 * k,
        "the assignments are packed: add up all their bits first, and then make bytes of them",
    ),
)


def _bytes_cases(rng: random.Random) -> Iterator[Callable[[], tuple[int, int]]]:
    yield lambda: (rng.randint(200, 3000), rng.choice([5, 6, 7, 9, 10, 11, 12, 13]))
    yield lambda: (rng.randint(100, 900), 2 ** rng.randint(2, 4))
    yield lambda: (rng.randint(1000, 9000), rng.randint(17, 31))
    yield lambda: (rng.randint(10, 90), 1)
    yield lambda: (rng.randint(10, 90), 2)
    yield lambda: (rng.randint(1, 3), 3)
    yield lambda: (266_200, rng.choice([256, 257, 1000]))
    yield lambda: (10**9, rng.randint(3, 5000))  # bits in floats would be rounded, in int32 wrap


def _wrong_count(given: Any, right: int, needed: str, why: str) -> Wrong | None:
    if type(whole_number(given)) is not int:
        return Wrong(needed, expected=right, given=given)
    return None if whole_number(given) == right else Wrong(why, expected=right, given=given)


def _wrong_bytes(given: Any, right: int, count: int, k: int) -> Wrong | None:
    why = (
        f"{count} assignments of {_bits(k)} bits are {count * _bits(k)} bits or "
        f"{right - 4 * k} bytes, and {k} values are {4 * k} bytes"
    )
    return _wrong_count(given, right, "return a whole number of bytes", why)


def _reference_bytes(count: int, k: int) -> int:
    """The bytes of `count` weights that share k values: packed assignments, a float32 codebook.

    >>> shared_bytes(1000, 16), shared_bytes(6, 5)  # 500 + 64, and 18 bits + 20 bytes
    (564, 23)
    """
    return sharing.num_bytes(count, k)


shared_bytes = Exercise(
    "shared_bytes",
    by_cases(_bytes_cases, _right_bytes, _wrong_bytes, mistakes=BYTES_MISTAKES, alike=whole_number),
    reference=_reference_bytes,
    core=False,
    minutes=8,
    mistakes=BYTES_MISTAKES,
)


def _right_largest(count: int) -> int:
    """Every k is tried from the largest on: there are no more values than weights."""
    return next((k for k in range(count, 0, -1) if _right_bytes(count, k) < 4 * count), 0)


def _largest(pays: Callable[[int, int], bool]) -> Callable[[int], int]:
    """The largest k for which `pays` is true."""

    def largest_k(count: int) -> int:
        return next((k for k in range(2 * count + 9, 0, -1) if pays(count, k)), 0)

    return largest_k


@known("k need not be a power of two: try all")
def _powers_of_two(count: int) -> int:
    found = [2**b for b in range(20) if _right_bytes(count, 2**b) < 4 * count]
    return max(found, default=0)


LARGEST_MISTAKES = (
    Mistake(
        "as many bytes",
        _largest(lambda count, k: _right_bytes(count, k) <= 4 * count),
        "as many bytes as the float32 weights is not fewer: < and not <=",
    ),
    Mistake(
        "codebook alone",
        _largest(lambda count, k: 4 * k < 4 * count),
        "the assignments take bytes too, besides the codebook",
    ),
    _powers_of_two,
    Mistake(
        "a byte at most",
        lambda count: min(_right_largest(count), 256),
        "assignments of more than 8 bits are allowed: k may be larger than 256",
    ),
    Mistake(
        "codebook forgotten",
        _largest(lambda count, k: -(-count * _bits(k) // 8) < 4 * count and k <= count),
        "the codebook takes 4 bytes per value, and that makes many values expensive",
    ),
    Mistake(
        "bits",
        _largest(lambda count, k: count * _bits(k) + 32 * k < 4 * count),
        "one side is in bits and the other in bytes",
    ),
)


def _largest_cases(rng: random.Random) -> Iterator[Callable[[], tuple[int]]]:
    yield lambda: (rng.randint(30, 300),)
    yield lambda: (rng.randint(600, 1500),)
    yield lambda: (rng.choice([n for n in range(8, 200) if _pays_exactly(n)]),)
    yield lambda: (1,)
    yield lambda: (2,)
    yield lambda: (rng.randint(3, 9),)
    yield lambda: (rng.randint(2000, 4000),)


def _pays_exactly(count: int) -> bool:
    """Whether some k takes as many bytes as the weights do."""
    return _right_bytes(count, _right_largest(count) + 1) == 4 * count


def _wrong_largest(given: Any, right: int, count: int) -> Wrong | None:
    what = f"{right} values take {_right_bytes(count, right)}" if right else "none pays"
    why = (
        f"{count} weights take {4 * count} bytes: {what}, and {right + 1} values take "
        f"{_right_bytes(count, right + 1)}"
    )
    return _wrong_count(given, right, "return a whole number", why)


largest_k = Exercise(
    "largest_k",
    by_cases(
        _largest_cases,
        _right_largest,
        _wrong_largest,
        mistakes=LARGEST_MISTAKES,
        alike=whole_number,
    ),
    core=False,
    minutes=8,
    mistakes=LARGEST_MISTAKES,
)

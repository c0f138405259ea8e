"""An exercise of chapter 05: the canonical codes, which follow from their lengths.

The oracle counts upwards within each length, as RFC 1951 does.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch

from shrink.classroom.exercises.attempt import Mistake, Wrong, known, show
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.coding import huffman


def next_of_each_length(lengths: list[int]) -> list[str]:
    """The codes, by RFC 1951, section 3.2.2: where each length begins, and one more each time."""
    longest = max(lengths, default=0)
    count = [0] * (longest + 1)
    for length in lengths:
        count[length] += length > 0
    begin = [0] * (longest + 1)
    for bits in range(1, longest + 1):
        begin[bits] = (begin[bits - 1] + count[bits - 1]) << 1
    codes = []
    for length in lengths:
        codes.append(f"{begin[length]:0{length}b}" if length else "")
        begin[length] += 1
    return codes


def _counting(next_code: Callable[[int, int, int], int], order: Callable = sorted) -> Callable:
    """Codes that count on: `next_code` of the one before, its length, and the length at hand."""

    def canonical_codes(lengths: list[int]) -> list[str]:
        codes, code, before = [""] * len(lengths), 0, 0
        for length, symbol in order((n, s) for s, n in enumerate(lengths) if n):
            code = next_code(code, before, length) if before else 0
            codes[symbol] = f"{code:0{length}b}"
            before = length
        return codes

    return canonical_codes


@known("a symbol of length 0 has no code and must not change those of the others: leave it out")
def _numbers_all(lengths: list[int]) -> list[str]:
    """Counts on over symbols without a code too."""
    codes, code, before = [""] * len(lengths), 0, 0
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths)):
        code <<= length - before
        codes[symbol] = f"{code:0{length}b}" if length else ""
        code, before = code + 1, length
    return codes


@known('a code has as many bits as its length says: f"{code:0{length}b}" keeps the zeros in front')
def _leading_zeros_lost(lengths: list[int]) -> list[str]:
    return [f"{int(code, 2):b}" if code else "" for code in next_of_each_length(lengths)]


@known("your codes come with their last bit first")
def _reversed(lengths: list[int]) -> list[str]:
    return [code[::-1] for code in next_of_each_length(lengths)]


MISTAKES = (
    Mistake(
        "not moved up",
        _counting(lambda code, before, length: code + 1),
        "where the length grows, the code gets zeros at its end: after 0 comes 1, in two bits 10",
    ),
    Mistake(
        "moved up before one is added",
        _counting(lambda code, before, length: (code << length - before) + 1),
        "add 1 first, and then put zeros at the end",
    ),
    Mistake(
        "in the order of symbols",
        _counting(lambda code, before, length: code + 1 << max(length - before, 0), order=list),
        "shorter codes come first; the order of the symbols counts only among equal lengths",
    ),
    _leading_zeros_lost,
    Mistake(
        "one zero at a time",
        _counting(lambda code, before, length: code + 1 << (length > before)),
        "put as many zeros at the end as the length grows by: two where it grows by two",
    ),
    _numbers_all,
    _reversed,
)


def some_lengths(rng: random.Random, symbols: int) -> list[int]:
    """Those of a code without a gap: a leaf is split into two until there are enough."""
    leaves = [0]
    while len(leaves) < symbols:
        leaves.append(leaves.pop(rng.randrange(len(leaves))) + 1)
        leaves.append(leaves[-1])
    rng.shuffle(leaves)
    return leaves


def with_none(rng: random.Random, lengths: list[int]) -> list[int]:
    """The same with a symbol in between that never occurs."""
    at = rng.randint(1, len(lengths) - 1)
    return [*lengths[:at], 0, *lengths[at:]]


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[list[int]]]]:
    yield lambda: (some_lengths(rng, rng.randint(5, 7)),)
    yield lambda: (with_none(rng, some_lengths(rng, rng.randint(4, 6))),)
    yield lambda: (with_none(rng, some_lengths(rng, rng.randint(9, 12))),)
    yield lambda: ([rng.randint(2, 4)] * 3,)  # not every bit of room is used
    yield lambda: ([3, 1, rng.randint(3, 5), 5],)
    yield lambda: ([1],)
    yield lambda: ([0, 1, 0],)
    yield lambda: ([],)
    yield lambda: ([0, 0],)
    yield lambda: ([1, 1],)
    yield lambda: ([*range(1, 40), 39][:: rng.choice([-1, 1])],)
    yield lambda: (some_lengths(rng, 200),)


def _texts(result: Any) -> Any:
    return list(result) if isinstance(result, tuple) else result


def _wrong_codes(given: Any, right: list[str], lengths: list[int]) -> Wrong | None:
    given = _texts(given)

    def wrong(hint: str) -> Wrong:
        return Wrong(hint, expected=show(right), given=given)

    if not isinstance(given, list) or any(not isinstance(code, str) for code in given):
        return wrong("return a list of texts")
    if len(given) != len(lengths):
        return wrong(f"{len(lengths)} symbols, and you return {len(given)} texts")
    for symbol, (code, length) in enumerate(zip(given, lengths, strict=True)):
        if len(code) != length or set(code) - {"0", "1"}:
            return wrong(f"symbol {symbol} has {length} bits, and your text for it is {code!r}")
    for symbol, (code, expected) in enumerate(zip(given, right, strict=True)):
        if code != expected:
            return wrong(f"symbol {symbol} has the code {expected}, and not {code}")
    return None


def _reference_codes(lengths: list[int]) -> list[str]:
    """The codes of these lengths as texts of 0 and 1, "" for a length of 0.

    >>> canonical_codes([2, 1, 0, 3, 3])
    ['10', '0', '', '110', '111']
    """
    row = torch.as_tensor(lengths, dtype=torch.long)
    codes = zip(huffman.canonical_codes(row).tolist(), row.tolist(), strict=True)
    return [f"{code:0{length}b}" if length else "" for code, length in codes]


canonical_codes = Exercise(
    "canonical_codes",
    by_cases(_cases, next_of_each_length, _wrong_codes, mistakes=MISTAKES, alike=_texts),
    reference=_reference_codes,
    core=True,
    minutes=12,
    mistakes=MISTAKES,
)

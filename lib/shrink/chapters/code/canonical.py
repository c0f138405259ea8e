"""An exercise of chapter 05: the canonical codes, which follow from their lengths.

The oracle counts upwards within each length, as RFC 1951 does.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch

from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong, show
from shrink.classroom.exercises.cases import telling
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


def _counting(
    order: Callable[[list[int]], list[int]] | None = None, late: bool = False, start: int = 0
) -> Callable[[list[int]], list[str]]:
    """The right answer but for these: the order, and where zeros are put at the end."""

    def canonical_codes(lengths: list[int]) -> list[str]:
        occurring = [s for s, length in enumerate(lengths) if length]
        by_length = sorted(occurring, key=lambda s: (lengths[s], s))
        codes, code, before = [""] * len(lengths), start, 0
        for symbol in order(lengths) if order else by_length:
            length = lengths[symbol]
            if before:
                code = (code << max(length - before, 0)) + 1 if late else code + 1
            if not late:
                code <<= max(length - before, 0)
            codes[symbol] = f"{code:0{length}b}"
            before = length
        return codes

    return canonical_codes


def _in_order_of_symbols(lengths: list[int]) -> list[int]:
    return [symbol for symbol, length in enumerate(lengths) if length]


def _last_symbol_first(lengths: list[int]) -> list[int]:
    return sorted(_in_order_of_symbols(lengths), key=lambda s: (lengths[s], -s))


def _not_moved_up(lengths: list[int]) -> list[str]:
    """Counts on, and writes each number in as many bits as it is to have."""
    codes = [""] * len(lengths)
    by_length = sorted(_in_order_of_symbols(lengths), key=lambda s: (lengths[s], s))
    for code, symbol in enumerate(by_length):
        codes[symbol] = f"{code:0{lengths[symbol]}b}"
    return codes


def _one_zero_at_a_time(lengths: list[int]) -> list[str]:
    codes, code, before = [""] * len(lengths), 0, 0
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths) if n):
        code <<= before and length > before
        codes[symbol] = f"{code:0{length}b}"
        code, before = code + 1, length
    return codes


def _numbers_all(lengths: list[int]) -> list[str]:
    """Counts on over symbols without a code too."""
    codes, code, before = [""] * len(lengths), 0, 0
    for length, symbol in sorted((n, s) for s, n in enumerate(lengths)):
        code <<= length - before
        codes[symbol] = f"{code:0{length}b}" if length else ""
        code, before = code + 1, length
    return codes


def _no_leading_zeros(lengths: list[int]) -> list[str]:
    return [f"{int(code, 2):b}" if code else "" for code in next_of_each_length(lengths)]


def _reversed(lengths: list[int]) -> list[str]:
    return [code[::-1] for code in next_of_each_length(lengths)]


def _inverted(lengths: list[int]) -> list[str]:
    return [code.translate({48: "1", 49: "0"}) for code in next_of_each_length(lengths)]


def _zeros_too(lengths: list[int]) -> list[str]:
    return [code or "0" for code in next_of_each_length(lengths)]


def _only_occurring(lengths: list[int]) -> list[str]:
    return [code for code in next_of_each_length(lengths) if code]


MISTAKES = (
    Mistake(
        "not moved up",
        _not_moved_up,
        "where the length grows, the code gets zeros at its end: after 0 comes 1, in two bits 10",
    ),
    Mistake(
        "moved up before one is added",
        _counting(late=True),
        "first one more, then zeros at the end: the next code begins where the one before ends",
    ),
    Mistake(
        "in the order of symbols",
        _counting(_in_order_of_symbols),
        "codes rise with their length; only within a length with the symbol",
    ),
    Mistake(
        "last symbol first",
        _counting(_last_symbol_first),
        "within a length the lower symbol has the lower code",
    ),
    Mistake(
        "begins at 1", _counting(start=1), "the first code is all zeros; yours begins one further"
    ),
    Mistake(
        "leading zeros lost",
        _no_leading_zeros,
        'a code has as many bits as its length says: f"{code:0{length}b}" keeps the zeros in front',
    ),
    Mistake(
        "one zero at a time",
        _one_zero_at_a_time,
        "where the length grows by two, two zeros are put at the end, and so on",
    ),
    Mistake(
        "numbers all",
        _numbers_all,
        "a symbol of length 0 has no code, and must not make the next ones larger: leave it out",
    ),
    Mistake("reversed", _reversed, "your codes come with their last bit first"),
    Mistake("ones for zeros", _inverted, "your codes begin with ones: the first is all zeros"),
    Mistake(
        "a code for length 0", _zeros_too, "a length of 0 is no code: an empty text stands for it"
    ),
    Mistake(
        "only what has a code",
        _only_occurring,
        "one text a symbol, in their order, an empty one where there is no code",
    ),
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


def _check_canonical_codes(answer: Attempt, rng: random.Random) -> None:
    for (lengths,) in telling(_cases(rng), next_of_each_length, MISTAKES, _texts):
        if wrong := _wrong_codes(_texts(answer(lengths, alike=_texts)), lengths):
            raise wrong


def _wrong_codes(given: Any, lengths: list[int]) -> Wrong | None:
    right = next_of_each_length(lengths)

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
    _check_canonical_codes,
    reference=_reference_codes,
    core=True,
    minutes=12,
    mistakes=MISTAKES,
)

"""An exercise of chapter 05: how long the codes are, from how often the symbols occur.

The oracle merges from two queues (van Leeuwen 1976), and says how many bits the best code takes:
any lengths that take as few are right.
"""

import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import whole
from shrink.coding import huffman

Lengths = Callable[[list[int]], list[int]]


def least_bits(counts: list[int]) -> int:
    """What the symbols take in the best prefix code; a symbol that is alone takes one bit each."""
    leaves, merged, total = deque(sorted(filter(None, counts))), deque(), 0
    if len(leaves) == 1:
        return leaves[0]

    def rarest() -> int:
        from_leaves = not merged or (leaves and leaves[0] <= merged[0])
        return (leaves if from_leaves else merged).popleft()

    while len(leaves) + len(merged) > 1:
        merged.append(rarest() + rarest())
        total += merged[-1]
    return total


def kraft(lengths: list[int]) -> Fraction:
    return sum((Fraction(1, 2**length) for length in lengths if length), Fraction(0))


def _merging(
    pick: Callable[[list], list] = sorted,
    deeper: Callable[[list[int], list[int]], list[int]] = list.__add__,
) -> Lengths:
    """Merges groups until one is left: which two, and who gets a bit."""

    def code_lengths(counts: list[int]) -> list[int]:
        lengths = [0] * len(counts)
        groups = [(count, [symbol]) for symbol, count in enumerate(counts) if count]
        if len(groups) == 1:
            lengths[groups[0][1][0]] = 1
        groups.sort()
        while len(groups) > 1:
            (a, some), (b, others), *groups = pick(groups)
            for symbol in deeper(some, others):
                lengths[symbol] += 1
            groups.append((a + b, some + others))
        return lengths

    return code_lengths


_right = _merging()


def _fixed(counts: list[int]) -> list[int]:
    occurring = sum(count > 0 for count in counts)
    return [max(1, math.ceil(math.log2(occurring))) * (count > 0) for count in counts]


def _ranks(counts: list[int]) -> dict[int, int]:
    """Symbol → its place, the most frequent first."""
    occurring = [symbol for symbol, count in enumerate(counts) if count]
    return {s: i for i, s in enumerate(sorted(occurring, key=lambda s: -counts[s]))}


def _one_bit_more_each(counts: list[int]) -> list[int]:
    ranks = _ranks(counts)
    last = max(len(ranks) - 1, 1)
    return [min(ranks[s] + 1, last) if s in ranks else 0 for s in range(len(counts))]


def _shannon(round_: Callable[[float], int]) -> Lengths:
    def code_lengths(counts: list[int]) -> list[int]:
        total = sum(counts)
        return [max(1, round_(math.log2(total / count))) if count else 0 for count in counts]

    return code_lengths


def _split(counts: list[int]) -> list[int]:
    """Shannon and Fano: halves of about the same count, from the top down."""
    lengths = [0] * len(counts)

    def split(symbols: list[int]) -> None:
        if len(symbols) < 2:
            return
        total, before, best = sum(counts[s] for s in symbols), 0, []
        for i, symbol in enumerate(symbols[:-1], 1):
            before += counts[symbol]
            best.append((abs(total - 2 * before), i))
        cut = min(best)[1]
        for symbol in symbols:
            lengths[symbol] += 1
        split(symbols[:cut])
        split(symbols[cut:])

    symbols = list(_ranks(counts))
    split(symbols)
    if len(symbols) == 1:
        lengths[symbols[0]] = 1
    return lengths


def _zeros_too(counts: list[int]) -> list[int]:
    return _right_of_all([(count, [symbol]) for symbol, count in enumerate(counts)], len(counts))


def _right_of_all(groups: list, symbols: int) -> list[int]:
    """Also those that never occur."""
    lengths = [int(symbols == 1)] * symbols
    while len(groups) > 1:
        (a, some), (b, others), *groups = sorted(groups)
        for symbol in some + others:
            lengths[symbol] += 1
        groups.append((a + b, some + others))
    return lengths


def _alone_has_none(counts: list[int]) -> list[int]:
    return [0] * len(counts) if sum(c > 0 for c in counts) == 1 else _right(counts)


def _too_long(counts: list[int]) -> list[int]:
    return [length + (length > 0) for length in _right(counts)]


def _by_rank(counts: list[int]) -> list[int]:
    lengths = _right(counts)
    return [lengths[symbol] for symbol in sorted(range(len(counts)), key=lambda s: counts[s])]


FIXED = Mistake(
    "fixed length", _fixed, "the same length for all is no gain: what comes often gets a short code"
)
CHAIN = Mistake(
    "one bit more each",
    _one_bit_more_each,
    "each symbol in turn one bit longer is right only where counts halve from one to the next (it "
    "also comes out where a merged group does not count as much as its two together)",
)
SHANNON = Mistake(
    "Shannon",
    _shannon(math.ceil),
    "log2(total / count) rounded up is a code, but not the shortest: its Kraft sum stays below 1",
)
NOT_PUT_BACK = Mistake(
    "not put back in order",
    _merging(pick=list),
    "a merged group counts as much as its two together: look for the two rarest afresh, groups and "
    "symbols alike",
)
SPLIT = Mistake(
    "split from the top",
    _split,
    "halves from the top down (Shannon and Fano) are not always best: merge from the bottom up",
)
MISTAKES = (
    FIXED,
    CHAIN,
    SHANNON,
    NOT_PUT_BACK,
    SPLIT,
    Mistake(
        "rounded",
        _shannon(round),
        "log2(total / count) rounded to the nearest may be too short for a prefix code: see the "
        "Kraft sum",
    ),
    Mistake(
        "the most frequent merged",
        _merging(pick=lambda groups: sorted(groups, reverse=True)),
        "it is the two rarest that are merged, and so get the longest codes",
    ),
    Mistake(
        "a bit for one of the two",
        _merging(deeper=lambda some, others: some),
        "both groups of a merger get a bit, the one 0 and the other 1",
    ),
    Mistake(
        "a bit for one symbol of each",
        _merging(deeper=lambda some, others: [some[0], others[0]]),
        "every symbol of both groups gets a bit, not one of each",
    ),
    Mistake(
        "zero counts too", _zeros_too, "what never occurs gets no code: length 0, and no room taken"
    ),
    Mistake(
        "none for one alone",
        _alone_has_none,
        "a symbol that is alone gets one bit: with none, nobody could say how many there are",
    ),
    Mistake("one too long", _too_long, "each length is one too many: the root is no bit"),
    Mistake(
        "in the order of counts",
        _by_rank,
        "the lengths come in the order of the symbols, not of their counts",
    ),
)


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[list[int]]]]:
    def some(symbols: int, most: int = 60, zeros: int = 0) -> tuple[list[int]]:
        counts = [rng.randint(1, most) for _ in range(symbols)] + [0] * zeros
        rng.shuffle(counts)
        return (counts,)

    def fibonacci(symbols: int) -> tuple[list[int]]:
        counts = [1, 1]
        while len(counts) < symbols:
            counts.append(counts[-1] + counts[-2])
        rng.shuffle(counts)
        return (counts,)

    def one(zeros: int) -> tuple[list[int]]:
        counts = [0] * zeros
        counts.insert(rng.randint(0, zeros), rng.randint(1, 99))
        return (counts,)

    yield lambda: some(rng.randint(5, 6))
    yield lambda: some(rng.randint(6, 8), zeros=2)
    yield lambda: some(9, most=200)
    yield lambda: some(12, most=500)
    yield lambda: one(zeros=2)
    yield lambda: one(zeros=0)
    yield lambda: some(2)
    yield lambda: ([0] * rng.randint(1, 3),)
    yield lambda: ([rng.randint(1, 9)] * rng.choice([3, 5, 6, 7]),)  # ties
    yield lambda: ([1, 1, 2, 2, 3, 3, rng.randint(4, 6)],)
    yield lambda: fibonacci(rng.randint(35, 45))  # as deep as there are symbols
    yield lambda: some(200, most=3)
    yield lambda: ([round(5000 * 0.94**i) for i in range(140)],)


def _verdict(given: Any, counts: list[int]) -> Any:
    """The text "right", or the lengths by count: which of equal counts has which is no matter."""
    lengths = listed(given)
    if lengths is None or len(lengths) != len(counts):
        return given
    pairs = sorted(zip(counts, lengths, strict=True))
    return "right" if _fault(lengths, counts) is None else pairs


def listed(given: Any) -> list[int] | None:
    if isinstance(given, Tensor) and given.dim() == 1 and given.layout == torch.strided:
        given = given.tolist()
    if not isinstance(given, list | tuple):
        return None
    found = [whole(length) for length in given]
    return None if None in found else found


def _fault(lengths: list[int], counts: list[int]) -> str | None:
    """What is wrong with lengths of so many symbols."""
    for symbol, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        if (length > 0) != (count > 0) or length < 0:
            needed = "at least one bit" if count else "no code, length 0"
            return f"symbol {symbol} occurs {count} times: it has {needed}, not {length}"
        if length > len(counts):
            return f"of {len(counts)} symbols none has a code of {length} bits in the best code"
    if (room := kraft(lengths)) > 1:
        return f"no prefix code has these lengths: their Kraft sum is {room}, above 1"
    total = sum(length * count for length, count in zip(lengths, counts, strict=True))
    if total > (least := least_bits(counts)):
        wasted = f" (their Kraft sum is {room}: there is room left)" if room < 1 else ""
        return f"with these lengths all symbols take {total} bits, and {least} are enough{wasted}"
    return None


def _check_code_lengths(answer: Attempt, rng: random.Random) -> None:
    known = [
        Mistake(m.name, lambda counts, f=m.function: _verdict(f(counts), counts), m.hint)
        for m in MISTAKES
    ]
    for (counts,) in telling(_cases(rng), lambda counts: "right", known, lambda seen: seen):
        row = torch.tensor(counts, dtype=torch.int64)
        given = answer(row, alike=lambda result, counts=counts: _verdict(result, counts))
        right = huffman.code_lengths(row)
        if not isinstance(given, Tensor) or given.dim() != 1 or listed(given) is None:
            needed = (
                "return a tensor of whole numbers, of one axis, as torch.tensor makes of a list"
            )
            raise Wrong(needed, expected=right, given=given, known_mistakes=False)
        if len(given) != len(counts):
            raise Wrong(
                f"{len(counts)} symbols, and you return {len(given)} lengths",
                expected=right,
                given=given,
            )
        if fault := _fault(given.tolist(), counts):
            raise Wrong(fault, expected=right, given=given)


def _on_tensors(mistake: Mistake) -> Mistake:
    """The mistake as an answer: from a tensor to a tensor."""
    return Mistake(
        mistake.name, lambda counts: torch.tensor(mistake.function(counts.tolist())), mistake.hint
    )


code_lengths = Exercise(
    "code_lengths",
    _check_code_lengths,
    reference=huffman.code_lengths,
    core=True,
    minutes=18,
    mistakes=tuple(map(_on_tensors, MISTAKES)),
)

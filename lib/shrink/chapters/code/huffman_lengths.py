"""An exercise of chapter 05: how long the codes are, from how often the symbols occur.

The oracle merges from two queues (van Leeuwen 1976), and says how many bits the best code takes:
any lengths that take as few are right.
"""

import math
import random
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong, known
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import whole_numbers
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


@known("the same length for all gains nothing: a symbol that comes often gets a short code")
def fixed_length(counts: list[int]) -> list[int]:
    occurring = sum(count > 0 for count in counts)
    return [max(1, math.ceil(math.log2(occurring))) * (count > 0) for count in counts]


def _ranks(counts: list[int]) -> dict[int, int]:
    """Symbol → its place, the most frequent first."""
    occurring = [symbol for symbol, count in enumerate(counts) if count]
    return {s: i for i, s in enumerate(sorted(occurring, key=lambda s: -counts[s]))}


@known(
    "one bit more for each next symbol is right only where counts halve from one to the next (it "
    "is also what you get if a merged group does not count as much as its two together)"
)
def one_bit_more_each(counts: list[int]) -> list[int]:
    ranks = _ranks(counts)
    last = max(len(ranks) - 1, 1)
    return [min(ranks[s] + 1, last) if s in ranks else 0 for s in range(len(counts))]


@known(
    "log2(total / count) rounded up is a code, but not the shortest: its Kraft sum stays below 1",
    "Shannon",
)
def shannon(counts: list[int]) -> list[int]:
    total = sum(counts)
    return [max(1, math.ceil(math.log2(total / count))) if count else 0 for count in counts]


@known("halves from the top down (Shannon and Fano) are not always best: merge from the bottom up")
def split_from_the_top(counts: list[int]) -> list[int]:
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


NOT_PUT_BACK = Mistake(
    "not put back in order",
    _merging(pick=list),
    "a merged group counts as much as its two together: sort again before each merger, groups and "
    "symbols alike",
)
MISTAKES = (
    fixed_length,
    one_bit_more_each,
    shannon,
    NOT_PUT_BACK,
    split_from_the_top,
    Mistake(
        "the most frequent merged",
        _merging(pick=lambda groups: sorted(groups, reverse=True)),
        "merge the two rarest, which then get the longest codes; these are the two commonest",
    ),
    Mistake(
        "a bit for one symbol of each",
        _merging(deeper=lambda some, others: [some[0], others[0]]),
        "every symbol of both groups gets a bit, not one of each",
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
    lengths = whole_numbers(given)
    if lengths is None or len(lengths) != len(counts):
        return given
    pairs = sorted(zip(counts, lengths, strict=True))
    return "right" if _fault(lengths, counts) is None else pairs


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


def _wrong_lengths(given: Any, right: Tensor, counts: list[int]) -> Wrong | None:
    lengths = whole_numbers(given)
    if not isinstance(given, Tensor) or lengths is None:
        needed = "return a tensor of whole numbers, of one axis, as torch.tensor makes of a list"
        return Wrong(needed, expected=right, given=given, known_mistakes=False)
    if len(lengths) != len(counts):
        fault = f"{len(counts)} symbols, and you return {len(lengths)} lengths"
    else:
        fault = _fault(lengths, counts)
    return Wrong(fault, expected=right, given=given) if fault else None


def _with_verdict(mistake: Mistake) -> Mistake:
    """The mistake, which gives the verdict on its lengths."""
    return replace(mistake, function=lambda counts: _verdict(mistake(counts), counts))


def _check(answer: Attempt, rng: random.Random) -> None:
    """Not `by_cases`: many lengths are right, and which are depends on the counts."""
    judged = tuple(map(_with_verdict, MISTAKES))
    for (counts,) in telling(_cases(rng), lambda counts: "right", judged, lambda verdict: verdict):
        row = torch.tensor(counts, dtype=torch.int64)
        given = answer(row, alike=partial(_verdict, counts=counts))
        if wrong := _wrong_lengths(given, huffman.code_lengths(row), counts):
            raise wrong


def _on_tensors(mistake: Mistake) -> Mistake:
    """The mistake as an answer: from a tensor to a tensor."""
    return replace(mistake, function=lambda counts: torch.tensor(mistake(counts.tolist())))


code_lengths = Exercise(
    "code_lengths",
    _check,
    reference=huffman.code_lengths,
    core=True,
    minutes=18,
    mistakes=tuple(map(_on_tensors, MISTAKES)),
)

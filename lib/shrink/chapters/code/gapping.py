"""An exercise of chapter 05: from where the weights are to gaps, with fillers.

The oracle goes from gap to gap, and a filler is needed where more zeros come than a gap counts.
"""

import random
from collections.abc import Callable, Iterator
from itertools import accumulate
from typing import Any

import torch

from shrink.classroom.exercises.attempt import Mistake, Wrong, known, show
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import whole_numbers
from shrink.coding import sparse


def _walk(positions: list[int], top: int, takes: int, first: int = -1) -> list[int]:
    """Gaps that lead from `first` to each position; a filler has the gap `top`."""
    found, before = [], first
    for position in positions:
        zeros = position - before - 1
        while zeros > top:
            found.append(top)
            zeros -= takes
        found.append(zeros)
        before = position
    return found


def _right(positions: list[int], gap_bits: int) -> list[int]:
    return _walk(positions, 2**gap_bits - 1, 2**gap_bits)


@known("your gap is the difference of two places; the zeros between them are one fewer")
def _differences(positions: list[int], gap_bits: int) -> list[int]:
    """Of a place from the one before, and fillers that lead on by as much as they say."""
    top = 2**gap_bits - 1
    return _walk([place + i for i, place in enumerate(positions)], top, takes=top)


@known("where more zeros come than a gap can count, fillers go first, as many as it takes")
def _no_filler(positions: list[int], gap_bits: int) -> list[int]:
    return [b - a - 1 for a, b in zip([-1, *positions], positions, strict=False)]


@known("one filler may not be enough: use a while loop, or a division")
def _one_filler(positions: list[int], gap_bits: int) -> list[int]:
    found, size = [], 2**gap_bits
    for zeros in _no_filler(positions, gap_bits):
        found += [size - 1, zeros - size] if zeros >= size else [zeros]
    return found


@known("2**gap_bits - 1 zeros still fit in a gap, and after a filler -1 are left: > and not >=")
def _filler_too_early(positions: list[int], gap_bits: int) -> list[int]:
    found, size = [], 2**gap_bits
    for zeros in _no_filler(positions, gap_bits):
        while zeros >= size - 1:
            found.append(size - 1)
            zeros -= size
        found.append(zeros)
    return found


MISTAKES = (
    _differences,
    Mistake(
        "filler takes too little",
        lambda positions, b: _walk(positions, 2**b - 1, 2**b - 1),
        "a filler takes 2**gap_bits places: its gap of zeros, and a place for its own zero",
    ),
    _no_filler,
    _one_filler,
    _filler_too_early,
    Mistake(
        "first place not counted",
        lambda positions, b: _walk(positions, 2**b - 1, 2**b, first=0),
        "before the first weight come as many zeros as its position says; you have one fewer",
    ),
)


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[list[int], int]]]:
    def places(*zeros: int) -> list[int]:
        found, at = [], -1
        for gap in zeros:
            at += gap + 1
            found.append(at)
        return found

    def some(count: int, most: int, gap_bits: int) -> tuple[list[int], int]:
        return places(*(rng.randint(0, most) for _ in range(count))), gap_bits

    yield lambda: (places(rng.randint(1, 3), *rng.sample(range(4), 3)), 3)
    yield lambda: (  # one filler, several, and as many zeros as a gap can count
        places(1, *rng.sample([3, rng.randint(4, 7), rng.randint(33, 40)], 3)),
        2,
    )
    yield lambda: (places(rng.randint(0, 1), 3, 0, 3), 2)  # as many as a gap can count
    yield lambda: (places(1, rng.randint(9, 14), 2), 2)
    yield lambda: (places(1, rng.randint(40, 60), 2), 5)
    yield lambda: (places(rng.randint(10, 20), 0, 7, 8), 3)
    yield lambda: (places(2, 0, 5, 1), 1)
    yield lambda: ([], rng.randint(1, 8))
    yield lambda: ([0], 1)
    yield lambda: (places(3, 255, 256, 700), 8)
    yield lambda: some(30, 40, rng.randint(2, 4))
    yield lambda: some(200, 9, 2)


def _wrong_gaps(given: Any, right: list[int], positions: list[int], gap_bits: int) -> Wrong | None:
    found = whole_numbers(given)
    if found is None:
        return Wrong("return a list of whole numbers", expected=show(right), given=given)
    if found == right:
        return None
    fault = _fault(found, right, positions, gap_bits)
    return Wrong(fault, expected=show(right), given=found)


def _fault(given: list[int], right: list[int], positions: list[int], gap_bits: int) -> str:
    top = 2**gap_bits - 1
    if outside := [gap for gap in given if not 0 <= gap <= top]:
        return f"a gap of {outside[0]} is not within {gap_bits} bits, 0 to {top}"
    met = [place - 1 for place in accumulate(gap + 1 for gap in given)]
    missed = [position for position in positions if position not in set(met)]
    if missed:
        return f"read back, the gaps never come to place {missed[0]}"
    if not positions:
        return "no weight is left, so there is no gap to store"
    if met and met[-1] > positions[-1]:
        return f"the gaps lead on to place {met[-1]}, beyond the last weight"
    if len(given) > len(right):
        return f"{len(right)} gaps are enough, and you store {len(given)}"
    return f"a filler has the greatest gap, here {top}; the rest of the zeros come after it"


def _reference(positions: list[int], gap_bits: int) -> list[int]:
    """The zeros before each position, and fillers of 2^gap_bits - 1 where more come.

    >>> gaps([1, 4, 15], gap_bits=3)
    [1, 2, 7, 2]
    """
    places = torch.as_tensor(positions, dtype=torch.long)
    row = torch.zeros(int(places.max()) + 1 if len(places) else 1)
    row[places] = 1
    return sparse.relative_indices(row, gap_bits)[0].tolist()


gaps = Exercise(
    "gaps",
    by_cases(_cases, _right, _wrong_gaps, mistakes=MISTAKES, alike=whole_numbers),
    reference=_reference,
    core=True,
    minutes=10,
    mistakes=MISTAKES,
)

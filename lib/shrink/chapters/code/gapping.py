"""An exercise of chapter 05: from where the weights are to gaps, with fillers.

The oracle goes from gap to gap, and a filler is needed where more zeros come than a gap counts.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch

from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong, show
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import whole
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


def _differences(positions: list[int], gap_bits: int) -> list[int]:
    """Of a place from the one before, and fillers that lead on by as much as they say."""
    found, before, top = [], 0, 2**gap_bits - 1
    for position in positions:
        step = position - before
        while step > top:
            found.append(top)
            step -= top
        found.append(step)
        before = position
    return found


def _no_filler(positions: list[int], gap_bits: int) -> list[int]:
    return [b - a - 1 for a, b in zip([-1, *positions], positions, strict=False)]


def _one_filler(positions: list[int], gap_bits: int) -> list[int]:
    found, size = [], 2**gap_bits
    for zeros in _no_filler(positions, gap_bits):
        found += [size - 1, zeros - size] if zeros >= size else [zeros]
    return found


def _first_not_split(positions: list[int], gap_bits: int) -> list[int]:
    return positions[:1] + _right([p - positions[0] - 1 for p in positions[1:]], gap_bits)


def _rest_first(positions: list[int], gap_bits: int) -> list[int]:
    found, size = [], 2**gap_bits
    for zeros in _no_filler(positions, gap_bits):
        found += [zeros % size] + [size - 1] * (zeros // size)
    return found


def _too_early(positions: list[int], gap_bits: int) -> list[int]:
    found, size = [], 2**gap_bits
    for zeros in _no_filler(positions, gap_bits):
        while zeros >= size - 1:
            found.append(size - 1)
            zeros -= size
        found.append(zeros)
    return found


def _by_top(positions: list[int], gap_bits: int) -> list[int]:
    """Divides by the greatest gap, where a filler takes one place more."""
    found, top = [], 2**gap_bits - 1
    for zeros in _no_filler(positions, gap_bits):
        found += [top] * (zeros // top) + [zeros % top]
    return found


MISTAKES = (
    Mistake(
        "differences",
        _differences,
        "your gap is the difference of two places; the zeros between them are one fewer",
    ),
    Mistake(
        "filler takes too little",
        lambda positions, b: _walk(positions, 2**b - 1, 2**b - 1),
        "a filler takes 2**gap_bits places: its gap of zeros, and a place for its own zero",
    ),
    Mistake(
        "divided by the greatest gap",
        _by_top,
        "a filler leads 2**gap_bits places on, not 2**gap_bits - 1: divide by that",
    ),
    Mistake(
        "no filler",
        _no_filler,
        "more zeros than a gap can count need fillers, as many as it takes",
    ),
    Mistake(
        "cut off",
        lambda positions, b: [min(gap, 2**b - 1) for gap in _no_filler(positions, b)],
        "a gap that is cut off puts all that comes after it in the wrong place: store fillers",
    ),
    Mistake(
        "first gap not split",
        _first_not_split,
        "the zeros before the first weight may need fillers too: begin as if one stood at -1",
    ),
    Mistake("one filler", _one_filler, "one filler may not be enough: a while, or a division"),
    Mistake(
        "filler too early",
        _too_early,
        "2**gap_bits - 1 zeros still fit in a gap, and after a filler -1 are left: > and not >=",
    ),
    Mistake(
        "top too large",
        lambda positions, b: _walk(positions, 2**b, 2**b + 1),
        "the greatest number of gap_bits bits is 2**gap_bits - 1, not 2**gap_bits",
    ),
    Mistake(
        "first place not counted",
        lambda positions, b: _walk(positions, 2**b - 1, 2**b, first=0),
        "before the first place come as many zeros as its number says; nothing lies at 0 already",
    ),
    Mistake(
        "zeros after the last",
        lambda positions, b: [*_right(positions, b), 2**b - 1],
        "after the last place nothing is stored",
    ),
    Mistake(
        "rest before its fillers",
        _rest_first,
        "the fillers come first; what is left comes last and leads to the weight itself",
    ),
    Mistake(
        "always 5 bits",
        lambda positions, b: _right(positions, 5),
        "how many zeros a gap can count is up to gap_bits",
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


def _listed(result: Any) -> Any:
    """A list of whole numbers, whether it came as one, as a tuple, an array or a tensor."""
    if hasattr(result, "tolist") and getattr(result, "ndim", 0) == 1:
        result = result.tolist()
    if not isinstance(result, list | tuple):
        return result
    found = [whole(gap) for gap in result]
    return result if None in found else found


def _check_gaps(answer: Attempt, rng: random.Random) -> None:
    for positions, gap_bits in telling(_cases(rng), _right, MISTAKES, list):
        given = _listed(answer(positions, gap_bits, alike=_listed))
        if wrong := _wrong_gaps(given, positions, gap_bits):
            raise wrong


def _wrong_gaps(given: Any, positions: list[int], gap_bits: int) -> Wrong | None:
    right, top = _right(positions, gap_bits), 2**gap_bits - 1

    def wrong(hint: str) -> Wrong:
        return Wrong(hint, expected=show(right), given=given)

    if not isinstance(given, list) or any(type(gap) is not int for gap in given):
        return wrong("return a list of whole numbers")
    if any(not 0 <= gap <= top for gap in given):
        gap = next(gap for gap in given if not 0 <= gap <= top)
        return wrong(f"a gap of {gap} is not within {gap_bits} bits, 0 to {top}")
    if given == right:
        return None
    place, met = -1, []
    for gap in given:
        place += gap + 1
        met.append(place)
    missed = [position for position in positions if position not in set(met)]
    if missed:
        return wrong(f"read back, the gaps never come to place {missed[0]}")
    if not positions:
        return wrong("no weight is left, so there is no gap to store")
    if met and met[-1] > positions[-1]:
        return wrong(f"the gaps lead on to place {met[-1]}, and the last weight is before that")
    if len(given) > len(right):
        return wrong(f"{len(right)} gaps are enough, and you store {len(given)}")
    return wrong(f"a filler has the greatest gap, here {top}; what is left comes after it")


def _reference(positions: list[int], gap_bits: int) -> list[int]:
    """The zeros before each position, and fillers of 2^gap_bits - 1 where more come.

    >>> gaps([1, 4, 15], gap_bits=3)
    [1, 2, 7, 2]
    """
    places = torch.as_tensor(positions, dtype=torch.long)
    row = torch.zeros(int(places.max()) + 1 if len(places) else 1)
    row[places] = 1
    return sparse.relative_indices(row, gap_bits)[0].tolist()


gaps = Exercise("gaps", _check_gaps, reference=_reference, core=True, minutes=10, mistakes=MISTAKES)

"""An exercise of chapter 02: gaps between nonzeros, with fillers.

The oracle is a decoder that goes from gap to gap, and the count of the entries that are needed.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from shrink.classroom.exercises.attempt import Wrong, known, show
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.coding import sparse

Entries = list[tuple[int, float]]  # gaps and values


def _runs(numbers: list[float]) -> Entries:
    """How many zeros come before each nonzero, and the nonzero."""
    runs, zeros = [], 0
    for number in numbers:
        if number == 0:
            zeros += 1
        else:
            runs.append((zeros, number))
            zeros = 0
    return runs


def _filled(runs: Entries, top: int, takes: int, most: float = math.inf) -> Entries:
    """The runs, with fillers of gap `top` that take so many places where more zeros come."""
    entries = []
    for zeros, value in runs:
        fillers = 0
        while zeros > top and fillers < most:
            entries.append((top, 0.0))
            zeros, fillers = zeros - takes, fillers + 1
        entries.append((zeros, value))
    return entries


def _right_entries(numbers: list[float], gap_bits: int) -> Entries:
    return _filled(_runs(numbers), 2**gap_bits - 1, takes=2**gap_bits)


def _code(entries: Callable[[list[float], int], Entries]) -> Callable:
    """A wrong way from a list of numbers to entries, made one from a weight to two tensors."""

    def relative_indices(weight: Tensor, gap_bits: int) -> tuple[Tensor, Tensor]:
        return _two_tensors(entries(weight.detach().flatten().tolist(), gap_bits), weight.dtype)

    return relative_indices


def _two_tensors(entries: Entries, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    gaps = torch.tensor([gap for gap, _ in entries], dtype=torch.int64)
    return gaps, torch.tensor([value for _, value in entries], dtype=dtype)


@known(
    "your gap is the difference of two positions, one more than the zeros between them",
    "difference",
)
@_code
def _difference(numbers: list[float], gap_bits: int) -> Entries:
    top = 2**gap_bits - 1
    return _filled([(zeros + 1, value) for zeros, value in _runs(numbers)], top, takes=top)


@known("these are positions; a gap counts the zeros since the nonzero before", "absolute")
@_code
def _absolute(numbers: list[float], gap_bits: int) -> Entries:
    return [(place, number) for place, number in enumerate(numbers) if number != 0]


@known("more zeros than a gap can count need a filler, as many fillers as it takes", "no filler")
@_code
def _no_filler(numbers: list[float], gap_bits: int) -> Entries:
    return _runs(numbers)


@known(
    "a filler takes 2**gap_bits places: its gap of zeros, and a place for its own value, 0",
    "filler takes too little",
)
@_code
def _filler_takes_top(numbers: list[float], gap_bits: int) -> Entries:
    return _filled(_runs(numbers), 2**gap_bits - 1, takes=2**gap_bits - 1)


@known("one filler may not be enough: while, not if", "one filler")
@_code
def _one_filler(numbers: list[float], gap_bits: int) -> Entries:
    return _filled(_runs(numbers), 2**gap_bits - 1, takes=2**gap_bits, most=1)


@known(
    "2**gap_bits - 1 zeros still fit in a gap, and after a filler -1 are left: > and not >=",
    "filler too early",
)
@_code
def _filler_too_early(numbers: list[float], gap_bits: int) -> Entries:
    top, entries = 2**gap_bits - 1, []
    for zeros, value in _runs(numbers):
        while zeros >= top:
            entries.append((top, 0.0))
            zeros -= 2**gap_bits
        entries.append((zeros, value))
    return entries


@known("the count does not start over in each row: flatten the weight first", "rows start over")
def _row_restarts(weight: Tensor, gap_bits: int) -> tuple[Tensor, Tensor]:
    rows = weight.detach().reshape(len(weight), -1) if weight.dim() > 1 else weight[None]
    entries = [entry for row in rows.tolist() for entry in _right_entries(row, gap_bits)]
    return _two_tensors(entries, weight.dtype)


INDEX_MISTAKES = (
    _difference,
    _absolute,
    _no_filler,
    _filler_takes_top,
    _one_filler,
    _filler_too_early,
    _row_restarts,
)


def _spaced(rng: random.Random, gaps: Sequence[int], trailing: int = 0) -> Tensor:
    """A weight with these gaps between nonzeros, and zeros after the last."""
    weight = []
    for i, gap in enumerate(gaps):
        weight += [0.0] * gap + [rng.choice([-1, 1] if i else [-1]) * rng.randint(1, 40) / 10]
    return torch.tensor(weight + [0.0] * trailing)


def _index_cases(rng: random.Random) -> Iterator[tuple[Tensor, int]]:
    yield _spaced(rng, [rng.randint(1, 3), *rng.sample(range(4), 3)]), 3
    yield _spaced(rng, [1, 0, rng.randint(1, 2)], trailing=rng.randint(4, 9)), 2
    yield _spaced(rng, rng.sample([1, 3, 0], 3)), 2  # as many zeros as a gap can count
    yield _spaced(rng, [1, rng.randint(40, 60), 2]), 5
    yield _spaced(rng, [0, rng.randint(4, 6), 1]), 2  # one filler
    yield _spaced(rng, rng.sample([2, 4, 7, 8], 3), trailing=1), 2  # the last place, the next
    yield _spaced(rng, [1, rng.randint(9, 14)]), 2  # fillers
    yield _spaced(rng, [2, 0, 5, 1]), 1
    yield _spaced(rng, [3, 255, 256, 700]), 8
    rows = _spaced(rng, [0, 1, 1, 2, 4, 0, 3], trailing=2).view(4, 5)
    yield rows, 2
    yield rows.t(), 2  # not contiguous
    g = generator(rng)

    def pruned(*shape: int, sparsity: float = 0.8) -> Tensor:
        weight = torch.randn(shape, generator=g)
        return weight * (torch.rand(shape, generator=g) > sparsity)  # with -0.0, as pruning leaves

    yield pruned(10, 3, 3, 3), rng.randint(2, 4)
    yield pruned(30).double(), 2
    yield pruned(30).half(), 3
    yield torch.zeros(rng.randint(5, 9)), 2
    yield pruned(4, 2, sparsity=-1), 4
    yield torch.tensor([[rng.choice([0.5, -2.0])]]), 1
    yield Parameter(pruned(20)), 2
    if torch.cuda.is_available():
        yield pruned(20).cuda(), 2


def _int64_gaps(result: Any) -> Any:
    """The same for gaps of any integer type."""
    if isinstance(result, tuple | list) and len(result) == 2 and _is_whole(result[0]):
        values = result[1].detach() if isinstance(result[1], Tensor) else result[1]
        return result[0].to("cpu", torch.int64), values
    return result


def _is_whole(tensor: Any) -> bool:
    return (
        isinstance(tensor, Tensor)
        and tensor.layout == torch.strided
        and tensor.dtype in (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
    )


def _wrong_indices(given: Any, right: Entries, weight: Tensor, gap_bits: int) -> Wrong | None:
    def wrong(hint: str, got: Any = given) -> Wrong:
        return Wrong(hint, expected=_entries_text(right), given=got)

    if not isinstance(given, tuple | list) or len(given) != 2:
        return wrong("return a pair, (gaps, values)")
    gaps, values = given
    if not isinstance(gaps, Tensor) or not isinstance(values, Tensor):
        return wrong("gaps and values are tensors, not lists of numbers or anything else")
    if not _is_whole(gaps):
        return wrong(
            "gaps are whole numbers (an empty torch.tensor([]) is float32 unless told otherwise)",
            f"gaps of {gaps.dtype}, {gaps.layout}",
        )
    if values.dtype != weight.dtype:
        return Wrong(
            "values are of the weight's dtype", expected=str(weight.dtype), given=str(values.dtype)
        )
    if gaps.dim() != 1 or values.dim() != 1:
        shapes = f"shapes {tuple(gaps.shape)} and {tuple(values.shape)}"
        return wrong("gaps and values have one axis, whatever the weight has", shapes)
    hint = _wrong_entries(gaps.tolist(), values.tolist(), len(right), weight, gap_bits)
    got = f"gaps {show(gaps.tolist())}, values {_values_text(values.tolist())}"
    return wrong(hint, got) if hint else None


def _wrong_entries(
    gaps: list[int], values: list[float], enough: int, weight: Tensor, gap_bits: int
) -> str | None:
    """What is wrong with what is stored: read back from gap to gap, then what is not needed."""
    if len(gaps) != len(values):
        return f"{len(gaps)} gaps, {len(values)} values: each entry has both"
    numbers, top = weight.flatten().tolist(), 2**gap_bits - 1
    for gap in gaps:
        if not 0 <= gap <= top:
            return f"a gap of {gap} is not within {gap_bits} bits, 0 to {top}"
    decoded, place = [0.0] * len(numbers), -1
    for gap, value in zip(gaps, values, strict=True):
        place += gap + 1
        if place >= len(numbers):
            return f"the gaps lead to place {place}; the last is {len(numbers) - 1}"
        decoded[place] = value
    for place, (number, read) in enumerate(zip(numbers, decoded, strict=True)):
        if number != read:
            return (
                f"read back, place {place} (counted from 0, row by row) holds {read:.4g}, "
                f"in the weight {number:.4g}"
            )
    if len(gaps) > enough:
        return f"{enough} entries are enough, and you store {len(gaps)}"
    if any(value == 0 and gap != top for gap, value in zip(gaps, values, strict=True)):
        return f"a filler has the greatest gap, here {top}; the rest comes after it"
    return None


def _entries_text(entries: Entries) -> str:
    gaps, values = [g for g, _ in entries], [v for _, v in entries]
    return f"gaps {show(gaps)}, values {_values_text(values)}"


def _values_text(values: list[float]) -> str:
    return show("[" + ", ".join(f"{value:.4g}" for value in values) + "]")


relative_indices = Exercise(
    "relative_indices",
    by_cases(
        _index_cases,
        lambda weight, gap_bits: _right_entries(weight.flatten().tolist(), gap_bits),
        _wrong_indices,
        alike=_int64_gaps,
    ),
    reference=sparse.relative_indices,
    core=False,
    minutes=15,
    mistakes=INDEX_MISTAKES,
)

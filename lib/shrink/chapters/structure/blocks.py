"""An exercise of chapter 07: of each m weights in a row, the n of largest magnitude.

The oracle tries all patterns on each m weights. Where magnitudes tie, any of the equal weights may
stay, and exactly n do.
"""

import random
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from shrink import pruning
from shrink.classroom.exercises.attempt import Wrong, kind_of, known, place_of
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise


def _sizes(weight: Tensor) -> Tensor:
    return weight.detach().double().abs()


def _best_pattern(block: list[float], n: int) -> list[bool]:
    """Of all patterns that keep n of the block, the one with the largest sum."""
    best = max(combinations(range(len(block)), n), key=lambda kept: sum(block[i] for i in kept))
    return [i in best for i in range(len(block))]


def _right(weight: Tensor, n: int, m: int) -> Tensor:
    blocks = _sizes(weight).reshape(-1, m).tolist()
    masks = [_best_pattern(block, n) for block in blocks]
    return torch.tensor(masks, device=weight.device).view(weight.shape)


def _largest_of_each(scores: Tensor, n: int) -> Tensor:
    """True for the n largest along the last axis."""
    kept = scores.argsort(dim=-1, descending=True, stable=True)[..., :n]
    return torch.zeros_like(scores, dtype=torch.bool).scatter(-1, kept, True)


@known(
    "several weights of a block can be as large as its n-th, and then a threshold keeps more than "
    "n: take n positions, of topk or argsort"
)
def threshold(weight: Tensor, n: int, m: int) -> Tensor:
    blocks = _sizes(weight).reshape(-1, m)
    return (blocks >= blocks.topk(n).values[:, -1:]).view(weight.shape)


@known(
    "this is the right number in each row, and not in each block: of EACH m neighbours n stay, "
    "which is what a processor can rely on",
    "across the row",
)
def _of_the_row(weight: Tensor, n: int, m: int) -> Tensor:
    return _largest_of_each(_sizes(weight), n * weight.shape[1] // m)


@known("your blocks go down the columns; m neighbours in a row are one block", "down the columns")
def _down_columns(weight: Tensor, n: int, m: int) -> Tensor:
    return _right(weight.t(), n, m).t()


@known("n of each m stay, and m - n go", "M of N")
def _drops_n(weight: Tensor, n: int, m: int) -> Tensor:
    return _largest_of_each(_sizes(weight).reshape(-1, m), m - n).view(weight.shape)


@known(
    "reshape reads row by row: after a transpose it puts the mask of one weight at another's "
    "place; undo the transpose, or do without it",
    "reshape after transpose",
)
def _transposed(weight: Tensor, n: int, m: int) -> Tensor:
    return _largest_of_each(_sizes(weight).t().reshape(-1, m), n).reshape(weight.shape)


@known("large negative weights went: magnitude means absolute value")
def signed(weight: Tensor, n: int, m: int) -> Tensor:
    return _largest_of_each(weight.detach().reshape(-1, m), n).view(weight.shape)


@known("these are the n smallest of each block; the largest stay", "the smallest")
def _the_smallest(weight: Tensor, n: int, m: int) -> Tensor:
    return _largest_of_each(-_sizes(weight).reshape(-1, m), n).view(weight.shape)


@known("argsort gives the positions of the sorted weights, not the rank of each weight")
def positions_as_ranks(weight: Tensor, n: int, m: int) -> Tensor:
    order = _sizes(weight).reshape(-1, m).argsort(dim=1, descending=True)
    return (order < n).view(weight.shape)


@known(
    "reshape(rows, m, -1) makes blocks of weights that lie apart; m neighbours are one block: "
    "reshape(rows, -1, m)",
    "weights that lie apart",
)
def _apart(weight: Tensor, n: int, m: int) -> Tensor:
    blocks = _sizes(weight).reshape(len(weight), m, -1).transpose(1, 2)
    return _largest_of_each(blocks, n).transpose(1, 2).reshape(weight.shape)


MISTAKES = (
    threshold,
    _of_the_row,
    _down_columns,
    _drops_n,
    _transposed,
    signed,
    _the_smallest,
    positions_as_ranks,
    _apart,
)


def _comparable(result: Any) -> Any:
    """What two results are compared by."""
    if not isinstance(result, Tensor) or result.layout != torch.strided:
        return result
    return str(result.dtype), result.tolist()


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, int, int]]]:
    g = generator(rng)

    def drawn(rows: int, columns: int, n: int, m: int) -> tuple[Tensor, int, int]:
        return torch.randn(rows, columns, generator=g).mul(10).round() / 10, n, m

    def a_row_of_two_blocks() -> tuple[Tensor, int, int]:
        """Not the same number in each block, when the row is ranked, or what lies apart."""
        for _ in range(1000):
            args = drawn(2, 8, 1, 4)
            others = (mistake(*args) for mistake in (_of_the_row, _apart))
            if not any(other.equal(_right(*args)) for other in others):
                break
        return args

    def ties(rows: int, columns: int, n: int, m: int) -> tuple[Tensor, int, int]:
        """In the first block, the n-th and the next are equal; whole numbers elsewhere."""
        weight = torch.randint(-3, 4, (rows, columns), generator=g).float()
        weight[0, :m] = torch.tensor([9.0] * (n - 1) + [5.0, -5.0] + [1.0] * (m - n - 1))
        weight[0, :m] = weight[0, rng.sample(range(m), m)]
        return weight, n, m

    def changed(change: Callable[[Tensor], Tensor], *sizes: int) -> tuple[Tensor, int, int]:
        weight, n, m = drawn(*sizes)
        return change(weight), n, m

    yield lambda: drawn(4, 4, 2, 4)
    yield a_row_of_two_blocks
    yield lambda: ties(2, 8, 2, 4)
    yield lambda: ties(3, 6, 1, 3)
    yield lambda: drawn(3, 10, 3, 5)
    yield lambda: drawn(1, 6, 1, 2)
    yield lambda: drawn(2, 4, 4, 4)
    yield lambda: drawn(3, 2, 1, 1)
    yield lambda: drawn(2, 16, 4, 8)
    yield lambda: (torch.full((2, 8), rng.choice([0.0, -1.5])), 2, 4)
    yield lambda: drawn(16, 24, 2, 4)
    yield lambda: changed(Tensor.double, 2, 8, 2, 4)
    yield lambda: changed(lambda w: w.half(), 2, 8, 2, 4)
    yield lambda: changed(Tensor.t, 8, 4, 2, 4)  # not contiguous
    yield lambda: changed(torch.nn.Parameter, 2, 8, 2, 4)
    if torch.cuda.is_available():
        yield lambda: changed(Tensor.cuda, 2, 8, 2, 4)


def _wrong_mask(mask: Any, right: Tensor, weight: Tensor, n: int, m: int) -> Wrong | None:
    if not isinstance(mask, Tensor):
        return Wrong("a mask is a tensor", expected=right, given=mask)
    if mask.dtype != torch.bool or mask.layout != torch.strided:
        return Wrong("a mask is a bool tensor", expected="torch.bool, dense", given=kind_of(mask))
    if mask.shape != weight.shape or mask.device != weight.device:
        return Wrong(
            "a mask has the shape and device of its weight",
            expected=place_of(weight.shape, weight.device),
            given=place_of(mask.shape, mask.device),
        )
    for place, block in enumerate(_sizes(weight).reshape(-1, m)):
        mine, best = (masks.reshape(-1, m)[place].cpu() for masks in (mask, right))
        row, column = divmod(place * m, weight.shape[1])
        where = f"in row {row}, columns {column} to {column + m - 1},"
        if mine.sum() != n:
            return Wrong(
                f"{where} {n} of {m} weights must stay, and with your mask {int(mine.sum())} do",
                expected=right,
                given=mask,
            )
        block = block.cpu()
        if not block[mine].sort().values.equal(block[best].sort().values):
            return Wrong(
                f"{where} a weight of magnitude {block[~mine].max():.4g} goes and one of "
                f"{block[mine].min():.4g} stays",
                expected=right,
                given=mask,
            )
    return None


def _reference(weight: Tensor, n: int, m: int) -> Tensor:
    """The mask that keeps the n largest magnitudes of each m neighbours in a row, (rows, columns).

    >>> n_of_m(torch.tensor([[0.5, -4.0, 2.0, 1.0]]), n=2, m=4)
    tensor([[False,  True,  True, False]])
    """
    return pruning.n_of_m_mask(weight, n, m)


n_of_m = Exercise(
    "n_of_m",
    by_cases(_cases, _right, _wrong_mask, mistakes=MISTAKES, alike=_comparable),
    reference=_reference,
    core=False,
    minutes=12,
    mistakes=MISTAKES,
)

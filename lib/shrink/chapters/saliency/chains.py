"""What the checks of exercises 3, 4 and 6 share: chains of matrices, their flow, paths and ties.

A matrix is (outputs, inputs), and each reads what the one before it gives; there is no bias.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, pairwise

import torch
from torch import Tensor

Matrices = Sequence[Tensor]


def flows(matrices: Matrices, start: Tensor | None = None) -> tuple[list[Tensor], list[Tensor]]:
    """What arrives at each matrix's inputs, and what the sum of all outputs gains by its outputs.

    Args:
        start: the image; without it, ones.

    >>> arriving, leaving = flows([torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0, 1.0]])])
    >>> arriving, leaving
    ([tensor([1.]), tensor([1., 2.])], [tensor([3., 1.]), tensor([1.])])
    """
    first, last = matrices[0], matrices[-1]
    arriving = [first.new_ones(first.shape[1]) if start is None else start]
    leaving = [last.new_ones(last.shape[0])]
    for matrix in matrices[:-1]:
        arriving.append(matrix @ arriving[-1])
    for matrix in reversed(matrices[1:]):
        leaving.insert(0, matrix.T @ leaving[0])
    return arriving, leaving


def gradients(matrices: Matrices, start: Tensor | None = None) -> list[Tensor]:
    """The derivatives of the sum of all outputs by each weight, of the matrices' shapes."""
    return [torch.outer(b, a) for a, b in zip(*flows(matrices, start), strict=True)]


def synflow(matrices: Matrices) -> list[Tensor]:
    """SynFlow's scores of all weights, of the matrices' shapes.

    >>> synflow([torch.tensor([[1.0], [-2.0]]), torch.tensor([[3.0, -1.0]])])
    [tensor([[3.],
            [2.]]), tensor([[3., 2.]])]
    """
    sizes = [matrix.abs() for matrix in matrices]
    return [size * gradient for size, gradient in zip(sizes, gradients(sizes), strict=True)]


def paths(masks: Matrices) -> int:
    """How many paths lead from an input to an output through weights that stay."""
    count = torch.ones(masks[0].shape[1], dtype=torch.int64)
    for mask in masks:
        count = mask.long() @ count
    return int(count.sum())


def joined(parts: Matrices) -> Tensor:
    """The numbers of all matrices, one after the other, (n,)."""
    return torch.cat([part.flatten() for part in parts])


def parted(numbers: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """The matrices of a chain with these numbers of units, from `joined` numbers.

    >>> [tuple(matrix.shape) for matrix in parted(torch.zeros(10), (4, 2, 1))]
    [(2, 4), (1, 2)]
    """
    shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
    parts = numbers.split([rows * columns for rows, columns in shapes])
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def number_of_weights(sizes: Sequence[int]) -> int:
    return sum(one * other for one, other in pairwise(sizes))


def largest(scores: Tensor, count: int, among: Tensor) -> Iterator[Tensor]:
    """Every mask of the `count` largest scores among the weights that are True in `among`.

    There are several where scores tie for the last place.

    >>> scores = torch.tensor([3.0, 1.0, 1.0, 9.0])
    >>> for mask in largest(scores, 2, torch.tensor([True, True, True, False])):
    ...     mask.tolist()
    [True, True, False, False]
    [True, False, True, False]
    """
    scores = scores.detach().double()
    last = scores[among].sort(descending=True).values[count - 1]
    equal = torch.isclose(scores, last, rtol=1e-9, atol=0) & among
    above = (scores > last) & among & ~equal
    places = equal.nonzero().flatten().tolist()
    for chosen in combinations(places, count - int(above.sum())):
        mask = above.clone()
        mask[list(chosen)] = True
        yield mask


def exponential(weights: int, keep: int, steps: int) -> list[int]:
    """How many weights each step leaves, where each leaves the same share of those before it.

    >>> exponential(8, 1, 3)
    [4, 2, 1]
    """
    return [round(weights * (keep / weights) ** (step / steps)) for step in range(1, steps + 1)]


def linear(weights: int, keep: int, steps: int) -> list[int]:
    """The same where each step removes the same number.

    >>> linear(10, 2, 2)
    [6, 2]
    """
    return [round(weights - (weights - keep) * step / steps) for step in range(1, steps + 1)]

"""Masks with a pattern: weights that go by rows, kernels or filters, or so many of each few."""

from itertools import combinations

import torch
from torch import Tensor

from shrink.arguments import whole_number
from shrink.pruning.arguments import check_weight
from shrink.pruning.masks import magnitude_mask
from shrink.tensors import wide

PATTERNS = ("weight", "vector", "kernel", "group", "filter")
_MOST_IN_PAIRS = 16  # with more entries in a block sorting is faster


def pattern_mask(weight: Tensor, sparsity: float, pattern: str) -> Tensor:
    """The mask that prunes whole units of the weight, those with the smallest sum of magnitudes.

    | pattern | one unit | how many |
    |---|---|---|
    | "weight" | one weight | all |
    | "vector" | a row of a kernel | out · in · height |
    | "kernel" | what a filter does with one channel | out · in |
    | "group" | the same place in all filters | in · height · width |
    | "filter" | all that makes one output | out |

    Exactly round(sparsity · units) units go. Where sums tie, those that come first go first.

    >>> weight = torch.tensor([[1.0, 5.0], [2.0, 1.0]])  # sums of rows 6 and 3, of columns 3 and 6
    >>> pattern_mask(weight, 0.5, "filter")
    tensor([[ True,  True],
            [False, False]])
    >>> pattern_mask(weight, 0.5, "group")
    tensor([[False,  True],
            [False,  True]])

    Args:
        weight: floating point, (out, in, …) of a convolution of any number of axes, or (out, in) of
            a linear layer. The latter has no kernels: no "vector", no "kernel".
        sparsity: the fraction of units that go, 0 to 1; `round` is Python's (half to even).
        pattern: one of the five above.

    Returns:
        bool tensor of the weight's shape, True = keep.

    Raises:
        TypeError: the weight is not floating point, or `sparsity` is no number.
        ValueError: there is no pattern of that name, or none in a weight of that shape; the weight
            is empty or holds NaN, or `sparsity` lies outside 0 to 1.

    Source: Mao et al. 2017, "Exploring the Regularity of Sparse Structure in Convolutional Neural
        Networks", figure 1 (weights, vectors, kernels, filters); Lebedev and Lempitsky 2016, "Fast
        ConvNets Using Group-wise Brain Damage" (groups).
    Differs: Lebedev and Lempitsky find their groups by training with a penalty.
    """
    check_weight("weight", weight)
    axes = _axes_of_a_unit(weight, pattern)
    sums = wide(weight.detach()).abs()
    if axes:
        sums = sums.sum(axes, keepdim=True)
    return magnitude_mask(sums, sparsity).expand(weight.shape).contiguous()


def n_of_m_mask(weight: Tensor, n: int, m: int, axis: int = 1) -> Tensor:
    """The mask that keeps the n largest magnitudes of each m weights in a row, exactly n.

    2:4 is the pattern that NVIDIA's sparse tensor cores multiply with, along the inputs of a layer,
    axis 1.

    >>> n_of_m_mask(torch.tensor([[0.1, -3.0, 2.0, 1.0, 5.0, 5.0, 5.0, 9.0]]), n=2, m=4)
    tensor([[False,  True,  True, False, False, False,  True,  True]])

    Where magnitudes tie, those that come first go first, as in `magnitude_mask`.

    Args:
        weight: floating point, any shape.
        n: how many of each m are kept, 1 to m.
        m: how many weights make a block; the size of the axis is a multiple of it.
        axis: along which the blocks lie, one after the other from 0 on.

    Returns:
        bool tensor of the weight's shape, True = keep.

    Raises:
        TypeError: the weight is not floating point, or `n`, `m` or `axis` is not whole.
        ValueError: the weight is empty or holds NaN, there is no such axis, m does not divide its
            size, or n is not 1 to m.

    Source: Mishra et al. 2021, "Accelerating Sparse Deep Neural Networks", section 3 (2:4).
    """
    check_weight("weight", weight)
    m = whole_number("m", m, 1)
    n = whole_number("n", n, 1, m)
    if weight.dim() == 0:
        raise ValueError("weight is a single number, and has no axis to keep n of m along")
    axis = whole_number("axis", axis, -weight.dim(), weight.dim() - 1) % weight.dim()
    if weight.shape[axis] % m:
        raise ValueError(
            f"m must divide the weight's {weight.shape[axis]} entries along axis {axis}, "
            f"and {m} does not"
        )
    blocks = weight.detach().abs().unflatten(axis, (-1, m))
    keep = _by_pairs if m <= _MOST_IN_PAIRS else _by_sorting
    return keep(blocks, n, axis + 1).flatten(axis, axis + 1)


def _axes_of_a_unit(weight: Tensor, pattern: str) -> tuple[int, ...]:
    """The axes along which the weights of one unit lie."""
    if pattern not in PATTERNS:
        raise ValueError(f"pattern must be one of {', '.join(PATTERNS)}, not {pattern!r}")
    axes = range(weight.dim())
    if len(axes) < 2:
        raise ValueError(f"weight must be (out, in, …), not {tuple(weight.shape)}")
    if len(axes) == 2 and pattern in ("vector", "kernel"):
        raise ValueError(
            f"a weight (out, in) of shape {tuple(weight.shape)} has no kernels, and so no pattern "
            f"{pattern!r}: weight, group or filter"
        )
    along = {"vector": axes[-1:], "kernel": axes[2:], "group": axes[:1], "filter": axes[1:]}
    return tuple(along.get(pattern, ()))


def _by_pairs(blocks: Tensor, n: int, axis: int) -> Tensor:
    """Of each entry of a block, whether fewer than n others rank before it."""
    entries = blocks.unbind(axis)
    # the j-th is taken to rank behind the j that come first, until it proves as large
    before = [torch.full_like(entry, j, dtype=torch.uint8) for j, entry in enumerate(entries)]
    for i, j in combinations(range(len(entries)), 2):
        later_wins = (entries[j] >= entries[i]).view(torch.uint8)
        before[i] += later_wins
        before[j] -= later_wins
    return torch.stack([count < n for count in before], axis)


def _by_sorting(blocks: Tensor, n: int, axis: int) -> Tensor:
    order = blocks.argsort(dim=axis, stable=True)
    smallest = order.narrow(axis, 0, blocks.shape[axis] - n)
    return torch.ones_like(blocks, dtype=torch.bool).scatter_(axis, smallest, False)

"""The best codebook that there is, by dynamic programming over the sorted numbers."""

import numpy as np
import torch
from torch import Tensor

from shrink.sharing.codebooks import check_k, in_order
from shrink.sharing.kmeans import _ends, _lloyd
from shrink.sharing.windows import best_ends, moments_of, windows

FEW = 2**14  # different numbers: of no more the whole table is as quick
GROUPS = 2048  # of neighbouring numbers, at least, whose best clustering is a start for k-means


def optimal_codebook(values: Tensor, k: int) -> Tensor:
    """The k values of the least squared error there are: float32 (k,), rising.

    The best way to cut the first i numbers into j clusters is the best way to cut the first
    t into j - 1, for some t, and a cluster of the rest. The best t rises with i and with j, so
    that few are tried: O(k n log n) time, and 4 k n bytes. Of many numbers a good clustering first
    shows where each cut can lie at all, which is a small part of them.

    Args:
        values: float, any shape, at least one number; n of them differ.
        k: 1 to 65 536.

    Source: Wang and Song 2011, "Ckmeans.1d.dp"; Grønlund et al. 2017, arXiv 1701.07204, section 3.

    Raises:
        TypeError: the values are no dense tensor of floating point.
        ValueError: no numbers, NaN or infinities among them, or k out of range.

    >>> x = torch.tensor([0.0, 0.0, 4.0, 10.0])
    >>> optimal_codebook(x, 2)  # 0 0 4 | 10 costs 10.7, and 0 0 | 4 10 costs 18
    tensor([ 1.3333, 10.0000])
    """
    sorted_values, k = in_order(values), check_k(k)
    x, counts = np.unique(sorted_values, return_counts=True)
    if k < len(x) <= FEW:
        return optimal_codebooks(values, k)[-1]
    codebook = x
    if k < len(x):
        moments = moments_of(x, counts)
        ends = best_ends(moments, windows(moments, _ends(x, _near(sorted_values, k))))
        weight, first, _ = (np.diff(moment[ends]) for moment in moments)
        codebook = first / weight + x[len(x) // 2]
    return torch.from_numpy(codebook).float().to(values.device)


def near_optimal_codebook(values: Tensor, k: int) -> Tensor:
    """What k-means arrives at from a start near the optimum: float32 (k,), rising.

    It begins with the best clustering that cuts only between groups of neighbouring numbers: g
    groups, `GROUPS` or four times k, take O(k g log g) time, whatever the number of numbers.

    The arguments and errors are those of `optimal_codebook`.

    >>> near_optimal_codebook(torch.tensor([0.0, 0.0, 4.0, 10.0]), 2)
    tensor([ 1.3333, 10.0000])
    """
    x, k = in_order(values), check_k(k)
    different = x[np.diff(x, prepend=np.nan) != 0]
    codebook = _near(x, k) if len(different) > k else different
    return torch.from_numpy(codebook).float().to(values.device)


def _near(x: np.ndarray, k: int) -> np.ndarray:
    """As `near_optimal_codebook`, of sorted numbers, more than k of them different: float64."""
    part = np.linspace(0, 1, max(GROUPS, 4 * k) // 2 + 1)
    by_number = (len(x) * part**2 * (3 - 2 * part)).astype(np.int64)  # towards the ends ever fewer
    by_width = x.searchsorted(x[0] + (x[-1] - x[0]) * part[1:-1])
    edges = np.unique(np.concatenate([by_number, by_width]))
    moments = [moment[edges] for moment in moments_of(x, np.ones_like(x))]
    ends = [len(edges) - 1]
    for cut in reversed(_best_cuts(moments, len(edges) - 1, k)):
        ends.append(int(cut[ends[-1]]))
    weight, first, _ = (np.diff(moment[ends[::-1]]) for moment in moments)
    return _lloyd(x, first / weight + x[len(x) // 2])


def optimal_codebooks(values: Tensor, most: int) -> list[Tensor]:
    """The best codebooks of 1, 2, … `most` values, in little more time than the last alone.

    The arguments and errors are those of `optimal_codebook`.

    >>> optimal_codebooks(torch.tensor([0.0, 0.0, 4.0]), 2)
    [tensor([1.3333]), tensor([0., 4.])]
    """
    x, counts = np.unique(in_order(values), return_counts=True)
    n, most = len(x), check_k(most)
    centre = x[n // 2]  # near which sums stay small
    moments = [
        np.concatenate([[0.0], (counts * (x - centre) ** power).cumsum()]) for power in range(3)
    ]
    cuts = _best_cuts(moments, n, min(most, n - 1)) if n > 1 else []
    codebooks = []
    for k in range(1, most + 1):
        codebook = x
        if k < n:
            ends = [n]
            for cut in reversed(cuts[:k]):
                ends.append(int(cut[ends[-1]]))
            ends.reverse()
            weight, first, _ = (np.diff(moment[ends]) for moment in moments)
            codebook = first / weight + centre
        codebooks.append(torch.from_numpy(codebook).float().to(values.device))
    return codebooks


def _best_cuts(moments: list[np.ndarray], n: int, k: int) -> list[np.ndarray]:
    """For each number of clusters: where the last one begins, among the first i numbers."""
    weight, first, second = moments

    def cost(start: np.ndarray, end: np.ndarray) -> np.ndarray:
        """The squared distances to their means, of clusters from start to end."""
        mass, sums = weight[end] - weight[start], first[end] - first[start]
        return second[end] - second[start] - sums * sums / mass

    ends = np.arange(1, n + 1)
    least = np.concatenate([[0.0], cost(np.zeros_like(ends), ends)])
    cuts = [np.zeros(n + 1, np.int32)]
    for j in range(2, k + 1):
        cut = np.full(n + 1, n, np.int32)  # beyond what is known yet
        found = np.full(n + 1, np.inf)
        step = 1 << n.bit_length() - 1
        cut[:j] = 0
        while step:  # the odd multiples of the step, each between two that are known
            i = np.arange(step, n + 1, 2 * step)
            i = i[i >= j]
            low = np.maximum(np.maximum(cuts[-1][i], cut[i - step]), j - 1)
            high = np.minimum(cut[np.minimum(i + step, n)], i - 1)
            high = np.maximum(high, low)
            tried, which = _stretches(low, high)
            costs = least[tried] + cost(tried, i[which])
            found[i] = np.minimum.reduceat(costs, _starts(low, high)) if len(i) else 0
            best = np.flatnonzero(costs == found[i][which])[::-1]
            cut[i[which[best]]] = tried[best]  # of equal ones the first, which is written last
            step //= 2
        least, cuts = found, [*cuts, cut]
    return cuts


def _starts(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Where each of the stretches low..high begins when they are laid end to end."""
    lengths = high - low + 1
    return lengths.cumsum() - lengths


def _stretches(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The whole numbers of all stretches low..high, laid end to end, and the stretch of each."""
    lengths = high - low + 1
    which = np.arange(len(low)).repeat(lengths)
    return np.arange(len(which)) + (low - _starts(low, high))[which], which

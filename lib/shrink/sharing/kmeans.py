"""Codebooks by k-means.

In one dimension a cluster is a stretch of the sorted numbers, so a step is a binary search for each
boundary and two differences of prefix sums.
"""

import numpy as np
import torch
from torch import Tensor

from shrink.arguments import whole_seed
from shrink.sharing.codebooks import check_k, in_order

INITS = ("linear", "density", "histogram", "random")
BINS = 1000  # of the histogram, at least
STEPS = 10_000  # of k-means at most; it ends by itself long before


def initial_codebook(values: Tensor, k: int, init: str = "linear", seed: int = 0) -> Tensor:
    """Where k-means begins: float64 (k,), rising; some may be equal.

    Args:
        values: float, any shape, at least one number.
        k: 1 to 65 536.
        init: "linear": at equal distances, from the least number to the largest. "density": with
            as many numbers between each two. "histogram": at the fullest of many bins of
            equal width. "random": k of the numbers.
        seed: for "random" alone.

    Source: Han, Mao, Dally 2016, section 3.2, which calls "random" Forgy.

    Raises:
        TypeError: the values are no dense tensor of floating point, or the seed is not whole.
        ValueError: no numbers, NaN or infinities among them, k out of range, or an unknown init.

    >>> x = torch.tensor([0.0, 1.0, 2.0, 9.0, 10.0])
    >>> initial_codebook(x, 3).tolist()
    [0.0, 5.0, 10.0]
    >>> initial_codebook(x, 2, "density").tolist()  # a quarter and three quarters of the way up
    [1.0, 9.0]
    """
    return torch.from_numpy(_initial(in_order(values), check_k(k), init, seed))


def _initial(x: np.ndarray, k: int, init: str, seed: int) -> np.ndarray:
    if init == "linear":
        return np.linspace(x[0], x[-1], k) if k > 1 else (x[:1] + x[-1]) / 2
    if init == "density":
        return np.quantile(x, (np.arange(k) + 0.5) / k)
    if init == "histogram":
        counts, edges = np.histogram(x, max(BINS, k))
        fullest = np.sort(np.argsort(-counts, kind="stable")[:k])
        return (edges[fullest] + edges[fullest + 1]) / 2
    if init == "random":
        generator = torch.Generator().manual_seed(whole_seed(seed))
        return np.sort(x[torch.randint(len(x), (k,), generator=generator).numpy()])
    raise ValueError(f"no initialisation {init!r}; there are {', '.join(INITS)}")


def fit_codebook(values: Tensor, k: int, init: str = "linear", seed: int = 0) -> Tensor:
    """The values that k-means arrives at: float32 (k,), rising, on the values' device.

    Each step gives every number to the nearest value, and moves each value to the mean of its
    numbers, until nothing changes. A value that no number is nearest to takes half of the cluster
    with the greatest squared error. Of fewer different numbers than k, all are the codebook.

    The arguments and errors are those of `initial_codebook`.

    Source: Lloyd 1982, "Least squares quantization in PCM", method I.

    >>> fit_codebook(torch.tensor([0.0, 1.0, 2.0, 9.0, 10.0]), 2)
    tensor([1.0000, 9.5000])
    """
    x = in_order(values)
    k = check_k(k)
    start = _initial(x, k, init, seed)
    different = x[np.diff(x, prepend=np.nan) != 0]
    codebook = _lloyd(x, start) if len(different) > k else different
    return torch.from_numpy(codebook).float().to(values.device)


def _lloyd(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """K-means on sorted numbers, more than k of them different, from these values on."""
    sums, squares = (np.concatenate([[0.0], (x**power).cumsum()]) for power in (1, 2))
    before = None
    for _ in range(STEPS):
        ends = _ends(x, values)
        while (empty := np.flatnonzero(ends[1:] == ends[:-1])).size:
            ends = _split(x, sums, squares, np.delete(ends, empty[0]))
        if before is not None and np.array_equal(ends, before):
            break
        before = ends
        values = np.diff(sums[ends]) / np.diff(ends)
    return values


def _ends(x: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Where the clusters of the values begin and end: cluster i is x[ends[i]:ends[i + 1]]."""
    return np.concatenate([[0], x.searchsorted((values[1:] + values[:-1]) / 2, "right"), [len(x)]])


def _split(x: np.ndarray, sums: np.ndarray, squares: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """The ends with one more cluster: that of the greatest squared error is cut at its mean."""
    start, end = ends[:-1], ends[1:]
    sizes = np.maximum(end - start, 1)
    means = (sums[end] - sums[start]) / sizes
    errors = squares[end] - squares[start] - sizes * means**2
    differ = (end > start) & (x[np.minimum(start, len(x) - 1)] < x[end - 1])
    worst = np.where(differ, errors, -np.inf).argmax()
    cut = x.searchsorted(means[worst], "right")
    return np.insert(ends, worst + 1, np.clip(cut, start[worst] + 1, end[worst] - 1))

"""Calibration: the range that activations are quantized to, from a few hundred inputs.

A wide range clips nothing and rounds coarsely; a narrow one rounds finely and clips. Each method
strikes another balance. A `Calibrator` sees batches one by one and keeps only a histogram.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from shrink.arguments import check_real, whole_number
from shrink.quantization import QParams, choose_qparams
from shrink.quantization.arguments import check_floats

HALF = 4096  # bins of a histogram on each side of zero; even, so that pairs merge
SMOOTHING = 0.1  # of the moving average: the weight of a new batch
CHUNK = 2**17  # numbers that are counted at a time
NARROWER = 0.96 ** np.arange(170)  # the clips that are tried, as parts of the whole: 1 to 0.001


class Histogram:
    """How often numbers lie in each of 2 · HALF bins of one width, from -edge to edge.

    Zeros, which every quantization keeps exactly, are counted apart: after a ReLU they are many.
    `edge` is a power of two and doubles when a number lies beyond it; then pairs of bins become
    one, and nothing is lost. `low` and `high` are the least and the largest number seen, or 0.

    >>> h = Histogram()
    >>> h.add(torch.tensor([0.0, 0.0, 0.75, -0.75]))
    >>> h.add(torch.tensor([3.0]))
    >>> h.edge, h.low, h.high, h.zeros, int(h.counts.sum())
    (4.0, -0.75, 3.0, 2, 3)
    """

    def __init__(self) -> None:
        self.counts = np.zeros(2 * HALF)
        self.edge = self.low = self.high = 0.0
        self.zeros = 0

    @property
    def edges(self) -> np.ndarray:
        """Where the bins begin and end, float64 (2 · HALF + 1,)."""
        return np.linspace(-self.edge, self.edge, 2 * HALF + 1)

    def add(self, x: Tensor) -> None:
        """Count the numbers of a float tensor of any shape.

        Raises:
            TypeError: x is not floating point, or sparse.
            ValueError: some are NaN or infinite (with how many); nothing is counted then.
        """
        check_floats(x, "a batch of activations")
        x = x.detach().float()
        bad = int((~x.isfinite()).sum())
        if bad:
            raise ValueError(f"{bad} of {x.numel()} activations are NaN or infinite")
        if x.numel() == 0:
            return
        low, high = x.min().item(), x.max().item()
        self.low, self.high = min(self.low, low), max(self.high, high)
        self._reach(max(-low, high))
        zeros = int((x == 0).sum())
        if zeros < x.numel():
            for some in x.reshape(-1).split(CHUNK):
                bins = (some.double() * (HALF / self.edge)).floor_().clamp_(max=HALF - 1)
                counts = torch.bincount(bins.add_(HALF).int(), minlength=2 * HALF)
                self.counts += counts.cpu().numpy()
            self.counts[HALF] -= zeros  # zero begins this bin
        self.zeros += zeros

    def _reach(self, magnitude: float) -> None:
        if self.edge == 0 and magnitude > 0:
            self.edge = 2.0 ** math.ceil(math.log2(magnitude))
        while self.edge < magnitude:
            merged = self.counts.reshape(HALF, 2).sum(1)
            self.counts = np.pad(merged, HALF // 2)
            self.edge *= 2


def percentile_range(histogram: Histogram, percentile: float = 99.99) -> tuple[float, float]:
    """The range with so many percent of the numbers below its upper end, and above its lower end.

    Within a bin the numbers are taken to lie evenly. Raises `ValueError` unless `percentile` is
    above 50 and at most 100.

    >>> h = Histogram()
    >>> h.add(torch.cat([torch.linspace(0.001, 1, 999), torch.tensor([100.0])]))
    >>> low, high = percentile_range(h, 99)
    >>> low, round(high, 1)
    (0.0, 1.0)
    """
    check_real("percentile", percentile)
    if not 50 < percentile <= 100:
        raise ValueError(f"percentile must be above 50 and at most 100, got {percentile}")
    counts = np.insert(histogram.counts, HALF, histogram.zeros)  # a bin of no width at zero
    edges = np.insert(histogram.edges, HALF, 0.0)
    below = np.concatenate([[0], counts.cumsum()])
    if below[-1] == 0:
        return 0.0, 0.0
    ends = []
    for fraction in (1 - percentile / 100, percentile / 100):
        target = fraction * below[-1]
        bin = int(np.clip(np.searchsorted(below, target) - 1, 0, len(counts) - 1))
        within = (target - below[bin]) / counts[bin] if counts[bin] else 0.0
        ends.append(float(edges[bin] + within * (edges[bin + 1] - edges[bin])))
    return max(min(ends[0], 0.0), histogram.low), min(max(ends[1], 0.0), histogram.high)


def squared_error_range(
    histogram: Histogram, num_bits: int = 8, symmetric: bool = False
) -> tuple[float, float]:
    """The range for which rounding and clipping together cost the least squared error.

    Of 170 ranges, each 0.96 times the one before; a range with two ends tries one end after the
    other, three times. Within a bin the numbers are taken to lie evenly, which makes the error an
    integral that is known exactly.

    Clipping a lone outlier T has its price: with N other numbers and a step of c/255 the best clip
    c is T / (1 + N / 780 300), so that among few numbers the outlier is kept.
    """
    low, high = histogram.low, histogram.high
    if low == high:
        return low, high
    if symmetric:
        best = _least(histogram, low * NARROWER, high * NARROWER, num_bits, symmetric)
        return float(low * NARROWER[best]), float(high * NARROWER[best])
    for _ in range(3):
        lows = histogram.low * NARROWER
        low = lows[_least(histogram, lows, np.full_like(lows, high), num_bits, symmetric)]
        highs = histogram.high * NARROWER
        high = highs[_least(histogram, np.full_like(highs, low), highs, num_bits, symmetric)]
    return float(low), float(high)


def _least(
    histogram: Histogram, lows: np.ndarray, highs: np.ndarray, num_bits: int, symmetric: bool
) -> int:
    """Which of the ranges has the least squared error; of equal ones the first."""
    p = choose_qparams(torch.from_numpy(lows), torch.from_numpy(highs), num_bits, symmetric)
    scale = p.scale.double().numpy()[:, None]
    lowest, highest = (q - p.zero_point.numpy()[:, None] for q in (p.q_min, p.q_max))
    filled = np.flatnonzero(histogram.counts)
    edges, width = histogram.edges, histogram.edge / HALF

    def integral(x: np.ndarray) -> np.ndarray:
        """Of the squared distance to the nearest point of the grid, from 0 to x."""
        nearest = np.clip(np.round(x / scale), lowest, highest)
        return nearest * scale**3 / 12 + (x - nearest * scale) ** 3 / 3

    errors = (integral(edges[filled + 1]) - integral(edges[filled])) @ histogram.counts[filled]
    return int((errors / width).argmin())


def entropy_range(
    histogram: Histogram, num_bits: int = 8, symmetric: bool = False
) -> tuple[float, float]:
    """The range that loses the least information, by `entropy_threshold`, on both sides alike.

    Only half of the integers are for positive numbers, unless there are no negative ones. With 11
    bits and more there are not enough bins, and the range is that of all numbers. So it is if a
    lone outlier lies far out: the bins between are empty, and there is nothing to compare.

    Source: Migacz 2017, "8-bit inference with TensorRT", slides 18 to 40.
    Differs: numbers that are 0 are left out, and the first bin is not copied from the second.
    """
    sides = histogram.counts[HALF:] + histogram.counts[:HALF][::-1]
    magnitudes = np.trim_zeros(sides.reshape(-1, 2).sum(1), "b")
    num_bits = whole_number("num_bits", num_bits, 2, 16)
    levels = 2 ** (num_bits if histogram.low == 0 and not symmetric else num_bits - 1)
    if len(magnitudes) <= levels:
        return histogram.low, histogram.high
    clip = 2 * histogram.edge / HALF * entropy_threshold(magnitudes, levels)
    return max(histogram.low, -clip), min(histogram.high, clip)


def entropy_threshold(counts: np.ndarray | Tensor, levels: int) -> int:
    """How many bins of a histogram of magnitudes to keep, so that `levels` integers lose least.

    For each number i of bins: P is the first i bins, with all counts beyond added to the last; Q is
    the first i bins in `levels` equal parts, the count of each part spread evenly over those of its
    bins that are not empty. Both are normalised. The i with the least relative entropy KL(P‖Q)
    wins, the first of equal ones. KL is infinite where Q is 0 in a bin and P is not.

    Args:
        counts: (bins,), at least 0; the first bin begins at zero.
        levels: 1 to bins.

    Raises:
        ValueError: nothing is counted, a count is negative or not finite, or there are fewer
            bins than levels.

    >>> entropy_threshold(np.array([5, 9, 2, 7, 0, 0, 0, 1]), levels=4)  # the last is clipped
    4
    """
    counts = np.asarray(counts, dtype=np.float64)
    levels = whole_number("levels", levels, 1, len(counts))
    if not np.isfinite(counts).all() or counts.min() < 0 or counts.sum() == 0:
        raise ValueError("counts must be finite and at least 0, and some above")
    divergences = [_divergence(counts, i, levels) for i in range(levels, len(counts) + 1)]
    return levels + int(np.argmin(divergences))


def _divergence(counts: np.ndarray, i: int, levels: int) -> float:
    kept, filled = counts[:i], counts[:i] > 0
    p = kept.copy()
    p[-1] += counts[i:].sum()
    level = np.arange(i) * levels // i
    share = np.bincount(level, kept) / np.maximum(np.bincount(level, filled), 1)
    q = np.where(filled, share[level], 0)
    some = p > 0
    if (q[some] == 0).any():
        return np.inf
    p, q = p[some] / p.sum(), q[some] / q.sum()
    return float((p * np.log(p / q)).sum())


# For each method that looks at the histogram: (histogram, num_bits, symmetric, percentile) → range.
FROM_HISTOGRAM: dict[str, Callable[[Histogram, int, bool, float], tuple[float, float]]] = {
    "percentile": lambda h, num_bits, symmetric, percent: percentile_range(h, percent),
    "squared error": lambda h, num_bits, symmetric, percent: squared_error_range(
        h, num_bits, symmetric
    ),
    "entropy": lambda h, num_bits, symmetric, percent: entropy_range(h, num_bits, symmetric),
}
METHODS = ("min-max", "moving average", *FROM_HISTOGRAM)


class Calibrator:
    """Looks at batches of activations, and then gives the parameters to quantize them with.

    Args:
        method: one of `METHODS`. "min-max" spans all numbers seen; "moving average" averages the
            ranges of the batches, with a weight of 0.1 for each new one (Jacob et al. 2018, 3.1);
            "percentile", "squared error" and "entropy" are the functions above.
        num_bits: 2 to 16.
        symmetric: zero point 0.
        percentile: for that method alone.

    Raises:
        ValueError: there is no such method, or num_bits is not 2 to 16; in `see`, a number is NaN
            or infinite.
        TypeError: num_bits is not whole; in `see`, a batch is not floating point.

    >>> calibrator = Calibrator("moving average")
    >>> for batch in (torch.tensor([0.0, 1.0]), torch.tensor([0.0, 2.0])):
    ...     calibrator.see(batch)
    >>> [round(end, 3) for end in calibrator.range()]  # 0.9 x 1 + 0.1 x 2
    [0.0, 1.1]
    """

    def __init__(
        self,
        method: str = "min-max",
        num_bits: int = 8,
        symmetric: bool = False,
        percentile: float = 99.99,
    ) -> None:
        if method not in METHODS:
            raise ValueError(f"no calibration {method!r}; there are {', '.join(METHODS)}")
        self.num_bits = whole_number("num_bits", num_bits, 2, 16)
        self.method, self.symmetric = method, symmetric
        self.percentile, self.histogram = percentile, Histogram()
        self._average: tuple[float, float] | None = None

    def see(self, x: Tensor) -> None:
        """Take a batch of activations into account: float, any shape; an empty one is none."""
        self.histogram.add(x)
        if x.numel():
            low, high = min(x.min().item(), 0.0), max(x.max().item(), 0.0)
            before = self._average or (low, high)
            self._average = tuple(
                old + SMOOTHING * (new - old) for old, new in zip(before, (low, high), strict=True)
            )

    def range(self) -> tuple[float, float]:
        """The least and the largest number that are not clipped; 0 lies between them."""
        if self.method == "min-max":
            return self.histogram.low, self.histogram.high
        if self.method == "moving average":
            return self._average or (0.0, 0.0)
        return FROM_HISTOGRAM[self.method](
            self.histogram, self.num_bits, self.symmetric, self.percentile
        )

    def qparams(self) -> QParams:
        """The parameters for that range, signed."""
        return choose_qparams(*self.range(), self.num_bits, self.symmetric)

"""An exercise of chapter 03: the clip of least relative entropy.

The oracle is the definition, with KL from scipy; what is within rounding of the least passes.
"""

import math
import random
from collections.abc import Callable, Iterator
from functools import partial, wraps
from typing import Any

import numpy as np
import torch
from scipy.special import rel_entr
from torch import Tensor

from shrink.classroom.exercises.attempt import Mistake, Wrong, known
from shrink.classroom.exercises.cases import Draw, by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import count, whole
from shrink.quantization import calibration

_CLEARLY = 1.01  # the least divergence is less than the next one by this factor


def _p(counts: np.ndarray, i: int) -> np.ndarray:
    kept = counts[:i].copy()
    kept[-1] += counts[i:].sum()
    return kept / kept.sum()


def _even_levels(i: int, levels: int) -> np.ndarray:
    return np.arange(i) * levels // i


def _q(counts: np.ndarray, i: int, levels: int) -> np.ndarray:
    return _spread(counts, i, _even_levels(i, levels))


def _spread(counts: np.ndarray, i: int, level: np.ndarray) -> np.ndarray:
    """Each level's sum spread evenly over those of its bins that are not empty."""
    kept = counts[:i]
    each = np.bincount(level, kept) / np.maximum(np.bincount(level, kept > 0), 1)
    return _normalised(np.where(kept > 0, each[level], 0))


def _normalised(q: np.ndarray) -> np.ndarray:
    return q / q.sum() if q.sum() > 0 else q


def _kl(p: np.ndarray, q: np.ndarray) -> float:
    return float(rel_entr(p, q).sum())


def _divergence(counts: np.ndarray, i: int, levels: int) -> float:
    return _kl(_p(counts, i), _q(counts, i, levels))


def _least(
    measure: Callable[[np.ndarray, int, int], float] = _divergence,
    tried: Callable[[int, int], range] = lambda bins, levels: range(levels, bins + 1),
) -> Callable[[Tensor, int], int]:
    """The number of bins for which something is the least: measure(counts, i, levels)."""

    @wraps(measure)
    def entropy_threshold(counts: Tensor, levels: int) -> int:
        numbers = counts.numpy().astype(np.float64)
        return min(tried(len(counts), levels), key=lambda i: measure(numbers, i, levels))

    return entropy_threshold


_right = _least()


@known(
    "the sum of a part is spread over those of its bins that are not empty; Q has nothing in the "
    "empty ones",
)
@_least
def _empty_bins_filled(counts: np.ndarray, i: int, levels: int) -> float:
    level = _even_levels(i, levels)
    each = np.bincount(level, counts[:i]) / np.bincount(level)
    return _kl(_p(counts, i), _normalised(each[level]))


@known("divide the sum of a part by the number of its bins that are not empty, not of all")
@_least
def _divided_by_all_bins(counts: np.ndarray, i: int, levels: int) -> float:
    level = _even_levels(i, levels)
    each = np.bincount(level, counts[:i]) / np.bincount(level)
    return _kl(_p(counts, i), _normalised(np.where(counts[:i] > 0, each[level], 0)))


@known(
    "each of P and Q is divided by its own sum: Q has fewer counts, as the outliers are not in it"
)
@_least
def _not_normalised(counts: np.ndarray, i: int, levels: int) -> float:
    return _kl(_p(counts, i), _q(counts, i, levels) * counts[:i].sum() / counts.sum())


@known("where Q is 0 and P is not, KL is infinite: skip this i, not the bin")
@_least
def _infinite_left_out(counts: np.ndarray, i: int, levels: int) -> float:
    p, q = _p(counts, i), _q(counts, i, levels)
    return _kl(np.where(q > 0, p, 0), q)


@known(
    "parts of i // levels bins leave the rest to the last: bin j belongs to part j * levels // i"
)
@_least
def _chunks(counts: np.ndarray, i: int, levels: int) -> float:
    level = np.minimum(np.arange(i) // (i // levels), levels - 1)
    return _kl(_p(counts, i), _spread(counts, i, level))


@known("this is KL(Q || P): P stands first, sum of P * log(P / Q)")
@_least
def _exchanged(counts: np.ndarray, i: int, levels: int) -> float:
    return _kl(_q(counts, i, levels), _p(counts, i))


LAST_NOT_TRIED = Mistake(
    "last not tried",
    _least(tried=lambda bins, levels: range(levels, bins)),
    "range(levels, bins) leaves out i = bins, where nothing is clipped: bins + 1",
)

ENTROPY_MISTAKES = (
    Mistake(
        "outliers in neither or in both",
        _least(lambda counts, i, levels: _kl(_normalised(counts[:i]), _q(counts, i, levels))),
        "with i = levels no bins are merged, and KL is 0 unless one of the two has the counts "
        "beyond: add them to the last bin of P, and leave them out of Q",
    ),
    LAST_NOT_TRIED,
    Mistake(
        "place in the list",
        lambda counts, levels: _right(counts, levels) - levels,
        "this is the place in your list of divergences, which begins at i = levels",
    ),
    _empty_bins_filled,
    _divided_by_all_bins,
    _exchanged,
    _not_normalised,
    _infinite_left_out,
    _chunks,
)


def _divergences(counts: Tensor, levels: int) -> dict[int, float]:
    numbers = counts.numpy().astype(np.float64)
    return {i: _divergence(numbers, i, levels) for i in range(levels, len(numbers) + 1)}


def _histograms(rng: random.Random) -> Iterator[Draw]:
    def gaps() -> Tensor:
        counts = _falling(rng, 30, 7, empty=0.5)
        counts[-1] = rng.randint(20, 60)
        return counts

    def flat() -> Tensor:
        return torch.tensor([float(rng.randint(95, 105)) for _ in range(20)])

    def many_outliers() -> Tensor:
        return _falling(rng, 40, 9, outliers=12).float() / 8

    yield _clear(lambda: (_falling(rng, 24, 6), 4), _not_normalised)
    yield _clear(lambda: (_falling(rng, 36, 8), 5), _exchanged)
    yield _clear(lambda: (gaps(), 4), _infinite_left_out)
    yield _clear(lambda: (flat(), 4), LAST_NOT_TRIED)
    yield _clear(
        lambda: (_falling(rng, 36, 8, empty=0.4), 5), _divided_by_all_bins, _empty_bins_filled
    )
    yield _clear(lambda: (many_outliers(), 9), _chunks)
    yield lambda: (torch.tensor([rng.randint(1, 9) for _ in range(6)]), 6)  # one i alone
    yield _clear(lambda: (_falling(rng, 96, 18), 16))


def _clear(draw: Draw, *wrong: Callable[[Tensor, int], int]) -> Draw:
    """Drawn again until one number of bins is clearly the best, and these answers miss it."""

    def again() -> tuple[Tensor, int]:
        while True:
            counts, levels = draw()
            divergences = _divergences(counts, levels)
            first, second, *_ = sorted(divergences.values())
            if second <= _CLEARLY * first + 1e-4:
                continue
            if all(divergences.get(answer(counts, levels)) != first for answer in wrong):
                return counts, levels

    return again


def _falling(
    rng: random.Random, bins: int, length: float, empty: float = 0.1, outliers: int = 5
) -> Tensor:
    """Fewer and fewer, some bins empty but not the first, and a few counts far out."""
    counts = [
        round(rng.uniform(0.2, 1.8) * 400 * math.exp(-j / length)) if rng.random() > empty else 0
        for j in range(bins)
    ]
    counts[0] = rng.randint(300, 500)
    for _ in range(outliers):
        counts[rng.randrange(bins // 2, bins)] += rng.randint(1, 4)
    return torch.tensor(counts)


def _wrong_threshold(given: Any, _: int, counts: Tensor, levels: int) -> Wrong | None:
    divergences = _divergences(counts, levels)
    best = min(divergences, key=divergences.get)
    wrong = partial(Wrong, expected=f"{best}, with a KL of {divergences[best]:.4g}", given=given)
    i = whole(given)
    if i is None:
        text = "return one whole number (int), how many bins to keep"
        return wrong(text, known_mistakes=count(given) != best)
    if i not in divergences:
        return wrong(f"from {levels} to {len(counts)} bins are kept")
    if divergences[i] > (1 + 1e-3) * divergences[best] + 1e-5:
        return wrong(f"with {i} bins KL is {divergences[i]:.4g}; another number has less")
    return None


entropy_threshold = Exercise(
    "entropy_threshold",
    by_cases(_histograms, _right, _wrong_threshold, mistakes=ENTROPY_MISTAKES, alike=count),
    reference=calibration.entropy_threshold,
    core=False,
    minutes=20,
    mistakes=ENTROPY_MISTAKES,
)

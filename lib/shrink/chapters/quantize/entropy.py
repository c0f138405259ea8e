"""An exercise of chapter 03: the clip of least relative entropy.

The oracle is the definition, with KL from scipy; what is within rounding of the least passes.
"""

import math
import random
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.special import rel_entr
from torch import Tensor

from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import count, whole
from shrink.quantization import calibration

_CLEARLY = 1.01  # the least divergence is less than the next one by this factor


def _entropy_threshold(counts: Tensor, levels: int) -> int:
    """How many bins to keep, so that `levels` levels of them tell the most: the least KL(P‖Q)."""
    return calibration.entropy_threshold(counts, levels)


def _p(counts: np.ndarray, i: int) -> np.ndarray:
    kept = counts[:i].copy()
    kept[-1] += counts[i:].sum()
    return kept / kept.sum()


def _even_levels(i: int, levels: int) -> np.ndarray:
    return np.arange(i) * levels // i


def _q(
    counts: np.ndarray,
    i: int,
    levels: int,
    level_of: Callable[[int, int], np.ndarray] = _even_levels,
) -> np.ndarray:
    kept, level = counts[:i], level_of(i, levels)
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

    def entropy_threshold(counts: Tensor, levels: int) -> int:
        numbers = counts.numpy().astype(np.float64)
        return min(tried(len(counts), levels), key=lambda i: measure(numbers, i, levels))

    return entropy_threshold


def _chunks(i: int, levels: int) -> np.ndarray:
    return np.minimum(np.arange(i) // (i // levels), levels - 1)


def _over_empty(counts: np.ndarray, i: int, levels: int, only_filled: bool = False) -> float:
    level = _even_levels(i, levels)
    each = np.bincount(level, counts[:i]) / np.bincount(level)
    q = np.where(counts[:i] > 0, each[level], 0) if only_filled else each[level]
    return _kl(_p(counts, i), _normalised(q))


def _not_normalised(counts: np.ndarray, i: int, levels: int) -> float:
    return _kl(_p(counts, i), _q(counts, i, levels) * counts[:i].sum() / counts.sum())


def _infinite_left_out(counts: np.ndarray, i: int, levels: int) -> float:
    p, q = _p(counts, i), _q(counts, i, levels)
    return _kl(np.where(q > 0, p, 0), q)


ENTROPY_MISTAKES = (
    Mistake(
        "outliers in neither or in both",
        _least(lambda counts, i, levels: _kl(_normalised(counts[:i]), _q(counts, i, levels))),
        "with i = levels nothing is merged, and KL is 0 unless what lies beyond is in one of the "
        "two: add it to the last bin of P, and not in Q",
    ),
    Mistake(
        "all bins",
        lambda counts, levels: len(counts),
        "this keeps all bins; try each number of bins from levels on, and take the least KL",
    ),
    Mistake(
        "last not tried",
        _least(tried=lambda bins, levels: range(levels, bins)),
        "range(levels, bins) leaves out i = bins, where nothing is clipped: bins + 1",
    ),
    Mistake(
        "multiples only",
        _least(tried=lambda bins, levels: range(levels, bins + 1, levels)),
        "every i from levels on is to be tried, not only multiples of levels",
    ),
    Mistake(
        "last bin",
        lambda counts, levels: _least()(counts, levels) - 1,
        "this is the index of the last bin that is kept; return how many are kept, one more",
    ),
    Mistake(
        "place in the list",
        lambda counts, levels: _least()(counts, levels) - levels,
        "this is the place in your list of divergences, which begins at i = levels",
    ),
    Mistake(
        "empty bins filled",
        _least(_over_empty),
        "a level's sum is spread over those of its bins that are not empty; Q has nothing in the "
        "empty ones",
    ),
    Mistake(
        "divided by all bins",
        _least(lambda counts, i, levels: _over_empty(counts, i, levels, only_filled=True)),
        "divide a level's sum by the number of its bins that are not empty, not of all its bins",
    ),
    Mistake(
        "exchanged",
        _least(lambda counts, i, levels: _kl(_q(counts, i, levels), _p(counts, i))),
        "this is KL(Q || P): P stands first, sum of P * log(P / Q)",
    ),
    Mistake(
        "not normalised",
        _least(_not_normalised),
        "each of P and Q is divided by its own sum: Q has fewer counts, as the outliers are not "
        "in it",
    ),
    Mistake(
        "infinite left out",
        _least(_infinite_left_out),
        "where Q is 0 and P is not, KL is infinite: skip this i, not the bin",
    ),
    Mistake(
        "chunks",
        _least(lambda counts, i, levels: _kl(_p(counts, i), _q(counts, i, levels, _chunks))),
        "levels of i // levels bins each leave the rest to the last: bin j is of level "
        "j * levels // i",
    ),
    Mistake(
        "squared error",
        _least(lambda c, i, levels: float(((_p(c, i) - _q(c, i, levels)) ** 2).sum())),
        "this is the least squared difference of P and Q, not the least KL",
    ),
)


def _divergences(counts: Tensor, levels: int) -> dict[int, float]:
    numbers = counts.numpy().astype(np.float64)
    return {i: _divergence(numbers, i, levels) for i in range(levels, len(numbers) + 1)}


def _histograms(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, int]]]:
    def clear(
        draw: Callable[[], tuple[Tensor, int]], *wrong: str
    ) -> Callable[[], tuple[Tensor, int]]:
        """Drawn again until one number of bins is clearly the best, and these mistakes miss it."""
        missing = [m.function for m in ENTROPY_MISTAKES if m.name in wrong]

        def again() -> tuple[Tensor, int]:
            while True:
                counts, levels = draw()
                divergences = _divergences(counts, levels)
                first, second, *_ = sorted(divergences.values())
                if second <= _CLEARLY * first + 1e-4:
                    continue
                if all(divergences.get(f(counts, levels)) != first for f in missing):
                    return counts, levels

        return again

    def falling(bins: int, length: float, empty: float = 0.1, outliers: int = 5) -> Tensor:
        """Fewer and fewer, some bins empty but not the first, and a few counts far out."""
        counts = [
            round(rng.uniform(0.2, 1.8) * 400 * math.exp(-j / length))
            if rng.random() > empty
            else 0
            for j in range(bins)
        ]
        counts[0] = rng.randint(300, 500)
        for _ in range(outliers):
            counts[rng.randrange(bins // 2, bins)] += rng.randint(1, 4)
        return torch.tensor(counts)

    def gaps() -> Tensor:
        counts = falling(30, 7, empty=0.5)
        counts[-1] = rng.randint(20, 60)
        return counts

    def flat() -> Tensor:
        return torch.tensor([float(rng.randint(95, 105)) for _ in range(20)])

    yield clear(lambda: (falling(24, 6), 4), "not normalised")
    yield clear(lambda: (falling(36, 8), 5), "exchanged", "squared error")
    yield clear(lambda: (gaps(), 4), "infinite left out")
    yield clear(lambda: (flat(), 4), "last not tried")
    yield clear(lambda: (falling(36, 8, 0.4), 5), "divided by all bins", "empty bins filled")
    yield clear(lambda: (falling(40, 9, outliers=12).float() / 8, 9), "chunks")
    yield lambda: (torch.tensor([rng.randint(1, 9) for _ in range(6)]), 6)  # one i alone
    yield clear(lambda: (falling(96, 18), 16))


def _check_entropy_threshold(answer: Attempt, rng: random.Random) -> None:
    for counts, levels in telling(_histograms(rng), _least(), ENTROPY_MISTAKES, count):
        divergences = _divergences(counts, levels)
        best = min(divergences, key=divergences.get)
        expected = f"{best}, with a KL of {divergences[best]:.4g}"
        given = answer(counts, levels, alike=count)
        i = whole(given)
        if i is None:
            raise Wrong(
                "return one whole number (int), how many bins to keep",
                expected=expected,
                given=given,
                known_mistakes=count(given) != best,
            )
        if i not in divergences:
            raise Wrong(
                f"from {levels} to {len(counts)} bins are kept", expected=expected, given=given
            )
        if divergences[i] > (1 + 1e-3) * divergences[best] + 1e-5:
            raise Wrong(
                f"with {i} bins KL is {divergences[i]:.4g}; another number has less",
                expected=expected,
                given=given,
            )


entropy_threshold = Exercise(
    "entropy_threshold",
    _check_entropy_threshold,
    reference=_entropy_threshold,
    core=False,
    minutes=20,
    mistakes=ENTROPY_MISTAKES,
)

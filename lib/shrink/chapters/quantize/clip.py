"""An exercise of chapter 03: the clip of least squared error.

The oracle is PyTorch's own fake quantization, tried with many clips. A clip passes when its error
is nearly the least, so any search that is fine enough is.
"""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Mistake, Wrong, known
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import About, about

_ALLOWED = 1.05  # times the least squared error
_ALIKE = 0.04  # clips that are no further apart may come of the same mistake


def _clip(result: Any) -> Any:
    return about(result, relative=_ALIKE)


def _error(x: Tensor, num_bits: int, clip: float) -> float:
    """The mean squared error, by PyTorch's fake quantization."""
    top = 2 ** (num_bits - 1) - 1
    fake = torch.fake_quantize_per_tensor_affine(x, clip / top, 0, -top, top)
    return (x - fake).square().mean().item()


def _clips(largest: float, number: int) -> np.ndarray:
    return np.geomspace(largest / 1000, largest, number)


def _best(x: Tensor, num_bits: int) -> tuple[float, float]:
    """A clip, and its error: the best of 120, and of 40 between its neighbours."""
    largest = x.abs().max().item()
    clips = _clips(largest, 120)
    i = int(np.argmin([_error(x, num_bits, clip) for clip in clips]))
    finer = np.geomspace(clips[max(i - 2, 0)], clips[min(i + 2, 119)], 40)
    clips = [*finer.tolist(), largest]
    errors = [_error(x, num_bits, clip) for clip in clips]
    return clips[int(np.argmin(errors))], min(errors)


def _search(error: Callable[[Tensor, float, int], Tensor]) -> Callable[[Tensor, int], float]:
    """The clip of which an error is the least: error(x, clip, top) for the integers to `top`."""

    def best_clip(x: Tensor, num_bits: int) -> float:
        clips = _clips(x.abs().max().item(), 120).tolist()
        return min(clips, key=lambda clip: error(x, clip, 2 ** (num_bits - 1) - 1).item())

    return best_clip


def _off(x: Tensor, clip: float, top: int) -> Tensor:
    scale = clip / top
    return x - (x / scale).round().clamp(-top, top) * scale


def _squared(x: Tensor, clip: float, top: int) -> Tensor:
    return _off(x, clip, top).square().mean()


@known(
    "the error leaves out what is clipped, so a tiny clip looks best: count all of x",
    "rounding only",
)
@_search
def _rounding_only(x: Tensor, clip: float, top: int) -> Tensor:
    inside = x[x.abs() <= clip]
    return _squared(inside, clip, top) if len(inside) else torch.tensor(math.inf)


@known(
    "the clips tried reach up to x.max(); the largest magnitude may be that of a negative "
    "number: x.abs().max()"
)
def _to_the_maximum(x: Tensor, num_bits: int) -> float:
    clips = _clips(abs(x.max().item()), 120) * math.copysign(1, x.max().item())
    return min(clips.tolist(), key=lambda clip: _squared(x, abs(clip), 2 ** (num_bits - 1) - 1))


@known("this is the scale, the width of a step; return the clip, 2**(num_bits - 1) - 1 steps")
def _scale(x: Tensor, num_bits: int) -> float:
    return _search(_squared)(x, num_bits) / (2 ** (num_bits - 1) - 1)


CLIP_MISTAKES = (
    Mistake(
        "nothing is clipped",
        lambda x, num_bits: x.abs().max().item(),
        "this is the largest magnitude: nothing is clipped, and an outlier makes all steps "
        "coarse. If you searched: does the error count rounding as well?",
    ),
    Mistake(
        "99.9 percent",
        lambda x, num_bits: x.abs().quantile(0.999).item(),
        "this clips one number in a thousand whatever num_bits is: search",
    ),
    Mistake(
        "3 standard deviations",
        lambda x, num_bits: 3 * x.std().item(),
        "outliers move the standard deviation, and the best clip depends on num_bits: search",
    ),
    _rounding_only,
    Mistake(
        "absolute error",
        _search(lambda x, clip, top: _off(x, clip, top).abs().mean()),
        "this has the least absolute error; the squared error counts clipped numbers far more",
    ),
    _to_the_maximum,
    _scale,
    Mistake(
        "twice the integers",
        _search(lambda x, clip, top: _squared(x, clip, 2 * top + 1)),
        "2**num_bits - 1 is for both signs together: the largest integer is 2**(num_bits - 1) - 1",
    ),
)


def _clip_cases(rng: random.Random) -> Iterator[tuple[Tensor, int]]:
    g = generator(rng)

    def normal(number: int = 4000, deviation: float = 1) -> Tensor:
        return deviation * rng.uniform(0.005, 0.02) * torch.randn(number, generator=g)

    def with_outliers(sizes: list[float], number: int = 4000) -> Tensor:
        """So many times as large as the others usually are; the first is positive, the rest not."""
        x = normal(number)
        outliers = torch.tensor([-sizes[0], *sizes[1:]])
        x[: len(sizes)] = -x.std() * outliers
        return x[torch.randperm(number, generator=g)]

    def many_and_one() -> Tensor:
        """Few bits clip them all, 8 bits the largest alone."""
        many = [rng.uniform(13, 16) for _ in range(36)]
        return with_outliers([4.5, *many, rng.uniform(35, 40)], number=12_000)

    def uniform(number: int = 3000) -> Tensor:
        return rng.uniform(0.1, 9) * (2 * torch.rand(number, generator=g) - 1)

    yield many_and_one(), 4
    yield -with_outliers([10, rng.uniform(60, 80)], number=16_000), 3
    yield -normal(deviation=100).abs(), 2
    yield with_outliers([40, 50, 60]), 6
    yield normal(deviation=100) ** 3, 5
    yield uniform(), 3
    yield uniform(12_000), 8
    yield normal().view(50, 80), 5


def _wrong_clip(given: Any, found: tuple[float, float], x: Tensor, num_bits: int) -> Wrong | None:
    (best, least), clip = found, _clip(given)
    if not isinstance(clip, About):
        return Wrong("return one number, the clip", expected=best, given=given)
    if not 0 < clip.value < math.inf:
        return Wrong("a clip is a number above 0", expected=best, given=given)
    error = _error(x, num_bits, clip.value)
    if error <= _ALLOWED * least:
        return None
    return Wrong(
        f"with {num_bits} bits this clip has a mean squared error of {error:.4g}; "
        f"another has {least:.4g}",
        expected=f"about {best:.4g}; the largest magnitude is {x.abs().max().item():.4g}",
        given=given,
    )


best_clip = Exercise(
    "best_clip",
    by_cases(_clip_cases, _best, _wrong_clip, alike=_clip),
    core=False,
    minutes=12,
    mistakes=CLIP_MISTAKES,
)

"""An exercise of chapter 10: weights of two values or three, and the scale of each channel.

The oracle is numpy: it projects each channel on the signs that the answer gives, once these are
right. The sign of a weight 0 may be either, and a weight at the threshold may stay or go.
"""

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrink.chapters.few_bits.few_values_mistakes import MISTAKES, SHARE, Pair
from shrink.chapters.few_bits.tensors import as_numbers, is_floats, wrong_kind
from shrink.classroom.exercises.attempt import Wrong, kind_of, place_of
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.parts import Part
from shrink.quantization import binary, ternary

_NEAR = 1e-4  # of a threshold or a scale
_FEW = 100  # weights, of which none is 0 or near a threshold


@dataclass(frozen=True, eq=False)
class Signs:
    """Signs, a row for each channel; `either` holds others that are as right."""

    rows: np.ndarray
    either: np.ndarray

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Signs) or self.rows.shape != other.rows.shape:
            return False
        mine, theirs = (self.rows, self.either), (other.rows, other.either)
        return bool(np.all(np.any([a == b for a in mine for b in theirs], axis=0)))


@dataclass(frozen=True, eq=False)
class Scales:
    """The scale of each channel."""

    numbers: np.ndarray

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scales) or self.numbers.shape != other.numbers.shape:
            return False
        return np.allclose(self.numbers, other.numbers, rtol=_NEAR, atol=1e-7, equal_nan=True)


@dataclass(frozen=True)
class Found:
    """What counts of a result."""

    signs: Any
    scale: Any


def right_signs(weight: Tensor, is_ternary: bool) -> Signs:
    """From the definition; two signs of a weight 0, or of one at the threshold, are right."""
    rows = _rows(weight)
    signs = np.where(rows >= 0, 1.0, -1.0)
    if not is_ternary:
        return Signs(signs, np.where(rows == 0, -1.0, signs))
    magnitudes = np.abs(rows)
    thresholds = SHARE * magnitudes.mean(1, keepdims=True)
    kept = np.sign(rows) * (magnitudes > thresholds)
    tied = np.isclose(magnitudes, thresholds, rtol=_NEAR, atol=0)
    return Signs(kept + 0, np.where(tied, np.sign(rows) - kept, kept))  # no -0


def projected(weight: Tensor, signs: np.ndarray) -> np.ndarray:
    """The scale of each channel with the least squared error for these signs; 0 without any."""
    rows = zip(signs, _rows(weight), strict=True)
    return np.array([np.linalg.lstsq(t[:, None], w, rcond=None)[0][0] for t, w in rows])


def _rows(tensor: Tensor) -> np.ndarray:
    return as_numbers(tensor).flatten(1).numpy()


def _right(weight: Tensor, is_ternary: bool) -> Found:
    signs = right_signs(weight, is_ternary)
    return Found(signs, Scales(projected(weight, signs.rows)))


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, bool]]]:
    g = generator(rng)

    def drawn(*shape: int) -> Tensor:
        """Normal weights, of which each channel has its own size; none is near a threshold."""
        sizes = [rng.uniform(0.5, 1.5) * 3.0 ** (i % 3 - 1) for i in range(shape[0])]
        rng.shuffle(sizes)
        size = torch.tensor(sizes).view(-1, *[1] * (len(shape) - 1))
        while True:
            weight = (torch.randn(shape, generator=g) * size).round(decimals=2)
            magnitudes = weight.flatten(1).abs()
            ratios = magnitudes / magnitudes.mean(1, keepdim=True)
            apart = ((ratios - SHARE).abs() > 0.01).all() and magnitudes.all()
            if apart or weight.numel() > _FEW:
                return weight

    def with_zeros() -> Tensor:
        weight = drawn(3, 4)
        weight[0, 1] = weight[1, 3] = 0
        return weight

    def with_an_empty_channel() -> Tensor:
        weight = drawn(3, 4)
        weight[rng.randrange(3)] = 0
        return weight

    yield lambda: (drawn(3, 4), False)
    yield lambda: (drawn(3, 5), True)
    yield lambda: (with_zeros(), False)
    for is_ternary in (False, True):
        yield lambda t=is_ternary: (drawn(2, 3, 3, 3), t)  # a convolution
        yield lambda t=is_ternary: (drawn(1, 1), t)
        yield lambda t=is_ternary: (drawn(4, 4), t)
        yield lambda t=is_ternary: (with_an_empty_channel(), t)
        yield lambda t=is_ternary: (0.01 * drawn(50, 80), t)
        yield lambda t=is_ternary: (torch.nn.Parameter(drawn(3, 5)), t)
        yield lambda t=is_ternary: (drawn(5, 3).double().t(), t)  # not contiguous
        if torch.cuda.is_available():
            yield lambda t=is_ternary: (drawn(3, 5).cuda(), t)
    yield lambda: (torch.tensor([[0.7, 1.0, -1.3], [2.0, -2.0, 2.0]]), True)  # at the threshold


def _wrong(given: Any, right: Found, weight: Tensor, is_ternary: bool) -> Wrong | None:
    if not (isinstance(given, tuple | list) and len(given) == 2):
        return Wrong("return a pair", expected="(signs, scale)", given=given)
    signs, scale = given
    if wrong := _no_signs(signs, right.signs, weight, is_ternary):
        return wrong
    shape = (len(weight), *[1] * (weight.dim() - 1))
    if wrong := _no_scale(scale, weight, shape):
        return wrong
    best, found = Scales(projected(weight, _rows(signs))), Scales(_rows(scale)[:, 0])
    if best == found:
        return None
    i = int(np.argmax(~np.isclose(found.numbers, best.numbers, rtol=_NEAR, atol=1e-7)))
    told = (
        f"the signs are right, and the scale is not: for channel {i} the least squared error is at "
        f"{best.numbers[i]:.4g}; yours is {found.numbers[i]:.4g}"
    )
    return Wrong(told, expected=torch.tensor(best.numbers).view(shape).float(), given=scale)


def _no_scale(given: Any, weight: Tensor, shape: tuple[int, ...]) -> Wrong | None:
    """What is wrong with what is given for a scale, its numbers aside."""
    dense = isinstance(given, Tensor) and given.layout == torch.strided and not given.is_meta
    if dense and given.shape != shape:
        return Wrong(
            "the scale has one number per output channel, in a shape that broadcasts against weight",
            expected=place_of(shape, weight.device),
            given=place_of(given.shape, given.device),
        )
    if is_floats(given):
        empty = ~_rows(weight).any(1) & ~np.isfinite(_rows(given)[:, 0])
        if empty.any():
            told = f"channel {int(np.argmax(empty))} is all zeros, so that its scale is 0"
            return Wrong(f"{told}: divide by no count that may be 0", given=given)
    return wrong_kind(given, "the scale", weight.detach().new_zeros(shape), "weight")


def _no_signs(given: Any, right: Signs, weight: Tensor, is_ternary: bool) -> Wrong | None:
    values = "-1, 0 or 1" if is_ternary else "-1 or 1"
    if not _is_numbers(given):
        told = f"the first of the pair is a tensor of the numbers {values}"
        return Wrong(told, given=kind_of(given) if isinstance(given, Tensor) else given)
    if given.shape != weight.shape or given.device != weight.device:
        return Wrong(
            "the signs have the shape and device of weight",
            expected=place_of(weight.shape, weight.device),
            given=place_of(given.shape, given.device),
        )
    rows, weights = _rows(given), _rows(weight)
    shown = {"expected": torch.tensor(right.rows).view(weight.shape).float(), "given": given}
    allowed = (-1, 0, 1) if is_ternary else (-1, 1)
    if not np.isin(rows, allowed).all():
        odd = rows[~np.isin(rows, allowed)][0]
        return Wrong(f"each sign is {values}, and one of yours is {odd:.4g}", **shown)
    wrong = (rows != right.rows) & (rows != right.either)
    if not wrong.any():
        return None
    i, j = (int(n) for n in np.argwhere(wrong)[0])
    told = f"a weight {weights[i, j]:.4g} of channel {i} has the sign {right.rows[i, j]:.0f}"
    if is_ternary:
        mean = np.abs(weights[i]).mean()
        told += f", as the threshold there is {SHARE:g} · {mean:.4g} = {SHARE * mean:.4g}"
    return Wrong(f"{told}; yours is {rows[i, j] + 0:.0f}", **shown)


def _is_numbers(given: Any) -> bool:
    """Whether it is a tensor of floats or whole numbers that has values and is not sparse."""
    return (
        isinstance(given, Tensor)
        and given.layout == torch.strided
        and not (given.is_meta or given.is_quantized or given.is_complex())
        and given.dtype != torch.bool
    )


def _comparable(result: Any) -> Any:
    """A pair as what compares; anything else as it is."""
    if isinstance(result, Found) or not isinstance(result, tuple | list) or len(result) != 2:
        return result
    signs, scale = result
    if not _is_numbers(signs) or not is_floats(scale) or not signs.dim() or not scale.dim():
        return result
    rows = _rows(signs)
    return Found(Signs(rows, rows), Scales(_rows(scale)[:, 0]))


def _parts(weight: Tensor, _: bool) -> Iterator[Part]:
    """Signs and scales alone, of two values and of three."""
    weight = weight.detach().clone()
    for is_ternary, values in ((False, "two"), (True, "three")):
        case = (weight, is_ternary)
        yield Part(f"in the signs of {values} values", case, lambda r: _comparable(r).signs)
        yield Part(f"in the scale of {values} values", case, lambda r: _comparable(r).scale)


def _reference(weight: Tensor, is_ternary: bool) -> Pair:
    """The signs of the weights, 0 for small ones if ternary, and the scale of each channel.

    >>> signs_and_scale(torch.tensor([[0.5, -1.5, 0.1, -0.3]]), ternary=True)
    (tensor([[ 1., -1.,  0., -0.]]), tensor([[1.]]))
    """
    if is_ternary:
        return ternary.ternary_signs(weight, axis=0)
    return binary.signs(weight.detach()), binary.binary_scale(weight)


signs_and_scale = Exercise(
    "signs_and_scale",
    by_cases(_cases, _right, _wrong, mistakes=MISTAKES, alike=_comparable, parts=_parts),
    reference=_reference,
    core=True,
    minutes=12,
    mistakes=MISTAKES,
)

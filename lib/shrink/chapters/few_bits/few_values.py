"""An exercise of chapter 10: weights of two values or three, and the scale of each channel.

The oracle is numpy: it projects each channel on the signs that the answer gives, once these are
right. The sign of a weight 0 may be either, and a weight at the threshold may stay or go.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from shrink.chapters.few_bits.few_values_mistakes import MISTAKES, SHARE, Pair
from shrink.chapters.few_bits.few_values_oracle import (
    Found,
    comparable,
    is_signs,
    projected,
    right_values,
    rows_of,
)
from shrink.chapters.few_bits.tensors import Close, is_floats, is_near, wrong_kind
from shrink.classroom.exercises.attempt import Wrong, kind_of, place_of
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.parts import Part
from shrink.quantization.binary import binary_scale, signs
from shrink.quantization.ternary import ternary_signs

_FEW = 100  # weights, of which none is 0 or near a threshold


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, bool]]]:
    g = generator(rng)

    def drawn(*shape: int) -> Tensor:
        """Normal weights, of which each channel has its own size; none is near a threshold."""
        sizes = [rng.uniform(0.5, 1.5) * 3.0 ** (i % 3) for i in range(shape[0])]
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
    yield lambda: (drawn(3, 7), True)
    yield lambda: (with_zeros(), False)
    for ternary in (False, True):
        yield lambda t=ternary: (drawn(2, 3, 3, 3), t)  # a convolution
        yield lambda t=ternary: (drawn(1, 1), t)
        yield lambda t=ternary: (drawn(4, 4), t)
        yield lambda t=ternary: (with_an_empty_channel(), t)
        yield lambda t=ternary: (0.01 * drawn(50, 80), t)
        yield lambda t=ternary: (torch.nn.Parameter(drawn(3, 5)), t)
        yield lambda t=ternary: (drawn(5, 3).double().t(), t)  # not contiguous
        if torch.cuda.is_available():
            yield lambda t=ternary: (drawn(3, 5).cuda(), t)
    yield lambda: (torch.tensor([[0.7, 1.0, -1.3], [2.0, -2.0, 2.0]]), True)  # at the threshold


def _wrong(given: Any, right: Found, weight: Tensor, ternary: bool) -> Wrong | None:
    if not (isinstance(given, tuple | list) and len(given) == 2):
        return Wrong("return a pair", expected="(signs, scale)", given=given)
    signs, scale = given
    shapes = [getattr(tensor, "shape", None) for tensor in given]
    if shapes[::-1] == [weight.shape, _shape(weight)] != shapes:
        return Wrong("return the signs first and the scale second", known_mistakes=False)
    if wrong := _no_signs(signs, right.signs, weight, ternary):
        return wrong
    if wrong := _no_scale(scale, weight):
        return wrong
    best, found = projected(weight, rows_of(signs)), rows_of(scale)[:, 0]
    if Close(best) == Close(found):
        return None
    i = int((~is_near(found, best)).nonzero()[0])
    told = (
        f"the signs are right, and the scale is not: for channel {i} the least squared error is at "
        f"{best[i]:.4g}; yours is {found[i]:.4g}"
    )
    return Wrong(told, expected=best.view(_shape(weight)).float(), given=scale)


def _shape(weight: Tensor) -> tuple[int, ...]:
    """That of the scale."""
    return (len(weight), *[1] * (weight.dim() - 1))


def _no_scale(given: Any, weight: Tensor) -> Wrong | None:
    """What is wrong with what is given for a scale, its numbers aside."""
    if isinstance(given, Tensor) and given.shape != (shape := _shape(weight)):
        return Wrong(
            "the scale has one number per output channel, and broadcasts against weight",
            expected=place_of(shape, weight.device),
            given=place_of(given.shape, given.device),
            known_mistakes=False,
        )
    if is_floats(given):
        empty = ~rows_of(weight).any(1) & ~rows_of(given)[:, 0].isfinite()
        if empty.any():
            told = f"channel {int(empty.nonzero()[0])} is all zeros, so that its scale is 0"
            return Wrong(f"{told}: divide by no count that may be 0", given=given)
    return wrong_kind(given, "the scale", weight.detach().new_zeros(_shape(weight)), "weight")


def _no_signs(given: Any, right: Close, weight: Tensor, ternary: bool) -> Wrong | None:
    values = "-1, 0 or 1" if ternary else "-1 or 1"
    if not is_signs(given):
        told = f"the first of the pair is a tensor of the numbers {values}"
        given = kind_of(given) if isinstance(given, Tensor) else given
        return Wrong(told, given=given, known_mistakes=False)
    if given.shape != weight.shape or given.device != weight.device:
        return Wrong(
            "the signs have the shape and device of weight",
            expected=place_of(weight.shape, weight.device),
            given=place_of(given.shape, given.device),
            known_mistakes=False,
        )
    rows, weights = rows_of(given), rows_of(weight)
    expected = right.numbers.view(weight.shape).float()
    odd = rows[(rows.abs() != 1) & (not ternary or rows != 0)]
    if len(odd):
        told = f"each sign is {values}, and one of yours is {odd[0] + 0:.4g}"
        return Wrong(told, expected=expected, given=given)
    wrong = (rows != right.numbers) & (rows != right.either)
    if not wrong.any():
        return None
    i, j = wrong.nonzero()[0].tolist()
    told = f"a weight {weights[i, j]:.4g} of channel {i} has the sign {right.numbers[i, j]:.0f}"
    if ternary:
        mean = weights[i].abs().mean()
        told += f", as the threshold there is {SHARE:g} · {mean:.4g} = {SHARE * mean:.4g}"
    return Wrong(f"{told}; yours is {rows[i, j] + 0:.0f}", expected=expected, given=given)


def _parts(weight: Tensor, _: bool) -> Iterator[Part]:
    """Signs and scales alone, of two values and of three."""
    weight = weight.detach().clone()
    for ternary, values in ((False, "two"), (True, "three")):
        case = (weight, ternary)
        yield Part(f"in the signs of {values} values", case, lambda r: comparable(r).signs)
        yield Part(f"in the scale of {values} values", case, lambda r: comparable(r).scale)


def _reference(weight: Tensor, ternary: bool) -> Pair:
    """The signs of the weights, 0 for small ones if ternary, and the scale of each channel.

    >>> signs_and_scale(torch.tensor([[0.5, -1.5, 0.1, -0.3]]), ternary=True)
    (tensor([[ 1., -1.,  0., -0.]]), tensor([[1.]]))
    """
    if ternary:
        return ternary_signs(weight, axis=0)
    return signs(weight.detach()), binary_scale(weight)


signs_and_scale = Exercise(
    "signs_and_scale",
    by_cases(_cases, right_values, _wrong, mistakes=MISTAKES, alike=comparable, parts=_parts),
    reference=_reference,
    core=True,
    minutes=12,
    mistakes=MISTAKES,
)

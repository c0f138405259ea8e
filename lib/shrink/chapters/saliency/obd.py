"""An exercise of chapter 08: the saliency of Optimal Brain Damage, from a diagonal that is given.

The oracle deletes each weight of a quadratic error at its minimum, and measures the rise.
"""

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from shrink import pruning
from shrink.chapters.saliency.tensors import comparable, some_numbers, worst, wrong_kind
from shrink.classroom.exercises.attempt import Mistake, Wrong, known
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.parts import Part


def measured_rises(weight: Tensor, diagonal: Tensor) -> Tensor:
    """What each deletion adds to an error with this Hessian, float64; its minimum is `weight`."""
    minimum, curvature = (t.detach().double().flatten() for t in (weight, diagonal))

    def error(at: Tensor) -> Tensor:
        away = at - minimum
        return away @ torch.diag(curvature) @ away / 2

    rises = []
    for i in range(len(minimum)):
        deleted = minimum.clone()
        deleted[i] = 0
        rises.append(error(deleted) - error(minimum))
    return torch.stack(rises).view(weight.shape)


def _of(rule: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """A rule on numbers, as an answer: in float64, without gradients."""
    return lambda weight, diagonal: rule(weight.detach().double(), diagonal.detach().double())


def _rise(w: Tensor, h: Tensor) -> Tensor:
    return h * w**2 / 2


@known(
    "a parabola with the second derivative h is ½·h·w² high at a distance of w: half of yours",
    "not halved",
)
@_of
def _no_half(w: Tensor, h: Tensor) -> Tensor:
    return h * w**2


@known(
    "this grows in proportion to |w|, which is what a slope would cost; at a minimum there is no "
    "slope, and what curvature costs grows with the square, w²",
    "magnitude in place of the square",
)
@_of
def _magnitude(w: Tensor, h: Tensor) -> Tensor:
    return h * w.abs()


@known(
    "square the weight: a negative one is as far from 0 as a positive one, and its deletion costs "
    "as much",
    "signed weight",
)
@_of
def _signed(w: Tensor, h: Tensor) -> Tensor:
    return h * w / 2


@known(
    "you divide by the second derivative, so that steep directions come out cheap: multiply. "
    "(Optimal Brain Surgeon divides, by the diagonal of the inverse.)",
    "divided by the curvature",
)
@_of
def _divided(w: Tensor, h: Tensor) -> Tensor:
    return w**2 / (2 * h)


@known(
    "your saliency is 0 where the second derivative is negative: there the model predicts that "
    "the loss falls, so keep its sign",
    "negative curvature clamped",
)
@_of
def _clamped(w: Tensor, h: Tensor) -> Tensor:
    return _rise(w, h.clamp(min=0))


@known(
    "you took the absolute value where the second derivative is negative: there the model "
    "predicts that the loss falls, so the saliency is negative",
    "absolute curvature",
)
@_of
def _absolute(w: Tensor, h: Tensor) -> Tensor:
    return _rise(w, h.abs())


@known(
    "this adds up all saliencies, which predicts the rise when ALL weights go; return one number "
    "per weight",
    "all together",
)
@_of
def _summed(w: Tensor, h: Tensor) -> Tensor:
    return _rise(w, h).sum()


@known(
    "these are shares of a sum: the order is the same, but a saliency is a rise of the loss, in "
    "the loss's own unit",
    "shares",
)
@_of
def _shares(w: Tensor, h: Tensor) -> Tensor:
    return _rise(w, h) / _rise(w, h).sum()


@known(
    "½ and h are right, but |w| must be squared: a parabola rises with the square of the distance, "
    "½·h·w²",
    "half the magnitude",
)
@_of
def _half_magnitude(w: Tensor, h: Tensor) -> Tensor:
    return h * w.abs() / 2


MISTAKES = (
    _no_half,
    _magnitude,
    _half_magnitude,
    _signed,
    _divided,
    _clamped,
    _absolute,
    _summed,
    _shares,
)


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, Tensor]]]:
    g = generator(rng)

    def case(*shape: int, negative: float = 0.0) -> tuple[Tensor, Tensor]:
        """Weights of both signs; so large a part of the second derivatives is negative."""
        weight, diagonal = some_numbers(g, *shape), some_numbers(g, *shape).abs()
        return weight, diagonal.where(torch.rand(shape, generator=g) >= negative, -diagonal)

    def telling_of(mistake: Mistake) -> tuple[Tensor, Tensor]:
        """Few numbers of both signs, on which that mistake is wrong."""
        while True:
            args = case(2, 3, negative=0.4)
            of_both_signs = all((t > 0).any() and (t < 0).any() for t in args)
            if of_both_signs and comparable(mistake(*args)) != comparable(measured_rises(*args)):
                return args

    def with_zeros(places: int) -> tuple[Tensor, Tensor]:
        """Weights of 0 and second derivatives of 0: neither costs anything."""
        weight, diagonal = case(places)
        weight[rng.randrange(places)] = diagonal[rng.randrange(places)] = 0
        return weight, diagonal

    def changed(change: Callable[[Tensor], Tensor], *shape: int) -> tuple[Tensor, Tensor]:
        weight, diagonal = case(*shape, negative=0.3)
        return change(weight), change(diagonal)

    def trained() -> tuple[Tensor, Tensor]:
        """As small as they are in a network."""
        weight, diagonal = case(3, 4)
        return 0.05 * weight, 1e-6 * diagonal**4

    for mistake in MISTAKES:
        yield partial(telling_of, mistake)
    yield lambda: case(1)
    yield lambda: case(2, 3, 2, 2, negative=0.2)  # a convolution
    yield lambda: with_zeros(5)
    yield trained
    yield lambda: (torch.zeros(2, 2), torch.ones(2, 2))
    yield lambda: changed(Tensor.t, 4, 3)  # not contiguous
    yield lambda: changed(Tensor.double, 3, 2)
    yield lambda: (Parameter(some_numbers(g, 3, 2)), torch.ones(3, 2))
    if torch.cuda.is_available():
        yield lambda: changed(Tensor.cuda, 3, 2)


def _parts(weight: Tensor, diagonal: Tensor) -> Iterator[Part]:
    yield Part("where all weights are 1", (torch.ones_like(weight.detach()), diagonal))
    yield Part("where all second derivatives are 1", (weight, torch.ones_like(diagonal)))
    yield Part("where none is negative", (weight, diagonal.abs()))


def _wrong(given: Any, right: Tensor, weight: Tensor, diagonal: Tensor) -> Wrong | None:
    if wrong := wrong_kind(given, right.to(weight.dtype), "the saliency"):
        return wrong
    place = worst(given, right)
    if place is None:
        return None
    return Wrong(
        f"at {list(place)} the weight is {weight[place].item():.4g} and the second derivative "
        f"{diagonal[place].item():.4g}: a quadratic error changes by {right[place].item():.4g} "
        f"when this weight becomes 0, and your saliency is {given[place].item():.4g}",
        expected=right.to(weight.dtype),
        given=given,
    )


def _reference(weight: Tensor, diagonal: Tensor) -> Tensor:
    """½·h·w² of each weight: the predicted rise of the loss when it alone is deleted.

    >>> obd_saliency(torch.tensor([2.0, -0.5]), torch.tensor([0.1, 4.0]))
    tensor([0.2000, 0.5000])
    """
    return pruning.obd_saliency({"weight": weight}, {"weight": diagonal})["weight"]


obd_saliency = Exercise(
    "obd_saliency",
    by_cases(_cases, measured_rises, _wrong, mistakes=MISTAKES, alike=comparable, parts=_parts),
    reference=_reference,
    core=True,
    minutes=8,
    mistakes=MISTAKES,
)

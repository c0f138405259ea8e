"""An exercise of chapter 08: SNIP's scores, how fast the loss changes as weights are masked.

The oracle puts a mask in front of each weight, explicitly, and takes the gradient of the loss with
respect to the masks, in float64.
"""

import copy
import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from shrink import pruning
from shrink.chapters.saliency.scores import (
    EARLIER,
    alike,
    gradients_left,
    wrong_names,
    wrong_sum,
)
from shrink.chapters.saliency.tensors import in_doubt, some_numbers, worst, wrong_kind
from shrink.classroom.exercises.attempt import Mistake, Wrong, known
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise

Scores = dict[str, Tensor]
Case = tuple[nn.Module, Tensor, Tensor]


def mask_gradients(model: nn.Module, images: Tensor, labels: Tensor) -> Scores:
    """The loss's derivative by a mask in front of each weight, where all masks are 1; float64."""
    model, images = copy.deepcopy(model).double(), images.double()
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    masks = {n: torch.ones_like(p).requires_grad_() for n, p in parameters.items() if p.dim() > 1}
    masked = parameters | {name: mask * parameters[name] for name, mask in masks.items()}
    loss = F.cross_entropy(functional_call(model, masked, (images,)), labels)
    return dict(zip(masks, torch.autograd.grad(loss, list(masks.values())), strict=True))


def by_masks(model: nn.Module, images: Tensor, labels: Tensor) -> Scores:
    """How fast the loss changes with each mask, whether it rises or falls."""
    gradients = mask_gradients(model, images, labels)
    return {name: gradient.abs() for name, gradient in gradients.items()}


def _is_weight(name: str, parameter: Tensor) -> bool:
    return parameter.dim() > 1


def _scores(
    score: Callable[[Tensor, Tensor], Tensor],
    among: Callable[[str, Tensor], bool] = _is_weight,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
) -> Callable[[nn.Module, Tensor, Tensor], Scores]:
    """An answer that gives these parameters the score of their gradient and their value."""

    def scores(model: nn.Module, images: Tensor, labels: Tensor) -> Scores:
        weights = {name: p for name, p in model.named_parameters() if among(name, p)}
        gradients = torch.autograd.grad(loss(model(images), labels), list(weights.values()))
        named = zip(weights.items(), gradients, strict=True)
        return {name: score(g, w.detach()) for (name, w), g in named}

    return scores


def _product(g: Tensor, w: Tensor) -> Tensor:
    return (g * w).abs()


_right_scores = _scores(_product)


@known(
    "these are shares of the sum over all layers, as SNIP's paper writes them: the order is the "
    "same, but here the score itself is asked, in the loss's own unit",
    "shares of everything",
)
def _shares(model: nn.Module, images: Tensor, labels: Tensor) -> Scores:
    scores = _right_scores(model, images, labels)
    total = torch.stack([score.sum() for score in scores.values()]).sum()
    return {name: score / total for name, score in scores.items()}


@known(
    "you take the absolute value for each image and then the mean: the loss is the mean over the "
    "images, so slopes of different signs cancel before .abs() is taken",
    "absolute value for each image",
)
def _each_image(model: nn.Module, images: Tensor, labels: Tensor) -> Scores:
    one_by_one = zip(images.split(1), labels.split(1), strict=True)
    each = [_right_scores(model, image, label) for image, label in one_by_one]
    return {name: torch.stack([scores[name] for scores in each]).mean(0) for name in each[0]}


MISTAKES = (
    Mistake(
        "gradient alone",
        _scores(lambda g, w: g.abs()),
        "this is the slope for a step of 1 of the weight; the mask takes the weight all the way to "
        "0, a step of w: by the chain rule the slope in the mask is g·w",
    ),
    Mistake(
        "a layer's mean gradient",
        _scores(lambda g, w: w.abs() * g.abs().mean()),
        "you multiply by one number for the whole layer, so inside it the order is that of the "
        "magnitudes: each weight has a gradient of its own",
    ),
    Mistake(
        "signed",
        _scores(lambda g, w: g * w),
        "a weight matters to SNIP whether its mask would raise or lower the loss: take .abs() of "
        "the product",
    ),
    Mistake(
        "shares of a layer",
        _scores(lambda g, w: (g * w).abs() / (g * w).abs().sum()),
        "each layer is divided by its own sum, so that a score in one layer says nothing about a "
        "score in another; SNIP ranks all weights together",
    ),
    _shares,
    _each_image,
    Mistake(
        "biases too",
        _scores(_product, lambda name, p: True),
        "these are the scores of all parameters; only weights are pruned, the parameters with two "
        "axes or more",
    ),
    Mistake(
        "summed over the images",
        _scores(_product, loss=partial(F.cross_entropy, reduction="sum")),
        "this is the slope of the summed loss: take the mean over the images, which "
        "F.cross_entropy gives unless told otherwise",
    ),
    Mistake(
        "softmax twice",
        _scores(_product, loss=lambda logits, labels: F.cross_entropy(logits.softmax(1), labels)),
        "F.cross_entropy takes logits and applies the softmax itself: give it model(images)",
    ),
)


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    g = generator(rng)

    def filled(model: nn.Module, shape: tuple[int, ...], images: int = 5) -> Case:
        """The model with random parameters, none of them 0, and images of this shape."""
        while True:
            for p in model.parameters():
                p.data.copy_(some_numbers(g, *p.shape) / 2)
            x = some_numbers(g, images, *shape)
            logits = model(x)
            if in_doubt(logits):
                return model, x, torch.randint(logits.shape[1], (images,), generator=g)

    def two_layers(images: int = 5) -> Case:
        net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 3))
        return filled(net, (3,), images)

    def of_floats(change: Callable[[Any], Any]) -> Case:
        model, images, labels = two_layers()
        return change(model), change(images), labels

    def normed() -> Case:
        """A LayerNorm has a parameter that is called weight, and is none."""
        net = nn.Sequential(nn.Linear(4, 5), nn.LayerNorm(5), nn.ReLU(), nn.Linear(5, 3))
        return filled(net, (4,))

    def convolved() -> Case:
        conv = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Flatten())
        return filled(nn.Sequential(conv, nn.Linear(18, 3)), (1, 5, 5))

    def pruned() -> Case:
        """A weight of 0 costs nothing to mask."""
        model, images, labels = two_layers()
        model[0].weight.data[0] = 0
        return model, images, labels

    def trained_before() -> Case:
        model, images, labels = two_layers()
        for p in model.parameters():
            p.grad = torch.full_like(p, EARLIER)
        return model, images, labels

    yield two_layers
    yield lambda: two_layers(images=1)
    yield normed
    yield convolved
    yield pruned
    yield trained_before
    yield lambda: of_floats(lambda it: it.double())
    yield lambda: filled(nn.Linear(2, 2, bias=False).eval(), (2,))
    if torch.cuda.is_available():
        yield lambda: tuple(it.cuda() for it in convolved())


def _wrong(
    given: Any, right: Scores, model: nn.Module, images: Tensor, labels: Tensor
) -> Wrong | None:
    if wrong := wrong_names(given, right, model):
        return wrong
    slopes = mask_gradients(model, images, labels)
    for name, its in right.items():
        weight = model.get_parameter(name).detach()
        if wrong := _wrong_scores(name, given[name], its.to(weight.dtype), weight, slopes[name]):
            return wrong
    return gradients_left(model)


def _wrong_scores(
    name: str, given: Any, right: Tensor, weight: Tensor, slopes: Tensor
) -> Wrong | None:
    """What is wrong with the scores of one layer, if anything; `slopes` are those in its masks."""
    if wrong := wrong_kind(given, right, f"the score of {name}"):
        return wrong
    place = worst(given, right)
    if place is None:
        return None
    accumulated = (slopes + EARLIER * weight.double()).abs()
    return wrong_sum(given, right, accumulated) or Wrong(
        f"at {list(place)} of {name} the weight is {weight[place].item():.4g}, and the slope of "
        f"the loss in its mask {slopes[place].item():.4g}: your score is "
        f"{given[place].item():.4g}",
        expected=right,
        given=given,
    )


snip_scores = Exercise(
    "snip_scores",
    by_cases(_cases, by_masks, _wrong, mistakes=MISTAKES, alike=alike),
    reference=pruning.snip_scores,
    core=False,
    minutes=10,
    mistakes=MISTAKES,
)

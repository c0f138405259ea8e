"""An exercise of chapter 11: how much the answers suffer when one layer alone is rounded.

The oracle works in float64, on a network that nothing is written into.
"""

import copy
import math
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from shrink.chapters.mixed.sensitivities_mistakes import MISTAKES, Sensitivities
from shrink.chapters.mixed.sensitivities_oracle import (
    Rounded,
    alike,
    near,
    right_sensitivities,
    vanishes,
)
from shrink.classroom.exercises.attempt import Wrong
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import About
from shrink.classroom.exercises.parts import Part
from shrink.quantization.sensitivity import answer_sensitivity

Case = tuple[nn.Module, Tensor, Rounded]


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    g = generator(rng)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g)

    def filled(model: nn.Module) -> nn.Module:
        """The model with random numbers in place of those of torch's own generator."""
        for p in model.parameters():
            fan_in = math.sqrt(p[0].numel()) if p.dim() > 1 else 2
            p.data.copy_(2 * normal(*p.shape) / fan_in)
        for layer in model.modules():
            if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
                layer.running_mean.copy_(normal(*layer.running_mean.shape))
                layer.running_var.copy_(0.5 + normal(*layer.running_var.shape).abs())
        return model

    def coarse(model: nn.Module) -> Rounded:
        """Each weight of two axes or more in a few steps, in no particular order."""
        named = [(name, p.detach()) for name, p in model.named_parameters() if p.dim() > 1]
        rng.shuffle(named)
        steps = {name: p.abs().max() / rng.choice([1, 1.5, 2]) for name, p in named}
        return {name: (p / steps[name]).round() * steps[name] for name, p in named}

    def case(model: nn.Module, *shape: int, training: bool = True) -> Case:
        model = filled(model).train(training)
        return model, normal(*shape), coarse(model)

    def three_layers() -> nn.Module:
        layers = (nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 6), nn.Tanh(), nn.Linear(6, 5))
        return nn.Sequential(*layers)

    def normed() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 7), nn.BatchNorm1d(7), nn.ReLU(), nn.Linear(7, 4))

    def separable() -> nn.Module:
        depthwise = nn.Conv2d(3, 3, 3, groups=3, bias=False)
        front = nn.Sequential(nn.Conv2d(1, 3, 1), depthwise, nn.BatchNorm2d(3), nn.ReLU())
        return nn.Sequential(front, nn.Flatten(), nn.Dropout(), nn.Linear(27, 4))

    def unchanged() -> Case:
        """One layer is as it was, another not rounded but exchanged: a bias may be asked, too."""
        model, images, rounded = case(three_layers(), 7, 4)
        weights = dict(model.named_parameters())
        return (
            model,
            images,
            rounded
            | {
                "0.weight": weights["0.weight"].detach().clone(),
                "2.bias": normal(6),
            },
        )

    def far_apart() -> Case:
        """Probabilities that float32 cannot hold."""
        model, images, rounded = case(nn.Sequential(nn.Linear(7, 4)), 6, 7, training=False)
        return model, images, {name: 100 * weight for name, weight in rounded.items()}

    yield lambda: case(three_layers(), 8, 4, training=False)
    yield lambda: case(normed(), 7, 4)
    yield lambda: case(separable(), 5, 1, 5, 5)
    yield lambda: case(three_layers().requires_grad_(False), 1, 4)
    yield unchanged
    yield far_apart
    yield lambda: case(normed(), 300, 4, training=False)
    yield lambda: (*case(three_layers(), 2, 4)[:2], {})
    if torch.cuda.is_available():
        model, images, rounded = case(separable(), 5, 1, 5, 5)
        there = {name: weight.cuda() for name, weight in rounded.items()}
        yield lambda: (model.cuda(), images.cuda(), there)


def _wrong(
    given: Any, right: Sensitivities, model: nn.Module, images: Tensor, rounded: Rounded
) -> Wrong | None:
    if not isinstance(given, Mapping):
        told = "return a dict: the name of each weight, and its sensitivity"
        return Wrong(told, expected=right, given=given, known_mistakes=False)
    if given.keys() != right.keys():
        told = "the names are those of rounded, all of them and no others"
        return Wrong(told, expected=list(right), given=list(given), known_mistakes=False)
    for name, its in right.items():
        number = near(given[name])
        if not isinstance(number, About):
            told = f"the sensitivity of {name} is one number, the mean over the images"
            return Wrong(told, expected=its, given=given[name], known_mistakes=False)
        if number != near(its):
            too_small = vanishes(model, images, name, rounded[name])
            same = torch.equal(rounded[name], model.get_parameter(name).detach())
            told = _told(name, number.value, its, too_small, same)
            return Wrong(told, expected=right, given=given)
    return None


def _told(name: str, given: float, its: float, too_small: bool, same: bool) -> str:
    """What is wrong with a number; `same`: the weight has not changed."""
    if too_small:
        return (
            f"the sensitivity of {name} is {its:.4g} nats, and yours {given:.4g}: float32 has no "
            "room for some of these probabilities. log_softmax takes logarithms without them, and "
            "needs no small number added"
        )
    if not math.isfinite(given):
        return (
            f"the sensitivity of {name} is {given}: a logarithm is taken of what is no probability "
            "above 0. F.kl_div takes log q first, and then p itself, unless log_target=True"
        )
    if same:
        return (
            f"{name} is in rounded as it is in the network, so its answers are the same, and its "
            f"sensitivity is 0; yours is {given:.4g}"
        )
    told = f"with {name} alone rounded, the mean of KL(p‖q) is {its:.4g} nats; yours is {given:.4g}"
    return told + (", and a KL divergence is never negative" if given < 0 else "")


def _parts(model: nn.Module, images: Tensor, rounded: Rounded) -> Iterator[Part]:
    """One weight, one image, and without the mode."""
    in_eval = copy.deepcopy(model).eval()
    one = dict(list(rounded.items())[:1])
    yield Part("for one weight and one image", (in_eval, images[:1], one))
    yield Part("for one weight", (in_eval, images, one))
    yield Part("for one image", (in_eval, images[:1], rounded))


def _reference(model: nn.Module, images: Tensor, rounded: Rounded) -> Sensitivities:
    """The mean KL divergence of the answers, with one weight after the other rounded alone.

    >>> net = nn.Sequential(nn.Linear(1, 2, bias=False))
    >>> _ = net[0].weight.data.copy_(torch.tensor([[1.0], [0.0]]))
    >>> half = torch.tensor([[0.5], [0.0]])
    >>> found = layer_sensitivity(net, torch.tensor([[0.0], [2.0]]), {"0.weight": half})
    >>> round(found["0.weight"], 4)
    0.0336
    """
    variants = {name: {"rounded": weight} for name, weight in rounded.items()}
    found = answer_sensitivity(model, images, variants)
    return {name: costs["rounded"] for name, costs in found.items()}


layer_sensitivity = Exercise(
    "layer_sensitivity",
    by_cases(_cases, right_sensitivities, _wrong, mistakes=MISTAKES, alike=alike, parts=_parts),
    reference=_reference,
    core=True,
    minutes=12,
    mistakes=MISTAKES,
)

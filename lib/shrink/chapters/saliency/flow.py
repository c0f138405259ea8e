"""An exercise of chapter 08: SynFlow's scores of a model.

The oracle is `by_hand`: products of magnitudes, forwards and backwards.
"""

import copy
import random
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.chapters.saliency.by_hand import by_hand
from shrink.chapters.saliency.scores import (
    EARLIER,
    alike,
    gradients_left,
    wrong_names,
    wrong_sum,
)
from shrink.chapters.saliency.tensors import Close, worst, wrong_kind
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.parts import Part

Scores = dict[str, Tensor]
Case = tuple[nn.Module, tuple[int, ...]]


def _is_weight(name: str, parameter: Tensor) -> bool:
    return parameter.dim() >= 2


def _is_bias(name: str, parameter: Tensor) -> bool:
    return name.endswith("bias")


def _scores(
    size: Callable[[str, Tensor], bool] = _is_weight,
    zero: Callable[[str, Tensor], bool] = _is_bias,
    training: bool = False,
    of_outputs: Callable[[Tensor], Tensor] = Tensor.sum,
    score: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda g, size, w: g * size,
) -> Callable[[nn.Module, Sequence[int]], Scores]:
    """An answer that is right except for what is passed.

    Args:
        size, zero: the parameters that become their magnitude, and those that become 0.
        training: whether the model stays in the mode that it came in.
        of_outputs: what of the outputs is differentiated.
        score: of the derivative, the weight's value there, and the weight itself.
    """

    def scores(model: nn.Module, shape: Sequence[int]) -> Scores:
        net = copy.deepcopy(model)
        net = net if training else net.eval()
        weights = {name: p for name, p in net.named_parameters() if p.dim() >= 2}
        before = {name: w.detach().clone() for name, w in weights.items()}
        with torch.no_grad():
            for name, p in net.named_parameters():
                if size(name, p):
                    p.abs_()
                if zero(name, p):
                    p.zero_()
        ones = torch.ones(1, *shape, device=p.device)
        gradients = torch.autograd.grad(of_outputs(net(ones)), list(weights.values()))
        named = zip(weights.items(), gradients, strict=True)
        return {name: score(g, w.detach(), before[name]) for (name, w), g in named}

    return scores


MISTAKES = (
    Mistake(
        "magnitudes of biases",
        _scores(size=lambda name, p: True, zero=lambda name, p: False),
        "the biases are left in, as magnitudes: what a bias adds has come along no weight, and "
        "more leaves the unit than has arrived. Set biases to 0",
    ),
    Mistake(
        "biases left in",
        _scores(zero=lambda name, p: False),
        "the biases are left in, with their signs: they add what has come along no weight. Set "
        "them to 0",
    ),
    Mistake(
        "weights with their signs",
        _scores(size=lambda name, p: False, score=lambda g, size, w: (g * w).abs()),
        "the flow has gone through weights with their signs, where paths cancel and a ReLU stops "
        "what is negative: take the magnitudes before the ones go through, not after",
    ),
    Mistake(
        "training mode",
        _scores(training=True),
        "your copy is in training mode, and its batch norm subtracts the mean of this one image: "
        "call .eval()",
    ),
    Mistake(
        "norm's scale at 0",
        _scores(zero=lambda name, p: p.dim() < 2),
        "a batch norm's weight has one axis too, and with it at 0 nothing flows on: only what is "
        "named bias becomes 0",
    ),
    Mistake(
        "derivative alone",
        _scores(score=lambda g, size, w: g),
        "this is the derivative ∂R/∂|w|; the score is what flows through the weight, |w| times "
        "the derivative",
    ),
    Mistake(
        "signed scores",
        _scores(score=lambda g, size, w: g * w),
        "your scores have the signs of the weights, so that large negative weights would go "
        "first: multiply by the magnitude",
    ),
    Mistake(
        "mean of the outputs",
        _scores(of_outputs=Tensor.mean),
        "R is the sum of all outputs, not their mean",
    ),
    Mistake(
        "shares of a layer",
        _scores(score=lambda g, size, w: g * size / (g * size).sum()),
        "your scores add up to 1 in each layer, and should add up to R: take neither the logarithm "
        "of R nor a share of the layer's sum",
    ),
)


def _whole_numbers(g: torch.Generator, *shape: int) -> Tensor:
    """Whole numbers from -5 to 5 and not 0, as float32."""
    signs = 2 * torch.randint(2, shape, generator=g) - 1
    return (signs * torch.randint(1, 6, shape, generator=g)).float()


def filled(g: torch.Generator, layers: Mapping[str, nn.Module]) -> nn.Sequential:
    """A model of these layers with weights and biases from `g`, and norms as they are at first."""
    model = nn.Sequential(OrderedDict(layers))
    for layer in model:
        if isinstance(layer, nn.Linear | nn.Conv2d):
            for p in layer.parameters():
                p.data.copy_(_whole_numbers(g, *p.shape))
    return model


def linear_layers(*sizes: int, bias: bool = True) -> dict[str, nn.Module]:
    """Linear layers fc1, fc2, … with a ReLU between any two."""
    layers: dict[str, nn.Module] = {}
    for i, (inputs, outputs) in enumerate(pairwise(sizes), 1):
        if i > 1:
            layers[f"relu{i - 1}"] = nn.ReLU()
        layers[f"fc{i}"] = nn.Linear(inputs, outputs, bias=bias)
    return layers


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    g = generator(rng)

    def chain(*sizes: int, bias: bool = True) -> Case:
        return filled(g, linear_layers(*sizes, bias=bias)), (sizes[0],)

    def convolved() -> Case:
        """In training mode, as a new model is."""
        layers = {"conv": nn.Conv2d(2, 3, (2, 3)), "norm": nn.BatchNorm2d(3), "relu": nn.ReLU()}
        return filled(g, layers | {"flatten": nn.Flatten(), "fc": nn.Linear(12, 2)}), (2, 3, 4)

    def normed() -> Case:
        first, relu, last = linear_layers(4, 3, 3).values()
        norm = nn.BatchNorm1d(3)
        return filled(g, {"fc1": first, "norm": norm, "relu": relu, "fc2": last}), (4,)

    def of_images() -> Case:
        layers = {"flatten": nn.Flatten(), **linear_layers(12, 3, 2)}
        return filled(g, layers).eval(), (1, 3, 4)

    def pruned() -> Case:
        """A unit that nothing enters, and another that nothing leaves."""
        model, shape = chain(3, 4, 3, 2)
        model.fc1.weight.data[0] = 0
        model.fc3.weight.data[:, 1] = 0
        return model, shape

    def trained_before() -> Case:
        model, shape = chain(3, 3, 2)
        for p in model.parameters():
            p.grad = torch.full_like(p, EARLIER)
        return model, shape

    yield lambda: chain(3, 3, 2)
    yield lambda: chain(2, 4, 3, 2)
    yield convolved
    yield normed
    yield of_images
    yield pruned
    yield trained_before
    yield lambda: chain(3, 2, 2, 2, 1, bias=False)
    yield lambda: chain(3, 2)
    if torch.cuda.is_available():
        yield lambda: (convolved()[0].cuda(), (2, 3, 4))


def _wrong(given: Any, right: Scores, model: nn.Module, shape: Sequence[int]) -> Wrong | None:
    if wrong := wrong_names(given, right, model):
        return wrong
    for name, its in right.items():
        if wrong := _wrong_scores(name, given[name], its, model.get_parameter(name).detach()):
            return wrong
    return gradients_left(model)


def _wrong_scores(name: str, given: Any, right: Tensor, weight: Tensor) -> Wrong | None:
    """What is wrong with the scores of one layer, if anything."""
    if wrong := wrong_kind(given, right, f"the score of {name}"):
        return wrong
    place = worst(given, right)
    if place is None:
        return None
    accumulated = right + EARLIER * weight.abs()
    return wrong_sum(given, right, accumulated) or Wrong(
        f"at {list(place)} of {name} the weight is {float(weight[place]):.4g}, and "
        f"{float(right[place]):.4g} flows through it: your score is {float(given[place]):.4g}",
        expected=right,
        given=given,
    )


def _changed(
    change: Callable[[str, Tensor], bool], to: Callable[[Tensor], Tensor], case: Case
) -> Case:
    """The case with other parameters where `change` says so."""
    model = copy.deepcopy(case[0])
    for name, p in model.named_parameters():
        if change(name, p):
            p.data = to(p.data)
    return model, case[1]


def _parts(*case: Any) -> Iterator[Part]:
    yield Part("without biases", _changed(_is_bias, torch.zeros_like, case))
    yield Part("where no weight is negative", _changed(_is_weight, Tensor.abs, case))
    yield Part("in eval mode", (copy.deepcopy(case[0]).eval(), case[1]))


def _check(answer: Attempt, rng: random.Random) -> None:
    by_cases(
        _cases,
        by_hand,
        partial(_wrong_or_random, answer),
        mistakes=MISTAKES,
        alike=alike,
        parts=_parts,
    )(answer, rng)


def _wrong_or_random(answer: Attempt, given: Any, right: Scores, *case: Any) -> Wrong | None:
    """What is wrong; and whether random numbers are."""
    wrong = _wrong(given, right, *case)
    if wrong is None or not _varies(answer, case):
        return wrong
    return Wrong(
        "asked again about the same model, your function gives other scores: SynFlow takes no "
        "image of the data, and no random one, but an image of ones",
        expected=wrong.expected,
        given=wrong.given,
        known_mistakes=False,
    )


def _varies(answer: Attempt, case: Case) -> bool:
    """Whether the answer gives other scores when it is asked twice."""
    twice = [alike(answer.ask(copy.deepcopy(case))) for _ in range(2)]
    if not all(isinstance(scores, dict) for scores in twice):
        return False
    one, other = twice
    return all(isinstance(score, Close) for score in one.values()) and one != other


synflow_scores = Exercise(
    "synflow_scores",
    _check,
    reference=pruning.synflow_scores,
    core=True,
    minutes=15,
    mistakes=MISTAKES,
)

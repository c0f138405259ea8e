"""Known mistakes of chapter 11's exercise on the sensitivity of layers."""

import copy
from collections.abc import Callable, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.classroom.exercises.attempt import Mistake

Sensitivities = dict[str, float]
Answer = Callable[[nn.Module, Tensor, Mapping[str, Tensor]], Sensitivities]
Divergence = Callable[[Tensor, Tensor], Tensor]  # logits of the floats, of the rounded → a number
Taken = Callable[[str, Mapping[str, Tensor]], Mapping[str, Tensor]]  # what is rounded for a name


def _kl(p: Tensor, q: Tensor) -> Tensor:
    """KL of each image, from logits."""
    log_p, log_q = p.log_softmax(1), q.log_softmax(1)
    return (log_p.exp() * (log_p - log_q)).sum(1)


def _alone(name: str, rounded: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return {name: rounded[name]}


def _all(name: str, rounded: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return rounded


def _those_before(name: str, rounded: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    names = list(rounded)
    return {earlier: rounded[earlier] for earlier in names[: names.index(name) + 1]}


def _answer(
    divergence: Divergence = lambda p, q: _kl(p, q).mean(),
    taken: Taken = _alone,
    in_training: bool = False,
) -> Answer:
    """An answer with these parts, by default the right ones."""

    @torch.no_grad()
    def layer_sensitivity(
        model: nn.Module, images: Tensor, rounded: Mapping[str, Tensor]
    ) -> Sensitivities:
        def logits(weights: Mapping[str, Tensor]) -> Tensor:
            own = copy.deepcopy(model)
            own.train(in_training and own.training)
            for name, weight in weights.items():
                own.get_parameter(name).copy_(weight)
            return own(images)

        floats = logits({})
        return {n: float(divergence(floats, logits(taken(n, rounded)))) for n in rounded}

    return layer_sensitivity


MISTAKES = (
    Mistake(
        "still rounded",
        _answer(taken=_those_before),
        "a layer stays rounded while the next one is measured: put the float weight back, or begin "
        "each time with a new copy of the network",
    ),
    Mistake(
        "all at once",
        _answer(taken=_all),
        "all layers are rounded at once, so each gets the damage of all: round one, and leave the "
        "others in float",
    ),
    Mistake(
        "exchanged",
        _answer(lambda p, q: _kl(q, p).mean()),
        "this is KL(q‖p): KL is not symmetric. The mean is over the answers of the float network, "
        "so p weights the logarithms. F.kl_div takes log q first and p second",
    ),
    Mistake(
        "logits for logarithms",
        _answer(lambda p, q: (p.softmax(1) * (p - q)).sum(1).mean()),
        "you subtract logits where the logarithms of probabilities belong: adding the same number "
        "to all logits changes no answer, but it changes your result. Take log_softmax first",
    ),
    Mistake(
        "no logarithm",
        _answer(lambda p, q: F.kl_div(q.softmax(1), p.softmax(1), reduction="batchmean")),
        "F.kl_div wants the logarithms of q as its first argument, and you gave it probabilities",
    ),
    Mistake(
        "summed over the images",
        _answer(lambda p, q: _kl(p, q).sum()),
        "this is the sum over the images, and grows with their number: take the mean over the "
        "images",
    ),
    Mistake(
        "mean over the classes",
        _answer(lambda p, q: _kl(p, q).mean() / p.shape[1]),
        "the terms of one image are added up, over all its classes; only over the images you take "
        'the mean. reduction="mean" of F.kl_div divides by the number of classes, too: "batchmean" '
        "does not",
    ),
    Mistake(
        "cross entropy",
        _answer(lambda p, q: -(p.softmax(1) * q.log_softmax(1)).sum(1).mean()),
        "this is the cross entropy, Σ p · (-log q): it is not 0 even for a layer that has not "
        "changed. KL subtracts the float network's own entropy, Σ p · (-log p)",
    ),
    Mistake(
        "training mode",
        _answer(in_training=True),
        "the network is in training mode, in which a batch norm takes the mean and the variance of "
        "these images: measure a copy in eval mode, where it takes those it has kept",
    ),
)

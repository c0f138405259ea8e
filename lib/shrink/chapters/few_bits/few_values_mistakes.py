"""Known mistakes of chapter 10's exercise on weights of two and three values."""

from collections.abc import Callable

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Mistake

Pair = tuple[Tensor, Tensor]
Rule = Callable[[Tensor], Tensor]  # rows of weights → a number for each row
Scale = Callable[[Tensor, Tensor], Tensor]  # rows, their signs → a scale for each row

SHARE = 0.7  # of the mean magnitude


def two_values(rows: Tensor) -> Tensor:
    """-1 or 1 of each number."""
    return torch.where(rows >= 0, 1.0, -1.0).to(rows.dtype)


def _mean_threshold(rows: Tensor) -> Tensor:
    return SHARE * rows.abs().mean(1, keepdim=True)


def _mean_of_those_left(rows: Tensor, signs: Tensor) -> Tensor:
    return (rows * signs).sum(1, keepdim=True) / signs.abs().sum(1, keepdim=True).clamp(min=1)


def _answer(
    scale: Scale = _mean_of_those_left, threshold: Rule = _mean_threshold, two: Rule = two_values
) -> Callable[[Tensor, bool], Pair]:
    """An answer with these parts, by default the right ones."""

    def signs_and_scale(weight: Tensor, ternary: bool) -> Pair:
        rows = weight.detach().flatten(1)
        signs = rows.sign().where(rows.abs() > threshold(rows), 0) if ternary else two(rows)
        axes = [1] * (weight.dim() - 1)
        return signs.view(weight.shape), scale(rows, signs).view(-1, *axes)

    return signs_and_scale


def _of_all(rows: Tensor, signs: Tensor) -> Tensor:
    return ((rows * signs).sum() / signs.abs().sum().clamp(min=1)).expand(len(rows), 1).clone()


def _zeros_counted(rows: Tensor, signs: Tensor) -> Tensor:
    """The mean over those that have a sign, and over the weights 0."""
    return (rows * signs).sum(1) / ((signs != 0) | (rows == 0)).sum(1)


MISTAKES = (
    Mistake(
        "no sign for 0",
        _answer(_zeros_counted, two=torch.sign),
        "torch.sign(0) is 0, a third value, for which one bit has no room: a comparison such as "
        "weight >= 0 gives each weight one of two signs",
    ),
    Mistake(
        "one scale",
        _answer(_of_all),
        "this is one scale for all weights: a channel of small weights comes out too large, and "
        "one of large weights too small. Take the mean of each channel",
    ),
    Mistake(
        "maximum",
        _answer(lambda rows, signs: rows.abs().amax(1, keepdim=True)),
        "the largest magnitude makes all weights as large as the largest one, which is how chapter "
        "03 spans a range: with signs alone the least squared error is at the mean",
    ),
    Mistake(
        "zeros averaged",
        _answer(lambda rows, signs: (rows * signs).mean(1, keepdim=True)),
        "the weights that became 0 are counted in the mean, and make the scale too small: divide "
        "by the number of those that are left",
    ),
    Mistake(
        "all averaged",
        _answer(lambda rows, signs: rows.abs().mean(1, keepdim=True)),
        "this is the mean magnitude of all weights, which serves for the threshold: the scale is "
        "the mean of those that are left, since w t is 0 for the others",
    ),
    Mistake(
        "part of the maximum",
        _answer(threshold=lambda rows: SHARE * rows.abs().amax(1, keepdim=True)),
        "0.7 of the largest magnitude leaves next to nothing: the threshold is 0.7 of the mean "
        "magnitude",
    ),
    Mistake(
        "one threshold",
        _answer(threshold=lambda rows: SHARE * rows.abs().mean()),
        "your threshold comes from the whole tensor, so that a channel of small weights loses them "
        "all: each channel has its own",
    ),
    Mistake(
        "no scale",
        _answer(lambda rows, signs: torch.ones_like(rows[:, :1])),
        "these are signs with the scale 1, and the weights are far smaller or larger: project each "
        "channel on its signs",
    ),
    Mistake(
        "no magnitude",
        _answer(lambda rows, signs: rows.mean(1, keepdim=True)),
        "in the mean of w itself positive and negative weights cancel: w t is the magnitude of w",
    ),
)

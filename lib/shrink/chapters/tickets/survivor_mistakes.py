"""Known mistakes of chapter 09's exercise on one round of pruning."""

from collections.abc import Callable
from functools import wraps

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import known

Masks = dict[str, Tensor]
Rule = Callable[[Tensor, Tensor, float], Tensor]  # a layer's weight, mask and rate → its new mask


def _layer_by_layer(rule: Rule) -> Callable[..., Masks]:
    """A rule for one layer, as an answer."""

    @wraps(rule)
    def answer(weights: dict[str, Tensor], masks: Masks, rates: dict[str, float]) -> Masks:
        return {name: rule(weights[name].detach(), masks[name], rates[name]) for name in masks}

    return answer


def _number(mask: Tensor, rate: float) -> int:
    return round(rate * int(mask.sum()))


def _without(mask: Tensor, scores: Tensor, count: int) -> Tensor:
    """The mask without the `count` weights of smallest score among those that it keeps."""
    left = mask.flatten().nonzero().flatten()
    order = scores.flatten()[left].argsort(stable=True)
    keep = mask.flatten().clone()
    keep[left[order[:count]]] = False
    return keep.view(mask.shape)


def _sizes_left(weight: Tensor, mask: Tensor) -> Tensor:
    return weight.abs()[mask].sort().values


@known("this share was taken of ALL the layer's weights: it is a share of those that are left")
@_layer_by_layer
def _share_of_all(weight: Tensor, mask: Tensor, rate: float) -> Tensor:
    return _without(mask, weight.abs(), round(rate * mask.numel()))


@known(
    "pruned weights are the smallest of all, as they are 0, and were chosen once more, so that too "
    "few of the others went: rank only weight[mask]"
)
@_layer_by_layer
def _pruned_ranked_again(weight: Tensor, mask: Tensor, rate: float) -> Tensor:
    order = (weight * mask).abs().flatten().argsort(stable=True)
    keep = mask.flatten().clone()
    keep[order[: _number(mask, rate)]] = False
    return keep.view(mask.shape)


@known(
    "your mask is made from the weights alone, as if this were the first round, and gives back "
    "what earlier rounds have pruned: begin with a copy of the old mask"
)
@_layer_by_layer
def _made_anew(weight: Tensor, mask: Tensor, rate: float) -> Tensor:
    keep = torch.ones_like(mask)
    return _without(keep, weight.abs(), round(rate * mask.numel()))


@known(
    "one too many goes: counted from 0, sorted[n] is the smallest weight that stays, and > drops "
    "it as well",
    "n + 1",
)
@_layer_by_layer
def _one_more(weight: Tensor, mask: Tensor, rate: float) -> Tensor:
    sizes = _sizes_left(weight, mask)
    number = min(_number(mask, rate), len(sizes) - 1)
    return mask & (weight.abs() > sizes[number]) if len(sizes) else mask.clone()


@known(
    "with > the n-th magnitude, all weights that tie with it go, and these may be more than n: "
    "take positions, from argsort or topk"
)
@_layer_by_layer
def threshold(weight: Tensor, mask: Tensor, rate: float) -> Tensor:
    number = _number(mask, rate)
    return mask & (weight.abs() > _sizes_left(weight, mask)[number - 1]) if number else mask.clone()


@known(
    "you ranked the weights of all layers together, so that a layer of small weights loses more "
    "than its share: each layer has its own rate, and its own ranking"
)
def _one_ranking(weights: dict[str, Tensor], masks: Masks, rates: dict[str, float]) -> Masks:
    count = sum(_number(mask, rates[name]) for name, mask in masks.items())
    sizes = torch.cat([weights[name].detach().abs().flatten() for name in masks])
    keep = _without(torch.cat([mask.flatten() for mask in masks.values()]), sizes, count)
    parts = keep.split([mask.numel() for mask in masks.values()])
    return {n: part.view(masks[n].shape) for n, part in zip(masks, parts, strict=True)}


@known(
    "every layer lost the share of the first one: look up rates[name] for each; the output layer's "
    "is smaller"
)
def _one_rate(weights: dict[str, Tensor], masks: Masks, rates: dict[str, float]) -> Masks:
    rate = next(iter(rates.values()))
    return {n: _without(m, weights[n].detach().abs(), _number(m, rate)) for n, m in masks.items()}


@known("the most negative weights went first: a weight is small when its absolute value is")
@_layer_by_layer
def _signed(weight: Tensor, mask: Tensor, rate: float) -> Tensor:
    return _without(mask, weight, _number(mask, rate))


@known("int() cuts off what stands after the point: 2.8 weights are 3, take round()")
@_layer_by_layer
def _rounded_down(weight: Tensor, mask: Tensor, rate: float) -> Tensor:
    return _without(mask, weight.abs(), int(rate * int(mask.sum())))


MISTAKES = (
    _share_of_all,
    _pruned_ranked_again,
    _made_anew,
    _one_more,
    threshold,
    _one_ranking,
    _one_rate,
    _signed,
    _rounded_down,
)

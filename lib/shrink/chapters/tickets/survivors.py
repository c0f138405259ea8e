"""An exercise of chapter 09: one round, in which the smallest of the weights that are left go.

The oracle sorts the magnitudes of each layer's survivors in numpy, so that any tie order passes.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial, wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrink import pruning
from shrink.classroom.exercises.attempt import Mistake, Wrong, kind_of, known, place_of, show
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise

Masks = dict[str, Tensor]
Case = tuple[dict[str, Tensor], Masks, dict[str, float]]  # weights, masks, rates
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
def _threshold(weight: Tensor, mask: Tensor, rate: float) -> Tensor:
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
    _threshold,
    _one_ranking,
    _one_rate,
    _signed,
    _rounded_down,
)


@dataclass(frozen=True)
class Layer:
    """One layer in numpy: which weights are left, their magnitudes, and how many of them go."""

    left: np.ndarray  # bool
    sizes: np.ndarray  # float64, of all weights
    count: int

    @property
    def smallest(self) -> np.ndarray:
        """The magnitudes that go, sorted."""
        return np.sort(self.sizes[self.left])[: self.count]

    @property
    def ties(self) -> bool:
        """Whether the largest that goes is as large as the smallest that stays."""
        ranked = np.sort(self.sizes[self.left])
        return 0 < self.count < len(ranked) and ranked[self.count - 1] == ranked[self.count]

    def gone(self, keep: np.ndarray) -> np.ndarray:
        """The magnitudes of the survivors that this mask drops, sorted."""
        return np.sort(self.sizes[self.left & ~keep])

    def is_right(self, keep: np.ndarray) -> bool:
        if keep.shape != self.left.shape or (keep & ~self.left).any():
            return False
        return np.array_equal(self.gone(keep), self.smallest)


@dataclass(frozen=True, eq=False)
class Right:
    """All masks that are right: more than one where magnitudes tie."""

    layers: dict[str, Layer]
    example: Masks

    def __eq__(self, other: object) -> bool:
        """Whether the other is one of them, as `_listed` has it."""
        return (
            isinstance(other, dict)
            and other.keys() == self.layers.keys()
            and all(layer.is_right(np.array(other[n][1])) for n, layer in self.layers.items())
        )

    def __repr__(self) -> str:
        tie = any(layer.ties for layer in self.layers.values())
        return show(self.example) + (", or another, as magnitudes tie" if tie else "")


def _numpy(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def right_masks(weights: dict[str, Tensor], masks: Masks, rates: dict[str, float]) -> Right:
    layers, example = {}, {}
    for name, mask in masks.items():
        left, sizes = _numpy(mask), np.abs(_numpy(weights[name]).astype(np.float64))
        layers[name] = Layer(left, sizes, round(rates[name] * int(left.sum())))
        order = np.argsort(np.where(left, sizes, np.inf), axis=None, kind="stable")
        keep = left.flatten()
        keep[order[: layers[name].count]] = False
        example[name] = torch.from_numpy(keep.reshape(left.shape))
    return Right(layers, example)


def _is_mask(given: Any) -> bool:
    dense = isinstance(given, Tensor) and given.layout == torch.strided and not given.is_meta
    return dense and given.dtype == torch.bool


def _listed(masks: Any) -> Any:
    """Masks as what compares, by name, whatever their order; anything else as it is."""
    if not isinstance(masks, Mapping) or not all(map(_is_mask, masks.values())):
        return masks
    return {name: ("mask", masks[name].tolist()) for name in sorted(masks, key=str)}


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    g = generator(rng)

    def layer(
        shape: tuple[int, ...], gone: int, most: int, odd: bool = False
    ) -> tuple[Tensor, Tensor]:
        """Even or odd numbers of both signs and distinct magnitudes, 0 where `gone` are pruned."""
        size = int(np.prod(shape))
        signs = 2 * torch.randint(2, (size,), generator=g) - 1
        sizes = 2 * torch.randperm(max(size, most), generator=g)[:size] + (1 if odd else 2)
        weight = (signs * sizes).float()
        mask = torch.ones(size, dtype=torch.bool)
        mask[torch.randperm(size, generator=g)[:gone]] = False
        return weight.where(mask, 0).view(shape), mask.view(shape)

    def joined(rates: dict[str, float], **layers: tuple[Tensor, Tensor]) -> Case:
        weights = {f"{name}.weight": weight for name, (weight, _) in layers.items()}
        masks = {f"{name}.weight": mask for name, (_, mask) in layers.items()}
        return weights, masks, {f"{name}.weight": rate for name, rate in rates.items()}

    def second_round() -> Case:
        """A hidden layer of smaller weights, and an output layer with half the rate."""
        hidden = layer((2, 5), rng.randint(2, 4), 10)
        output = layer((2, 4), rng.randint(1, 2), 16, odd=True)
        rate = rng.choice([0.3, 0.4, 0.6])
        return joined({"fc1": rate, "fc2": rate / 2}, fc1=hidden, fc2=output)

    def telling_of(mistake: Mistake) -> Case:
        while True:
            case = second_round()
            if right_masks(*case) != _listed(mistake(*case)):
                return case

    def alone(weight: Tensor, mask: Tensor, rate: float) -> Case:
        return joined({"fc1": rate}, fc1=(weight, mask))

    def ties() -> Case:
        """Survivors of two magnitudes, the smaller of which not all go."""
        signs = 2 * torch.randint(2, (10,), generator=g) - 1
        sizes = torch.tensor([0, 0, 2, 2, 2, 2, 2, 5, 5, 5])[torch.randperm(10, generator=g)]
        return alone((signs * sizes + 0.0).view(2, 5), (sizes > 0).view(2, 5), 0.25)

    def zeros_left() -> Case:
        """Three weights that are left are 0, between others that are pruned and 0 too."""
        weight, mask = layer((2, 5), 0, 10)
        zeros = torch.randperm(10, generator=g)[:6].sort().values
        weight.view(-1)[zeros] = 0
        mask.view(-1)[zeros[[0, 2, 5]]] = False
        return alone(weight, mask, 0.3)

    def never_set_to_zero() -> Case:
        """Weights that are pruned hold large numbers, and small ones."""
        weight, mask = layer((2, 5), 0, 10)
        mask.view(-1)[weight.abs().flatten().argsort()[[0, 5, 9]]] = False
        return alone(weight, mask, 0.3)

    def in_other_orders() -> Case:
        weights, masks, rates = second_round()
        return weights, dict(reversed(masks.items())), dict(sorted(rates.items(), reverse=True))

    def changed(change: Callable[[Tensor], Tensor], *shape: int) -> Case:
        weight, mask = layer(shape, 3, 12)
        weight = change(weight)
        return alone(weight, change(mask.float()).detach().bool(), 0.3)

    for mistake in MISTAKES:
        if mistake is not _threshold:
            yield partial(telling_of, mistake)
    yield ties
    yield never_set_to_zero
    yield zeros_left
    yield in_other_orders
    yield lambda: alone(*layer((3, 4), 0, 12), 0.2)  # the first round: 2.4 weights
    yield lambda: alone(*layer((2, 7), 4, 14), 0.25)  # 2.5 weights: Python rounds half to even
    yield lambda: alone(*layer((2, 3), 2, 6), 0)
    yield lambda: alone(*layer((2, 3), 2, 6), 1)
    yield lambda: alone(*layer((2, 3), 6, 6), 0.5)  # nothing is left
    yield lambda: alone(*layer((2, 3), 5, 6), 0.2)  # 0.2 weights: none goes
    yield lambda: alone(*layer((3, 2, 5, 5), 50, 150), 0.2)  # a convolution
    yield lambda: changed(Tensor.double, 3, 4)
    yield lambda: changed(torch.nn.Parameter, 3, 4)
    yield lambda: changed(Tensor.t, 3, 4)  # not contiguous
    if torch.cuda.is_available():
        yield lambda: changed(Tensor.cuda, 3, 4)


def _wrong(
    given: Any, right: Right, weights: dict[str, Tensor], masks: Masks, rates: dict[str, float]
) -> Wrong | None:
    if not isinstance(given, Mapping) or given.keys() != masks.keys():
        return Wrong(
            "return one mask per layer: a dict with the names of the masks",
            expected=f"a dict with the names {', '.join(masks)}",
            given=given,
        )
    for name, mask in masks.items():
        if wrong := no_mask(name, given[name], mask):
            return wrong
    if right == _listed(given):
        return None
    if right == _listed({name: ~mask for name, mask in given.items()}):
        told = "your masks are True where a weight is pruned; True means keep"
        return Wrong(told, expected=right, given=given)
    kept = {name: _numpy(mask) for name, mask in given.items()}
    name = next(n for n, layer in right.layers.items() if not layer.is_right(kept[n]))
    told = _explained(name, right.layers[name], kept[name], rates[name])
    return Wrong(told, expected=right, given=given)


def _explained(name: str, layer: Layer, keep: np.ndarray, rate: float) -> str:
    """What is wrong with the mask of a layer."""
    if (back := keep & ~layer.left).any():
        place = [int(i) for i in np.argwhere(back)[0]]
        return (
            f"in {name} the weight at {place} was pruned in an earlier round, and your mask brings "
            "it back: what is pruned stays pruned, whatever its value is"
        )
    left, gone = int(layer.left.sum()), layer.gone(keep)
    if len(gone) != layer.count:
        tied = "; where magnitudes tie, only some of the equal ones go" if layer.ties else ""
        return (
            f"in {name} {left} weights are left, and round({rate:g} · {left}) = {layer.count} of "
            f"them go: with your mask {len(gone)} do{tied}"
        )
    stayed = layer.sizes[keep]
    return (
        f"in {name} a weight of magnitude {gone[-1]:.4g} went, and one of {stayed.min():.4g} stayed"
    )


def no_mask(name: str, given: Any, mask: Tensor) -> Wrong | None:
    """What is wrong with what is given for a mask, its entries aside."""
    if not isinstance(given, Tensor):
        return Wrong(f"the mask of {name} is a tensor", expected="a bool tensor", given=given)
    if not _is_mask(given):
        return Wrong(
            f"the mask of {name} is a bool tensor",
            expected="torch.bool, dense",
            given=kind_of(given),
        )
    if given.shape != mask.shape or given.device != mask.device:
        return Wrong(
            f"the mask of {name} has the shape and device of its weight",
            expected=place_of(mask.shape, mask.device),
            given=place_of(given.shape, given.device),
        )
    return None


prune_survivors = Exercise(
    "prune_survivors",
    by_cases(_cases, right_masks, _wrong, mistakes=MISTAKES, alike=_listed),
    reference=pruning.prune_survivors,
    core=True,
    minutes=12,
    mistakes=MISTAKES,
)

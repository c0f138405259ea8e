"""An exercise of chapter 09: one round, in which the smallest of the weights that are left go.

The oracle sorts the magnitudes of each layer's survivors in numpy, so that any tie order passes.
"""

import random
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrink import pruning
from shrink.chapters.tickets.survivor_masks import (
    Layer,
    Masks,
    Right,
    as_array,
    listed,
    no_mask,
    right_masks,
)
from shrink.chapters.tickets.survivor_mistakes import MISTAKES, threshold
from shrink.classroom.exercises.attempt import Mistake, Wrong
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise

Case = tuple[dict[str, Tensor], Masks, dict[str, float]]  # weights, masks, rates


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
            if right_masks(*case) != listed(mistake(*case)):
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
        if mistake is not threshold:
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
    if right == listed(given):
        return None
    if right == listed({name: ~mask for name, mask in given.items()}):
        told = "your masks are True where a weight is pruned; True means keep"
        return Wrong(told, expected=right, given=given)
    kept = {name: as_array(mask) for name, mask in given.items()}
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


prune_survivors = Exercise(
    "prune_survivors",
    by_cases(_cases, right_masks, _wrong, mistakes=MISTAKES, alike=listed),
    reference=pruning.prune_survivors,
    core=True,
    minutes=12,
    mistakes=MISTAKES,
)

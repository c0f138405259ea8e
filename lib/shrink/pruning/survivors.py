"""What is left round by round: in each layer a share of the survivors goes, by magnitude."""

from collections.abc import Mapping

from torch import Tensor

from shrink.arguments import check_real, whole_number
from shrink.pruning.arguments import check_masks, check_weights
from shrink.pruning.masks import _drop_smallest
from shrink.tensors import check_mapping, first_names


def prune_survivors(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], rates: float | Mapping[str, float]
) -> dict[str, Tensor]:
    """One round: in each layer the smallest of the weights that are left go.

    Of a layer's `left` weights exactly round(rate · left) are pruned; what is pruned stays pruned.

    >>> import torch
    >>> weights = {"w": torch.tensor([9.0, 3.0, 1.0, 2.0, 5.0])}
    >>> masks = {"w": torch.tensor([False, True, True, True, True])}
    >>> prune_survivors(weights, masks, rates=0.5)
    {'w': tensor([False,  True, False, False,  True])}

    Two of four go, not three of five; and where magnitudes tie, those that come first, row by row.

    Args:
        weights: name → tensor of any shape, floating point, all on one device: the trained ones.
            They are not changed.
        masks: one for each of `weights`, a bool tensor of its shape and device; not changed. What
            is pruned is not ranked again, whatever its weight is by now.
        rates: the fraction of its weights that are left that each layer loses, 0 to 1: one number
            for all, or name → number for each of `weights`, as for an output layer that loses half
            as many. `round` is Python's (half to even).

    Returns:
        name → new bool tensor of that weight's shape, True = keep; for a tensor under several
        names, which is ranked and counted once, one mask under each. A layer that has nothing left
        stays so.

    Raises:
        TypeError: `weights` is no mapping of dense floating-point tensors, `masks` none of bool
            tensors, or a rate is no number.
        ValueError: there is no weight, one is empty or holds NaN, they lie on different devices, or
            one is a view of another; a weight has no mask, or a mask no weight of its name, or
            another shape or device; a weight has no rate, a rate no weight, or it lies outside 0 to
            1; tied weights have two masks or two rates that differ.

    Source: Frankle and Carbin 2019, "The Lottery Ticket Hypothesis", section 2 (a layer-wise
        heuristic: the lowest magnitudes within each layer go, and the connections to outputs at
        half the rate).
    """
    check_weights(weights)
    check_masks(weights, masks)
    if missing := [str(name) for name in weights if name not in masks]:
        raise ValueError(f"there is no mask for {', '.join(missing)}")
    first = first_names(weights)
    rates = _rate_of_each(first, rates)
    pruned = {
        name: _prune_layer(weights[name].detach(), masks[name], rates[name])
        for name in weights
        if name == first[name]
    }
    return {name: pruned[first[name]] for name in masks}


def count_survivors(size: int, rate: float, rounds: int) -> list[int]:
    """How many of a layer's weights are left after each round, from 0 (all) to `rounds`.

    >>> count_survivors(10, rate=0.2, rounds=3)
    [10, 8, 6, 5]

    About size · (1 - rate)^r are left after r rounds; these are the exact numbers, as
    `prune_survivors` has them. Of 2 weights none goes at a rate of 0.2: round(0.4) is 0.

    Args:
        size: how many weights the layer has.
        rate: the fraction of those left that goes in a round, 0 to 1.
        rounds: how many there are.

    Raises:
        TypeError: `size` or `rounds` is not whole, or `rate` is no number.
        ValueError: `size` or `rounds` is negative, or `rate` lies outside 0 to 1.
    """
    left = [whole_number("size", size, 0)]
    rate = _check_rate("rate", rate)
    for _ in range(whole_number("rounds", rounds, 0)):
        left.append(left[-1] - _count(rate, left[-1]))
    return left


def kept_shares(
    weights: Mapping[str, Tensor], rates: float | Mapping[str, float], rounds: int
) -> list[float]:
    """Of all layers' weights together, the fraction that is left after each round, from 0 on.

    >>> import torch
    >>> kept_shares({"fc1": torch.zeros(8, 10), "fc2": torch.zeros(2, 10)}, 0.2, rounds=2)
    [1.0, 0.8, 0.64]

    Args:
        weights: name → tensor; only their sizes count. One under several names counts once.
        rates: as for `prune_survivors`.
        rounds: how many there are.

    Raises:
        TypeError: `weights` is no mapping of tensors, a rate is no number, or `rounds` is not
            whole.
        ValueError: there is no weight, a weight has no rate or a rate no weight, a rate lies
            outside 0 to 1, or `rounds` is negative.
    """
    check_mapping("weights", weights)
    first = first_names(weights)
    rates = _rate_of_each(first, rates)
    counts = [
        count_survivors(w.numel(), rates[name], rounds)
        for name, w in weights.items()
        if name == first[name]
    ]
    left = [sum(layers) for layers in zip(*counts, strict=True)]
    if not left or not left[0]:
        raise ValueError("weights is empty: there is nothing to prune")
    return [number / left[0] for number in left]


def _prune_layer(weight: Tensor, mask: Tensor, rate: float) -> Tensor:
    left = weight[mask].abs()
    pruned = mask.clone()
    pruned[mask] = _drop_smallest(left, _count(rate, left.numel()))
    return pruned


def _count(rate: float, left: int) -> int:
    return round(rate * left)


def _rate_of_each(first: Mapping[str, str], rates: float | Mapping[str, float]) -> dict[str, float]:
    """name → rate, for each of the names; tensors under several names have one."""
    if not isinstance(rates, Mapping):
        return dict.fromkeys(first, _check_rate("rates", rates))
    if missing := [str(name) for name in first if name not in rates]:
        raise ValueError(f"there is no rate for {', '.join(missing)}")
    if strangers := [str(name) for name in rates if name not in first]:
        raise ValueError(f"a rate is given for {', '.join(strangers)}, and no weight is named so")
    found = {name: _check_rate(f"the rate of {name}", rate) for name, rate in rates.items()}
    for name, other in first.items():
        if found[name] != found[other]:
            raise ValueError(
                f"{other} and {name} are one tensor, and their rates differ: "
                f"{found[other]} and {found[name]}"
            )
    return found


def _check_rate(what: str, rate: float) -> float:
    check_real(what, rate)
    if not 0 <= rate <= 1:
        raise ValueError(f"{what} must lie between 0 and 1, not {rate!r}")
    return float(rate)

"""Lottery tickets: prune round by round, and rewind what is left to where it came from."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from shrink.arguments import check_real, whole_number
from shrink.pruning.arguments import check_masks, check_weights
from shrink.pruning.masks import _drop_smallest
from shrink.pruning.rewinding import rewind, snapshot, tensors_of, zero_pruned
from shrink.tensors import check_mapping, first_names

Train = Callable[[nn.Module, Mapping[str, Tensor], Callable[[int], None]], object]


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


@dataclass(frozen=True)
class Round:
    """A network that was trained under masks: the number of its round, from 0, and the masks."""

    number: int
    masks: dict[str, Tensor]


def find_tickets(
    model: nn.Module,
    train: Train,
    masks: Mapping[str, Tensor],
    rates: float | Mapping[str, float],
    rounds: int,
    *,
    rewind_to: int | None = 0,
) -> Iterator[Round]:
    """Iterative magnitude pruning: train, prune what is left, rewind, and train again.

    A generator: each `next` trains once, and leaves the trained network in `model`.

    Args:
        model: changed in place.
        train: called with the model, the masks to hold and a function that it calls after each
            step with the number of steps taken; its optimizer starts afresh each time.
        masks: of the first training, usually all True.
        rates: of each layer's weights that are left, the fraction that goes in a round.
        rewind_to: the step of the first training whose weights each round begins with: 0 for the
            initial ones, None for the end, which is pruning with fine-tuning.
    """
    if not callable(train):
        raise TypeError(f"train must be a function, not a {type(train).__name__}")
    rounds = whole_number("rounds", rounds, 0)
    if rewind_to is not None:
        rewind_to = whole_number("rewind_to", rewind_to, 0)
    weights = _of_masks(model, masks)
    rates = _rate_of_each(first_names(weights), rates)
    masks = prune_survivors(weights, masks, 0)  # copies
    return _rounds(model, train, masks, rates, rounds, rewind_to)


def _rounds(
    model: nn.Module,
    train: Train,
    masks: dict[str, Tensor],
    rates: dict[str, float],
    rounds: int,
    rewind_to: int | None,
) -> Iterator[Round]:
    zero_pruned(tensors_of(model), masks)
    start = None
    for number in range(rounds + 1):
        watch = _Watch(model, rewind_to if number == 0 else None)
        train(model, dict(masks), watch)
        _check_held(_of_masks(model, masks), masks)
        start = start or watch.taken()
        yield Round(number, masks)
        if number < rounds:
            masks = prune_survivors(_of_masks(model, masks), masks, rates)
            if start is None:
                zero_pruned(tensors_of(model), masks)
            else:
                rewind(model, start, masks)


class _Watch:
    """What `train` calls after each step; it keeps the state of the step to rewind to."""

    def __init__(self, model: nn.Module, rewind_to: int | None) -> None:
        self.model, self.rewind_to, self.last = model, rewind_to, 0
        self.state = snapshot(model) if rewind_to == 0 else None

    def __call__(self, step: int) -> None:
        self.last = whole_number("the step that train reports", step, self.last + 1)
        if self.last == self.rewind_to:
            self.state = snapshot(self.model)

    def taken(self) -> dict[str, Tensor] | None:
        """The state, None for the end; raises where the training never came by its step."""
        if self.state is None and self.rewind_to is not None:
            raise ValueError(
                f"cannot rewind to step {self.rewind_to}: train reported no such step of the first "
                f"training, and {self.last} as its last"
            )
        return self.state


def _of_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The model's tensors that have masks."""
    named = tensors_of(model)
    check_masks(named, masks)
    return {name: named[name].detach() for name in masks}


def _check_held(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    for name, weight in weights.items():
        if loose := int(weight[~masks[name]].count_nonzero()):
            raise ValueError(
                f"train must hold the masks, and left {loose} pruned weights of {name} other than 0"
            )


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

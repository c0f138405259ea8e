"""Lottery tickets: prune round by round, and rewind what is left to where it came from."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shrink.arguments import whole_number
from shrink.pruning.arguments import check_masks, check_weights, number_pruned
from shrink.pruning.masks import apply_masks, grow_masks

Train = Callable[[nn.Module, Mapping[str, Tensor], Callable[[int], None]], object]


def prune_survivors(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], rates: float | Mapping[str, float]
) -> dict[str, Tensor]:
    """One round: in each layer the smallest of the weights that are left go.

    Of a layer's `left` weights exactly round(rate · left) are pruned; what is pruned stays pruned.

    >>> weights = {"w": torch.tensor([9.0, 3.0, 1.0, 2.0, 5.0])}
    >>> masks = {"w": torch.tensor([False, True, True, True, True])}
    >>> prune_survivors(weights, masks, rates=0.5)
    {'w': tensor([False,  True, False, False,  True])}
    """
    check_weights(weights)
    check_masks(weights, masks)
    return {
        name: _one_layer(
            weights[name], mask, rates if not isinstance(rates, Mapping) else rates[name]
        )
        for name, mask in masks.items()
    }


def _one_layer(weight: Tensor, mask: Tensor, rate: float) -> Tensor:
    gone = int((~mask).sum())
    more = number_pruned(rate, mask.numel() - gone)
    return grow_masks({"w": weight}, {"w": mask}, (gone + more) / mask.numel())["w"]


def count_survivors(size: int, rate: float, rounds: int) -> list[int]:
    """How many of a layer's weights are left after each round, from 0 (all) to `rounds`.

    >>> count_survivors(10, rate=0.2, rounds=3)
    [10, 8, 6, 5]
    """
    left = [whole_number("size", size, 0)]
    for _ in range(whole_number("rounds", rounds, 0)):
        left.append(left[-1] - number_pruned(rate, left[-1]))
    return left


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's whole state, parameters and buffers, that training does not change."""
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


@torch.no_grad()
def rewind(model: nn.Module, state: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Set the model in place to a snapshot, bit for bit, with zeros where the masks are False."""
    model.load_state_dict(apply_masks(state, masks))


def signed_constants(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Of each weight its sign alone: plus or minus the standard deviation of its layer.

    >>> signed_constants({"w": torch.tensor([3.0, -1.0, -3.0, 1.0])})["w"].sign()
    tensor([ 1., -1., -1.,  1.])

    Source: Zhou et al. 2019, "Deconstructing Lottery Tickets", section 4.
    """
    return {name: w.detach().sign() * w.detach().std(correction=0) for name, w in weights.items()}


@dataclass(frozen=True)
class Overlap:
    """How many weights of a layer two masks both keep, and how many they would by chance.

    By chance it is hypergeometric, with this mean and this standard deviation.
    """

    shared: int
    expected: float
    deviation: float


def mask_overlap(first: Mapping[str, Tensor], second: Mapping[str, Tensor]) -> dict[str, Overlap]:
    """Of each layer: what two masks have in common, beside what random masks would."""
    return {name: _overlap(first[name], second[name]) for name in first}


def _overlap(a: Tensor, b: Tensor) -> Overlap:
    n, kept_a, kept_b = a.numel(), int(a.sum()), int(b.sum())
    expected = kept_a * kept_b / n
    variance = expected * (1 - kept_a / n) * (n - kept_b) / max(n - 1, 1)
    return Overlap(int((a & b).sum()), expected, variance**0.5)


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
    states = {0: snapshot(model)}

    def watch(step: int) -> None:
        if step == rewind_to:
            states[step] = snapshot(model)

    masks = dict(masks)
    for number in range(rounds + 1):
        train(model, masks, watch if number == 0 else lambda step: None)
        yield Round(number, masks)
        named = dict(model.named_parameters())
        masks = prune_survivors({name: named[name].detach() for name in masks}, masks, rates)
        start = snapshot(model) if rewind_to is None else states[rewind_to]
        rewind(model, start, masks)

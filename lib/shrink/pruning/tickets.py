"""Lottery tickets: prune round by round, and rewind what is left to where it came from."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from shrink.arguments import whole_number
from shrink.pruning.arguments import check_masks
from shrink.pruning.rewinding import rewind, snapshot, tensors_of, zero_pruned
from shrink.pruning.survivors import _rate_of_each, prune_survivors
from shrink.tensors import first_names

Train = Callable[[nn.Module, Mapping[str, Tensor], Callable[[int], None]], object]


@dataclass(frozen=True)
class Round:
    """A network that was trained under masks.

    Attributes:
        number: of the round, from 0, which is the training before anything is pruned.
        masks: name → bool tensor, True = keep: those that held in its training. What comes later is
            pruned from them, so leave them as they are.
    """

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
    """Iterative magnitude pruning, in place: train, prune what is left, rewind, and train again.

    Here a training multiplies four weights by 4, 3, 2 and 1. Each round begins with ones again:

    >>> import torch
    >>> model = nn.Linear(4, 1, bias=False)
    >>> _ = nn.init.ones_(model.weight)
    >>> def train(model, masks, watch):
    ...     with torch.no_grad():
    ...         _ = model.weight.mul_(torch.tensor([4.0, 3.0, 2.0, 1.0]))
    >>> masks = {"weight": torch.ones(1, 4, dtype=torch.bool)}
    >>> for found in find_tickets(model, train, masks, rates=0.5, rounds=2):
    ...     print(found.number, model.weight.tolist())
    0 [[4.0, 3.0, 2.0, 1.0]]
    1 [[4.0, 3.0, 0.0, 0.0]]
    2 [[4.0, 0.0, 0.0, 0.0]]

    What is found is a mask; the ticket is that mask and the state that was rewound to. Take a
    `snapshot` before, and `rewind(model, state, found.masks)` makes it.

    Args:
        model: changed in place. Its parameters stay the same objects.
        train: called as train(model, masks, watch) for each training. It makes a new optimizer,
            holds the masks, as by `hold_masks`, and calls watch(step) after each step with the
            number of steps taken, from 1 on. What it returns is not used. `watch` is needed only
            where `rewind_to` is a step after 0.
        masks: those of the first training, usually all True: name → bool tensor of the shape and
            device of the parameter of that name. What has none is never pruned, only rewound. They
            are not changed.
        rates: of each layer's weights that are left, the fraction that goes in a round, as for
            `prune_survivors`: one number, or name → number for each of `masks`.
        rounds: how often is pruned, at least 0; there is one training more.
        rewind_to: the step of the first training whose state each round begins with: 0 for the
            initial one, as the model is when the first `next` is called; None for the end of the
            training just done, which is pruning with fine-tuning, nothing rewound.

    Yields:
        `Round`, `rounds` + 1 times, after each training, the weights of each layer that are left
        in the numbers that `count_survivors` says. The model is then as `train` left it, with zeros
        where the masks are False. It is pruned and rewound only when the next round is asked for:
        so at the end, or where the generator is closed early, it is as trained in the last round.
        It may be asked or saved meanwhile; if it is changed, the next round ranks what it finds.

    Raises:
        TypeError, ValueError: when called: `train` cannot be called, the masks do not fit the
            model, or as `prune_survivors`; `rounds` or `rewind_to` is not whole or is negative.
            Nothing is changed then.
        ValueError: after a training: pruned weights are other than 0, weights hold NaN, or the
            first training did not report the step of `rewind_to`; from `watch` a step that is not
            whole, or not after the one before. The model is as `train` left it then. Errors of
            `train` are passed on.

    Source: Frankle and Carbin 2019, sections 1 and 2 (iterative pruning with rewinding to 0);
        Frankle et al. 2020, "Linear Mode Connectivity and the Lottery Ticket Hypothesis", section 4
        (to step k); Han et al. 2015, "Learning both Weights and Connections for Efficient Neural
        Networks", section 3.4 (None).
    Differs: exactly round(rate · left) weights go. The authors' later code, open_lth, compares with
        a threshold, and the number may be another.
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

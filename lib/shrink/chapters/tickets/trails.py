"""What the check of exercise 4 sees of a training: the weights at every step, and what is wrong.

The loss that an answer trains with remembers every weight it is asked about: what is wrong can be
told by the step at which it went wrong.
"""

from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import Parameter

from shrink.classroom.exercises.attempt import Wrong, kind_of

MOMENTUM = 0.9
TOLERANCE = 1e-4


@dataclass
class Loss:
    """A quadratic with its minimum at `minimum`; remembers the weights that it is asked about."""

    start: Tensor  # the weight before training
    hessian: Tensor
    minimum: Tensor
    dense: Tensor | None = None  # the weight after the first training
    asked: list[Tensor] = field(default_factory=list, compare=False)

    def __call__(self, weight: Tensor) -> Tensor:
        if not isinstance(weight, Tensor) or weight.shape != self.start.shape:
            given = tuple(weight.shape) if isinstance(weight, Tensor) else type(weight).__name__
            raise ValueError(
                f"loss takes the weight, a tensor of shape {tuple(self.start.shape)}, not {given}"
            )
        self.asked.append(weight.detach().clone())
        away = (weight - self.minimum).flatten()
        return away @ self.hessian @ away / 2

    def __repr__(self) -> str:
        return "loss"


def smallest(weight: Tensor, sparsity: float) -> Tensor:
    """True in the places of the round(sparsity · n) smallest magnitudes."""
    gone = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
    order = weight.detach().abs().flatten().argsort(stable=True)
    return gone.index_fill(0, order[: round(sparsity * len(gone))], True).view(weight.shape)


@dataclass(frozen=True, eq=False)
class Trail:
    """The weights that a training asked the loss about, and those that it ended with.

    Of equal ones in a row there is one. `redrawn` says that pruned weights came back with values of
    their own, which are alike whatever they are.
    """

    states: list[Tensor]
    redrawn: bool = False

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Trail) or self.redrawn or other.redrawn:
            return isinstance(other, Trail) and self.redrawn and other.redrawn
        pairs = zip(self.states, other.states, strict=False)
        return len(self.states) == len(other.states) and all(_near(a, b) for a, b in pairs)


def _near(a: Tensor, b: Tensor) -> bool:
    return alike_in_kind(a, b) and torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE)


def alike_in_kind(a: Tensor, b: Tensor) -> bool:
    return kind_of(a) == kind_of(b) and (a.shape, a.device) == (b.shape, b.device)


def seen(weight: Parameter, loss: Loss, sparsity: float, rate: float, steps: int) -> Trail:
    """What the training that has just been done looks like."""
    states = _without_repetitions([*loss.asked, weight.detach()])
    if len(states) == 3 * steps + 2 and _near(states[steps], loss.dense):
        del states[steps]  # the loss was asked about it again, before anything was pruned
    return Trail(states, _are_redrawn(states, loss.dense, sparsity, steps))


def _without_repetitions(states: list[Tensor]) -> list[Tensor]:
    new = (b for a, b in pairwise(states) if not (alike_in_kind(a, b) and a.equal(b)))
    return [states[0], *new]


def _are_redrawn(states: list[Tensor], old: Tensor, sparsity: float, steps: int) -> bool:
    """Whether weights that were 0 in the second training begin the last with values of their own.

    That is, with others than the `old` ones, which they had when they were pruned.
    """
    gone = smallest(old, sparsity)
    sparse, again = states[steps : 2 * steps], states[2 * steps : 2 * steps + 1]
    if not gone.any() or not again or any(not alike_in_kind(s, old) for s in states):
        return False
    zeros = all((state[gone] == 0).all() for state in sparse)
    return zeros and not (again[0][gone] == 0).any() and not _near(again[0][gone], old[gone])


def fit(given: list[Tensor], right: list[Tensor]) -> bool:
    """Whether a training ends right, with zeros on the way; one may ask the loss more than once."""
    if len(given) != len(right):
        return _near(given[-1], right[-1])
    return all(_fits(*pair) for pair in zip(given, right, strict=True))


def _fits(given: Tensor, right: Tensor) -> bool:
    return _near(given, right) and bool((given[right == 0] == 0).all())


def explained(given: list[Tensor], right: list[Tensor], steps: int) -> Wrong:
    """What is wrong with a training, by the first of its steps that is."""
    if len(given) == 1:
        unchanged = given[0].equal(right[0])
        told = "weight has not changed: train it in place" if unchanged else "loss is not asked"
        return Wrong(told, expected=right[-1], given=given[0])
    if given[-1].equal(right[0]):
        told = "weight ends as it began: the parameter itself must be trained, in place"
        return Wrong(told, expected=right[-1], given=given[-1])
    if len(given) != len(right):
        asked, must = len(given) - 1, len(right) - 1
        return Wrong(
            f"three trainings of {steps} steps change the weights {must} times; "
            f"yours changed them {asked} times",
            expected=right[-1],
            given=given[-1],
        )
    pairs = zip(given, right, strict=True)
    place, wrong, expected = next((i, a, b) for i, (a, b) in enumerate(pairs) if not _fits(a, b))
    told = _told(place, wrong, expected, steps, gone=right[steps] == 0)
    return Wrong(told, expected=expected, given=wrong)


def _told(place: int, given: Tensor, right: Tensor, steps: int, gone: Tensor) -> str:
    """The fault in words: `place` steps were right, the next is not, and `gone` are pruned."""
    alive, count, zeros = int((given[gone] != 0).sum()), int(gone.sum()), given == 0
    if place == 0:
        return "the first training begins with the weights as they are"
    if place < steps:
        return _off_course("first", place)
    if place == steps and zeros.sum() != count:
        many = f"{count} of {gone.numel()} weights at 0, round(sparsity * n)"
        return f"the second training begins with {many}; yours begins with {int(zeros.sum())}"
    if place == steps and not zeros.equal(gone):
        return (
            "the second training begins with the smallest weights at 0, by their magnitudes after "
            "the first; your zeros are in other places"
        )
    if place == steps:
        return "the second training begins with the other weights where the first left them"
    if alive and place < 2 * steps:
        step = f"step {place - steps} of the second training"
        return f"after {step} {alive} of {count} pruned weights are not 0"
    if alive and place == 2 * steps:
        return f"the last training begins with the pruned weights at 0; {alive} of {count} are not"
    if place <= 2 * steps:
        return _off_course("second", place - steps)
    if count and not alive:
        step = f"step {place - 2 * steps} of the last training"
        return f"after {step} the pruned weights are 0, and it is dense: they move as the others do"
    return _off_course("last", place - 2 * steps)


def _off_course(training: str, step: int) -> str:
    rate = "a tenth of the rate" if training == "last" else "the full rate"
    return (
        f"after step {step} of the {training} training the weights are not where SGD takes them, "
        f"at {rate} and with a momentum of {MOMENTUM} that begins at 0"
    )

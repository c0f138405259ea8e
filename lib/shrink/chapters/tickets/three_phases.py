"""An exercise of chapter 09: dense-sparse-dense training of one layer, momentum and all.

The loss that an answer trains with remembers every weight it is asked about: what is wrong can be
told by the step at which it went wrong.
"""

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong, kind_of
from shrink.classroom.exercises.cases import generator, telling
from shrink.classroom.exercises.exercise import Exercise

MOMENTUM, LAST_RATE = 0.9, 0.1  # the last training's rate, as a part of the others'
TOLERANCE = 1e-4
APART = 0.02  # magnitudes on both sides of the last place: no rounding swaps them

Train = Callable[..., None]


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


Case = tuple[Parameter, Loss, float, float, int]


def _smallest(weight: Tensor, sparsity: float) -> Tensor:
    """True in the places of the round(sparsity · n) smallest magnitudes."""
    gone = torch.zeros(weight.numel(), dtype=torch.bool, device=weight.device)
    order = weight.detach().abs().flatten().argsort(stable=True)
    return gone.index_fill(0, order[: round(sparsity * len(gone))], True).view(weight.shape)


def _after_training(start: Tensor, trained: Tensor, sparsity: float) -> Tensor:
    return _smallest(trained, sparsity)


def _left_at_zero(weight: Tensor, gone: Tensor, before: Tensor) -> None:
    """The pruned weights begin the last training where the second has left them."""


def _in_three_phases(
    chosen: Callable[[Tensor, Tensor, float], Tensor] = _after_training,
    held: tuple[bool, ...] = (False, True, False),
    fresh: tuple[bool, ...] = (True, True, True),
    last_rate: float = LAST_RATE,
    revived: Callable[[Tensor, Tensor, Tensor], None] = _left_at_zero,
) -> Train:
    """How to train dense, sparse and dense again, right except for what is passed."""

    def train(weight: Parameter, loss: Loss, sparsity: float, rate: float, steps: int) -> None:
        start = weight.detach().clone()
        for phase, rate_now in enumerate((rate, rate, rate * last_rate)):
            if phase == 1:
                before = weight.detach().clone()
                gone = chosen(start, before, sparsity)
                weight.data.masked_fill_(gone, 0)
            elif phase == 2:
                revived(weight.data, gone, before)
            if fresh[phase]:
                optimizer = torch.optim.SGD([weight], lr=rate_now, momentum=MOMENTUM)
            optimizer.param_groups[0]["lr"] = rate_now
            for _ in range(steps):
                optimizer.zero_grad()
                loss(weight).backward()
                optimizer.step()
                if held[phase]:
                    weight.data.masked_fill_(gone, 0)

    return train


_right = _in_three_phases()


def trained(
    weight: Parameter, loss: Callable[[Tensor], Tensor], sparsity: float, rate: float, steps: int
) -> None:
    """Train `weight` in place: dense, with its smallest at 0, and dense again at a tenth of `rate`.

    Each of the three trainings takes so many steps of SGD with momentum 0.9, which starts afresh.

    >>> weight = Parameter(torch.zeros(2))
    >>> trained(weight, lambda w: ((w - torch.tensor([4.0, 2.0])) ** 2).sum() / 2, 0.5, 0.5, 1)
    >>> weight.data
    tensor([3.0500, 0.1000])
    """
    _right(weight, loss, sparsity, rate, steps)


def _restored(weight: Tensor, gone: Tensor, before: Tensor) -> None:
    weight[gone] = before[gone]


def _drawn(weight: Tensor, gone: Tensor, before: Tensor) -> None:
    weight[gone] = torch.randn_like(weight[gone])


MISTAKES = (
    Mistake(
        "zeroed once",
        _in_three_phases(held=(False, False, False)),
        "the pruned weights were set to 0 once, and the next step moved them again: set them to 0 "
        "after every step of the second training",
    ),
    Mistake(
        "mask still held",
        _in_three_phases(held=(False, True, True)),
        "the mask is still held in the last training: it is dense again, and all weights are "
        "trained",
    ),
    Mistake(
        "old values restored",
        _in_three_phases(revived=_restored),
        "the pruned weights came back with the values that they had before they were pruned: "
        "they begin the last training where the second left them, at 0",
    ),
    Mistake(
        "re-initialised",
        _in_three_phases(revived=_drawn),
        "the pruned weights came back with new values, drawn afresh or from the beginning: leave "
        "them at 0, and let the last training find values for them",
    ),
    Mistake(
        "one optimizer",
        _in_three_phases(fresh=(True, False, False)),
        "one optimizer went through all three trainings, and its momentum with it: each training "
        "begins with a new one",
    ),
    Mistake(
        "momentum revived",
        _in_three_phases(fresh=(True, True, False)),
        "the second training's optimizer went on into the last. A weight that is held at 0 has a "
        "gradient all the same, and the momentum that it gathered throws it off when the mask "
        "goes: make a new optimizer",
    ),
    Mistake(
        "rate not lowered",
        _in_three_phases(last_rate=1),
        "the last training went at the full rate, which takes the network away from what the "
        "second one found: it goes at a tenth",
    ),
    Mistake(
        "ranked before training",
        _in_three_phases(chosen=lambda start, trained, sparsity: _smallest(start, sparsity)),
        "the weights were ranked by the values that they had before the first training: rank the "
        "trained ones, since the first training is there to find out which of them matter",
    ),
    Mistake(
        "share kept",
        _in_three_phases(chosen=lambda start, trained, kept: _smallest(trained, 1 - kept)),
        "sparsity is the share of the weights that is pruned, not the share that is kept",
    ),
)


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
    return _alike_in_kind(a, b) and torch.allclose(a, b, rtol=TOLERANCE, atol=TOLERANCE)


def _alike_in_kind(a: Tensor, b: Tensor) -> bool:
    return kind_of(a) == kind_of(b) and (a.shape, a.device) == (b.shape, b.device)


def _trail_of(train: Train, *case: Any) -> Trail:
    """What the training of a case looks like, which is left as it was."""
    twin = copy.deepcopy(case)
    train(*twin)
    return _seen(*twin)


def _seen(weight: Parameter, loss: Loss, sparsity: float, rate: float, steps: int) -> Trail:
    """What the training that has just been done looks like."""
    states = _without_repetitions([*loss.asked, weight.detach()])
    if len(states) == 3 * steps + 2 and _near(states[steps], loss.dense):
        del states[steps]  # the loss was asked about it again, before anything was pruned
    return Trail(states, _are_redrawn(states, loss.dense, sparsity, steps))


def _without_repetitions(states: list[Tensor]) -> list[Tensor]:
    new = (b for a, b in pairwise(states) if not (_alike_in_kind(a, b) and a.equal(b)))
    return [states[0], *new]


def _after_the_first(loss: Loss, rate: float, steps: int) -> Tensor:
    weight, again = Parameter(loss.start.clone()), replace(loss, asked=[])
    trained(weight, again, 0, rate, steps)
    return again.asked[steps]  # at sparsity 0 the second training begins there


def _are_redrawn(states: list[Tensor], old: Tensor, sparsity: float, steps: int) -> bool:
    """Whether weights that were 0 in the second training begin the last with values of their own.

    That is, with others than the `old` ones, which they had when they were pruned.
    """
    gone = _smallest(old, sparsity)
    sparse, again = states[steps : 2 * steps], states[2 * steps : 2 * steps + 1]
    if not gone.any() or not again or any(not _alike_in_kind(s, old) for s in states):
        return False
    zeros = all((state[gone] == 0).all() for state in sparse)
    return zeros and not (again[0][gone] == 0).any() and not _near(again[0][gone], old[gone])


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    g = generator(rng)

    def case(
        *shape: int,
        sparsity: float,
        steps: int,
        dtype: torch.dtype = torch.float32,
        device: str = "cpu",
    ) -> Case:
        n, rate = torch.Size(shape).numel(), rng.choice([0.05, 0.08, 0.1])
        while True:
            a = torch.randn(n, n, generator=g)
            hessian = torch.eye(n) / 2 + a @ a.T / n
            start, minimum = (2 * torch.randn(shape, generator=g) for _ in range(2))
            start, hessian, minimum = (t.to(device, dtype) for t in (start, hessian, minimum))
            loss = Loss(start, hessian, minimum)
            loss.dense = _after_the_first(loss, rate, steps)
            if _clear_cut(loss.dense, sparsity):
                return Parameter(start.clone()), loss, sparsity, rate, steps

    for _ in range(2):
        yield lambda: case(8, sparsity=0.375, steps=3)
    yield lambda: case(2, 4, sparsity=0.25, steps=2)
    yield lambda: case(10, sparsity=0.25, steps=1)  # 2.5 weights: half to even
    yield lambda: case(11, sparsity=0.8, steps=4)  # 8.8 weights
    yield lambda: case(2, 2, 3, sparsity=0.5, steps=2, dtype=torch.float64)
    yield lambda: case(5, sparsity=0, steps=2)
    if torch.cuda.is_available():
        yield lambda: case(8, sparsity=0.5, steps=2, device="cuda")


def _clear_cut(trained: Tensor, sparsity: float) -> bool:
    """Whether the largest that goes is clearly smaller than the smallest that stays."""
    gone, sizes = _smallest(trained, sparsity), trained.abs()
    return not gone.any() or bool(sizes[~gone].min() - sizes[gone].max() > APART)


def _check(answer: Attempt, rng: random.Random) -> None:
    traced = [replace(m, function=partial(_trail_of, m.function)) for m in MISTAKES]
    right_trail = partial(_trail_of, trained)
    for args in telling(_cases(rng), right_trail, traced, lambda trail: trail):
        right = right_trail(*args)
        given = answer.in_place(*args, watch=_seen)
        weight, loss, _, _, steps = args
        if not (_alike_in_kind(weight, loss.start) and weight.requires_grad):
            raise Wrong(
                "weight is no longer the parameter that it was",
                expected=_described(loss.start, True),
                given=_described(weight, weight.requires_grad),
            )
        if not _fit(given.states, right.states):
            raise _explained(given.states, right.states, steps)


def _fit(given: list[Tensor], right: list[Tensor]) -> bool:
    """Whether a training ends right, with zeros on the way; one may ask the loss more than once."""
    if len(given) != len(right):
        return _near(given[-1], right[-1])
    return all(_fits(*pair) for pair in zip(given, right, strict=True))


def _fits(given: Tensor, right: Tensor) -> bool:
    return _near(given, right) and bool((given[right == 0] == 0).all())


def _described(weight: Tensor, takes_gradients: bool) -> str:
    return f"{kind_of(weight)}, {tuple(weight.shape)}, requires_grad={takes_gradients}"


def _explained(given: list[Tensor], right: list[Tensor], steps: int) -> Wrong:
    """What is wrong with a training, by the first of its steps that is."""
    if len(given) == 1:
        return Wrong("weight has not changed: train it in place", given=given[0])
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


dense_sparse_dense = Exercise(
    "dense_sparse_dense",
    _check,
    reference=trained,
    core=False,
    minutes=15,
    mistakes=MISTAKES,
)

"""An exercise of chapter 09: dense-sparse-dense training of one layer, momentum and all."""

import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.optim import Optimizer

from shrink.chapters.tickets.trails import (
    MOMENTUM,
    Loss,
    Trail,
    alike_in_kind,
    explained,
    fit,
    seen,
    smallest,
)
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong, kind_of
from shrink.classroom.exercises.cases import generator, telling
from shrink.classroom.exercises.exercise import Exercise

LAST_RATE = 0.1  # the last training's rate, as a part of the others'
APART = 0.02  # magnitudes on both sides of the last place: no rounding swaps them

Train = Callable[..., None]
Case = tuple[Parameter, Loss, float, float, int]


def _after_training(start: Tensor, trained: Tensor, sparsity: float) -> Tensor:
    return smallest(trained, sparsity)


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
                optimizer = _new_optimizer(weight, rate_now)
            optimizer.param_groups[0]["lr"] = rate_now
            _take_steps(weight, loss, optimizer, steps, gone if held[phase] else None)

    return train


def _new_optimizer(weight: Parameter, rate: float) -> Optimizer:
    return torch.optim.SGD([weight], lr=rate, momentum=MOMENTUM)


def _take_steps(
    weight: Parameter, loss: Loss, optimizer: Optimizer, steps: int, gone: Tensor | None = None
) -> None:
    for _ in range(steps):
        optimizer.zero_grad()
        loss(weight).backward()
        optimizer.step()
        if gone is not None:
            weight.data.masked_fill_(gone, 0)


_right = _in_three_phases()


def trained(
    weight: Parameter, loss: Callable[[Tensor], Tensor], sparsity: float, rate: float, steps: int
) -> None:
    """Train `weight` in place: dense, with its smallest at 0, and dense again at a tenth of `rate`.

    Each of the three trainings takes `steps` steps of SGD with momentum 0.9, which starts afresh.

    >>> weight = Parameter(torch.zeros(2))
    >>> trained(weight, lambda w: ((w - torch.tensor([4.0, 2.0])) ** 2).sum() / 2, 0.5, 0.5, 1)
    >>> weight.data
    tensor([3.0500, 0.1000])
    """
    _right(weight, loss, sparsity, rate, steps)


def _restored(weight: Tensor, gone: Tensor, before: Tensor) -> None:
    weight[gone] = before[gone]


def _drawn(weight: Tensor, gone: Tensor, before: Tensor) -> None:
    g = torch.Generator().manual_seed(0)
    weight[gone] = torch.randn(int(gone.sum()), generator=g).to(weight)


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
        _in_three_phases(chosen=lambda start, trained, sparsity: smallest(start, sparsity)),
        "the weights were ranked by the values that they had before the first training: rank the "
        "trained ones, since the first training is there to find out which of them matter",
    ),
    Mistake(
        "share kept",
        _in_three_phases(chosen=lambda start, trained, kept: smallest(trained, 1 - kept)),
        "sparsity is the share of the weights that is pruned, not the share that is kept",
    ),
)


def _trail_of(train: Train, *case: Any) -> Trail:
    """What the training of a case looks like, which is left as it was."""
    twin = copy.deepcopy(case)
    train(*twin)
    return seen(*twin)


def _after_the_first(loss: Loss, rate: float, steps: int) -> Tensor:
    weight = Parameter(loss.start.clone())
    _take_steps(weight, replace(loss, asked=[]), _new_optimizer(weight, rate), steps)
    return weight.detach()


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
    yield lambda: case(11, sparsity=0.8, steps=2)  # 8.8 weights
    yield lambda: case(2, 2, 3, sparsity=0.5, steps=2, dtype=torch.float64)
    yield lambda: case(5, sparsity=0, steps=2)
    if torch.cuda.is_available():
        yield lambda: case(8, sparsity=0.5, steps=2, device="cuda")


def _clear_cut(trained: Tensor, sparsity: float) -> bool:
    """Whether the largest that goes is clearly smaller than the smallest that stays."""
    gone, sizes = smallest(trained, sparsity), trained.abs()
    return not gone.any() or bool(sizes[~gone].min() - sizes[gone].max() > APART)


def _check(answer: Attempt, rng: random.Random) -> None:
    traced = [replace(m, function=partial(_trail_of, m.function)) for m in MISTAKES]
    right_trail = partial(_trail_of, trained)
    for args in telling(_cases(rng), right_trail, traced, lambda trail: trail):
        right = right_trail(*args)
        given = answer.in_place(*args, watch=seen)
        weight, loss, _, _, steps = args
        if not (alike_in_kind(weight, loss.start) and weight.requires_grad):
            raise Wrong(
                "weight is no longer the parameter that it was",
                expected=_described(loss.start, True),
                given=_described(weight, weight.requires_grad),
            )
        if not fit(given.states, right.states):
            raise explained(given.states, right.states, steps)


def _described(weight: Tensor, takes_gradients: bool) -> str:
    return f"{kind_of(weight)}, {tuple(weight.shape)}, requires_grad={takes_gradients}"


dense_sparse_dense = Exercise(
    "dense_sparse_dense",
    _check,
    reference=trained,
    core=False,
    minutes=15,
    mistakes=MISTAKES,
)

"""A step with scaled gradients, of chapter 10's exercise: how it goes, known mistakes."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.optim import Optimizer

from shrink.classroom.exercises.attempt import Mistake, known


@dataclass
class Scaler:
    """What a dynamic loss scaler knows."""

    scale: float  # by which the loss was multiplied
    good_steps: int  # since the scale changed or a step was skipped
    interval: int  # of good steps, after which the scale doubles
    max_norm: float  # of all gradients together


Parameters = list[Tensor]  # each with its gradient
Step = Callable[[Scaler, Parameters, Optimizer], None]


def _finite(gradients: list[Tensor]) -> bool:
    return all(bool(gradient.isfinite().all()) for gradient in gradients)


def _divided(parameters: Parameters, scaler: Scaler) -> None:
    for p in parameters:
        p.grad /= scaler.scale


def _clipped(parameters: Parameters, scaler: Scaler) -> None:
    torch.nn.utils.clip_grad_norm_(parameters, scaler.max_norm)


def _skipped(scaler: Scaler, parameters: Parameters, optimizer: Optimizer) -> None:
    scaler.scale, scaler.good_steps = scaler.scale / 2, 0


def _counted(scaler: Scaler) -> None:
    scaler.good_steps += 1
    if scaler.good_steps >= scaler.interval:
        scaler.scale, scaler.good_steps = scaler.scale * 2, 0


def _scaling(
    changes: Iterable[Callable[[Parameters, Scaler], None]] = (_divided, _clipped),
    good: Callable[[list[Tensor]], bool] = _finite,
    skipped: Step = _skipped,
    counted: Callable[[Scaler], None] = _counted,
) -> Step:
    """How to take the step, right except for what is passed."""

    def step(scaler: Scaler, parameters: Parameters, optimizer: Optimizer) -> None:
        if not good([p.grad for p in parameters]):
            skipped(scaler, parameters, optimizer)
            return
        for change in changes:
            change(parameters, scaler)
        optimizer.step()
        counted(scaler)

    return step


_right = _scaling()


def stepped(scaler: Scaler, parameters: list[Tensor], optimizer: Optimizer) -> None:
    """Take the optimizer's step with gradients of a scaled loss, in place, or skip it.

    If all gradients are finite they are divided by the scale and clipped, and after `interval` such
    steps the scale doubles. If one is not, nothing moves, and the scale is halved.

    >>> weight = torch.tensor([1.0], requires_grad=True)
    >>> weight.grad = torch.tensor([torch.inf])
    >>> scaler = Scaler(scale=1024.0, good_steps=3, interval=5, max_norm=1.0)
    >>> stepped(scaler, [weight], torch.optim.SGD([weight], lr=0.1))
    >>> scaler.scale, scaler.good_steps, weight.detach()
    (512.0, 0, tensor([1.]))
    """
    _right(scaler, parameters, optimizer)


@known(
    "a skipped step was counted as a good one: it sets the count back to 0, and never doubles the "
    "scale",
    "a skipped step counts as good",
)
def _skip_counted(scaler: Scaler, parameters: Parameters, optimizer: Optimizer) -> None:
    if _finite([p.grad for p in parameters]):
        _right(scaler, parameters, optimizer)
    else:
        scaler.scale /= 2
        _counted(scaler)


def _count_kept(scaler: Scaler, parameters: Parameters, optimizer: Optimizer) -> None:
    scaler.scale /= 2


def _zeros_for_gradients(scaler: Scaler, parameters: Parameters, optimizer: Optimizer) -> None:
    for p in parameters:
        p.grad.zero_()
    optimizer.step()
    _skipped(scaler, parameters, optimizer)


def _always(scaler: Scaler, parameters: Parameters, optimizer: Optimizer) -> None:
    _divided(parameters, scaler)
    _clipped(parameters, scaler)
    optimizer.step()
    _skipped(scaler, parameters, optimizer)


def _only_counts(scaler: Scaler) -> None:
    scaler.good_steps += 1


MISTAKES = (
    Mistake(
        "clips before it unscales",
        _scaling(changes=(_clipped, _divided)),
        "the gradients were clipped while they were still scaled. Scaled ones are far above "
        "max_norm, so they were cut down to it, and then divided once more: divide first",
    ),
    Mistake(
        "unscales twice",
        _scaling(changes=(_divided, _divided, _clipped)),
        "the gradients were divided by the scale twice: once brings them back to what they are "
        "without scaling",
    ),
    Mistake(
        "steps in spite of infinity",
        _scaling(skipped=_always),
        "the optimizer has taken its step with gradients that are not finite, and a weight that "
        "is NaN stays NaN: look at the gradients first, and leave the step out",
    ),
    Mistake(
        "zeros for gradients",
        _scaling(skipped=_zeros_for_gradients),
        "to set the gradients to 0 is not to skip: the optimizer's step still moves the weights by "
        "its momentum, and weakens that. Do not call optimizer.step() at all",
    ),
    Mistake(
        "only the first gradient",
        _scaling(good=lambda gradients: _finite(gradients[:1])),
        "you have looked at the gradient of the first parameter alone: any of them may "
        "overflow, and one is enough",
    ),
    Mistake(
        "NaN not seen",
        _scaling(good=lambda gradients: not any(bool(g.isinf().any()) for g in gradients)),
        "NaN is not infinite, so isinf does not find it. It is what becomes of infinity minus "
        "infinity: ask isfinite",
    ),
    Mistake(
        "never grows",
        _scaling(counted=_only_counts),
        "the scale has not grown. The step that makes `interval` good ones in a row doubles it and "
        "sets the count to 0: a scale that only falls is soon so small that the gradients "
        "underflow as without it",
    ),
    _skip_counted,
    Mistake(
        "count kept by a skip",
        _scaling(skipped=_count_kept),
        "a skipped step must set the count back to 0: the scale doubles after `interval` good "
        "steps *in a row*",
    ),
)

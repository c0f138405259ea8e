"""An exercise of chapter 06: the loss of a student's features against the teacher's, the hint.

The oracle goes number by number, in float64.
"""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from shrink import distillation
from shrink.chapters.distil.compare import comparable, reaches_teacher, wrong_gradient, wrong_loss
from shrink.classroom.exercises.attempt import Mistake, Wrong
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise


def right_hint(student: Tensor, teacher: Tensor, regressor: nn.Module) -> Tensor:
    """Half the mean of the squared differences, number by number."""
    with torch.no_grad():
        both = regressor(student).flatten().tolist(), teacher.flatten().tolist()
    squares = [(a - b) ** 2 for a, b in zip(*both, strict=True)]
    return torch.tensor(math.fsum(squares) / len(squares) / 2, dtype=torch.float64)


def _of_differences(
    reduce: Callable[[Tensor], Tensor],
) -> Callable[[Tensor, Tensor, nn.Module], Tensor]:
    """A loss made of the differences of the regressor's result and the hint."""
    return lambda student, teacher, regressor: reduce(regressor(student) - teacher)


HINT_MISTAKES = (
    Mistake(
        "not halved",
        _of_differences(lambda d: d.square().mean()),
        "this is the mean of the squares; half of it is asked for",
    ),
    Mistake(
        "summed",
        _of_differences(lambda d: d.square().sum() / 2),
        "this is a sum over everything; take the mean",
    ),
    Mistake(
        "summed over the features",
        _of_differences(lambda d: d.square().flatten(1).sum(1).mean() / 2),
        "this sums over the features and takes the mean over the images alone; take the mean over "
        "both, so that one weight suits layers of any size",
    ),
    Mistake(
        "magnitudes",
        _of_differences(lambda d: d.abs().mean() / 2),
        "these are magnitudes; the squares of the differences are asked for",
    ),
    Mistake(
        "length",
        _of_differences(lambda d: d.flatten(1).norm(dim=1).mean() / 2),
        "this is the length of the difference, which takes a root: leave the root out",
    ),
    Mistake(
        "no regressor",
        lambda student, teacher, regressor: (student - teacher).square().mean() / 2,
        "the regressor does nothing here: send the student's features through it",
    ),
    Mistake(
        "regressor on the teacher",
        lambda student, teacher, regressor: (student - regressor(teacher)).square().mean() / 2,
        "send the student's features through the regressor, not the teacher's",
    ),
)


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, Tensor, nn.Module]]]:
    g = generator(rng)

    def features(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g).requires_grad_()

    def filled(regressor: nn.Module) -> nn.Module:
        for p in regressor.parameters():
            p.data.copy_(torch.randn(p.shape, generator=g))
        return regressor

    yield lambda: (features(3, 4), features(3, 4), filled(nn.Linear(4, 4)))
    yield lambda: (features(4, 2), features(4, 5), filled(nn.Linear(2, 5)))
    yield lambda: (features(2, 3, 4, 4), features(2, 6, 4, 4), filled(nn.Conv2d(3, 6, 1)))
    yield lambda: (features(2, 2, 5, 5), features(2, 3, 3, 3), filled(nn.Conv2d(2, 3, 3)))
    yield lambda: (features(5, 3), features(5, 3), nn.Identity())
    yield lambda: (features(1, 1), features(1, 1), filled(nn.Linear(1, 1)))


def _wrong(
    given: Any, right: Tensor, student: Tensor, teacher: Tensor, regressor: nn.Module
) -> Wrong | None:
    if wrong := wrong_loss(given, right):
        return wrong
    named = {"the student's features": student}
    named |= {f"the regressor's {name}": p for name, p in regressor.named_parameters()}
    loss = nn.functional.mse_loss(regressor(student), teacher.detach()) / 2
    gradients = torch.autograd.grad(loss, list(named.values()))
    for (name, tensor), gradient in zip(named.items(), gradients, strict=True):
        if wrong := wrong_gradient(given, tensor, gradient, name):
            return wrong
    return reaches_teacher(given, teacher)


hint_loss = Exercise(
    "hint_loss",
    by_cases(_cases, right_hint, _wrong, mistakes=HINT_MISTAKES, alike=comparable),
    reference=distillation.hint_loss,
    core=False,
    minutes=10,
    mistakes=HINT_MISTAKES,
)

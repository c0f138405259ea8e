"""An exercise of chapter 04: from the gradient of each weight that of each value.

The oracle is autograd, through codebook[assignments].
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from shrink import sharing
from shrink.chapters.share.values import near_values, some_assignments, wrong_values
from shrink.classroom.exercises.attempt import Wrong, known
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise


def by_autograd(gradient: Tensor, assignments: Tensor, k: int, zero: int | None) -> Tensor:
    """The gradient by the values, of a loss that has this gradient by the weights."""
    with torch.enable_grad():
        codebook = torch.zeros(k, dtype=gradient.dtype, device=gradient.device, requires_grad=True)
        (codebook[assignments] * gradient.detach()).sum().backward()
    found = codebook.grad.clone()
    if zero is not None:
        found[zero] = 0
    return found


@known("these are means: one value moves all its weights at once, so their gradients add up")
def _mean(gradient: Tensor, assignments: Tensor, k: int, zero: int | None) -> Tensor:
    counts = torch.bincount(assignments.flatten(), minlength=k)
    return by_autograd(gradient, assignments, k, zero) / counts.clamp(min=1)


@known(
    "where several weights go to one place, found[assignments] += gradient keeps only one of "
    "them: use index_add_, scatter_add_ or bincount with weights"
)
def _the_last_one(gradient: Tensor, assignments: Tensor, k: int, zero: int | None) -> Tensor:
    found = torch.zeros(k, dtype=gradient.dtype, device=gradient.device)
    last = dict(zip(assignments.flatten().tolist(), gradient.flatten().tolist(), strict=True))
    for number, value in last.items():
        found[number] = value
    if zero is not None:
        found[zero] = 0
    return found


@known(
    "value number `zero` stands for pruned weights and must stay 0, so its gradient is 0",
    "0 moves",
)
def _zero_moves(gradient: Tensor, assignments: Tensor, k: int, zero: int | None) -> Tensor:
    return by_autograd(gradient, assignments, k, None)


@known("zero may be 0, the first value, and 0 is false in Python: ask `if zero is not None`")
def _zero_is_false(gradient: Tensor, assignments: Tensor, k: int, zero: int | None) -> Tensor:
    return by_autograd(gradient, assignments, k, zero or None)


@known("where zero is None no value is held at 0, and every value has its gradient")
def _always_held(gradient: Tensor, assignments: Tensor, k: int, zero: int | None) -> Tensor:
    return by_autograd(gradient, assignments, k, zero or 0)


MISTAKES = (
    _mean,
    _the_last_one,
    _zero_moves,
    _zero_is_false,
    _always_held,
)


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, Tensor, int, int | None]]]:
    def case(*shape: int, k: int, zero: int | None, empty: tuple[int, ...] = ()) -> tuple:
        count = torch.Size(shape).numel()
        assignments = some_assignments(rng, count, k, empty)
        gradient = [rng.choice([-1, 1]) * rng.uniform(0.2, 3) for _ in range(count)]
        return torch.tensor(gradient).view(shape), assignments.view(shape), k, zero

    yield lambda: case(12, k=4, zero=None, empty=(1,))
    yield lambda: case(4, 5, k=4, zero=rng.choice([1, 2]))
    yield lambda: case(3, 4, k=3, zero=0)
    yield lambda: case(12, k=5, zero=None, empty=(3, 4))
    yield lambda: case(12, k=5, zero=3, empty=(1,))
    yield lambda: case(2, 3, 2, 2, k=4, zero=3)
    yield lambda: case(1, k=1, zero=None)
    yield lambda: case(60, 40, k=16, zero=7)
    if torch.cuda.is_available():
        yield lambda: tuple(
            t.cuda() if isinstance(t, Tensor) else t for t in case(9, k=3, zero=None)
        )


def _wrong_gradient(
    given: Any, right: Tensor, gradient: Tensor, assignments: Tensor, k: int, zero: int | None
) -> Wrong | None:
    def why(i: int) -> str:
        if i == zero:
            return f"value {i} is the 0 that stays 0, so its gradient is 0"
        count = int((assignments == i).sum())
        return f"value {i} has {count} weights, and their gradients sum to {right[i]:.4g}"

    shape = f"the gradient has one number per value, {k} in all, on one axis"
    return wrong_values(given, right, "the gradient", shape, why, atol=1e-4)


def _reference(gradient: Tensor, assignments: Tensor, k: int, zero: int | None = None) -> Tensor:
    """The gradient of each value: the sum of its weights' gradients, and 0 for number `zero`.

    >>> g, numbers = torch.tensor([1.0, 2.0, 5.0]), torch.tensor([0, 0, 1])
    >>> codebook_gradient(g, numbers, k=2, zero=None), codebook_gradient(g, numbers, k=2, zero=1)
    (tensor([3., 5.]), tensor([3., 0.]))
    """
    found = sharing.centroid_gradient(gradient, assignments, k)
    if zero is not None:
        found[zero] = 0
    return found


codebook_gradient = Exercise(
    "codebook_gradient",
    by_cases(_cases, by_autograd, _wrong_gradient, mistakes=MISTAKES, alike=near_values),
    reference=_reference,
    core=True,
    minutes=15,
    mistakes=MISTAKES,
)

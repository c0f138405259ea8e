"""An exercise of chapter 04: from the gradient of each weight that of each value.

The oracle is autograd, through codebook[assignments].
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from shrink import sharing
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import Near

Gradient = Callable[[Tensor, Tensor, int, int | None], Tensor]


def by_autograd(gradient: Tensor, assignments: Tensor, k: int, zero: int | None) -> Tensor:
    """The gradient of a loss whose gradient is this, by the values behind the weights."""
    with torch.enable_grad():
        codebook = torch.zeros(k, dtype=gradient.dtype, device=gradient.device, requires_grad=True)
        (codebook[assignments] * gradient.detach()).sum().backward()
    found = codebook.grad.clone()
    if zero is not None:
        found[zero] = 0
    return found


def _but(
    reduce: Callable[[Tensor, Tensor, Tensor], Tensor] = lambda sums, counts, _: sums,
    frozen: Callable[[Tensor, int | None], int | None] = lambda _, zero: zero,
) -> Gradient:
    """The right answer but for what is made of the sums, and which value is held."""

    def codebook_gradient(
        gradient: Tensor, assignments: Tensor, k: int, zero: int | None
    ) -> Tensor:
        sums = by_autograd(gradient, assignments, k, None)
        counts = torch.bincount(assignments.flatten(), minlength=k)
        found = reduce(sums, counts, gradient)
        if (held := frozen(assignments, zero)) is not None:
            found[held] = 0
        return found

    return codebook_gradient


def _last_one(gradient: Tensor, assignments: Tensor, k: int, zero: int | None) -> Tensor:
    """As `found[assignments] += gradient` does it: of several that go to one place, one counts."""
    found = torch.zeros(k, dtype=gradient.dtype, device=gradient.device)
    last = dict(zip(assignments.flatten().tolist(), gradient.flatten().tolist(), strict=True))
    for number, value in last.items():
        found[number] = value
    if zero is not None:
        found[zero] = 0
    return found


def _dropped(gradient: Tensor, assignments: Tensor, k: int, zero: int | None) -> Tensor:
    found = by_autograd(gradient, assignments, k, zero)
    return found[torch.arange(k, device=found.device) != (k if zero is None else zero)]


def _cut_short(gradient: Tensor, assignments: Tensor, k: int, zero: int | None) -> Tensor:
    last = int(assignments.max()) + 1 if assignments.numel() else 0
    return by_autograd(gradient, assignments, k, zero)[:last]


def _of_weights(gradient: Tensor, assignments: Tensor, k: int, zero: int | None) -> Tensor:
    return by_autograd(gradient, assignments, k, zero)[assignments]


MISTAKES = (
    Mistake(
        "mean",
        _but(lambda sums, counts, _: sums / counts.clamp(min=1)),
        "these are averages: one value moves all its weights, and the loss feels the sum of what "
        "each does",
    ),
    Mistake(
        "mean with NaN",
        _but(lambda sums, counts, _: sums / counts),
        "these are averages, and those of values without weights are NaN: sum, and do not divide",
    ),
    Mistake(
        "divided by all",
        _but(lambda sums, _, gradient: sums / max(gradient.numel(), 1)),
        "the sums are divided by the number of weights: sum, and do not divide",
    ),
    Mistake(
        "the last one",
        _last_one,
        "where several weights go to one place, found[assignments] += gradient keeps only one of "
        "them: use index_add_, scatter_add_ or bincount with weights",
    ),
    Mistake(
        "0 moves",
        _but(frozen=lambda _, zero: None),
        "value number zero stands for weights that are pruned and is to stay 0: its gradient is 0",
    ),
    Mistake(
        "zero is false",
        _but(frozen=lambda _, zero: zero or None),
        "zero may be 0, the first value, and 0 is false in Python: ask `if zero is not None`",
    ),
    Mistake(
        "the first is held",
        _but(frozen=lambda assignments, zero: None if zero is None else 0),
        "it is value number `zero` that is held, which need not be the first",
    ),
    Mistake(
        "always held",
        _but(frozen=lambda assignments, zero: zero or 0),
        "where zero is None no value is held, and all have their gradient",
    ),
    Mistake(
        "zero dropped",
        _dropped,
        "there is a gradient for each of the k values; that of number zero is 0, but it is there",
    ),
    Mistake(
        "cut short",
        _cut_short,
        "the last values have no weights, and are missing: bincount needs minlength=k",
    ),
    Mistake(
        "of each weight",
        _of_weights,
        "this has a number for each weight; return one for each value, (k,)",
    ),
    Mistake(
        "a step",
        _but(lambda sums, *_: -sums),
        "this is the direction of a step; the gradient itself is asked for, not its negative",
    ),
    Mistake(
        "magnitudes",
        lambda gradient, assignments, k, zero: by_autograd(gradient.abs(), assignments, k, zero),
        "gradients of both signs cancel within a value: sum them, not their magnitudes",
    ),
)


def _seen(result: Any) -> Any:
    if not isinstance(result, Tensor) or result.layout != torch.strided:
        return result
    numbers = result.detach().double().flatten()
    nan = tuple(numbers.isnan().tolist())
    return tuple(result.shape), nan, Near(tuple(numbers.nan_to_num().tolist()))


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, Tensor, int, int | None]]]:
    def case(*shape: int, k: int, zero: int | None, empty: tuple[int, ...] = ()) -> tuple:
        count = torch.Size(shape).numel()
        numbers = [i for i in range(k) if i not in empty]
        assignments = [*numbers, *(rng.choice(numbers) for _ in range(count - len(numbers)))]
        rng.shuffle(assignments)
        gradient = [rng.choice([-1, 1]) * rng.uniform(0.2, 3) for _ in range(count)]
        both = torch.tensor(gradient), torch.tensor(assignments[:count])
        return *(t.view(shape) for t in both), k, zero

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


def _check_gradient(answer: Attempt, rng: random.Random) -> None:
    for case in telling(_cases(rng), by_autograd, MISTAKES, _seen):
        given = answer(*case, alike=_seen)
        if wrong := _wrong_gradient(given, *case):
            raise wrong


def _wrong_gradient(
    given: Any, gradient: Tensor, assignments: Tensor, k: int, zero: int | None
) -> Wrong | None:
    right = by_autograd(gradient, assignments, k, zero)
    if not isinstance(given, Tensor) or not given.is_floating_point():
        return Wrong("the gradient is a float tensor", expected=right, given=given)
    if given.shape != right.shape or given.device != right.device:
        return Wrong(
            f"the gradient has a number for each of the {k} values, on one axis",
            expected=right,
            given=given,
        )
    near = torch.isclose(given.detach().double(), right.double(), rtol=1e-4, atol=1e-4)
    if near.all():
        return None
    i = int((~near).nonzero()[0])
    count = int((assignments == i).sum())
    why = (
        f"value {i} is the 0 that stays 0, so its gradient is 0"
        if i == zero
        else f"value {i} has {count} weights, and their gradients sum to {right[i]:.4g}"
    )
    return Wrong(f"{why}; yours is {given[i]:.4g}", expected=right, given=given)


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
    _check_gradient,
    reference=_reference,
    core=True,
    minutes=15,
    mistakes=MISTAKES,
)

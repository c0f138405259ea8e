"""An exercise of chapter 10: the gradient of a learned step, LSQ's.

The oracle is autograd on what the straight-through estimator stands for, in float64: x plus its
rounding error in steps, held fixed, times the step; and clipped an end times the step.
"""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from shrink.chapters.few_bits.step_mistakes import MISTAKES
from shrink.chapters.few_bits.tensors import Close, as_numbers, is_floats, is_near, wrong_kind
from shrink.classroom.exercises.attempt import Wrong
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.parts import Part
from shrink.quantization.learned_step import fake_quantize_lsq

Case = tuple[Tensor, Tensor, Tensor, int, int]  # gradient, x, step, q_min, q_max
_FEW = 6  # numbers, of which a message shows each


def surrogate(x: Tensor, step: Tensor, q_min: int, q_max: int) -> Callable[[Tensor], Tensor]:
    """The function of a step near this one, of which LSQ takes the derivative."""
    ratio = (x / step).detach()
    q = ratio.round().clamp(q_min, q_max)
    inside = (ratio >= q_min) & (ratio <= q_max)
    error = q - ratio
    return lambda near: torch.where(inside, x + error * near, q * near)


def by_autograd(gradient: Tensor, x: Tensor, step: Tensor, q_min: int, q_max: int) -> Tensor:
    """The step's gradient in float64, with the factor of its own count of numbers."""
    leaf = as_numbers(step).requires_grad_()
    y = surrogate(as_numbers(x), leaf, q_min, q_max)(leaf)
    (found,) = torch.autograd.grad(y, leaf, as_numbers(gradient))
    return found / math.sqrt(x.numel() / step.numel() * q_max)


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    def case(
        q_min: int, q_max: int, *shape: int, channels: int | None = None, beyond: int = 3
    ) -> Case:
        """Numbers inside the range, of which one in `beyond` lies far outside; no halves.

        Every step has some of each.
        """
        steps = torch.tensor([rng.randint(10, 60) / 100 for _ in range(channels or 1)])
        steps = steps.view(-1, *[1] * (len(shape) - 1)) if channels else steps.view(())
        ratios = [_place(rng, q_min, q_max, i % beyond == 0) for i in range(math.prod(shape))]
        x = (torch.tensor(ratios, dtype=torch.float64).view(shape) * steps).float()
        gradient = [rng.choice([-1, 1]) * rng.randint(4, 30) / 10 for _ in ratios]
        return torch.tensor(gradient).view(shape), x, steps, q_min, q_max

    def changed(change: Callable[[Tensor], Tensor], *of: int, **options: int) -> Case:
        return (*map(change, case(*of, **options)[:3]), *of[:2])

    yield lambda: case(-4, 3, 6)
    yield lambda: case(-2, 1, 3, 4, channels=3)
    yield lambda: case(-3, 3, 3, 2, 2, 2, channels=3)
    yield lambda: case(0, 7, 12)  # unsigned, as after a ReLU
    yield lambda: case(-1, 1, 2, 5)
    yield lambda: case(-128, 127, 30, 40, channels=30)
    yield lambda: case(-4, 3, 1, beyond=2)
    yield lambda: case(-4, 3, 1, 7, channels=1)
    yield lambda: changed(Tensor.double, -4, 3, 3, 4, channels=3)
    if torch.cuda.is_available():
        yield lambda: changed(Tensor.cuda, -4, 3, 3, 4, channels=3)


def _place(rng: random.Random, q_min: int, q_max: int, outside: bool) -> float:
    """Where a number lies, in steps; more than half a step outside, or not outside at all."""
    if outside:
        return rng.choice([q_min - rng.uniform(0.7, 3), q_max + rng.uniform(0.7, 3)])
    return rng.randrange(q_min, q_max) + rng.choice([rng.uniform(0.1, 0.4), rng.uniform(0.6, 0.9)])


def _parts(gradient: Tensor, x: Tensor, step: Tensor, q_min: int, q_max: int) -> Iterator[Part]:
    """One number at a time where the factor is 1, and the factor of many."""
    one, four = gradient.flatten()[:1] + 0, gradient.new_ones(4)
    s = step.flatten()[0].clone()
    for where, ratio in (("inside", 0.7), ("clipped above", 5.0), ("clipped below", -5.0)):
        yield Part(f"for one number {where}", (one, ratio * s.expand(1), s, -2, 1))
    yield Part("where N q_max is 12", (four, 9.0 * s.expand(4), s, -4, 3))
    steps = s.repeat(2).view(2, 1)
    yield Part("with two steps", (four.view(2, 2), 9.0 * steps.expand(2, 2), steps, -4, 3))


def _wrong(
    given: Any, right: Tensor, gradient: Tensor, x: Tensor, step: Tensor, q_min: int, q_max: int
) -> Wrong | None:
    if wrong := wrong_kind(given, "the gradient of the step", step, "step"):
        return wrong
    found = as_numbers(given)
    if is_near(found, right).all():
        return None
    shown = {"expected": right.float(), "given": found.float()}
    if is_near(found, -right).all():
        told = "the sign is the wrong way round, of every term"
        return Wrong(told, **shown, known_mistakes=False)
    place = tuple((~is_near(found, right)).nonzero()[0].tolist())
    which = f" at {list(place)}" if step.numel() > 1 else ""
    count = x.numel() // step.numel()
    numbers = f"{count} numbers" if count > 1 else "one number"
    told = (
        f"the step{which} has {numbers}, and q_max is {q_max}: its gradient is {right[place]:.4g}; "
        f"yours is {found[place]:.4g}"
    )
    if x.numel() <= _FEW and step.numel() == 1:
        told += f". The derivatives of s q are {_derivatives(x, step, q_min, q_max)}"
    return Wrong(told, **shown)


def _derivatives(x: Tensor, step: Tensor, q_min: int, q_max: int) -> str:
    """Of each number's output by its step, in brackets."""
    steps = as_numbers(step).expand(x.shape).clone().requires_grad_()
    y = surrogate(as_numbers(x), steps, q_min, q_max)(steps)
    (found,) = torch.autograd.grad(y.sum(), steps)
    return f"[{', '.join(f'{number:.3g}' for number in found.flatten().tolist())}]"


def _comparable(result: Any) -> Any:
    return Close(as_numbers(result)) if is_floats(result) else result


def _reference(gradient: Tensor, x: Tensor, step: Tensor, q_min: int, q_max: int) -> Tensor:
    """The gradient of a learned step: rounding errors in steps, and the ends where x is clipped.

    >>> x, ones = torch.tensor([0.2, 0.9, 5.0, -3.0]), torch.ones(4)
    >>> learned_step_gradient(ones, x, torch.tensor(0.5), q_min=-2, q_max=1)  # (-0.4 + 1 + 1 - 2)/2
    tensor(-0.2000)
    """
    with torch.enable_grad():
        leaf = step.detach().requires_grad_()
        y = fake_quantize_lsq(x.detach(), leaf, q_min, q_max)
    return torch.autograd.grad(y, leaf, gradient)[0]


learned_step_gradient = Exercise(
    "learned_step_gradient",
    by_cases(_cases, by_autograd, _wrong, mistakes=MISTAKES, alike=_comparable, parts=_parts),
    reference=_reference,
    core=True,
    minutes=15,
    mistakes=MISTAKES,
)

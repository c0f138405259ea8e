"""Known mistakes of chapter 10's exercise on quantization that gradients pass through."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx

from shrink.classroom.exercises.attempt import Mistake

Range = tuple[float, int, int, int]  # scale, zero point, the lowest and the highest integer
Values = Callable[[Tensor, float, int, int, int], Tensor]
Backward = Callable[[Tensor, Tensor, float, int, int, int], Tensor]  # a gradient first


class _Passing(torch.autograd.Function):
    """A result that was found elsewhere, with a backward of its own."""

    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, values: Tensor, back: Callable[[Tensor], Tensor]
    ) -> Tensor:
        ctx.back = back
        return values.to(x.dtype)

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return ctx.back(gradient), None, None


def _rounded(x: Tensor, scale: float, zero_point: int, q_min: int, q_max: int) -> Tensor:
    q = ((x / scale).round() + zero_point).clamp(q_min, q_max)
    return scale * (q - zero_point)


def _above(x: Tensor, scale: float, zero_point: int, q_min: int, q_max: int) -> Tensor:
    return x > scale * (q_max - zero_point)


def _below(x: Tensor, scale: float, zero_point: int, q_min: int, q_max: int) -> Tensor:
    return x < scale * (q_min - zero_point)


def _inside(gradient: Tensor, x: Tensor, *of: float) -> Tensor:
    return gradient * ~(_above(x, *of) | _below(x, *of))


def _answer(values: Values = _rounded, back: Backward = _inside) -> Callable[..., Tensor]:
    """An answer with these values and this way back, by default the right ones."""

    def fake_quantize_ste(
        x: Tensor, scale: float, zero_point: int, q_min: int, q_max: int
    ) -> Tensor:
        of = (scale, zero_point, q_min, q_max)
        fixed = x.detach()
        return _Passing.apply(x, values(fixed, *of), lambda gradient: back(gradient, fixed, *of))

    return fake_quantize_ste


def _clamped_first(x: Tensor, scale: float, zero_point: int, q_min: int, q_max: int) -> Tensor:
    q = (x.clamp(q_min, q_max) / scale).round() + zero_point
    return scale * (q - zero_point)


def _inside_of_integers(
    gradient: Tensor, x: Tensor, scale: float, zero_point: int, q_min: int, q_max: int
) -> Tensor:
    return gradient * ((x >= q_min) & (x <= q_max))


def _without_zero_point(x: Tensor, scale: float, zero_point: int, *ends: int) -> Tensor:
    return _rounded(x, scale, 0, *ends)


def _inside_without_zero_point(
    gradient: Tensor, x: Tensor, scale: float, zero_point: int, *ends: int
) -> Tensor:
    return _inside(gradient, x, scale, 0, *ends)


def _zero_point_last(x: Tensor, scale: float, zero_point: int, q_min: int, q_max: int) -> Tensor:
    q = ((x / scale).round() + zero_point).clamp(q_min, q_max)
    return scale * q - zero_point


def _truncated(x: Tensor, scale: float, zero_point: int, q_min: int, q_max: int) -> Tensor:
    q = ((x / scale).trunc() + zero_point).clamp(q_min, q_max)
    return scale * (q - zero_point)


MISTAKES = (
    Mistake(
        "no gradient",
        _answer(back=lambda gradient, *_: torch.zeros_like(gradient)),
        "round is flat between its jumps, so autograd's gradient is 0, and nothing would learn. "
        "Let the forward pass see the rounded numbers and the backward pass the ones before: "
        "x + (y - x).detach()",
    ),
    Mistake(
        "passes outside",
        _answer(back=lambda gradient, *_: gradient),
        "the whole gradient passes. Which x still moves its own output? One that is clipped does "
        "not, and pulled on for ever it only wanders further away",
    ),
    Mistake(
        "one side",
        _answer(back=lambda gradient, *of: gradient * ~_above(*of)),
        "the gradient stops above the range, but passes below it: there are two ends",
    ),
    Mistake(
        "times the scale",
        _answer(back=lambda gradient, x, scale, *of: scale * _inside(gradient, x, scale, *of)),
        "the gradient is multiplied by the scale: q took the gradient of x, where it should have "
        "that of x / scale. An x one step larger gives an output one step larger, so the factor "
        "is 1",
    ),
    Mistake(
        "gradient dropped",
        _answer(back=lambda gradient, *of: _inside(torch.ones_like(gradient), *of)),
        "the way back gives 1 inside the range, whatever gradient arrives: multiply the one that "
        "arrives by the mask",
    ),
    Mistake(
        "clamped first",
        _answer(_clamped_first, _inside_of_integers),
        "q_min and q_max are integers, and x is not counted in steps yet: divide, round, add the "
        "zero point, and then clamp",
    ),
    Mistake(
        "no zero point",
        _answer(_without_zero_point, _inside_without_zero_point),
        "the zero point is missing: add it before the clamp, so that the range moves to where x "
        "is, and subtract it afterwards",
    ),
    Mistake(
        "zero lost",
        _answer(_zero_point_last),
        "x = 0 does not come back as 0: the zero point counts steps, so subtract it before you "
        "multiply by the scale",
    ),
    Mistake(
        "truncated",
        _answer(_truncated),
        "a cast to int and trunc cut off what stands after the point: 1.8 steps are nearer to 2",
    ),
)

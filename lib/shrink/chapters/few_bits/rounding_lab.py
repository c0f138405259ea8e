"""How the explorer of chapter 10 rounds weights and passes gradients: as the library, or as the
student's function does.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.explorers import refusals
from shrink.quantization.binary import signs

# A gradient (n,) of the rounded weights → that of the latent ones (n,), and that of the scale ().
Back = Callable[[Tensor], tuple[Tensor, Tensor]]
# Latent weights (n,) and their scale () → the rounded weights (n,), and the way back.
Rounder = Callable[[Tensor, Tensor], tuple[Tensor, Back]]

ULPS = 2**-22  # by which a scale may be rounded: the largest weight is inside all the same


def highest(bits: int) -> int:
    """The highest integer, whose negative is the lowest; one bit is a sign.

    >>> [highest(bits) for bits in (1, 2, 3, 4)]
    [1, 1, 3, 7]
    """
    return max(2 ** (bits - 1) - 1, 1)


@dataclass(frozen=True)
class Reference:
    """What `UniformWeights` does, without autograd, which takes ten times as long.

    `clip`: no gradient passes to weights outside the range of the integers.
    """

    bits: int
    clip: bool

    def __call__(self, weight: Tensor, scale: Tensor) -> tuple[Tensor, Back]:
        q_max, ratio = highest(self.bits), weight * scale.reciprocal()
        q = signs(weight) if self.bits == 1 else ratio.round().clamp(-q_max, q_max)
        inside = ratio.abs() <= q_max * (1 + ULPS)

        def back(gradient: Tensor) -> tuple[Tensor, Tensor]:
            within = q if self.bits == 1 else q - ratio * inside
            by_scale = gradient @ within / (len(weight) * q_max) ** 0.5
            return gradient * inside if self.clip else gradient, by_scale

        return q * scale, back


@dataclass(frozen=True)
class Mine:
    """What the student's `fake_quantize_ste` does; the scale has no gradient."""

    bits: int
    exercise: Exercise

    def __call__(self, weight: Tensor, scale: Tensor) -> tuple[Tensor, Back]:
        q_max, given = highest(self.bits), weight.detach().clone().requires_grad_()
        answer = self.exercise.mine(given, float(scale), 0, -q_max, q_max)
        promise = "fake_quantize_ste gives a tensor of x's shape"
        answer = refusals.tensor_of_shape(answer, weight.shape, promise)
        refusals.refuse_what_is_not_finite(answer, "fake_quantize_ste gives numbers:")
        if not answer.requires_grad:
            raise ExerciseError(
                "fake_quantize_ste gives numbers through which gradients pass; through yours none "
                "does (is x detached, or torch.no_grad on?)"
            )

        def back(gradient: Tensor) -> tuple[Tensor, Tensor]:
            (by_weight,) = torch.autograd.grad(answer, given, gradient, allow_unused=True)
            by_weight = torch.zeros_like(weight) if by_weight is None else by_weight
            refusals.refuse_what_is_not_finite(by_weight, "gradients are numbers:")
            return by_weight, torch.zeros(())

        return answer.detach().to(weight.dtype), back

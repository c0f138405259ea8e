"""What a training step with latent weights must come to, for the exercise of chapter 10.

PyTorch's SGD takes the step, with the gradient that autograd finds at the signs.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import Parameter

from shrink.chapters.few_bits.updating_mistakes import Loss, Step, one_bit
from shrink.classroom.exercises.attempt import kind_of

NAMES = ("latent", "bias", "weight")
TOLERANCE = 1e-4  # as a part of the scale


def by_torch(
    latent: Tensor, bias: Tensor, scale: float, loss: Loss, rate: float, decay: float
) -> Step:
    stored, moved = Parameter(latent.clone()), Parameter(bias.clone())
    weight = one_bit(latent, scale).requires_grad_()
    loss(weight, moved).backward()
    stored.grad = weight.grad
    groups = [{"params": [stored], "weight_decay": decay}, {"params": [moved]}]
    torch.optim.SGD(groups, lr=rate).step()
    new = stored.detach().clamp(-scale, scale)
    return new, moved.detach(), one_bit(new, scale)


@dataclass(frozen=True, eq=False)
class Numbers:
    """Those of a tensor, equal to others that are near."""

    tensor: Tensor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Numbers) or kind_of(self.tensor) != kind_of(other.tensor):
            return False
        if self.tensor.shape != other.tensor.shape or self.tensor.device != other.tensor.device:
            return False
        return not off(self.tensor, other.tensor, 1e-2).any()


def off(given: Tensor, right: Tensor, scale: float) -> Tensor:
    """Where they differ; NaN always does."""
    return ~((given - right).abs() <= TOLERANCE * (scale + right.abs()))


def reason(
    name: str,
    at: tuple[int, ...],
    right: Step,
    latent: Tensor,
    bias: Tensor,
    scale: float,
    loss: Loss,
    rate: float,
    decay: float,
) -> str:
    """Why a number is what it must be, as a student would reckon it."""
    if name == "weight":
        zero = ", and 0 counts as positive" if right[0][at] == 0 else ""
        return f"the new latent weight is {right[0][at]:.5g}{zero}"
    asked = one_bit(latent, scale).requires_grad_(), bias.clone().requires_grad_()
    slopes = dict(zip(NAMES, torch.autograd.grad(loss(*asked), asked), strict=False))
    slope, old = slopes[name][at], (latent if name == "latent" else bias)[at]
    begin = (
        f"the loss at weights of ±scale has the gradient {slope:.5g}, and {old:.5g} - {rate:g} *"
    )
    if name == "bias":
        return f"{begin} {slope:.5g} = {right[1][at]:.5g}"
    step = old - rate * (slope + decay * old)
    clipped = ", which is clipped" if abs(step) > scale else ""
    return f"{begin} ({slope:.5g} + {decay:g} * {old:.5g}) = {step:.5g}{clipped}"

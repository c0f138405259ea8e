"""Weights of three values: -1, 0 or 1, times one scale (TWN) or two that are learned (TTQ)."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

THRESHOLD = 0.7  # TWN's: times the mean magnitude
SHARE = 0.05  # TTQ's: times the largest magnitude


def ternary_signs(weight: Tensor, axis: int | None = None) -> tuple[Tensor, Tensor]:
    """-1, 0 or 1 of each weight, and the scale: weights up to 0.7 · mean|w| become 0.

    The scale is the mean magnitude of those that are left.

    Source: Li, Zhang and Liu 2016, "Ternary weight networks", equations 5 and 6.

    >>> t, scale = ternary_signs(torch.tensor([0.1, -1.0, 2.0]))  # the threshold is 0.723
    >>> t, scale
    (tensor([ 0., -1.,  1.]), tensor(1.5000))
    """
    weight = weight.detach()
    magnitudes = weight.abs()
    others = [d for d in range(weight.dim()) if axis is None or d != axis % weight.dim()]
    keepdim = axis is not None
    left = magnitudes > THRESHOLD * magnitudes.mean(others, keepdim=True)
    count = left.sum(others, keepdim=keepdim).clamp(min=1)
    scale = (magnitudes * left).sum(others, keepdim=keepdim) / count
    return weight.sign() * left, scale


def exact_ternary(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The ternary weights with the least squared error, in one scale, found exactly.

    With the k largest magnitudes kept the best scale is their mean, and the error falls by
    (their sum)² / k: so the best k has the largest of these.

    >>> t, scale = exact_ternary(torch.tensor([0.1, -1.0, 2.0]))
    >>> t, scale  # 4/1, 9/2 and 9.61/3
    (tensor([ 0., -1.,  1.]), tensor(1.5000))
    """
    weight = weight.detach()
    magnitudes, order = weight.abs().flatten().sort(descending=True, stable=True)
    counts = torch.arange(1, len(magnitudes) + 1, device=weight.device)
    k = int((magnitudes.double().cumsum(0) ** 2 / counts).argmax()) + 1
    kept = torch.zeros_like(magnitudes, dtype=torch.bool)
    kept[order[:k]] = True
    return weight.sign() * kept.view(weight.shape), magnitudes[:k].mean()


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def ternarize(weight: Tensor, axis: int | None = None) -> Tensor:
    """Ternary weights times their scale, of latent ones; the gradient goes straight through."""
    t, scale = ternary_signs(weight, axis)
    return _Straight.apply(weight, t * scale)


class _TrainedTernary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        threshold = SHARE * weight.abs().max()
        above, below = weight > threshold, weight < -threshold
        ctx.save_for_backward(above, below, positive, negative)
        return above * positive - below * negative

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        above, below, positive, negative = ctx.saved_tensors
        factor = (gradient.numel()) ** -0.5  # as LSQ's, with q_max = 1
        by_weight = gradient * (above * positive + below * negative + ~(above | below))
        by_positive = (gradient * above).sum() * factor
        by_negative = -(gradient * below).sum() * factor
        return by_weight, by_positive, by_negative


def ternarize_trained(weight: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Weights -negative, 0 or positive, both scales learned; up to 5 % of the largest become 0.

    Source: Zhu et al. 2017, "Trained ternary quantization", section 3, equations 6 to 8.
    Differs: the gradients of the scales are those of the paper times 1/√N, as LSQ's are.
    """
    return _TrainedTernary.apply(weight, positive, negative)

"""Weights of three values: -1, 0 or 1, times one scale (TWN) or two that are learned (TTQ)."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from shrink.quantization.arguments import check_floats, refuse_nonfinite
from shrink.quantization.binary import channels

THRESHOLD = 0.7  # TWN's: times the mean magnitude
SHARE = 0.05  # TTQ's: times the largest magnitude


def ternary_signs(weight: Tensor, axis: int | None = None) -> tuple[Tensor, Tensor]:
    """-1, 0 or 1 of each weight, and the scale: weights up to 0.7 · mean|w| become 0.

    The scale is the mean magnitude of those that are left, which has the least squared error for
    these signs; where all weights are 0, so is the scale.

    Args:
        weight: float, any shape with at least one number.
        axis: a threshold and a scale for each index along this axis; None: one of each for all.

    Returns:
        The signs, of weight's shape, and the scale: () or weight's axes, all of length 1 but this.
        Both have weight's dtype, and no gradient.

    Raises:
        TypeError: weight is not floating point, or sparse.
        ValueError: weight has NaN or infinities, no numbers, or no such axis.

    Source: Li, Zhang and Liu 2016, "Ternary weight networks", equations 5 and 6.

    >>> t, scale = ternary_signs(torch.tensor([0.1, -1.0, 2.0]))  # the threshold is 0.723
    >>> t, scale
    (tensor([ 0., -1.,  1.]), tensor(1.5000))
    """
    rows, shape = channels(weight, axis)
    magnitudes = rows.abs()
    mean = magnitudes.mean(1, keepdim=True)
    _check_finite(mean, weight)
    left = magnitudes > THRESHOLD * mean
    return _shaped(weight, rows, left, shape, axis)


def exact_ternary(weight: Tensor, axis: int | None = None) -> tuple[Tensor, Tensor]:
    """The ternary weights with the least squared error, in one scale a channel or in all.

    With the k largest magnitudes kept the best scale is their mean, and the error falls by
    (their sum)² / k: so the best k has the largest of these. Sorting takes longer than a threshold.

    Arguments, results and errors are those of `ternary_signs`.

    >>> t, scale = exact_ternary(torch.tensor([0.1, -1.0, 2.0]))
    >>> t, scale  # 4/1, 9/2 and 9.61/3
    (tensor([ 0., -1.,  1.]), tensor(1.5000))
    """
    rows, shape = channels(weight, axis)
    magnitudes, order = rows.abs().sort(dim=1, descending=True, stable=True)
    _check_finite(magnitudes[:, :1], weight)
    counts = torch.arange(1, rows.shape[1] + 1, device=rows.device)
    best = (magnitudes.double().cumsum(1) ** 2 / counts).argmax(1, keepdim=True)
    left = torch.zeros_like(rows, dtype=torch.bool).scatter_(1, order, counts <= best + 1)
    return _shaped(weight, rows, left, shape, axis)


class _Straight(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, value: Tensor) -> Tensor:
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def ternarize(weight: Tensor, axis: int | None = None) -> Tensor:
    """Ternary weights times their scale, of latent ones; the gradient goes straight through.

    Arguments and errors are those of `ternary_signs`; the result has weight's shape and dtype.

    Source: Li, Zhang and Liu 2016, section 2.2; latent weights as in BinaryConnect.

    >>> w = torch.tensor([0.1, -1.0, 2.0], requires_grad=True)
    >>> ternary = ternarize(w)
    >>> (ternary * torch.tensor([3.0, 4.0, 5.0])).sum().backward()
    >>> ternary.detach(), w.grad
    (tensor([ 0.0000, -1.5000,  1.5000]), tensor([3., 4., 5.]))
    """
    t, scale = ternary_signs(weight, axis)
    return _Straight.apply(weight, t * scale)


class _TrainedTernary(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
        threshold = SHARE * weight.abs().max()
        above, below = weight > threshold, weight < -threshold
        ctx.save_for_backward(above, below, positive, negative)
        high, low = positive.reshape(()).to(weight.dtype), -negative.reshape(()).to(weight.dtype)
        return torch.where(above, high, torch.where(below, low, 0))

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        above, below, positive, negative = ctx.saved_tensors
        factor = gradient.numel() ** -0.5  # as LSQ's, with q_max = 1
        high, low = positive.reshape(()), negative.reshape(())
        slope = torch.where(above, high, torch.where(below, low, 1)).to(gradient.dtype)
        wide = gradient.to(torch.promote_types(gradient.dtype, torch.float32))  # for the sums
        by_positive = (wide * above).sum() * factor
        by_negative = -(wide * below).sum() * factor
        return (
            gradient * slope,
            by_positive.reshape(positive.shape).to(positive.dtype),
            by_negative.reshape(negative.shape).to(negative.dtype),
        )


def ternarize_trained(weight: Tensor, positive: Tensor, negative: Tensor) -> Tensor:
    """Weights -negative, 0 or positive, both scales learned; up to 5 % of the largest become 0.

    A latent weight gets the gradient of its ternary one times the scale that this has, or times 1
    where it is 0. Each scale gets the sum over its weights, times 1/√N of all N: the sum of as many
    gradients is so much larger than one of them that SGD at the weights' own rate diverges.

    Args:
        weight: float, any shape with at least one number: the latent weights.
        positive, negative: one float each, usually above 0.

    Returns:
        weight's shape and dtype.

    Raises:
        TypeError: one of them is not floating point, or sparse.
        ValueError: weight has NaN or infinities or no numbers, or a scale is not one number.

    Source: Zhu et al. 2017, "Trained ternary quantization", section 3, equations 6 to 9.
    Differs: the gradients of the scales are those of the paper times 1/√N, as LSQ's are.

    >>> w = torch.tensor([0.01, -1.0, 2.0, 1.0], requires_grad=True)  # the threshold is 0.1
    >>> p, n = (torch.tensor(s, requires_grad=True) for s in (3.0, 0.5))
    >>> ternary = ternarize_trained(w, p, n)
    >>> ternary.sum().backward()
    >>> ternary.detach(), w.grad
    (tensor([ 0.0000, -0.5000,  3.0000,  3.0000]), tensor([1.0000, 0.5000, 3.0000, 3.0000]))
    >>> p.grad, n.grad  # of two and of one, times 1/2
    (tensor(1.), tensor(-0.5000))
    """
    rows, _ = channels(weight, None)
    _check_finite(rows.abs().max(), weight)
    for name, scale in (("positive", positive), ("negative", negative)):
        check_floats(scale, name)
        if scale.numel() != 1:
            raise ValueError(f"{name} must be one number, not of shape {tuple(scale.shape)}")
    return _TrainedTernary.apply(weight, positive, negative)


def _shaped(
    weight: Tensor, rows: Tensor, left: Tensor, shape: list[int], axis: int | None
) -> tuple[Tensor, Tensor]:
    """The signs of those that are left, in the weight's shape, and their mean magnitude by row."""
    counts = left.sum(1).clamp(min=1)
    scale = (rows.abs() * left).sum(1, dtype=_sums_in(rows)) / counts
    t = rows.sign() * left
    if axis is not None and weight.dim():
        moved = weight.movedim(axis, 0).shape
        t = t.reshape(moved).movedim(0, axis)
    return t.reshape(weight.shape), scale.to(rows.dtype).reshape(shape)


def _sums_in(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)  # a sum of 16-bit floats overflows


def _check_finite(found: Tensor, weight: Tensor) -> None:
    """Refuse weights where what was found of them is not finite."""
    if not found.isfinite().all():
        refuse_nonfinite(weight, "the weight")

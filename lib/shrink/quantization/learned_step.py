"""Learned step size quantization (LSQ): the scale is a parameter and has a gradient."""

import math

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


class _LearnedStep(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, step: Tensor, q_min: int, q_max: int, factor: float
    ) -> Tensor:
        ratio = x / step
        q = ratio.round().clamp(q_min, q_max)
        ctx.save_for_backward(ratio, q, step)
        ctx.ends, ctx.factor = (q_min, q_max), factor
        return q * step

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        ratio, q, step = ctx.saved_tensors
        q_min, q_max = ctx.ends
        inside = (ratio >= q_min) & (ratio <= q_max)
        # q - x/s inside, where rounding counts as the identity; q itself where x is clipped
        by_step = gradient * (q - ratio * inside)
        return gradient * inside, by_step.sum_to_size(step.shape) * ctx.factor, None, None, None


def fake_quantize_lsq(x: Tensor, step: Tensor, q_min: int, q_max: int) -> Tensor:
    """Quantize and dequantize x on multiples of a step that is learned, and pass gradients.

    The step's gradient is Σ gradient · (q - x/s) over the numbers inside the range, and q where x
    is clipped, times 1/√(N · q_max), with N numbers to a step.

    Args:
        x: float, any shape.
        step: float above 0, one for all, (), or one that broadcasts against x, a channel each.
        q_min, q_max: the lowest and highest integer, such as -3 and 3.

    Returns:
        x's shape and dtype.

    Source: Esser et al. 2020, "Learned step size quantization", section 2.1 and 2.2.

    >>> x, step = torch.tensor([0.2, 0.9, 5.0]), torch.tensor(0.5, requires_grad=True)
    >>> y = fake_quantize_lsq(x, step, q_min=-1, q_max=1)
    >>> y.sum().backward()
    >>> y.detach(), step.grad * 3**0.5  # 0 - 0.4, 1 and 1: the last two are clipped
    (tensor([0.0000, 0.5000, 0.5000]), tensor(1.6000))
    """
    numbers = x.numel() // max(step.numel(), 1)
    factor = 1 / math.sqrt(max(numbers * q_max, 1))
    return _LearnedStep.apply(x, step, q_min, q_max, factor)


def initial_step(x: Tensor, q_max: int, axis: int | None = None) -> Tensor:
    """Where a learned step starts: 2 · mean|x| / √q_max, () or one for each index along `axis`.

    Source: Esser et al. 2020, section 2.1.

    >>> initial_step(torch.tensor([-1.0, 3.0]), q_max=4)
    tensor(2.)
    """
    magnitudes = x.detach().abs()
    if axis is None:
        return 2 * magnitudes.mean() / math.sqrt(q_max)
    others = [d for d in range(x.dim()) if d != axis % x.dim()]
    return 2 * magnitudes.mean(others, keepdim=True) / math.sqrt(q_max)


def least_squares_step(x: Tensor, q_min: int, q_max: int, axis: int | None = None) -> Tensor:
    """The step with the least squared error, by turns: integers for a step, a step for integers.

    With integers q the best step is Σ x·q / Σ q²; with a step the best integers are the nearest.
    From each of several starts, the best is taken.
    """
    x = x.detach()
    rows = x.reshape(1, -1) if axis is None else x.movedim(axis, 0).flatten(1)
    largest = rows.abs().amax(1, keepdim=True).clamp(min=torch.finfo(x.dtype).tiny)
    best, least = largest / q_max, torch.full_like(largest, torch.inf)
    for part in torch.linspace(0.1, 1, 19, dtype=x.dtype, device=x.device):
        step = part * largest / q_max
        for _ in range(10):
            q = (rows / step).round().clamp(q_min, q_max)
            step = (rows * q).sum(1, keepdim=True) / (q * q).sum(1, keepdim=True).clamp(min=1)
            step = torch.where(step > 0, step, largest / q_max)
        error = ((q * step - rows) ** 2).sum(1, keepdim=True)
        best, least = torch.where(error < least, step, best), torch.minimum(error, least)
    if axis is None:
        return best.reshape(())
    return best.view([-1 if d == axis % x.dim() else 1 for d in range(x.dim())])

"""PACT: the upper end of an activation's range is a parameter and has a gradient."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from shrink.arguments import whole_number
from shrink.quantization.arguments import check_floats
from shrink.quantization.learned_step import check_step


class _LearnedClip(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, alpha: Tensor, highest: int) -> Tensor:
        ctx.save_for_backward(x, alpha)
        wide = torch.promote_types(x.dtype, torch.float32)
        scale = alpha.to(wide) / highest
        q = (x.to(wide) * scale.reciprocal()).round_().clamp_(0, highest)
        return q.mul_(scale).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        x, alpha = ctx.saved_tensors
        beyond = x >= alpha
        inside = (x >= 0) & ~beyond
        wide = torch.promote_types(gradient.dtype, torch.float32)  # halves overflow in a sum
        by_alpha = (gradient.to(wide) * beyond).sum()
        return gradient * inside, by_alpha.to(alpha.dtype), None


def fake_quantize_pact(x: Tensor, alpha: Tensor, num_bits: int) -> Tensor:
    """Clip x to 0 to alpha and quantize it to 2^b - 1 steps; alpha is learned.

    Alpha's gradient is that of all numbers that are clipped above, added up. The paper also decays
    alpha as weights are: its gradient alone only moves it where numbers are clipped.

    Args:
        x: float, any shape: a ReLU's output, or what would go into one.
        alpha: float () above 0.
        num_bits: 1 to 8.

    Returns:
        x's shape and dtype.

    Source: Choi et al. 2018, "PACT", section 3, equations 1 to 3.

    Raises:
        TypeError: x or alpha is not floating point, or sparse; or num_bits is not whole.
        ValueError: alpha is not above 0, not finite (with its value) or not one number, or
            num_bits is not 1 to 8.

    >>> x, alpha = torch.tensor([-1.0, 0.4, 1.5, 2.0]), torch.tensor(1.5, requires_grad=True)
    >>> y = fake_quantize_pact(x, alpha, num_bits=2)
    >>> y.sum().backward()
    >>> y.detach(), alpha.grad
    (tensor([0.0000, 0.5000, 1.5000, 1.5000]), tensor(2.))
    """
    num_bits = whole_number("num_bits", num_bits, 1, 8)
    check_floats(x)
    check_floats(alpha, "alpha")
    if alpha.dim():
        raise ValueError(f"alpha must be one number, not of shape {tuple(alpha.shape)}")
    check_step(alpha, x, "alpha")
    return _LearnedClip.apply(x, alpha, 2**num_bits - 1)

"""Fake quantization through which gradients pass: rounding has the derivative 0 or none."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from shrink.quantization.affine import QParams, fake_quantize


class _StraightThrough(torch.autograd.Function):
    """Rounds forward; backward the gradient passes where x lies inside the integers' range."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, qparams: QParams) -> Tensor:
        low, high = ends(qparams)
        ctx.save_for_backward((x >= low) & (x <= high))
        return fake_quantize(x, qparams).to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        (inside,) = ctx.saved_tensors
        return gradient * inside, None


def fake_quantize_ste(x: Tensor, qparams: QParams) -> Tensor:
    """Quantize and dequantize x, and let gradients pass straight through inside the range.

    The mean of round(x + u), with u uniform between -1/2 and 1/2, is x: so 1 is the derivative of
    rounding that is dithered. Outside of the range x moves nothing, and the gradient is 0.

    Args:
        x: float, of a shape that the parameters broadcast against.

    Returns:
        x's shape and dtype, the numbers that `fake_quantize` gives.

    Source: Bengio, Léonard and Courville 2013, section 4; Jacob et al. 2018, section 3.
    Differs: torch passes the gradient where the rounded integer is in range, half a step further.

    >>> p = QParams(torch.tensor(0.5), torch.tensor(0, dtype=torch.int32), num_bits=2)  # -1 to 0.5
    >>> x = torch.tensor([-2.0, -0.6, 0.2, 0.9], requires_grad=True)
    >>> y = fake_quantize_ste(x, p)
    >>> y.sum().backward()
    >>> y.detach(), x.grad
    (tensor([-1.0000, -0.5000,  0.0000,  0.5000]), tensor([0., 1., 1., 0.]))
    """
    return _StraightThrough.apply(x, qparams)


def ends(qparams: QParams) -> tuple[Tensor, Tensor]:
    """The least and the largest number that an integer stands for."""
    low, high = (q - qparams.zero_point for q in (qparams.q_min, qparams.q_max))
    return low * qparams.scale, high * qparams.scale

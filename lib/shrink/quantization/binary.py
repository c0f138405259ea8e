"""Weights of one bit: a sign each, and a scale for each output channel or layer."""

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def signs(x: Tensor) -> Tensor:
    """-1 or 1 of each number, x's dtype; of 0 it is 1, since one bit has no third value.

    >>> signs(torch.tensor([-0.3, 0.0, 2.0]))
    tensor([-1.,  1.,  1.])
    """
    return torch.where(x >= 0, 1, -1).to(x.dtype)


def binary_scale(weight: Tensor, axis: int | None = 0) -> Tensor:
    """The scale for signs with the least squared error: the mean magnitude, a channel or in all.

    Source: Rastegari et al. 2016, "XNOR-Net", section 3.1, equation 6.

    >>> binary_scale(torch.tensor([[1.0, -3.0], [0.5, 0.5]])).flatten()
    tensor([2.0000, 0.5000])
    """
    magnitudes = weight.detach().abs()
    if axis is None:
        return magnitudes.mean()
    others = [d for d in range(weight.dim()) if d != axis % weight.dim()]
    return magnitudes.mean(others, keepdim=True)


class _Binarized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, scale: Tensor, clip: float | None) -> Tensor:
        inside = None if clip is None else weight.abs() <= clip
        ctx.save_for_backward(*(() if inside is None else (inside,)))
        return signs(weight) * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None, None]:
        inside = ctx.saved_tensors
        return gradient * inside[0] if inside else gradient, None, None


def binarize(weight: Tensor, scale: Tensor | None = None, clip: float | None = None) -> Tensor:
    """Signs times a scale, of latent weights; the gradient goes straight through to these.

    Args:
        weight: float, any shape: the latent weights.
        scale: what `binary_scale` gives (None: of each output channel), or 1 as in BinaryConnect.
        clip: where the gradient stops, |w| > clip; None: nowhere.

    Source: Courbariaux, Bengio and David 2015, "BinaryConnect", section 2; Rastegari et al. 2016.

    >>> w = torch.tensor([[0.2, -0.4]], requires_grad=True)
    >>> binarize(w).detach()
    tensor([[ 0.3000, -0.3000]])
    """
    scale = binary_scale(weight) if scale is None else torch.as_tensor(scale, dtype=weight.dtype)
    return _Binarized.apply(weight, scale, clip)

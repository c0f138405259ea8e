"""Fake quantization through which gradients pass: rounding has the derivative 0 or none."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from shrink.quantization.affine import QParams, fitted
from shrink.quantization.arguments import check_floats, refuse_nan

PIECE = 2**17  # numbers at a time: few enough for the cache, many enough to share among threads


class _StraightThrough(torch.autograd.Function):
    """Rounds forward; backward the gradient passes where x lies inside the integers' range."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, qparams: QParams) -> Tensor:
        ctx.save_for_backward(x)
        ctx.qparams = qparams
        return _rounded(x, qparams)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, None]:
        (x,), p = ctx.saved_tensors, ctx.qparams
        scale, zero_point = fitted(p, x)
        gradient, place, unit, zero = gradient.float(), x.float(), 1.0, 0
        if scale.numel() == 1:  # the ends are brought to x, and else x to the ends
            unit, zero = float(scale), int(zero_point)
        else:
            place = place.mul(scale.reciprocal()).add_(zero_point)
        low, high = p.q_min - zero, p.q_max - zero
        return pass_inside(gradient, place, low, high, unit).to(x.dtype), None


def fake_quantize_ste(x: Tensor, qparams: QParams) -> Tensor:
    """Quantize and dequantize x, and let gradients pass straight through inside the range.

    The mean of round(x + u), with u uniform between -1/2 and 1/2, is x: so 1 is the derivative of
    rounding that is dithered. Outside of the range x moves nothing, and the gradient is 0.

    Args:
        x: float, of a shape that the parameters broadcast against.

    Returns:
        x's shape and dtype, the numbers that `fake_quantize` gives.

    Source: Bengio, Léonard and Courville 2013, section 4; Jacob et al. 2018, section 3.
    Differs: torch's `fake_quantize_per_tensor_affine` passes the gradient where the rounded integer
        is in range, half a step further.

    Raises:
        TypeError: x is not floating point, or sparse.
        ValueError: x has NaN, which no integer stands for (with how many); or its shape does not
            fit.

    >>> p = QParams(torch.tensor(0.5), torch.tensor(0, dtype=torch.int32), num_bits=2)  # -1 to 0.5
    >>> x = torch.tensor([-2.0, -0.6, 0.2, 0.9], requires_grad=True)
    >>> y = fake_quantize_ste(x, p)
    >>> y.sum().backward()
    >>> y.detach(), x.grad
    (tensor([-1.0000, -0.5000,  0.0000,  0.5000]), tensor([0., 1., 1., 0.]))
    """
    check_floats(x)
    return _StraightThrough.apply(x, qparams)


def _rounded(x: Tensor, qparams: QParams) -> Tensor:
    """What `fake_quantize` gives, of x's type, without the integers in between."""
    y = torch.empty(x.shape, device=x.device)
    moved = bool(qparams.zero_point.any())
    for scale, zero_point, numbers, q in in_pieces(fitted(qparams, x), (x, y)):
        torch.mul(numbers.float(), scale.reciprocal(), out=q).round_()
        if moved:
            q.add_(zero_point)
        q.clamp_(qparams.q_min, qparams.q_max)
        refuse_nan(q.sum(), x)
        if moved:
            q.sub_(zero_point)
        q.mul_(scale)
    return y.to(x.dtype)


def pass_inside(gradient: Tensor, place: Tensor, low: int, high: int, unit: float = 1.0) -> Tensor:
    """The gradient where a place lies between two integers, both times a unit; elsewhere 0.

    It is the gradient of a clamp, which torch computes without a mask. A place that rounding put
    next to an end counts as there: so the weight that a range was made for is not outside.
    """
    slack = (high - low + 1) * 2**-20
    ends = (low - slack) * unit, (high + slack) * unit
    return torch.ops.aten.hardtanh_backward(gradient, place, *ends)


def in_pieces(
    parameters: tuple[Tensor, ...], tensors: tuple[Tensor, ...]
) -> Iterator[tuple[Tensor, ...]]:
    """Parts of parameters and of tensors of one shape that belong together, small on a CPU.

    What is written into the parts of a contiguous tensor is written into it.
    """
    one, first = parameters[0], tensors[0]
    if one.numel() == 1 and first.device.type == "cpu":
        numbers = [p.reshape(()) for p in parameters]
        for parts in zip(*(t.detach().reshape(-1).split(PIECE) for t in tensors), strict=True):
            yield *numbers, *parts
    elif one.dim() == first.dim() and len(one) == one.numel() and first.device.type == "cpu":
        rows = max(PIECE // max(first[:1].numel(), 1), 1)
        yield from zip(*(t.detach().split(rows) for t in (*parameters, *tensors)), strict=True)
    else:
        yield *parameters, *(t.detach() for t in tensors)

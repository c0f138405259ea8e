"""Weights of one bit: a sign each, and a scale for each output channel or layer.

Training moves *latent* weights, floats of which the network only ever sees the signs. A step is
far smaller than the distance between the two signs, and the latent weights add such steps up.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from shrink.arguments import check_real, whole
from shrink.quantization.arguments import check_floats, refuse_nonfinite


def signs(x: Tensor) -> Tensor:
    """-1 or 1 of each number; of 0 and of -0 it is 1, since one bit has no third value.

    Args:
        x: float, any shape.

    Returns:
        x's shape and dtype.

    Raises:
        TypeError: x is not floating point, or sparse.
        ValueError: x has NaN, which has no sign (with how many).

    >>> signs(torch.tensor([-0.3, 0.0, -0.0, 2.0]))
    tensor([-1.,  1.,  1.,  1.])
    """
    check_floats(x)
    x = x.detach()
    total = x.sum(dtype=torch.promote_types(x.dtype, torch.float32))
    if total.isnan() and (nans := int(x.isnan().sum())):  # an infinity less another is NaN, too
        raise ValueError(f"{nans} of {x.numel()} values are NaN, and have no sign")
    return torch.copysign(torch.ones_like(x), x + 0.0)  # -0 + 0 is 0, whose sign is +


def binary_scale(weight: Tensor, axis: int | None = 0) -> Tensor:
    """The scale for signs with the least squared error: the mean magnitude, a channel or in all.

    For the signs b = ±1 of n weights the error Σ (w - s·b)² is least at s = Σ w·b / Σ b², which is
    Σ |w| / n.

    Args:
        weight: float, any shape with at least one number.
        axis: a scale for each index along this axis; 0 for the outputs of a linear layer or a
            convolution. None: one for all.

    Returns:
        weight's dtype, without gradient: (), or weight's axes, all of length 1 but this.

    Raises:
        TypeError: weight is not floating point, or sparse.
        ValueError: weight has NaN or infinities, no numbers, or no such axis.

    Source: Rastegari et al. 2016, "XNOR-Net", section 3.1, equation 6.

    >>> binary_scale(torch.tensor([[1.0, -3.0], [0.5, 0.5]])).flatten()
    tensor([2.0000, 0.5000])
    """
    rows, shape = channels(weight, axis)
    scale = rows.abs().mean(1)
    if not scale.isfinite().all():
        refuse_nonfinite(weight, "the weight")
    return scale.reshape(shape)


class _Binarized(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, scale: Tensor, clip: float | None) -> Tensor:
        sign = signs(weight)
        saved = [] if clip is None else [weight.abs() <= clip]
        ctx.clipped, ctx.shape, ctx.dtype = clip is not None, scale.shape, scale.dtype
        if ctx.needs_input_grad[1]:
            saved.append(sign)
        ctx.save_for_backward(*saved)
        return sign * scale

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        saved, by_scale = list(ctx.saved_tensors), None
        by_weight = gradient * saved.pop(0) if ctx.clipped else gradient
        if ctx.needs_input_grad[1]:
            wide = torch.promote_types(gradient.dtype, torch.float32)  # halves overflow in a sum
            by_scale = (gradient.to(wide) * saved.pop()).sum_to_size(ctx.shape)
            by_scale = by_scale * (max(by_scale.numel(), 1) / gradient.numel()) ** 0.5
            by_scale = by_scale.to(ctx.dtype)
        return by_weight, by_scale, None


def binarize(
    weight: Tensor, scale: Tensor | float | None = None, clip: float | None = None
) -> Tensor:
    """Signs times a scale, of latent weights; the gradient goes straight through to these.

    The latent weights are given the gradient of the signs as it is, not times the scale. A scale
    that needs a gradient gets Σ gradient · sign over its n weights times 1/√n, the factor of LSQ.

    Args:
        weight: float, any shape: the latent weights.
        scale: a number, or a tensor that broadcasts against the weight; None: what `binary_scale`
            gives for each output channel.
        clip: latent weights beyond, |w| > clip, get no gradient; None: all do, as in BinaryConnect.

    Returns:
        weight's shape and dtype.

    Raises:
        TypeError: weight is not floating point, or sparse; clip or scale is no real number.
        ValueError: weight has NaN, the scale does not fit its shape, or clip is not above 0.

    Source: Courbariaux, Bengio and David 2015, "BinaryConnect", sections 2.2 to 2.4; the scale as
    in Rastegari et al. 2016, section 3.1.
    Differs: XNOR-Net's gradient has two terms, of the sign and of the scale, which we hold fixed.

    >>> w = torch.tensor([[0.2, -0.4]], requires_grad=True)
    >>> binary = binarize(w)
    >>> (binary * torch.tensor([3.0, 5.0])).sum().backward()
    >>> binary.detach(), w.grad
    (tensor([[ 0.3000, -0.3000]]), tensor([[3., 5.]]))
    """
    check_floats(weight, "weight")
    if clip is not None:
        _check_bound("clip", clip)
    if scale is None:
        scale = binary_scale(weight)
    elif isinstance(scale, Tensor):
        check_floats(scale, "scale")
    else:
        check_real("scale", scale)
        scale = torch.tensor(scale)
    scale = scale.to(weight.device, weight.dtype)
    check_fits(scale, weight, "a scale")
    return _Binarized.apply(weight, scale, clip)


def clip_latents_(weights: Tensor | Iterable[Tensor], bound: float) -> None:
    """Put latent weights beyond ±bound back to it, in place: a call after each optimizer step.

    A latent weight far out would need many steps until its sign turns, and has no effect meanwhile.
    The bound is of the size that latent weights have: BinaryConnect's signs are ±1, or ±H with H of
    the order of Glorot's initial values, and its bound is the same number. Where latent weights
    are around 0.03, a bound of 1 clips nothing.

    Raises:
        TypeError: one is not floating point, or the bound is no real number.
        ValueError: the bound is not above 0.

    Source: Courbariaux, Bengio and David 2015, section 2.4.

    >>> w = torch.nn.Parameter(torch.tensor([-0.5, 0.01, 0.07]))
    >>> clip_latents_(w, bound=0.05)
    >>> w.data
    tensor([-0.0500,  0.0100,  0.0500])
    """
    _check_bound("bound", bound)
    weights = [weights] if isinstance(weights, Tensor) else list(weights)
    for weight in weights:
        check_floats(weight, "weight")
    with torch.no_grad():
        for weight in weights:
            weight.clamp_(-bound, bound)


def channels(weight: Tensor, axis: int | None) -> tuple[Tensor, list[int]]:
    """The numbers of each channel as a row, without gradient, and the shape of one for each row.

    `axis` None makes one row of all, and that shape ().

    >>> rows, shape = channels(torch.ones(4, 3, 2), axis=1)
    >>> tuple(rows.shape), shape
    ((3, 8), [1, 3, 1])
    """
    check_floats(weight, "weight")
    if not weight.numel():
        raise ValueError(f"a weight of shape {tuple(weight.shape)} has no numbers: no mean")
    if axis is None:
        return weight.detach().reshape(1, -1), []
    channel = whole(axis)
    if channel is None or not -weight.dim() <= channel < weight.dim():
        raise ValueError(f"no axis {axis!r} in a tensor of shape {tuple(weight.shape)}")
    channel %= weight.dim()
    count = weight.shape[channel]
    rows = weight.detach().movedim(channel, 0).reshape(count, -1)
    return rows, [count if d == channel else 1 for d in range(weight.dim())]


def check_fits(scale: Tensor, weight: Tensor, what: str) -> None:
    """Raise `ValueError` unless it broadcasts against the weight, whose shape stays."""
    try:
        fits = torch.broadcast_shapes(scale.shape, weight.shape) == weight.shape
    except RuntimeError:
        fits = False
    if not fits:
        shapes = f"{tuple(scale.shape)} does not fit a weight of shape {tuple(weight.shape)}"
        raise ValueError(f"{what} of shape {shapes}")


def _check_bound(name: str, bound: object) -> None:
    check_real(name, bound)
    if not bound > 0:
        raise ValueError(f"{name} must be above 0, not {bound}")

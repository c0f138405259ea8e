"""Learned step size quantization (LSQ): the scale is a parameter and has a gradient.

A wider step clips less and rounds more coarsely; the loss says which matters more, and the step
learns it beside the weights.
"""

import math

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from shrink.arguments import whole_number
from shrink.quantization.arguments import check_floats, refuse_nonfinite
from shrink.quantization.binary import signs
from shrink.quantization.straight_through import in_pieces, pass_inside


class _LearnedStep(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: FunctionCtx, x: Tensor, step: Tensor, q_min: int, q_max: int, factor: float
    ) -> Tensor:
        ctx.save_for_backward(x, step)
        ctx.ends, ctx.factor = (q_min, q_max), factor
        y = torch.empty(x.shape, dtype=_wide(x), device=x.device)
        for s, numbers, q in in_pieces((step.to(y.dtype),), (x, y)):
            _place(numbers, s, out=q).round_().clamp_(q_min, q_max).mul_(s)
        return y.to(x.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, step = ctx.saved_tensors
        q_min, q_max = ctx.ends
        by_x = torch.empty(x.shape, dtype=_wide(x), device=x.device)
        by_step = torch.zeros(step.shape, dtype=by_x.dtype, device=x.device)
        parameters = step.to(by_x.dtype), by_step
        tensors = x, gradient.to(by_x.dtype), by_x
        for s, total, numbers, given, passed in in_pieces(parameters, tensors):
            place = _place(numbers, s)
            passed.copy_(pass_inside(given, place, q_min, q_max))
            q = place.clamp_(q_min, q_max).round()
            # q - x/s inside, where rounding counts as the identity; q itself where x is clipped
            moved = (given - passed).mul_(q).addcmul_(passed, q.sub_(place))
            total += moved.sum_to_size(s.shape)
        return by_x.to(x.dtype), (by_step * ctx.factor).to(step.dtype), None, None, None


def _wide(x: Tensor) -> torch.dtype:
    return torch.promote_types(x.dtype, torch.float32)


def _place(x: Tensor, step: Tensor, out: Tensor | None = None) -> Tensor:
    """x in steps, of the step's type, multiplied by the reciprocal as `quantize` has it."""
    return torch.mul(x.to(step.dtype), step.reciprocal(), out=out)


def fake_quantize_lsq(
    x: Tensor, step: Tensor, q_min: int, q_max: int, numbers: int | None = None
) -> Tensor:
    """Quantize and dequantize x on multiples of a step that is learned, and pass gradients.

    The step's gradient is Σ gradient · (q - x/s) over the numbers inside the range, and q where x
    is clipped, times 1/√(N · q_max), with N numbers to a step.

    Args:
        x: float, any shape.
        step: float above 0, (), or one per channel of a shape that broadcasts against x.
        q_min, q_max: the lowest and highest integer, at most 0 and at least 1, such as -3 and 3.
        numbers: N. None: all of x, divided by the number of steps. For activations the paper counts
            those of one image, so that a larger batch does not slow the step down.

    Returns:
        x's shape and dtype; x is multiplied by the reciprocal of the step, in float32 at least, as
        `quantize` does.

    Source: Esser et al. 2020, "Learned step size quantization", sections 2.1 and 2.2.
    Differs: a number exactly at an end counts as inside. torch's own function
        (`_fake_quantize_learnable_per_tensor_affine`) counts as inside what rounds to an end, half
        a step further.

    Raises:
        TypeError: x or the step is not floating point, or sparse; or an end is not whole.
        ValueError: a step is not above 0 (at least 1.2e-38) or not finite, with its value; its
            shape does not fit; or the ends are none.

    >>> x, step = torch.tensor([0.2, 0.9, 5.0]), torch.tensor(0.5, requires_grad=True)
    >>> y = fake_quantize_lsq(x, step, q_min=-1, q_max=1)
    >>> y.sum().backward()
    >>> y.detach(), step.grad * 3**0.5  # 0 - 0.4, 1 and 1: the last two are clipped
    (tensor([0.0000, 0.5000, 0.5000]), tensor(1.6000))
    """
    check_floats(x)
    check_step(step, x)
    q_min, q_max = _ends(q_min, q_max)
    return _LearnedStep.apply(x, step, q_min, q_max, _factor(x, step, q_max, numbers))


def integers_lsq(x: Tensor, step: Tensor, q_min: int, q_max: int) -> Tensor:
    """The integers that `fake_quantize_lsq` multiplies by the step, int8 of x's shape.

    Raises as that function does, and `ValueError` for integers that int8 does not hold.

    >>> integers_lsq(torch.tensor([0.2, 0.9, 5.0]), torch.tensor(0.5), q_min=-1, q_max=1)
    tensor([0, 1, 1], dtype=torch.int8)
    """
    check_floats(x)
    check_step(step, x)
    q_min, q_max = _ends(q_min, q_max, 128)
    place = _place(x.detach(), step.detach().to(_wide(x)))
    return place.round_().clamp_(q_min, q_max).to(torch.int8)


def _ends(q_min: int, q_max: int, beyond: int = 2**16) -> tuple[int, int]:
    """The lowest and the highest integer; raises unless 0 lies between them, and all are within."""
    return (
        whole_number("q_min", q_min, -beyond, 0),
        whole_number("q_max", q_max, 1, beyond - 1),
    )


def check_step(step: Tensor, x: Tensor, what: str = "the step") -> None:
    """Raise unless steps are floats above 0, not infinite, and broadcast against x."""
    check_floats(step, what)
    try:
        fits = torch.broadcast_shapes(step.shape, x.shape) == x.shape
    except RuntimeError:
        fits = False
    if not fits:
        shapes = f"{tuple(step.shape)} does not fit a tensor of shape {tuple(x.shape)}"
        raise ValueError(f"{what} of shape {shapes}")
    low, high = (end.item() for end in step.detach().aminmax())
    least = torch.finfo(torch.float32).tiny  # the reciprocal of less is infinite
    if not (least <= low and high < math.inf):
        raise ValueError(
            f"{what} must be above 0 and finite, not {low if not low >= least else high:g}: "
            "a lower learning rate for it, or a gradient that is scaled, keeps it there"
        )


class _LearnedSigns(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, weight: Tensor, step: Tensor, factor: float) -> Tensor:
        q = signs(weight)
        ctx.save_for_backward(q, step)
        ctx.factor = factor
        return (q * step).to(weight.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        q, step = ctx.saved_tensors
        by_step = (gradient.to(_wide(gradient)) * q).sum_to_size(step.shape) * ctx.factor
        return gradient, by_step.to(step.dtype), None


def binarize_lsq(weight: Tensor, step: Tensor) -> Tensor:
    """Signs times a step that is learned: of one bit, where there is no 0 and nothing is clipped.

    The gradient goes straight through to the weight. The step's is Σ gradient · sign, which is
    exact, since the signs do not depend on the step; times 1/√N, and N is the numbers to a step.

    Args:
        weight: float, any shape: the latent weights. The sign of 0 is 1.
        step: float above 0, () or broadcasting, as of `fake_quantize_lsq`, which also raises alike.

    Source: `fake_quantize_lsq` with the integers -1 and 1, which the paper leaves out.

    >>> w, step = torch.tensor([0.2, -0.9]), torch.tensor(0.5, requires_grad=True)
    >>> y = binarize_lsq(w, step)
    >>> y.backward(torch.tensor([3.0, 1.0]))
    >>> y.detach(), round(step.grad.item() * 2**0.5, 6)  # 3 - 1
    (tensor([ 0.5000, -0.5000]), 2.0)
    """
    check_floats(weight, "the weight")
    check_step(step, weight)
    return _LearnedSigns.apply(weight, step, _factor(weight, step, 1, None))


def _factor(x: Tensor, step: Tensor, q_max: int, numbers: int | None) -> float:
    numbers = x.numel() // max(step.numel(), 1) if numbers is None else numbers
    return 1 / math.sqrt(max(numbers * q_max, 1))


def least_squares_step(x: Tensor, q_min: int, q_max: int, axis: int | None = None) -> Tensor:
    """The step with the least squared error, by turns: integers for a step, a step for integers.

    With integers q the best step is Σ x·q / Σ q²; with a step the best integers are the nearest.
    Ten such turns from each of 19 starts, 0.1 to 1 of the step that clips nothing; the best is
    taken. Its error is within 1 % of the least, and 2 % with 8 bits, where many steps are nearly as
    good. Where all numbers are 0 the step is 1.

    Args:
        x: float, any shape, finite.
        q_min, q_max: the lowest and highest integer.
        axis: a step for each index along this axis, of x's axes, all of length 1 but this; None:
            one for all, ().

    Returns:
        float32 at least.

    Raises:
        TypeError: x is not floating point, or sparse; or an end or the axis is not whole.
        ValueError: x is empty, has NaN or infinities (with how many), or has no such axis; or the
            ends are none.

    >>> least_squares_step(torch.tensor([0.1, -0.9, 1.1]), q_min=-1, q_max=1)  # integers 0, -1, 1
    tensor(1.)
    """
    check_floats(x)
    refuse_nonfinite(x, "the tensor")
    q_min, q_max = _ends(q_min, q_max)
    axis = None if axis is None else whole_number("axis", axis, -x.dim(), x.dim() - 1)
    if x.numel() == 0:
        raise ValueError(f"no step for a tensor of shape {tuple(x.shape)}: it has no numbers")
    x = x.detach().to(_wide(x))
    rows = x.reshape(1, -1) if axis is None else x.movedim(axis, 0).flatten(1)
    largest = rows.abs().amax(1, keepdim=True)
    largest = torch.where(largest > 0, largest, q_max)
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

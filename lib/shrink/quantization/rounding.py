"""Which of the two integers beside it a weight becomes, so that the layer's output errs least.

The mean squared error of an output is Δᵀ G Δ, with Δ the error of its weights and G = E[xxᵀ] of its
inputs (`moments`). Rounding to nearest makes each Δᵢ least; what counts is how they add up.
"""

import torch
from torch import Tensor

from shrink.quantization.affine import QParams, fitted, quantize
from shrink.quantization.moments import by_group

MOST = 16  # inputs of a kernel of which all roundings are tried: 65 536


def floors(weight: Tensor, qparams: QParams) -> tuple[Tensor, Tensor]:
    """The integer below each weight, and the next, within the range: float64, of its shape."""
    scale, zero_point = fitted(qparams, weight)
    low = (weight.detach().double() / scale.double()).floor() + zero_point
    bounds = qparams.q_min, qparams.q_max
    return low.clamp(*bounds), (low + 1).clamp(*bounds)


def round_exactly(weight: Tensor, qparams: QParams, products: Tensor) -> Tensor:
    """The rounding of the least output error there is: all 2ⁿ of each kernel are tried.

    Args:
        weight: float (outputs, ...), with at most 16 inputs to an output.
        qparams: symmetric, one scale, or one for each output.
        products: E[xxᵀ] of the inputs, (groups, inputs, inputs), as `moments.Moments` has it.

    Returns:
        Integers of the weight's shape, as `quantize` gives them, each the one below or above.
    """
    inputs = weight[0].numel()
    if inputs > MOST:
        raise ValueError(f"all roundings are tried of at most {MOST} inputs, not of {inputs}")
    low, high = floors(weight, qparams)
    scale = fitted(qparams, weight)[0].double().expand(weight.shape)
    start = by_group(low * scale - weight.detach().double(), products)
    step = by_group((high - low) * scale, products)
    choices = (torch.arange(2**inputs)[:, None] >> torch.arange(inputs)) & 1
    choices = choices.to(weight.device).double()
    best = []
    for g, starts, steps in zip(products.double(), start, step, strict=True):
        for first, each in zip(starts, steps, strict=True):
            quadratic = each[:, None] * g * each
            errors = ((choices @ quadratic) * choices).sum(1) + choices @ (2 * each * (g @ first))
            best.append(choices[errors.argmin()])
    up = torch.stack(best).view(weight.shape)
    return torch.where(up > 0, high, low).to(qparams.dtype)


def round_by_descent(weight: Tensor, qparams: QParams, products: Tensor) -> Tensor:
    """From the nearest integers on, the one weight of each output whose change helps most, again.

    Ends where no single change helps: no better than the optimum, never worse than nearest.
    Arguments and result are those of `round_exactly`, with any number of inputs.
    """
    low, high = floors(weight, qparams)
    scale = fitted(qparams, weight)[0].double().expand(weight.shape)
    q = quantize(weight, qparams).double().clamp(low, high)
    g = products.double()
    error = by_group(q * scale - weight.detach().double(), g)
    q, low, high, scale = (by_group(x, g) for x in (q, low, high, scale))
    diagonal = g.diagonal(dim1=1, dim2=2)[:, None]
    slope = error @ g
    while True:
        change = (low + high - 2 * q) * scale  # to the other one of the two
        gain = -(2 * change * slope + change**2 * diagonal)
        most, which = gain.max(-1, keepdim=True)
        helps = most > 1e-12 * diagonal.amax(-1, keepdim=True) * scale.amax(-1, keepdim=True) ** 2
        if not helps.any():
            return q.reshape(weight.shape).to(qparams.dtype)
        taken = torch.zeros_like(q).scatter_(-1, which, helps.double())
        slope += (taken * change) @ g
        q += taken * (low + high - 2 * q)

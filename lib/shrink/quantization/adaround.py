"""AdaRound: the rounding of a layer, learned by gradient descent on its output error."""

import math

import torch
from torch import Tensor

from shrink.quantization.affine import QParams, fitted
from shrink.quantization.moments import by_group
from shrink.quantization.rounding import floors

ZETA, GAMMA = 1.1, -0.1  # the sigmoid is stretched to reach 0 and 1


def rectified_sigmoid(v: Tensor) -> Tensor:
    """How far up each weight is rounded: a sigmoid from -0.1 to 1.1, clamped to 0 and 1."""
    return (v.sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def initial_variables(fraction: Tensor) -> Tensor:
    """The v of which `rectified_sigmoid` is the fraction between the two integers."""
    p = (fraction - GAMMA) / (ZETA - GAMMA)
    return (p / (1 - p)).log()


def rounding_regulariser(h: Tensor, beta: float) -> Tensor:
    """Σ 1 - |2h - 1|^β, 0 where every h is 0 or 1."""
    return (1 - (2 * h - 1).abs() ** beta).sum()


def adaround(
    weight: Tensor,
    qparams: QParams,
    products: Tensor,
    *,
    steps: int = 500,
    learning_rate: float = 0.1,
    weight_of_regulariser: float = 1.0,
    betas: tuple[float, float] = (20.0, 2.0),
    warm_up: float = 0.2,
) -> Tensor:
    """The rounding that gradient descent finds. Arguments and result as of `rounding`.

    Source: Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization",
        section 3.2, equations 21 to 24.
    """
    low, high = floors(weight, qparams)
    scale = fitted(qparams, weight)[0].double().expand(weight.shape)
    g = products.double()
    start = by_group(low * scale - weight.detach().double(), g)
    step = by_group((high - low) * scale, g)
    fraction = by_group((weight.detach().double() / scale - low).clamp(0, 1), g)
    nearest = fraction.round()
    # a step of the learning rate means the same in every layer: an h of 1 alone costs 1, on average
    cost = (step**2 * g.diagonal(dim1=1, dim2=2)[:, None]).mean(-1, keepdim=True)
    unit = torch.where(cost > 0, cost, 1).sqrt()
    h = _descend(
        *(x.float() for x in (start / unit, step / unit, fraction, g)),
        steps,
        learning_rate,
        weight_of_regulariser,
        betas,
        warm_up,
    )
    better = _error(start + step * h.round(), g) < _error(start + step * nearest, g)
    up = torch.where(better, h.round().double(), nearest).reshape(weight.shape)
    return torch.where(up > 0, high, low).to(qparams.dtype)


def _error(error: Tensor, g: Tensor) -> Tensor:
    return (error @ g * error).sum(-1, keepdim=True)


@torch.enable_grad()
def _descend(start, step, fraction, g, steps, learning_rate, weight_of_regulariser, betas, warm_up):
    v = initial_variables(fraction).requires_grad_()
    optimizer = torch.optim.Adam([v], learning_rate)
    warm = round(warm_up * steps)
    for i in range(steps):
        h = rectified_sigmoid(v)
        loss = _error(start + step * h, g).sum()
        if i >= warm:
            done = (i - warm) / (steps - warm)
            beta = betas[1] + (betas[0] - betas[1]) * 0.5 * (1 + math.cos(done * math.pi))
            loss = loss + weight_of_regulariser * rounding_regulariser(h, beta)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return rectified_sigmoid(v.detach())

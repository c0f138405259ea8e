"""AdaRound: the rounding of a layer, learned by gradient descent on its output error."""

import torch
from torch import Tensor

from shrink.quantization.affine import QParams, fitted
from shrink.quantization.moments import by_group
from shrink.quantization.rounding import floors

ZETA, GAMMA = 1.1, -0.1  # the sigmoid is stretched to reach 0 and 1


def rectified_sigmoid(v: Tensor) -> Tensor:
    """How far up each weight is rounded, h = clamp(σ(v) (ζ - γ) + γ, 0, 1)."""
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
    learning_rate: float = 0.02,
    weight_of_regulariser: float = 0.01,
    betas: tuple[float, float] = (20.0, 2.0),
    warm_up: float = 0.2,
) -> Tensor:
    """The rounding that gradient descent finds. Arguments and result as of `rounding`.

    Source: Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization",
        section 3.2, equations 21 to 24.
    """
    low, high = floors(weight, qparams)
    g = products.double()
    scale = fitted(qparams, weight)[0].double().expand(weight.shape)
    fraction = (weight.detach().double() / scale - low).clamp(0, 1)
    start = by_group(low * scale - weight.detach().double(), g)
    step = by_group((high - low) * scale, g)
    v = initial_variables(by_group(fraction, g)).requires_grad_()
    with torch.no_grad():
        error = start + step * by_group(fraction, g).round()
        size = (error @ g * error).sum(-1, keepdim=True).clamp(min=1e-30)  # of each output
    optimizer = torch.optim.Adam([v], learning_rate)
    for i in range(steps):
        h = rectified_sigmoid(v)
        error = start + step * h
        loss = ((error @ g * error).sum(-1, keepdim=True) / size).sum()
        if i >= warm_up * steps:
            done = (i - warm_up * steps) / (steps - warm_up * steps)
            beta = betas[1] + (betas[0] - betas[1]) * 0.5 * (
                1 + torch.tensor(done * torch.pi).cos()
            )
            loss = loss + weight_of_regulariser * rounding_regulariser(h, float(beta))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    up = (rectified_sigmoid(v.detach()) >= 0.5).reshape(weight.shape)
    return torch.where(up, high, low).to(qparams.dtype)

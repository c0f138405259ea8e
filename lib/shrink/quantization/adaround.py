"""AdaRound: the rounding of a layer, learned by gradient descent on its output error.

Each weight is ⌊w/s⌋ + h with h between 0 and 1, a function of a variable v that is learned. The
loss is the output error Δᵀ G Δ plus a regulariser that draws h to 0 or 1; in the end h is rounded.
"""

import math

import torch
from torch import Tensor

from shrink.arguments import check_real, whole_number
from shrink.quantization.affine import QParams, fitted, quantize
from shrink.quantization.arguments import check_floats, refuse_nonfinite
from shrink.quantization.moments import by_group
from shrink.quantization.rounding import floors

ZETA, GAMMA = 1.1, -0.1  # the sigmoid is stretched to reach 0 and 1


def rectified_sigmoid(v: Tensor) -> Tensor:
    """How far up each weight is rounded: a sigmoid from -0.1 to 1.1, clamped to 0 and 1.

    Source: Louizos et al. 2018; Nagel et al. 2020, equation 23.

    >>> rectified_sigmoid(torch.tensor([-9.0, 0.0, 9.0]))
    tensor([0.0000, 0.5000, 1.0000])
    """
    return (v.sigmoid() * (ZETA - GAMMA) + GAMMA).clamp(0, 1)


def initial_variables(fraction: Tensor) -> Tensor:
    """The v of which `rectified_sigmoid` is the fraction: training begins at the float weights.

    Args:
        fraction: of a weight between the integers below and above it, 0 to 1.

    >>> rectified_sigmoid(initial_variables(torch.tensor([0.0, 0.25, 1.0])))
    tensor([0.0000, 0.2500, 1.0000])
    """
    p = (fraction - GAMMA) / (ZETA - GAMMA)
    return (p / (1 - p)).log()


def rounding_regulariser(h: Tensor, beta: float) -> Tensor:
    """Σ 1 - |2h - 1|^β: 0 where every h is 0 or 1, and 1 for each that is one half; a number, ().

    With a large β it is flat except near 0 and 1, and h is free; with 2 it draws all of them.

    Source: Nagel et al. 2020, equation 24.

    >>> h = torch.tensor([0.0, 0.25, 0.5])
    >>> rounding_regulariser(h, 2), rounding_regulariser(h, 20)
    (tensor(1.7500), tensor(2.0000))
    """
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
    """The rounding that gradient descent finds; nearest for an output where that errs less.

    Nothing is drawn at random. The first three arguments, the result and the errors are those of
    `rounding.round_exactly`, with any number of inputs.

    Args:
        steps: of Adam, all outputs together.
        learning_rate: of v.
        weight_of_regulariser: λ, where 1 is what rounding one weight alone the other way costs, in
            the mean over an output's weights.
        betas: where the exponent starts and ends; between them it falls as half a cosine.
        warm_up: the share of steps before the regulariser sets in.

    Source: Nagel et al. 2020, "Up or Down? Adaptive Rounding for Post-Training Quantization",
        sections 3.1 and 3.2, equations 21 to 25.
    Differs: the paper draws batches of images and compares outputs behind the activation function;
        here G stands for all images, and each layer is rounded by itself. Outputs have a loss in
        units of their own, so that one λ fits all layers.

    Raises:
        TypeError: steps is not whole, or a rate, a weight or a beta is no number.
        ValueError: steps is below 1, warm_up is not 0 to 1, the learning rate or a beta is not
            above 0, or λ is below 0; none of them may be infinite.

    >>> p = QParams(torch.tensor(1.0), torch.tensor(0, dtype=torch.int32))
    >>> g = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]])  # large together: 0.6 - 0.3, not -0.4 - 0.3
    >>> adaround(torch.tensor([[0.4, 0.3]]), p, g)
    tensor([[1, 0]], dtype=torch.int8)
    """
    steps = whole_number("steps", steps, 1)
    if not 0 <= warm_up <= 1:
        raise ValueError(f"warm_up is a share of the steps, 0 to 1, not {warm_up}")
    named = {"learning_rate": learning_rate, "the first beta": betas[0], "the last beta": betas[1]}
    for name, number in {**named, "weight_of_regulariser": weight_of_regulariser}.items():
        check_real(name, number)
        if not 0 <= number < math.inf or (number == 0 and name in named):
            least = "above" if name in named else "at least"
            raise ValueError(f"{name} must be {least} 0 and finite, not {number}")
    check_floats(products, "the matrix of products")
    refuse_nonfinite(products, "the matrix of products")
    low, high = floors(weight, qparams)
    scale = fitted(qparams, weight)[0].double().expand(weight.shape)
    g = products.double()
    start = by_group(low * scale - weight.detach().double(), g)
    step = by_group((high - low) * scale, g)
    fraction = by_group((weight.detach().double() / scale - low).clamp(0, 1), g)
    nearest = by_group(quantize(weight, qparams) > low, g)
    # in units of what rounding one weight alone the other way costs, in the mean over an output's
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
    better = _errors(start + step * h.round(), g) < _errors(start + step * nearest, g)
    up = torch.where(better, h.round().double(), nearest).reshape(weight.shape)
    return torch.where(up > 0, high, low).to(qparams.dtype)


def _errors(error: Tensor, g: Tensor) -> Tensor:
    """Δᵀ G Δ of each output, (groups, outputs, 1)."""
    return (error @ g * error).sum(-1, keepdim=True)


@torch.enable_grad()
def _descend(
    start: Tensor,
    step: Tensor,
    fraction: Tensor,
    g: Tensor,
    steps: int,
    learning_rate: float,
    weight_of_regulariser: float,
    betas: tuple[float, float],
    warm_up: float,
) -> Tensor:
    """The h of the last step; errors begin at `start` and grow by h times `step`."""
    v = initial_variables(fraction).requires_grad_()
    optimizer = torch.optim.Adam([v], learning_rate)
    warm = round(warm_up * steps)
    for i in range(steps):
        h = rectified_sigmoid(v)
        loss = _errors(start + step * h, g).sum()
        if i >= warm:
            done = (i - warm) / (steps - warm)
            beta = betas[1] + (betas[0] - betas[1]) * 0.5 * (1 + math.cos(done * math.pi))
            loss = loss + weight_of_regulariser * rounding_regulariser(h, beta)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return rectified_sigmoid(v.detach())

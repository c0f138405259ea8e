"""The weight of a layer in few bits, rounded once, in a chosen way: a module of fixed integers."""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from shrink.arguments import whole_number
from shrink.quantization.adaround import adaround
from shrink.quantization.affine import QParams, qparams_of, quantize
from shrink.quantization.arguments import check_floats
from shrink.quantization.learned_step import least_squares_step
from shrink.quantization.moments import Moments
from shrink.quantization.rounding import MOST, round_by_descent, round_exactly

ROUNDINGS = ("nearest", "exact", "descent", "adaround")
SCALES = ("min-max", "least squares")


class FixedWeights(nn.Module):
    """Weights that were rounded once: integers and their scale, whatever the latent ones do.

    In the place of `quantizers.UniformWeights`. Latent weights get no gradient.

    Args:
        q: int8, of the weight's shape.
        scale: float32, () or broadcasting: their product is the weight.

    >>> weights = FixedWeights(torch.tensor([[1, -2]], dtype=torch.int8), torch.tensor(0.5))
    >>> weights(torch.zeros(1, 2))
    tensor([[ 0.5000, -1.0000]])
    """

    def __init__(self, q: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("q", q)
        self.register_buffer("step", scale)

    def forward(self, weight: Tensor) -> Tensor:
        return (self.q * self.step).to(weight.dtype)

    def scales(self, weight: Tensor) -> Tensor:
        """What the integers are multiplied by."""
        return self.step

    def integers(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The integers and their scales: what `forward` multiplies."""
        return self.q, self.step


def weight_grid(
    weight: Tensor, bits: int, per_channel: bool = False, scale: str = "min-max"
) -> QParams:
    """The parameters of a weight in so many bits: symmetric, without the lowest integer.

    Args:
        weight: float (outputs, ...).
        bits: 2 to 8.
        per_channel: one scale for each output.
        scale: one of `SCALES`: "min-max" clips nothing, "least squares" has the least squared error
            of the weights, rounded to nearest.

    Raises:
        TypeError: the weight is not floating point, or bits is not whole.
        ValueError: bits is not 2 to 8, there is no such scale, or the weight has NaN or infinities.

    >>> grid = weight_grid(torch.tensor([[0.3, -0.7]]), bits=4)
    >>> grid.q_min, grid.q_max, round(grid.scale.item(), 4)
    (-7, 7, 0.1)
    """
    check_floats(weight, "the weight")
    bits = whole_number("bits", bits, 2, 8)
    known("scale", scale, SCALES)
    axis = 0 if per_channel else None
    if scale == "min-max":
        return qparams_of(weight.detach(), bits, symmetric=True, narrow=True, axis=axis)
    most = 2 ** (bits - 1) - 1
    step = least_squares_step(weight.detach(), -most, most, axis).float()
    return QParams(step, torch.zeros_like(step, dtype=torch.int32), bits, narrow=True)


def rounded(
    weight: Tensor, grid: QParams, rounding: str = "nearest", moments: Moments | None = None
) -> Tensor:
    """The integers of a weight, int8 of its shape, rounded in one of the ways of `ROUNDINGS`.

    Args:
        weight: float (outputs, ...).
        grid: of `weight_grid`.
        rounding: "nearest"; "exact", the least output error, for at most 16 inputs and "descent"
            above; "descent", `rounding.round_by_descent`; "adaround".
        moments: of the layer's inputs; nearest needs none.

    Raises:
        ValueError: there is no such rounding, or no moments; and as of these functions.

    >>> grid = QParams(torch.tensor(1.0), torch.tensor(0, dtype=torch.int32))
    >>> g = torch.tensor([[[1.0, 0.9], [0.9, 1.0]]])  # the two inputs are large together
    >>> moments = Moments(torch.zeros(1, 2), g)
    >>> weight = torch.tensor([[0.4, 0.3]])
    >>> rounded(weight, grid).tolist(), rounded(weight, grid, "exact", moments).tolist()
    ([[0, 0]], [[1, 0]])
    """
    known("rounding", rounding, ROUNDINGS)
    if rounding == "nearest":
        return quantize(weight, grid)
    if moments is None:
        raise ValueError(f"rounding {rounding!r} needs the moments of the layer's inputs")
    if rounding == "adaround":
        return adaround(weight, grid, moments.products)
    if rounding == "exact" and weight.shape[1:].numel() <= MOST:
        return round_exactly(weight, grid, moments.products)
    return round_by_descent(weight, grid, moments.products)


def known(what: str, given: str, names: Collection[str]) -> None:
    """Raise `ValueError` unless there is one of that name."""
    if given not in names:
        raise ValueError(f"no {what} {given!r}; there are {', '.join(names)}")

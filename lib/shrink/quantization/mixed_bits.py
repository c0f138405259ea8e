"""A trained network quantized at once, each layer in bits of its own, rounded in a chosen way."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from shrink.quantization import aware
from shrink.quantization.adaround import adaround
from shrink.quantization.affine import QParams, fitted, qparams_of, quantize
from shrink.quantization.bias_correction import corrected_bias
from shrink.quantization.learned_step import least_squares_step
from shrink.quantization.moments import Moments, input_moments
from shrink.quantization.rounding import MOST, round_by_descent, round_exactly

ROUNDINGS = ("nearest", "exact", "descent", "adaround")


class FixedWeights(nn.Module):
    """Weights that were rounded once: integers and their scale, whatever the latent ones do."""

    def __init__(self, q: Tensor, scale: Tensor) -> None:
        super().__init__()
        self.register_buffer("q", q)
        self.register_buffer("step", scale)

    def forward(self, weight: Tensor) -> Tensor:
        return (self.q * self.step).to(weight.dtype)

    def scales(self, weight: Tensor) -> Tensor:
        return self.step

    def integers(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        return self.q, self.step


def weight_grid(
    weight: Tensor, bits: int, per_channel: bool = False, scale: str = "min-max"
) -> QParams:
    """The parameters of a weight in so many bits: symmetric, without the lowest integer."""
    axis = 0 if per_channel else None
    if scale == "min-max":
        return qparams_of(weight.detach(), bits, symmetric=True, narrow=True, axis=axis)
    most = 2 ** (bits - 1) - 1
    step = least_squares_step(weight.detach(), -most, most, axis).float()
    return QParams(step, torch.zeros_like(step, dtype=torch.int32), bits, narrow=True)


def rounded(
    weight: Tensor, grid: QParams, rounding: str = "nearest", moments: Moments | None = None
) -> Tensor:
    """The integers of a weight, by one of `ROUNDINGS`; "exact" is "descent" above 16 inputs."""
    if rounding not in ROUNDINGS:
        raise ValueError(f"no rounding {rounding!r}; there are {', '.join(ROUNDINGS)}")
    if rounding == "nearest":
        return quantize(weight, grid)
    if moments is None:
        raise ValueError(f"rounding {rounding!r} needs the moments of the layer's inputs")
    if rounding == "adaround":
        return adaround(weight, grid, moments.products)
    few = weight[0].numel() <= MOST
    return (round_exactly if rounding == "exact" and few else round_by_descent)(
        weight, grid, moments.products
    )


def quantize_mixed(
    model: nn.Module,
    bits: Mapping[str, int | tuple[int, int]],
    calibration_data: Tensor,
    *,
    rounding: str = "nearest",
    per_channel: bool = False,
    scale: str = "min-max",
    correct_bias: bool = False,
) -> nn.Module:
    """A network whose layers have the bits of an allocation: a new one, as `aware.prepare` gives.

    `aware_conversion.convert` makes chapter 03's network of integers of it, where activations have
    bits, and `aware.quantized_weights` what a file needs.

    Args:
        model: a trained network of floats.
        bits: the name of each layer → the bits of its weight, 2 to 8, or those of its weight and of
            its input.
        calibration_data: a few hundred training images.
        rounding: one of `ROUNDINGS`.
        per_channel: one scale for each output of a weight.
        scale: "min-max" or "least squares".
        correct_bias: shift each bias so that the layer's mean outputs are those of the floats.
    """
    plain = aware.prepare(model, weights=nn.Identity, calibration_data=calibration_data)
    inputs = _input_quantizers(model, bits, calibration_data)
    floats = folded(model)
    moments = input_moments(floats, calibration_data)
    for name, part in aware.aware_layers(plain).items():
        width = bits[name][0] if isinstance(bits[name], tuple) else bits[name]
        grid = weight_grid(part.layer.weight, width, per_channel, scale)
        q = rounded(part.layer.weight, grid, rounding, moments[name])
        part.weight_quantizer = FixedWeights(q, fitted(grid, q)[0])
        part.input_quantizer = inputs.get(name)
    if correct_bias:
        _correct(plain, moments, calibration_data)
    return plain.eval()


def folded(model: nn.Module) -> nn.Module:
    """The network of floats with its batch norms in the layers before them."""
    return aware.as_plain(aware.prepare(model, weights=nn.Identity))


def _input_quantizers(model, bits, data) -> dict[str, nn.Module]:
    widths = {name: b[1] for name, b in bits.items() if isinstance(b, tuple)}
    found = {}
    for width in set(widths.values()):
        options = {"activation_bits": width, "calibration_data": data}
        layers = aware.aware_layers(aware.prepare(model, weights=nn.Identity, **options))
        found |= {name: layers[name].input_quantizer for name, b in widths.items() if b == width}
    return found


@torch.no_grad()
def _correct(plain: nn.Module, moments: Mapping[str, Moments], data: Tensor) -> None:
    """Layer after layer, since what a layer gets depends on those before it."""
    for name, part in aware.aware_layers(plain).items():
        found = _mean_input(plain, part, data)
        layer = part.layer
        weight = part.weight_quantizer(layer.weight)
        bias = layer.bias if layer.bias is not None else layer.weight.new_zeros(len(layer.weight))
        shifted = corrected_bias(bias, layer.weight, weight, moments[name].mean, found)
        layer.bias = nn.Parameter(shifted)


def _mean_input(model: nn.Module, part: nn.Module, data: Tensor) -> Tensor:
    from shrink.quantization.moments import rows_of

    seen = []
    handle = part.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        model.eval()(data)
    finally:
        handle.remove()
    x = torch.cat(seen)
    if part.input_quantizer is not None:
        x = part.input_quantizer(x)
    return rows_of(part.layer, x).double().mean(1)

"""A trained network quantized at once, each layer in bits of its own, rounded in a chosen way."""

from collections.abc import Collection, Mapping

from torch import Tensor, nn

from shrink.arguments import whole_number
from shrink.quantization import aware
from shrink.quantization.affine import fitted
from shrink.quantization.bias_correction import corrected_bias
from shrink.quantization.fixed_weights import (
    ROUNDINGS,
    SCALES,
    FixedWeights,
    known,
    rounded,
    weight_grid,
)
from shrink.quantization.moments import Moments, input_moments, rows_of, show

__all__ = ["ROUNDINGS", "SCALES", "folded", "quantize_mixed", "rounded", "weight_grid"]


def quantize_mixed(
    model: nn.Module,
    bits: Mapping[str, int | tuple[int, int]],
    calibration_data: Tensor | None = None,
    *,
    rounding: str = "nearest",
    per_channel: bool = False,
    scale: str = "min-max",
    correct_bias: bool = False,
    batch_size: int = 100,
) -> nn.Module:
    """A network whose layers have the bits of an allocation: a new one, as `aware.prepare` gives.

    `aware_conversion.convert` makes chapter 03's network of integers of it, where activations have
    bits, and `aware.quantized_weights` what a file needs.

    Args:
        model: a trained network of floats.
        bits: the name of each layer → the bits of its weight, 2 to 8, or those of its weight and of
            its input.
        calibration_data: a few hundred training images; none are needed where weights alone are
            rounded to nearest, and biases stay.
        rounding: one of `ROUNDINGS`.
        per_channel: one scale for each output of a weight.
        scale: one of `SCALES`.
        correct_bias: shift each bias so that the layer's mean outputs are those of the floats.
        batch_size: of the calibration data.

    Returns:
        A network in `eval` mode: each layer is an `aware.AwareLayer` with `FixedWeights`.

    Differs: the papers round a layer after those before it are rounded. Here the moments are of the
        inputs in the network of floats, so that the integers of a layer depend on its own bits
        alone. Biases are corrected with the inputs of the quantized network, layer after layer.

    Raises:
        ValueError: the bits are not those of all layers (with the name), 2 to 8, all with bits for
            the input or none; there is no such rounding or scale; calibration data are needed, and
            missing, empty, NaN or infinite; and as `aware.prepare`.
        TypeError: the model is no module, or bits or batch_size are not whole.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> mixed = quantize_mixed(net, {"0": 2, "2": 8})
    >>> mixed[0].weight_quantizer.q.abs().max().item()  # in 2 bits -1, 0 and 1
    1
    """
    known("rounding", rounding, ROUNDINGS)
    known("scale", scale, SCALES)
    plain = aware.prepare(model, weights=nn.Identity, calibration_data=calibration_data)
    layers = aware.aware_layers(plain)
    widths = checked_bits(bits, layers)
    by_data = rounding != "nearest" or correct_bias
    if calibration_data is None and (by_data or any(x for _, x in widths.values())):
        raise ValueError("calibration_data tell the inputs of the layers: give a few hundred")
    moments = input_moments(folded(model), calibration_data, batch_size) if by_data else {}
    inputs = _input_quantizers(model, widths, calibration_data, batch_size)
    for name, part in layers.items():
        grid = weight_grid(part.layer.weight, widths[name][0], per_channel, scale)
        q = rounded(part.layer.weight, grid, rounding, moments.get(name))
        part.weight_quantizer = FixedWeights(q, fitted(grid, q)[0])
        part.input_quantizer = inputs.get(name)
    if correct_bias:
        _correct_biases(plain, moments, calibration_data, batch_size)
    return plain.eval()


def folded(model: nn.Module) -> nn.Module:
    """The network of floats with its batch norms in the layers before them: a new one.

    Its layers have the names of the model's, and each has a bias where a norm was. Raises as
    `aware.prepare`.
    """
    return aware.as_plain(aware.prepare(model, weights=nn.Identity))


def checked_bits(
    bits: Mapping[str, int | tuple[int, int]], layers: Collection[str]
) -> dict[str, tuple[int, int | None]]:
    """The bits of each layer's weight and of its input, None where that stays a float.

    Raises `ValueError` or `TypeError`, with the layer's name, unless the allocation has all layers
    and no others, in one form, in whole numbers of 2 to 8.
    """
    if strange := [name for name in bits if name not in layers]:
        raise ValueError(f"no layer {strange[0]!r}; there are {', '.join(layers)}")
    if missing := [name for name in layers if name not in bits]:
        raise ValueError(f"no bits for {', '.join(missing)}")
    found: dict[str, tuple[int, int | None]] = {}
    for name in layers:
        pair = bits[name] if isinstance(bits[name], tuple) else (bits[name], None)
        if len(pair) != 2:
            raise ValueError(f"{name}: bits of the weight and of the input, not {bits[name]!r}")
        of_weight = whole_number(f"the bits of {name}", pair[0], 2, 8)
        of_input = pair[1]
        if of_input is not None:
            of_input = whole_number(f"the bits of the input of {name}", of_input, 2, 8)
        found[name] = of_weight, of_input
    alone = [name for name, (_, of_input) in found.items() if of_input is None]
    if alone and len(alone) < len(found):
        other = next(name for name in found if name not in alone)
        raise ValueError(f"{other} has bits for its input and {alone[0]} has none: all, or none")
    return found


def _input_quantizers(
    model: nn.Module,
    widths: Mapping[str, tuple[int, int | None]],
    data: Tensor | None,
    batch_size: int,
) -> dict[str, nn.Module]:
    """The calibrated quantizer of each layer's input, in its bits."""
    found = {}
    for width in {x for _, x in widths.values()} - {None}:
        options = {"activation_bits": width, "calibration_data": data, "batch_size": batch_size}
        layers = aware.aware_layers(aware.prepare(model, weights=nn.Identity, **options))
        found |= {name: layers[name].input_quantizer for name in widths if widths[name][1] == width}
    return found


def _correct_biases(
    model: nn.Module, moments: Mapping[str, Moments], data: Tensor, batch_size: int
) -> None:
    """In place, layer after layer as they run: what a layer gets depends on those before it."""
    layers = aware.aware_layers(model)
    for name, of_floats in moments.items():
        part, layer = layers[name], layers[name].layer
        mean = _mean_input(model, part, data, batch_size)
        weight = part.weight_quantizer(layer.weight)
        bias = layer.weight.new_zeros(len(weight)) if layer.bias is None else layer.bias
        shifted = corrected_bias(bias, layer.weight, weight, of_floats.mean, mean)
        layer.bias = nn.Parameter(shifted)


def _mean_input(model: nn.Module, part: nn.Module, data: Tensor, batch_size: int) -> Tensor:
    """E[x̂] of what the layer multiplies, over all places: (groups, inputs)."""
    sums, count = [], 0

    def see(_: str, x: Tensor) -> None:
        nonlocal count
        x = x if part.input_quantizer is None else part.input_quantizer(x)
        rows = rows_of(part.layer, x).double()
        sums.append(rows.sum(1))
        count += rows.shape[1]

    show(model, {"": part}, data, see, batch_size)
    return sum(sums) / count

"""From a trained network of floats to one of integers: fold, calibrate, convert."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn

from shrink.arguments import whole_number
from shrink.plain import check_module, copied, described, refuse_unless_plain
from shrink.quantization import QParams, quantize
from shrink.quantization.arguments import check_floats, int8_bits
from shrink.quantization.calibration import Calibrator
from shrink.quantization.chain import NORMS, chain_of, refuse_another_result
from shrink.quantization.dynamic import DynamicLayer, quantize_dynamically
from shrink.quantization.forms import (
    WEIGHTED,
    check_weighted,
    on_sums,
    padding_of,
    pair,
    weight_qparams,
)
from shrink.quantization.integer import (
    IntegerMaxPool2d,
    IntegerNetwork,
    QuantizedLinear,
    Requantize,
)

__all__ = ["DynamicLayer", "fold_batch_norm", "quantize_dynamically", "quantize_model"]

FOLDED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
FOLDING = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norm(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """One layer that does what the layer and its batch norm, in `eval` mode, do: a new one.

    In use, gamma (w·x + b - mean) / √(var + eps) + beta is linear in x, so the weights of an output
    channel are multiplied by gamma / √(var + eps), and the rest goes into the bias. That is
    computed in float32 at least, and rounded once to the type of the layer's weight.

    Args:
        layer: `Linear`, or `Conv1d` to `Conv3d`, with or without bias.
        norm: `BatchNorm1d` to `BatchNorm3d` of its outputs, with running statistics.

    Source: Jacob et al. 2018, section 3.2, equation 14.

    Raises:
        ValueError: one is another layer or does more than its class does (a forward of its own, a
            hook, a weight that is computed at each call), or the norm has no running statistics,
            or another number of channels.
        TypeError: one is no module, or the layer's weight is not floating point.

    >>> norm = nn.BatchNorm1d(2).eval()
    >>> _ = norm.running_mean.fill_(3.0), norm.running_var.fill_(4.0)
    >>> layer, x = nn.Linear(5, 2), torch.ones(1, 5)
    >>> torch.allclose(fold_batch_norm(layer, norm)(x), norm(layer(x)))
    True
    """
    for module in (layer, norm):
        check_module(module)
    refuse_unless_plain(layer, FOLDED, described("", layer))
    refuse_unless_plain(norm, FOLDING, described("", norm))
    check_floats(layer.weight, f"the weight of {layer}")
    if (
        norm.running_mean is None
        or norm.running_var is None
        or len(norm.running_var) != len(layer.weight)
    ):
        raise ValueError(f"{norm} has no running statistics of {len(layer.weight)} channels")
    check_floats(norm.running_var, f"the variance of {norm}")
    weight, mean, var = (_wide(x) for x in (layer.weight, norm.running_mean, norm.running_var))
    bias = 0 if layer.bias is None else _wide(layer.bias)
    gamma = 1 if norm.weight is None else _wide(norm.weight)
    beta = 0 if norm.bias is None else _wide(norm.bias)
    factor = gamma * (var + norm.eps).rsqrt()
    folded = copied(layer)
    per_channel = factor.view(-1, *[1] * (weight.dim() - 1))
    folded.weight = nn.Parameter((weight * per_channel).to(layer.weight.dtype))
    folded.bias = nn.Parameter(((bias - mean) * factor + beta).to(layer.weight.dtype))
    return folded


def _wide(x: Tensor) -> Tensor:
    return x.detach().to(torch.promote_types(x.dtype, torch.float32))


def quantize_model(
    model: nn.Module,
    calibration_data: Tensor,
    *,
    weight_bits: int = 8,
    activation_bits: int = 8,
    per_channel: bool = False,
    symmetric: bool = False,
    method: str = "min-max",
    percentile: float = 99.99,
    batch_size: int = 100,
) -> IntegerNetwork:
    """A network of integers that does what the model does: a new one; the model stays as it is.

    Batch norms are folded into the layers before them, and ReLUs fused. Weights are symmetric
    without the lowest integer. Activations have one range per layer, found by running the model on
    the calibration data. The last layer's sums are not requantized, since no layer follows.

    Args:
        model: a chain of linear layers, convolutions, batch norms, ReLUs, max pooling, flattening
            and dropout, in modules or in `forward`.
        calibration_data: a few hundred inputs (n, ...), as the network will get them: not the test
            images, and no labels are needed.
        weight_bits, activation_bits: 2 to 8, held in int8.
        per_channel: one scale for each output channel of the weights.
        symmetric: activations with zero point 0; after a ReLU that wastes half of the integers.
        method, percentile: as `calibration.Calibrator` has them.
        batch_size: of the calibration data.

    Source: Jacob et al. 2018, sections 2 and 3; Krishnamoorthi 2018 for scales per channel.
    Differs: the paper's weights are asymmetric uint8.

    Raises:
        ValueError: the model is no such chain (with the name of what does not fit), a part of it
            does more than its class does (a forward of its own, a hook, a weight that is computed
            at each call), the number of bits is not 2 to 8, or the calibration data are empty, NaN
            or infinite, or no batch.
        TypeError: the model is no module; the calibration data are not floating point, or not of
            the weights' type; or a number of bits or batch_size is not whole.
    """
    weight_bits, activation_bits = int8_bits(weight_bits, activation_bits)
    batch_size = whole_number("batch_size", batch_size, 1)
    check_floats(calibration_data, "calibration data")
    if calibration_data.dim() == 0 or len(calibration_data) == 0:
        raise ValueError("calibration needs at least one input, got none")
    chain = folded_chain(chain_of(model))
    weighted = [i for i, part in enumerate(chain) if isinstance(part, WEIGHTED)]
    calibrators = {i: Calibrator(method, activation_bits, symmetric, percentile) for i in weighted}
    _calibrate(calibrators, chain, calibration_data.split(batch_size))
    ranges = {i: calibrator.qparams() for i, calibrator in calibrators.items()}
    ranges = {i: _to(x, calibration_data.device) for i, x in ranges.items()}
    layers: list[nn.Module] = []
    for i, after in zip(weighted, [*weighted[1:], len(chain)], strict=True):
        between = chain[i + 1 : after]
        relu = any(isinstance(part, nn.ReLU) for part in between)
        axis = 0 if per_channel else None
        x, y = ranges[i], ranges.get(after)
        layer, scale = _integer_layer(chain[i], x, y, relu, weight_bits, axis)
        layers += [layer, *on_integers(between)]
    refuse_another_result(model, chain, calibration_data[:batch_size])
    before = on_integers(chain[: weighted[0]])
    return IntegerNetwork(ranges[weighted[0]], nn.Sequential(*before, *layers), scale).eval()


def folded_chain(parts: list[tuple[str, nn.Module]]) -> list[nn.Module]:
    """The parts of a chain, with batch norms in the layers before them; each has an integer form.

    Raises `ValueError` with the name of one that has none here.
    """
    chain: list[nn.Module] = []
    for what, part in parts:
        if isinstance(part, NORMS) and chain and isinstance(chain[-1], WEIGHTED):
            chain[-1] = fold_batch_norm(chain[-1], part)
        else:
            _check_part(part, chain, what)
            chain.append(part)
    last = next((part for part in reversed(chain) if not isinstance(part, nn.Flatten)), None)
    if not isinstance(last, nn.Linear):
        raise ValueError(f"the last layer must be linear, it is {last}")
    return chain


def _check_part(part: nn.Module, chain: list[nn.Module], what: str) -> None:
    """Raise `ValueError` unless the part has an integer form after these."""
    if isinstance(part, WEIGHTED):
        return check_weighted(part, what)
    fits = False
    if isinstance(part, nn.MaxPool2d):
        fits = (pair(part.padding), pair(part.dilation)) == ((0, 0), (1, 1))
        fits = fits and not part.ceil_mode and not part.return_indices
    elif isinstance(part, nn.Flatten):
        fits = part.start_dim in (1, -3) and part.end_dim in (-1, 3)  # of four axes
    elif isinstance(part, nn.ReLU):
        fits = any(isinstance(before, WEIGHTED) for before in chain)
    if not fits:
        raise ValueError(f"{what}, has no form on integers here")


@torch.no_grad()
def _calibrate(
    calibrators: dict[int, Calibrator], chain: list[nn.Module], batches: Iterable[Tensor]
) -> None:
    """Show each calibrator what the layer of its number gets."""
    for x in batches:
        for i, part in enumerate(chain):
            if i in calibrators:
                _check_input(part, x)
                calibrators[i].see(x)
            x = part(x)


def _check_input(layer: nn.Linear | nn.Conv2d, x: Tensor) -> None:
    """Raise unless a layer gets rows or images as it takes them, of its type, on its device."""
    inputs = layer.weight.shape[1] * getattr(layer, "groups", 1)
    if x.dim() != layer.weight.dim() or x.shape[1] != inputs:
        axes = f"(n, {inputs})" if isinstance(layer, nn.Linear) else f"(n, {inputs}, height, width)"
        raise ValueError(f"{layer} gets {tuple(x.shape)}; on integers it takes {axes}")
    if (x.dtype, x.device) != (layer.weight.dtype, layer.weight.device):
        found = f"{x.dtype} on {x.device}, its weight is {layer.weight.dtype}"
        raise TypeError(f"{layer} gets {found} on {layer.weight.device}: convert one of them")


def _integer_layer(
    layer: nn.Linear | nn.Conv2d,
    x: QParams,
    y: QParams | None,
    relu: bool,
    num_bits: int,
    axis: int | None,
) -> tuple[QuantizedLinear, Tensor]:
    """The layer on integers, and the scale of its sums, float32 () or (outputs,)."""
    weight, bias = layer.weight.detach().float(), layer.bias
    bias = weight.new_zeros(len(weight)) if bias is None else bias.detach().float()
    w = weight_qparams(weight, num_bits, axis, least=bias.abs() / (2**30 * x.scale))
    q_w, scale = quantize(weight, w), x.scale.double() * w.scale.double().flatten()
    q_b = (bias.double() / scale).round().long()
    q_b -= x.zero_point.long() * q_w.flatten(1).sum(1, dtype=torch.int64)
    scale = scale if axis == 0 else scale.reshape(())
    requantize = None if y is None else Requantize(scale / y.scale.double(), y, relu)
    padding = padding_of(layer)
    return on_sums(layer, q_w, q_b.int(), requantize, x.zero_point, padding), scale.float()


def _to(p: QParams, device: torch.device) -> QParams:
    return replace(p, scale=p.scale.to(device), zero_point=p.zero_point.to(device))


def on_integers(parts: list[nn.Module]) -> Iterator[nn.Module]:
    """What stands between two layers, on integers; a ReLU is part of the layer before."""
    for part in parts:
        if isinstance(part, nn.MaxPool2d):
            yield IntegerMaxPool2d(pair(part.kernel_size), pair(part.stride or part.kernel_size))
        elif isinstance(part, nn.Flatten):
            yield nn.Flatten()

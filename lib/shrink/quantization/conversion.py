"""From a trained network of floats to one of integers: fold, calibrate, convert."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.dropout import _DropoutNd

from shrink.quantization import QParams, qparams_of, quantize
from shrink.quantization.calibration import Calibrator
from shrink.quantization.integer import (
    LONGEST,
    IntegerMaxPool2d,
    IntegerNetwork,
    QuantizedConv2d,
    QuantizedLinear,
    Requantize,
)


def _flatten(start_dim: int = 0, end_dim: int = -1) -> nn.Flatten:
    return nn.Flatten(start_dim, end_dim)  # the module has another default


FUNCTIONS = {
    F.relu: nn.ReLU,
    torch.relu: nn.ReLU,
    F.max_pool2d: nn.MaxPool2d,
    torch.flatten: _flatten,
    F.dropout: nn.Dropout,
}
METHODS = {"relu": nn.ReLU, "flatten": _flatten}
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
NOTHING = (_DropoutNd, nn.Identity)  # in use


def fold_batch_norm(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """One layer that does what the layer and its batch norm, in `eval` mode, do: a new one.

    In use, gamma (w·x + b - mean) / √(var + eps) + beta is linear in x, so the weights of an output
    channel are multiplied by gamma / √(var + eps), and the rest goes into the bias.

    Args:
        layer: `Linear` or `Conv2d`, with or without bias.
        norm: `BatchNorm1d` or `BatchNorm2d` of its outputs, with running statistics.

    Source: Jacob et al. 2018, section 3.2, equation 14.

    Raises:
        ValueError: the norm has no running statistics, or another number of channels.

    >>> norm = nn.BatchNorm1d(2).eval()
    >>> _ = norm.running_mean.fill_(3.0), norm.running_var.fill_(4.0)
    >>> layer, x = nn.Linear(5, 2), torch.ones(1, 5)
    >>> torch.allclose(fold_batch_norm(layer, norm)(x), norm(layer(x)))
    True
    """
    if norm.running_var is None or len(norm.running_var) != len(layer.weight):
        raise ValueError(f"{norm} has no running statistics of {len(layer.weight)} channels")
    folded = copy.deepcopy(layer)
    factor = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        factor = factor * norm.weight.detach()
    bias = -norm.running_mean if layer.bias is None else layer.bias.detach() - norm.running_mean
    shift = 0 if norm.bias is None else norm.bias.detach()
    per_channel = factor.view(-1, *[1] * (layer.weight.dim() - 1))
    folded.weight = nn.Parameter(layer.weight.detach() * per_channel)
    folded.bias = nn.Parameter(bias * factor + shift)
    return folded


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
    without the lowest integer, activations have one range a layer, found by running the model on
    the calibration data. The last layer's sums are not requantized: nothing follows that
    would want int8.

    Args:
        model: a chain of linear layers, convolutions, batch norms, ReLUs, max pooling, flattening
            and dropout, in modules or in `forward`.
        calibration_data: a few hundred inputs (n, ...), as the network will get them: not the test
            images, and no labels are needed.
        weight_bits, activation_bits: 2 to 8, held in int8.
        per_channel: a scale for each output channel of the weights.
        symmetric: activations with zero point 0; after a ReLU that wastes half of the integers.
        method, percentile: as `calibration.Calibrator` has them.
        batch_size: of the calibration data.

    Source: Jacob et al. 2018, sections 2 and 3; Krishnamoorthi 2018 for scales per channel.
    Differs: the paper's weights are asymmetric uint8.

    Raises:
        ValueError: the model is no such chain (with the name of what does not fit), the number of
            bits is not 2 to 8, or the calibration data are empty, NaN or infinite.
    """
    _check_bits(weight_bits, activation_bits)
    if len(calibration_data) == 0:
        raise ValueError("calibration needs at least one input, got none")
    chain = _chain(model)
    weighted = [i for i, part in enumerate(chain) if isinstance(part, nn.Linear | nn.Conv2d)]
    calibrators = {i: Calibrator(method, activation_bits, symmetric, percentile) for i in weighted}
    with torch.no_grad():
        for x in calibration_data.split(batch_size):
            for i, part in enumerate(chain):
                if i in calibrators:
                    calibrators[i].see(x)
                if isinstance(part, nn.Linear) and x.dim() != 2:
                    shape = tuple(x.shape)
                    raise ValueError(f"{part} gets {shape}; on integers it takes (n, inputs)")
                x = part(x)
    ranges = {i: calibrator.qparams() for i, calibrator in calibrators.items()}
    ranges = {i: _to(x, calibration_data.device) for i, x in ranges.items()}
    layers: list[nn.Module] = []
    for i, after in zip(weighted, [*weighted[1:], len(chain)], strict=True):
        between = chain[i + 1 : after]
        relu = any(isinstance(part, nn.ReLU) for part in between)
        axis = 0 if per_channel else None
        x, y = ranges[i], ranges.get(after)
        layer, scale = _integer_layer(chain[i], x, y, relu, weight_bits, axis)
        layers += [layer, *_on_integers(between)]
    before = _on_integers(chain[: weighted[0]])
    return IntegerNetwork(ranges[weighted[0]], nn.Sequential(*before, *layers), scale).eval()


def quantize_dynamically(
    model: nn.Module,
    *,
    weight_bits: int = 8,
    activation_bits: int = 8,
    per_channel: bool = False,
    symmetric: bool = False,
) -> nn.Module:
    """A copy of the model whose linear layers and convolutions multiply integers, and floats else.

    Each batch that comes to a layer is quantized by its own range. So nothing is calibrated,
    and nothing clipped; but ranges and scales are computed at run time, in floats, and what the
    network says of an image depends on the others in its batch.

    The arguments are those of `quantize_model`, of which any model is taken, not only a chain.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> [type(part).__name__ for part in quantize_dynamically(net)]
    ['DynamicLayer', 'ReLU', 'DynamicLayer']
    """
    _check_bits(weight_bits, activation_bits)
    copied = nn.ModuleList([copy.deepcopy(model)])  # the model may be a layer itself
    for module in [*copied.modules()]:
        for name, child in module._modules.items():
            if isinstance(child, nn.Linear | nn.Conv2d):
                layer = DynamicLayer(child, weight_bits, activation_bits, per_channel, symmetric)
                setattr(module, name, layer)
    return copied[0].eval()


class DynamicLayer(nn.Module):
    """A linear layer or a convolution, floats in and out, whose products are of integers.

    The range of the input is that of the batch at hand.
    """

    def __init__(
        self,
        layer: nn.Linear | nn.Conv2d,
        weight_bits: int = 8,
        activation_bits: int = 8,
        per_channel: bool = False,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        weight = layer.weight.detach()
        _check_part(layer, [], "a layer")
        _check_sums(layer)
        w = _weight_qparams(weight, weight_bits, 0 if per_channel else None)
        self.num_bits, self.symmetric = activation_bits, symmetric
        zeros = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
        self.sums = _on_sums(layer, quantize(weight, w), zeros)
        self.padding = layer.padding if isinstance(layer, nn.Conv2d) else (0, 0)
        self.shape = (-1, *[1] * (weight.dim() - 2))  # of one number an output
        self.register_buffer("scale", w.scale.flatten())
        bias = torch.zeros(len(weight)) if layer.bias is None else layer.bias.detach().clone()
        self.register_buffer("bias", bias.to(weight.device))

    def forward(self, x: Tensor) -> Tensor:
        if self.sums.weight.dim() == 2 and x.dim() != 2:  # a linear layer takes any axes before
            return self(x.reshape(-1, x.shape[-1])).view(*x.shape[:-1], -1)
        up, left = self.padding
        x = F.pad(x, (left, left, up, up)) if up or left else x
        p = qparams_of(x, self.num_bits, self.symmetric)
        of_zeros = p.zero_point * self.sums.weight.flatten(1).sum(1, dtype=torch.int32)
        sums = self.sums(quantize(x, p)) - of_zeros.view(self.shape)
        return sums * (p.scale * self.scale).view(self.shape) + self.bias.view(self.shape)


def _check_bits(weight_bits: int, activation_bits: int) -> None:
    for bits in (weight_bits, activation_bits):
        if bits not in range(2, 9):
            raise ValueError(f"weights and activations have 2 to 8 bits, got {bits}")


def _chain(model: nn.Module) -> list[nn.Module]:
    """The model's parts one after the other, as modules, with batch norms folded.

    Raises `ValueError` with what does not fit into a chain that has an integer form.
    """
    try:
        nodes = [*fx.symbolic_trace(model).graph.nodes]
    except (fx.proxy.TraceError, RuntimeError, TypeError) as error:
        raise ValueError(f"what the model does depends on its input: {error}") from None
    chain: list[nn.Module] = []
    for before, node in pairwise(nodes):
        if before not in node.all_input_nodes or len(node.all_input_nodes) != 1:
            raise ValueError(f"{node.name} does not follow on {before.name} alone: no chain")
        if node.op == "output":
            continue
        part = _as_module(model, node)
        if isinstance(part, NORMS) and chain and isinstance(chain[-1], nn.Linear | nn.Conv2d):
            chain[-1] = fold_batch_norm(chain[-1], part)
        elif not isinstance(part, NOTHING):
            _check_part(part, chain, node.name)
            chain.append(part)
    last = next((part for part in reversed(chain) if not isinstance(part, nn.Flatten)), None)
    if not isinstance(last, nn.Linear):
        raise ValueError(f"the last layer must be linear, it is {last}")
    return chain


def _as_module(model: nn.Module, node: fx.Node) -> nn.Module:
    if node.op == "call_module":
        return model.get_submodule(node.target)
    kinds = {"call_function": FUNCTIONS, "call_method": METHODS}.get(node.op, {})
    if node.target not in kinds:
        raise ValueError(f"{node.name} has no form on integers")
    kind = kinds[node.target]
    if kind in (nn.ReLU, nn.Dropout):
        return kind()
    return kind(*node.args[1:], **{k: v for k, v in node.kwargs.items() if k != "input"})


def _check_part(part: nn.Module, chain: list[nn.Module], name: str) -> None:
    """Raise `ValueError` unless the part has an integer form after these."""
    if isinstance(part, nn.Conv2d):
        fits = part.dilation == (1, 1) and part.padding_mode == "zeros"
        fits = fits and not isinstance(part.padding, str)
    elif isinstance(part, nn.MaxPool2d):
        fits = (_pair(part.padding), _pair(part.dilation)) == ((0, 0), (1, 1))
        fits = fits and not part.ceil_mode and not part.return_indices
    elif isinstance(part, nn.Flatten):
        fits = (part.start_dim, part.end_dim) == (1, -1)
    elif isinstance(part, nn.ReLU):
        fits = any(isinstance(before, nn.Linear | nn.Conv2d) for before in chain)
    else:
        fits = isinstance(part, nn.Linear)
    if not fits:
        raise ValueError(f"{name}, {part}, has no form on integers here")


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return size if isinstance(size, tuple) else (size, size)


def _integer_layer(
    layer: nn.Linear | nn.Conv2d,
    x: QParams,
    y: QParams | None,
    relu: bool,
    num_bits: int,
    axis: int | None,
) -> tuple[QuantizedLinear, Tensor]:
    """The layer on integers, and the scale of its sums, float32 () or (outputs,)."""
    weight, bias = layer.weight.detach(), layer.bias
    bias = weight.new_zeros(len(weight)) if bias is None else bias.detach()
    if not bias.isfinite().all():
        raise ValueError(f"the bias of {layer} has NaN or infinite values")
    _check_sums(layer)
    w = _weight_qparams(weight, num_bits, axis, least=bias.abs() / (2**30 * x.scale))
    q_w, scale = quantize(weight, w), x.scale.double() * w.scale.double().flatten()
    q_b = (bias.double() / scale).round().long()
    q_b -= x.zero_point.long() * q_w.flatten(1).sum(1, dtype=torch.int64)
    scale = scale if axis == 0 else scale.reshape(())
    requantize = None if y is None else Requantize(scale / y.scale.double(), y, relu)
    padding = layer.padding if isinstance(layer, nn.Conv2d) else (0, 0)
    return _on_sums(layer, q_w, q_b.int(), requantize, x.zero_point, padding), scale.float()


def _on_sums(
    layer: nn.Linear | nn.Conv2d,
    weight: Tensor,
    bias: Tensor,
    requantize: Requantize | None = None,
    zero_point: Tensor | int = 0,
    padding: tuple[int, int] = (0, 0),
) -> QuantizedLinear:
    if isinstance(layer, nn.Linear):
        return QuantizedLinear(weight, bias, requantize)
    places = {"stride": layer.stride, "padding": padding, "groups": layer.groups}
    return QuantizedConv2d(weight, bias, requantize, zero_point=zero_point, **places)


def _check_sums(layer: nn.Linear | nn.Conv2d) -> None:
    products = layer.weight[0].numel()
    if products >= LONGEST:
        raise ValueError(f"{layer} sums up {products} products; int32 is sure of {LONGEST - 1}")


def _weight_qparams(
    weight: Tensor, num_bits: int, axis: int | None, least: Tensor | None = None
) -> QParams:
    """Symmetric, without the lowest integer; scales of at least `least`, one an output.

    So a bias fits in half of int32 beside weights that are next to nothing, as of a dead channel.
    """
    w = qparams_of(weight, num_bits, symmetric=True, narrow=True, axis=axis)
    if least is None:
        return w
    least = least.max() if axis is None else least.view(w.scale.shape)
    rows = weight.reshape(1, -1) if axis is None else weight.flatten(1)
    empty = ~rows.any(1).view(w.scale.shape)  # pruned away: only the bias is left to be met
    scale = torch.where(empty & (least > 0), least, torch.maximum(w.scale, least))
    return replace(w, scale=scale)


def _to(p: QParams, device: torch.device) -> QParams:
    return replace(p, scale=p.scale.to(device), zero_point=p.zero_point.to(device))


def _on_integers(parts: list[nn.Module]) -> Iterator[nn.Module]:
    """What stands between two layers, on integers; a ReLU is part of the layer before."""
    for part in parts:
        if isinstance(part, nn.MaxPool2d):
            yield IntegerMaxPool2d(_pair(part.kernel_size), _pair(part.stride))
        elif isinstance(part, nn.Flatten):
            yield nn.Flatten()

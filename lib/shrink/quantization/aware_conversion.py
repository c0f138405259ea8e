"""From a network that was trained aware of quantization to one of integers."""

import copy

import torch
from torch import Tensor, nn

from shrink.quantization.affine import QParams
from shrink.quantization.aware import AwareLayer
from shrink.quantization.chain import chain_of
from shrink.quantization.conversion import _on_integers
from shrink.quantization.forms import on_sums, padding_of
from shrink.quantization.integer import IntegerNetwork, QuantizedLinear, Requantize


def convert(model: nn.Module) -> IntegerNetwork:
    """The network of integers that computes what the prepared model computes: a new one.

    Both round alike, but floats add up products in another order and the factor of a
    requantization has 31 bits: where a number lies next to a half, it may go one integer
    further.

    Raises `ValueError` where the layers are no chain, or round no activations.
    """
    plain = copy.deepcopy(model)
    aware = [(n, m) for n, m in plain.named_modules() if isinstance(m, AwareLayer)]
    by_layer = {}
    for name, layer in aware:
        if layer.input_quantizer is None:
            raise ValueError(f"{name} rounds its weight alone: integers need activations, too")
        plain.set_submodule(name, layer.layer)
        by_layer[layer.layer] = layer
    chain = [part for _, part in chain_of(plain)]
    weighted = [i for i, part in enumerate(chain) if part in by_layer]
    layers: list[nn.Module] = []
    for i, after in zip(weighted, [*weighted[1:], len(chain)], strict=True):
        between = chain[i + 1 : after]
        relu = any(isinstance(part, nn.ReLU) for part in between)
        y = by_layer[chain[after]].input_quantizer.qparams() if after < len(chain) else None
        layer, scale = _integer_layer(by_layer[chain[i]], y, relu)
        layers += [layer, *_on_integers(between)]
    x = by_layer[chain[weighted[0]]].input_quantizer.qparams()
    before = _on_integers(chain[: weighted[0]])
    return IntegerNetwork(x, nn.Sequential(*before, *layers), scale).eval()


@torch.no_grad()
def _integer_layer(
    aware: AwareLayer, y: QParams | None, relu: bool
) -> tuple[QuantizedLinear, Tensor]:
    layer, x = aware.layer, aware.input_quantizer.qparams()
    q_w, steps = aware.weight_quantizer.integers(layer.weight)
    scale = x.scale.double() * steps.double().flatten()
    bias = layer.weight.new_zeros(len(q_w)) if layer.bias is None else layer.bias
    q_b = (bias.double() / scale).round().long()
    q_b -= x.zero_point.long() * q_w.flatten(1).sum(1, dtype=torch.int64)
    scale = scale if len(scale) > 1 else scale.reshape(())
    requantize = None if y is None else Requantize(scale / y.scale.double(), y, relu)
    return on_sums(
        layer, q_w, q_b.int(), requantize, x.zero_point, padding_of(layer)
    ), scale.float()

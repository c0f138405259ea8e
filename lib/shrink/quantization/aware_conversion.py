"""From a network that was trained aware of quantization to one of integers."""

import torch
from torch import Tensor, nn

from shrink.plain import copied, described
from shrink.quantization.affine import QParams
from shrink.quantization.aware import AwareLayer, aware_layers
from shrink.quantization.chain import chain_of
from shrink.quantization.conversion import _folded, _on_integers
from shrink.quantization.forms import on_sums, padding_of
from shrink.quantization.integer import IntegerNetwork, QuantizedLinear, Requantize

MOST = 2**30  # of a bias: half of int32, beside products that take the other half


def convert(model: nn.Module) -> IntegerNetwork:
    """The network of integers that computes what the prepared model computes: a new one.

    Both round alike, but floats add up products in another order and the factor of a
    requantization has 31 bits: where a number lies next to a half, it may go one integer
    further.

    Raises `ValueError` where the layers are no chain, or round no activations.
    """
    plain = copied(model)
    by_layer: dict[nn.Module, AwareLayer] = {}
    for name, part in aware_layers(plain).items():
        _check(part, described(name, part.layer))
        plain.set_submodule(name, part.layer)
        by_layer[part.layer] = part
    chain = _folded(chain_of(plain))
    weighted = [i for i, part in enumerate(chain) if isinstance(part, nn.Linear | nn.Conv2d)]
    for i in weighted:
        if chain[i] not in by_layer:
            raise ValueError(f"{chain[i]} is not prepared, and the layers around it are")
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


def _check(part: AwareLayer, what: str) -> None:
    """Raise `ValueError` unless the layer rounds its input, and its weight to integers."""
    if part.input_quantizer is None:
        raise ValueError(
            f"{what}, rounds its weight alone, and integers are multiplied by integers: "
            "prepare the model with activation_bits"
        )
    if not hasattr(part.weight_quantizer, "integers"):
        kind = type(part.weight_quantizer).__name__
        raise ValueError(
            f"{what}, has weights of no one scale ({kind}), and so no form on integers: "
            "UniformWeights and TernaryWeights have one"
        )


@torch.no_grad()
def _integer_layer(
    part: AwareLayer, y: QParams | None, relu: bool
) -> tuple[QuantizedLinear, Tensor]:
    """The layer on integers, and the scale of its sums, float32 () or (outputs,)."""
    layer, x = part.layer, part.input_quantizer.qparams()
    q_w, scales = part.weight_quantizer.integers(layer.weight)
    scale = x.scale.double() * scales.double().flatten()
    bias = layer.weight.new_zeros(len(q_w)) if layer.bias is None else layer.bias
    q_b = (bias.double() / scale).round()
    if not q_b.abs().max() <= MOST:
        most = f"{q_b.abs().max().item():.3g} steps of its sums"
        raise ValueError(f"the bias of {part.name or layer} is {most}: int32 has room for {MOST}")
    q_b = q_b.long() - x.zero_point.long() * q_w.flatten(1).sum(1, dtype=torch.int64)
    scale = scale if len(scale) > 1 else scale.reshape(())
    requantize = None if y is None else Requantize(scale / y.scale.double(), y, relu)
    padding = padding_of(layer)
    return on_sums(layer, q_w, q_b.int(), requantize, x.zero_point, padding), scale.float()

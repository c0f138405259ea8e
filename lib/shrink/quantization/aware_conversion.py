"""From a network that was trained aware of quantization to one of integers."""

import torch
from torch import Tensor, nn

from shrink.plain import copied, described
from shrink.quantization import aware
from shrink.quantization.affine import QParams
from shrink.quantization.chain import chain_of
from shrink.quantization.conversion import _folded, _on_integers
from shrink.quantization.forms import on_sums, padding_of
from shrink.quantization.integer import IntegerNetwork, QuantizedLinear, Requantize

MOST = 2**30  # of a bias: half of int32, beside products that take the other half


def convert(model: nn.Module) -> IntegerNetwork:
    """The network of integers that computes what the prepared model computes: a new one.

    Weights, biases, and images are rounded to the same integers. Between layers, floats add up
    products in another order than int32, and halves go to the even integer where a requantization
    rounds them up: so where a sum lies next to a half, its integer is off by one. That is rare: of
    a layer's integers, given the same input, at most one in a thousand.

    Args:
        model: from `aware.prepare` with `activation_bits`, with layers in a chain as
            `conversion.quantize_model` takes it, the last one linear.

    Raises:
        ValueError: the model is not prepared, or its layers are no chain on integers (with the
            name of what does not fit, such as an addition or tanh). With the layer's name: it
            rounds no activations, its weights have two scales, or its bias is too large for int32
            beside them.
        TypeError: the model is no module.

    >>> net, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.rand(20, 4)
    >>> prepared = aware.prepare(net, weight_bits=4, activation_bits=4, calibration_data=x)
    >>> [type(part).__name__ for part in convert(prepared).layers]
    ['QuantizedLinear', 'QuantizedLinear']
    """
    plain = copied(model)
    by_layer: dict[nn.Module, aware.AwareLayer] = {}
    for name, part in aware.aware_layers(plain).items():
        _check(part, described(name, part.layer))
        plain.set_submodule(name, part.layer)
        by_layer[part.layer] = part
    try:
        chain = _folded(chain_of(plain))
    except ValueError as error:
        told = "the prepared model computes the same in floats, and aware.quantized_weights gives"
        raise ValueError(f"{error} ({told} the integers of its weights)") from None
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


def _check(part: aware.AwareLayer, what: str) -> None:
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
    part: aware.AwareLayer, y: QParams | None, relu: bool
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

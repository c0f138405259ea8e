"""Layers that have a form on integers, and that form."""

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn

from shrink.plain import refuse_unless_plain
from shrink.quantization import QParams, qparams_of
from shrink.quantization.arguments import check_floats
from shrink.quantization.integer import LONGEST, QuantizedConv2d, QuantizedLinear, Requantize

WEIGHTED = (nn.Linear, nn.Conv2d)


def pair(size: int | Iterable[int]) -> tuple[int, int]:
    """A size in two dimensions, which torch takes as one number, or as any sequence of two.

    >>> pair(2), pair([2, 3]), pair(torch.Size([1, 2]))
    ((2, 2), (2, 3), (1, 2))
    """
    sizes = tuple(map(int, size)) if isinstance(size, Iterable) else (int(size),)
    return sizes * 2 if len(sizes) == 1 else sizes


def is_convolved_alike(layer: nn.Conv2d) -> bool:
    """Whether the convolution is one that `QuantizedConv2d` knows: not dilated, zeros around."""
    plain_padding = layer.padding == "valid" or not isinstance(layer.padding, str)
    return plain_padding and pair(layer.dilation) == (1, 1) and layer.padding_mode == "zeros"


def check_weighted(layer: nn.Linear | nn.Conv2d, what: str) -> None:
    """Raise unless the layer is plain, and of finite weights that int32 can sum up.

    `what` names it in the message. The number of products is that of one output.
    """
    refuse_unless_plain(layer, WEIGHTED, what)
    if isinstance(layer, nn.Conv2d) and not is_convolved_alike(layer):
        raise ValueError(f"{what}, has no form on integers here")
    check_floats(layer.weight, f"the weight of {what},")
    if layer.bias is not None and not layer.bias.isfinite().all():
        raise ValueError(f"the bias of {what}, has NaN or infinite values")
    products = layer.weight.shape[1:].numel()
    if products >= LONGEST:
        raise ValueError(f"{what}, sums up {products} products; int32 is sure of {LONGEST - 1}")


def padding_of(layer: nn.Linear | nn.Conv2d) -> tuple[int, int]:
    """How many zeros are put around an image, above and left of it; none around rows."""
    if isinstance(layer, nn.Linear) or layer.padding == "valid":
        return 0, 0
    return pair(layer.padding)


def on_sums(
    layer: nn.Linear | nn.Conv2d,
    weight: Tensor,
    bias: Tensor,
    requantize: Requantize | None = None,
    zero_point: Tensor | int = 0,
    padding: tuple[int, int] = (0, 0),
) -> QuantizedLinear:
    """The layer on integers, with this int8 weight and int32 bias, and what follows the sums."""
    if isinstance(layer, nn.Linear):
        return QuantizedLinear(weight, bias, requantize)
    places = {"stride": pair(layer.stride), "padding": padding, "groups": layer.groups}
    return QuantizedConv2d(weight, bias, requantize, zero_point=zero_point, **places)


def weight_qparams(
    weight: Tensor, num_bits: int, axis: int | None, least: Tensor | None = None
) -> QParams:
    """Symmetric, without the lowest integer; scales of at least `least`, one per output.

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

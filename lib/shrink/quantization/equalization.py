"""Cross-layer equalization: the ranges of two layers made alike, and no answer changed."""

import torch
from torch import Tensor, nn

from shrink.plain import copied


def equalized(
    first: nn.Linear | nn.Conv2d, second: nn.Linear | nn.Conv2d
) -> tuple[nn.Module, nn.Module]:
    """The two layers with channels rescaled between them: new ones, the same together.

    ReLU(x / s) = ReLU(x) / s for s > 0, so that output i of the first layer may be divided by s
    and the weights that read it multiplied. With s = √(r₁ / r₂) of their largest magnitudes both
    become √(r₁ r₂).

    Source: Nagel et al. 2019, section 4.1, equation 11.
    """
    r1 = first.weight.detach().abs().flatten(1).amax(1)
    r2 = _magnitudes_read(second, len(r1))
    s = torch.where((r1 > 0) & (r2 > 0), (r1 / r2).sqrt(), 1.0)
    first, second = copied(first), copied(second)
    with torch.no_grad():
        first.weight /= s.view(-1, *[1] * (first.weight.dim() - 1))
        if first.bias is not None:
            first.bias /= s
        second.weight *= _as_read(second, s)
    return first, second


def _magnitudes_read(layer: nn.Module, channels: int) -> Tensor:
    weight = layer.weight.detach().abs()
    groups = getattr(layer, "groups", 1)
    by_input = weight.unflatten(0, (groups, -1)).transpose(1, 2).flatten(0, 1)
    by_input = by_input.flatten(1).amax(1)  # channels, or of a linear layer columns
    return by_input.view(channels, -1).amax(1)


def _as_read(layer: nn.Module, s: Tensor) -> Tensor:
    groups = getattr(layer, "groups", 1)
    inputs = layer.weight.shape[1] * groups
    by_group = s.repeat_interleave(inputs // len(s)).view(groups, -1)
    by_output = by_group.repeat_interleave(len(layer.weight) // groups, 0)
    return by_output.view(*by_output.shape, *[1] * (layer.weight.dim() - 2))

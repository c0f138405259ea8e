"""Paths from the input to the output that a mask leaves, counted."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn


def count_paths(model: nn.Module, masks: Mapping[str, Tensor], shape: Sequence[int]) -> float:
    """How many paths lead from a pixel to an output through weights that stay."""
    with torch.no_grad():
        return float(_of_masks(model, masks)(torch.ones(1, *shape, dtype=torch.float64)).sum())


def live_masks(
    model: nn.Module, masks: Mapping[str, Tensor], shape: Sequence[int]
) -> dict[str, Tensor]:
    """The masks without the weights that lie on no path from the input to the output."""
    net = _of_masks(model, masks)
    weights = [net.get_parameter(name) for name in masks]
    total = net(torch.ones(1, *shape, dtype=torch.float64)).sum()
    gradients = torch.autograd.grad(total, weights)
    return {name: (g > 0) & masks[name] for name, g in zip(masks, gradients, strict=True)}


def _of_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> nn.Module:
    net = copy.deepcopy(model).double().eval()
    with torch.no_grad():
        for name, p in net.named_parameters():
            p.copy_(masks[name]) if name in masks else p.zero_()
    return net

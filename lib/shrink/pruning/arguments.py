"""What pruning is given, and the messages when it is not as it must be."""

from collections.abc import Mapping
from numbers import Real

import torch
from torch import Tensor


def number_pruned(sparsity: float, n: int) -> int:
    """How many of n weights go; raises unless the sparsity is a number from 0 to 1."""
    if not isinstance(sparsity, Real) or isinstance(sparsity, bool):
        raise TypeError(f"sparsity must be a number, not {sparsity!r}")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity must lie between 0 and 1, not {sparsity!r}")
    return round(float(sparsity) * n)


def check_weight(name: str, weight: Tensor) -> None:
    """Raise unless it is a floating point tensor with something in it, and without NaN."""
    if not isinstance(weight, Tensor):
        raise TypeError(f"{name} must be a tensor, not a {type(weight).__name__}")
    if weight.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise TypeError(f"{name} must be floating point of 16, 32 or 64 bits, not {weight.dtype}")
    if weight.numel() == 0:
        raise ValueError(f"{name} is empty: its shape is {tuple(weight.shape)}")
    if nans := int(weight.isnan().sum()):
        raise ValueError(f"{name} holds {nans} NaN of {weight.numel()} values")


def check_weights(weights: Mapping[str, Tensor]) -> None:
    """Raise unless they are named, at least one, all as in `check_weight` and on one device."""
    if not isinstance(weights, Mapping):
        raise TypeError(f"weights must map names to tensors, not be a {type(weights).__name__}")
    if not weights:
        raise ValueError("weights is empty: there is nothing to prune")
    for name, weight in weights.items():
        check_weight(name, weight)
    devices = {weight.device for weight in weights.values()}
    if len(devices) > 1:
        raise ValueError(f"weights lie on different devices: {', '.join(map(str, devices))}")


def check_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Raise unless each mask is bool, and of the name, shape and device of a weight."""
    for what, given in {"weights": weights, "masks": masks}.items():
        if not isinstance(given, Mapping):
            raise TypeError(f"{what} must map names to tensors, not be a {type(given).__name__}")
    for name, weight in weights.items():
        if not isinstance(weight, Tensor):
            raise TypeError(f"{name} must be a tensor, not a {type(weight).__name__}")
    for name, mask in masks.items():
        if name not in weights:
            raise ValueError(f"a mask is named {name!r}, a weight is not: {', '.join(weights)}")
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            got = getattr(mask, "dtype", type(mask).__name__)
            raise TypeError(f"the mask of {name} must be a bool tensor, not {got}")
        if mask.shape != weights[name].shape:
            raise ValueError(
                f"the mask of {name} has shape {tuple(mask.shape)}, "
                f"its weight {tuple(weights[name].shape)}"
            )
        if mask.device != weights[name].device:
            raise ValueError(
                f"the mask of {name} is on {mask.device}, its weight on {weights[name].device}"
            )

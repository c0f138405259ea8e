"""What pruning is given, and the messages when it is not as it must be."""

from collections.abc import Mapping

import torch
from torch import Tensor

from shrink.arguments import check_real
from shrink.tensors import FLOATING, check_mapping, check_plain, first_names


def number_pruned(sparsity: float, n: int) -> int:
    """How many of n weights go; raises unless the sparsity is a number from 0 to 1."""
    check_real("sparsity", sparsity)
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity must lie between 0 and 1, not {sparsity!r}")
    return round(float(sparsity) * n)


def check_weight(name: str, weight: Tensor) -> None:
    """Raise unless it is a plain floating point tensor with something in it, and without NaN."""
    check_plain(name, weight)
    if weight.dtype not in FLOATING:
        raise TypeError(f"{name} must be floating point of 16, 32 or 64 bits, not {weight.dtype}")
    if weight.numel() == 0:
        raise ValueError(f"{name} is empty: its shape is {tuple(weight.shape)}")
    if weight.is_meta:
        raise ValueError(f"{name} has no values: it is on the device meta")
    if nans := int(weight.isnan().sum()):
        raise ValueError(f"{name} holds {nans} NaN of {weight.numel()} values")


def check_weights(weights: Mapping[str, Tensor]) -> None:
    """Raise unless they are named, at least one, all as in `check_weight` and on one device."""
    check_mapping("weights", weights)
    if not weights:
        raise ValueError("weights is empty: there is nothing to prune")
    for name, weight in weights.items():
        check_weight(name, weight)
    devices = {weight.device for weight in weights.values()}
    if len(devices) > 1:
        raise ValueError(f"weights lie on different devices: {', '.join(map(str, devices))}")


def check_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    """Raise unless each mask is bool, of the name, shape and device of a weight, and its only one.

    A weight under several names may have a mask under each, if they are equal.
    """
    check_mapping("weights", weights)
    if not isinstance(masks, Mapping):
        raise TypeError(f"masks must map names to tensors, not be a {type(masks).__name__}")
    for name, mask in masks.items():
        if name not in weights:
            raise ValueError(
                f"a mask is named {name!r}, a weight is not: {', '.join(map(str, weights))}"
            )
        check_plain(name, weights[name])
        check_mask(name, mask)
        if mask.shape != weights[name].shape:
            raise ValueError(
                f"the mask of {name} has shape {tuple(mask.shape)}, "
                f"its weight {tuple(weights[name].shape)}"
            )
        if mask.device != weights[name].device:
            raise ValueError(
                f"the mask of {name} is on {mask.device}, its weight on {weights[name].device}"
            )
    _check_one_mask_each(masks, first_names(weights, used=masks))


def check_mask(name: str, mask: Tensor) -> None:
    """Raise `TypeError` unless it is a plain tensor of bool."""
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        got = getattr(mask, "dtype", type(mask).__name__)
        raise TypeError(f"the mask of {name} must be a bool tensor, not {got}")
    check_plain(f"the mask of {name}", mask)


def _check_one_mask_each(masks: Mapping[str, Tensor], first: Mapping[str, str]) -> None:
    of_tensor: dict[str, str] = {}
    for name, mask in masks.items():
        other = of_tensor.setdefault(first[name], name)
        if mask is not masks[other] and not torch.equal(mask, masks[other]):
            raise ValueError(f"{other} and {name} are one tensor, and their masks differ: give one")

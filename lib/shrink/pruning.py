"""Magnitude pruning: which weights go, and how they stay gone while the rest is trained.

A mask is a bool tensor of the weight's shape, True where the weight is kept. Choosing masks and
applying them are apart, so that any other way of choosing can use the rest of this file.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from numbers import Real

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer


def magnitude_mask(weight: Tensor, sparsity: float) -> Tensor:
    """The mask that prunes the weights of smallest magnitude, exactly round(sparsity · n) of them.

    >>> magnitude_mask(torch.tensor([0.1, -3.0, 0.2, 1.0]), sparsity=0.5)
    tensor([False,  True, False,  True])

    Where magnitudes tie, those that come first, row by row, go first, never more than that number:

    >>> magnitude_mask(torch.tensor([2.0, -2.0, 2.0, 2.0]), sparsity=0.5)
    tensor([False, False,  True,  True])

    Args:
        weight: any shape, floating point, on any device; it is not changed.
        sparsity: the fraction of zeros wanted, 0 to 1; `round` is Python's (half to even).

    Returns:
        bool tensor of the weight's shape, True = keep.

    Raises:
        TypeError: `weight` is not a floating-point tensor, or `sparsity` is not a number.
        ValueError: `weight` is empty or holds NaN, or `sparsity` lies outside 0 to 1.

    Source: Han, Pool, Tran, Dally 2015, "Learning both Weights and Connections for Efficient
        Neural Networks", section 3.
    Differs: the paper prunes below a threshold, a quality parameter times the layer's standard
        deviation, so that the sparsity is a result; here it is asked for and met exactly.
    """
    _check_weight("weight", weight)
    pruned = _number_pruned(sparsity, weight.numel())
    return _drop_smallest(weight.detach().abs().flatten(), pruned).view(weight.shape)


def global_masks(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """One mask a layer, from one ranking of all weights: the smallest go, wherever they are.

    Of n weights in all, exactly round(sparsity · n) are pruned; a layer of small weights loses
    more than one of large weights, and may lose everything.

    >>> weights = {"small": torch.tensor([0.1, -0.2]), "large": torch.tensor([1.0, -2.0, 3.0, 0.3])}
    >>> global_masks(weights, sparsity=0.5)
    {'small': tensor([False, False]), 'large': tensor([ True,  True,  True, False])}

    Args:
        weights: name → tensor of any shape, floating point, all on one device; not changed.
        sparsity: the fraction of zeros wanted over all layers together, 0 to 1.

    Returns:
        name → bool tensor of that weight's shape, True = keep, in the order of `weights`.

    Raises:
        TypeError: `weights` is not a mapping of floating-point tensors, or `sparsity` no number.
        ValueError: there is no weight, one is empty or holds NaN, they lie on different devices,
            or `sparsity` lies outside 0 to 1.

    Source: Han et al. 2015, section 3, with one threshold for the network in place of one a layer.
    """
    if not isinstance(weights, Mapping):
        raise TypeError(f"weights must map names to tensors, not be a {type(weights).__name__}")
    if not weights:
        raise ValueError("weights is empty: there is nothing to prune")
    for name, weight in weights.items():
        _check_weight(name, weight)
    devices = {weight.device for weight in weights.values()}
    if len(devices) > 1:
        raise ValueError(f"weights lie on different devices: {', '.join(map(str, devices))}")
    magnitudes = torch.cat([weight.detach().abs().flatten() for weight in weights.values()])
    keep = _drop_smallest(magnitudes, _number_pruned(sparsity, magnitudes.numel()))
    parts = keep.split([weight.numel() for weight in weights.values()])
    return {
        name: part.view(weight.shape)
        for (name, weight), part in zip(weights.items(), parts, strict=True)
    }


def apply_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with zeros where the masks are False; weights that have no mask are kept whole.

    >>> apply_masks({"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([True, False])})
    {'w': tensor([1., 0.])}

    Args:
        weights: name → tensor; not changed. A model's `state_dict()` will do.
        masks: name → bool tensor of the shape and device of the weight of that name.

    Returns:
        name → new tensor, one for each of `weights`.

    Raises:
        TypeError: `weights` is no mapping of tensors, or `masks` none of bool tensors.
        ValueError: a mask has no weight of its name, or another shape or device.
    """
    _check_masks(weights, masks)
    return {
        name: _masked(weight.detach(), masks[name]) if name in masks else weight.detach().clone()
        for name, weight in weights.items()
    }


@contextmanager
def hold_masks(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], optimizer: Optimizer
) -> Iterator[None]:
    """Change the weights in place to their masked values, and hold the zeros through training.

    Inside the `with` block the gradient of a pruned weight is zero, and after each step of
    `optimizer` the weight is zero again, whatever momentum or weight decay remembers of it.

    >>> w = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> sgd = torch.optim.SGD([w], lr=0.1, momentum=0.9)
    >>> with hold_masks({"w": w}, {"w": torch.tensor([True, False])}, sgd):
    ...     w.sum().backward()
    ...     sgd.step()
    >>> w.data
    tensor([0.9000, 0.0000])

    Args:
        weights: name → leaf tensor that `optimizer` trains.
        masks: name → bool tensor of the shape and device of the weight of that name.
        optimizer: any `torch.optim.Optimizer`.

    Raises:
        TypeError: `weights` is no mapping of tensors, or `masks` none of bool tensors.
        ValueError: a mask has no weight of its name, or another shape or device, or its weight is
            no leaf that requires a gradient. Nothing is changed then.

    Source: Han et al. 2015, section 3.3 (retraining keeps the surviving weights' values).
    """
    _check_masks(weights, masks)
    for name in masks:
        if not (weights[name].is_leaf and weights[name].requires_grad):
            raise ValueError(f"{name} is not a parameter to train: a leaf that requires a gradient")
    pairs = [(weights[name], mask) for name, mask in masks.items()]

    @torch.no_grad()
    def zero_pruned(*_: object) -> None:
        for weight, mask in pairs:
            weight.copy_(_masked(weight, mask))

    hooks = [optimizer.register_step_post_hook(zero_pruned)]
    try:
        for weight, mask in pairs:
            hooks.append(weight.register_hook(lambda gradient, mask=mask: _masked(gradient, mask)))
        zero_pruned()
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _drop_smallest(scores: Tensor, count: int) -> Tensor:
    """1-D scores → bool mask, False for exactly the `count` smallest, the first of equal ones."""
    if count == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = _kth_smallest(scores, count)
    keep = scores > threshold
    ties = (scores == threshold).nonzero().flatten()
    pruned_ties = count - int((scores < threshold).sum())
    keep[ties[pruned_ties:]] = True
    return keep


def _kth_smallest(scores: Tensor, k: int) -> Tensor | float:
    """The k-th smallest score, counted from 1.

    On the CPU by numpy's partition, several times as fast as kthvalue (`make bench`).
    """
    if scores.device.type == "cpu" and scores.dtype in (torch.float32, torch.float64):
        return float(np.partition(scores.numpy(), k - 1)[k - 1])
    return scores.kthvalue(k).values


def _masked(values: Tensor, mask: Tensor) -> Tensor:
    """Zeros where the mask is False, even where the value is infinite."""
    return torch.where(mask, values, 0)


def _number_pruned(sparsity: float, n: int) -> int:
    if not isinstance(sparsity, Real) or isinstance(sparsity, bool):
        raise TypeError(f"sparsity must be a number, not {sparsity!r}")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity must lie between 0 and 1, not {sparsity!r}")
    return round(float(sparsity) * n)


def _check_weight(name: str, weight: Tensor) -> None:
    if not isinstance(weight, Tensor):
        raise TypeError(f"{name} must be a tensor, not a {type(weight).__name__}")
    if weight.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise TypeError(f"{name} must be floating point of 16, 32 or 64 bits, not {weight.dtype}")
    if weight.numel() == 0:
        raise ValueError(f"{name} is empty: its shape is {tuple(weight.shape)}")
    if nans := int(weight.isnan().sum()):
        raise ValueError(f"{name} holds {nans} NaN of {weight.numel()} values")


def _check_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
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

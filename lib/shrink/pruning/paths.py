"""Paths from the input to the output that masks leave: how many, and which weights are on one."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from shrink.pruning.arguments import check_masks
from shrink.pruning.linearised import flow, in_place_of, weights_of


def count_paths(model: nn.Module, masks: Mapping[str, Tensor], shape: Sequence[int]) -> float:
    """How many paths lead from an input to an output through weights that stay.

    A path is one input (a pixel), one unit of each layer, and one output, with a kept weight
    between each two. A kernel's weight is a link at each place of the image where it is used, and
    pooling links all of its window with what it makes of it: each of them may be the largest.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> masks = {"0.weight": torch.tensor([[True, True], [True, False]]),
    ...          "2.weight": torch.tensor([[True, False]])}
    >>> count_paths(model, masks, (2,))
    2.0

    Args:
        model: as for `synflow_scores`; its values do not matter, and it is left as it was. Biases
            are no links; what scales, as batch norm, is one for each unit.
        masks: name → bool tensor, for each of its weights (parameters of two axes or more).
        shape: of one image, without the batch, as (1, 28, 28).

    Returns:
        A whole number, exact up to 2**53 (9e15); beyond that it is rounded to 16 digits or so.

    Raises:
        TypeError: the model is no module, or `masks` none of bool tensors.
        ValueError: a weight has no mask or one of another shape; the model calls what is no part
            of such a network, or pools by windows of several sizes; there are more than 1e308.

    Source: Tanaka et al. 2020, "Pruning neural networks without any data by iteratively conserving
        synaptic flow", section 6: with all magnitudes 1 their R is this number.
    """
    return float(_paths(model, _as_numbers(model, masks), shape))


def live_masks(
    model: nn.Module, masks: Mapping[str, Tensor], shape: Sequence[int]
) -> dict[str, Tensor]:
    """The masks without the weights that lie on no path from the input to the output.

    Such weights have no part in any output, and no gradient: they count as kept and do nothing.

    >>> model = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    >>> masks = {"0.weight": torch.tensor([[True, True], [True, False]]),
    ...          "2.weight": torch.tensor([[True, False]])}
    >>> live_masks(model, masks, (2,))["0.weight"]
    tensor([[ True,  True],
            [False, False]])

    Args, Raises: as `count_paths`.

    Returns:
        name → new bool tensor of the mask's shape and device, in the order of `masks`.
    """
    tensors = _as_numbers(model, masks)
    through = [tensors[name].requires_grad_() for name in masks]
    total = _paths(model, tensors, shape)
    gradients = torch.autograd.grad(total, through, allow_unused=True, materialize_grads=True)
    return {name: (g > 0) & masks[name] for name, g in zip(masks, gradients, strict=True)}


def _as_numbers(model: nn.Module, masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Each of the model's parameters: a mask as zeros and ones, and ones for all others."""
    weights = weights_of(model)
    check_masks(weights, masks)
    if missing := [name for name in weights if name not in masks]:
        raise ValueError(f"there is no mask for {', '.join(missing)}")
    return in_place_of(
        model, lambda name, p: (masks[name] if name in masks else torch.ones_like(p)).double()
    )


def _paths(model: nn.Module, tensors: Mapping[str, Tensor], shape: Sequence[int]) -> Tensor:
    total = flow(model, tensors, shape, counting=True)
    if not total.isfinite():
        raise ValueError("there are more paths than float64 has numbers for, 1e308")
    return total

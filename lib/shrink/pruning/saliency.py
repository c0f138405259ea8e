"""Optimal Brain Damage: what a deletion costs, from the second derivatives of the loss."""

from collections.abc import Mapping

import torch
from torch import Tensor

from shrink.pruning.arguments import check_masks, check_weight, check_weights
from shrink.tensors import check_mapping, check_one_device, first_names, wide


def obd_saliency(
    weights: Mapping[str, Tensor], diagonal: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """½·h·w² of each weight: the predicted rise of the loss when it alone is deleted.

    At a minimum of the loss its gradient is 0, and along one weight the loss is a parabola,
    ½·h·(change)²; a deletion changes the weight by -w. The least are to go first.

    >>> weights = {"w": torch.tensor([[2.0, -1.0], [3.0, 0.5]])}
    >>> obd_saliency(weights, {"w": torch.tensor([[1.0, 6.0], [0.0, -8.0]])})
    {'w': tensor([[ 2.,  3.],
            [ 0., -1.]])}

    Args:
        weights: name → floating point tensor of any shape, all on one device; not changed.
        diagonal: for each name the second derivatives h, of that shape and device, as of
            `hessian_diagonal`; other names in it are not read.

    Returns:
        name → tensor of the weight's shape, float32 at least; negative where h is: there the
        prediction is that the loss falls.

    Raises:
        TypeError: one of both is no mapping of dense floating point tensors.
        ValueError: a weight is empty, has no second derivatives, or those have another shape or
            device; or a number is NaN.

    Source: LeCun, Denker, Solla 1990, "Optimal Brain Damage", section 2.
    """
    check_weights(weights)
    _check_for_each(weights, diagonal, "second derivatives")
    return {name: wide(diagonal[name]) * wide(w.detach()) ** 2 / 2 for name, w in weights.items()}


def predicted_rise(
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    curvature: Mapping[str, Tensor] | Tensor,
    gradients: Mapping[str, Tensor] | None = None,
) -> float:
    """The rise of the loss, to second order, when all weights go that the masks prune.

    With d = -w where a weight goes and 0 elsewhere it is gᵀd + ½·dᵀH d; with a diagonal, the sum
    of the saliencies of what goes. Two weights of 1 and 2 that do the same, H = [[1, 1], [1, 1]]:

    >>> weights = {"w": torch.tensor([1.0, 2.0])}
    >>> masks = {"w": torch.tensor([False, False])}
    >>> predicted_rise(weights, masks, {"w": torch.tensor([1.0, 1.0])})
    2.5
    >>> predicted_rise(weights, masks, torch.ones(2, 2))
    4.5

    Args:
        weights: name → floating point tensor of any shape, all on one device; not changed. One
            under several names counts once.
        masks: name → bool tensor of that weight's shape, False = goes; a weight without one stays.
        curvature: second derivatives by name, as in `obd_saliency`; or the Hessian (n, n) of all
            `weights`, in their order and row by row, as `full_hessian` has it of all parameters.
        gradients: by name, like a diagonal; without them they are taken for 0, as at a minimum.

    Returns:
        the rise in the unit of the loss, added up in float64.

    Raises:
        TypeError, ValueError: as `obd_saliency`; masks are not as in `apply_masks`; or the Hessian
            is not (n, n) or holds NaN.

    Source: LeCun, Denker, Solla 1990, section 2; with gradients or a whole Hessian, its first
        equation without the terms of third order.
    """
    check_weights(weights)
    check_masks(weights, masks)
    first = first_names(weights)
    weights = {name: w.detach().double() for name, w in weights.items() if name == first[name]}
    masks = {first[name]: mask for name, mask in masks.items()}
    gone = {name: torch.where(masks[name], 0, -weights[name]) for name in weights if name in masks}
    rise = 0.0
    if gradients is not None:
        _check_for_each(weights, gradients, "gradient")
        rise += sum(float((gradients[name] * d).sum()) for name, d in gone.items())
    if not isinstance(curvature, Tensor):
        _check_for_each(weights, curvature, "second derivatives")
        return rise + sum(float((curvature[n] * d.square()).sum()) / 2 for n, d in gone.items())
    moves = [gone.get(name, torch.zeros_like(w)).flatten() for name, w in weights.items()]
    return rise + _quadratic(torch.cat(moves), curvature)


def _quadratic(d: Tensor, hessian: Tensor) -> float:
    """½·dᵀH d, of those rows and columns alone where d is not 0."""
    check_weight("the Hessian", hessian)
    check_one_device(hessian, d)
    if hessian.shape != (len(d), len(d)):
        raise ValueError(
            f"the Hessian is {tuple(hessian.shape)}, and of {len(d)} weights it must be "
            f"({len(d)}, {len(d)}): give as weights all parameters that it is of"
        )
    moved = d.nonzero().flatten()
    part = hessian.detach()[moved[:, None], moved].double()
    return float(d[moved] @ part @ d[moved]) / 2


def _check_for_each(
    weights: Mapping[str, Tensor], numbers: Mapping[str, Tensor], what: str
) -> None:
    """Raise unless there is a tensor for each weight, of its shape and device, without NaN."""
    check_mapping(what, numbers)
    for name, weight in weights.items():
        if name not in numbers:
            raise ValueError(f"{name} has no {what}; they are there for {', '.join(numbers)}")
        check_weight(f"{what} of {name}", numbers[name])
        check_one_device(numbers[name], weight)
        if numbers[name].shape != weight.shape:
            raise ValueError(
                f"the {what} of {name} have shape {tuple(numbers[name].shape)}, "
                f"its weight {tuple(weight.shape)}"
            )

"""Optimal Brain Damage: what a deletion costs, from the second derivatives of the loss."""

from collections.abc import Mapping

import torch
from torch import Tensor


def obd_saliency(
    weights: Mapping[str, Tensor], diagonal: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """½·h·w² of each weight: the predicted rise of the loss when it alone is deleted."""
    return {name: diagonal[name] * w.detach() ** 2 / 2 for name, w in weights.items()}


def predicted_rise(
    weights: Mapping[str, Tensor],
    masks: Mapping[str, Tensor],
    curvature: Mapping[str, Tensor] | Tensor,
    gradients: Mapping[str, Tensor] | None = None,
) -> float:
    """The rise of the loss that the second-order model predicts when all masked weights go.

    `curvature` is a diagonal by name, or the full Hessian over `weights` in their order.
    """
    moves = {name: torch.where(masks[name], 0, -w.detach()) for name, w in weights.items()}
    rise = 0.0
    if gradients is not None:
        rise += sum(float((gradients[name] * move).sum()) for name, move in moves.items())
    if isinstance(curvature, Tensor):
        flat = torch.cat([move.flatten() for move in moves.values()]).to(curvature.dtype)
        return rise + float(flat @ curvature @ flat) / 2
    return rise + sum(float((curvature[n] * move**2).sum()) / 2 for n, move in moves.items())

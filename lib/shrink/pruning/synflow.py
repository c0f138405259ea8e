"""SynFlow: scores from the model alone, which are conserved from layer to layer."""

import copy
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from shrink.pruning.dependency import Group


def synflow_scores(model: nn.Module, shape: Sequence[int]) -> dict[str, Tensor]:
    """|w · ∂R/∂w| of each weight, R the summed output of the net of magnitudes on an image of ones.

    `shape` is that of one image, without the batch.
    """
    model = copy.deepcopy(model).eval()
    weights = {name: p for name, p in model.named_parameters() if p.dim() >= 2}
    with torch.no_grad():
        for p in model.parameters():
            p.abs_() if p.dim() >= 2 else p.zero_()
    flow = model(torch.ones(1, *shape)).sum()
    gradients = torch.autograd.grad(flow, list(weights.values()))
    return {n: (g * w.detach()).abs() for (n, w), g in zip(weights.items(), gradients, strict=True)}


def unit_saliency(scores: Mapping[str, Tensor], group: Group) -> tuple[Tensor, Tensor]:
    """For each unit of a group the sum of the scores that lead into it and of those out of it."""
    sums = {role: torch.zeros(group.units) for role in ("makes", "reads")}
    for member in group.members:
        if member.tensor in scores and member.role in sums:
            along = scores[member.tensor].movedim(member.axis, 0).flatten(1).sum(1)
            of_unit = member.units >= 0
            sums[member.role].index_add_(0, member.units[of_unit], along[of_unit])
    return sums["makes"], sums["reads"]

"""Pruning by any score, at once or in steps that score anew what is left."""

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from shrink.pruning.arguments import number_pruned
from shrink.pruning.masks import _drop_smallest


def exponential_sparsity(step: int, steps: int, final: float) -> float:
    """The sparsity after a step: each of the steps keeps the same share of what is left.

    >>> [exponential_sparsity(step, 2, 0.75) for step in (0, 1, 2)]
    [0.0, 0.5, 0.75]
    """
    return 1 - (1 - final) ** (step / steps)


def masks_from_scores(scores: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """One mask per weight, from one ranking of all scores: the smallest go, exactly k."""
    flat = torch.cat([score.flatten() for score in scores.values()])
    keep = _drop_smallest(flat, number_pruned(sparsity, len(flat)))
    parts = keep.split([score.numel() for score in scores.values()])
    return {name: part.view(scores[name].shape) for name, part in zip(scores, parts, strict=True)}


def prune_by_score(
    model: nn.Module,
    score: Callable[[nn.Module], Mapping[str, Tensor]],
    sparsity: float,
    steps: int = 1,
    schedule: Callable[[int, int, float], float] = exponential_sparsity,
) -> dict[str, Tensor]:
    """Masks by a score that is taken anew in each step, of the model masked so far.

    What is pruned stays pruned; the model is left as it was.
    """
    net = copy.deepcopy(model)
    masks: dict[str, Tensor] = {}
    for step in range(1, steps + 1):
        scores = score(net)
        masks = masks or {name: torch.ones_like(s, dtype=torch.bool) for name, s in scores.items()}
        ranked = {name: torch.where(masks[name], s, -torch.inf) for name, s in scores.items()}
        masks = masks_from_scores(ranked, schedule(step, steps, sparsity))
        with torch.no_grad():
            for name, mask in masks.items():
                net.get_parameter(name).mul_(mask)
    return masks

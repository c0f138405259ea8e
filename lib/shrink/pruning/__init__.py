"""Pruning: which weights go, when, and how they stay gone; units that go whole."""

from shrink.pruning.dependency import Group, Member
from shrink.pruning.evolution import SearchSpace, crossover, evolve, mutate, perceptron_macs
from shrink.pruning.groups import dependency_groups
from shrink.pruning.kept import keep_across_groups, keep_count, keep_per_group, keep_strongest
from shrink.pruning.layerwise import sensitivity
from shrink.pruning.masks import (
    apply_masks,
    global_masks,
    grow_masks,
    hold_masks,
    magnitude_mask,
    shuffle_masks,
)
from shrink.pruning.meta import (
    RandomWidths,
    SharedWeights,
    WeightGenerator,
    crop_weight,
    perceptron,
)
from shrink.pruning.norms import recompute_norms
from shrink.pruning.patterns import n_of_m_mask, pattern_mask
from shrink.pruning.schedules import cubic_sparsity, prune_gradually, prune_iteratively
from shrink.pruning.scores import group_scores, weight_scores
from shrink.pruning.surgery import mask_filters, mask_units, remove_units
from shrink.pruning.units import fill_up, keep_units, strongest_units

__all__ = [
    "Group",
    "Member",
    "RandomWidths",
    "SearchSpace",
    "SharedWeights",
    "WeightGenerator",
    "apply_masks",
    "crop_weight",
    "crossover",
    "cubic_sparsity",
    "dependency_groups",
    "evolve",
    "fill_up",
    "global_masks",
    "group_scores",
    "grow_masks",
    "hold_masks",
    "keep_across_groups",
    "keep_count",
    "keep_per_group",
    "keep_strongest",
    "keep_units",
    "magnitude_mask",
    "mask_filters",
    "mask_units",
    "mutate",
    "n_of_m_mask",
    "pattern_mask",
    "perceptron",
    "perceptron_macs",
    "prune_gradually",
    "prune_iteratively",
    "recompute_norms",
    "remove_units",
    "sensitivity",
    "shuffle_masks",
    "strongest_units",
    "weight_scores",
]

"""Pruning: which weights go, when, and how they stay gone; units that go whole."""

from shrink.pruning.curvature import DIAGONALS, full_hessian, hessian_diagonal
from shrink.pruning.dense_sparse import dense_sparse_dense, dense_throughout
from shrink.pruning.dependency import Group, Member
from shrink.pruning.evolution import SearchSpace, crossover, evolve, mutate, perceptron_macs
from shrink.pruning.groups import dependency_groups
from shrink.pruning.iterated import exponential_sparsity, masks_from_scores, prune_by_score
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
from shrink.pruning.overlap import Overlap, mask_overlap
from shrink.pruning.paths import count_paths, live_masks
from shrink.pruning.patterns import n_of_m_mask, pattern_mask
from shrink.pruning.rewinding import rewind, signed_constants, snapshot
from shrink.pruning.saliency import obd_saliency, predicted_rise
from shrink.pruning.schedules import cubic_sparsity, prune_gradually, prune_iteratively
from shrink.pruning.scores import group_scores, weight_scores
from shrink.pruning.sensitivities import grasp_scores, snip_scores
from shrink.pruning.surgeon import brain_surgeon, surgeon_layer
from shrink.pruning.surgery import mask_filters, mask_units, remove_units
from shrink.pruning.survivors import count_survivors, kept_shares, prune_survivors
from shrink.pruning.synflow import synflow_scores, unit_saliency
from shrink.pruning.tickets import Round, find_tickets
from shrink.pruning.units import fill_up, keep_units, strongest_units

__all__ = [
    "DIAGONALS",
    "Group",
    "Member",
    "Overlap",
    "RandomWidths",
    "Round",
    "SearchSpace",
    "SharedWeights",
    "WeightGenerator",
    "apply_masks",
    "brain_surgeon",
    "count_paths",
    "count_survivors",
    "crop_weight",
    "crossover",
    "cubic_sparsity",
    "dense_sparse_dense",
    "dense_throughout",
    "dependency_groups",
    "evolve",
    "exponential_sparsity",
    "fill_up",
    "find_tickets",
    "full_hessian",
    "global_masks",
    "grasp_scores",
    "group_scores",
    "grow_masks",
    "hessian_diagonal",
    "hold_masks",
    "keep_across_groups",
    "keep_count",
    "keep_per_group",
    "keep_strongest",
    "keep_units",
    "kept_shares",
    "live_masks",
    "magnitude_mask",
    "mask_filters",
    "mask_overlap",
    "mask_units",
    "masks_from_scores",
    "mutate",
    "n_of_m_mask",
    "obd_saliency",
    "pattern_mask",
    "perceptron",
    "perceptron_macs",
    "predicted_rise",
    "prune_by_score",
    "prune_gradually",
    "prune_iteratively",
    "prune_survivors",
    "recompute_norms",
    "remove_units",
    "rewind",
    "sensitivity",
    "shuffle_masks",
    "signed_constants",
    "snapshot",
    "snip_scores",
    "strongest_units",
    "surgeon_layer",
    "synflow_scores",
    "unit_saliency",
    "weight_scores",
]

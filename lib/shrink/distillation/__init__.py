"""Distillation: what a teacher's answers and features add to a student's loss."""

from shrink.distillation.features import (
    attention_map,
    attention_transfer_loss,
    build_regressor,
    captured,
    hint_loss,
)
from shrink.distillation.loss import (
    average_targets,
    best_bias,
    distillation_loss,
    soft_loss,
    soften,
)
from shrink.distillation.relations import angle_loss, distance_loss

__all__ = [
    "angle_loss",
    "attention_map",
    "attention_transfer_loss",
    "average_targets",
    "best_bias",
    "build_regressor",
    "captured",
    "distance_loss",
    "distillation_loss",
    "hint_loss",
    "soft_loss",
    "soften",
]

"""Chapter 02's explorer on small data: baselines of a second, few stops to sweep over."""

import numpy as np

from shrink.chapters import prune as exercises
from shrink.chapters.prune import explorer, figure, lab, prepared
from shrink.classroom import baselines
from shrink.classroom.training import Recipe
from tests.chapters.small import Small

SEEDS = (0, 1)
EXERCISES = (exercises.magnitude_mask, exercises.global_masks)


def prepare(patch):
    stops = np.array([0, 0.1, 0.37, 0.5, 0.9, 0.92, 0.96, 0.97, 0.99, 1])
    for module in (lab, prepared):
        patch.setattr(module, "STOPS", stops)
    for module in (lab, figure, prepared):
        patch.setattr(module, "CURVE", np.array([0, 0.5, 0.9, 0.97, 1]))
    patch.setitem(baselines.RECIPES, (prepared.NAME, "digits"), Recipe(epochs=6))


EXPLORERS = (
    Small(
        "pruning",
        prepare,
        lambda digits: explorer.explore_pruning(digits, *EXERCISES, seeds=SEEDS),
        EXERCISES,
        refused={
            r"at least two seeds are compared, not \(0,\)": lambda digits: explorer.explore_pruning(
                digits, seeds=(0,)
            ),
            "also needs global_masks": lambda digits: explorer.explore_pruning(
                digits, exercises.magnitude_mask
            ),
        },
        of_job=frozenset({"schedule", "epochs"}),
        alone=lambda digits: explorer.explore_pruning(digits, seeds=SEEDS),
        quick={"epochs": 1},
    ),
)

"""Chapter 04's explorer on small data: baselines of a second, and few values to sweep over."""

import numpy as np

from shrink.chapters import share as exercises
from shrink.chapters.share import explorer, figure, lab, network, prepared, view
from shrink.classroom import baselines
from shrink.classroom.training import Recipe
from tests.chapters.small import comparing_seeds

SEEDS = (0, 1)
EXERCISES = (exercises.assign, exercises.update)


def prepare(patch):
    for module in (lab, network, prepared):
        patch.setattr(module, "IMAGES", 150)
    for module in (explorer, figure, lab, prepared, view):
        patch.setattr(module, "KS", np.arange(2, 8))
    for module in (figure, lab, prepared, view):
        patch.setattr(module, "BAND", np.array([2, 4, 7]))
    patch.setattr(explorer, "TRIES", tuple(t for t in explorer.TRIES if t.values["k"] < 8))
    patch.setitem(baselines.RECIPES, (network.NAME, "digits"), Recipe(epochs=6))


EXPLORERS = (
    comparing_seeds(
        "sharing",
        prepare,
        explorer.explore_sharing,
        EXERCISES,
        SEEDS,
        quick={"epochs": 1},
    ),
)

"""Chapter 07's explorer on small data: baselines of a second, few shares to cut at."""

import numpy as np

from shrink.chapters.structure import explorer, figure, lab, prepared, times, view, ways
from shrink.chapters.structure.filters import filters_to_keep
from shrink.classroom import baselines
from shrink.classroom.training import Recipe
from tests.chapters.small import comparing_seeds

SEEDS = (0, 1)
EXERCISES = (filters_to_keep,)


def prepare(patch):
    stops = np.array([1, 8, 16]) / 16
    for module in (figure, lab, prepared, view):
        if hasattr(module, "STOPS"):
            patch.setattr(module, "STOPS", stops)
        if hasattr(module, "CURVE"):
            patch.setattr(module, "CURVE", stops[1:])
    patch.setattr(prepared, "IMAGES", 60)
    patch.setattr(prepared, "STATISTICS", 64)
    patch.setattr(ways, "EPOCHS", 1)
    patch.setattr(times, "ROUNDS", 1)
    patch.setitem(baselines.RECIPES, (ways.NAME, "digits"), Recipe(1, 0.05, batch_size=64))


EXPLORERS = (comparing_seeds("structure", prepare, explorer.explore_structure, EXERCISES, SEEDS),)

"""Chapter 08's explorer on small data: short trainings, few shares and few compressions."""

import numpy as np

from shrink.chapters.saliency import arms, collapsing, deleting, explorer, lab
from shrink.chapters.saliency.obd import obd_saliency
from shrink.classroom import baselines
from shrink.classroom.training import Recipe
from tests.chapters.small import comparing_seeds

SEEDS = (0, 1)
EXERCISES = (obd_saliency,)


def prepare(patch):
    for module in (deleting, lab):
        patch.setattr(module, "DELETED", np.array([0, 0.4, 0.6, 0.98]))
    for module in (collapsing, lab):
        patch.setattr(module, "COMPRESSIONS", 10 ** np.array([0, 1.4, 2, 5]))
    for module in (collapsing, explorer):
        patch.setattr(module, "STEPS", (1, 10))
    patch.setattr(deleting, "SINGLES", 20)
    patch.setattr(deleting, "IMAGES", 60)
    for name in deleting.NETWORKS.values():
        patch.setitem(baselines.RECIPES, (name, "digits"), Recipe(2, weight_decay=0))
    few = {"SCORED": 60, "TRAINED": 256, "EPOCHS": 1, "STEPS": 10}
    for name, value in (few | {"SHARES": (0.05, 0.01), "CONTROLLED": (0.05,)}).items():
        patch.setattr(arms, name, value)


EXPLORERS = (comparing_seeds("saliency", prepare, explorer.explore_saliency, EXERCISES, SEEDS),)

"""Chapter 10's explorer on small data: a small network, trainings of a few steps."""

from functools import partial

from shrink.chapters.few_bits import explorer, halves, networks
from shrink.chapters.few_bits.straight_through import fake_quantize_ste
from shrink.classroom import baselines, models
from shrink.classroom.models import LeNet300100
from shrink.classroom.training import Recipe
from shrink.modes import seeded
from tests.chapters.small import comparing_seeds

SEEDS = (0, 1)
EXERCISES = (fake_quantize_ste,)
HIDDEN = (20, 12)


def initial(seed):
    with seeded(seed):
        return LeNet300100(hidden=HIDDEN)


def prepare(patch):
    patch.setitem(models.MODELS, networks.LENET, partial(LeNet300100, hidden=HIDDEN))
    patch.setitem(baselines.RECIPES, (networks.LENET, "digits"), Recipe(epochs=6))
    patch.setattr(networks, "TRAINED", 120)
    patch.setitem(networks.RECIPES, networks.LENET, Recipe(2, 0.02, weight_decay=0))
    few = {"TRAINED": 120, "BATCH": 60, "EPOCHS": 1, "WATCHED": (1, 2), "SCALED_EPOCHS": 1}
    few |= {"EXPONENTS": (-20, 0, 20), "MOMENTS": (0, 1, 2), "initial": initial}
    for name, value in few.items():
        patch.setattr(halves, name, value)


EXPLORERS = (comparing_seeds("few_bits", prepare, explorer.explore_few_bits, EXERCISES, SEEDS),)

"""Chapter 11's explorer on small data: few images are judged, and AdaRound takes no steps."""

from shrink.chapters.mixed import allocation_lab, costs, curves, explorer, networks
from shrink.chapters.mixed.allocating import best_allocation
from shrink.classroom import baselines
from shrink.classroom.training import Recipe
from tests.chapters.small import comparing_seeds

SEEDS = (0, 1)
EXERCISES = (best_allocation,)


def curve(dataset, seed, line, model="separable", by="answers", per_channel=False):
    """Numbers in place of the prepared errors, which tests of `curves` hold: each is another."""
    place = list(curves.LINES).index(line) + 0.1 * seed + 0.02 * curves.BY.index(by)
    return {b: 0.9 / (b + place + per_channel) for b in curves.BUDGETS}


def prepare(patch):
    patch.setitem(baselines.RECIPES, (networks.SEPARABLE, "digits"), Recipe(epochs=1))
    patch.setattr(networks, "CALIBRATED", 20)
    patch.setattr(costs, "CALIBRATED", 20)
    patch.setattr(costs, "JUDGED", 20)
    patch.setattr(costs, "PROBES", 1)
    patch.setattr(allocation_lab, "ASKED", 20)
    patch.setattr(allocation_lab, "CALIBRATED", 10)
    patch.setitem(networks.ROUNDINGS, "adaround", "descent")
    patch.setattr(curves, "curve", curve)


EXPLORERS = (comparing_seeds("mixed", prepare, explorer.explore_mixed, EXERCISES, SEEDS),)

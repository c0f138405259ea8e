"""Chapter 09's explorer on small data: a small network, twelve rounds, trainings of two steps."""

from shrink.chapters.tickets import colours, explorer, rounds
from shrink.chapters.tickets.survivors import prune_survivors
from shrink.classroom.models import LeNet300100
from shrink.modes import seeded
from tests.chapters.small import comparing_seeds

SEEDS = (0, 1)
EXERCISES = (prune_survivors,)
EARLY = 1  # the step that stands for 100


def initial(seed):
    with seeded(seed):
        return LeNet300100(hidden=(20, 12))


def prepare(patch):
    few = {"TRAINED": 120, "EPOCHS": 1, "WATCHED": (0, 1, 2), "ASKED": 60, "initial": initial}
    few |= {"ROUNDS": 12, "SHOWN": (3, 7, 12), "REWINDS": (0, EARLY, None)}
    for name, value in few.items():
        patch.setattr(rounds, name, value)
    patch.setitem(colours.REWOUND, "step 100", EARLY)


EXPLORERS = (comparing_seeds("tickets", prepare, explorer.explore_tickets, EXERCISES, SEEDS),)

"""What chapter 08 needs and takes long."""

from collections.abc import Callable, Iterator

from shrink.chapters.saliency import arms, collapsing, deleting, losing
from shrink.classroom.data import Dataset

SEEDS = (0, 1, 2)


def first_picture(dataset: Dataset) -> None:
    """Make what the chapter needs up to its explorer, and what takes minutes below it."""
    for case in deleting.cases():
        if not case.is_rescaled:
            for seed in SEEDS:
                deleting.network_of(case, dataset, seed)
            deleting.true_rises(case, dataset, SEEDS[0])
    deleting.deleted(dataset, SEEDS)
    for make in arms.trainings(dataset):
        make()
    collapsing.accuracies(dataset, SEEDS)
    collapsing.collapse(dataset, SEEDS[0])
    for way in losing.WAYS:
        losing.compared(way, dataset)
    for way in losing.TAKEN_APART:
        losing.parts(way, dataset)


def further_cells(dataset: Dataset) -> Iterator[Callable[[], object]]:
    """What makes the things that the cells below the explorer need, one by one."""
    yield from ()

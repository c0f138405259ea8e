"""What chapter 10 needs and takes long."""

from collections.abc import Callable, Iterator

from shrink.chapters.few_bits import halves, trainings
from shrink.classroom.data import Dataset


def first_picture(dataset: Dataset) -> None:
    """Make what the chapter needs up to its explorer, and what takes minutes below it."""
    for what in (trainings, halves):
        for make in what.trainings(dataset):
            make()


def further_cells(dataset: Dataset) -> Iterator[Callable[[], object]]:
    """What makes the things that the cells below the explorer need, one by one."""
    yield from ()

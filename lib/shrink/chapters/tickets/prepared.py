"""What chapter 09 needs and takes long."""

from collections.abc import Callable, Iterator

from shrink.chapters.tickets import dense_sparse, late, rounds
from shrink.classroom.data import Dataset


def first_picture(dataset: Dataset) -> None:
    """Make what the chapter needs up to its explorer, and what takes minutes below it."""
    for what in (rounds, dense_sparse, late):
        for make in what.trainings(dataset):
            make()


def further_cells(dataset: Dataset) -> Iterator[Callable[[], object]]:
    """What makes the things that the cells below the explorer need, one by one."""
    yield from ()

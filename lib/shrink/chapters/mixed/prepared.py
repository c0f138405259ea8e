"""What chapter 11 needs and takes long."""

from collections.abc import Callable, Iterator

from shrink.chapters.mixed import allocation_lab, curves, kernel_lab
from shrink.classroom.data import Dataset


def first_picture(dataset: Dataset) -> None:
    """Make what the chapter needs up to its explorer, and what takes long below it."""
    for what in (curves.cells, allocation_lab.prepared, kernel_lab.prepared):
        for make in what(dataset):
            make()


def further_cells(dataset: Dataset) -> Iterator[Callable[[], object]]:
    """What makes the things that the cells below the explorer need, one by one."""
    yield from ()

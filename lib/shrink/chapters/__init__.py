"""The chapters: each a package named as its notebook, with EXERCISES and EXPERIMENT.

They are found by their folders. Whoever needs the list asks here; a frame knows no chapter.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shrink.classroom.data import Dataset


def names() -> list[str]:
    """Their names without numbers, `prune` of `02_prune`, by the alphabet."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if found.ispkg)


def find(name: str) -> ModuleType | None:
    """The package of a chapter, named with its number or without; None when there is none.

    >>> find("02_prune").EXPERIMENT.name, find("99_moon")
    ('02-prune', None)
    """
    name = _unnumbered(name)
    return importlib.import_module(f"{__name__}.{name}") if name in names() else None


def experiments() -> list:
    """The class experiments of all chapters, in the chapters' order."""
    found = (find(name).EXPERIMENT for name in names())
    return sorted(found, key=lambda experiment: experiment.name)


def numbered() -> list[str]:
    """The chapters' names with their numbers, `02_prune`, in order.

    >>> [name for name in numbered() if name[:2] in ("02", "10")]
    ['02_prune', '10_few_bits']
    """
    return [experiment.name.replace("-", "_") for experiment in experiments()]


def prepared(name: str) -> ModuleType | None:
    """What a chapter prepares; None where it is nothing."""
    module = f"{__name__}.{_unnumbered(name)}.prepared"
    return importlib.import_module(module) if importlib.util.find_spec(module) else None


def steps(content: ModuleType, dataset: Dataset) -> Iterator[Callable[[], object]]:
    """What makes all that takes long in a chapter, thing by thing, of what it prepares."""
    yield partial(content.first_picture, dataset)
    yield from content.further_cells(dataset)


def _unnumbered(name: str) -> str:
    return name[3:] if name[:2].isdecimal() else name

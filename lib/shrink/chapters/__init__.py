"""The chapters: each a package named as its notebook, with EXERCISES and EXPERIMENT.

They are found by their folders. Whoever needs the list asks here; a frame knows no chapter.
"""

import importlib
import pkgutil
from types import ModuleType


def names() -> list[str]:
    """Their names without numbers, `prune` of `02_prune`, by the alphabet."""
    return sorted(found.name for found in pkgutil.iter_modules(__path__) if found.ispkg)


def find(name: str) -> ModuleType | None:
    """The package of a chapter, named with its number or without; None when there is none.

    >>> find("02_prune").EXPERIMENT.name, find("99_moon")
    ('02-prune', None)
    """
    name = name[3:] if name[:2].isdecimal() else name
    return importlib.import_module(f"{__name__}.{name}") if name in names() else None


def experiments() -> list:
    """The class experiments of all chapters, in the chapters' order."""
    found = (find(name).EXPERIMENT for name in names())
    return sorted(found, key=lambda experiment: experiment.name)

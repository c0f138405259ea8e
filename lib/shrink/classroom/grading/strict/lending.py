"""What an answer has to hand in the process that runs it: modules to read, and few builtins.

Modules are lent: an answer sees their public functions, classes and numbers, and nothing that it
does to them lasts. So the checks compare with functions that are as they were.
"""

import builtins
import importlib
from collections.abc import Callable, Sequence
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import Any

from shrink.classroom.grading.strict.allowed import (
    IMPORTABLE,
    WITHHELD,
    WITHHELD_BUILTINS,
    is_attribute,
    is_importable,
)
from shrink.classroom.grading.strict.watch import Watch, refuse

_FROM_C = "pybind11_builtins"  # the home of types that reach into torch's compiler and its files
_OPEN_TO_CHANGE = (dict, list, set)


class Lent:
    """A module as an answer sees it: to read, not to change."""

    __slots__ = ("_module",)

    def __init__(self, module: ModuleType) -> None:
        object.__setattr__(self, "_module", module)

    def __getattr__(self, name: str) -> Any:
        if name == "__all__":  # what `from numpy import *` asks for
            return [n for n in _public(self._module) if _is_lent(self._module, n)]
        return _lend(self._module, name)

    def __setattr__(self, name: str, _: Any) -> None:
        refuse(f"sets {self._module.__name__}.{name}")

    def __delattr__(self, name: str) -> None:
        refuse(f"deletes {self._module.__name__}.{name}")

    def __repr__(self) -> str:
        return f"<module {self._module.__name__!r}>"


def _lend(module: ModuleType, name: str) -> Any:
    if name.startswith("__"):  # Python's own questions, not the answer's
        raise AttributeError(name)
    try:
        if not _is_lent(module, name):
            refuse(f"uses {module.__name__}.{name}")
        value = getattr(module, name)
    except AttributeError as error:  # which would hand out the module itself
        raise AttributeError(str(error)) from None
    return Lent(value) if isinstance(value, ModuleType) else value


def _is_lent(module: ModuleType, name: str) -> bool:
    if not is_attribute(name) or name in WITHHELD.get(module.__name__, ()):
        return False
    value = getattr(module, name)
    if isinstance(value, ModuleType):
        return is_importable(value.__name__)
    if isinstance(value, _OPEN_TO_CHANGE) or type(value).__module__ == _FROM_C:
        return False
    home = getattr(value, "__module__", None) or "" if callable(value) else ""
    if getattr(value, "__name__", name) in WITHHELD.get(home, ()):
        return False  # under another name, or in a module that imported it
    return not home or home.partition(".")[0].lstrip("_") in {*IMPORTABLE, "builtins"}


def _public(module: ModuleType) -> Sequence[str]:
    return getattr(module, "__all__", [n for n in dir(module) if not n.startswith("_")])


def builtins_of_answers(watch: Watch) -> dict[str, Any]:
    """Python's builtins without those that reach beyond the answer; imports lend."""
    kept = {
        name: value
        for name, value in vars(builtins).items()
        if not name.startswith("_") and name not in WITHHELD_BUILTINS
    }
    return kept | {"__import__": _importer(watch), "type": _type_of, "display": _nothing}


def _importer(watch: Watch) -> Callable[..., Lent]:
    def lent_import(
        name: str, _: Any = None, __: Any = None, names: Sequence[str] | None = None, level: int = 0
    ) -> Lent:
        by_c = isinstance(names, list)  # numpy's own, late; an answer's own names are a tuple
        if level or not (is_importable(name) or (by_c and not name.startswith("shrink"))):
            refuse(f"imports {name}")
        with watch.switched(on=False):
            module = importlib.import_module(name)
            for part in names or ():
                if is_importable(f"{name}.{part}"):
                    importlib.import_module(f"{name}.{part}")
            return Lent(module if names else importlib.import_module(name.partition(".")[0]))

    return lent_import


def _type_of(*args: Any) -> type:
    """`type` with one argument: classes are not made, and their own class makes them."""
    if len(args) != 1 or isinstance(args[0], type):
        refuse("makes a class" if len(args) == 3 else f"uses type{args[:1]}")
    return type(args[0])


def _nothing(*_: Any, **__: Any) -> None:
    """`display`, where nobody looks."""


def instance(value: Any) -> Any:
    """The value, unless it is a class, a module or a function, which are everybody's."""
    if isinstance(value, type | ModuleType | Lent | FunctionType | BuiltinFunctionType):
        refuse(f"sets an attribute of {value!r}")
    return value

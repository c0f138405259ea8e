"""The key of everything that went into a thing: values by content, code of ours by its source.

Whose source counts: that of the functions and classes that are named as parts, and of all of ours
that they name in turn, with the constants (in capitals) that they read. So a change anywhere in the
work moves the key, and nobody raises a version by hand. Comments and docstrings do not count, nor
does the module in which a function stands, nor what only stores files, shows progress and refuses
numbers. Code of other packages counts by its name. What is not followed: a method called on an
object whose class is never named.
"""

import ast
import functools
import hashlib
import inspect
import sys
import textwrap
import types
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, fields, is_dataclass

import numpy as np
import torch
from torch import Tensor, nn

OURS = "shrink"
BESIDE_THE_WORK = (
    "shrink.arguments",
    "shrink.files",
    "shrink.classroom.cache",
    "shrink.classroom.checkpoints",
    "shrink.classroom.progress",
)
Code = types.FunctionType | type


def key_of(*parts: object) -> str:
    """32 hexadecimal digits that are the same only for the same parts, on every machine.

    >>> key_of("k", 16) == key_of("k", 16), key_of("k", 16) == key_of("k", 16.0)
    (True, False)

    Args:
        parts: None, numbers, strings, bytes, dtypes, devices (by kind); tensors and arrays (dtype,
            shape, content); networks (what they print, state, code); dataclasses, mappings, lists
            and tuples of these; functions and classes (see above), and modules of code (the source
            as a whole).

    Raises:
        TypeError: a part is of another type, which is named.
    """
    key = _Key()
    for part in parts:
        key.add(part)
    return key.digest.hexdigest()[:32]


def fingerprint(numbers: Tensor) -> tuple[float, ...]:
    """A few rounded sums that stand in a key for numbers that were computed here.

    Processors differ in the last digits of what they compute, and a key by content would differ
    with them. These sums only change when the numbers do, by a thousandth of their norm or so.

    >>> numbers = torch.arange(1000.0)
    >>> fingerprint(numbers) == fingerprint(numbers * (1 + 1e-7))
    True
    >>> fingerprint(numbers) == fingerprint(numbers.flip(0))
    False
    """
    table = numbers.detach().cpu().double().reshape(len(numbers), -1)
    norm = float(table.norm())
    sums = [float(table.sum())]
    for along in (table.sum(0), table.sum(1)):
        place = torch.arange(len(along), dtype=torch.float64)
        sums += [float(torch.cos(pace * place) @ along) for pace in (1, 2)]
    return float(f"{norm:.3g}"), *(round(one / (norm or 1), 3) for one in sums)


def devices_in(part: object) -> list[str]:
    """The kinds of device that the tensors and networks in it are on, sorted."""
    return sorted(set(_devices(part)))


def _devices(part: object) -> Iterator[str]:
    if isinstance(part, Tensor | torch.device):
        yield (part.device if isinstance(part, Tensor) else part).type
    elif isinstance(part, nn.Module):
        yield from (tensor.device.type for tensor in part.state_dict().values())
    elif isinstance(part, Mapping):
        yield from (kind for value in part.values() for kind in _devices(value))
    elif isinstance(part, list | tuple):
        yield from (kind for value in part for kind in _devices(value))
    elif is_dataclass(part) and not isinstance(part, type):
        yield from (kind for f in fields(part) for kind in _devices(getattr(part, f.name)))


class _Key:
    """A hash that is fed part by part; code that was fed once is not followed again."""

    def __init__(self) -> None:
        self.digest = hashlib.sha256()
        self.followed: set[int] = set()

    def say(self, *words: object) -> None:
        self.digest.update(repr(words).encode())

    def add(self, part: object) -> None:
        if part is None or isinstance(part, bool | int | float | str | bytes):
            self.say(type(part).__name__, part)
        elif isinstance(part, torch.dtype):
            self.say("dtype", str(part))
        elif isinstance(part, torch.device):
            self.say("device", part.type)
        elif isinstance(part, Tensor):
            flat = part.detach().cpu().contiguous().flatten()  # numpy has no bfloat16
            self._content("tensor", part.dtype, part.shape, flat.view(torch.uint8).numpy())
        elif isinstance(part, np.ndarray | np.generic):
            if part.dtype.hasobject:
                raise TypeError("an array of objects has no key")
            flat = np.ascontiguousarray(part).reshape(-1)
            self._content("array", part.dtype, np.shape(part), flat.view(np.uint8))
        elif isinstance(part, nn.Module):
            self._network(part)
        elif is_dataclass(part) and not isinstance(part, type):
            self.say("dataclass", type(part).__qualname__)
            self.add({field.name: getattr(part, field.name) for field in fields(part)})
        elif isinstance(part, Mapping):
            self.say("mapping", len(part))
            for pair in part.items():
                self.add(pair)
        elif isinstance(part, list | tuple):
            self.say("sequence", len(part))
            for one in part:
                self.add(one)
        else:
            self._code(part)

    def _content(self, kind: str, dtype: object, shape: tuple, content: np.ndarray) -> None:
        self.say(kind, str(dtype), tuple(shape))
        self.digest.update(content)

    def _network(self, network: nn.Module) -> None:
        self.say("network", str(network))
        for module in network.modules():
            self.add(type(module))
        self.add({**network.state_dict(), **dict(network.named_buffers())})

    def _code(self, part: object) -> None:
        if isinstance(part, functools.partial):
            self.say("partial")
            self.add((part.func, part.args, part.keywords))
        elif isinstance(part, types.ModuleType):
            self.say("module", _without_prose(inspect.getsource(part)))
        elif isinstance(unwrapped := inspect.unwrap(part) if callable(part) else part, Code):
            self._function_or_class(unwrapped)
        elif isinstance(part, types.BuiltinFunctionType):
            self.say("builtin", part.__module__, part.__qualname__)
        else:
            raise TypeError(f"a {type(part).__module__}.{type(part).__qualname__} has no key")

    def _function_or_class(self, code: Code) -> None:
        if code.__name__ == "<lambda>":
            raise TypeError("a lambda has no key: give the work a name")
        self.say("code", code.__qualname__)
        if id(code) in self.followed:
            return
        self.followed.add(id(code))
        package = code.__module__.partition(".")[0]
        if package in sys.stdlib_module_names - {"__main__"} or package in ("torch", "numpy"):
            self.say(code.__module__)
            return
        if (source := _read(code)) is None:  # typed in without a file
            self.say(code.__module__)
            return
        self.say(source.text)
        if isinstance(code, types.FunctionType):
            for cell in code.__closure__ or ():
                self.add(cell.cell_contents)
        if package == OURS:
            for name, found in _named(source, vars(sys.modules[code.__module__])):
                self._reached(name, found)

    def _reached(self, name: str, found: object) -> None:
        """What code of ours names: other code of ours, and constants; the rest does not count."""
        module = str(getattr(found, "__module__", ""))
        if isinstance(found, types.ModuleType):
            return
        if name.isupper():
            self.say(name)
            with suppress(TypeError):  # a lock, a type
                self.add(found)
        elif (
            callable(found)
            and isinstance(inspect.unwrap(found), Code)
            and module.partition(".")[0] == OURS
            and module not in BESIDE_THE_WORK
        ):
            self.add(found)


@dataclass(frozen=True)
class _Source:
    """Source without prose, and what it names: `x` as ("x",), `module.x` as ("module", "x")."""

    text: str
    names: tuple[tuple[str, ...], ...]


@functools.lru_cache(maxsize=2000)
def _read(code: Code) -> _Source | None:
    """The source of a function or a class; None where there is none."""
    try:
        source = textwrap.dedent(inspect.getsource(code))
    except (OSError, TypeError):
        return None
    names = set()
    for node in ast.walk(ast.parse(source)):
        path = []
        while isinstance(node, ast.Attribute):
            path.append(node.attr)
            node = node.value
        if isinstance(node, ast.Name):
            names.add((node.id, *reversed(path)))
    return _Source(_without_prose(source), tuple(sorted(names)))


def _without_prose(source: str) -> str:
    """The source without docstrings, comment lines and empty lines."""
    lines: list[str | None] = [*source.splitlines()]
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            first, last = node.body[0].lineno - 1, node.body[0].end_lineno
            lines[first:last] = [None] * (last - first)
    stripped = ((line, line.strip()) for line in lines if line is not None)
    return "\n".join(line for line, text in stripped if text and not text.startswith("#"))


def _named(source: _Source, names: Mapping[str, object]) -> list[tuple[str, object]]:
    """The last name and the object of each `x` and `module.x`, where x is among `names`."""
    found: dict[str, tuple[str, object]] = {}
    for first, *path in source.names:
        if first not in names:
            continue
        one, last, name = names[first], first, first
        while path and isinstance(one, types.ModuleType):
            last = path.pop(0)
            one, name = getattr(one, last, None), f"{name}.{last}"
        found[name] = (last, one)
    return [found[name] for name in sorted(found)]

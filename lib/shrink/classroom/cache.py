"""Files that can be made again: where they are kept, and under a key of everything that went in."""

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pooch
import torch
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from shrink.classroom import archives
from shrink.classroom.made_of import devices_in, key_of
from shrink.classroom.progress import unless_asking
from shrink.files import patiently, sweep, write_atomically

_saying = threading.Lock()
_said: set[str] = set()
_keeping = threading.local()  # `all`


def cache_dir() -> Path:
    """The folder for what can be made again: `$SHRINK_CACHE`, or the user's own cache."""
    return named_folder("SHRINK_CACHE") or Path(pooch.os_cache("shrink"))


def named_folder(variable: str) -> Path | None:
    """The folder that a variable of the environment names, if it does; `~` is the user's own."""
    given = os.environ.get(variable)
    return Path(os.path.expanduser(given)) if given else None


def say_once(line: str, about: str | None = None) -> None:
    """Print the line, unless this process has said one about the same (without it, the same line).

    A name of what went wrong, as "nothing is kept", stands for many lines that differ by a path.
    """
    with _saying:
        if (about or line) in _said:
            return
        _said.add(about or line)
    print(line)


@contextmanager
def kept_if_possible() -> Iterator[None]:
    """Inside, what cannot be written is not: one line says so, once, and the work goes on.

    Unless all must be kept, as `kept_or_refused` has it.
    """
    try:
        yield
    except OSError as error:
        if getattr(_keeping, "all", False):
            raise
        say_once(
            f"nothing is kept: {error}; what takes long is made again each time, unless "
            "SHRINK_CACHE names a folder that can be written",
            about="nothing is kept",
        )


@contextmanager
def kept_or_refused() -> Iterator[None]:
    """Inside, in this thread, `OSError` where nothing can be stored: for work done for its files.

    >>> with kept_or_refused(), kept_if_possible():
    ...     raise OSError("the disk is full")
    Traceback (most recent call last):
    OSError: the disk is full
    """
    before, _keeping.all = getattr(_keeping, "all", False), True
    try:
        yield
    finally:
        _keeping.all = before


def remove(path: Path) -> None:
    """Remove the file if it is there, and what killed writers left of it; where one may."""
    sweep(path)
    with suppress(OSError):
        patiently(lambda: path.unlink(missing_ok=True))


def kept(
    name: str, make: Callable[[], Mapping[str, Tensor]], *made_of: object
) -> dict[str, Tensor]:
    """The named tensors that `make()` returns: shipped or cached, if they were made of the same.

    Args:
        name: a folder of the cache and how the file's name begins, as "sweeps/prune".
        make: called where there is no such file, or a damaged or another one.
        made_of: everything that went in, as `key_of` has it: data, networks, numbers, and the
            functions that do the work, whose code counts.

    Raises:
        TypeError: something in `made_of` has no key.
    """
    key = key_of(*made_of)
    label = f"{name}-{key}"
    with archives.noting(label) as note:
        found = archives.find(label)
        if found is None:
            found = cached_tensors(_path(name, key, made_of), unless_asking(make))
        note(found)
        return found


def kept_path(name: str, *made_of: object) -> Path:
    """Where the cache has it. The version of torch counts too, and the kind of device."""
    return _path(name, key_of(*made_of), made_of)


def _path(name: str, key: str, made_of: tuple[object, ...]) -> Path:
    here = key_of(key, torch.__version__, *devices_in(made_of))
    return cache_dir() / f"{name}-{here}.safetensors"


def cached_tensors(path: Path | str, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The named tensors stored at `path`, or those that `make()` returns, which are then stored.

    For files whose path says all that went in; else use `kept`. They are made again where the file
    cannot be read, is damaged, or is another one in its place: the file says its own name, and a
    hash of what is in it. Where nothing can be stored a line says so, and they are made each time.
    """
    path = Path(path)
    tensors = _stored(path)
    if tensors is None:
        tensors = {name: t.detach().cpu().contiguous() for name, t in make().items()}
        with kept_if_possible():
            write_atomically(path, save_bytes(tensors, _identity(path, tensors)))
    else:
        sweep(path)
    return tensors


def _stored(path: Path) -> dict[str, Tensor] | None:
    """What is stored at the path, if it can be read and is what was stored there."""
    try:
        content = path.read_bytes()
        tensors = load_bytes(content)
        length = int.from_bytes(content[:8], "little")  # of the header, as safetensors has it
        said = json.loads(content[8 : 8 + length]).get("__metadata__")
    except Exception:  # a file of any kind may be there
        return None
    return tensors if said == _identity(path, tensors) else None


def _identity(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """What a file in the cache says of itself; one entry, as the order of several is by chance."""
    return {"stored as": f"{path.name} {key_of(dict(sorted(tensors.items())))}"}

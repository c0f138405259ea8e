"""Files that can be made again: where they are kept, and under a key of everything that went in."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pooch
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from shrink.classroom import archives
from shrink.classroom.made_of import devices_in, key_of
from shrink.files import patiently, write_atomically


def cache_dir() -> Path:
    """The folder for what can be made again: `$SHRINK_CACHE`, or the user's own cache."""
    return Path(os.environ.get("SHRINK_CACHE") or pooch.os_cache("shrink"))


def remove(path: Path) -> None:
    """Remove the file if it is there."""
    patiently(lambda: path.unlink(missing_ok=True))


def kept(
    name: str, make: Callable[[], Mapping[str, Tensor]], *made_of: object
) -> dict[str, Tensor]:
    """The named tensors that `make()` returns: shipped or cached, if they were made of the same.

    Args:
        name: a folder of the cache and how the file's name begins, as "sweeps/prune".
        make: called where there is no such file, or a damaged one.
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
            found = cached_tensors(_path(name, key, made_of), make)
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

    For files whose path says all that went in; else use `kept`. A file that cannot be read
    (damaged, or not safetensors) is made again.
    """
    path = Path(path)
    try:
        return load_bytes(path.read_bytes())
    except (FileNotFoundError, SafetensorError):
        tensors = {name: t.detach().cpu().contiguous() for name, t in make().items()}
        write_atomically(path, save_bytes(tensors))
        return tensors

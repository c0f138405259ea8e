"""Files that can be made again: where they are kept, and tensors that are made once."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

import pooch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from shrink.files import patiently, write_atomically


def cache_dir() -> Path:
    """The folder for what can be made again: `$SHRINK_CACHE`, or the user's own cache."""
    return Path(os.environ.get("SHRINK_CACHE") or pooch.os_cache("shrink"))


def remove(path: Path) -> None:
    """Remove the file if it is there."""
    patiently(lambda: path.unlink(missing_ok=True))


def cached_tensors(path: Path | str, make: Callable[[], Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The named tensors stored at `path`, or those that `make()` returns, which are then stored.

    A file that cannot be read (damaged, or not safetensors) is made again.
    """
    path = Path(path)
    try:
        return load_bytes(path.read_bytes())
    except (FileNotFoundError, SafetensorError):
        tensors = {name: t.detach().cpu().contiguous() for name, t in make().items()}
        write_atomically(path, save_bytes(tensors))
        return tensors

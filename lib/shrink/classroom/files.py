"""Files that survive a kill: written under a temporary name, then renamed."""

import os
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

import pooch
from safetensors import SafetensorError
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor


def cache_dir() -> Path:
    """The folder for what can be made again: `$SHRINK_CACHE`, or the user's own cache."""
    return Path(os.environ.get("SHRINK_CACHE") or pooch.os_cache("shrink"))


def write_atomically(path: Path | str, content: bytes) -> int:
    """Write `content` so that `path` is either as it was or complete; return its length in bytes.

    Two processes that write the same path at once both succeed, and the last one wins.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _patiently(lambda: os.replace(temporary, path))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return len(content)


def remove(path: Path) -> None:
    """Remove the file if it is there."""
    _patiently(lambda: path.unlink(missing_ok=True))


def _patiently(act: Callable[[], object]) -> None:
    """Act; on Windows a file that another process is just reading refuses, so try for a second."""
    for _ in range(20):
        try:
            act()
            return
        except PermissionError:
            if os.name != "nt":
                raise
            time.sleep(0.05)
    act()


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

"""Files that survive a kill: written under a temporary name, then renamed."""

import os
import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # on Windows, where nobody removes a file that another has open
    fcntl = None


def write_atomically(path: Path | str, content: bytes) -> int:
    """Write `content` so that `path` is either as it was or complete; return its length in bytes.

    Two processes that write the same path at once both succeed, and the last one wins. What writers
    of this path left that were killed is removed, as by `sweep`.

    Raises:
        OSError: it cannot be written (no space, no permission, a folder is there); it names `path`.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        _write_and_rename(path, content)
    except OSError as error:  # says nothing of a full disk's file, or the temporary's name
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    return len(content)


def sweep(path: Path | str) -> None:
    """Remove what killed writers of `path` left beside it; what a living one writes stays.

    A writer holds a lock on its temporary file, and a lock dies with its process.
    """
    path = Path(path)
    left = re.compile(rf"\.{re.escape(path.name)}\.[0-9a-f]{{32}}")
    with suppress(OSError):  # a folder that cannot be read, or is not there
        for entry in os.scandir(path.parent):
            if left.fullmatch(entry.name):
                _remove_unless_locked(Path(entry.path))


def _write_and_rename(path: Path, content: bytes, tries: int = 5) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            lock(file)
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            if fcntl is not None:
                os.replace(temporary, path)  # while it is locked
        if fcntl is None:
            patiently(lambda: os.replace(temporary, path))
    except FileNotFoundError:  # swept after it was made, and before it was locked
        if tries == 1:
            raise
        _write_and_rename(path, content, tries - 1)
    finally:
        with suppress(OSError):  # it has gone, if all is well
            temporary.unlink()


def lock(file: BinaryIO) -> None:
    """Lock the file for as long as it is open, where there are locks."""
    if fcntl is not None:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(file, fcntl.LOCK_EX)


def _remove_unless_locked(path: Path) -> None:
    with suppress(OSError):
        if fcntl is None:
            path.unlink()
            return
        with open(path, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()


def patiently(act: Callable[[], object]) -> None:
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

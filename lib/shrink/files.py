"""Files that survive a kill: written under a temporary name, then renamed."""

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path


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
        patiently(lambda: os.replace(temporary, path))
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return len(content)


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

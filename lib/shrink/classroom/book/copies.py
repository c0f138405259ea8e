"""How a student's file is made, kept under a second name, and replaced, whoever saves it meanwhile.

Nothing here overwrites a file of a student's: what is replaced has another name first. A run that
is killed leaves the file or puts it aside, in `.shrink/`; the next one gives it back.
"""

import itertools
import os
import uuid
from contextlib import suppress
from pathlib import Path

from shrink import files
from shrink.files import patiently, write_atomically

BASES = ".shrink"  # in a student's folder: the pristine notebooks that the copies came from


def base_of(copy: Path) -> Path:
    """Where the pristine notebook lies that a copy came from."""
    return copy.parent / BASES / copy.name


def create(path: Path, content: bytes) -> bool:
    """Write the whole file unless one is there; return whether it was written."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        with open(temporary, "xb") as file:
            files.lock(file)  # until it is linked, or a sweep takes it for a killed run's
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
            _link(temporary, path)
        return True
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)


def back_up(path: Path, copy: Path) -> Path:
    """Give `path` the first free name of a backup of `copy`; one with the same content will do."""
    for number in itertools.count(1):
        backup = copy.with_name(f"{copy.stem}.before-update-{number}.ipynb")
        try:
            _link(path, backup)
            return backup
        except FileExistsError:
            with suppress(OSError):  # a folder has that name, or a link to nowhere
                if os.path.samefile(path, backup) or path.read_bytes() == backup.read_bytes():
                    return backup


def exchange(copy: Path, content: bytes) -> Path | None:
    """Put `content` in the place of a file; return the backup of what was replaced.

    None if a front end saved the file at that very moment: then what it saved stands there.
    """
    write_atomically(_fresh(copy), content)
    try:
        patiently(lambda: os.replace(copy, _aside(copy)))
        _link(_fresh(copy), copy)
    except FileExistsError:
        give_back(copy)
        return None
    except BaseException:
        give_back(copy)
        raise
    return give_back(copy)


def give_back(copy: Path) -> Path | None:
    """End an exchange: what was put aside gets its place again if that is free, else a backup."""
    aside, backup = _aside(copy), None
    if aside.exists():
        try:
            _link(aside, copy)
        except FileExistsError:
            backup = back_up(aside, copy)
        aside.unlink()
    _fresh(copy).unlink(missing_ok=True)
    return backup


def sweep(work: Path) -> None:
    """Remove the temporary files that killed runs left beside the copies and their bases."""
    for folder in (work, work / BASES):
        for path in folder.glob(".*.ipynb.*"):
            files.sweep(path.with_name(path.name[1:].rpartition(".")[0]))


def _fresh(copy: Path) -> Path:
    return base_of(copy).with_suffix(".new")


def _aside(copy: Path) -> Path:
    return base_of(copy).with_suffix(".aside")


def _link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has no hard links.

    Raises `FileExistsError` when `target` is there.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        content = source.read_bytes()
        with open(target, "xb") as file:
            try:
                file.write(content)
            except BaseException:
                target.unlink()
                raise

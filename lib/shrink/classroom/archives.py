"""Results that ship with the package: those of the chapters' first pictures, and all slow ones.

`cache.kept` looks here before it looks into the cache. An archive holds the results that one
chapter needs on one data set, each file under a label that ends in the key of everything it was
made of. Torch's version and the device do not count: `shrink prepare` made these files once. If a
part changes, so does the label, and the result is made again on the student's machine.
"""

import functools
import io
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import resources
from pathlib import Path

from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor

from shrink.files import write_atomically

Tensors = Mapping[str, Tensor]
FOLDER = "shipped"
EPOCH = (1980, 1, 1, 0, 0, 0)  # the time of every file: archives of the same content are the same
_noted = threading.local()  # what the outermost calls of this thread have given, while recording


def folder() -> Path:
    """Where the archives are."""
    return Path(str(resources.files("shrink.classroom"))) / FOLDER


def labels() -> Mapping[str, Path]:
    """The archive of each label that ships."""
    return _labels(folder())


@functools.cache
def _labels(where: Path) -> Mapping[str, Path]:
    found = {}
    for path in sorted(where.glob("*.zip")):
        try:
            with zipfile.ZipFile(path) as archive:
                found |= dict.fromkeys(archive.namelist(), path)
        except Exception as error:  # of a damaged one zipfile says this or that
            _pass_over(path, error)
    return found


def _pass_over(path: Path, error: Exception) -> None:
    print(f"{path.name} cannot be read ({error}): what ships in it is made here")


def find(label: str) -> dict[str, Tensor] | None:
    """The named tensors that ship under the label, on the CPU; None if there are none, or damaged.

    A zip file has a checksum of each file in it.
    """
    path = labels().get(label)
    if path is None:
        return None
    try:
        with zipfile.ZipFile(path) as archive:
            return load_bytes(archive.read(label))
    except Exception as error:
        _pass_over(path, error)
        return None


def write(path: Path, things: Mapping[str, Tensors]) -> int:
    """Write an archive of things by their labels; its length in bytes."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(things):
            entry = zipfile.ZipInfo(name, EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            tensors = {key: t.detach().cpu().contiguous() for key, t in things[name].items()}
            archive.writestr(entry, save_bytes(tensors))
    length = write_atomically(path, content.getvalue())
    _labels.cache_clear()
    return length


def ship(name: str, prepare: Callable[[], object]) -> str:
    """Write the archive of all that `kept` gives while `prepare` runs; a line about it.

    What is in another archive already is left out.
    """
    path = folder() / f"{name}.zip"
    with recording() as things:
        prepare()
    if not things:
        return f"{name}: nothing ships"
    elsewhere = {label for label, archive in labels().items() if archive != path}
    length = write(path, {key: t for key, t in things.items() if key not in elsewhere})
    return f"{path.name}: {length:,} bytes"


@contextmanager
def recording() -> Iterator[dict[str, Tensors]]:
    """A dict that fills with all that `kept` gives in this thread, by label.

    What is only needed to make another thing is left out.
    """
    _noted.things, _noted.depth = {}, 0
    try:
        yield _noted.things
    finally:
        _noted.things = None


@contextmanager
def noting(label: str) -> Iterator[Callable[[Tensors], None]]:
    """A function to be told of what has been found or made under the label."""
    things = getattr(_noted, "things", None)
    if things is None:
        yield lambda tensors: None
        return
    _noted.depth += 1
    outermost = _noted.depth == 1
    try:
        yield lambda tensors: things.update({label: dict(tensors)}) if outermost else None
    finally:
        _noted.depth -= 1

"""What `shrink doctor` does: whether this machine can run the course, on one screen."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import torch
from jupyter_core.paths import jupyter_path

from shrink.classroom import CourseError, mnist
from shrink.classroom.cache import cache_dir, named_folder
from shrink.classroom.data import glyphs_file
from shrink.classroom.training import pick_device

PACKAGES = ("torch", "numpy", "jupyterlab", "ipywidgets", "nbval")
ENOUGH = 0.5  # gigabytes of free disk: the data, the networks and the sweeps in the cache
_WIDGETS = "@jupyter-widgets/jupyterlab-manager/package.json"


@dataclass(frozen=True)
class Finding:
    """One line of the screen; a problem that would stop the course says what to do."""

    what: str
    found: str
    remedy: str | None = None

    def __str__(self) -> str:
        mark = "problem" if self.remedy else "ok"
        return f"{mark:<8}{self.what:<12}{self.found}" + (f"; {self.remedy}" if self.remedy else "")


def examine(root: Path | None) -> list[Finding]:
    """Everything the course needs of this machine; `root` is the course folder, if one is known."""
    return [*_software(), *_machine(root), *_data(), _device()]


def mnist_folder() -> Path | None:
    """Where MNIST is read from, or None when it is not at hand.

    Raises `CourseError` when a file in `$SHRINK_DATA` is damaged.
    """
    if not mnist.at_hand():
        return None
    given = (named_folder("SHRINK_DATA") or cache_dir()) / "mnist"
    return given if any(given.glob("*.gz")) else cache_dir() / "mnist"


def _software() -> Iterator[Finding]:
    right = (3, 11) <= sys.version_info < (3, 14)
    remedy = None if right else "the course needs 3.11 to 3.13"
    yield Finding("python", f"{platform.python_version()} on {platform.platform()}", remedy)
    for package in PACKAGES:
        try:
            yield Finding(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            yield Finding(package, "missing", "install requirements.lock")
    for folder in jupyter_path("labextensions"):
        if Path(folder, _WIDGETS).exists():
            yield Finding("sliders", f"JupyterLab has its widgets, in {folder}")
            return
    yield Finding("sliders", "JupyterLab has no widgets", "install jupyterlab_widgets")


def _machine(root: Path | None) -> Iterator[Finding]:
    memory = ""
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        memory = f", {size / 2**30:.1f} GiB of memory"
    yield Finding("machine", f"{os.cpu_count()} cores{memory}")
    yield _folder("cache", cache_dir())
    if root is None:
        remedy = "go to the folder that holds notebooks/ and pyproject.toml, or pass --root"
        yield Finding("course", "no course folder here", remedy)
    else:
        yield _folder("work", root / "work")


def _folder(what: str, folder: Path) -> Finding:
    """Whether there is room in the folder, and leave to write; it is not made."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free / 1e9
    found = f"{folder}, {free:.1f} GB free"
    if free < ENOUGH:
        return Finding(what, found, f"the course needs {ENOUGH} GB: free some")
    try:
        with tempfile.TemporaryFile(dir=there):
            return Finding(what, found)
    except OSError as error:
        return Finding(what, found, f"cannot be written to ({error.strerror}): change its owner")


def _data() -> Iterator[Finding]:
    try:
        folder = mnist_folder()
    except CourseError as error:
        yield Finding("mnist", "damaged", str(error))
    else:
        yield Finding(
            "mnist", str(folder or "not at hand, glyphs stand in; `shrink data mnist` fetches it")
        )
    drawn = glyphs_file()
    yield Finding("glyphs", str(drawn) if drawn.exists() else "drawn when first used, in seconds")


def _device() -> Finding:
    try:
        device = pick_device()
    except CourseError as error:
        return Finding("device", "unknown", str(error))
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU is needed"
    return Finding("device", f"{device}, {name}")

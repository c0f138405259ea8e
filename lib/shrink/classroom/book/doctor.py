"""What `shrink doctor` does: whether this machine can run the course, on one screen."""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata, util
from pathlib import Path

import torch

from shrink.classroom import CourseError, mnist
from shrink.classroom.book.first_time import Chapter, at_hand, in_all, made_at_first
from shrink.classroom.cache import cache_dir, named_folder
from shrink.classroom.data import glyphs_file
from shrink.classroom.progress import Announced
from shrink.classroom.training import pick_device

PACKAGES = ("torch", "numpy", "ipywidgets")
LAB = ("jupyterlab", "nbval")  # of the extra of this name
ENOUGH = 0.5  # gigabytes of free disk: the data, the networks and the sweeps in the cache
_WIDGETS = "@jupyter-widgets/jupyterlab-manager/package.json"


@dataclass(frozen=True)
class Finding:
    """One line of the screen.

    Args:
        what, found: the subject, and what is said of it.
        remedy: of a problem that would stop the course, what to do.
        later: what is not kept yet and made when it is first needed.
    """

    what: str
    found: str
    remedy: str | None = None
    later: tuple[Announced, ...] = ()

    def __str__(self) -> str:
        mark = "problem" if self.remedy else "later" if self.later else "ok"
        return f"{mark:<8}{self.what:<12}{self.found}" + (f"; {self.remedy}" if self.remedy else "")


def examine(work: Path | None, chapters: Mapping[str, Chapter]) -> Iterator[Finding]:
    """Everything the course needs of this machine, and what the chapters make at first.

    Args:
        work: the student's folder, if known.
        chapters: by name, what makes all that takes long in them.
    """
    machine = [*_software(), *_machine(work), *_data(), _device()]
    yield from machine
    if not any(finding.remedy for finding in machine):
        yield from _at_first(chapters)


def verdict(findings: Sequence[Finding]) -> str:
    """The last line: whether this machine can run the course, and else what to do first."""
    problems = [finding for finding in findings if finding.remedy]
    if problems:
        others = len(problems) - 1
        more = f" ({others} more above)" if others else ""
        first = f"{problems[0].what}: {problems[0].remedy}"
        return f"this machine cannot run the course until this is mended: {first}{more}"
    later = [one for finding in findings for one in finding.later]
    if not later:
        return "this machine can run the course"
    beforehand = f"`shrink warm` makes beforehand what is marked later{in_all(later)}"
    return f"this machine can run the course; {beforehand}"


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
    for package in (*PACKAGES, *LAB):
        try:
            yield Finding(package, metadata.version(package))
        except metadata.PackageNotFoundError:
            extra = "shrink[lab]" if package in LAB else package
            yield Finding(package, "missing", f'run `pip install "{extra}"`')
    if util.find_spec("jupyterlab"):
        yield _sliders()


def _sliders() -> Finding:
    from jupyter_core.paths import jupyter_path  # it comes with JupyterLab

    for folder in jupyter_path("labextensions"):
        if Path(folder, _WIDGETS).exists():
            return Finding("sliders", f"JupyterLab has its widgets, in {folder}")
    return Finding("sliders", "JupyterLab has no widgets", "run `pip install jupyterlab_widgets`")


def _machine(work: Path | None) -> Iterator[Finding]:
    memory = ""
    if "SC_PHYS_PAGES" in getattr(os, "sysconf_names", {}):
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        memory = f", {size / 2**30:.1f} GiB of memory"
    yield Finding("machine", f"{os.cpu_count()} cores{memory}")
    yield _folder("cache", cache_dir())
    if work is None:
        remedy = "go to the folder that holds course/ and notebooks/, or pass --root"
        yield Finding("course", "no course folder here", remedy)
    else:
        yield _folder("work", work)


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


def _at_first(chapters: Mapping[str, Chapter]) -> Iterator[Finding]:
    """What each chapter makes at first, on the data that it would take."""
    dataset = at_hand(pick_device())
    if isinstance(dataset, Announced):
        found = "what they make at first is known once glyphs are drawn"
        yield Finding("chapters", found, later=(dataset,))
        return
    for name, steps in chapters.items():
        missing = made_at_first(lambda steps=steps: steps(dataset))
        first, *others = [one.what for one in missing] or ["all that takes long is made"]
        more = f", and {len(others)} more" if others else ""
        yield Finding(name, f"{first}{more}{in_all(missing)}", later=missing)

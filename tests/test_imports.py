"""Who may import whom: papers → chapters → classroom → techniques, and never upwards."""

import ast
import sys
from pathlib import Path, PurePosixPath

import pytest

import shrink

LIB = Path(shrink.__file__).parent
FILES = {path.relative_to(LIB).as_posix(): path for path in sorted(LIB.rglob("*.py"))}

# From the bottom up: what is in a folder may import what is in those before it, and in its own.
# "classroom" are the files that lie in it.
LEVELS = (
    "techniques",
    "classroom",
    "classroom/exercises",
    "classroom/explorers",
    "classroom/book",
    "classroom/grading",
    "classroom/class_work",
    "chapters",
    "start",
    "papers",
    "cli",
)
# No techniques: what several of them need.
SHARED = {"arguments", "earlier", "files", "modes", "plain", "tensors"}
COMPOSES = {  # a file of the codec holds quantized and shared tensors
    "coding/codec_parts.py": {"quantization", "sharing"},
    "coding/codec_reader.py": {"quantization", "sharing"},
    "coding/codec_writer.py": {"quantization", "sharing"},
    "quantization/integer.py": {"cost"},
    "quantization/sensitivity.py": {"pruning"},  # the checks of a model with labelled images
}
# They ask `shrink.chapters` which chapters there are, and import none of them by name.
KNOW_THE_LIST = {"classroom/grading/identify.py", "classroom/grading/strict/grading.py"}
LIBRARIES = {"torch", "numpy", *sys.stdlib_module_names}  # those of a technique
CONTENT = ("chapters", "start")  # what has explorers and figures of its own
DRAW = {"classroom/plots.py", "classroom/class_work/group.py", "chapters/code/standings.py"}


def imported(source: str, file: str) -> set[str]:
    """Every module or name that the code imports, dotted; relative ones resolved."""
    package = ["shrink", *Path(file).parent.parts]
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{module}.{alias.name}" for alias in node.names}
    return names


def level(parts: list[str]) -> int:
    """Where in LEVELS a module stands, given by the parts of its name below `shrink`."""
    for folder in ("/".join(parts[:2]), *parts[:1]):
        if folder in LEVELS:
            return LEVELS.index(folder)
    return LEVELS.index("techniques")


def offences(source: str, file: str) -> list[str]:
    """What a file of the library, named relative to it, imports against the rule."""
    return sorted(name for name in imported(source, file) if not may_import(name, file))


def may_import(name: str, file: str) -> bool:
    top, *rest = name.split(".")
    if top == "shrink":
        return _may_import_of_ours(rest, file)
    if name.startswith(("matplotlib.pyplot", "pylab", "matplotlib.pylab", "ipympl")):
        return False
    if file == "classroom/plots.py" and top == "torch":  # it is given arrays
        return False
    if top == "ipywidgets":
        return _explores(file)
    if top in ("matplotlib", "mpl_toolkits"):
        fonts = file == "classroom/glyphs.py" and name == "matplotlib.get_data_path"
        return fonts or file in DRAW or _explores(file) or _is_figure(file)
    return level(file.removesuffix(".py").split("/")) > 0 or top in LIBRARIES


def _may_import_of_ours(name: list[str], file: str) -> bool:
    here = file.removesuffix(".py").split("/")
    if name[:1] == ["chapters"] and file in KNOW_THE_LIST:
        return len(name) < 3 and name[1:] in ([], ["find"], ["names"])
    at, mine = level(name), level(here)
    if at > mine:
        return False
    if mine == 0:
        family = name[:1] == here[:1] and len(here) > 1
        return bool(name) and (family or name[0] in SHARED | COMPOSES.get(file, set()))
    if file == "classroom/plots.py":  # no model
        return name[:3] == ["classroom", "measure", "Report"]
    if LEVELS[mine] == LEVELS[at] == "chapters" and len(here) > 2:  # no other chapter
        return name[1:2] == here[1:2]
    return True


def _explores(file: str) -> bool:
    path = PurePosixPath(file)
    of_content = path.parts[0] in CONTENT and path.stem.endswith("explorer")
    return file.startswith("classroom/explorers/") or of_content


def _is_figure(file: str) -> bool:
    path = PurePosixPath(file)
    return path.parts[0] in CONTENT and path.stem.endswith(("figure", "drawings"))


@pytest.mark.parametrize("file", FILES)
def test_files_import_what_they_may(file):
    assert offences(FILES[file].read_text(encoding="utf-8"), file) == []


def test_the_rule_sees_the_files():
    named = {*COMPOSES, *KNOW_THE_LIST, *DRAW, "chapters/prune/explorer.py", "pruning/masks.py"}
    assert named <= FILES.keys()
    folders = {str(PurePosixPath(file).parent) for file in FILES}
    assert {name for name in LEVELS[1:-1] if name not in ("chapters", "start", "papers")} <= folders
    rooms = {folder for folder in folders if folder.startswith("classroom/")}
    assert all(level(room.split("/")) > 1 for room in rooms), "a room of no level"


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("pruning/masks.py", "import scipy"),
        ("pruning/masks.py", "import shrink"),
        ("pruning/masks.py", "from shrink import cost"),
        ("pruning/masks.py", "from shrink.cost import count"),
        ("pruning/masks.py", "from .. import cost"),
        ("pruning/masks.py", "from ..classroom import data"),
        ("pruning/masks.py", "from shrink.classroom.data import load"),
        ("pruning/masks.py", "from shrink.chapters.prune import global_masks"),
        ("pruning/masks.py", "def f():\n    import tqdm"),
        ("pruning/masks.py", "try:\n    import matplotlib\nexcept ImportError:\n    pass"),
        ("cost.py", "from shrink import latency"),
        ("cost.py", "from shrink.papers import reproduce"),
        ("coding/huffman.py", "from shrink.sharing import Shared"),
        ("coding/codec.py", "from shrink.pruning import global_masks"),
        ("coding/codec.py", "import shrink.classroom.data"),
        ("classroom/data.py", "import ipywidgets as widgets"),
        ("classroom/data.py", "from shrink.classroom.exercises import inputs"),
        ("classroom/data.py", "from shrink.chapters.prune import explorer"),
        ("classroom/data.py", "from shrink import chapters"),
        ("classroom/data.py", "from shrink import cli"),
        ("classroom/exercises/exercise.py", "from shrink.classroom.explorers import canvas"),
        ("classroom/explorers/explorer.py", "from shrink.classroom.book import lab"),
        ("classroom/book/update.py", "from shrink.classroom.grading import check"),
        ("classroom/grading/check.py", "from shrink.classroom.class_work import hand_in"),
        ("classroom/grading/check.py", "from shrink.chapters import prune"),
        ("classroom/grading/check.py", "from shrink.chapters.prune import EXERCISES"),
        ("classroom/class_work/gather.py", "from shrink import chapters"),
        ("classroom/class_work/gather.py", "from shrink.chapters.code import league"),
        ("classroom/measure.py", "from shrink.papers import reproduce"),
        ("classroom/plots.py", "import ipywidgets"),
        ("classroom/plots.py", "import torch"),
        ("classroom/plots.py", "from shrink.classroom import models"),
        ("classroom/plots.py", "from . import models"),
        ("classroom/measure.py", "from matplotlib.figure import Figure"),
        ("classroom/glyphs.py", "import matplotlib"),
        ("classroom/glyphs.py", "from matplotlib import font_manager"),
        ("classroom/explorers/explorer.py", "import matplotlib.pyplot as plt"),
        ("classroom/explorers/explorer.py", "import ipympl"),
        ("chapters/prune/masks.py", "from ipywidgets import HTML"),
        ("chapters/prune/masks.py", "from matplotlib.axes import Axes"),
        ("chapters/prune/figure.py", "import ipywidgets"),
        ("chapters/prune/figure.py", "from matplotlib import pyplot"),
        ("chapters/prune/explorer.py", "from matplotlib.pyplot import plot"),
        ("chapters/prune/masks.py", "from shrink.chapters.share import assign"),
        ("chapters/prune/masks.py", "from ..share import assign"),
        ("chapters/prune/masks.py", "from shrink import chapters"),
        ("chapters/prune/masks.py", "from shrink.papers import reproduce"),
        ("papers/pruning.py", "from shrink.cli import main"),
        ("start/network.py", "import ipywidgets"),
        ("classroom/book/lab.py", "from shrink.start.stills import outputs"),
        ("papers/pruning.py", "import ipywidgets"),
    ],
)
def test_the_rule_can_fail(file, source):
    assert offences(source, file)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("pruning/masks.py", "import torch\nfrom torch import nn\nimport numpy as np\nimport math"),
        ("pruning/masks.py", "from collections.abc import Mapping"),
        ("pruning/__init__.py", "from shrink.pruning.masks import global_masks"),
        ("cost.py", "from shrink.modes import in_use"),
        (
            "coding/codec_parts.py",
            "from shrink.coding import ans\nfrom shrink.sharing import Shared",
        ),
        ("quantization/integer.py", "from . import quantize\nfrom shrink.cost import conv_macs"),
        (
            "classroom/measure.py",
            "from shrink import cost\nfrom shrink.classroom import CourseError",
        ),
        ("classroom/plots.py", "from shrink.classroom.measure import Report"),
        ("classroom/plots.py", "from matplotlib.figure import Figure"),
        ("classroom/explorers/canvas.py", "from matplotlib.text import Text\nimport ipywidgets"),
        ("classroom/grading/identify.py", "from shrink import chapters"),
        ("classroom/grading/strict/grading.py", "from shrink.chapters import find"),
        ("classroom/class_work/group.py", "from shrink.classroom import plots"),
        ("classroom/glyphs.py", "from matplotlib import get_data_path"),
        ("chapters/prune/masks.py", "from shrink import pruning\nfrom . import step\nimport scipy"),
        ("chapters/prune/explorer.py", "import ipywidgets\nfrom matplotlib.axes import Axes"),
        ("chapters/prune/__init__.py", "from shrink.classroom.class_work import Experiment"),
        ("papers/distillation.py", "from shrink.chapters.distil.teacher import ask"),
        ("start/explorer.py", "import ipywidgets"),
        ("cli.py", "from shrink import chapters\nfrom shrink.papers import reproduce"),
    ],
)
def test_the_rule_can_pass(file, source):
    assert offences(source, file) == []

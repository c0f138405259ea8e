"""Who may import whom: a technique knows no other, and none knows the classroom."""

import ast
import sys
from pathlib import Path

import pytest

import shrink

LIB = Path(shrink.__file__).parent
FILES = sorted(LIB.rglob("*.py"))
COMPOSING = {"calibration.py", "codec.py", "codec_reader.py", "conversion.py", "integer.py"}
SHARED = {"files", "modes", "symbols"}  # no techniques: what several of them need
DRAWING = {"classroom/plots.py", "classroom/canvas.py", "classroom/explorer.py"}
WIDGETS = {"classroom/explorer.py"}
TECHNIQUES_MAY_IMPORT = {"torch", "numpy", *sys.stdlib_module_names}


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


def offences(source: str, file: str) -> list[str]:
    """What a file of the library, named relative to it, imports against the rule."""
    names = imported(source, file)
    if file.startswith("classroom/"):
        bad = {n for n in names if not _classroom_may_import(n, file)}
    else:
        bad = {n for n in names if not _technique_may_import(n, file)}
    return sorted(bad | {n for n in names if _is_pyplot(n)})


def _technique_may_import(name: str, file: str) -> bool:
    top, *rest = name.split(".")
    if top == "shrink":
        if rest[:1] and rest[0] in SHARED:
            return True
        return file in COMPOSING and rest[:1] != ["classroom"]
    return top in TECHNIQUES_MAY_IMPORT


def _classroom_may_import(name: str, file: str) -> bool:
    top = name.split(".")[0]
    explorer = file.startswith("classroom/explorers/")
    if top == "ipywidgets":
        return explorer or file in WIDGETS
    if top in ("matplotlib", "mpl_toolkits"):
        fonts = file == "classroom/glyphs.py" and name == "matplotlib.get_data_path"
        return explorer or file in DRAWING or fonts
    if file == "classroom/plots.py":  # arrays and reports, never a model
        return top not in ("torch", "shrink") or name.startswith("shrink.classroom.measure.Report")
    return True


def _is_pyplot(name: str) -> bool:
    return name.startswith(("matplotlib.pyplot", "pylab", "matplotlib.pylab", "ipympl"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(LIB).as_posix())
def test_files_import_what_they_may(path):
    assert offences(path.read_text(encoding="utf-8"), path.relative_to(LIB).as_posix()) == []


def test_the_rule_sees_the_files():
    names = {path.relative_to(LIB).as_posix() for path in FILES}
    assert {"pruning.py", *DRAWING, *WIDGETS, "classroom/explorers/prune.py"} <= names


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("pruning.py", "import scipy"),
        ("pruning.py", "import shrink"),
        ("pruning.py", "from shrink import cost"),
        ("pruning.py", "from shrink.cost import count"),
        ("pruning.py", "from . import cost"),
        ("pruning.py", "from .classroom import data"),
        ("pruning.py", "from shrink.classroom.data import load"),
        ("pruning.py", "def f():\n    import tqdm"),
        ("pruning.py", "try:\n    import matplotlib\nexcept ImportError:\n    pass"),
        ("codec.py", "from shrink.classroom import data"),
        ("codec.py", "import shrink.classroom.data"),
        ("codec.py", "from .classroom import files"),
        ("classroom/data.py", "import ipywidgets as widgets"),
        ("classroom/checks/prune.py", "from ipywidgets import HTML"),
        ("classroom/plots.py", "import ipywidgets"),
        ("classroom/plots.py", "import torch"),
        ("classroom/plots.py", "from shrink.classroom import models"),
        ("classroom/plots.py", "from . import models"),
        ("classroom/measure.py", "from matplotlib.figure import Figure"),
        ("classroom/glyphs.py", "import matplotlib"),
        ("classroom/glyphs.py", "from matplotlib import font_manager"),
        ("classroom/explorer.py", "import matplotlib.pyplot as plt"),
        ("classroom/explorers/prune.py", "from matplotlib import pyplot"),
        ("classroom/explorers/prune.py", "from matplotlib.pyplot import plot"),
        ("classroom/explorer.py", "import ipympl"),
    ],
)
def test_the_rule_can_fail(file, source):
    assert offences(source, file)


@pytest.mark.parametrize(
    ("file", "source"),
    [
        ("pruning.py", "import torch\nfrom torch import nn\nimport numpy as np\nimport math"),
        ("pruning.py", "from collections.abc import Mapping"),
        ("cost.py", "from shrink.modes import in_use"),
        ("codec.py", "from shrink import huffman\nfrom shrink.sharing import codebook"),
        ("integer.py", "from .quantization import quantize"),
        ("classroom/checks/prune.py", "from shrink import pruning\nimport torch"),
        ("classroom/plots.py", "from shrink.classroom.measure import Report"),
        ("classroom/plots.py", "from matplotlib.figure import Figure"),
        ("classroom/canvas.py", "from matplotlib.text import Text"),
        ("classroom/explorers/prune.py", "import ipywidgets\nfrom matplotlib.axes import Axes"),
        ("classroom/glyphs.py", "from matplotlib import get_data_path"),
    ],
)
def test_the_rule_can_pass(file, source):
    assert offences(source, file) == []

"""The first code cell of a chapter: it installs Shrink where that is missing, as on Colab.

From where is said in one place, `Install` in pyproject's `[project.urls]`, which whoever publishes
the course sets.
"""

import tomllib
from pathlib import Path

INSTALL, SETUP = "install", "setup"  # its name, and that of the cell below, which imports Shrink
_ASKED = """\
# Only for where Shrink is not installed, as on Colab.
import importlib.util

if importlib.util.find_spec("shrink") is None:
    """
_WITHOUT_ADDRESS = """\
print("Shrink is not installed in this Python. If it is in another one, choose that as the kernel;")
    print("else ask who gave you this notebook for Shrink's .whl file, and %pip install it.")"""


def install_cell(pyproject: Path) -> str | None:
    """The cell's source; None for a course that is no package, which has no such file."""
    if not pyproject.is_file():
        return None
    project = tomllib.loads(pyproject.read_text(encoding="utf-8")).get("project", {})
    if address := project.get("urls", {}).get("Install"):
        return f'{_ASKED}get_ipython().run_line_magic("pip", "install -q {address}")'
    return _ASKED + _WITHOUT_ADDRESS

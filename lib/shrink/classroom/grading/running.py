"""Runs the code cells of a notebook under nbval, in a fresh kernel, and collects what came of it.

nbval runs a copy, in the format and the encoding that it takes: it does not matter which front end
saved the notebook. The kernel works in the notebook's own folder.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from shrink.classroom import CourseError
from shrink.classroom.book.notebook import notebook_bytes
from shrink.classroom.grading import ENDED, FOLDER

_ANSI = re.compile(r"(?:\x1b|#x1B)\[[0-9;]*m")


@dataclass(frozen=True)
class Run:
    """What came of a run.

    Args:
        reported: what the checks said, in order: a dict with exercise, state and message each.
        failures: what nbval said of the cells that failed, by their numbers, from 0.
    """

    reported: tuple[dict, ...]
    failures: dict[int, str]

    @property
    def ended(self) -> int | None:
        """The cell in which Python ended, or was ended when it could not be interrupted, if any."""
        ends = (ENDED, "Failed to interrupt")
        return next((n for n, text in self.failures.items() if any(e in text for e in ends)), None)


def run(cells: Sequence[NotebookNode], notebook: Path, timeout: float) -> Run:
    """Run these cells as those of the file `notebook`; `timeout` is in seconds, for each of them.

    Raises `CourseError` when nbval cannot run at all.
    """
    with tempfile.TemporaryDirectory(prefix="shrink-check-") as name:
        folder = Path(name)
        report, junit = folder / "report.jsonl", folder / "junit.xml"
        copies = [_runnable(number, cell) for number, cell in enumerate(cells)]
        copy = folder / "notebook.ipynb"
        copy.write_bytes(notebook_bytes(new_notebook(cells=copies)))
        ended = _run_nbval(copy, notebook.parent, report, junit, timeout)
        if not junit.exists():
            lines = (ended.stderr.strip() or ended.stdout.strip() or "no output").splitlines()
            raise CourseError(f"{notebook.name}: pytest could not run it: {lines[-1]}")
        rows = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
        failures = _failures(ElementTree.parse(junit))
    return Run(tuple(map(json.loads, rows)), failures)


def _runnable(number: int, cell: NotebookNode) -> NotebookNode:
    """The cell under an id that nbformat takes, with nothing of its metadata but the tags."""
    tags = {"tags": cell.metadata.tags} if "tags" in cell.metadata else {}
    return new_code_cell(cell.source, id=f"cell-{number}", metadata=tags)


def _run_nbval(
    copy: Path, folder: Path, report: Path, junit: Path, timeout: float
) -> subprocess.CompletedProcess:
    """Run pytest with nbval and nothing of the settings that lie around the notebook."""
    settings = copy.with_name("pytest.ini")
    settings.write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env"]
    command += ["-p", "shrink.classroom.grading.patience"]
    command += ["-p", "no:cacheprovider", "-q", "--color=no", "--noconftest"]
    command += ["-c", str(settings), "--rootdir", str(copy.parent), f"--junitxml={junit}"]
    command += [f"--nbval-cell-timeout={timeout:g}", str(copy)]
    environment = {name: v for name, v in os.environ.items() if name != "PYTEST_ADDOPTS"}
    environment |= {"SHRINK_CHECK_REPORT": str(report), "PYTHONDONTWRITEBYTECODE": "1"}
    environment |= {FOLDER: str(folder)}
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _failures(junit: ElementTree.ElementTree) -> dict[int, str]:
    """What nbval said of each cell that failed, in the order in which they ran."""
    found = {}
    for case in junit.iter("testcase"):
        failure = case.find("failure")
        failure = case.find("error") if failure is None else failure
        number = re.fullmatch(r"Cell (\d+)", case.get("name", ""))
        if failure is not None and number:
            found[int(number[1])] = _ANSI.sub("", failure.text or "")
    return found

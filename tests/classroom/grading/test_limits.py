"""The grader's own limits: what a notebook may hold before it is read, and what one cell costs."""

import json
import subprocess
import sys

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from shrink.classroom.book.cells import LONGEST
from shrink.classroom.book.notebook import notebook_bytes
from shrink.classroom.grading.identify import NotGraded
from shrink.classroom.grading.strict.source import NotAdmitted, admit, code_cells
from shrink.classroom.grading.strict.submissions import read

ANSWER = "@mask.answer\ndef mask(w):\n    return w"
NAMES = ("mask", "step")
NUMBERS = f"numbers = [{'1,' * 300_000}]"
MEASURED = """\
import resource, sys
from pathlib import Path
from shrink.classroom.grading.strict.source import code_cells
from shrink.classroom.grading.strict.submissions import read
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
code_cells(read(Path(sys.argv[1])))
print((peak() - before) // 1024)
"""


def written(path, *cells):
    path.write_bytes(notebook_bytes(new_notebook(cells=[new_code_cell(c) for c in cells])))
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="counts kilobytes as Linux does")
@pytest.mark.parametrize(
    "cells",
    [[NUMBERS], pytest.param([f"x = [{'1,' * 24_900}]"] * 9, marks=pytest.mark.deep)],
    ids=["one", "many"],
)
def test_a_cell_of_many_numbers_takes_little_memory(tmp_path, cells):
    command = [sys.executable, "-c", MEASURED, str(written(tmp_path / "a.ipynb", ANSWER, *cells))]
    ended = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(ended.stdout) < 150  # MB; there were 842


def test_a_long_cell_costs_what_is_in_it(tmp_path):
    step = ANSWER.replace("mask", "step")
    cells = code_cells(read(written(tmp_path / "a.ipynb", ANSWER, NUMBERS, f"{step}\n{NUMBERS}")))
    assert admit(cells, "mask", NAMES).function == "mask"
    with pytest.raises(NotAdmitted, match="longer than 50,000 characters") as caught:
        admit(cells, "step", NAMES)
    assert caught.value.state == "refused"


def test_a_cell_as_long_as_may_be_is_read(tmp_path):
    padded = ANSWER + "\n#" + "x" * (LONGEST - len(ANSWER) - 2)
    assert admit(code_cells(read(written(tmp_path / "a.ipynb", padded))), "mask", NAMES)
    with pytest.raises(NotAdmitted, match="longer"):
        admit(code_cells(read(written(tmp_path / "b.ipynb", padded + "x"))), "mask", NAMES)


def test_more_than_anybody_writes_is_not_read(tmp_path):
    with pytest.raises(NotGraded, match="588,060 characters of code; at most 500,000"):
        read(written(tmp_path / "a.ipynb", *["x" * 49_005] * 12))
    with pytest.raises(NotGraded, match="2,001 cells; at most 2,000"):
        read(written(tmp_path / "b.ipynb", *[""] * 2001))
    (tmp_path / "c.ipynb").write_text(json.dumps({"cells": [], "metadata": {"a": [[]] * 600_000}}))
    with pytest.raises(NotGraded, match="parts; at most 1,000,000"):
        read(tmp_path / "c.ipynb")


def test_long_outputs_count_for_nothing(tmp_path):
    cell = new_code_cell(ANSWER)
    picture = {"image/png": "iVBORw0KGgo" * 500_000}
    printed = "0.1234, " * 100_000
    cell.outputs = [
        new_output("display_data", data=picture),
        new_output("stream", text=printed),
    ]
    (tmp_path / "a.ipynb").write_bytes(notebook_bytes(new_notebook(cells=[cell])))
    assert admit(code_cells(read(tmp_path / "a.ipynb")), "mask", NAMES).notes == ()

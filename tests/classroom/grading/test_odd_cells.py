"""One cell costs one exercise: what is too deep or no text costs no other cell a thing."""

import time

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from shrink.classroom.book.notebook import exercises
from shrink.classroom.grading.strict.notes import of_exercise, of_notebook
from shrink.classroom.grading.strict.source import NotAdmitted, admit, code_cells
from shrink.classroom.grading.verdicts import Seen
from tests.classroom.grading.odd_cells import ODD_CELLS
from tests.classroom.grading.test_verdicts import CHECK, HEAD, RIGHT, SETUP

NAMES = ("magnitude_mask", "global_masks")
BESIDE = "@global_masks.answer\ndef global_masks(weights, sparsity):\n    return {}"


def notebook(*sources):
    return new_notebook(cells=[new_code_cell(source) for source in (SETUP, *sources)])


@pytest.mark.parametrize("name", ODD_CELLS)
def test_an_unrelated_cell_costs_nothing(name):
    read = notebook(ODD_CELLS[name], RIGHT, CHECK, ODD_CELLS[name])
    cells = code_cells(read)
    assert admit(cells, "magnitude_mask", NAMES).function == "magnitude_mask"
    assert of_exercise(cells, "magnitude_mask", "") == []
    of_notebook(cells)
    assert list(exercises(read)) == ["magnitude_mask"]
    assert [cell.answers for cell in map(Seen.of, read.cells)][2] == ("magnitude_mask",)


@pytest.mark.parametrize("name", ODD_CELLS)
def test_an_answer_beside_it_is_the_one_that_it_costs(name):
    odd = ODD_CELLS[name].replace("@", "#") if name == "decorated by a sum" else ODD_CELLS[name]
    cells = code_cells(notebook(f"{RIGHT}\n{odd}", BESIDE, CHECK))
    assert admit(cells, "global_masks", NAMES).function == "global_masks"
    try:
        admit(cells, "magnitude_mask", NAMES)
    except NotAdmitted as refusal:
        assert refusal.state in ("refused", "wrong") and refusal.message


def test_a_cell_of_commands_is_read_in_no_time_or_refused():
    started = time.monotonic()
    cells = code_cells(notebook("!ls\n" * 20 + RIGHT, "!ls\n" * 700 + BESIDE, CHECK))
    assert time.monotonic() - started < 20
    assert admit(cells, "magnitude_mask", NAMES).function == "magnitude_mask"
    with pytest.raises(NotAdmitted, match="too many commands"):
        admit(cells, "global_masks", NAMES)


@pytest.mark.parametrize("deep", ["return " + "+".join(["1"] * 1500), "x = " + "-" * 1500 + "1"])
def test_an_answer_that_is_too_deep_is_refused_by_name(deep):
    cells = code_cells(notebook(f"{HEAD}    {deep}", CHECK))
    with pytest.raises(NotAdmitted, match="nested too deeply") as caught:
        admit(cells, "magnitude_mask", NAMES)
    assert caught.value.state == "refused"

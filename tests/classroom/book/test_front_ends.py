"""`shrink update` of copies that other front ends saved: as of the same copy saved by Jupyter."""

import json
import os

import pytest
from nbformat.v4 import new_markdown_cell

from shrink.classroom import CourseError
from shrink.classroom.book.notebook import exercises, notebook_bytes, read_notebook, same_text
from tests.classroom.book.test_update import Classroom
from tests.classroom.front_ends import FRONT_ENDS, saved

CHAPTER = """\
# %% [markdown] problem
# # 01 · Prune
#
# Most weights are nearly zéro.

# %% guess
my_guess = None

# %% guess-shown
my_guess

# %% [markdown] hint
# A hint.

# %% half
@half.answer
def half(x):
    ### BEGIN SOLUTION
    return x / 2
    ### END SOLUTION

# %% half-check
half.check()

# %% tenth
@tenth.answer
def tenth(x):
    ### BEGIN SOLUTION
    return x / 10
    ### END SOLUTION

# %% tenth-check
tenth.check()
"""
ANSWER = "@half.answer\ndef half(x):\n    if x:\n        return x * 0.5\n    return 0"


@pytest.fixture
def room(tmp_path):
    room = Classroom(tmp_path)
    room.publish(CHAPTER)
    room.update()
    return room


def texts(room):
    return [same_text(cell.source) for cell in read_notebook(room.copy).cells]


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_new_stub_arrives_and_the_students_work_stays(room, front_end):
    room.student(guess="my_guess = 7  # é", half=ANSWER)
    room.copy.write_bytes(saved(read_notebook(room.copy), front_end))
    before = room.copy.read_bytes()
    room.publish(CHAPTER.replace("def tenth(x)", "def tenth(weight)").replace("nearly", "almost"))
    change = room.update()
    assert (change.what, change.kept, change.conflicts) == ("updated", ("half",), ())
    assert texts(room) == [
        "# 01 · Prune\n\nMost weights are almost zéro.",
        "my_guess = 7  # é",
        "my_guess",
        "A hint.",
        ANSWER,
        "half.check()",
        '@tenth.answer\ndef tenth(weight):\n    raise NotImplementedError("your turn")',
        "tenth.check()",
    ]
    assert change.backup.read_bytes() == before
    assert room.update().what == "unchanged"


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_copy_that_needs_nothing_is_left_as_it_is(room, front_end):
    """Also where its base is gone, so that the copy itself is compared."""
    room.student(half=ANSWER)
    room.copy.write_bytes(saved(read_notebook(room.copy), front_end))
    before = room.copy.read_bytes()
    assert room.update().what == "unchanged"
    room.base.unlink()
    assert room.update().what == "unchanged"
    assert room.copy.read_bytes() == before


def test_without_ids_added_cells_stay_where_they_were(room):
    room.student(guess="my_guess = 7")
    notebook = read_notebook(room.copy)
    notebook.cells[1:1] = [new_markdown_cell("Mine")]
    room.copy.write_bytes(saved(notebook, "format 4.2"))
    room.publish(CHAPTER.replace("nearly", "almost"))
    assert room.update().conflicts == ()
    assert texts(room)[1:4] == ["Mine", "my_guess = 7", "my_guess"]


@pytest.mark.parametrize("front_end", FRONT_ENDS)
def test_a_notebook_reads_the_same_from_every_front_end(room, front_end):
    room.copy.write_bytes(saved(read_notebook(room.copy), front_end))
    notebook = read_notebook(room.copy)
    assert all("\r" not in cell.source for cell in notebook.cells)
    assert all(cell.get("outputs", []) == [] for cell in notebook.cells)
    assert list(exercises(notebook)) == ["half", "tenth"]
    assert texts(room) == [same_text(cell.source) for cell in read_notebook(room.base).cells]


def test_half_a_character_is_no_reason_to_lose_a_notebook(room):
    document = json.loads(room.copy.read_text())
    document["cells"][1]["source"] = "my_guess = '\ud83d'"
    room.copy.write_text(json.dumps(document))
    room.publish(CHAPTER.replace("nearly", "almost"))
    assert room.update().what == "updated"
    assert texts(room)[1] == "my_guess = '\ufffd'"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"nbformat": 3, "worksheets": []}, "its format is 3; open it in Jupyter"),
        ({"cells": [{"cell_type": "sql", "source": "1"}]}, "a cell of type 'sql'"),
        ({"cells": [{"cell_type": "code", "source": {"a": 1}}]}, "whose source is a dict"),
        ({"cells": None}, "cannot be read as a notebook"),
    ],
)
def test_what_is_no_notebook_is_refused_by_name(room, change, told):
    document = json.loads(room.copy.read_text())
    room.copy.write_text(json.dumps(document | change))
    with pytest.raises(CourseError, match=told):
        read_notebook(room.copy)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes by name here")
def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "02_prune.ipynb")
    with pytest.raises(CourseError, match="not a file"):
        read_notebook(tmp_path / "02_prune.ipynb")


def test_what_is_written_is_the_same_for_the_same_content(room):
    once = notebook_bytes(read_notebook(room.copy))
    assert once == room.copy.read_bytes()

"""Copies of the version before the chapters had folders of their own are brought over whole.

`kept/` holds what matters of that version's notebooks: their imports, answers and checks.
"""

import json
from pathlib import Path

import pytest

from shrink.classroom.book.notebook import exercises, read_notebook
from tests import ROOT
from tests.classroom.book.carry_over import answered, bring_over, notebook

KEPT = json.loads(
    Path(__file__).with_name("kept").joinpath("before-the-chapters-moved.json").read_text()
)


@pytest.fixture(scope="module")
def brought_over(tmp_path_factory):
    """The students' answers by chapter, their folder after the update, and what it told."""
    work = tmp_path_factory.mktemp("student") / "work"
    answers, pairs = {}, {}
    for chapter, cells in KEPT.items():
        pristine = notebook(cells)
        answers[chapter] = {
            name: cell.source.replace("raise NotImplementedError", f"return 'mine, {name}'  # ")
            for name, cell in exercises(pristine).items()
        }
        pairs[chapter] = (pristine, answered(pristine, answers[chapter]))
    return answers, work, bring_over(pairs, work)


@pytest.mark.parametrize("chapter", KEPT)
def test_every_answer_is_in_todays_notebook(brought_over, chapter):
    answers, work, changes = brought_over
    copy, today = (
        read_notebook(work / f"{chapter}.ipynb"),
        read_notebook(ROOT / "notebooks" / f"{chapter}.ipynb"),
    )
    assert {name: cell.source for name, cell in exercises(copy).items()} == answers[chapter]
    filled = answered(today, answers[chapter])
    assert [c.source for c in copy.cells] == [c.source for c in filled.cells]
    (change,) = [change for change in changes if change.chapter == chapter]
    assert change.what == "updated" and change.conflicts == ()
    assert set(change.kept) == answers[chapter].keys()

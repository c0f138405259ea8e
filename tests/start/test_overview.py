"""The map says what the notebooks show that were saved, and nothing that they do not."""

import ast
import json
import linecache
import os

import nbformat
import pytest
from nbformat.v4 import new_output

from shrink.classroom.exercises import passed
from shrink.start.overview import overview, standing
from shrink.start.progress import Chapter, chapters_in, to_go_on_with
from tests import CHAPTERS, ROOT

ANSWER = (
    "@magnitude_mask.answer\ndef magnitude_mask(weight, sparsity):\n    return weight > sparsity"
)


@pytest.fixture
def work(tmp_path):
    """A student's folder with every chapter, and what else may lie there."""
    for chapter in CHAPTERS:
        (tmp_path / f"{chapter}.ipynb").write_bytes(
            (ROOT / "notebooks" / f"{chapter}.ipynb").read_bytes()
        )
    for name in ("00_start", "02_prune.before-update-1", "homework"):
        (tmp_path / f"{name}.ipynb").write_bytes((tmp_path / "02_prune.ipynb").read_bytes())
    return tmp_path


def edit(work, chapter, sources=None, outputs=None, count=None):
    """Save a chapter with these sources and outputs, by the ids of their cells."""
    path = work / f"{chapter}.ipynb"
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = (sources or {}).get(cell.id, cell.source)
        if cell.id in (outputs or {}):
            cell.outputs, cell.execution_count = [outputs[cell.id]], count
    nbformat.write(notebook, path)


def panel(source, exercise="magnitude_mask"):
    """The output of a check that has passed with the answer of this source."""
    cell = "in a notebook"
    linecache.cache[cell] = (len(source), None, source.splitlines(True), cell)
    names = {"magnitude_mask": type("Exercise", (), {"answer": staticmethod(lambda f: f)})}
    exec(compile(source, cell, "exec"), names)
    metadata = passed.note(exercise, names["magnitude_mask"])
    return new_output("display_data", data={"text/html": "done"}, metadata=metadata)


def standings(work):
    return {chapter.file[:2]: standing(chapter) for chapter in chapters_in(work)}


def test_at_first_no_chapter_is_begun_and_the_way_in_is_the_first(work):
    assert standings(work) == {chapter[:2]: "not begun" for chapter in CHAPTERS}
    shown = overview(work)._repr_html_()
    assert "Begin with" in shown and "running table" not in shown
    for chapter in CHAPTERS:
        assert f'href="{chapter}.ipynb"' in shown
    assert "take weights away" in shown and "homework" not in shown and "00_" not in shown


def test_an_answer_counts_as_passed_while_it_is_the_one_that_passed(work):
    edit(work, "02_prune", {"exercise-1-answer": ANSWER})
    assert standings(work)["02"] == "0 of 6 exercises passed, 1 more written"
    edit(work, "02_prune", outputs={"exercise-1-check": panel(ANSWER)}, count=7)
    assert standings(work)["02"] == "1 of 6 exercises passed"
    respaced = ANSWER.replace("    return", "    # the largest stay\n    return")
    edit(work, "02_prune", {"exercise-1-answer": respaced})
    assert standings(work)["02"] == "1 of 6 exercises passed"
    edit(work, "02_prune", {"exercise-1-answer": ANSWER.replace(">", "<")})
    assert standings(work)["02"] == "0 of 6 exercises passed, 1 more written"
    edit(work, "02_prune", {"exercise-1-answer": "@magnitude_mask.answer\ndef f(:"})
    assert standings(work)["02"] == "0 of 6 exercises passed, 1 more written"


def test_a_chapter_whose_every_exercise_is_written_is_begun_though_none_was_run(work):
    notebook = nbformat.read(work / "02_prune.ipynb", as_version=4)
    for cell in notebook.cells:
        cell.source = cell.source.replace("raise NotImplementedError", "return weights or")
    nbformat.write(notebook, work / "02_prune.ipynb")
    assert standings(work)["02"] == "0 of 6 exercises passed, 6 more written"


def test_a_pass_of_one_exercise_is_none_of_another(work):
    other = panel(ANSWER, exercise="global_masks")
    edit(work, "02_prune", {"exercise-1-answer": ANSWER}, {"exercise-1-check": other})
    assert standings(work)["02"] == "0 of 6 exercises passed, 1 more written"


def test_a_function_without_source_leaves_no_note():
    names = {}
    exec("def f(x): return x", names)
    assert passed.note("f", names["f"]) == {} == passed.note("f", len)
    assert passed.noted({"shrink": {"passed": 3}}) is None


def test_go_on_where_the_last_one_was_saved_unless_all_of_it_passed(work):
    for chapter, saved in (("03_quantize", 2e9), ("02_prune", 1e9)):
        edit(work, chapter, outputs={"setup": new_output("stream", text="data: glyphs")}, count=1)
        os.utime(work / f"{chapter}.ipynb", (saved, saved))
    assert standings(work)["03"].startswith("0 of ")
    assert to_go_on_with(chapters_in(work)).file == "03_quantize.ipynb"
    (work / "03_quantize.ipynb").write_text("{")
    assert standings(work)["03"] == "cannot be read"
    assert to_go_on_with(chapters_in(work)).file == "02_prune.ipynb"
    assert "Go on with" in overview(work)._repr_html_()


def test_nobody_is_sent_back_to_what_has_passed():
    done = Chapter("01_measure.ipynb", "01", "Measure", begun=True, exercises=("passed",), saved=9)
    new = Chapter("02_prune.ipynb", "02", "Prune", exercises=("open",), saved=8)
    assert standing(done) == "all exercises passed"
    assert to_go_on_with([done, new]) == new and to_go_on_with([done]) is None


def test_the_shortest_file_of_the_running_table_is_named(work):
    (work / "results").mkdir()
    rows = [
        {"name": "dense", "dataset": "glyphs", "file_bytes": 900, "correct": 98, "images": 100},
        {"name": "<b>", "dataset": "glyphs", "file_bytes": 90, "correct": 97, "images": 100},
    ]
    table = work / "results" / "running_table.json"
    table.write_text(json.dumps(rows))
    shown = overview(work)._repr_html_()
    assert "has 2 rows" in shown and "“&lt;b&gt;”: 90 bytes, 97.00 % right" in shown
    for damaged in ("[]", "{}", '[{"name": "x"}]', "no"):
        table.write_text(damaged)
        assert "running table" not in overview(work)._repr_html_()


@pytest.mark.parametrize("source", [ANSWER, f"{ANSWER}\n"])
def test_the_note_is_of_the_answer_as_the_notebook_has_it(source):
    function = ast.parse(source).body[0]
    assert passed.noted(panel(source).metadata) == ("magnitude_mask", passed.digest(function))

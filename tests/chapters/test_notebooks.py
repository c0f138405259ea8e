"""Every chapter under nbval: the student's fails in its checks only, the solved one nowhere.

From top to bottom each runs once here, solved, where each check is asked before the answer too. In
a browser it runs as students get it (test_browser.py). What is marked `deep` runs both by
themselves, and the solved one on MNIST.
"""

import re

import nbformat
import pytest

from shrink import chapters
from shrink.classroom.book import builder
from shrink.classroom.class_work.gather import gather
from tests import CHAPTERS, ROOT
from tests.chapters.notebooks import (
    COURSE,
    build,
    build_before_and_after,
    failing_cells,
)

NOTEBOOKS = ROOT / "notebooks"


def check_cells(notebook):
    """The ids of the cells that hold nothing but `exercise.check()`."""
    cells = nbformat.read(notebook, as_version=4).cells
    return [c.id for c in cells if re.fullmatch(r"\w+\.check\(\)", c.source)]


def test_there_are_chapters():
    assert "02_prune" in CHAPTERS


def test_committed_notebooks_are_what_the_build_writes():
    assert builder.check_built(COURSE, NOTEBOOKS) == []


def test_each_chapter_first_installs_what_its_next_cell_imports():
    for number_and_name in chapters.numbered():
        cells = nbformat.read(NOTEBOOKS / f"{number_and_name}.ipynb", as_version=4).cells
        names = [cell.id for cell in cells if cell.cell_type == "code"]
        assert names[:2] == ["install", "setup"], number_and_name


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_each_check_fails_before_its_solution_and_nothing_else(chapter, tmp_path):
    notebook, early = build_before_and_after(chapter, tmp_path)
    failed, said = failing_cells(notebook, SHRINK_DATASET="glyphs")
    assert failed == early != [], said[-3000:]
    assert said.count("not done yet") >= len(early)


@pytest.mark.deep
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_untouched_student_notebook_fails_in_exactly_its_checks(chapter, tmp_path):
    notebook = build(chapter, tmp_path, solved=False)
    failed, said = failing_cells(notebook, SHRINK_DATASET="glyphs")
    assert failed == check_cells(notebook) != []
    assert said.count("not done yet") >= len(failed)


@pytest.mark.deep
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_solved_notebook_passes_on_glyphs(chapter, tmp_path):
    notebook = build(chapter, tmp_path, solved=True)
    failed, said = failing_cells(notebook, SHRINK_DATASET="glyphs")
    assert failed == [], said[-3000:]


@pytest.mark.deep
@pytest.mark.mnist
@pytest.mark.parametrize("chapter", CHAPTERS)
def test_solved_notebook_passes_on_mnist(chapter, tmp_path):
    notebook = build(chapter, tmp_path, solved=True)
    failed, said = failing_cells(notebook, SHRINK_DATASET="mnist")
    assert failed == [], said[-3000:]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_the_class_experiment_writes_what_gather_takes(chapter, tmp_path, monkeypatch):
    """Its cell run with a name, on small data: without one, as elsewhere here, it does nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SHRINK_DATASET", "digits")
    cells = {
        c.id: c.source for c in builder.build_chapter(COURSE / f"{chapter}.py", solved=True).cells
    }
    names = {}
    exec(cells["setup"], names)
    networks = dict.fromkeys(["lenet-300-100", "lenet-5"])  # of chapter 01, by name
    names.setdefault("networks", networks)
    names["image"] = names["data"].validation.images[:1]
    exec(cells["class-name"], names)
    assert names["my_name"] is None
    exec(cells["class-run"], names)
    assert list(tmp_path.rglob("*.json")) == []
    names["my_name"] = "Ada"
    exec(cells["class-run"], names)
    gathered = gather(tmp_path, chapters.experiments())
    assert [(g.experiment.name[:2], len(g.results)) for g in gathered.groups] == [(chapter[:2], 1)]
    assert gathered.skipped == ()


def test_what_comes_late_from_a_busy_machine_fails_no_cell(tmp_path):
    """nbval's own limit is five seconds, and a student's check waits as long as these tests."""
    cell = nbformat.v4.new_code_cell(
        "import time\n"
        "session = get_ipython().kernel.session\n"
        "send = session.send\n"
        "def late(stream, content, *args, **kwargs):\n"
        "    time.sleep(7 if 'idle' in str(args) else 0)\n"
        "    return send(stream, content, *args, **kwargs)\n"
        "session.send = late\n",
        id="late",
    )
    notebook = tmp_path / "late.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), notebook)
    failed, said = failing_cells(notebook)
    assert failed == [], said[-3000:]

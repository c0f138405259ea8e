"""Students' copies: what an update carries over, and that nothing of theirs is ever lost."""

import json
import os
import threading
from pathlib import Path

import nbformat
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from shrink.classroom.book import update as module
from shrink.classroom.book.builder import build
from shrink.classroom.book.copies import BASES
from shrink.classroom.book.ids import with_ids
from shrink.classroom.book.notebook import read_notebook
from shrink.classroom.book.update import Change, copy_missing, merge, update
from tests import depth

CHAPTER = """\
# %% [markdown] problem
# Most weights are nearly zero.

# %% guess
my_guess = None

# %% half
@half.answer
def half(x):
    ### BEGIN SOLUTION
    return x / 2
    ### END SOLUTION

# %% half-check
half.check()

# %% [markdown] end
# That is all.
"""
ANSWER = "@half.answer\ndef half(x):\n    return x * 0.5"


class Classroom:
    """A course, its notebooks, and a student's folder."""

    def __init__(self, root: Path) -> None:
        self.course, self.notebooks, self.work = (root / n for n in ("course", "nb", "work"))
        self.copy = self.work / "01_prune.ipynb"
        self.backup = self.work / "01_prune.before-update-1.ipynb"
        self.base = self.work / BASES / "01_prune.ipynb"
        self.course.mkdir()
        self.publish(CHAPTER)
        copy_missing(self.notebooks, self.work)

    def publish(self, chapter: str, name: str = "01_prune") -> None:
        (self.course / f"{name}.py").write_text(chapter)
        build(self.course, self.notebooks)

    def update(self) -> Change:
        (change,) = update(self.notebooks, self.work)
        return change

    def student(self, **sources: str) -> None:
        """Write these sources into the cells of these ids (`half_check` is `half-check`)."""
        notebook = read_notebook(self.copy)
        for name, source in sources.items():
            (cell,) = (c for c in notebook.cells if c.id == name.replace("_", "-"))
            cell.source = source
        self.save(notebook)

    def insert(self, index: int, *cells: nbformat.NotebookNode) -> None:
        notebook = read_notebook(self.copy)
        notebook.cells[index:index] = cells
        self.save(notebook)

    def save(self, notebook: nbformat.NotebookNode) -> None:
        self.copy.write_text(nbformat.writes(notebook))

    def sources(self) -> dict[str, str]:
        return {cell.id: cell.source for cell in read_notebook(self.copy).cells}


@pytest.fixture
def room(tmp_path: Path) -> Classroom:
    return Classroom(tmp_path)


def test_copies_are_made_once_with_their_base(room):
    pristine = (room.notebooks / "01_prune.ipynb").read_bytes()
    assert room.copy.read_bytes() == pristine
    assert (room.work / BASES / "01_prune.ipynb").read_bytes() == pristine
    room.student(half=ANSWER)
    room.publish("# %% a\n1\n", "02_more")
    assert copy_missing(room.notebooks, room.work) == [room.work / "02_more.ipynb"]
    assert room.sources()["half"] == ANSWER


def test_a_file_that_appears_while_copying_is_not_overwritten(room, monkeypatch):
    room.copy.unlink()
    link = os.link

    def student_is_faster(source, target):
        Path(target).write_text("the student's")
        link(source, target)

    monkeypatch.setattr(os, "link", student_is_faster)
    assert copy_missing(room.notebooks, room.work) == []
    assert room.copy.read_text() == "the student's"
    assert sorted(p.name for p in room.work.iterdir()) == [BASES, "01_prune.ipynb"]


def test_many_copiers_at_once_make_one_copy(room):
    room.copy.unlink()
    made = []
    threads = [
        threading.Thread(target=lambda: made.extend(copy_missing(room.notebooks, room.work)))
        for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [room.copy]
    assert room.copy.read_bytes() == (room.notebooks / "01_prune.ipynb").read_bytes()


def test_without_hard_links_all_goes_by_copying(room, monkeypatch):
    def no_links(source, target):
        raise PermissionError("no hard links here")

    monkeypatch.setattr(os, "link", no_links)
    room.publish("# %% a\n1\n", "02_more")
    room.student(half=ANSWER)
    before = room.copy.read_bytes()
    assert copy_missing(room.notebooks, room.work) == [room.work / "02_more.ipynb"]
    room.publish(CHAPTER.replace("nearly", "almost"))
    assert [c.what for c in update(room.notebooks, room.work)] == ["updated", "unchanged"]
    assert room.backup.read_bytes() == before
    assert room.sources()["half"] == ANSWER
    room.publish(CHAPTER)
    assert update(room.notebooks, room.work)[0].backup.name == "01_prune.before-update-2.ipynb"
    assert room.backup.read_bytes() == before


def test_nothing_happens_while_the_chapter_is_the_same(room):
    room.student(half=ANSWER, problem="My notes")
    notebook = read_notebook(room.copy)
    del notebook.cells[4]
    room.save(notebook)
    before = room.copy.read_bytes()
    assert room.update() == Change("01_prune", "unchanged")
    assert room.copy.read_bytes() == before


def test_a_missing_chapter_is_copied(room):
    room.copy.unlink()
    assert str(room.update()) == "01_prune: copied"


def test_an_answer_and_changed_cells_are_carried_over(room):
    room.student(half=ANSWER, guess="my_guess = 7")
    before = room.copy.read_bytes()
    room.publish(CHAPTER.replace("nearly", "almost"))
    change = room.update()
    assert change == Change("01_prune", "updated", ("half",), (), room.backup)
    assert str(change) == (
        "01_prune: updated; kept your half; as it was: 01_prune.before-update-1.ipynb"
    )
    assert room.backup.read_bytes() == before
    assert room.sources() == {
        "problem": "Most weights are almost zero.",
        "guess": "my_guess = 7",
        "half": ANSWER,
        "half-check": "half.check()",
        "end": "That is all.",
    }
    assert room.update() == Change("01_prune", "unchanged")


def test_an_unchanged_stub_is_brought_up_to_date(room):
    room.publish(CHAPTER.replace("def half(x)", "def half(weight)"))
    assert room.update().kept == ()
    assert "def half(weight)" in room.sources()["half"]


def test_an_answer_that_does_not_parse_is_kept(room):
    room.student(half="@half.answer\ndef half(x:\n  return")
    room.publish(CHAPTER.replace("def half(x)", "def half(weight)").replace("nearly", "almost"))
    assert room.update().kept == ("half",)
    assert room.sources()["half"] == "@half.answer\ndef half(x:\n  return"


def test_an_answer_in_a_cell_of_another_id_takes_the_exercises_place(room):
    notebook = read_notebook(room.copy)
    del notebook.cells[2]
    notebook.cells.append(new_code_cell(ANSWER, id="pasted"))
    room.save(notebook)
    room.publish(CHAPTER.replace("%% half\n", "%% exercise-half\n"))
    change = room.update()
    assert (change.kept, change.conflicts) == (("half",), ())
    assert list(room.sources()) == ["problem", "guess", "exercise-half", "half-check", "end"]
    assert room.sources()["exercise-half"] == ANSWER


def test_of_several_attempts_the_last_changed_one_counts(room):
    stub = room.sources()["half"]
    room.insert(2, new_code_cell(ANSWER, id="better"))
    room.insert(2, new_code_cell(ANSWER + " # first", id="first"))
    room.insert(6, new_code_cell(stub, id="stub-again"))
    room.publish(CHAPTER.replace("nearly", "almost"))
    change = room.update()
    assert (change.kept, change.conflicts) == (("half",), ("first",))
    assert list(room.sources()) == ["problem", "guess", "half", "half-check", "end"]
    assert room.sources()["half"] == ANSWER
    assert str(change).endswith("; only there: your cells first")


def test_a_copied_old_stub_does_not_displace_the_new_one(room):
    room.insert(5, new_code_cell(room.sources()["half"], id="stub-again"))
    room.publish(CHAPTER.replace("def half(x)", "def half(weight)"))
    change = room.update()
    assert (change.kept, change.conflicts) == ((), ())
    assert "def half(weight)" in room.sources()["half"] and "stub-again" not in room.sources()


@pytest.mark.parametrize("rest", [None, "scratch = 1"])
def test_a_cell_that_answers_two_exercises_takes_both_places(room, rest):
    second = CHAPTER[CHAPTER.index("# %% half\n") : CHAPTER.index("# %% [markdown] end")]
    two = CHAPTER.replace("# %% [markdown] end", second.replace("half", "tenth") + "# %% end")
    room.publish(two)
    room.update()
    both = ANSWER + "\n\n" + ANSWER.replace("half", "tenth")
    room.student(half=both, tenth=rest or "")
    notebook = read_notebook(room.copy)
    notebook.cells = [cell for cell in notebook.cells if cell.source]
    room.save(notebook)
    room.publish(two.replace("nearly", "almost"))
    change = room.update()
    assert (change.kept, change.conflicts) == (("half", "tenth"), ("tenth",) if rest else ())
    assert room.sources()["half"] == both and "tenth" not in room.sources()


def test_where_both_changed_a_cell_upstreams_counts_and_the_backup_has_the_students(room):
    room.student(problem="My notes", guess="my_guess = 7")
    room.publish(CHAPTER.replace("nearly", "almost"))
    change = room.update()
    assert change.conflicts == ("problem",)
    assert room.sources()["problem"] == "Most weights are almost zero."
    assert room.sources()["guess"] == "my_guess = 7"
    assert "My notes" in change.backup.read_text()


def test_a_cell_gone_upstream_is_a_conflict_only_if_the_student_changed_it(room):
    room.student(guess="my_guess = 7")
    start = CHAPTER[: CHAPTER.index("# %% [markdown] end")]
    room.publish(start.replace("# %% guess\nmy_guess = None\n", ""))
    assert room.update().conflicts == ("guess",)
    assert list(room.sources()) == ["problem", "half", "half-check"]


@pytest.mark.parametrize("name", ["half", "pasted"])
def test_the_answer_to_an_exercise_that_is_gone_is_in_the_backup_and_named(room, name):
    notebook = read_notebook(room.copy)
    notebook.cells[2] = new_code_cell(ANSWER, id=name)
    room.save(notebook)
    room.publish("# %% [markdown] problem\n# None left.\n")
    change = room.update()
    assert (change.kept, change.conflicts) == ((), (name,))
    assert list(room.sources()) == ["problem"] and "x * 0.5" in change.backup.read_text()


def test_added_cells_follow_the_same_cell_or_come_last(room):
    def added(i):
        return new_markdown_cell(f"note {i}", id=f"note-{i}")

    room.insert(2, added(2), added(3))  # after guess, which goes
    room.insert(1, added(1))  # after problem
    room.insert(0, added(0))
    room.insert(7, new_code_cell("half(8)", id="try"))  # after half
    room.publish(
        CHAPTER.replace("# %% guess\nmy_guess = None\n", "# %% new\n1\n").replace("all.", "it.")
    )
    assert room.update().conflicts == ()
    expected = "note-0 problem note-1 new half try half-check end note-2 note-3"
    assert list(room.sources()) == expected.split()


def test_a_deleted_cell_comes_back(room):
    notebook = read_notebook(room.copy)
    del notebook.cells[3]
    room.save(notebook)
    room.publish(CHAPTER.replace("nearly", "almost"))
    room.update()
    assert list(room.sources()) == ["problem", "guess", "half", "half-check", "end"]


def test_outputs_are_dropped_and_pasted_images_kept(room):
    notebook = read_notebook(room.copy)
    wrong = nbformat.v4.new_output("stream", text="a wrong answer")
    notebook.cells[2] |= {"source": ANSWER, "outputs": [wrong], "execution_count": 9}
    image = {"a.png": {"image/png": "AAAA"}}
    notebook.cells[4].attachments = image
    room.save(notebook)
    room.publish(CHAPTER.replace("nearly", "almost"))
    room.update()
    cells = {cell.id: cell for cell in read_notebook(room.copy).cells}
    assert (cells["half"].outputs, cells["half"].execution_count) == ([], None)
    assert cells["end"].attachments == image
    assert "a wrong answer" in room.backup.read_text()
    nbformat.validate(read_notebook(room.copy))


def test_outputs_alone_are_no_change(room):
    base = room.work / BASES / "01_prune.ipynb"
    notebook = read_notebook(base)
    notebook.cells[1].execution_count = 3
    base.write_text(nbformat.writes(notebook))
    del notebook.cells[4]
    room.save(notebook)
    assert room.update().what == "unchanged"


def test_lost_ids_are_found_again(room):
    room.student(half=ANSWER)
    raw = json.loads(room.copy.read_text())
    raw["nbformat_minor"] = 4
    for cell in raw["cells"]:
        del cell["id"]
    raw["cells"].insert(2, {"cell_type": "markdown", "metadata": {}, "source": ["mi", "ne"]})
    room.copy.write_text(json.dumps(raw))
    room.publish(CHAPTER.replace("nearly", "almost"))
    assert room.update().conflicts == ()
    sources = room.sources()
    (added,) = sources.keys() - {"problem", "guess", "half", "half-check", "end"}
    assert list(sources) == ["problem", "guess", added, "half", "half-check", "end"]
    assert (sources[added], sources["half"]) == ("mine", ANSWER)
    nbformat.validate(read_notebook(room.copy))


def test_double_and_malformed_ids_become_good_ones(room):
    room.insert(2, *(new_markdown_cell(f"note {i}", id=f"mine{i}") for i in range(4)))
    text = room.copy.read_text().replace("mine0", "twice").replace("mine1", "twice")
    room.copy.write_text(text.replace("mine2", "guess").replace("mine3", "not an id"))
    room.publish(CHAPTER.replace("nearly", "almost"))
    room.update()
    assert list(room.sources().values())[2:6] == ["note 0", "note 1", "note 2", "note 3"]
    nbformat.validate(json.loads(room.copy.read_text()))


@pytest.mark.parametrize("damage", [Path.unlink, lambda path: path.write_text("no notebook")])
def test_without_a_base_the_copy_itself_is_compared(room, damage):
    base = room.work / BASES / "01_prune.ipynb"
    room.student(half=ANSWER, guess="my_guess = 7")
    room.insert(5, new_markdown_cell("mine", id="mine"))
    damage(base)
    change = room.update()
    assert (change.what, change.kept, change.conflicts) == ("updated", ("half",), ("guess",))
    assert room.sources()["mine"] == "mine"
    assert base.read_bytes() == (room.notebooks / "01_prune.ipynb").read_bytes()


def test_without_a_base_a_copy_that_needs_nothing_is_left_as_it_is(room):
    room.student(half=ANSWER)
    before = room.copy.read_bytes()
    (room.work / BASES / "01_prune.ipynb").unlink()
    assert room.update() == Change("01_prune", "unchanged")
    assert room.copy.read_bytes() == before


@pytest.mark.parametrize("content", ["", "{}", "<<<<<<< HEAD", '{"nbformat": 4, "cells": [{}]}'])
def test_an_unreadable_file_is_left_alone_and_the_others_go_on(room, content):
    room.publish("# %% a\n1\n", "02_more")
    room.copy.write_text(content)
    room.publish(CHAPTER.replace("nearly", "almost"))
    first, second = update(room.notebooks, room.work)
    assert str(first) == "01_prune: cannot be read as a notebook, left alone"
    assert second.what == "copied" and room.copy.read_text() == content


def test_two_updates_in_a_row_have_two_backups(room):
    room.student(half=ANSWER)
    first = room.copy.read_bytes()
    room.publish(CHAPTER.replace("nearly", "almost"))
    room.update()
    room.student(guess="my_guess = 7")
    second = room.copy.read_bytes()
    room.publish(CHAPTER.replace("nearly", "all but"))
    change = room.update()
    assert change.kept == ("half",)
    assert change.backup.name == "01_prune.before-update-2.ipynb"
    assert (room.backup.read_bytes(), change.backup.read_bytes()) == (first, second)
    assert room.sources()["guess"] == "my_guess = 7"


@pytest.mark.parametrize("put", [Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_is_no_file_in_a_backups_place_is_left_there(room, put):
    put(room.backup)
    room.student(half=ANSWER)
    room.publish(CHAPTER.replace("nearly", "almost"))
    assert room.update().backup.name == "01_prune.before-update-2.ipynb"
    assert room.sources()["half"] == ANSWER and room.backup.is_dir() != room.backup.is_symlink()


class Killed(BaseException):
    """Stands for a process that ends here."""


@pytest.mark.parametrize("call", range(1, 3))
def test_killed_while_renaming_nothing_is_lost_and_the_next_run_finishes(room, monkeypatch, call):
    room.student(half=ANSWER, guess="my_guess = 7", problem="My notes")
    before = room.copy.read_bytes()
    room.publish(CHAPTER.replace("nearly", "almost"))
    replace, calls = os.replace, []

    def die(source, target):
        calls.append(target)
        if len(calls) == call:
            raise Killed
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", die)
        with pytest.raises(Killed):
            room.update()
    assert room.backup.read_bytes() == before
    assert ANSWER in room.sources().values()
    room.update()
    assert room.update() == Change("01_prune", "unchanged")
    assert room.sources()["problem"] == "Most weights are almost zero."
    assert (room.sources()["half"], room.sources()["guess"]) == (ANSWER, "my_guess = 7")
    assert [p.read_bytes() for p in sorted(room.work.glob("*.before-*"))] == [before]


def test_killed_before_the_backup_nothing_has_changed(room, monkeypatch):
    room.student(half=ANSWER)
    before = room.copy.read_bytes()
    room.publish(CHAPTER.replace("nearly", "almost"))

    def die(source, target):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(module.os, "link", die)
        with pytest.raises(Killed):
            room.update()
    assert room.copy.read_bytes() == before
    assert room.update().what == "updated"


def notebook_of(cells: list[tuple[str, str]]) -> nbformat.NotebookNode:
    return new_notebook(cells=[new_code_cell(source, id=name) for name, source in cells])


def exercise_or_source(cell: tuple[str, str]) -> str:
    return "half" if "half" in cell[1] else "tenth" if "tenth" in cell[1] else cell[0]


SOURCES = st.sampled_from(
    ["1", "2", ANSWER, ANSWER + "1", ANSWER.replace("half", "tenth"), "@half.answer\ndef"]
)
CELLS = st.tuples(st.sampled_from("abcdef"), SOURCES)
COPIES = st.lists(CELLS, max_size=6, unique_by=lambda cell: cell[0]).map(notebook_of)
CHAPTERS = st.lists(  # as built: no exercise twice
    CELLS, max_size=6, unique_by=(lambda cell: cell[0], exercise_or_source)
).map(notebook_of)


@settings(max_examples=depth.examples(100))
@given(base=CHAPTERS, mine=COPIES, upstream=CHAPTERS)
def test_any_merge_keeps_or_names_each_changed_cell_and_is_done_once(base, mine, upstream):
    pristine = {cell.source for cell in [*base.cells, *upstream.cells]}

    def own(notebook):
        return [cell for cell in notebook.cells if cell.source not in pristine]

    merged, _, conflicts = merge(base, mine, upstream)
    assert len({cell.id for cell in merged.cells}) == len(merged.cells)
    # Where a front end gave all cells new ids, a conflict is named by the id that it had before.
    mine.cells = with_ids(mine.cells, base.cells or upstream.cells, upstream.cells)
    for cell in own(mine):
        assert cell.id in conflicts or cell.source in [c.source for c in own(merged)]
    again, _, conflicts = merge(base, merged, upstream)
    assert (own(again), conflicts) == (own(merged), ())

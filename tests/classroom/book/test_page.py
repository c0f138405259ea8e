"""The start page is ours: it is made anew until the student writes in it."""

import json
import os

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from shrink.classroom import CourseError
from shrink.classroom.book import copies, lab, page, update

SHOWN = {"look": [new_output("display_data", data={"text/plain": "a picture"})]}


def publish(notebooks, text="Welcome"):
    cells = [new_code_cell("explore()", id="look"), new_markdown_cell(text, id="course")]
    nbformat.write(new_notebook(cells=cells), notebooks / page.FILE)


@pytest.fixture
def folders(tmp_path):
    notebooks, work = tmp_path / "notebooks", tmp_path / "work"
    for folder in (notebooks, work):
        folder.mkdir()
    publish(notebooks)
    return notebooks, work


def refresh(folders, shown=SHOWN):
    page.refresh(*folders, lambda: shown)
    return nbformat.read(folders[1] / page.FILE, as_version=4)


def save(folders, **changes):
    """The student's page, run and saved, with other sources of these cells."""
    path = folders[1] / page.FILE
    notebook = nbformat.read(path, as_version=4)
    for cell in notebook.cells:
        cell.source = changes.get(cell.id, cell.source)
    notebook.cells[0].outputs, notebook.cells[0].execution_count = [], 3
    nbformat.write(notebook, path)


def test_it_shows_something_before_it_is_run(folders):
    look, course = refresh(folders).cells
    assert look.outputs[0].data["text/plain"] == "a picture" and look.execution_count is None
    assert course.source == "Welcome"


def test_a_page_that_was_only_run_is_made_anew(folders):
    refresh(folders)
    save(folders)
    assert refresh(folders).cells[0].outputs
    save(folders)
    publish(folders[0], "Welcome back")
    assert refresh(folders).cells[1].source == "Welcome back"
    assert update.update(*folders) == []
    assert sorted(path.name for path in folders[1].iterdir()) == [".shrink", page.FILE]


def test_a_page_that_says_the_same_is_not_written(folders):
    """JupyterLab, where it is open, would ask what to do about the change."""
    refresh(folders)
    files = folders[1] / page.FILE, copies.base_of(folders[1] / page.FILE)
    before = [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files]
    refresh(folders)
    assert [(file.stat().st_ino, file.stat().st_mtime_ns) for file in files] == before


def test_what_is_saved_while_the_picture_is_drawn_stays(folders):
    refresh(folders)

    def outputs():
        save(folders, look="explore()  # mine")
        return SHOWN

    page.refresh(*folders, outputs)
    look, _ = nbformat.read(folders[1] / page.FILE, as_version=4).cells
    assert look.source == "explore()  # mine" and look.execution_count == 3


@pytest.mark.parametrize("file", ["page", "base"])
def test_a_page_that_could_not_be_written_is_made_anew_by_the_next_run(folders, monkeypatch, file):
    refresh(folders)
    publish(folders[0], "Welcome back")
    copy = folders[1] / page.FILE
    refused = {"page": copy, "base": copies.base_of(copy)}[file]

    def full(path, content):
        if path == refused:
            raise OSError(28, "No space left on device", str(path))
        return write(path, content)

    write = page.write_atomically
    with monkeypatch.context() as patch:
        patch.setattr(page, "write_atomically", full)
        with pytest.raises(OSError, match="No space"):
            refresh(folders)
    update.update(*folders)
    publish(folders[0], "Welcome again")
    assert refresh(folders).cells[1].source == "Welcome again"


def test_a_page_that_a_killed_update_had_put_aside_is_given_back(folders):
    refresh(folders)
    save(folders, look="explore()  # mine")
    copy = folders[1] / page.FILE
    os.replace(copy, copies._aside(copy))
    assert refresh(folders).cells[0].source == "explore()  # mine"


def test_what_the_student_wrote_stays_and_is_carried_over(folders):
    refresh(folders)
    save(folders, look="explore()  # mine")
    publish(folders[0], "Welcome back")
    page.refresh(*folders, lambda: pytest.fail("its outputs are not asked for"))
    (change,) = update.update(*folders)
    assert (change.chapter, change.what) == ("00_start", "updated")
    merged = nbformat.read(folders[1] / page.FILE, as_version=4)
    assert [cell.source for cell in merged.cells] == ["explore()  # mine", "Welcome back"]


def test_a_file_that_is_no_notebook_is_left_alone(folders):
    (folders[1] / page.FILE).write_text("notes")
    page.refresh(*folders, lambda: SHOWN)
    assert (folders[1] / page.FILE).read_text() == "notes"
    assert [change.what for change in update.update(*folders)] == ["unreadable"]


def test_a_course_without_the_page_has_none_and_a_damaged_one_is_told(folders):
    (folders[0] / page.FILE).write_text("{")
    with pytest.raises(CourseError, match="00_start"):
        page.refresh(*folders, lambda: SHOWN)
    (folders[0] / page.FILE).unlink()
    page.refresh(*folders, lambda: SHOWN)
    assert lab.prepare(*folders) == []
    assert not (folders[1] / page.FILE).exists()


def test_jupyterlab_has_settings_that_count_less_than_the_users(monkeypatch):
    seen = []

    def become(_program, _words, environment):
        seen.append(environment)
        raise SystemExit  # it never returns

    monkeypatch.setattr(os, "execve", become)
    monkeypatch.delenv("JUPYTER_CONFIG_PATH", raising=False)
    for user in (None, "/of/the/user"):
        if user:
            monkeypatch.setenv("JUPYTER_CONFIG_PATH", user)
        with pytest.raises(SystemExit):
            lab.start(["jupyter"])
    ours = str(lab.SETTINGS)
    assert [e["JUPYTER_CONFIG_PATH"] for e in seen] == [
        ours,
        os.pathsep.join(["/of/the/user", ours]),
    ]
    for name in ("labconfig/default_setting_overrides", "jupyter_server_config.d/shrink"):
        assert json.loads((lab.SETTINGS / f"{name}.json").read_text())


def test_the_page_is_opened_unless_the_user_says_what(folders):
    work = folders[1]
    opened = f"--LabApp.default_url=/lab/tree/{page.FILE}"
    assert opened not in lab.command(work)
    refresh(folders)
    assert opened in lab.command(work) and opened in lab.command(work, ["--port=9"])
    for given in ("--LabApp.default_url=/lab", "--ServerApp.default_url=/tree"):
        words = lab.command(work, [given])
        assert opened not in words and words[-1] == given

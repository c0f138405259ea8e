"""`shrink update` while a front end saves the notebook, or a kill comes: nothing is lost."""

import contextlib
import os
import time
from pathlib import Path

import pytest

from shrink.classroom.book import copies
from shrink.classroom.book import update as module
from shrink.classroom.book.copies import BASES
from shrink.classroom.book.notebook import notebook_bytes, read_notebook
from shrink.classroom.book.update import copy_missing, update
from shrink.files import lock
from tests.classroom.book.test_update import ANSWER, CHAPTER, Classroom, Killed

LATER = ANSWER.replace("x * 0.5", "x / 2.0")


@pytest.fixture
def room(tmp_path):
    room = Classroom(tmp_path)
    room.student(half=ANSWER)
    room.publish(CHAPTER.replace("nearly", "almost"))
    return room


def save_by_rename(room, answer=LATER):
    """As JupyterLab does: a new file takes the name."""
    new = room.copy.with_name(".~saved.ipynb")
    new.write_bytes(saved_by_student(room, answer))
    os.replace(new, room.copy)


def save_in_place(room, answer=LATER):
    """As VS Code does: the same file is written again."""
    room.copy.write_bytes(saved_by_student(room, answer))


def saved_by_student(room, answer):
    notebook = read_notebook(room.base)
    for cell in notebook.cells:
        if cell.id == "half":
            cell.source = answer
        elif cell.id == "guess":
            cell.source = "my_guess = 9"
    return notebook_bytes(notebook)


def after(monkeypatch, owner, name, act, call=1):
    """Let `act` happen after the given call of `owner.name`."""
    real, calls = getattr(owner, name), []

    def both(*args, **kwargs):
        result = real(*args, **kwargs)
        calls.append(args)
        if len(calls) == call:
            act()
        return result

    monkeypatch.setattr(owner, name, both)


MOMENTS = [  # after which call the front end saves
    (module, "read_notebook", 2),  # what was read to see whether anything is to be done
    (module, "back_up", 1),
    (module, "merge", 2),
    (copies, "write_atomically", 1),
]


@pytest.mark.parametrize("save", [save_by_rename, save_in_place])
@pytest.mark.parametrize(("owner", "name", "call"), MOMENTS)
def test_what_is_saved_meanwhile_is_carried_over(room, monkeypatch, save, owner, name, call):
    with monkeypatch.context() as patch:
        after(patch, owner, name, lambda: save(room), call)
        change = room.update()
    assert change.what == "updated" and change.newest is None
    assert (room.sources()["half"], room.sources()["guess"]) == (LATER, "my_guess = 9")
    assert room.sources()["problem"] == "Most weights are almost zero."
    assert LATER in [cell.source for cell in read_notebook(change.backup).cells]
    assert room.update().what == "unchanged"


def test_a_save_while_the_file_is_exchanged_stands_and_is_carried_over(room, monkeypatch):
    """Between the file's being put aside and the new one's taking its place."""
    replace = os.replace

    def then_save(source, target):
        replace(source, target)
        if str(target).endswith(".aside"):
            monkeypatch.setattr(os, "replace", replace)
            save_by_rename(room)

    monkeypatch.setattr(os, "replace", then_save)
    change = room.update()
    assert room.sources()["half"] == LATER and change.newest is None
    assert room.update().what == "unchanged"


def test_what_is_saved_again_and_again_is_named(room, monkeypatch):
    answers = iter(range(99))

    def save():
        save_by_rename(room, f"{ANSWER} + {next(answers)}")

    real = module.merge

    def merge_while_saving(*args):
        save()
        return real(*args)

    monkeypatch.setattr(module, "merge", merge_while_saving)
    change = room.update()
    assert change.newest is not None
    assert str(change).endswith(f"saved again meanwhile: your last version is {change.newest.name}")
    last = f"{ANSWER} + {next(answers) - 1}"
    assert last in [cell.source for cell in read_notebook(change.newest).cells]
    monkeypatch.setattr(module, "merge", real)
    room.update()
    assert room.update().what == "unchanged"


def test_a_file_that_is_just_being_written_is_waited_for(room, monkeypatch):
    whole = saved_by_student(room, LATER)
    after(monkeypatch, module, "back_up", lambda: room.copy.write_bytes(whole[:100]))
    monkeypatch.setattr(time, "sleep", lambda _: room.backup.write_bytes(whole))
    assert room.update().what == "updated"
    assert room.sources()["half"] == LATER


@pytest.mark.parametrize("owner", ["link", "replace"])
@pytest.mark.parametrize("call", range(1, 5))
@pytest.mark.parametrize("real", [True, False], ids=["killed", "interrupted"])
def test_killed_anywhere_nothing_is_lost(room, monkeypatch, owner, call, real):
    """With `real` nothing is put right afterwards, as when the process is gone."""
    before, act, calls = room.copy.read_bytes(), getattr(os, owner), []

    def die(*args):
        calls.append(args)
        if len(calls) == call:
            raise Killed
        return act(*args)

    with monkeypatch.context() as patch:
        patch.setattr(os, owner, die)
        if real:
            patch.setattr(copies, "give_back", lambda *_: None)
            patch.setattr(Path, "unlink", lambda *_, **__: None)
        with contextlib.suppress(Killed):
            room.update()
    update(room.notebooks, room.work)
    assert room.update().what == "unchanged"
    assert room.sources()["half"] == ANSWER
    assert room.sources()["problem"] == "Most weights are almost zero."
    assert before in [path.read_bytes() for path in room.work.glob("*.before-*")]
    assert {path.name for path in (room.work / BASES).glob("[!.]*")} == {room.copy.name}


def test_what_was_put_aside_is_given_back_before_a_new_copy_is_made(room):
    os.replace(room.copy, room.base.with_suffix(".aside"))
    assert copy_missing(room.notebooks, room.work) == []
    assert room.sources()["half"] == ANSWER
    assert not room.base.with_suffix(".aside").exists()


def test_what_was_put_aside_beside_a_newer_file_becomes_a_backup(room):
    old = room.copy.read_bytes()
    room.base.with_suffix(".aside").write_bytes(old)
    save_in_place(room)
    assert copy_missing(room.notebooks, room.work) == []
    assert room.sources()["half"] == LATER and room.backup.read_bytes() == old


def test_temporary_files_of_killed_runs_are_swept_and_those_of_living_ones_stay(room):
    killed, living, other = (f".01_prune.ipynb.{end}" for end in ("a" * 32, "b" * 32, "mine"))
    with contextlib.ExitStack() as open_files:
        for folder in (room.work, room.work / BASES):
            for name in (killed, living, other):
                file = open_files.enter_context(open(folder / name, "wb"))
                if name == living:
                    lock(file)
        room.update()
        for folder in (room.work, room.work / BASES):
            assert {path.name for path in folder.glob(".01*")} == {living, other}


def test_a_full_disk_leaves_the_students_file(room, monkeypatch):
    before = room.copy.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(copies, "write_atomically", full)
        told = str(room.update())
    assert "01_prune: could not be brought up to date" in told
    assert f"{room.copy}: No space left on device" in told
    assert room.copy.read_bytes() == before
    assert room.update().what == "updated"


def test_chapters_that_cannot_be_written_are_named_and_the_others_go_on(room, monkeypatch):
    """One that is to be copied, one that is to be brought up to date, and one after both."""
    write = module.write_atomically

    def refuse_some(path, content):
        if path.name[:2] in ("00", "01"):
            raise PermissionError(13, "Permission denied", str(path))
        return write(path, content)

    for name in ("00_first", "02_last"):
        room.publish(CHAPTER, name)
    monkeypatch.setattr(module, "write_atomically", refuse_some)
    monkeypatch.setattr(copies, "write_atomically", refuse_some)
    first, second, last = update(room.notebooks, room.work)
    assert (first.what, second.what, last.what) == ("failed", "failed", "copied")
    assert first.why == f"{room.work / BASES / '00_first.ipynb'}: Permission denied"
    assert ANSWER in room.sources().values()

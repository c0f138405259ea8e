"""Every submission has a row, be its file named, packed or broken as it may."""

import json
import os

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from shrink.classroom import CourseError
from shrink.classroom.book.notebook import notebook_bytes, read_notebook
from shrink.classroom.grading.check import chapter_of, find_chapters
from shrink.classroom.grading.identify import NotGraded, identify, names_by_chapter
from shrink.classroom.grading.strict.submissions import find, read
from tests.classroom.grading.test_verdicts import CHECK, RIGHT, SETUP

CHAPTERS = names_by_chapter()
CELLS = [new_code_cell(source) for source in (SETUP, RIGHT, CHECK)]
NOTEBOOK = notebook_bytes(new_notebook(cells=CELLS))
EMPTY = new_notebook()
PAGE = notebook_bytes(new_notebook(cells=[new_code_cell("show()")]))
NAMES = [
    "02_prune (1).ipynb",
    "Copy of 02_prune.ipynb",
    "Kopie von 02_prune.ipynb",
    "Copie de 02_prune (2).ipynb",
    "02_prune-Copy1.ipynb",
    "02_prune_bob.ipynb",
    "bob-02_prune.ipynb",
    "02_PRUNE.IPYNB",
    "02-prune.ipynb",
    "02 Prune final FINAL.ipynb",
    "2_prune.ipynb",
    "02_prune.ipynb.json",
    "02_prune.ipynb.txt",
    "02_prune",
    "02_prune.before-update-1.ipynb",
    "12345_assignsubmission_file_02_prune.ipynb",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_renamed_copy_is_its_chapter_to_both_checks(tmp_path, name):
    """By its name alone, for nothing is in it."""
    path = tmp_path / name
    path.write_bytes(notebook_bytes(EMPTY))
    assert chapter_of(path, read_notebook(path)) == identify(name, EMPTY, CHAPTERS) == "02_prune"
    assert name == "02_prune" or find_chapters([str(path)], None) == [path]
    assert [found for _, found in find([str(tmp_path)], tmp_path, CHAPTERS)] == [path]


@pytest.mark.parametrize(
    "cells", [CELLS, [new_markdown_cell("\n\n# 02 · Prune: take weights away\n\nText")]]
)
def test_another_name_is_the_chapter_of_its_answers_or_title(tmp_path, cells):
    path = tmp_path / "homework.ipynb"
    path.write_bytes(notebook_bytes(new_notebook(cells=cells)))
    assert chapter_of(path, read_notebook(path)) == "02_prune"


@pytest.mark.parametrize("name", ["102_prune.ipynb", "02_pruned.ipynb", "prune.ipynb", "a.ipynb"])
def test_what_is_of_no_chapter_is_none_to_both(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(notebook_bytes(EMPTY))
    with pytest.raises(NotGraded, match="neither its name nor its answers"):
        identify(name, EMPTY, CHAPTERS)
    with pytest.raises(CourseError, match="is not a chapter with exercises: neither"):
        find_chapters([str(path)], None)


def rows(folder):
    """What has a row of a folder, and why it is not read, if it is not."""
    found = {}
    for label, path in find([str(folder)], folder, CHAPTERS):
        try:
            read(path)
            found[label] = ""
        except NotGraded as error:
            assert error.state == "unreadable"
            found[label] = error.message
    return found


FILES = {
    "a/02_PRUNE.IPYNB": (NOTEBOOK, ""),
    "b/02_prune.ipynb.json": (NOTEBOOK, ""),
    "c/02_prune.ipynb.txt": (NOTEBOOK, ""),
    "d/02_prune": (NOTEBOOK, ""),
    "e/deep/er/anything.txt": (NOTEBOOK, ""),
    "f.json": (NOTEBOOK.decode().encode("utf-16"), ""),
    "g/.02_prune.ipynb": (NOTEBOOK, ""),
    "h/02_prune.ipynb": (b"", "an empty file"),
    "i/02_prune.ipynb": (b"\n \n", "an empty file"),
    "j/02_prune.py": (b"x = 1", "cannot be read as a notebook"),
    "k/02_prune.zip": (b"PK\x03\x04rest", "an archive, which is not unpacked here"),
    "l/02_prune.html": (b"<!DOCTYPE html>", "a web page; ask for the notebook"),
    "m/02_prune.ipynb": (b"<html>log in first", "a web page; ask for the notebook"),
    "n.pdf": (b"%PDF-1.7", "a PDF; ask for the notebook"),
    "o.docx": (b"PK\x03\x04word", "an archive, which is not unpacked here"),
    "p.txt": (b"I am ill", "cannot be read as a notebook"),
    "q/notes.txt": (b"I am ill", None),
    "r/.ipynb_checkpoints/02_prune-checkpoint.ipynb": (NOTEBOOK, None),
    "s/02_prune.ipynb": (b'{"nbformat": 3, "worksheets": []}', "its format is 3"),
    "t/02_prune.ipynb": (NOTEBOOK[:200], "cannot be read as a notebook"),
    "u/homework.txt": (NOTEBOOK[:200], "cannot be read as a notebook"),
    "w/00_start.ipynb": (NOTEBOOK, ""),
    "x/results/homework.ipynb": (NOTEBOOK, ""),
    "y/results/answers.pdf": (b"%PDF-1.7", None),
    "v/02_prune.ipynb": (b"<<<<<<< HEAD\n", "cannot be read as a notebook"),
}
LITTER = {
    "README.md": b"x",
    ".DS_Store": b"x",
    "Thumbs.db": b"x",
    "a/._02_prune.ipynb": b"\x00\x05\x16\x07",
    "a/README": b"x",
    "a/class-02-prune-mnist-ada-12345.json": b"{}",
    "a/running_table.json": b"{}",
    "a/model.safetensors": b"x",
    "a/photo.png": b"x",
    "a/results/network.file": b"x",
    "a/results/class-02-prune-mnist-ada-12345.json": b"{}",
    "a/00_start.ipynb": PAGE,
    "results/running_table.json": b"[]",
    "00_start.ipynb": PAGE,
    "Copy of 00_start (1).ipynb": PAGE,
    "a/.ipynb_checkpoints/02_prune-checkpoint.ipynb": NOTEBOOK,
    "a/.shrink/02_prune.ipynb": NOTEBOOK,
    "__MACOSX/a/._02_prune.ipynb": b"\x00\x05\x16\x07",
    ".git/config": b"x",
}


def test_every_submission_has_a_row_and_litter_has_none(tmp_path):
    for name, content in {**{k: v for k, (v, _) in FILES.items()}, **LITTER}.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    found = rows(tmp_path)
    for name, (_, told) in FILES.items():
        label = name.split("/")[0] if told is None else name
        message = found.pop(label)
        assert (told or "") in message and bool(message) == (told != ""), (label, message)
    assert found == {}


def test_a_folder_without_a_notebook_says_what_is_in_it(tmp_path):
    (tmp_path / "ada").mkdir()
    for number in range(6):
        (tmp_path / "ada" / f"{number}.png").touch()
    (tmp_path / "bob").mkdir()
    assert rows(tmp_path) == {
        "ada": "a folder, and no notebook in it: 0.png, 1.png, 2.png, 3.png and 2 more",
        "bob": "a folder, and no notebook in it: it is empty",
    }


def test_links_are_not_followed(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "real/02_prune.ipynb").write_bytes(NOTEBOOK)
    (tmp_path / "folder").symlink_to(tmp_path / "real")
    (tmp_path / "real/more.ipynb").symlink_to("02_prune.ipynb")
    (tmp_path / "real/around").symlink_to(tmp_path)
    (tmp_path / "gone.ipynb").symlink_to("nowhere")
    link = "a link, not a file"
    assert rows(tmp_path) == {
        "folder": link,
        "gone.ipynb": link,
        "real/02_prune.ipynb": "",
        "real/more.ipynb": link,
    }


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "02_prune.ipynb")
    assert rows(tmp_path) == {"02_prune.ipynb": "a device, not a file"}


def test_a_folder_that_may_not_be_read_has_a_row(tmp_path, monkeypatch):
    (tmp_path / "ada").mkdir()
    iterdir = type(tmp_path).iterdir

    def denied(path):
        if path.name == "ada":
            raise PermissionError(13, "Permission denied")
        return iterdir(path)

    monkeypatch.setattr(type(tmp_path), "iterdir", denied)
    assert rows(tmp_path) == {"ada": "a folder, and no notebook in it: Permission denied"}


def test_outputs_that_are_no_outputs_cost_nothing(tmp_path):
    document = json.loads(NOTEBOOK)
    for cell in document["cells"]:
        cell["outputs"] = [{"output_type": "stream", "text": [1, 2]}, None, "x", {"data": 3}]
        cell["metadata"] = None
    document["metadata"] = []
    path = tmp_path / "02_prune.ipynb"
    path.write_text(json.dumps(document))
    assert [c.source for c in read(path).cells] == [c.source for c in CELLS]

"""Notebooks as files: read as whatever front end saved them, written the same for the same content.

What a front end does to a file is no edit of anybody's: the encoding, line ends, a source as a list
or a text, ids, metadata, outputs. `read_notebook` takes away what carries no meaning; `same_text`
tells what a front end may have changed from what a person did.
"""

import ast
import json
import re
import unicodedata
import warnings
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode

from shrink.classroom import CourseError
from shrink.classroom.book.cells import answers

_KINDS = ("code", "markdown", "raw")
_NOT_TEXT = re.compile("[\ud800-\udfff]")  # halves of characters, which no file can hold


def exercises(notebook: Path | NotebookNode) -> dict[str, NotebookNode]:
    """The code cells that answer an exercise, by its name, of any notebook, a student's too.

    A cell that does not parse counts; of two answers to one exercise the last one wins.
    Raises `CourseError` when the file cannot be read as a notebook.
    """
    if not isinstance(notebook, NotebookNode):
        notebook = read_notebook(Path(notebook))
    return {name: cell for cell in code_of(notebook) for name in answers(cell.source)}


def code_of(notebook: NotebookNode) -> list[NotebookNode]:
    """The code cells."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def read_notebook(path: Path) -> NotebookNode:
    """A notebook as somebody wrote it: without outputs, each line ending in a newline alone.

    Ids may be missing or double. The file may be in UTF-8, UTF-16 or UTF-32, with a byte order
    mark or without one, or else in Windows' Western encoding.

    Raises `CourseError` when the file is not a notebook of format 4.
    """
    if path.exists() and not path.is_file():  # a pipe would be read for ever
        raise CourseError(f"{path} cannot be read as a notebook (it is not a file)")
    try:
        document = _document(path.read_bytes())
        if str(version := document["nbformat"]) == "4":
            cells = [_cell(cell) for cell in document["cells"]]
            facts = {"nbformat": 4, "nbformat_minor": 5, "metadata": _dict(document, "metadata")}
            return nbformat.from_dict(facts | {"cells": cells})
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise CourseError(f"{path} cannot be read as a notebook ({error})") from error
    raise CourseError(
        f"{path} cannot be read as a notebook of format 4: its format is {version!r}; open it in "
        "Jupyter and save it there"
    )


def _document(content: bytes) -> Any:
    try:
        return json.loads(content)
    except UnicodeDecodeError:
        return json.loads(content.decode("cp1252", "replace"))


def _cell(cell: dict) -> dict:
    """What somebody wrote of a cell. Colab keeps its id in the metadata."""
    kind, source, metadata = cell["cell_type"], cell.get("source"), _dict(cell, "metadata")
    text = "".join(source) if isinstance(source, list) else source or ""
    if kind not in _KINDS or not isinstance(text, str):
        raise ValueError(f"a cell of type {kind!r} whose source is a {type(source).__name__}")
    text = _NOT_TEXT.sub("\ufffd", text.removeprefix("\ufeff"))
    read = {"cell_type": kind, "metadata": metadata}
    read["source"] = text.replace("\r\n", "\n").replace("\r", "\n")
    if name := cell.get("id") or metadata.get("id"):
        read["id"] = str(name)
    if attachments := _dict(cell, "attachments"):
        read["attachments"] = {
            file: {kind: "".join(data) for kind, data in bundle.items()}
            for file, bundle in attachments.items()
        }
    return read | ({"outputs": [], "execution_count": None} if kind == "code" else {})


def _dict(owner: dict, name: str) -> dict:
    value = owner.get(name)
    return value if isinstance(value, dict) else {}


def same_text(source: str) -> str:
    """The source without what front ends change: two that differ in that alone give the same.

    That is blanks at the ends of lines, blank lines around a cell, tabs for blanks, and how an
    accent is written.

    >>> same_text("x = 1  \\n\\ty\\n\\n") == same_text("x = 1\\n    y")
    True
    """
    lines = unicodedata.normalize("NFC", source).expandtabs(4).splitlines()
    return "\n".join(line.rstrip() for line in lines).strip("\n")


def notebook_bytes(notebook: NotebookNode) -> bytes:
    """The notebook as the bytes of its file, the same for the same content."""
    return (nbformat.writes(notebook).rstrip("\n") + "\n").encode("utf-8", "replace")


def parse(source: str) -> ast.Module | None:
    """The syntax tree of plain Python, or None if there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape in a string
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None

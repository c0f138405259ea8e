"""The start page in a student's folder: it is ours, and is made anew until the student edits it."""

from collections.abc import Callable, Mapping
from pathlib import Path

from nbformat import NotebookNode

from shrink.classroom import CourseError
from shrink.classroom.book import START
from shrink.classroom.book.copies import base_of, give_back
from shrink.classroom.book.ids import content
from shrink.classroom.book.notebook import notebook_bytes, read_notebook
from shrink.files import write_atomically

FILE = f"{START}.ipynb"


def refresh(
    notebooks: Path, work: Path, outputs: Callable[[], Mapping[str, list[NotebookNode]]]
) -> None:
    """Put today's page into `work`, with these outputs under its cells, which go by their ids.

    A page in which the student has written is left alone, also one that is saved while the outputs
    are made: it is updated as a chapter is. The base is written last, so that a run that was cut
    short is made up for by the next. Raises `CourseError` when today's page cannot be read.
    """
    copy = work / FILE
    give_back(copy)
    if not (notebooks / FILE).exists() or not is_ours(copy):
        return
    page = read_notebook(notebooks / FILE)
    pristine, shown = notebook_bytes(page), outputs()
    for cell in page.cells:
        cell.update({"outputs": shown[cell.id]} if cell.id in shown else {})
    if is_ours(copy):
        _write(copy, notebook_bytes(page))
        _write(base_of(copy), pristine)


def _write(path: Path, content: bytes) -> None:
    """Write it where that changes something: JupyterLab asks about an open file that changed."""
    if not path.exists() or path.read_bytes() != content:
        write_atomically(path, content)


def is_ours(copy: Path) -> bool:
    """Whether a page is not there, or its cells are those that it was made with."""
    if not copy.exists():
        return True
    try:
        mine, base = read_notebook(copy), read_notebook(base_of(copy))
    except CourseError:
        return False
    return list(map(content, mine.cells)) == list(map(content, base.cells))

"""The start page in a student's folder: it is ours, and is made anew until the student edits it."""

from collections.abc import Callable, Mapping
from pathlib import Path

from nbformat import NotebookNode

from shrink.classroom import CourseError
from shrink.classroom.book import START
from shrink.classroom.book.copies import base_of
from shrink.classroom.book.ids import content
from shrink.classroom.book.notebook import notebook_bytes, read_notebook
from shrink.files import write_atomically

FILE = f"{START}.ipynb"


def refresh(
    notebooks: Path, work: Path, outputs: Callable[[], Mapping[str, list[NotebookNode]]]
) -> None:
    """Put today's page into `work`, with these outputs under its cells, which go by their ids.

    A page in which the student has written is left alone: it is updated as a chapter is. Raises
    `CourseError` when today's page cannot be read.
    """
    copy = work / FILE
    if not (notebooks / FILE).exists() or not is_ours(copy):
        return
    pristine = read_notebook(notebooks / FILE)
    write_atomically(base_of(copy), notebook_bytes(pristine))
    shown = outputs()
    for cell in pristine.cells:
        cell.update({"outputs": shown[cell.id]} if cell.id in shown else {})
    fresh = notebook_bytes(pristine)
    if not copy.exists() or copy.read_bytes() != fresh:  # JupyterLab asks about a file that changed
        write_atomically(copy, fresh)


def is_ours(copy: Path) -> bool:
    """Whether a page is not there, or its cells are those that it was made with."""
    if not copy.exists():
        return True
    try:
        mine, base = read_notebook(copy), read_notebook(base_of(copy))
    except CourseError:
        return False
    return list(map(content, mine.cells)) == list(map(content, base.cells))

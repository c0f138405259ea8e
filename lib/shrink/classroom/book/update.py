"""Students' copies of the notebooks: made once, brought up to date without losing work.

Beside each copy `work/NN_name.ipynb` stands the pristine notebook it came from, its base, in
`work/.shrink/`. An update compares three: the base, the student's copy, and the notebook of today.
The student's file is not overwritten: before the new one takes its name it gets another,
`NN_name.before-update-1.ipynb`.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nbformat import NotebookNode
from nbformat.v4 import new_notebook

from shrink.classroom import CourseError, written
from shrink.classroom.book import page
from shrink.classroom.book.copies import back_up, base_of, create, exchange, give_back, sweep
from shrink.classroom.book.ids import content, with_ids
from shrink.classroom.book.merge import merge
from shrink.classroom.book.notebook import notebook_bytes, read_notebook
from shrink.files import write_atomically

_TRIES = 5  # to replace a file that is saved again and again


@dataclass(frozen=True)
class Change:
    """What became of one chapter of a student's.

    Args:
        chapter: its name, `02_prune`.
        what: "unreadable" is a file that is no notebook; it was left alone. "failed" is one that
            could not be copied, read or written; nothing of the student's is lost.
        kept: the exercises whose answers the new copy has from the old one.
        conflicts: ids of the student's changed cells that are only in the backup.
        backup: the student's file as it was, when a new one took its place.
        newest: where what the student saved last is, when it came too late to be carried over.
        why: of "failed", what the system said, with the name of the file.
    """

    chapter: str
    what: Literal["copied", "updated", "unchanged", "unreadable", "failed"]
    kept: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    backup: Path | None = None
    newest: Path | None = None
    why: str = ""

    def __str__(self) -> str:
        if self.what == "failed":
            return f"{self.chapter}: could not be brought up to date ({self.why})"
        if self.what == "unreadable":
            return f"{self.chapter}: cannot be read as a notebook, left alone"
        parts = [f"{self.chapter}: {self.what}"]
        if self.kept:
            parts.append(f"kept your {', '.join(self.kept)}")
        if self.backup:
            parts.append(f"as it was: {self.backup.name}")
        if self.conflicts:
            parts.append(f"only there: your cells {', '.join(self.conflicts)}")
        if self.newest:
            parts.append(f"saved again meanwhile: your last version is {self.newest.name}")
        return "; ".join(parts)


def copy_missing(notebooks: Path, work: Path) -> list[Path]:
    """Copy each chapter that is not in `work` yet; return the copies that were made.

    The start page is not among them; see `page.refresh`.

    A file that is there is never touched, even one that appears meanwhile. What an update that was
    killed had put aside is given back first, and what chapters wrote among them is moved.
    """
    work = Path(work)
    sweep(work)
    written.tidy(work)
    copies = ((source, work / source.name) for source in _chapters(notebooks, work))
    return [copy for source, copy in copies if _copy_if_missing(source, copy)]


def update(notebooks: Path, work: Path) -> list[Change]:
    """Bring every chapter in `work` up to date, with the student's work carried over.

    Returns one change a chapter; where one fails the others go on. Killed at any point, it can be
    run again. Raises `CourseError` when one of `notebooks` cannot be read.
    """
    work = Path(work)
    sweep(work)
    written.tidy(work)
    return [_bring_up_to_date(source, work / source.name) for source in _chapters(notebooks, work)]


def _copy_if_missing(source: Path, copy: Path) -> bool:
    """Copy one chapter unless a file is there; return whether it was."""
    give_back(copy)
    if os.path.lexists(copy):
        return False
    pristine = source.read_bytes()
    write_atomically(base_of(copy), pristine)
    return create(copy, pristine)


def _bring_up_to_date(source: Path, copy: Path) -> Change:
    try:
        if _copy_if_missing(source, copy):
            return Change(copy.stem, "copied")
        return _update_chapter(read_notebook(source), copy)
    except OSError as error:
        named = error.filename or copy
        return Change(copy.stem, "failed", why=f"{named}: {error.strerror or error}")


def _update_chapter(upstream: NotebookNode, copy: Path) -> Change:
    """Put the merged notebook in the place of the student's, if that needs it.

    The base is written last, so that a run that was cut short is made up for by the next.
    """
    try:
        mine = read_notebook(copy)
    except CourseError:
        return Change(copy.stem, "unreadable")
    try:
        base = read_notebook(base_of(copy))
    except CourseError:
        base = new_notebook()
    if _contents(base) == _contents(upstream):
        return Change(copy.stem, "unchanged")
    mine.cells = with_ids(mine.cells, base.cells or upstream.cells, upstream.cells)
    change = Change(copy.stem, "unchanged")
    if _contents(merge(base, mine, upstream)[0]) != _contents(mine):
        change = _replace(copy, base, upstream)
    if not change.newest:
        write_atomically(base_of(copy), notebook_bytes(upstream))
    return change


def _contents(notebook: NotebookNode) -> list[tuple]:
    return [(cell.get("id"), content(cell)) for cell in notebook.cells]


def _replace(copy: Path, base: NotebookNode, upstream: NotebookNode) -> Change:
    """Merge the student's file as its backup has it, and put the result in its place.

    Where a front end saved meanwhile, what was replaced is not what was expected there: then that
    is merged, and takes its turn.
    """
    change = Change(copy.stem, "unreadable")
    backup = back_up(copy, copy)
    expected = backup.read_bytes()
    for _ in range(_TRIES):
        try:
            merged, kept, conflicts = merge(base, read_notebook(backup), upstream)
        except CourseError:  # it is just being written
            time.sleep(0.2)
            continue
        fresh = notebook_bytes(merged)
        replaced = exchange(copy, fresh)
        change = Change(copy.stem, "updated", kept, conflicts, backup)
        if replaced and replaced.read_bytes() == expected:
            if replaced != backup:  # our own, of the turn before
                replaced.unlink()
            return change
        backup = replaced or back_up(copy, copy)
        expected = fresh if replaced else backup.read_bytes()
    return Change(copy.stem, change.what, change.kept, change.conflicts, change.backup, backup)


def _chapters(notebooks: Path, work: Path) -> list[Path]:
    """The notebooks of which `work` holds copies: chapters, and a start page that was edited."""
    found = sorted(Path(notebooks).glob("[0-9][0-9]_*.ipynb"))
    return [path for path in found if path.name != page.FILE or not page.is_ours(work / path.name)]

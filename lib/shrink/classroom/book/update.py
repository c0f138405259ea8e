"""Students' copies of the notebooks: made once, brought up to date without losing work.

Beside each copy `work/NN_name.ipynb` stands the pristine notebook it came from, its base, in
`work/.shrink/`. An update compares three: the base, the student's copy, and the notebook of today.
The student's file is not overwritten: before the new one takes its name it gets another,
`NN_name.before-update-1.ipynb`.
"""

import itertools
import os
import re
import uuid
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nbformat import NotebookNode
from nbformat.v4 import new_notebook

from shrink.classroom import CourseError
from shrink.classroom.book.builder import BASES
from shrink.classroom.book.notebook import exercises, notebook_bytes, read_notebook
from shrink.files import write_atomically

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


@dataclass(frozen=True)
class Change:
    """What became of one chapter of a student's.

    Args:
        chapter: its name, `02_prune`.
        what: "unreadable" is a file that is no notebook; it was left alone.
        kept: the exercises whose answers the new copy has from the old one.
        conflicts: ids of the student's changed cells that are only in the backup.
        backup: the student's file as it was, when a new one took its place.
    """

    chapter: str
    what: Literal["copied", "updated", "unchanged", "unreadable"]
    kept: tuple[str, ...] = ()
    conflicts: tuple[str, ...] = ()
    backup: Path | None = None

    def __str__(self) -> str:
        if self.what == "unreadable":
            return f"{self.chapter}: cannot be read as a notebook, left alone"
        parts = [f"{self.chapter}: {self.what}"]
        if self.kept:
            parts.append(f"kept your {', '.join(self.kept)}")
        if self.backup:
            parts.append(f"as it was: {self.backup.name}")
        if self.conflicts:
            parts.append(f"only there: your cells {', '.join(self.conflicts)}")
        return "; ".join(parts)


def copy_missing(notebooks: Path, work: Path) -> list[Path]:
    """Copy each chapter that is not in `work` yet; return the copies that were made.

    A file that is there is never touched, even one that appears meanwhile.
    """
    copies = []
    for source in _chapters(notebooks):
        copy = Path(work) / source.name
        if not os.path.lexists(copy):
            content = source.read_bytes()
            write_atomically(_base(copy), content)
            if _create(copy, content):
                copies.append(copy)
    return copies


def update(notebooks: Path, work: Path) -> list[Change]:
    """Bring every chapter in `work` up to date, with the student's work carried over.

    Returns one change a chapter. Killed at any point, it can be run again.
    Raises `CourseError` when one of `notebooks` cannot be read.
    """
    copied = {path.stem for path in copy_missing(notebooks, work)}
    return [
        Change(source.stem, "copied")
        if source.stem in copied
        else _update_chapter(read_notebook(source), Path(work) / source.name)
        for source in _chapters(notebooks)
    ]


def merge(
    base: NotebookNode, mine: NotebookNode, upstream: NotebookNode
) -> tuple[NotebookNode, tuple[str, ...], tuple[str, ...]]:
    """Today's notebook with the student's work in it, without outputs.

    Answers are found by exercise name. Another cell that only the student changed stays the
    student's; one that both changed, or that is gone, is a conflict, and upstream's counts. Cells
    that the student added stand after the same cell as before, or at the end if that is gone.
    Cells that the student deleted are there again.

    Args:
        base: the pristine notebook that `mine` came from; without cells if that is unknown.
        mine: the student's.
        upstream: the pristine notebook of today.

    Returns:
        The notebook, the exercises whose answers were kept, and the ids of conflicting cells.
    """
    pristine = [*base.cells, *upstream.cells]
    cells = _with_ids(mine.cells, pristine)
    result = {cell.id: cell for cell in upstream.cells}
    home, kept = _place_answers(cells, pristine, upstream, result)
    conflicts = _place_others(cells, base, upstream, result, home)
    order = list(result)
    at = 0
    for cell in cells:
        if cell.id not in home:
            order.insert(at, cell.id)
            result[cell.id] = cell
            at += 1
        else:
            at = order.index(home[cell.id]) + 1 if home[cell.id] in order else len(order)
    merged = deepcopy(upstream)
    merged.cells = [NotebookNode({**result[i], "id": i}) for i in order]
    return merged, tuple(kept), tuple(conflicts)


def _place_answers(
    cells: list[NotebookNode],
    pristine: list[NotebookNode],
    upstream: NotebookNode,
    result: dict[str, NotebookNode],
) -> tuple[dict[str, str | None], list[str]]:
    """Put the student's answers into `result`; return where cells went, and whose answers.

    A cell that answers two exercises takes the place of both.
    """
    stubs = [_content(cell) for cell in pristine]
    answers = exercises(NotebookNode(cells=[c for c in cells if _content(c) not in stubs]))
    home: dict[str, str | None] = {}
    kept = []
    for name, cell in exercises(upstream).items():
        if name in answers:
            kept.append(name)
            if answers[name].id in home:
                del result[cell.id]
            else:
                result[cell.id] = answers[name]
                home[answers[name].id] = cell.id
    return home, kept


def _place_others(
    cells: list[NotebookNode],
    base: NotebookNode,
    upstream: NotebookNode,
    result: dict[str, NotebookNode],
    home: dict[str, str | None],
) -> list[str]:
    """Put the cells that only the student changed into `result`; return the conflicting ones.

    Afterwards only the cells that the student added are not in `home`.
    """
    old, new = ({cell.id: cell for cell in notebook.cells} for notebook in (base, upstream))
    past, present = exercises(base), exercises(upstream)
    taken = set(home.values())
    conflicts = []
    for cell in [cell for cell in cells if cell.id not in home]:
        answered = exercises(NotebookNode(cells=[cell]))
        was, now = old.get(cell.id), new.get(cell.id)
        if name := next((name for name in answered if name in present), None):
            was, now = was or past.get(name), present[name]
        elif was is None and now is None and not answered.keys() & past.keys():
            continue
        home[cell.id] = now.id if now else None
        if any(other and _content(cell) == _content(other) for other in (was, now)):
            continue
        untouched = was and now and _content(was) == _content(now)
        if untouched and now.id in result and now.id not in taken:
            result[now.id] = cell
        else:
            conflicts.append(cell.id)
    return conflicts


def _with_ids(cells: list[NotebookNode], known: list[NotebookNode]) -> list[NotebookNode]:
    """Copies without outputs, each with an id of its own.

    A cell that lost its id, or was cut and pasted, is a known one if it reads the same.
    """
    taken = {cell.get("id") for cell in cells}
    unclaimed = [cell for cell in known if cell.id not in taken]
    ids = {cell.id for cell in known}
    used: set[str] = set()
    copies = []
    for cell in cells:
        name = str(cell.get("id", ""))
        if name not in ids or name in used:
            same = [other.id for other in unclaimed if _content(other) == _content(cell)]
            if same:
                name = same[0]
                unclaimed = [other for other in unclaimed if other.id != name]
            elif name in used or not _ID.fullmatch(name):
                name = uuid.uuid4().hex[:8]
        used.add(name)
        copies.append(_clean(cell, name))
    return copies


def _clean(cell: NotebookNode, name: str) -> NotebookNode:
    """The cell without outputs, under this id."""
    kept = {k: cell[k] for k in ("cell_type", "source", "metadata", "attachments") if k in cell}
    if cell.cell_type == "code":
        kept |= {"outputs": [], "execution_count": None}
    return NotebookNode({"metadata": {}, **kept, "id": name})


def _content(cell: NotebookNode) -> tuple[str, str, dict]:
    """What the author of a cell wrote: no outputs, no metadata."""
    return cell.cell_type, cell.source, cell.get("attachments") or {}


def _contents(notebook: NotebookNode) -> list[tuple]:
    return [(cell.get("id"), _content(cell)) for cell in notebook.cells]


def _update_chapter(upstream: NotebookNode, copy: Path) -> Change:
    """Merge, give the student's file its backup name, then put the new one in place.

    The base is written last, so that a run that was cut short is made up for by the next.
    """
    try:
        mine = read_notebook(copy)
    except CourseError:
        return Change(copy.stem, "unreadable")
    try:
        base = read_notebook(_base(copy))
    except CourseError:
        base = new_notebook()
    if _contents(base) == _contents(upstream):
        return Change(copy.stem, "unchanged")
    merged, kept, conflicts = merge(base, mine, upstream)
    change = Change(copy.stem, "unchanged")
    if _contents(merged) != _contents(mine):
        backup = _back_up(copy)
        write_atomically(copy, notebook_bytes(merged))
        change = Change(copy.stem, "updated", kept, conflicts, backup)
    write_atomically(_base(copy), notebook_bytes(upstream))
    return change


def _chapters(notebooks: Path) -> list[Path]:
    return sorted(Path(notebooks).glob("[0-9][0-9]_*.ipynb"))


def _base(copy: Path) -> Path:
    return copy.parent / BASES / copy.name


def _back_up(copy: Path) -> Path:
    """Give the file a second name, the first that is free; one that it already has will do."""
    for number in itertools.count(1):
        backup = copy.with_name(f"{copy.stem}.before-update-{number}.ipynb")
        try:
            _link(copy, backup)
            return backup
        except FileExistsError:
            if os.path.samefile(copy, backup):
                return backup


def _create(path: Path, content: bytes) -> bool:
    """Write the whole file unless one is there; return whether it was written."""
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        write_atomically(temporary, content)
        _link(temporary, path)
        return True
    except FileExistsError:
        return False
    finally:
        temporary.unlink(missing_ok=True)


def _link(source: Path, target: Path) -> None:
    """A second name for a file, or a copy where the file system has no hard links.

    Raises `FileExistsError` when `target` is there.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        content = source.read_bytes()
        with open(target, "xb") as file:
            file.write(content)

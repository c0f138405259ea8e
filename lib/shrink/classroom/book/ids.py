"""Which cell of a student's copy is which of the chapter's, whatever became of its id.

A cell that lost its id, or was cut and pasted, is a known one if it reads the same. Some front ends
drop or replace the ids of all cells: then a changed cell is known by its place among the others.
"""

import itertools
import re
import uuid
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher

from nbformat import NotebookNode

from shrink.classroom.book.cells import answers
from shrink.classroom.book.notebook import same_text

_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_ALIKE = 0.6  # of 1: two texts of which one may be an edit of the other


def with_ids(
    cells: Sequence[NotebookNode], base: Sequence[NotebookNode], today: Sequence[NotebookNode]
) -> list[NotebookNode]:
    """Copies without outputs, each with an id of its own.

    Args:
        cells: the student's; their ids may be missing, double or malformed.
        base: what they came from.
        today: the chapter's of today, by which a cell may be known too.
    """
    known = [*base, *today]
    ids = {cell.id for cell in known}
    taken = {cell.get("id") for cell in cells}
    unclaimed = [cell for cell in known if cell.id not in taken]
    used: set[str] = set()
    names: list[str | None] = []
    for cell in cells:
        name = cell.get("id")
        if name not in ids or name in used:
            name = next((o.id for o in unclaimed if content(o) == content(cell)), None)
            unclaimed = [other for other in unclaimed if other.id != name]
        used.add(name)
        names.append(name)
    if not ids & taken:
        names = _by_place(cells, names, base)
    return _named(cells, names, used | ids)


def content(cell: NotebookNode) -> tuple[str, str, dict]:
    """What the author of a cell wrote: no outputs, no metadata, nothing that a front end adds."""
    return cell.cell_type, same_text(cell.source), cell.get("attachments") or {}


def _named(
    cells: Sequence[NotebookNode], names: Sequence[str | None], used: set[str | None]
) -> list[NotebookNode]:
    """Copies under these names; one without gets its own id where it can have that."""
    copies = []
    for cell, name in zip(cells, names, strict=True):
        own = cell.get("id", "")
        if name is None and (own in used or not _ID.fullmatch(own)):
            name = uuid.uuid4().hex[:8]
        used.add(name or own)
        copies.append(_clean(cell, name or own))
    return copies


def _by_place(
    cells: Sequence[NotebookNode], names: Sequence[str | None], base: Sequence[NotebookNode]
) -> list[str | None]:
    """The names, and those of changed cells, which stand between the same cells as they did.

    Answers are known by their exercises; of several answers to one the last is the chapter's cell.
    """
    names, order = list(names), [cell.id for cell in base]
    homes = {exercise: cell.id for cell in base for exercise in _answers(cell)}
    for k in reversed(range(len(cells))):
        home = next((homes[e] for e in _answers(cells[k]) if e in homes), None)
        if names[k] is None and home not in names:
            names[k] = home
    places = [(i, order.index(n)) for i, n in enumerate(names) if n in order]
    ends = [(-1, -1), *places, (len(cells), len(base))]
    for (i, at), (j, to) in itertools.pairwise(ends):
        mine = [k for k in range(i + 1, j) if names[k] is None and not _answers(cells[k])]
        theirs = [c for c in base[at + 1 : to] if c.id not in names and not _answers(c)]
        for k, name in _pairs([cells[k] for k in mine], theirs):
            names[mine[k]] = name
    return names


def _pairs(
    mine: Sequence[NotebookNode], theirs: Sequence[NotebookNode]
) -> Iterator[tuple[int, str]]:
    """Which of mine, by number, is which of theirs, by id: all in turn, else the alike."""
    if [c.cell_type for c in mine] == [c.cell_type for c in theirs]:
        yield from ((k, cell.id) for k, cell in enumerate(theirs))
        return
    left = list(theirs)
    for k, cell in enumerate(mine):
        found = next((n for n, other in enumerate(left) if _alike(cell, other)), None)
        if found is not None:
            yield k, left[found].id
            del left[: found + 1]


def _alike(a: NotebookNode, b: NotebookNode) -> bool:
    texts = SequenceMatcher(None, a.source, b.source, autojunk=False)
    return (
        a.cell_type == b.cell_type
        and texts.real_quick_ratio() > _ALIKE
        and texts.quick_ratio() > _ALIKE
        and texts.ratio() > _ALIKE
    )


def _answers(cell: NotebookNode) -> list[str]:
    return answers(cell.source) if cell.cell_type == "code" else []


def _clean(cell: NotebookNode, name: str) -> NotebookNode:
    """The cell without outputs, under this id."""
    kept = {k: cell[k] for k in ("cell_type", "source", "metadata", "attachments") if k in cell}
    if cell.cell_type == "code":
        kept |= {"outputs": [], "execution_count": None}
    return NotebookNode({"metadata": {}, **kept, "id": name})

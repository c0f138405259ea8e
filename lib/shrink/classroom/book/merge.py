"""Today's notebook with a student's work in it: three notebooks are compared, cell by cell."""

from copy import deepcopy

from nbformat import NotebookNode

from shrink.classroom.book.ids import content, with_ids
from shrink.classroom.book.notebook import exercises


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
    cells = with_ids(mine.cells, base.cells or upstream.cells, upstream.cells)
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
    stubs = [content(cell) for cell in pristine]
    answers = exercises(NotebookNode(cells=[c for c in cells if content(c) not in stubs]))
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
        if any(other and content(cell) == content(other) for other in (was, now)):
            continue
        untouched = was and now and content(was) == content(now)
        if untouched and now.id in result and now.id not in taken:
            result[now.id] = cell
        else:
            conflicts.append(cell.id)
    return conflicts

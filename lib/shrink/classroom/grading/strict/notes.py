"""What `shrink check --strict` tells of a notebook that was changed: checks, tags, names.

None of it counts. The verdict is that of our own run, in which none of this takes part; the notes
say what a person may want to look at.
"""

import ast
import re
from collections.abc import Collection, Iterator, Sequence

from shrink.classroom.book.syntax import answered_functions, check_of
from shrink.classroom.grading.strict.answers import Cell

_TAGS = ("raises-exception", "nbval-skip")
_COMMENT = re.compile(r"^\s*#\s*NBVAL_(RAISES_EXCEPTION|SKIP)\b", re.MULTILINE | re.IGNORECASE)
_MACHINERY = {"answer", "check", "judge", "mine", "passed", "reference", "student"}
_FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def of_exercise(cells: Sequence[Cell], exercise: str, check_id: str) -> list[str]:
    """What was done to one exercise outside of its answer; `check_id` is its check cell's id."""
    notes = []
    if note := _check_note(cells, exercise, check_id):
        notes.append(note)
    if any(exercise in _overwritten(cell.tree) for cell in cells if cell.tree):
        notes.append(f"the name {exercise} is overwritten outside of its answer: ignored")
    return notes


def of_notebook(cells: Sequence[Cell]) -> list[str]:
    """What was done to the notebook: tags that hide a failure, and changes to the checks' code."""
    notes = []
    for tag in _TAGS:
        if numbers := [str(cell.number) for cell in cells if tag in _tags(cell)]:
            notes.append(f"cells tagged {tag}: ignored (code cells {', '.join(numbers)})")
    changed = (text for cell in cells if cell.tree for text in _changed_machinery(cell.tree))
    return notes + [f"{text[-80:]} is set: ignored" for text in dict.fromkeys(changed)]


def _check_note(cells: Sequence[Cell], exercise: str, check_id: str) -> str | None:
    if any(check_of(cell.tree) == exercise for cell in cells):
        return None
    others = [cell for cell in cells if not check_of(cell.tree)]  # an older chapter's ids
    mentioned = re.compile(rf"\b{exercise}\s*\.\s*check\b")
    edited = any(cell.id == check_id or mentioned.search(cell.source) for cell in others)
    return "its check was edited" if edited else "its check is missing"


def _tags(cell: Cell) -> Collection[str]:
    comments = {found.lower().replace("_", "-") for found in _COMMENT.findall(cell.source)}
    return {*cell.tags, *("nbval-skip" if c == "skip" else c for c in comments)}


def _overwritten(tree: ast.Module) -> set[str]:
    """The names that a cell binds outside of functions, but for answers and exercises imported."""
    answered = {id(function): name for name, function in answered_functions(tree)}
    found = set()
    for node in _outside_functions(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()):
                found.add(name)
            case ast.FunctionDef(name=name) if answered.get(id(node)) != name:
                found.add(name)
            case ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                found.add(name)
            case ast.Import(names=aliases):
                found |= {(a.asname or a.name).partition(".")[0] for a in aliases}
            case ast.ImportFrom(module=module, names=aliases):
                checks = (module or "").startswith("shrink.chapters.")
                found |= {
                    a.asname or a.name
                    for a in aliases
                    if not checks or a.asname not in (None, a.name)
                }
    return found


def _outside_functions(tree: ast.Module) -> Iterator[ast.AST]:
    nodes: list[ast.AST] = [tree]
    for node in nodes:  # grows while it is walked
        yield node
        if not isinstance(node, _FUNCTIONS):
            nodes += ast.iter_child_nodes(node)


def _changed_machinery(tree: ast.Module) -> Iterator[str]:
    """What is set on exercises or on their class, `magnitude_mask.passed` or `Exercise.check`."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(attr=name, ctx=ast.Store() | ast.Del()) if name in _MACHINERY:
                yield _shown(node)
            case ast.Call(func=ast.Name(id="setattr"), args=[owner, ast.Constant(value=name), _]):
                if name in _MACHINERY:
                    yield f"{_shown(owner)}.{name}"


def _shown(node: ast.expr) -> str:
    try:
        return ast.unparse(node)
    except RecursionError:
        return "something nested too deeply"

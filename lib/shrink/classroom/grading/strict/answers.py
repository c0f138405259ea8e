"""Where the answer to an exercise stands in a notebook, and why it is not read where it is not."""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shrink.classroom.book.cells import UNREAD
from shrink.classroom.book.syntax import (
    answered_functions,
    answered_otherwise,
    is_stub,
    runs_other_code,
)


class NotAdmitted(Exception):
    """Raised where an answer is not run: how the exercise stands, and why."""

    def __init__(self, state: str, message: str) -> None:
        super().__init__(message)
        self.state, self.message = state, message


@dataclass(frozen=True)
class Cell:
    """A code cell as Python: `number` counts from 1; `tree` is None where it is none, and why."""

    number: int
    id: str
    source: str
    tree: ast.Module | None
    answers: tuple[str, ...]
    tags: tuple[str, ...]
    problem: str = ""


def answer_to(exercise: str, cells: Sequence[Cell]) -> tuple[Cell, ast.FunctionDef]:
    """The last answer to the exercise that is more than the stub, and its cell.

    Raises `NotAdmitted` where there is none, or where it stands in a way that is not read.
    """
    aliases = _aliases(cells)
    for cell in cells:
        if exercise in _answered_otherwise(cell, aliases):
            how = f"write @{exercise}.answer above a function, at the left margin"
            raise NotAdmitted(
                "refused", f"code cell {cell.number} answers it in a way that is not read: {how}"
            )
    own = next((cell for cell in reversed(cells) if exercise in cell.answers), None)
    if own and own.tree is None:
        if own.problem in UNREAD:
            raise NotAdmitted("refused", own.problem)
        raise NotAdmitted("wrong", f"its cell does not parse: {own.problem}")
    if own:
        function = [f for name, f in answered_functions(own.tree) if name == exercise][-1]
        if not is_stub(function):
            return own, function
    for cell in cells:
        if cell.tree and (what := runs_other_code(cell.tree)):
            where = f"code cell {cell.number} runs {what}, which is not read"
            raise NotAdmitted("refused", f"there is no answer in the notebook's own code; {where}")
    raise NotAdmitted("not done yet", "" if own else "there is no answer")


def _answered_otherwise(cell: Cell, aliases: Mapping[str, str]) -> set[str]:
    """The exercises that a cell answers in a way that is not read, under another name say."""
    otherwise = answered_otherwise(cell.tree) if cell.tree else set()
    return otherwise | {aliases[name] for name in {*otherwise, *cell.answers} & aliases.keys()}


def _aliases(cells: Sequence[Cell]) -> dict[str, str]:
    """Other names for what a name holds: of `import a as b` and `b = a`."""
    found = {}
    for node in (node for cell in cells if cell.tree for node in cell.tree.body):
        match node:
            case ast.ImportFrom(names=aliases):
                found |= {a.asname: a.name for a in aliases if a.asname not in (None, a.name)}
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Name(id=other)):
                found[name] = other
    return found

"""How an exercise stands after a run, and what went wrong in cells that are no check."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from nbformat import NotebookNode

from shrink import earlier
from shrink.classroom.book.cells import UNREAD, Code, read_code
from shrink.classroom.book.syntax import answered_functions, checked, is_stub
from shrink.classroom.exercises.exercise import Exercise, State
from shrink.classroom.grading import ENDED
from shrink.classroom.grading.running import Run

_CHECKED = re.compile(r"\b(\w+)\s*\.\s*check\s*\(")


@dataclass(frozen=True)
class Status:
    """How one exercise stands, and what its check says."""

    exercise: str
    core: bool
    state: State
    message: str


@dataclass(frozen=True)
class CellError:
    """A failure in a cell that is no check: `cell` counts code cells from 1, as `In [1]` does."""

    cell: int
    id: str
    message: str


@dataclass(frozen=True)
class Seen:
    """A code cell: what it answers and what it checks."""

    id: str
    code: Code
    answers: tuple[str, ...]
    checks: frozenset[str]

    @classmethod
    def of(cls, cell: NotebookNode) -> "Seen":
        code = read_code(cell.source)
        checks = checked(code.tree) if code.tree else _CHECKED.findall(cell.source)
        name = str(cell.get("id", ""))
        return cls(name, code, tuple(code.answers()), frozenset(checks))

    def holds_stub(self, exercise: str) -> bool:
        """Whether its answer to the exercise is as it was handed out."""
        functions = answered_functions(self.code.tree) if self.code.tree else []
        return any(is_stub(function) for name, function in functions if name == exercise)


def status(exercise: Exercise, cells: Sequence[Seen], ran: Run) -> Status:
    """What the last check of the exercise reported, or why there is no such report.

    An answer whose cell does not parse, or failed before it was one, is wrong: somebody wrote it.
    """
    name = exercise.name
    row = next((row for row in reversed(ran.reported) if row["exercise"] == name), None)
    own = next((n for n in reversed(range(len(cells))) if name in cells[n].answers), None)
    state, message = _reported(exercise, row) if row else _unreported(name, cells, ran)
    if own is not None and state != "wrong" and not cells[own].holds_stub(name):
        if cells[own].code.problem not in ("", *UNREAD):
            state, message = "wrong", f"its cell does not parse: {cells[own].code.problem}"
        elif row and state == "not done yet" and own in ran.failures:
            state, message = "wrong", f"its cell failed: {_last_line(ran.failures[own])}"
    return Status(name, exercise.core, state, message)


def _reported(exercise: Exercise, row: dict) -> tuple[State, str]:
    wrong = row["state"] == "wrong"
    return row["state"], row["message"].removeprefix(f"{exercise.name}: ") if wrong else ""


def _unreported(name: str, cells: Sequence[Seen], ran: Run) -> tuple[State, str]:
    """Of a check that said nothing: it did not run, or it did not come to an end."""
    for number in (n for n, cell in enumerate(cells) if name in cell.checks):
        line = _last_line(ran.failures.get(number, ""))
        if line.startswith((ENDED, "not finished")):
            return "wrong", line
    where = f": Python has ended in cell [{ran.ended + 1}]" if ran.ended is not None else ""
    return "not done yet", f"its check did not run{where}"


def other_errors(cells: Sequence[Seen], ran: Run) -> list[CellError]:
    """The failures that no check reported; one that only repeats the one before is left out.

    Where Python ended, nothing is said of the cells below. A notebook that must be updated fails
    in most of its cells: then nothing but that is said.
    """
    errors: list[CellError] = []
    undone = {row["exercise"] for row in ran.reported if row["state"] != "done"}
    for number, text in ran.failures.items():
        if number >= len(cells) or (ran.ended is not None and number > ran.ended):
            break
        if cells[number].checks & undone:
            continue
        message = _last_line(text)
        if not errors or errors[-1].message != message:
            errors.append(CellError(number + 1, cells[number].id, message))
    outdated = [error for error in errors if earlier.ADVICE in error.message]
    return outdated[:1] or errors


def _last_line(text: str) -> str:
    """What went wrong, in one line: an end, a time-out, else the error's last line."""
    if ENDED in text:
        return text[text.index(ENDED) :].splitlines()[0].strip()
    if timeout := re.search(r"Timeout of (\S+) seconds exceeded", text):
        died = ", or Python died in it" if "Failed to interrupt" in text else ""
        return f"not finished after {timeout[1]} seconds{died}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "failed"

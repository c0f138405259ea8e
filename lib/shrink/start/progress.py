"""What a student has done so far, as the notebooks say that were last saved; nothing is run."""

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from shrink.classroom.book.cells import read_code
from shrink.classroom.book.syntax import answered_functions, is_stub
from shrink.classroom.exercises.passed import digest, noted

State = Literal["open", "written", "passed"]
_CHAPTER = re.compile(r"(?!00)\d\d_[a-z]\w*")
_TITLE = re.compile(r"\s*#\s*(\d\d)\W+(\w+)\W*([^\n]*)")


@dataclass(frozen=True)
class Chapter:
    """A chapter in a student's folder.

    Args:
        file: its notebook's name, `02_prune.ipynb`.
        number, name, about: of its title, `# 02 · Prune: take weights away`.
        begun: whether a cell was run, or an exercise answered.
        exercises: the state of each, in their order. "passed" is an answer whose check has passed
            as it stands now, "written" another one that is more than the stub.
        saved: when, in seconds.
        problem: why nothing is known of it.
    """

    file: str
    number: str
    name: str
    about: str = ""
    begun: bool = False
    exercises: tuple[State, ...] = ()
    saved: float = 0.0
    problem: str = ""

    @property
    def done(self) -> bool:
        """Whether all its exercises have passed."""
        return bool(self.exercises) and set(self.exercises) == {"passed"}


@dataclass(frozen=True)
class _Cell:
    kind: str
    source: str
    outputs: tuple[dict, ...]
    was_run: bool


def chapters_in(work: Path) -> list[Chapter]:
    """The chapters in a student's folder, by their numbers."""
    files = sorted(work.glob("*.ipynb"))
    return [_chapter(file) for file in files if _CHAPTER.fullmatch(file.stem)]


def to_go_on_with(chapters: Sequence[Chapter]) -> Chapter | None:
    """The unfinished one that was saved last, or the first that is not begun; None at the end."""
    unfinished = [chapter for chapter in chapters if not chapter.done and not chapter.problem]
    begun = [chapter for chapter in unfinished if chapter.begun]
    return max(begun, key=lambda c: c.saved) if begun else next(iter(unfinished), None)


def _chapter(file: Path) -> Chapter:
    number, _, name = file.stem.partition("_")
    try:
        cells = list(_cells(json.loads(file.read_bytes())))
        saved = file.stat().st_mtime
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return Chapter(file.name, number, name.capitalize(), problem="cannot be read")
    title = _TITLE.match(next((c.source for c in cells if c.kind == "markdown"), ""))
    number, name, about = title.groups() if title else (number, name.capitalize(), "")
    states = tuple(_states([cell for cell in cells if cell.kind == "code"]))
    begun = any(cell.was_run for cell in cells) or any(state != "open" for state in states)
    return Chapter(file.name, number, name, about, begun, states, saved)


def _cells(document: Any) -> Iterator[_Cell]:
    """The cells of a notebook, whatever front end has saved it."""
    for cell in document["cells"]:
        source, outputs = cell["source"], cell.get("outputs") or ()
        text = source if isinstance(source, str) else "".join(source)
        was_run = bool(outputs) or cell.get("execution_count") is not None
        yield _Cell(cell["cell_type"], text, tuple(outputs), was_run)


def _states(cells: Iterable[_Cell]) -> Iterator[State]:
    """The state of each exercise that the code cells answer; of two answers the last one counts."""
    passed = {noted(output.get("metadata") or {}) for cell in cells for output in cell.outputs}
    states: dict[str, State] = {}
    for cell in cells:
        code = read_code(cell.source)
        states |= dict.fromkeys(code.answers(), "written")
        for name, function in answered_functions(code.tree) if code.tree else ():
            if is_stub(function):
                states[name] = "open"
            elif (name, digest(function)) in passed:
                states[name] = "passed"
    yield from states.values()

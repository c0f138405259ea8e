"""What `shrink check` does: run a chapter under nbval and say how each exercise stands.

The states come from the checks themselves, which append them to a report. Nothing is read from
stored outputs, and an exercise whose check did not run is not done. nbval's own results are read
only for what went wrong in cells that are no check, and for answers that did not come to be.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from shrink.classroom import CourseError
from shrink.classroom.book.notebook import code_of, read_notebook
from shrink.classroom.grading.identify import NotGraded, exercises_of, identify, names_by_chapter
from shrink.classroom.grading.running import run
from shrink.classroom.grading.verdicts import CellError, Seen, Status, other_errors, status

CELL_TIMEOUT = 300.0  # seconds
_CHAPTER = re.compile(r"\d\d_\w+")
_NAME = re.compile(r"\w+")  # a number or a chapter; a path to a notebook holds a dot at least


@dataclass(frozen=True)
class Result:
    """What the check of one notebook found."""

    chapter: str
    notebook: Path
    exercises: tuple[Status, ...]
    errors: tuple[CellError, ...]

    @property
    def core_done(self) -> bool:
        """Whether every core exercise is done."""
        return all(status.state == "done" for status in self.exercises if status.core)


def find_chapters(wanted: Sequence[str], work: Path | None) -> list[Path]:
    """The notebooks that are asked for, all of them readable and with exercises.

    Args:
        wanted: numbers ("2", "02"), names ("02_prune") or paths to a notebook, whatever it is
            named; empty for every chapter in `work` that has exercises.
        work: the student's folder; may be None when `wanted` holds only paths.

    Raises:
        CourseError: there is no such chapter, it has no exercises, or it is not a notebook.
    """
    files = sorted(work.glob("*.ipynb")) if work else []
    at_hand = [path for path in files if _CHAPTER.fullmatch(path.stem)]
    if not wanted:
        found = [path for path in at_hand if exercises_of(path.stem)]
        if not found:
            raise CourseError(f"no chapter in {work}; `shrink lab` puts them there")
    else:
        found = list(dict.fromkeys(_find(name, at_hand, work) for name in wanted))
    for path in found:
        chapter_of(path, read_notebook(path))
    return found


def is_path(name: str) -> bool:
    """Whether what is asked for is a file, and not a chapter by its number or name."""
    return not _NAME.fullmatch(name)


def chapter_of(path: Path, notebook: NotebookNode) -> str:
    """The chapter of a notebook, by its name, its answers or its title.

    Raises `CourseError` when it is none with exercises.
    """
    try:
        return identify(path.name, notebook, names_by_chapter())
    except NotGraded as error:
        message = f"{path.name} is not a chapter with exercises: {error}"
        raise CourseError(message) from error


def check(notebook: Path, timeout: float = CELL_TIMEOUT) -> Result:
    """Run the notebook in a fresh kernel, in its own folder, and collect what its checks report.

    `timeout` is in seconds, for each cell. The notebook is not changed; files that its cells write,
    such as the running table, they write. Where an answer stands below its check, that is asked
    again after the last cell.

    Raises `CourseError` when the notebook cannot be read, or when nbval cannot run at all.
    """
    notebook = notebook.resolve()
    read = read_notebook(notebook)
    chapter, cells = chapter_of(notebook, read), code_of(read)
    exercises, seen = exercises_of(chapter), [Seen.of(cell) for cell in cells]
    late = [new_code_cell(f"{e.name}.check()") for e in exercises if is_late(e.name, seen)]
    ran = run([*cells, *late], notebook, timeout)
    statuses = [status(e, [*seen, *map(Seen.of, late)], ran) for e in exercises]
    return Result(chapter, notebook, tuple(statuses), tuple(other_errors(seen, ran)))


def is_late(exercise: str, cells: Sequence[Seen]) -> bool:
    """Whether the answer that counts, the last one, stands below every check of it."""
    answers = [number for number, cell in enumerate(cells) if exercise in cell.answers]
    checks = [number for number, cell in enumerate(cells) if exercise in cell.checks]
    return bool(answers and checks) and checks[-1] < answers[-1]


def as_json(results: Sequence[Result]) -> str:
    """One document: by chapter, each exercise's state, core and message, and the other errors.

    Where two notebooks are the same chapter, they go by their paths.
    """
    chapters = [result.chapter for result in results]
    document = {}
    for result in results:
        name = result.chapter if chapters.count(result.chapter) == 1 else str(result.notebook)
        statuses = {s.exercise: asdict(s) for s in result.exercises}
        for facts in statuses.values():
            del facts["exercise"]
        errors = [asdict(error) for error in result.errors]
        document[name] = {"exercises": statuses, "errors": errors}
    return json.dumps(document, indent=2)


def as_text(result: Result) -> str:
    """A line an exercise, core first and `more` apart, then the errors in other cells."""
    core = [status for status in result.exercises if status.core]
    more = [status for status in result.exercises if not status.core]
    done = sum(status.state == "done" for status in core)
    lines = [f"{result.chapter}: {done} of {len(core)} core exercises done", *map(_line, core)]
    if more:
        lines += ["  more:", *map(_line, more)]
    if result.errors:
        lines.append("  errors in other cells:")
        lines += [f"    cell [{e.cell}] {e.id}: {e.message}" for e in result.errors]
    return "\n".join(lines)


def _line(status: Status) -> str:
    first, *rest = status.message.splitlines() or [""]
    what = f"{status.exercise}: {first}" if first else status.exercise
    return "\n".join([f"  {status.state:<12}  {what}", *(" " * 16 + line for line in rest)])


def _find(name: str, at_hand: list[Path], work: Path | None) -> Path:
    if is_path(name):
        return Path(name)
    for path in at_hand:
        if name == path.stem or (name.isdecimal() and int(name) == int(path.stem[:2])):
            return path
    names = ", ".join(path.stem for path in at_hand) or "none"
    raise CourseError(f"no chapter {name!r} in {work}; there are {names}")

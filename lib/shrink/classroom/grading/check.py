"""What `shrink check` does: run a chapter under nbval and say how each exercise stands.

The states come from the checks themselves, which append them to a report. Nothing is read from
stored outputs, and an exercise whose check did not run is not done. nbval's own results are read
only for what went wrong in cells that are no check.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from xml.etree import ElementTree

from nbformat import NotebookNode

from shrink import chapters, earlier
from shrink.classroom import CourseError
from shrink.classroom.book.notebook import read_notebook
from shrink.classroom.exercises.exercise import Exercise, State

CELL_TIMEOUT = 300.0  # seconds
_CHAPTER = re.compile(r"\d\d_\w+")
_CHECKED = re.compile(r"\b(\w+)\s*\.\s*check\s*\(")
_ANSI = re.compile(r"(?:\x1b|#x1B)\[[0-9;]*m")
_UNRUN = "Unrun reference cell has outputs"  # nbval's complaint about how it was saved; it ran


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
        wanted: numbers ("2", "02"), names ("02_prune") or paths to an .ipynb; empty for every
            chapter in `work` that has exercises.
        work: the student's folder; may be None when `wanted` holds only paths.

    Raises:
        CourseError: there is no such chapter, it has no exercises, or it is not a notebook.
    """
    files = sorted(work.glob("*.ipynb")) if work else []
    at_hand = [path for path in files if _CHAPTER.fullmatch(path.stem)]
    if not wanted:
        found = [path for path in at_hand if _exercises(path)]
        if not found:
            raise CourseError(f"no chapter in {work}; `shrink lab` puts them there")
    else:
        found = list(dict.fromkeys(_find(name, at_hand, work) for name in wanted))
    for path in found:
        read_notebook(path)
        if not _exercises(path):
            raise CourseError(f"{path.name} is not a chapter with exercises")
    return found


def check(notebook: Path, timeout: float = CELL_TIMEOUT) -> Result:
    """Run the notebook in a fresh kernel, in its own folder, and collect what its checks report.

    `timeout` is in seconds, for each cell. The notebook is not changed; files that its cells write,
    such as the running table, they write. Raises `CourseError` when it cannot be read, or when
    nbval cannot run at all.
    """
    notebook = notebook.resolve()
    cells = [c for c in read_notebook(notebook).cells if c.cell_type == "code"]
    with tempfile.TemporaryDirectory(prefix="shrink-check-") as folder:
        report, junit = Path(folder, "report.jsonl"), Path(folder, "junit.xml")
        ended = _run_nbval(notebook, Path(folder), report, junit, timeout)
        if not junit.exists():
            lines = (ended.stderr.strip() or ended.stdout.strip() or "no output").splitlines()
            raise CourseError(f"{notebook.name}: pytest could not run it: {lines[-1]}")
        rows = report.read_text(encoding="utf-8").splitlines() if report.exists() else []
        reported = {row["exercise"]: row for row in map(json.loads, rows)}
        errors = _other_errors(ElementTree.parse(junit), cells, reported)
    statuses = [_status(exercise, reported.get(exercise.name)) for exercise in _exercises(notebook)]
    return Result(notebook.stem, notebook, tuple(statuses), tuple(errors))


def as_json(results: Sequence[Result]) -> str:
    """One document: by chapter, each exercise's state, core and message, and the other errors.

    Where two notebooks are the same chapter, they go by their paths.
    """
    chapters = [result.chapter for result in results]
    document = {}
    for result in results:
        name = result.chapter if chapters.count(result.chapter) == 1 else str(result.notebook)
        statuses = {s.exercise: asdict(s) for s in result.exercises}
        for status in statuses.values():
            del status["exercise"]
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
    if name.endswith(".ipynb"):
        return Path(name)
    for path in at_hand:
        if name == path.stem or (name.isdecimal() and int(name) == int(path.stem[:2])):
            return path
    names = ", ".join(path.stem for path in at_hand) or "none"
    raise CourseError(f"no chapter {name!r} in {work}; there are {names}")


def _exercises(notebook: Path) -> list[Exercise]:
    """Those of the chapter that the file is named after; none where it is named otherwise."""
    named = _CHAPTER.fullmatch(notebook.stem)
    chapter = chapters.find(notebook.stem) if named else None
    return list(chapter.EXERCISES) if chapter else []


def _run_nbval(
    notebook: Path, folder: Path, report: Path, junit: Path, timeout: float
) -> subprocess.CompletedProcess:
    """Run pytest with nbval and nothing of the settings that lie around the notebook."""
    settings = folder / "pytest.ini"
    settings.write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env"]
    command += ["-p", "shrink.classroom.grading.patience"]
    command += ["-p", "no:cacheprovider", "-q", "--color=no", "--noconftest"]
    command += ["-c", str(settings), "--rootdir", str(folder), f"--junitxml={junit}"]
    command += [f"--nbval-cell-timeout={timeout:g}", str(notebook)]
    taken_out = ("JPY_SESSION_NAME", "PYTEST_ADDOPTS")  # of a notebook's terminal; of the user's
    environment = {name: v for name, v in os.environ.items() if name not in taken_out}
    environment |= {"SHRINK_CHECK_REPORT": str(report), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    return subprocess.run(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )


def _status(exercise: Exercise, row: dict | None) -> Status:
    if row is None:
        state, message = "not done yet", "its check did not run"
    elif row["state"] == "wrong":
        state, message = "wrong", row["message"].removeprefix(f"{exercise.name}: ")
    else:
        state, message = row["state"], ""
    return Status(exercise.name, exercise.core, state, message)


def _other_errors(
    junit: ElementTree.ElementTree, cells: list[NotebookNode], reported: dict[str, dict]
) -> list[CellError]:
    """The failures that no check reported; one that only repeats the one before is left out.

    A notebook that must be updated fails in most of its cells: then nothing but that is said.
    """
    errors: list[CellError] = []
    for case in junit.iter("testcase"):
        failure = case.find("failure")
        failure = case.find("error") if failure is None else failure
        text = _ANSI.sub("", "" if failure is None else failure.text or "")
        number = re.fullmatch(r"Cell (\d+)", case.get("name", ""))
        if failure is None or _UNRUN in text or not number:
            continue
        cell = cells[int(number[1])]
        checked = [reported.get(name) for name in _CHECKED.findall(cell.source)]
        if any(row and row["state"] != "done" for row in checked):
            continue
        message = _last_line(text)
        if not errors or errors[-1].message != message:
            errors.append(CellError(int(number[1]) + 1, str(cell.get("id", "")), message))
    outdated = [error for error in errors if earlier.ADVICE in error.message]
    return outdated[:1] or errors


def _last_line(text: str) -> str:
    """What went wrong, in one line: a time-out, else the error's last line."""
    if timeout := re.search(r"Timeout of (\S+) seconds exceeded", text):
        died = ", or Python died in it" if "Failed to interrupt" in text else ""
        return f"not finished after {timeout[1]} seconds{died}"
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "failed"

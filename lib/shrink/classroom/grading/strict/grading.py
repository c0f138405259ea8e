"""Finds the submissions and their chapters, and grades them.

Which exercises there are, and their checks, come from the course. Of a notebook nothing is run but
its answers (`source`), each notebook in a process of its own (`worker`). The rest of the
chapter is not needed, for a check calls only the answer, on inputs that it draws itself; so
grading takes seconds where the chapter takes minutes.
"""

import os
import re
import stat
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from nbformat import NotebookNode
from tqdm import tqdm

from shrink.chapters import find as find_package
from shrink.classroom import CourseError
from shrink.classroom.book.builder import build_chapter
from shrink.classroom.book.cells import check_of
from shrink.classroom.book.notebook import code_of, exercises, parse, read_notebook
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.grading.check import find_chapters
from shrink.classroom.grading.strict.notes import of_exercise, of_notebook
from shrink.classroom.grading.strict.report import Row, Submission
from shrink.classroom.grading.strict.runner import Job, Runner
from shrink.classroom.grading.strict.source import Answer, Cell, NotAdmitted, admit, code_cells

TIMEOUT, MEMORY = 60.0, 2048  # seconds for an exercise, MB for a notebook
LARGEST = 20_000_000  # bytes of a notebook
WARNING = (
    "This runs code from the notebooks on this machine, each in a process of its own with limits "
    "on time and memory; code that attacks the process is not defended against."
)
_UNLIMITED = "On this machine the memory limit is not enforced."
_NUMBERED = re.compile(r"#\s*(\d\d)\b")


@dataclass(frozen=True)
class Chapter:
    """A chapter as the course has it, with its exercises and their check cells' ids."""

    name: str
    module: str
    title: str
    exercises: tuple[Exercise, ...]
    check_ids: dict[str, str]


class _NotGraded(Exception):
    """Raised for a notebook that has no place in the grading: a state, and why."""

    def __init__(self, state: str, message: str, chapter: str = "") -> None:
        super().__init__(message)
        self.state, self.message, self.chapter = state, message, chapter


def grade(
    wanted: Sequence[str],
    root: Path,
    chapter: str | None = None,
    timeout: float = TIMEOUT,
    memory: int = MEMORY,
) -> list[Submission]:
    """Grade submissions, two at a time, with a progress bar when there are several.

    Args:
        wanted: notebooks, folders of them, or chapters of `root / "work"`, as for `check`.
        root: the folder of the course.
        chapter: what the submissions should be, "2" or "02_prune"; None to look at each.
        timeout: seconds for each exercise.
        memory: MB for each notebook, beyond what Python with torch takes.

    Raises:
        CourseError: nothing to grade is found, or no such chapter, or the course does not build.
    """
    chapters = read_course(root / "course")
    asked = _asked(chapter, chapters) if chapter else None
    found = find(wanted, root / "work", chapters)
    runner = Runner(timeout, memory)
    with ThreadPoolExecutor(min(2, os.cpu_count() or 1)) as pool:
        try:  # from the first submission on: what runs is stopped, whenever Ctrl-C comes
            futures = [pool.submit(_grade, *one, chapters, asked, runner) for one in found]
            bar = tqdm(futures, file=sys.stderr, unit="notebook", disable=len(found) < 2)
            graded = [future.result() for future in bar]
        except BaseException:
            runner.stop()
            pool.shutdown(cancel_futures=True)
            raise
    if not runner.limited:
        print(_UNLIMITED, file=sys.stderr)
    return graded


def read_course(course: Path) -> dict[str, Chapter]:
    """The chapters of the course that have exercises, by name.

    Raises `CourseError` when there are none, or when a chapter does not build or lacks a check.
    """
    files = sorted(course.glob("[0-9][0-9]_*.py"))
    packages = {path: find_package(path.stem) for path in files}
    chapters = [_chapter(path, package) for path, package in packages.items() if package]
    if not chapters:
        raise CourseError(f"no chapter with exercises in {course}")
    return {chapter.name: chapter for chapter in chapters}


def _chapter(path: Path, package: ModuleType) -> Chapter:
    notebook = build_chapter(path, solved=False)
    known = vars(package)
    named = list(exercises(notebook))
    for name in named:
        if not isinstance(known.get(name), Exercise):
            raise CourseError(f"{path.stem}: no check for the exercise {name}")
    ids = {check_of(parse(cell.source)): cell.id for cell in code_of(notebook)}
    checks = {name: ids[name] for name in named}
    everything = tuple(known[name] for name in named)
    return Chapter(path.stem, package.__name__, _title(notebook), everything, checks)


def _title(notebook: NotebookNode) -> str:
    """The first line of the notebook's text."""
    texts = (c.source.strip() for c in notebook.cells if c.cell_type == "markdown")
    return next(filter(None, texts), "").partition("\n")[0].strip()


def _asked(name: str, chapters: dict[str, Chapter]) -> Chapter:
    for chapter in chapters.values():
        if name == chapter.name or (name.isdecimal() and int(name) == int(chapter.name[:2])):
            return chapter
    raise CourseError(f"no chapter {name!r} with exercises; there are {', '.join(chapters)}")


def find(wanted: Sequence[str], work: Path, chapters: dict[str, Chapter]) -> list[tuple[str, Path]]:
    """The notebooks to grade, each with the name it has in the report, in order.

    Raises `CourseError` when a path is not there, or when there is no notebook at all.
    """
    found: dict[Path, str] = {}
    names = [name for name in wanted if _is_chapter(name, chapters)]
    if names or not wanted:
        found |= {path: f"{work.name}/{path.name}" for path in find_chapters(names, work)}
    for name in wanted:
        path = Path(name)
        if name in names:
            continue
        if path.is_dir():
            inside = path.name if len(wanted) > 1 else ""
            found |= {p: str(Path(inside, p.relative_to(path))) for p in _notebooks(path)}
        elif os.path.lexists(path):
            found[path.resolve()] = name
        else:
            raise CourseError(f"no such notebook or folder: {name}")
    if not found:
        raise CourseError(f"no notebook in {', '.join(wanted)}")
    return sorted((label, path) for path, label in found.items())


def _is_chapter(name: str, chapters: dict[str, Chapter]) -> bool:
    return name in chapters or name.isdecimal()


def _notebooks(folder: Path) -> list[Path]:
    """What is named *.ipynb, at any depth, a link or a folder too; hidden folders are left out."""
    found = []
    for at, folders, files in os.walk(folder):
        named = [name for name in (*folders, *files) if name.endswith(".ipynb")]
        found += [Path(at, name) for name in named if not name.startswith(".")]
        folders[:] = [n for n in folders if not n.startswith(".") and n not in named]
    return found


def _grade(
    label: str, path: Path, chapters: dict[str, Chapter], asked: Chapter | None, runner: Runner
) -> Submission:
    """Grade one notebook; whatever is wrong with it becomes a row."""
    try:
        notebook = _read(path)
        chapter = _which(path, notebook, chapters, asked)
        cells = code_cells(notebook)
        rows = _rows(cells, chapter, runner)
        return Submission(label, chapter.name, rows, tuple(of_notebook(cells)))
    except _NotGraded as error:
        return Submission(label, error.chapter, (Row("", "", error.state, error.message),))
    except Exception as error:  # the others are graded nevertheless
        message = f"{type(error).__name__}: {error}"
        return Submission(label, "", (Row("", "", "unreadable", message),))


def _read(path: Path) -> NotebookNode:
    """The notebook; raises `_NotGraded` for what is no file, too large, or no notebook."""
    try:
        facts = path.lstat()
        if not stat.S_ISREG(facts.st_mode):
            kind = "a link" if stat.S_ISLNK(facts.st_mode) else "a folder or a device"
            raise _NotGraded("unreadable", f"{kind}, not a file")
        if facts.st_size > LARGEST:
            size = facts.st_size / 1e6
            raise _NotGraded("unreadable", f"{size:.0f} MB long; at most {LARGEST / 1e6:.0f} MB")
        return read_notebook(path)
    except CourseError as error:
        raise _NotGraded("unreadable", str(error).removeprefix(f"{path} ")) from error
    except OSError as error:
        raise _NotGraded("unreadable", str(error.strerror)) from error


def _which(
    path: Path, notebook: NotebookNode, chapters: dict[str, Chapter], asked: Chapter | None
) -> Chapter:
    """The chapter that the notebook is graded as; raises `_NotGraded` if there is none."""
    named = next((c for c in chapters.values() if _names(path, c.name)), None)
    answered = {name: _answered(notebook, c) for name, c in chapters.items()}
    by_answers = max(chapters.values(), key=lambda c: answered[c.name])
    by_answers = by_answers if answered[by_answers.name] else None
    title = _title(notebook)
    titled = next((c for c in chapters.values() if c.title == title), None)
    chapter = asked or named or by_answers or titled
    number = _NUMBERED.match(title)
    if chapter is None:
        raise _NotGraded("no chapter", "neither its name nor its answers are those of a chapter")
    if answered[chapter.name] and named in (None, chapter):
        return chapter
    for other in (named, by_answers, titled):
        if other not in (None, chapter):
            message = f"it is {other.name}, not {chapter.name}"
            raise _NotGraded("another chapter", message, other.name)
    if number and number[1] != chapter.name[:2]:
        message = f"its title is {title!r}, not that of {chapter.name}"
        raise _NotGraded("another chapter", message)
    if not (answered[chapter.name] or named or titled or number):
        raise _NotGraded("no chapter", f"nothing in it is of {chapter.name}")
    return chapter


def _names(path: Path, chapter: str) -> bool:
    return bool(re.search(rf"(?<!\d){chapter}(?![a-z])", path.name))


def _answered(notebook: NotebookNode, chapter: Chapter) -> int:
    return len(chapter.check_ids.keys() & exercises(notebook).keys())


def _rows(cells: Sequence[Cell], chapter: Chapter, runner: Runner) -> tuple[Row, ...]:
    """A row for each exercise of the chapter, in its order."""
    admitted: dict[str, Answer] = {}
    results: dict[str, tuple[str, str]] = {}
    for exercise in chapter.exercises:
        try:
            admitted[exercise.name] = admit(cells, exercise.name, chapter.check_ids)
        except NotAdmitted as error:
            results[exercise.name] = error.state, error.message
    results |= runner.run(Job(chapter.module, tuple(chapter.check_ids), admitted))
    rows = []
    for exercise in chapter.exercises:
        notes = of_exercise(cells, exercise.name, chapter.check_ids[exercise.name])
        if answer := admitted.get(exercise.name):
            notes += [*answer.notes, *_borrowed(exercise, answer, chapter, results)]
        kind = "core" if exercise.core else "more"
        rows.append(Row(exercise.name, kind, *results[exercise.name], tuple(notes)))
    return tuple(rows)


def _borrowed(
    exercise: Exercise, answer: Answer, chapter: Chapter, results: dict[str, tuple[str, str]]
) -> list[str]:
    """A note for each earlier exercise that the answer calls and that the reference answered."""
    order = list(chapter.check_ids)
    earlier = order[: order.index(exercise.name)]
    open_ones = [n for n in answer.calls if n in earlier and results[n][0] != "done"]
    return [f"calls {name}, which is not done: the reference answered" for name in open_ones]

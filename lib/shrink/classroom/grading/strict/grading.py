"""Grades submissions.

Which exercises there are, and their checks, come from the course. Of a notebook nothing is run but
its answers (`source`), each notebook in a process of its own (`worker`). The rest of the
chapter is not needed, for a check calls only the answer, on inputs that it draws itself; so
grading takes seconds where the chapter takes minutes.
"""

import os
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from tqdm import tqdm

from shrink.chapters import find as find_package
from shrink.classroom import CourseError
from shrink.classroom.book.builder import build_chapter
from shrink.classroom.book.notebook import code_of, exercises, parse
from shrink.classroom.book.syntax import check_of
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.grading.identify import NotGraded, identify
from shrink.classroom.grading.strict.notes import of_exercise, of_notebook
from shrink.classroom.grading.strict.report import LENT, Row, Submission
from shrink.classroom.grading.strict.runner import Job, Runner
from shrink.classroom.grading.strict.source import Answer, Cell, NotAdmitted, admit, code_cells
from shrink.classroom.grading.strict.submissions import find, read

TIMEOUT, MEMORY = 60.0, 2048  # seconds for an exercise, MB for a notebook
WARNING = (
    "This runs code from the notebooks on this machine, each in a process of its own with limits "
    "on time and memory; code that attacks the process is not defended against."
)
_UNLIMITED = "On this machine the memory limit is not enforced."


@dataclass(frozen=True)
class Chapter:
    """A chapter as the course has it, with its exercises and their check cells' ids."""

    name: str
    module: str
    exercises: tuple[Exercise, ...]
    check_ids: dict[str, str]


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
            graded = [_awaited(future) for future in bar]
        except BaseException:
            runner.stop()
            pool.shutdown(cancel_futures=True)
            raise
    if not runner.limited:
        print(_UNLIMITED, file=sys.stderr)
    return graded


def _awaited(future: Future) -> Submission:
    """Its result; Ctrl-C is noticed within a second, also where it does not end the waiting."""
    while not wait([future], timeout=1).done:
        continue
    return future.result()


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
    return Chapter(path.stem, package.__name__, everything, checks)


def _asked(name: str, chapters: dict[str, Chapter]) -> Chapter:
    for chapter in chapters.values():
        if name == chapter.name or (name.isdecimal() and int(name) == int(chapter.name[:2])):
            return chapter
    raise CourseError(f"no chapter {name!r} with exercises; there are {', '.join(chapters)}")


def _grade(
    label: str, path: Path, chapters: dict[str, Chapter], asked: Chapter | None, runner: Runner
) -> Submission:
    """Grade one notebook; whatever is wrong with it becomes a row."""
    try:
        notebook = read(path)
        names = {name: chapter.check_ids for name, chapter in chapters.items()}
        chapter = chapters[identify(path.name, notebook, names, asked.name if asked else None)]
        cells = code_cells(notebook)
        rows = _rows(cells, chapter, runner)
        return Submission(label, chapter.name, rows, tuple(of_notebook(cells)))
    except NotGraded as error:
        return Submission(label, error.chapter, (Row("", "", error.state, error.message),))
    except Exception as error:  # the others are graded nevertheless
        message = f"{type(error).__name__}: {error}"
        return Submission(label, "", (Row("", "", "unreadable", message),))


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
    return [f"calls {name}, {LENT}" for name in open_ones]

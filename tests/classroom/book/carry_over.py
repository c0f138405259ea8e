"""Students' copies of an earlier version, with answers, brought over by `shrink update`.

By hand, with the whole notebooks of a commit: `python -m tests.classroom.book.carry_over 01734d2`.
The first answer of each chapter is wrong; `shrink check --strict` must find just those.
"""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from copy import deepcopy
from pathlib import Path

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from shrink.classroom.book.builder import build_chapter
from shrink.classroom.book.copies import BASES
from shrink.classroom.book.notebook import exercises, notebook_bytes
from shrink.classroom.book.update import Change, update
from shrink.classroom.grading.strict.grading import grade
from shrink.classroom.grading.strict.report import as_detail
from tests import ROOT, START

WRONG = "@{0}.answer\ndef {0}(*arguments):\n    return 'wrong on purpose'"


def notebook(cells: Mapping[str, str]) -> NotebookNode:
    """A notebook of code cells, by their ids."""
    return new_notebook(cells=[new_code_cell(source, id=name) for name, source in cells.items()])


def answered(pristine: NotebookNode, answers: Mapping[str, str]) -> NotebookNode:
    """The notebook with the answers, by exercise, in their cells."""
    copy = deepcopy(pristine)
    for name, cell in exercises(copy).items():
        cell.source = answers[name]
    return copy


def bring_over(pairs: Mapping[str, tuple[NotebookNode, NotebookNode]], work: Path) -> list[Change]:
    """Put (pristine, student's) notebooks by chapter into `work`, and update them to today's."""
    (work / BASES).mkdir(parents=True)
    for chapter, (pristine, mine) in pairs.items():
        (work / BASES / f"{chapter}.ipynb").write_bytes(notebook_bytes(pristine))
        (work / f"{chapter}.ipynb").write_bytes(notebook_bytes(mine))
    return update(ROOT / "notebooks", work)


def read_commit(commit: str, folder: Path) -> dict[str, tuple[NotebookNode, NotebookNode]]:
    """The chapters of a commit, untouched and with answers: solutions, but for the first."""
    archive = subprocess.run(
        ["git", "archive", commit, "course"], cwd=ROOT, capture_output=True, check=True
    )
    subprocess.run(["tar", "-x"], cwd=folder, input=archive.stdout, check=True)
    pairs = {}
    files = {path.stem: path for path in sorted((folder / "course").glob("[0-9][0-9]_*.py"))}
    files.pop(START, None)
    for path in files.values():
        solved = exercises(build_chapter(path, solved=True))
        answers = {name: cell.source for name, cell in solved.items()}
        first = next(iter(answers))
        pristine = build_chapter(path, solved=False)
        pairs[path.stem] = (pristine, answered(pristine, answers | {first: WRONG.format(first)}))
    return pairs


def main(commit: str) -> int:
    with tempfile.TemporaryDirectory() as name:
        pairs = read_commit(commit, Path(name))
        work = Path(name, "work")
        print(*bring_over(pairs, work), sep="\n")
        graded = grade([str(work / f"{chapter}.ipynb") for chapter in pairs], ROOT)
    print(as_detail(graded))
    states = {(s.chapter, row.exercise): row.state for s in graded for row in s.rows}
    expected = {
        (chapter, exercise): "done" if number else "wrong"
        for chapter, (_, mine) in pairs.items()
        for number, exercise in enumerate(exercises(mine))
    }
    differing = {key for key in states | expected if states.get(key) != expected.get(key)}
    print(f"{len(expected)} answers in {len(pairs)} chapters; not as before: {differing or 'none'}")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

"""How the tests run a chapter's notebook, built anew, under nbval; and its solutions alone."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Callable
from xml.etree import ElementTree

import nbformat

from shrink.classroom.book import builder
from shrink.classroom.book.notebook import notebook_bytes
from shrink.classroom.book.syntax import answered_functions
from tests import ROOT

COURSE = ROOT / "course"


def failing_cells(notebook, **environment):
    """Run the notebook under nbval; the ids of the code cells that fail, and what pytest said."""
    junit = notebook.with_suffix(".xml")
    command = [sys.executable, "-m", "pytest", "--nbval-lax", "--nbval-current-env", "-q"]
    command += [
        "-p",
        "shrink.classroom.grading.patience",
        "-p",
        "no:cacheprovider",
        "--noconftest",
        f"--rootdir={notebook.parent}",
    ]
    command += [f"--junitxml={junit}", "-o", "addopts=", str(notebook)]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, check=False
    )
    cells = [c for c in nbformat.read(notebook, as_version=4).cells if c.cell_type == "code"]
    cases = list(ElementTree.parse(junit).iter("testcase"))
    assert len(cases) == len(cells), done.stdout[-3000:]
    failed = [
        cells[int(re.fullmatch(r"Cell (\d+)", case.get("name"))[1])].id
        for case in cases
        if case.find("failure") is not None or case.find("error") is not None
    ]
    return failed, done.stdout


def build(chapter, folder, *, solved):
    return _write(builder.build_chapter(COURSE / f"{chapter}.py", solved), folder, chapter)


def build_before_and_after(chapter, folder):
    """The solved chapter, where the student's cell and its check come before each solution.

    Returns the path, and the ids of the cells that are to fail: the checks that come too early.
    """
    student, solved = (builder.build_chapter(COURSE / f"{chapter}.py", s) for s in (False, True))
    stubs, checks = ({c.id: c for c in node.cells} for node in (student, solved))
    cells, early = [], []
    for cell in solved.cells:
        stub = stubs[cell.id]
        if stub.source != cell.source:
            check = checks[cell.id.replace("-answer", "-check")]
            early.append(f"{check.id}-early")
            cells += [_copy(stub, f"{stub.id}-stub"), _copy(check, early[-1])]
        cells.append(cell)
    solved.cells = cells
    return _write(solved, folder, chapter), early


def _copy(cell, name):
    return nbformat.v4.new_code_cell(cell.source, id=name)


def _write(node, folder, chapter):
    path = folder / f"{chapter}.ipynb"
    path.write_bytes(notebook_bytes(node))
    return path


def solutions(chapter: str) -> dict[str, Callable]:
    """The answers that stand in the chapter's text, by exercise.

    Nothing of the chapter runs but its imports and the functions of these cells.
    """
    cells = builder.build_chapter(COURSE / f"{chapter}.py", solved=True).cells
    trees = [ast.parse(cell.source) for cell in cells if cell.cell_type == "code"]
    answers = [(name, f) for tree in trees for name, f in answered_functions(tree)]
    imports = [n for t in trees for n in t.body if isinstance(n, ast.Import | ast.ImportFrom)]
    scope: dict = {}
    body = [*imports, *(n for t in trees if answered_functions(t) for n in t.body)]
    for _, function in answers:
        function.decorator_list.clear()
    exec(compile(ast.Module(body, []), chapter, "exec"), scope)
    return {exercise: scope[function.name] for exercise, function in answers}

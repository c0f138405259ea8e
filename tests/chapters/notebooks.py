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
from shrink.classroom.book.notebook import answered_functions, notebook_bytes
from tests import ROOT

COURSE = ROOT / "course"
CHAPTERS = sorted(path.stem for path in COURSE.glob("[0-9][0-9]_*.py"))


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
    path = folder / f"{chapter}.ipynb"
    node = builder.build_chapter(COURSE / f"{chapter}.py", solved)
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

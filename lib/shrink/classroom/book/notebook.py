"""Notebooks as files and as code: read, written, and searched for the answers to exercises."""

import ast
import json
import re
import warnings
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbformat.v4.rwbase import rejoin_lines

from shrink.classroom import CourseError

_KINDS = ("code", "markdown", "raw")
_ANSWER = re.compile(r"^@\s*(\w+)\s*\.\s*answer\b", re.MULTILINE)


def exercises(notebook: Path | NotebookNode) -> dict[str, NotebookNode]:
    """The code cells that answer an exercise, by its name, of any notebook, a student's too.

    A cell that does not parse counts; of two answers to one exercise the last one wins.
    Raises `CourseError` when the file cannot be read as a notebook.
    """
    if not isinstance(notebook, NotebookNode):
        notebook = read_notebook(Path(notebook))
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return {name: cell for cell in code for name in answers(cell.source)}


def read_notebook(path: Path) -> NotebookNode:
    """A notebook as it stands in the file: ids may be missing or double.

    Raises `CourseError` when the file is not a notebook of format 4.
    """
    try:
        notebook = nbformat.from_dict(json.loads(path.read_text(encoding="utf-8")))
        if notebook.nbformat == 4:
            notebook = rejoin_lines(notebook)
            if all(c.cell_type in _KINDS and isinstance(c.source, str) for c in notebook.cells):
                return notebook
    except (OSError, ValueError, AttributeError, KeyError, TypeError, RecursionError) as error:
        raise CourseError(f"{path} cannot be read as a notebook ({error})") from error
    raise CourseError(f"{path} cannot be read as a notebook of format 4")


def notebook_bytes(notebook: NotebookNode) -> bytes:
    """The notebook as the bytes of its file, the same for the same content."""
    return (nbformat.writes(notebook).rstrip("\n") + "\n").encode()


def parse(source: str) -> ast.Module | None:
    """The syntax tree, or None if there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape in a student's string
        try:
            return ast.parse(source)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            return None


def answered_functions(tree: ast.Module) -> list[tuple[str, ast.FunctionDef]]:
    """The top-level functions under `@<exercise>.answer`, with the exercise's name."""
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    decorators = [
        (_ANSWER.fullmatch("@" + ast.unparse(d)), f) for f in functions for d in f.decorator_list
    ]
    return [(match[1], function) for match, function in decorators if match]


def answers(source: str) -> list[str]:
    """The exercises that the code answers, by its syntax, or by its text if it does not parse."""
    tree = parse(source)
    if tree is None:
        return _ANSWER.findall(source)
    return [name for name, _ in answered_functions(tree)]

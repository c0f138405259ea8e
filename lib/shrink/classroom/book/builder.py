"""Course text to notebooks: `course/NN_name.py` is read, `NN_name.ipynb` is written.

A chapter is py:percent text. Every cell has a name, which becomes the cell's id in the notebook,
so that a new cell renumbers nothing and a changed word changes one line:

    # %% [markdown] problem
    # Where do the bytes go?

    # %% magnitude-mask
    @magnitude_mask.answer
    def magnitude_mask(weight, sparsity):
        ### BEGIN SOLUTION
        return weight.abs() > weight.abs().quantile(sparsity)
        ### END SOLUTION

    # %% magnitude-mask-check
    magnitude_mask.check()

`# %% problem [markdown]` reads the same. Magics and cell options (tags) are refused.
In the students' notebook the solution is one line that raises; in the solved one it stays. Both
have a cell of the builder's own above the cell `setup`, see `install_cell`.
"""

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import jupytext
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

from shrink.classroom import CourseError
from shrink.classroom.book.cells import answers
from shrink.classroom.book.copies import BASES
from shrink.classroom.book.install_cell import INSTALL, SETUP, install_cell
from shrink.classroom.book.notebook import notebook_bytes, parse
from shrink.classroom.book.syntax import answered_functions, is_stub
from shrink.classroom.exercises.stub import STUB_MESSAGE
from shrink.files import write_atomically

_STUB = f'raise NotImplementedError("{STUB_MESSAGE}")'
_NAME = re.compile(r"[a-z0-9-]{1,64}")
_BEGIN, _END = "### BEGIN SOLUTION", "### END SOLUTION"
_ANY_MARKER = re.compile(r"\b(BEGIN|END)\s+SOLUTION\b", re.IGNORECASE)
_CHECK = re.compile(r"(\w+)\.check\(\)")
_PERCENT = {"extension": ".py", "format_name": "percent", "comment_magics": False}
_JUPYTEXT_ONLY = {"title", "lines_to_next_cell", "cell_marker"}
_NEW_CELL = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}
_METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


class BuildError(CourseError):
    """A chapter that cannot be built; the message names the chapter and the cell."""

    def __init__(self, chapter: str, cell: str, problem: str) -> None:
        super().__init__(f"{chapter}, cell {cell!r}: {problem}")


@dataclass(frozen=True)
class _Cell:
    """One cell of a chapter, as each of the two notebooks has it."""

    name: str
    kind: str
    solutions: int
    solved: str
    student: str


def build(
    course: Path, out: Path, solved: bool = False, chapters: Iterable[str] | None = None
) -> list[Path]:
    """Write the notebooks of the course into `out`, and remove those whose chapter is gone.

    Args:
        course: the folder of chapters, `[0-9][0-9]_*.py`.
        out: where the notebooks go; a file whose bytes would not change is not touched.
        solved: with the solutions in place.
        chapters: only these, by name (`02_prune`); then nothing is removed.

    Returns:
        The notebooks that were written; empty when all were up to date.

    Raises:
        CourseError: `out` is a student's folder, or a chapter cannot be built. Nothing is written.
    """
    course, out = Path(course), Path(out)
    if (out / BASES).exists():
        raise CourseError(f"{out} holds students' copies; build into another folder")
    rendered = _render(_chapter_files(course, chapters), solved)
    written = [out / name for name, content in rendered.items() if _differs(out / name, content)]
    for path in written:
        write_atomically(path, rendered[path.name])
    if chapters is None:
        for path in _stale(out, rendered):
            path.unlink()
    return written


def check_built(course: Path, notebooks: Path) -> list[str]:
    """The names of the chapters whose notebook is missing, out of date, or has no chapter.

    Raises `CourseError` when a chapter cannot be built.
    """
    rendered = _render(_chapter_files(Path(course)), solved=False)
    differing = [n for n, content in rendered.items() if _differs(Path(notebooks) / n, content)]
    stale = [path.name for path in _stale(Path(notebooks), rendered)]
    return sorted(name.removesuffix(".ipynb") for name in differing + stale)


def build_chapter(path: Path, solved: bool) -> NotebookNode:
    """The notebook of one chapter, with or without its solutions.

    Raises `BuildError` when a cell has no proper name, or an exercise lacks its solution or check.
    """
    path = Path(path)
    cells = [_split(path.stem, *cell) for cell in _named_cells(path)]
    for cell in cells:
        _validate_cell(path.stem, cell)
    _validate_checks(path.stem, [cell for cell in cells if cell.kind == "code"])
    source, names = install_cell(path.parents[1] / "pyproject.toml"), [cell.name for cell in cells]
    if source and SETUP in names:
        cells.insert(names.index(SETUP), _Cell(INSTALL, "code", 0, source, source))
    return new_notebook(
        nbformat_minor=5,
        metadata=NotebookNode(_METADATA),
        cells=[
            _NEW_CELL[cell.kind](cell.solved if solved else cell.student, id=cell.name)
            for cell in cells
        ],
    )


def _chapter_files(course: Path, chapters: Iterable[str] | None = None) -> list[Path]:
    files = {path.stem: path for path in sorted(course.glob("[0-9][0-9]_*.py"))}
    if not files:
        raise CourseError(f"no chapters (NN_name.py) in {course}")
    for name in (wanted := list(files if chapters is None else chapters)):
        if name not in files:
            raise CourseError(f"no chapter named {name!r}; there are {', '.join(files)}")
    return [files[name] for name in wanted]


def _render(files: list[Path], solved: bool) -> dict[str, bytes]:
    return {f"{p.stem}.ipynb": notebook_bytes(build_chapter(p, solved)) for p in files}


def _differs(path: Path, content: bytes) -> bool:
    return not path.exists() or path.read_bytes() != content


def _stale(out: Path, rendered: dict[str, bytes]) -> list[Path]:
    return [path for path in sorted(out.glob("[0-9][0-9]_*.ipynb")) if path.name not in rendered]


def _named_cells(path: Path) -> list[tuple[str, str, str]]:
    """The name, kind and text of each cell."""
    try:
        cells = jupytext.reads(path.read_text(encoding="utf-8"), fmt=_PERCENT).cells
    except (ValueError, nbformat.ValidationError) as error:
        first_line = str(error).partition("\n")[0]
        raise CourseError(f"{path.stem}: jupytext cannot read it: {first_line}") from error
    seen = {INSTALL}
    named = []
    for cell in cells:
        name, options = cell.metadata.get("title"), sorted(set(cell.metadata) - _JUPYTEXT_ONLY)
        if name is None and not cell.source:
            continue
        if name is None:
            start = " ".join(cell.source.split()[:8])
            raise BuildError(path.stem, start, "it has no name; write `# %% name` above it")
        if not _NAME.fullmatch(name):
            raise BuildError(path.stem, name, "a name is 1 to 64 of a-z, 0-9 and -")
        if name in seen:
            raise BuildError(path.stem, name, "the chapter has another cell of this name")
        if options:
            raise BuildError(path.stem, name, f"a cell has no options, found {', '.join(options)}")
        seen.add(name)
        named.append((name, cell.cell_type, cell.source))
    return named


def _split(chapter: str, name: str, kind: str, text: str) -> _Cell:
    """The cell with its solution in place and with the stub; raises on unbalanced markers."""
    solved, student, solutions, inside = [], [], 0, False
    for line in text.split("\n"):
        if line.strip() in (_BEGIN, _END):
            begins = line.strip() == _BEGIN
            if begins == inside:
                problem = f"{_BEGIN} inside a solution" if inside else f"{_END} without {_BEGIN}"
                raise BuildError(chapter, name, problem)
            if begins:
                student.append(line[: -len(line.lstrip())] + _STUB)
            inside, solutions = begins, solutions + begins
        else:
            solved.append(line)
            if not inside:
                student.append(line)
    if inside:
        raise BuildError(chapter, name, f"{_BEGIN} without {_END}")
    return _Cell(name, kind, solutions, "\n".join(solved), "\n".join(student))


def _validate_cell(chapter: str, cell: _Cell) -> None:
    """Raise unless the cell parses, and has a solution just where it has an exercise."""
    found = answers(cell.solved) if cell.kind == "code" else []
    if _ANY_MARKER.search(cell.solved):
        problem = f"a marker is misspelt or left over; write {_BEGIN} and {_END}"
    elif cell.kind == "code" and None in (parse(cell.solved), parse(cell.student)):
        problem = "the code does not parse"
    elif cell.solutions and not found:
        problem = "a solution outside of an exercise"
    elif found and not cell.solutions:
        problem = "an exercise without a solution"
    elif len(found) > 1:
        problem = "two exercises in one cell"
    elif found and (cell.solutions > 1 or not _has_stub(cell.student)):
        problem = "the solution must be the whole body of the function, after its docstring"
    else:
        return
    raise BuildError(chapter, cell.name, problem)


def _validate_checks(chapter: str, cells: list[_Cell]) -> None:
    """Raise unless each exercise has one check, in a cell of its own, after its answer."""
    unchecked: dict[str, str] = {}
    known: set[str] = set()
    for cell in cells:
        for exercise in answers(cell.solved):
            if exercise in known:
                raise BuildError(chapter, cell.name, f"a second exercise named {exercise}")
            known.add(exercise)
            unchecked[exercise] = cell.name
        if check := _CHECK.fullmatch(ast.unparse(parse(cell.solved))):
            if check[1] not in known:
                raise BuildError(chapter, cell.name, f"{check[0]} without an exercise above it")
            if unchecked.pop(check[1], None) is None:
                raise BuildError(chapter, cell.name, f"a second {check[0]}")
    for exercise, name in unchecked.items():
        raise BuildError(chapter, name, f"no cell of its own with {exercise}.check() after it")


def _has_stub(source: str) -> bool:
    """Whether the answer is a docstring and the stub, which a check reads as not done yet."""
    ((_, function),) = answered_functions(parse(source))
    return is_stub(function)

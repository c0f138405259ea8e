"""What `shrink check --strict` admits of a notebook, by a look at its text; nothing is run here.

Admitted are the answer to an exercise, the top-level functions that it calls by name, and the
imports that these need of what `allowed` lists. The rest stays out. What a look at the text
misses, an alias or a name that is a text, is refused where it runs (`lending`, `watch`).
"""

import ast
import re
import symtable
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from nbformat import NotebookNode

from shrink.classroom.book.notebook import answered_functions, answers, parse
from shrink.classroom.exercises.exercise import STUB_MESSAGE
from shrink.classroom.grading.strict.allowed import (
    IMPORTABLE,
    SETTABLE,
    SYSTEM,
    WITHHELD,
    WITHHELD_BUILTINS,
    is_attribute,
    is_importable,
)
from shrink.classroom.grading.strict.definition import bare

CALLS_THE_ANSWER = "calls the answer"
_NAMES = WITHHELD_BUILTINS | SYSTEM
_ANSWERS = {"reference", "mine", "student", "judge"}  # of an exercise: ways to the answer
_MAGIC = re.compile(r"^[%!].*$", re.MULTILINE)


class NotAdmitted(Exception):
    """Raised where an answer is not run: how the exercise stands, and why."""

    def __init__(self, state: str, message: str) -> None:
        super().__init__(message)
        self.state, self.message = state, message


@dataclass(frozen=True)
class Cell:
    """A code cell: `number` counts from 1; `tree` is None where `source` does not parse."""

    number: int
    id: str
    source: str
    tree: ast.Module | None
    answers: tuple[str, ...]
    tags: tuple[str, ...]


@dataclass(frozen=True)
class Piece:
    """Statements of a cell that are admitted, all of them function definitions, by their index."""

    cell: int
    source: str
    statements: list[int]


@dataclass(frozen=True)
class Answer:
    """What is run of a notebook for one exercise, and what is said of the rest of its cell."""

    exercise: str
    function: str
    imports: list[str]
    pieces: list[Piece]
    calls: tuple[str, ...]  # other exercises, by name
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Import:
    text: str
    path: str


@dataclass(frozen=True)
class _Helper:
    cell: Cell
    statement: int


def code_cells(notebook: NotebookNode) -> list[Cell]:
    """The code cells; lines of magics are blank where the cell does not parse with them."""
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    return [_cell(number, cell) for number, cell in enumerate(code, 1)]


def _cell(number: int, cell: NotebookNode) -> Cell:
    source = cell.source
    tree = parse(source)
    if tree is None and (tree := parse(_MAGIC.sub("", source))):
        source = _MAGIC.sub("", source)
    metadata = cell.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, dict) else None
    tags = tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    return Cell(number, str(cell.get("id", "")), source, tree, tuple(answers(source)), tags)


def admit(cells: Sequence[Cell], exercise: str, names: Collection[str]) -> Answer:
    """What is to be run for the exercise; `names` are those of all exercises of the chapter.

    Of two answers the last one counts. A name that the answer uses means what it means in its own
    cell, else in the nearest cell above that has it, else in the nearest below.

    Raises:
        NotAdmitted: there is no answer, it does not parse, or it holds what is not admitted.
    """
    own = next((cell for cell in reversed(cells) if exercise in cell.answers), None)
    if own is None:
        raise NotAdmitted("not done yet", "there is no answer")
    if own.tree is None:
        raise NotAdmitted("wrong", f"its cell does not parse: {_syntax_error(own.source)}")
    function = [f for name, f in answered_functions(own.tree) if name == exercise][-1]
    if _is_stub(function):
        raise NotAdmitted("not done yet", "")
    for path in _imported(own.tree):
        _admit_import(path)
    known = _known(cells, own, names)
    helpers, used = _follow(_Helper(own, own.tree.body.index(function)), known, names)
    imports = [i.text for name in ("*", *used) for i in _imports_of(cells, name)]
    return Answer(
        exercise,
        function.name,
        list(dict.fromkeys(imports)),
        _pieces(helpers),
        tuple(sorted(used & set(names) - {exercise})),
        tuple(_ignored(cells, own, used - known.keys() - set(names))),
    )


def _is_stub(function: ast.FunctionDef) -> bool:
    body = function.body[ast.get_docstring(function) is not None :]
    return [ast.unparse(n) for n in body] == [f"raise NotImplementedError({STUB_MESSAGE!r})"]


def _syntax_error(source: str) -> str:
    try:
        ast.parse(source)
    except SyntaxError as error:
        return f"line {error.lineno}: {error.msg}"
    except (ValueError, RecursionError, MemoryError) as error:
        return str(error) or type(error).__name__
    return "no error"


def _follow(
    answer: _Helper, known: dict[str, _Import | _Helper], names: Collection[str]
) -> tuple[list[_Helper], set[str]]:
    """The functions that the answer calls, itself included, and the global names they all use."""
    helpers, used = [answer], set()
    for helper in helpers:  # grows while it is walked
        function = bare(helper.cell.tree.body[helper.statement])
        _look(function, names)
        for name in sorted(_globals(function) - used):
            used.add(name)
            match known.get(name):
                case _Import(path=path):
                    _admit_import(path)
                case _Helper() as other:
                    helpers.append(other)
                case None if name in _NAMES or _is_dunder(name):
                    raise NotAdmitted("refused", f"uses {name}")
    return list(dict.fromkeys(helpers)), used


def _look(function: ast.FunctionDef, names: Collection[str]) -> None:
    """Raise `NotAdmitted` for what no answer needs: ways to the answer, and out of the function."""
    for path in _imported(function):
        _admit_import(path)
    for node in ast.walk(function):
        if isinstance(node, ast.ClassDef):
            raise NotAdmitted("refused", f"defines a class, {node.name}")
        if isinstance(node, ast.MatchClass):
            for attribute in node.kwd_attrs:
                _admit_attribute(attribute, attribute)
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            if node.attr in _ANSWERS and _root(node) in names:
                raise NotAdmitted("refused", f"{CALLS_THE_ANSWER}: {text}")
            _admit_attribute(node.attr, text)
            if not isinstance(node.ctx, ast.Load) and node.attr not in SETTABLE:
                raise NotAdmitted("refused", f"sets {text}")


def _admit_attribute(attribute: str, text: str) -> None:
    if not is_attribute(attribute):
        raise NotAdmitted("refused", f"uses {text[-80:]}")


def _admit_import(path: str) -> None:
    top = path.partition(".")[0]
    if top == "shrink":
        raise NotAdmitted("refused", f"{CALLS_THE_ANSWER}: it imports shrink")
    if not is_importable(top):
        only = f"{', '.join(IMPORTABLE[:-1])} and {IMPORTABLE[-1]}"
        raise NotAdmitted(
            "refused", f"imports {top or 'from its own package'}; only {only} are admitted"
        )
    for part in path.split("."):
        _admit_attribute(part, path)
    module, _, name = path.rpartition(".")
    if (module and not is_importable(module)) or name in WITHHELD.get(module, ()):
        raise NotAdmitted("refused", f"uses {path}")


def _is_dunder(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _root(node: ast.expr) -> str:
    """The name that a chain of attributes and indices begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _globals(function: ast.FunctionDef) -> set[str]:
    """The names that a function looks up outside of itself, in its decorators and defaults too."""
    try:
        tables = [symtable.symtable(ast.unparse(function), "answer", "exec")]
    except SyntaxError as error:
        raise NotAdmitted("wrong", f"its cell does not parse: {error.msg}") from error
    found: set[str] = set()
    for table in tables:  # grows while it is walked
        found |= {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
        tables += table.get_children()
    return found


def _bound(node: ast.AST) -> Iterator[tuple[str, _Import]]:
    """The names that the imports below a node bind; `*` for all names of a module."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            for a in child.names:
                bound = f" as {a.asname}" if a.asname else ""
                top = a.name.partition(".")[0]
                path = a.name if a.asname or is_importable(a.name) else top  # what the name gives
                yield a.asname or top, _Import(f"import {path}{bound}", path)
        elif isinstance(child, ast.ImportFrom) and child.module != "__future__":
            module = "." * child.level + (child.module or "")
            for a in child.names:
                bound = f" as {a.asname}" if a.asname else ""
                inside = child.level or a.name == "*"
                path = module if inside else f"{module}.{a.name}"
                yield a.asname or a.name, _Import(f"from {module} import {a.name}{bound}", path)


def _imported(node: ast.AST) -> list[str]:
    return [found.path for _, found in _bound(node)]


def _top_imports(cell: Cell) -> Iterator[tuple[str, _Import]]:
    for node in cell.tree.body if cell.tree else ():
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield from _bound(node)


def _imports_of(cells: Sequence[Cell], name: str) -> list[_Import]:
    """The admitted imports of a name, more than one where each adds a submodule."""
    found = [i for cell in cells for bound, i in _top_imports(cell) if bound == name]
    return [i for i in found if _is_admitted(i.path)]


def _is_admitted(path: str) -> bool:
    try:
        _admit_import(path)
    except NotAdmitted:
        return False
    return True


def _known(
    cells: Sequence[Cell], own: Cell, names: Collection[str]
) -> dict[str, _Import | _Helper]:
    """What each name means to the answer in `own`, of those that are imports or functions."""
    at = cells.index(own)
    known: dict[str, _Import | _Helper] = {}
    for cell in [*reversed(cells[at + 1 :]), *cells[:at], own]:
        answered = answered_functions(cell.tree) if cell.tree else []
        known |= _top_imports(cell)
        for number, node in enumerate(cell.tree.body if cell.tree else ()):
            if isinstance(node, ast.FunctionDef) and all(node is not f for _, f in answered):
                known[node.name] = _Helper(cell, number)
    return {name: to for name, to in known.items() if name not in names and name != "*"}


def _pieces(helpers: Sequence[_Helper]) -> list[Piece]:
    """The admitted statements of each cell, in the order of the notebook."""
    statements: dict[int, tuple[str, list[int]]] = {}
    for helper in sorted(helpers, key=lambda h: (h.cell.number, h.statement)):
        statements.setdefault(helper.cell.number, (helper.cell.source, []))[1].append(
            helper.statement
        )
    return [Piece(number, source, found) for number, (source, found) in statements.items()]


def _ignored(cells: Sequence[Cell], own: Cell, unknown: set[str]) -> Iterator[str]:
    """Notes: code in the answer's cell that is not run, and names that such code was to set."""
    kept = (ast.FunctionDef, ast.Import, ast.ImportFrom, ast.Pass)
    if any(not isinstance(n, kept) and not _is_text(n) for n in own.tree.body):
        yield "code outside of functions ignored"
    trees = [node for cell in cells if cell.tree for node in cell.tree.body]
    stored = {
        node.id
        for statement in trees
        if isinstance(statement, ast.Assign | ast.AnnAssign)
        for node in ast.walk(statement)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
    }
    for name in sorted(unknown & stored):
        yield f"uses {name}, which is set outside of functions: ignored"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)

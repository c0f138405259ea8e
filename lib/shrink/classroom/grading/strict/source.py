"""What `shrink check --strict` admits of a notebook, by a look at its text; nothing is run here.

Admitted are the answer to an exercise, the top-level functions that it calls by name, and the
imports that these need of what `allowed` lists. The rest stays out, in the answer's own cell too.
What a look at the text misses, an alias or a name that is a text, is refused where it runs
(`lending`, `watch`).
"""

import ast
import builtins
import symtable
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from nbformat import NotebookNode

from shrink.classroom.book.cells import IPYTHON, TOO_DEEP, read_code
from shrink.classroom.book.notebook import code_of
from shrink.classroom.book.syntax import answered_functions
from shrink.classroom.grading.strict.allowed import (
    IMPORTABLE,
    SETTABLE,
    SYSTEM,
    WITHHELD,
    WITHHELD_BUILTINS,
    is_attribute,
    is_importable,
)
from shrink.classroom.grading.strict.answers import Cell, NotAdmitted, answer_to
from shrink.classroom.grading.strict.definition import bare
from shrink.classroom.grading.strict.meaning import changed, outdated, places, reach, root

CALLS_THE_ANSWER = "calls the answer"
_NAMES = WITHHELD_BUILTINS | SYSTEM
_ANSWERS = {"reference", "mine", "student", "judge"}  # of an exercise: ways to the answer
_SHELL = {IPYTHON, "exit", "quit", "copyright", "credits", "license", "help"}  # of a terminal
_GIVEN = {"display", *dir(builtins)} - _SHELL  # names that every answer has


@dataclass(frozen=True)
class Piece:
    """Statements of a cell that are admitted, by their index: functions, and values by a name."""

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


@dataclass(frozen=True)
class _Unread:
    cell: Cell


_Known = dict[str, _Import | _Helper | _Unread]


def code_cells(notebook: NotebookNode) -> list[Cell]:
    """The code cells, each as the Python that IPython makes of it."""
    return [_cell(number, cell) for number, cell in enumerate(code_of(notebook), 1)]


def _cell(number: int, cell: NotebookNode) -> Cell:
    code = read_code(cell.source)
    tags = cell.metadata.get("tags")
    tags = tuple(tag for tag in tags if isinstance(tag, str)) if isinstance(tags, list) else ()
    answered = tuple(code.answers())
    return Cell(
        number, str(cell.get("id", "")), code.python, code.tree, answered, tags, code.problem
    )


def admit(cells: Sequence[Cell], exercise: str, names: Collection[str]) -> Answer:
    """What is to be run for the exercise; `names` are those of all exercises of the chapter.

    Of two answers the last one counts. A name that the answer uses means what it does in the
    notebook when the exercise is checked there (`meaning`).

    Raises:
        NotAdmitted: there is no answer, it does not parse, or it holds what is not admitted.
    """
    try:
        return _admit(cells, exercise, names)
    except (RecursionError, MemoryError):
        raise NotAdmitted("refused", TOO_DEEP) from None


def _admit(cells: Sequence[Cell], exercise: str, names: Collection[str]) -> Answer:
    own, function = answer_to(exercise, cells)
    last = reach([cell.tree for cell in cells], cells.index(own), exercise)
    run = cells[: last + 1]
    below = _known(cells[last + 1 :], function, {*names, *_GIVEN})
    known = below | _known(run, function, names)
    helpers, used = _follow(_Helper(own, own.tree.body.index(function)), known, names)
    imports = [i.text for name in ("*", *used) for i in _imports_of(run, name)]
    written = used | {name for helper in helpers for name in _annotations(helper)}
    _all_set(written - {*names, function.name, *_GIVEN}, known, below, bool(_imports_of(run, "*")))
    return Answer(
        exercise,
        function.name,
        list(dict.fromkeys(imports)),
        _pieces(helpers),
        tuple(sorted(used & set(names) - {exercise})),
        tuple(_ignored(own, helpers)),
    )


def _all_set(used: set[str], known: _Known, below: _Known, starred: bool) -> None:
    """Raise `NotAdmitted` for a name that nothing has set when the exercise is checked.

    With `starred`, an import of all names, it may have set any.
    """
    for name in sorted(used):
        if name == IPYTHON:
            what = "a command of IPython's, with % or ! or ?: these are not run here"
            raise NotAdmitted("refused", f"uses {what}")
        if name in below and known[name] is below[name]:
            raise NotAdmitted("refused", f"uses {name}, which is set only below its check")
        if name not in known and not starred:
            raise NotAdmitted("refused", f"uses {name}, which the notebook does not set")


def _annotations(helper: _Helper) -> set[str]:
    """The names in a signature's annotations: not run here, but in the notebook with the `def`."""
    node = helper.cell.tree.body[helper.statement]
    if not isinstance(node, ast.FunctionDef):
        return set()
    parts = [a.annotation for a in ast.walk(node.args) if isinstance(a, ast.arg)]
    found = (child for part in [*parts, node.returns] if part for child in ast.walk(part))
    return {child.id for child in found if isinstance(child, ast.Name)}


def _follow(
    answer: _Helper, known: _Known, names: Collection[str]
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
                case _Unread(cell=cell):
                    how = f"which code cell {cell.number} sets in a way that is not read"
                    raise NotAdmitted("refused", f"uses {name}, {how}")
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
            if node.attr in _ANSWERS and root(node) in names:
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


def _globals(function: ast.FunctionDef) -> set[str]:
    """The names that a function looks up outside of itself, in its decorators and defaults too."""
    try:
        top = symtable.symtable(ast.unparse(function), "answer", "exec")
    except SyntaxError as error:
        raise NotAdmitted("wrong", f"its cell does not parse: {error.msg}") from error
    found = {s.get_name() for s in top.get_symbols() if _is_asked(s, function)}
    tables = top.get_children()
    for table in tables:  # grows while it is walked
        found |= {s.get_name() for s in table.get_symbols() if s.is_global() and s.is_referenced()}
        tables += table.get_children()
    return found


def _is_asked(symbol: symtable.Symbol, statement: ast.stmt) -> bool:
    """Whether a statement at top level looks a name up, other than a comprehension's own.

    From Python 3.12 on these are among the names of the module.
    """
    targets = (n.target for n in ast.walk(statement) if isinstance(n, ast.comprehension))
    own = {n.id for target in targets for n in ast.walk(target) if isinstance(n, ast.Name)}
    return symbol.is_referenced() and not (symbol.is_assigned() and symbol.get_name() in own)


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


def _known(cells: Sequence[Cell], answer: ast.FunctionDef, names: Collection[str]) -> _Known:
    """What each name means that these cells set, but for exercises and the answer itself."""
    trees = [cell.tree for cell in cells]
    known: _Known = {}
    for name, place in (found := places(trees)).items():
        cell, node = cells[place.cell], trees[place.cell].body[place.statement]
        if name in names or name == "*" or node is answer:
            continue
        answered = any(node is function for _, function in answered_functions(trees[place.cell]))
        if place.how == "import":
            known |= {bound: path for bound, path in _bound(node) if bound == name}
        elif (
            place.how == "otherwise"
            or answered
            or changed(trees, name, place)
            or (place.how == "value" and outdated(trees, found, place))
        ):
            known[name] = _Unread(cell)
        else:
            known[name] = _Helper(cell, place.statement)
    return known


def _pieces(helpers: Sequence[_Helper]) -> list[Piece]:
    """The admitted statements of each cell, in the order of the notebook."""
    statements: dict[int, tuple[str, list[int]]] = {}
    for helper in sorted(helpers, key=lambda h: (h.cell.number, h.statement)):
        statements.setdefault(helper.cell.number, (helper.cell.source, []))[1].append(
            helper.statement
        )
    return [Piece(number, source, found) for number, (source, found) in statements.items()]


def _ignored(own: Cell, helpers: Sequence[_Helper]) -> Iterator[str]:
    """A note where the answer's cell holds code that is not run."""
    kept = (ast.FunctionDef, ast.Import, ast.ImportFrom, ast.Pass)
    used = [helper.statement for helper in helpers if helper.cell is own]
    rest = (node for number, node in enumerate(own.tree.body) if number not in used)
    if any(not isinstance(node, kept) and not _is_text(node) for node in rest):
        yield "code outside of functions ignored"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)

"""What the names in an answer mean: what the notebook, run from the top, has set before its check.

Of a name that is set more than once the last counts, as it does in the notebook. Some statements
set names in ways that are not followed here (a loop, a `with`, `global` in a function): these are
known by their place only.
"""

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from shrink.classroom.book.syntax import checked

_DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda

How = Literal["import", "function", "value", "otherwise"]
Trees = Sequence[ast.Module | None]


@dataclass(frozen=True)
class Place:
    """Where a name is set at top level: the numbers of the cell and of its statement, from 0."""

    cell: int
    statement: int
    how: How


def reach(trees: Trees, own: int, exercise: str) -> int:
    """The last cell that has run when an exercise is checked, of those with the answer in `own`.

    That is the last one that checks it. Where the answer stands below, the check is made again
    after all cells; where there is none, after the answer's cell.
    """
    checks = [number for number, tree in enumerate(trees) if tree and exercise in checked(tree)]
    if not checks:
        return own
    return checks[-1] if checks[-1] >= own else len(trees) - 1


def places(trees: Trees) -> dict[str, Place]:
    """Where each name is set last."""
    return {
        name: Place(number, at, how)
        for number, tree in enumerate(trees)
        for at, node in enumerate(tree.body if tree else ())
        for name, how in _sets(node)
    }


def changed(trees: Trees, name: str, place: Place) -> bool:
    """Whether what a name holds is changed in place by a later statement: `seen[0] = 1`."""
    for number, tree in enumerate(trees):
        for at, node in enumerate(tree.body if tree else ()):
            if (number, at) > (place.cell, place.statement) and name in _changes(node):
                return True
    return False


def outdated(trees: Trees, found: dict[str, Place], place: Place) -> bool:
    """Whether a value is made of what a name held before: `x = x + 1`, `y = x` where x changes."""
    nodes = list(_outside_functions(trees[place.cell].body[place.statement]))
    own = {name.id for name in _of_comprehensions(nodes)}
    read = {n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)} - own
    others = [found[n] for n in read & found.keys() if found[n].how != "import"]
    return any((o.cell, o.statement) >= (place.cell, place.statement) for o in others)


def _sets(node: ast.stmt) -> Iterator[tuple[str, How]]:
    """The names that a top-level statement sets, and those that its functions may set."""
    yield from ((name, "otherwise") for name in _set_by_functions(node))
    match node:
        case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
            yield from ((a.asname or a.name.partition(".")[0], "import") for a in aliases)
        case ast.FunctionDef(name=name):
            yield name, "function"
        case ast.Assign(targets=targets):
            yield from _sets_to_values(node, targets)
        case ast.AnnAssign(target=target):
            yield from _sets_to_values(node, [target])
        case _:
            yield from ((name, "otherwise") for name in _stored(node))


def _sets_to_values(node: ast.stmt, targets: Sequence[ast.expr]) -> Iterator[tuple[str, How]]:
    """`a = 1` and `a, b = 1, 2`; not `a = (b := 1)`, nor what is set by its place in another."""
    plain = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
    stored = set(_stored(node))
    yield from ((name, "value" if stored == plain else "otherwise") for name in stored)


def _set_by_functions(node: ast.stmt) -> Iterator[str]:
    for child in ast.walk(node):
        if isinstance(child, ast.Global):
            yield from child.names


def _stored(node: ast.stmt) -> Iterator[str]:
    nodes = list(_outside_functions(node))
    inside = set(map(id, _of_comprehensions(nodes)))
    for child in nodes:
        match child:
            case ast.Name(id=name, ctx=ast.Store() | ast.Del()) if id(child) not in inside:
                yield name
            case ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.FunctionDef(name=name):
                yield name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)):
                yield name
            case ast.MatchStar(name=str(name)) | ast.MatchMapping(rest=str(name)):
                yield name
            case ast.alias(name=name, asname=asname):
                yield asname or name.partition(".")[0]


def _of_comprehensions(nodes: Sequence[ast.AST]) -> Iterator[ast.Name]:
    """The names that comprehensions set for themselves: i in `[i for i in x]`."""
    targets = (node.target for node in nodes if isinstance(node, ast.comprehension))
    yield from (n for target in targets for n in ast.walk(target) if isinstance(n, ast.Name))


def _changes(node: ast.stmt) -> set[str]:
    """The names whose values a statement changes in place, or may: `seen.append(1)`."""
    found = set()
    for child in _outside_functions(node):
        match child:
            case ast.Attribute(ctx=ast.Store() | ast.Del()):
                found.add(root(child))
            case ast.Subscript(ctx=ast.Store() | ast.Del()):
                found.add(root(child))
            case ast.Expr(ast.Call(func=ast.Attribute() as method)):
                found.add(root(method))
    return found


def root(node: ast.expr) -> str:
    """The name that a chain of attributes and indices begins with."""
    while isinstance(node, ast.Attribute | ast.Subscript):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""


def _outside_functions(node: ast.AST) -> Iterator[ast.AST]:
    nodes: list[ast.AST] = [node]
    for child in nodes:  # grows while it is walked
        yield child
        if not isinstance(child, _DEFINITIONS):
            nodes += ast.iter_child_nodes(child)

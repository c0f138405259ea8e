"""A code cell of a student's: the Python that IPython makes of it, and the answers that it holds.

Authors' cells are plain Python (`notebook.parse`). Students' cells may hold what IPython knows:
`torch.argsort?`, `files = !ls`, `%%time`. Whoever reads one of theirs asks here, so that all that
read it agree on what it says.
"""

import ast
import re
import warnings
from dataclasses import dataclass

from IPython.core.inputtransformer2 import TransformerManager

from shrink.classroom.book.syntax import answered_functions, is_answer

IPYTHON = "get_ipython"  # what magics and shell commands call, once IPython has read them
TOO_DEEP = "it is nested too deeply to be read"
TOO_MANY = "it holds too many commands of IPython's to be read"
TOO_LONG = "it is longer than 50,000 characters"  # of which a syntax tree takes 70 MB at most
BY_A_MAGIC = "a magic runs its text in a way of its own"
UNREAD = (TOO_DEEP, TOO_MANY, TOO_LONG, BY_A_MAGIC)
LONGEST = 50_000
_RUN_AS_CELLS = {"time", "capture", "prun"}  # magics of a cell after which its text runs as usual
_OTHER_LANGUAGES = re.compile(
    r"!|sx|system|cmd|(ba)?sh|script|perl|ruby|pypy|python[23]?|html|svg|latex|markdown|js"
    r"|javascript|(write)?file"
)
_COMMAND = re.compile(r"^\s*[%!?/,;]|\?\s*$|=\s*[%!]", re.MULTILINE)
_WORK = 200_000  # commands times characters: IPython reads the cell once more for each, in seconds
_OPTIONS = re.compile(r"\s*(-\S+\s*)*")
_ANSWERED = re.compile(r"^\s*(?:@|\w+\s*=)?\s*(\w+)\s*\.\s*answer\b", re.MULTILINE)


@dataclass(frozen=True)
class Code:
    """What runs of a cell: its Python, and the syntax tree; None, and why, where there is none.

    What is in `UNREAD` is not read here, though Python may run it.

    `elsewhere` is set where the cell's text is no part of the notebook's Python: `%%bash`.
    """

    python: str
    tree: ast.Module | None
    problem: str = ""
    elsewhere: bool = False

    def answers(self) -> list[str]:
        """The exercises that it answers, by its syntax, or by its text where there is none."""
        if self.tree is None:
            return [] if self.elsewhere else _ANSWERED.findall(self.python)
        return [name for name, _ in answered_functions(self.tree)]


def read_code(source: str) -> Code:
    """The cell as IPython runs it, with each `x.answer(f)` as a function below `@x.answer`."""
    code = _read(source)
    if code.tree is None:
        return code
    if any(map(_answer_call, code.tree.body)):
        try:
            body = [_as_function(node) for node in code.tree.body]
            python = ast.unparse(ast.fix_missing_locations(ast.Module(body, [])))
            return Code(python, ast.parse(python))
        except (RecursionError, MemoryError):
            return Code(code.python, None, TOO_DEEP)
    return code


def answers(source: str) -> list[str]:
    """The exercises that a cell answers, by its syntax, or by its text if it does not parse."""
    return read_code(source).answers()


def _read(source: str) -> Code:
    if len(source) > LONGEST:
        return Code(source, None, TOO_LONG)
    try:
        return Code(source, _parse(source))
    except (RecursionError, MemoryError):
        return Code(source, None, TOO_DEEP)
    except (SyntaxError, ValueError):
        pass  # IPython may know better
    if len(_COMMAND.findall(source)) * len(source) > _WORK:
        return Code(source, None, TOO_MANY)
    try:
        python = TransformerManager().transform_cell(source)
        tree = _parse(python)
    except SyntaxError as second:
        at = f"line {second.lineno}: " if second.lineno else ""
        return Code(source, None, f"{at}{second.msg}")
    except (RecursionError, MemoryError):
        return Code(source, None, TOO_DEEP)
    except Exception as second:  # whatever IPython's reading of odd text raises
        return Code(source, None, str(second) or type(second).__name__)
    magic = _cell_magic(tree)
    if magic is None:
        return Code(python, tree)
    name, line, body = magic
    if _OTHER_LANGUAGES.fullmatch(name) or (name == "time" and not _OPTIONS.fullmatch(line)):
        return Code(source, None, f"%%{name} takes its text, which is not run as Python", True)
    return _read("\n" + body) if name in _RUN_AS_CELLS else Code(source, None, BY_A_MAGIC)


def _parse(source: str) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an invalid escape in a student's string
        return ast.parse(source)


def _cell_magic(tree: ast.Module) -> tuple[str, str, str] | None:
    """The name, the line and the text of a cell's magic, of what IPython makes of one."""
    match tree.body:
        case [
            ast.Expr(
                ast.Call(
                    func=ast.Attribute(value=ast.Call(func=ast.Name(id=shell)), attr=method),
                    args=[
                        ast.Constant(value=name),
                        ast.Constant(value=line),
                        ast.Constant(value=body),
                    ],
                )
            )
        ] if (shell, method) == (IPYTHON, "run_cell_magic"):
            return name, line, body
    return None


def _answer_call(node: ast.stmt) -> ast.Call | None:
    """The call in a statement `x.answer(f)` or `x = x.answer(f)`."""
    match node:
        case (
            ast.Expr(ast.Call(args=[_], keywords=[]) as call)
            | ast.Assign(targets=[ast.Name()], value=ast.Call(args=[_], keywords=[]) as call)
        ) if is_answer(call.func) and isinstance(call.func.value, ast.Name):
            return call
    return None


def _as_function(node: ast.stmt) -> ast.stmt:
    """`x.answer(f)` as a function below `@x.answer` that calls f; other statements as they are."""
    if (call := _answer_call(node)) is None:
        return node
    name = call.func.value.id
    (function,) = ast.parse(f"@{name}.answer\ndef {name}(*_a, **_k): return f(*_a, **_k)").body
    function.body[0].value.func = call.args[0]
    return function

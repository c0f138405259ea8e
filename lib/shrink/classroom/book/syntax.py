"""What a cell says of exercises, by its syntax: which it answers and how, and which it checks."""

import ast
import importlib.util
import sys

from shrink.classroom.exercises.stub import STUB_MESSAGE


def answered_functions(tree: ast.Module) -> list[tuple[str, ast.FunctionDef]]:
    """The top-level functions under `@<exercise>.answer`, with the exercise's name.

    It must be the outermost decorator: others would take the exercise's place.
    """
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    decorated = [(f.decorator_list[0], f) for f in functions if f.decorator_list]
    named = [(d, f) for d, f in decorated if is_answer(d) and isinstance(d.value, ast.Name)]
    return [(decorator.value.id, function) for decorator, function in named]


def answered_otherwise(tree: ast.Module) -> set[str]:
    """The exercises whose `answer` is used otherwise: in a loop, above a class, as an alias."""
    plain = [f.decorator_list[0] for _, f in answered_functions(tree)]
    others = (n for n in ast.walk(tree) if is_answer(n) and all(n is not d for d in plain))
    return {n.value.id if isinstance(n.value, ast.Name) else n.value.attr for n in others}


def checked(tree: ast.Module) -> set[str]:
    """The exercises whose check the code calls, with a seed or without."""
    return {
        node.func.value.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "check"
        and isinstance(node.func.value, ast.Name)
    }


def check_of(tree: ast.Module | None) -> str | None:
    """The exercise that the code checks, where it is `exercise.check()` and nothing else."""
    match tree:
        case ast.Module(
            body=[
                ast.Expr(
                    ast.Call(
                        func=ast.Attribute(value=ast.Name(id=name), attr="check"),
                        args=[],
                        keywords=[],
                    )
                )
            ]
        ):
            return name
    return None


def runs_other_code(tree: ast.Module) -> str | None:
    """What a cell runs that is no code of the notebook's, a file or a text; None if nothing."""
    files = []
    for node in ast.walk(tree):
        match node:
            case ast.Name(id="exec" | "eval" as name):
                return name
            case ast.Call(func=ast.Name(id="getattr"), args=[_, ast.Constant(value="answer"), *_]):
                return "getattr"
            case ast.Attribute(attr="run_cell" | "ex" as name):
                return name
            case ast.Call(
                func=ast.Attribute(attr="run_line_magic"),
                args=[ast.Constant(value="run" | "load" | "rerun" | "macro" as name), *_],
            ):
                return f"%{name}"
            case ast.ImportFrom(module=str(name), level=0):
                files.append(name)
            case ast.Import(names=aliases):
                files += [alias.name for alias in aliases]
    return next((f"{name}.py" for name in files if _is_a_file(name)), None)


def _is_a_file(module: str) -> bool:
    """Whether a module is none that is installed: a file beside the notebook."""
    top = module.partition(".")[0]
    try:
        return top not in sys.stdlib_module_names and importlib.util.find_spec(top) is None
    except (ImportError, ValueError):
        return True


def is_stub(function: ast.FunctionDef) -> bool:
    """Whether an answer is as it was handed out: a docstring at most, and the line that raises."""
    match function.body[ast.get_docstring(function) is not None :]:
        case [
            ast.Raise(
                exc=ast.Call(
                    func=ast.Name(id="NotImplementedError"),
                    args=[ast.Constant(value=text)],
                    keywords=[],
                ),
                cause=None,
            )
        ]:
            return text == STUB_MESSAGE
    return False


def is_answer(node: ast.AST) -> bool:
    """Whether it is `<exercise>.answer`, of an exercise by its name or out of a module."""
    return (
        isinstance(node, ast.Attribute)
        and node.attr == "answer"
        and isinstance(node.value, ast.Name | ast.Attribute)
    )

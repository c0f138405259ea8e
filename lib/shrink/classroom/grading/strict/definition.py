"""How the text of an answer's function becomes what is run of it."""

import ast
import copy

INSTANCE = "the instance"  # no name: an answer's text cannot use it


def bare(function: ast.FunctionDef) -> ast.FunctionDef:
    """A copy of the function without annotations and without `@<exercise>.answer`.

    What gives a value a name has no decorators, and may be given too.
    """
    function = copy.deepcopy(function)
    for node in ast.walk(function):
        if isinstance(node, ast.arg):
            node.annotation = None
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            node.returns = None
        elif isinstance(node, ast.AnnAssign):
            node.annotation = ast.copy_location(ast.Constant(None), node.annotation)
    if isinstance(function, ast.FunctionDef):
        function.decorator_list = [d for d in function.decorator_list if not _is_answer(d)]
    return function


def guarded(function: ast.FunctionDef) -> ast.FunctionDef:
    """The function, in which `a.b = c` is `INSTANCE(a).b = c`, wherever Python stores.

    What is behind that name refuses classes and modules, which are everybody's.
    """
    return ast.fix_missing_locations(_Guarded().visit(function))


class _Guarded(ast.NodeTransformer):
    def visit_Attribute(self, node: ast.Attribute) -> ast.Attribute:
        self.generic_visit(node)
        if not isinstance(node.ctx, ast.Load):
            name = ast.copy_location(ast.Name(INSTANCE, ast.Load()), node.value)
            node.value = ast.copy_location(ast.Call(name, [node.value], []), node.value)
        return node


def _is_answer(decorator: ast.expr) -> bool:
    return (
        isinstance(decorator, ast.Attribute)
        and decorator.attr == "answer"
        and isinstance(decorator.value, ast.Name)
    )

"""That an answer has passed its check, as the check's output in the notebook notes it.

A person sees the panel; the start page finds the note, and with it the text of the answer that
passed: where the answer was changed since, it has not.
"""

import ast
import hashlib
import inspect
import textwrap
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

_KEY = "shrink"


def note(exercise: str, answer: Callable) -> dict[str, Any]:
    """The metadata of an output that says so; {} where Python does not know the answer's text."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(answer)))
    except (OSError, TypeError, SyntaxError):
        return {}
    match tree.body:
        case [ast.FunctionDef() as function]:
            return {_KEY: {"passed": exercise, "answer": digest(function)}}
    return {}


def noted(metadata: Mapping[str, Any]) -> tuple[str, str] | None:
    """The exercise that an output's metadata say has passed, and the answer's digest; or None."""
    match metadata.get(_KEY):
        case {"passed": str(exercise), "answer": str(answer)}:
            return exercise, answer
    return None


def digest(answer: ast.FunctionDef) -> str:
    """What is the same for the same code, whatever its layout and decorators.

    >>> one, two = (ast.parse(f"def f(x):{gap}return x").body[0] for gap in (" ", "\\n  # so\\n  "))
    >>> digest(one) == digest(two)
    True
    """
    bare = copy(answer)
    bare.decorator_list = []
    return hashlib.sha256(ast.dump(bare).encode()).hexdigest()[:16]

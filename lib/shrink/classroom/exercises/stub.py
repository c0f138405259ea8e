"""An answer as it is handed out: a line that raises, below a docstring or without one."""

from collections.abc import Callable
from types import CodeType
from typing import Any

STUB_MESSAGE = "your turn"


def _stub_code(docstring: str) -> CodeType:
    names: dict[str, Any] = {}
    exec(f"def stub(): {docstring}raise NotImplementedError({STUB_MESSAGE!r})", names)
    return names["stub"].__code__


_STUBS = (_stub_code(""), _stub_code("'doc'; "))


def is_stub(function: Callable) -> bool:
    """Whether the function is the unchanged stub: nothing but its docstring and the raise.

    The exception's type says nothing, since an answer may raise NotImplementedError through torch.
    """

    code = getattr(function, "__code__", None)
    return code is not None and any(
        (code.co_code, code.co_names) == (stub.co_code, stub.co_names)
        and STUB_MESSAGE in code.co_consts
        for stub in _STUBS
    )

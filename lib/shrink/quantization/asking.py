"""Whether a module asks, each time that it runs, what kind of layers it has.

A layer that stands in for another is of another kind, so such a module would no longer call it.
"""

from collections.abc import Iterator
from types import CodeType, FunctionType

from torch import nn

ASKING = {"isinstance", "issubclass", "type", "__class__"}


def asks_for_kinds(module: nn.Module, kinds: tuple[type[nn.Module], ...]) -> bool:
    """Whether its forward, or a function that this uses, asks for one of the kinds.

    That is read off the names in their code: a module that only looks as if it asked does, too.
    Modules of torch do not ask.

    >>> class Picky(nn.Sequential):
    ...     def forward(self, x):
    ...         return [part(x) for part in self if isinstance(part, nn.Linear)]
    >>> asks_for_kinds(Picky(), (nn.Linear,)), asks_for_kinds(nn.Sequential(), (nn.Linear,))
    (True, False)
    """
    places = (vars(module), *map(vars, type(module).__mro__))
    forward = next(place["forward"] for place in places if "forward" in place)
    forward = getattr(forward, "__func__", forward)  # of one that was bound
    if not isinstance(forward, FunctionType):
        return False
    names: set[str] = set()
    values: list[object] = []
    for function in _used_by(forward, type(module)):
        for code in _nested(function.__code__):
            names.update(code.co_names, (c for c in code.co_consts if isinstance(c, str)))
            values += [function.__globals__.get(name) for name in code.co_names]
    named = any(kind.__name__ in names for kind in kinds)
    held = any(kind in (v if isinstance(v, tuple) else (v,)) for v in values for kind in kinds)
    return bool(names & ASKING) and (named or held)


def _used_by(function: FunctionType, owner: type) -> Iterator[FunctionType]:
    """The function, and each method of the owner and function of its file that it names, and so on.

    Code of torch is left out.
    """
    found, waiting = set(), [function]
    while waiting:
        function = waiting.pop()
        if function in found or (function.__module__ or "").split(".")[0] == "torch":
            continue
        found.add(function)
        yield function
        for name in {name for code in _nested(function.__code__) for name in code.co_names}:
            for value in (getattr(owner, name, None), function.__globals__.get(name)):
                if isinstance(value, FunctionType):
                    waiting.append(value)


def _nested(code: CodeType) -> Iterator[CodeType]:
    """The code, and that of the comprehensions and functions within it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)

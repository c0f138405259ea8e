"""A student's function as a check calls it: what went in, what came out, what is wrong with it."""

import copy
import inspect
import math
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from types import FunctionType
from typing import Any

import numpy as np
import torch
from torch.optim import Optimizer

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_LONGEST_DICT = 250  # letters of its entries that are shown
ABSENT: Any = object()  # None is something that an answer may give


class Wrong(Exception):
    """Raised inside a check: what is wrong with the answer, in words that help to mend it."""

    def __init__(
        self,
        hint: str,
        *,
        expected: Any = ABSENT,
        given: Any = ABSENT,
        known_mistakes: bool = True,
    ) -> None:
        super().__init__(hint)
        self.hint, self.expected, self.given = hint, expected, given
        self.known_mistakes = known_mistakes  # whether theirs may add a hint
        self.in_parts: Callable[[], list[str]] = list  # lines on which part is right, if none does


@dataclass(frozen=True)
class Mistake:
    """A known wrong answer: a check that fails on the same result gives its hint."""

    name: str
    function: Callable
    hint: str

    def __call__(self, *args: Any) -> Any:
        return self.function(*args)


def known(hint: str, name: str | None = None) -> Callable[[Callable], Mistake]:
    """Decorate a wrong answer with its hint: a `Mistake`, called as the function is.

    >>> @known("+ is not *")
    ... def adds_up(a, b):
    ...     return a + b
    >>> adds_up.name, adds_up(2, 3)
    ('adds up', 5)
    """
    return lambda function: Mistake(
        name or function.__name__.strip("_").replace("_", " "), function, hint
    )


class Attempt:
    """The student's function as a check calls it: inputs are remembered, and must not change."""

    def __init__(self, name: str, function: Callable) -> None:
        self._name, self._function = name, function
        self._calls: list[_Call] = []
        self._args: tuple = ()  # of the last call, as its result
        self.result: Any = ABSENT

    def __call__(self, *args: Any, alike: Callable[[Any], Any] | None = None) -> Any:
        """What the function returns.

        Where a check takes a list for a tuple, say, `alike` turns either into the same, so that a
        known mistake is recognised in both.
        """
        call, result = self._record(args, lambda result, *_: alike(result) if alike else result)
        if not _same(args, call.args) or _gradients_marks(args) != _gradients_marks(call.args):
            what = _changed_in_models(call.args, args)
            raise Wrong(
                f"your function changed its input{what}; work on a copy, or on a new tensor",
                known_mistakes=False,
            )
        return result

    def ask(self, args: tuple) -> Any:
        """What the function returns, or the exception that it raises; nothing is remembered."""
        return _run(self._function, args)

    def in_place(self, *args: Any, watch: Callable[..., Any]) -> Any:
        """Call a function that is to change its arguments: a copy of what `watch(*args)` is then.

        What the function returns is ignored; what else it changed is for the check to see.
        """
        call, _ = self._record(args, lambda _, *args: copy.deepcopy(watch(*args)))
        return call.seen

    def _record(self, args: tuple, see: Callable[..., Any]) -> tuple["_Call", Any]:
        self._args = before = _copied(args)
        result = _run(self._function, args)
        raised = isinstance(result, BaseException)
        self.result = ABSENT if raised else result
        call = _Call(before, see, result if raised else see(result, *args))
        self._calls.append(call)
        if raised:
            raise Wrong(f"your code raised {_where(result, self._function)}")
        return call, result

    def __str__(self) -> str:
        shown = (show(repr(arg) if isinstance(arg, str) else arg) for arg in self._args)
        return f"{self._name}({', '.join(shown)})"

    def looks_like(self, mistake: Mistake) -> bool:
        """Whether the mistake gives what the student's function gave on every input so far."""
        return bool(self._calls) and all(
            _same_outcome(call.seen, call.repeated_by(mistake.function))
            for call in reversed(self._calls)
        )


@dataclass(frozen=True)
class _Call:
    """A call: its arguments as they were, how a check sees what came of it, and what it saw."""

    args: tuple
    see: Callable[..., Any]
    seen: Any

    def repeated_by(self, function: Callable) -> Any:
        args = _copied(self.args)
        result = _run(function, args)
        return result if isinstance(result, BaseException) else self.see(result, *args)


def show(value: Any) -> str:
    """A value as a student reads it: small tensors whole, large ones by dtype and shape.

    >>> show(torch.tensor([0.5, 2.0])), show({"fc1": torch.zeros(300, 784)})
    ('tensor([0.5000, 2.0000])', '{fc1: float32 tensor of shape (300, 784)}')

    An optimizer by what sets it apart, a function by its name:

    >>> show(torch.optim.SGD([torch.zeros(1)], lr=0.1, momentum=0.9)), show(show)
    ('SGD(lr=0.1, momentum=0.9)', 'show')

    And what raises when it is shown by its type:

    >>> show(10**5000)
    'int, which cannot be shown'
    """
    try:
        return _shown(value)
    except Exception:
        return f"{type(value).__name__}, which cannot be shown"


def printable(text: str) -> str:
    """The text without what steers a terminal or has no place in a file: ? in its place.

    >>> printable("red: \\x1b[31m, half a pair: \\ud800")
    'red: ?[31m, half a pair: ?'
    """
    return "".join(c if c.isprintable() or c == "\n" else "?" for c in text.replace("\t", " "))


def _shown(value: Any) -> str:
    if isinstance(value, torch.Tensor | np.ndarray):
        kind = "tensor" if isinstance(value, torch.Tensor) else "array"
        if math.prod(value.shape) > 24:
            dtype = str(value.dtype).removeprefix("torch.")
            return f"{dtype} {kind} of shape {tuple(value.shape)}"
        return " ".join(repr(value.detach() if kind == "tensor" else value).split())
    if isinstance(value, dict):
        return "{" + ", ".join(_entries(value)) + "}"
    if isinstance(value, Optimizer):
        usual = inspect.signature(type(value)).parameters
        options = {k: v for k, v in value.defaults.items() if k in usual}
        told = [f"{k}={v}" for k, v in options.items() if k == "lr" or v != usual[k].default]
        return f"{type(value).__name__}({', '.join(told)})"
    if isinstance(value, FunctionType):
        return value.__name__
    text = value if isinstance(value, str) else " ".join(repr(value).split())
    return text if len(text) <= 200 else text[:197] + "..."


def _entries(value: dict) -> list[str]:
    """The first entry, more while a line has room for them, and how many are left."""
    entries = [f"{key}: {_shown(item)}" for key, item in value.items()]
    ends = accumulate(map(len, entries))
    first = [entry for entry, end in zip(entries, ends, strict=True) if end <= _LONGEST_DICT]
    first = first or entries[:1]
    left = len(entries) - len(first)
    return [*first, f"and {left} more"] if left else first


def place_of(shape: Sequence[int], device: torch.device) -> str:
    """The shape and the device of a tensor in words, as a check expects them or is given them.

    >>> place_of(torch.zeros(4, 2).shape, torch.device("cpu"))
    'a tensor of shape (4, 2) on the device cpu'
    """
    return f"a tensor of shape {tuple(shape)} on the device {device}"


def kind_of(tensor: torch.Tensor) -> str:
    """The type of a tensor's numbers, and how they are stored where that is unusual.

    >>> kind_of(torch.zeros(4)), kind_of(torch.eye(2).to_sparse())
    ('torch.float32', 'torch.float32, torch.sparse_coo')
    """
    strided = tensor.layout == torch.strided
    return str(tensor.dtype) if strided else f"{tensor.dtype}, {tensor.layout}"


def _copied(args: tuple) -> tuple:
    """Copies, bound to each other as the originals are: an optimizer to its parameters.

    They have the gradients too, which a Parameter's own copy drops.
    """
    copies = copy.deepcopy(args)
    for tensor, twin in zip(_tensors(args), _tensors(copies), strict=True):
        if tensor.is_leaf and tensor.grad is not None:
            twin.grad = tensor.grad.clone()
    return copies


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, Optimizer):
        yield from _tensors(value.param_groups)
    elif isinstance(value, dict):
        yield from _tensors(list(value.values()))
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _run(function: Callable, args: tuple) -> Any:
    """What the function returns, or the exception that it raises."""
    try:
        return function(*args)
    except KeyboardInterrupt:  # somebody stops the cell
        raise
    except BaseException as error:  # SystemExit, and what else is no Exception
        return error


def _same_outcome(a: Any, b: Any) -> bool:
    if isinstance(a, BaseException) or isinstance(b, BaseException):
        return type(a) is type(b) and str(a) == str(b)
    return _same(a, b)


def _same(a: Any, b: Any) -> bool:
    """Whether nested tensors, arrays and numbers are equal in type and value, NaN equal to NaN."""
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        alike = ("dtype", "shape", "device", "layout")
        if any(getattr(a, name) != getattr(b, name) for name in alike):
            return False
        return bool(torch.all((a == b) | ((a != a) & (b != b))))
    if isinstance(a, np.ndarray):
        nan = a.dtype.kind in "fc"
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=nan)
    if isinstance(a, torch.nn.Module):
        return _same(_inside(a), _inside(b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(_same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_same, a, b))
    return a == b or (a != a and b != b)


def _changed_in_models(before: tuple, after: tuple) -> str:
    """What has changed in the models among the arguments, in brackets; "" where nothing has."""
    told = []
    for old, new in zip(before, after, strict=True):
        if isinstance(old, torch.nn.Module):
            tensors = new.state_dict()
            told += [n for n, t in old.state_dict().items() if not _same(t, tensors.get(n))]
            told += ["its mode"] if _modes(old) != _modes(new) else []
    left = len(told) - 3
    return f" ({', '.join(told[:3])}{f' and {left} more' if left > 0 else ''})" if told else ""


def _modes(model: torch.nn.Module) -> list[bool]:
    return [layer.training for layer in model.modules()]


def _gradients_marks(args: tuple) -> list[tuple[bool, bool]]:
    """Of each tensor, whether it takes a gradient, and whether a hook changes that."""
    return [(t.requires_grad, bool(t._backward_hooks)) for t in _tensors(args)]


def _inside(model: torch.nn.Module) -> tuple:
    """What a function could change of a model: its layers, their mode, hooks and tensors."""
    layers = [
        (name, repr(layer), layer.training, [len(getattr(layer, kind)) for kind in _HOOKS])
        for name, layer in model.named_modules()
    ]
    named = (model.named_parameters, model.named_buffers)
    tensors = {name: t for each in named for name, t in each(remove_duplicate=False)}
    return layers, tensors, _gradients_marks(tuple(tensors.values()))


def in_words(error: BaseException) -> str:
    """The exception as Python's last line has it."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # what it holds may raise when it is shown
        return f"{type(error).__name__}, which cannot be shown"


def _where(error: BaseException, function: Callable) -> str:
    """The exception, and the last line of the student's own file that it passed through."""
    text = in_words(error)
    own = getattr(getattr(function, "__code__", None), "co_filename", None)
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == own]
    return f"{text}\n  at line {frames[-1].lineno}: {frames[-1].line}" if frames else text

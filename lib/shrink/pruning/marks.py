"""A forward call with marks: each entry of each activation carries the number of its unit."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from shrink.plain import described

FIXED = 0  # the unit of all that must stay: inputs, outputs, and what is tied to either


class Units:
    """Numbers of units, of which some turn out to be one.

    >>> units = Units()
    >>> a, b = units.new(2), units.new(2)
    >>> units.tie(a, b)
    >>> units.same(b)
    tensor([1, 2])
    """

    def __init__(self) -> None:
        self._first = torch.zeros(1, dtype=torch.int64)  # of each unit, the first it is one with

    def new(self, n: int) -> Tensor:
        numbers = torch.arange(len(self._first), len(self._first) + n)
        self._first = torch.cat([self._first, numbers])
        return numbers

    def same(self, marks: Tensor) -> Tensor:
        """The marks, with one number for all units that are one."""
        return self._first[marks]

    def tie(self, a: Tensor, b: Tensor) -> None:
        """From now on these are one, entry by entry; shapes broadcast."""
        a, b = torch.broadcast_tensors(self.same(a), self.same(b))
        pairs = (a * len(self._first) + b)[a != b].unique()  # as one number each: many are the same
        for pair in zip(pairs // len(self._first), pairs % len(self._first), strict=True):
            first, other = self._first[torch.stack(pair)].aminmax()
            self._first[self._first == other] = first

    def fix(self, marks: Tensor) -> None:
        """These stay."""
        self.tie(marks, torch.tensor(FIXED))

    def along(self, marks: Tensor, axis: int) -> Tensor:
        """One mark for each index of the axis, int64 (size,); all that share an index are tied."""
        rows = marks.movedim(axis, 0).flatten(1)
        self.tie(rows, rows[:, :1])
        return self.same(rows[:, 0])


@dataclass
class Axis:
    """The units along one axis of a parameter or buffer, and what it does with them."""

    marks: Tensor
    role: str


class Marking(TorchFunctionMode):
    """Inside, functions of torch that are given a marked tensor pass the marks on by their rules.

    Raises `ValueError` for a function without a rule, named with the layer that called it.
    """

    def __init__(self, model: nn.Module, rules: Mapping[str, object]) -> None:
        super().__init__()
        self.units = Units()
        self.axes: dict[tuple[str, int], Axis] = {}
        self._rules = rules
        self._model = model
        named = [*model.named_parameters(), *model.named_buffers()]
        self._names = {id(tensor): name for name, tensor in named}
        self._marked: dict[int, tuple[Tensor, Tensor]] = {}  # with the tensor, so that its id lives
        self._running: list[str] = []

    def mark(self, tensor: Tensor, marks: Tensor) -> None:
        """The activation's marks, int64 of its shape."""
        if marks.shape != tensor.shape:
            self.refuse(f"gives {tuple(tensor.shape)}, and its rule {tuple(marks.shape)}")
        self._marked[id(tensor)] = (tensor, marks)

    def marks(self, tensor: object) -> Tensor | None:
        """The marks of an activation, int64 of its shape; None for anything else."""
        found = self._marked.get(id(tensor))
        return None if found is None else found[1]

    def name(self, tensor: object) -> str | None:
        """The name of a parameter or buffer of the model; None for anything else."""
        return self._names.get(id(tensor))

    def see(self, tensor: Tensor | None, axis: int, role: str, marks: Tensor) -> None:
        """Along this axis a parameter or buffer has these units; tied to those seen before."""
        if tensor is None:
            return
        key = (self._registered(tensor), axis)
        if key in self.axes:
            self.units.tie(self.axes[key].marks, marks)
        else:
            self.axes[key] = Axis(marks, role)

    def made(self, tensor: Tensor, axis: int = 0) -> Tensor:
        """The units that a weight makes along this axis: the same at each of its calls."""
        key = (self._registered(tensor), axis)
        if key not in self.axes:
            self.axes[key] = Axis(self.units.new(tensor.shape[axis]), "makes")
        return self.axes[key].marks

    def _registered(self, tensor: Tensor) -> str:
        if (name := self.name(tensor)) is None:
            self.refuse("computes with a weight that is no parameter of the model")
        return name

    def refuse(self, what: str, cause: Exception | None = None) -> None:
        name = self._running[-1] if self._running else ""
        layer = described(name, self._model.get_submodule(name))
        raise ValueError(f"{layer}, {what}: its units cannot be followed") from cause

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Inside, it is known which of the model's modules is running."""
        with ExitStack() as stack:
            for name, module in self._model.named_modules():
                enter = module.register_forward_pre_hook(
                    lambda *_, name=name: self._running.append(name), prepend=True
                )
                leave = module.register_forward_hook(lambda *_: self._leave())
                stack.callback(enter.remove)
                stack.callback(leave.remove)
            yield

    def _leave(self) -> None:
        self._running.pop()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        if not any(self.marks(given) is not None for given in flat([args, kwargs])):
            return result
        name = plain_name(function)
        if name not in self._rules:
            self.refuse(f"calls {name}, for which there is no rule")
        try:
            self._rules[name](self, function, result, args, kwargs)
        except (RuntimeError, TypeError, IndexError, AttributeError) as error:
            self.refuse(f"calls {name} in a way that is not in its rule ({error})", error)
        return result


def plain_name(function: object) -> str:
    """A function's name, the same for all its forms.

    >>> plain_name(torch.Tensor.relu_), plain_name(torch.Tensor.__iadd__), plain_name(torch.add)
    ('relu', 'add', 'add')
    """
    name = function.__name__
    if name == "__get__":  # a property of tensors
        return function.__self__.__name__
    if name.startswith("__") and name.endswith("__"):
        name = name.strip("_")
        return DUNDER.get(name, name)
    return name.removesuffix("_")


# Operators that are not called as their function, after "__".
DUNDER = {
    form + name: name
    for form in ("i", "r", "")
    for name in ("add", "sub", "mul", "div", "pow", "matmul")
}
DUNDER |= {"truediv": "div", "itruediv": "div", "rtruediv": "div", "invert": "bitwise_not"}


def flat(given: object) -> Iterator[object]:
    """All that stands in lists, tuples and mappings, one after the other."""
    if isinstance(given, Mapping):
        given = list(given.values())
    if isinstance(given, list | tuple):
        for part in given:
            yield from flat(part)
    else:
        yield given

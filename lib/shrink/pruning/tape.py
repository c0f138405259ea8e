"""A forward call on tape: each function that computes with parameters, and its way back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from shrink.pruning.marks import flat, plain_name

Way = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # g and h behind a function → before it


class NoRule(ValueError):
    """A model calls what second derivatives cannot be carried back through."""


@dataclass
class Step:
    """One function: for each activation it read the step that made it, and the way back to it."""

    ways: list[tuple[int, Way]]
    learn: Callable[[Tensor], None] | None  # of h behind it, for its parameters


class Tape(TorchFunctionMode):
    """Inside, each function that computes with a parameter or an activation is noted as a step.

    An activation is what was computed with a parameter; of the images alone anything may be
    computed. The rule of a function is called with the tape, the function, its result and its
    arguments, and calls `note`. Raises `NoRule` for a function without a rule.
    """

    def __init__(self, parameters: Mapping[str, Tensor], rules: Mapping[str, Callable]) -> None:
        super().__init__()
        self.totals = {name: torch.zeros_like(p) for name, p in parameters.items()}
        self.steps: list[Step] = []
        self.once = True  # no parameter learns at several places of an image, or in several layers
        self._rules = rules
        self._names = {id(p): name for name, p in parameters.items()}
        # An activation by its identity: itself, so that it lives, its version and its step.
        self._made: dict[int, tuple[Tensor, int, int]] = {}
        self._read: dict[int, int] = {}  # the activations that the running function was given
        self._given: list[str] = []  # and the parameters
        self._used: set[str] = set()
        self._last = ""  # the parameter that was used last, which says where we are

    def step_of(self, x: object) -> int | None:
        """The step that made this activation; None for anything else."""
        if id(x) not in self._made:
            return None
        _, version, step = self._made[id(x)]
        if x._version != version:
            self.refuse("reads an activation after it was changed in place")
        return step

    def is_activation(self, x: object) -> bool:
        """Whether the running function was given an activation there."""
        return id(x) in self._read

    def parameter(self, x: object) -> str | None:
        """The name of a parameter; None for anything else."""
        return self._names.get(id(x))

    def note(
        self,
        result: Tensor,
        ways: list[tuple[Tensor, Way]],
        learn: Callable[[Tensor], None] | None = None,
        once: bool = True,
    ) -> None:
        """The running function has this result, these ways back, and this to say of parameters.

        `once` says that it multiplies by them once for each image.
        """
        if learn:
            self.once &= once and self._used.isdisjoint(self._given)
            self._used |= {*self._given}
        found = [(self._read[id(x)], way) for x, way in ways if self.is_activation(x)]
        self._made[id(result)] = (result, result._version, len(self.steps))
        self.steps.append(Step(found, learn))

    def add(self, parameter: Tensor | None, h: Tensor) -> None:
        """Second derivatives by a parameter, summed over the images; nothing else learns."""
        if name := self.parameter(parameter):
            self.totals[name] += h

    def refuse(self, what: str, cause: Exception | None = None) -> None:
        where = f"behind {self._last} the model" if self._last else "the model"
        raise NoRule(f"{where} {what}: no rule carries second derivatives back") from cause

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = [*flat([args, kwargs])]
        steps = {id(x): self.step_of(x) for x in given}  # before it runs: it may work in place
        self._read = {x: step for x, step in steps.items() if step is not None}
        result = function(*args, **kwargs)
        self._given = [name for x in given if (name := self.parameter(x))]
        if self._read or self._given:
            self._apply(function, result, args, kwargs)
            self._last = self._given[0] if self._given else self._last
        return result

    def _apply(self, function, result, args, kwargs) -> None:
        name = plain_name(function)
        if name not in self._rules:
            self.refuse(f"calls {' with '.join([name, *self._given[:1]])}")
        try:
            self._rules[name](self, function, result, args, kwargs)
        except (RuntimeError, TypeError, IndexError, AttributeError) as error:
            self.refuse(f"calls {name} in a way that is not in its rule ({error})", error)


def back_through(function: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[Tensor], Tensor]:
    """The transposed Jacobian of the function at x: from what is behind it to what is before."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = function(x)
    return lambda behind: torch.autograd.grad(y, x, behind, retain_graph=True)[0]

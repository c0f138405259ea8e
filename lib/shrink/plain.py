"""Whether a layer does what its class says, and nothing else has a hand in it.

`nn.Linear` multiplies by its weight and adds its bias, unless a subclass has another forward, a
hook changes what comes out, or something computes the weight anew at each call. Whatever replaces
a layer, or says what it costs, asks here first.
"""

import copy
from collections.abc import Iterator
from inspect import isfunction

import torch
from torch import Tensor, nn
from torch.nn.modules import module as all_modules
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize
from torch.nn.utils.prune import BasePruningMethod
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode
from torch.utils.hooks import RemovableHandle

# What a subclass may define, and still compute the same and offer no more than its kind.
HARMLESS = {"__init__", "__repr__", "extra_repr", "reset_parameters"}
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
INGREDIENTS = ("_orig", "_g", "_v")  # how torch calls the parameters that it makes a weight of


def own_names(module: nn.Module, kind: type[nn.Module]) -> set[str]:
    """The methods and properties that a module has, by its class or set on itself, beyond its kind.

    A method that was put into a class of torch from outside is such a one, too.

    >>> class Scaled(nn.Linear):
    ...     def forward(self, x):
    ...         return super().forward(x) / 10
    >>> own_names(Scaled(3, 2), nn.Linear), own_names(nn.Linear(3, 2), nn.Linear)
    ({'forward'}, set())
    """
    classes = type(module).__mro__
    before = classes[: classes.index(kind)] if kind in classes else classes
    names = {name for c in before for name, value in vars(c).items() if _is_behaviour(value)}
    names |= {
        name for name, value in vars(module).items() if callable(value) and hasattr(kind, name)
    }
    return (names | _put_in(kind)) - HARMLESS


def _put_in(kind: type[nn.Module]) -> set[str]:
    if not kind.__module__.startswith("torch."):
        return set()
    functions = {name: value for name, value in vars(kind).items() if isfunction(value)}
    return {name for name, value in functions.items() if not value.__module__.startswith("torch.")}


def said(module: nn.Module, kind: type[nn.Module]) -> dict[str, object]:
    """What a module says of itself besides tensors, parts and hooks: its own and its classes'.

    Of classes it is what those below its kind add.

    >>> said(nn.Linear(3, 2), nn.Linear)
    {'in_features': 3, 'out_features': 2}
    """
    classes = type(module).__mro__
    below = reversed(classes[: classes.index(kind)])
    of_classes = {
        name: value
        for c in below
        for name, value in vars(c).items()
        if name[:2] != "__" and not _is_behaviour(value)
    }
    own = {name: value for name, value in vars(module).items() if name not in vars(nn.Module())}
    return of_classes | own


def _is_behaviour(value: object) -> bool:
    return callable(value) or hasattr(type(value), "__get__")  # a function, or a property


def computed(module: nn.Module) -> dict[str, str]:
    """The tensors that torch computes at each call, by name, and the call that ends this.

    >>> computed(nn.utils.parametrizations.weight_norm(nn.Linear(3, 2)))
    {'weight': "torch.nn.utils.parametrize.remove_parametrizations(layer, 'weight')"}
    """
    ends = {}
    if parametrize.is_parametrized(module):
        for name in module.parametrizations:
            ends[name] = f"parametrize.remove_parametrizations(layer, {name!r})"
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, BasePruningMethod):
            ends[hook._tensor_name] = f"prune.remove(layer, {hook._tensor_name!r})"
        elif isinstance(hook, WeightNorm):
            ends[hook.name] = f"remove_weight_norm(layer, {hook.name!r})"
        elif isinstance(hook, SpectralNorm):
            ends[hook.name] = f"remove_spectral_norm(layer, {hook.name!r})"
    return {name: f"torch.nn.utils.{end}" for name, end in ends.items()}


def refuse_computed(module: nn.Module, what: str) -> None:
    """Raise `ValueError` when torch computes a tensor of the module at each call.

    `what` names the module in the message, which says how to end this.
    """
    for name, end in computed(module).items():
        raise ValueError(f"the {name} of {what}, is computed at each call: run {end} first")


def refuse_unless_parameters(module: nn.Module, what: str) -> None:
    """Raise `ValueError` unless what the module has of weight and bias are parameters of its own.

    `what` names the module in the message, which says how to get there.
    """
    refuse_computed(module, what)
    for name in ("weight", "bias"):
        value = module._parameters.get(name)
        if is_lazy(value):
            raise ValueError(f"{what}, has no {name} yet: run the model once, on an input")
        if value is None and getattr(module, name, None) is None:
            continue
        if type(value) is not nn.Parameter:
            got = type(getattr(module, name)).__name__
            raise ValueError(f"the {name} of {what}, must be a parameter, not a {got} beside it")


def described(name: str, module: nn.Module) -> str:
    """The module's name and what it says of itself, in one line.

    >>> described("fc", nn.Linear(3, 2))
    'fc, Linear(in_features=3, out_features=2, bias=True)'
    """
    said = type(module).__name__ if module._modules else str(module)
    return f"{name}, {said}" if name else said


def is_hooked(module: nn.Module) -> bool:
    """Whether a hook may change what the module gets, what it gives, or its gradients."""
    return any(getattr(module, hooks) for hooks in HOOKS)


def refuse_hooks_of_all() -> None:
    """Raise `ValueError` when a hook is registered on every module that there is."""
    if any(getattr(all_modules, f"_global{hooks}") for hooks in HOOKS):
        raise ValueError(
            "a hook is registered on all modules by torch.nn.modules.module.register_module_…, "
            "and new layers would run it once more: remove it first"
        )


def refuse_unless_plain(module: nn.Module, kinds: tuple[type[nn.Module], ...], what: str) -> None:
    """Raise `ValueError` unless the module is of one of the kinds, and does what that does.

    `what` names the module in the message.
    """
    kind = next((kind for kind in kinds if kind in type(module).__mro__), None)
    if kind is None:
        raise ValueError(f"{what}, is none of {', '.join(kind.__name__ for kind in kinds)}")
    refuse_unless_parameters(module, what)
    if is_hooked(module):
        raise ValueError(f"{what}, has a hook, which would be lost: remove it first")
    if own := own_names(module, kind):
        names = ", ".join(sorted(own))
        raise ValueError(f"{what}, has its own {names}, and need not do what {kind.__name__} does")


def check_module(model: object) -> None:
    """Raise `TypeError` unless it is a module."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"the model must be an nn.Module, not a {type(model).__name__}")


def refuse_packed(model: nn.Module) -> None:
    """Raise `ValueError` when torch's own quantization packed weights of the model.

    They are no parameters then, and whoever counts those would find none.
    """
    for name, module in model.named_modules():
        held = () if isinstance(module, torch.jit.ScriptModule) else vars(module).values()
        if any(isinstance(value, torch.ScriptObject) for value in held):
            what = f"{name or 'the model'}, a {type(module).__name__}"
            raise ValueError(f"{what}, holds weights that torch packed: give the model of floats")


def copied(model: nn.Module) -> nn.Module:
    """A deep copy of the model.

    Raises `TypeError` for what is no module, and `ValueError` where torch makes no copy, with the
    layer whose weight is computed, if that is the reason.
    """
    check_module(model)
    try:
        return copy.deepcopy(model)
    except (RuntimeError, TypeError) as error:
        for name, module in model.named_modules():
            refuse_computed(module, described(name, module))
        raise ValueError(f"the model cannot be copied: {error}") from error


def parts_with_parameters(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Each module with parameters of its own, or computed of some, by name; each once.

    What computes them, where they are parametrized, is part of that module and not there itself.
    Raises as `check_module` and `refuse_packed`.
    """
    check_module(model)
    refuse_packed(model)
    inner = {part for m in model.modules() for part in _parametrizations(m)}
    for name, module in model.named_modules():
        own = next(module.parameters(recurse=False), None) is not None
        if module not in inner and (own or computed(module)):
            yield name, module


def _parametrizations(module: nn.Module) -> list[nn.Module]:
    return [*module.parametrizations.modules()] if parametrize.is_parametrized(module) else []


def used_parameters(model: nn.Module) -> Iterator[Tensor]:
    """The model's parameters as it uses them in `eval` mode, one after the other, each once.

    A weight that torch computes at each call (a parametrization, its pruning, weight and spectral
    norm) is computed, and stands for the parameters that it is made of.
    """
    seen: set[Tensor] = set()
    for _, module in parts_with_parameters(model):
        made = computed(module)
        ingredients = {name + end for name in made for end in INGREDIENTS}
        for name, p in module.named_parameters(recurse=False):
            if name not in ingredients and p not in seen:
                seen.add(p)
                yield p
        yield from (_compute(module, name) for name in made)


def _compute(module: nn.Module, name: str) -> Tensor:
    """The tensor of that name, of the parameters as they are now: a hook may have to run yet."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, BasePruningMethod) and hook._tensor_name == name:
            return hook.apply_mask(module)
        if isinstance(hook, WeightNorm) and hook.name == name:
            return hook.compute_weight(module)
        if isinstance(hook, SpectralNorm) and hook.name == name:
            return hook.compute_weight(module, do_power_iteration=False)
    return getattr(module, name)


class WeightsApart(TorchFunctionMode):
    """Inside, `ValueError` is raised when a layer's weight is computed with outside of that layer.

    Its type and shape may be asked for anywhere, and single numbers such as its norm.
    """

    def __init__(self) -> None:
        super().__init__()
        self.owners: dict[int, set[str]] = {}  # by the weight's identity: a tied one has several
        self.running: list[str] = []

    def watch(self, name: str, layer: nn.Module) -> list[RemovableHandle]:
        """Know the layer's parameters, where they are floats, and when it runs."""
        for p in layer.parameters(recurse=False):
            if p.is_floating_point():
                self.owners.setdefault(id(p), set()).add(name)
        return [
            layer.register_forward_pre_hook(lambda *_: self.running.append(name), prepend=True),
            layer.register_forward_hook(lambda *_: self._ended()),
        ]

    def _ended(self) -> None:
        self.running.pop()

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dim():
            for given in [*args, *(kwargs or {}).values()]:
                owners = self.owners.get(id(given), set())
                if owners and not owners & {*self.running}:
                    name = ", ".join(sorted(owners))
                    raise ValueError(f"the model computes with the weight of {name} beside it")
        return result

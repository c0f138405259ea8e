"""What each function of torch does in the linear network of a model, or that it has no place there.

A rule gets the mode, the function and its arguments, and gives the result.
"""

import inspect
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from shrink.pruning import rules
from shrink.pruning.marks import flat, plain_name
from shrink.pruning.rules import given

MAX_POOL = ("input", "kernel_size", "stride", "padding", "dilation")


class Linearised(TorchFunctionMode):
    """Inside, each function of torch does to an activation what it does in the linear network."""

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        images: Tensor,
        counting: bool,
        within: tuple[float, float],
    ) -> None:
        super().__init__()
        self.counting, self.within = counting, within
        self._parameters = {id(tensor): tensor for tensor in tensors.values()}
        self._activations = {id(images): images}  # the tensor too, so that its id lives

    def is_activation(self, x: object) -> bool:
        return id(x) in self._activations

    def is_parameter(self, x: object) -> bool:
        return id(x) in self._parameters

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        known = self._activations
        if not any(id(x) in known for x in args) and not any(
            id(x) in known for x in flat([args, kwargs])
        ):
            return function(*args, **kwargs)
        name = plain_name(function)
        if name not in RULES:
            raise ValueError(f"the model calls {name}, which is no part of a linear network")
        result = RULES[name](self, function, args, kwargs)
        for part in (result,) if isinstance(result, Tensor) else flat(result):
            if isinstance(part, Tensor):
                known[id(part)] = part
        return result


# ---- what each function does


def _same(mode: Linearised, function, args, kwargs):
    """An activation or dropout: what it is given, as far as that is one activation."""
    return _only(mode, function, args, kwargs)


def _slope(mode: Linearised, function, args, kwargs):
    """An activation with a parameter of its own."""
    return given(args, kwargs, "input")[0]


def _unchanged(mode: Linearised, function, args, kwargs):
    """A function that is linear itself, and none of whose numbers is negative."""
    return function(*args, **kwargs)


def _join(mode: Linearised, function, args, kwargs):
    for part in flat([args, kwargs]):
        if isinstance(part, Tensor) and not mode.is_activation(part) and part.any():
            raise ValueError(f"the model calls {plain_name(function)} with numbers of its own")
    return function(*args, **kwargs)


def _product(mode: Linearised, function, args, kwargs):
    """A linear layer or convolution, without its bias."""
    x, weight = given(args, kwargs, "input", "other" if function.__name__[0] == "_" else "weight")
    weight = kwargs.get("other", weight)
    if not mode.is_activation(x) or not mode.is_parameter(weight):
        raise ValueError(
            f"the model calls {plain_name(function)} with a weight that is none of its parameters"
        )
    if "bias" in kwargs:
        kwargs = {**kwargs, "bias": None}
    result = function(*args[:2], *([None] if len(args) > 2 else []), *args[3:], **kwargs)
    largest = float(result.detach().amax())
    least, most = mode.within
    if largest and not least <= largest <= most:
        raise OverflowError(f"a layer of the linear network gives {largest}")
    return result


def _norm(mode: Linearised, function, args, kwargs):
    """Batch norm: each channel's scale by its root of the variance, without a shift."""
    names = ("input", "running_mean", "running_var", "weight", "bias")
    x, _, variance, scale, _ = given(args, kwargs, *names)
    if mode.counting:
        return x
    if variance is None:
        raise ValueError("the model calls batch_norm without a running variance")
    eps = inspect.signature(function).bind(*args, **kwargs).arguments.get("eps", 1e-5)
    scale = (1 if scale is None else scale) / (variance.to(x.dtype) + eps).sqrt()
    return x * scale.view(-1, *[1] * (x.dim() - 2))


def _add(mode: Linearised, function, args, kwargs):
    """Of two activations the sum; of one and a number or bias that one."""
    both = given(args, kwargs, "input", "other")
    if kwargs.get("alpha", 1) != 1:
        raise ValueError(f"the model calls {plain_name(function)} with a factor alpha")
    if all(map(mode.is_activation, both)):
        return function(*args, **kwargs)
    return _only(mode, function, args, kwargs)


def _scale(mode: Linearised, function, args, kwargs):
    """An activation times a number or a parameter, by their magnitudes."""
    x, other = given(args, kwargs, "input", "other")
    name = plain_name(function)
    if name.startswith("div") and mode.is_activation(x if "__r" in function.__name__ else other):
        raise ValueError("the model calls div by an activation")
    if mode.is_activation(other):
        x, other = other, x
    if mode.is_activation(other) or function.__name__ in ("mul_", "div_"):
        raise ValueError(f"the model calls {function.__name__} of two activations or in place")
    if isinstance(other, Tensor) and other.dim():
        if not mode.is_parameter(other):
            raise ValueError(f"the model calls {name} with a tensor that is none of its parameters")
        other = torch.ones_like(other) if mode.counting and other.dim() < 2 else other
        return x / other if name.startswith("div") else x * other
    if mode.counting:
        return x
    return x / abs(other) if name.startswith("div") else x * abs(other)


def _pad(mode: Linearised, function, args, kwargs):
    value = given(args, kwargs, "input", "pad", "mode", "value")[3]
    if value:
        raise ValueError(f"the model pads with {value!r}, which is no part of a linear network")
    return function(*args, **kwargs)


def _over(mode: Linearised, function, args, kwargs):
    """A mean or largest entry along axes: a sum, where paths are counted."""
    if not mode.counting:
        return function(*args, **kwargs)
    x, axes, keep = given(args, kwargs, "input", "dim", "keepdim")
    return x.sum() if axes is None else x.sum(axes, keepdim=bool(keep))


def _pool(mode: Linearised, function, args, kwargs):
    """Where paths are counted, all that a window holds is added up: each may be the largest."""
    result = function(*args, **kwargs)
    if not mode.counting:
        return result
    x, size, stride, padding = given(args, kwargs, "input", "kernel_size", "stride", "padding")
    places = result.dim() - 2
    name = plain_name(function)
    if name.startswith("adaptive"):
        uneven = [n % m for n, m in zip(x.shape[2:], result.shape[2:], strict=True)]
        if any(uneven):
            raise ValueError(f"{name} has windows of several sizes, and paths are not counted then")
        size = [n // m for n, m in zip(x.shape[2:], result.shape[2:], strict=True)]
        stride, padding = size, 0
    elif name.startswith("max") and (given(args, kwargs, *MAX_POOL)[-1] or 1) != 1:
        raise ValueError(f"{name} is dilated, and paths are not counted then")
    size = _each(size, places)
    stride, padding = _each(stride or size, places), _each(padding or 0, places)
    x = nn.functional.pad(x, [p for p in reversed(padding) for _ in range(2)])
    for axis in range(places):
        x = x.unfold(2 + axis, size[axis], stride[axis]).sum(-1)
    if x.shape != result.shape:
        raise ValueError(f"{name} has windows that reach outside, and paths are not counted then")
    return x


def _each(size: int | Sequence[int], places: int) -> list[int]:
    return [*size] if isinstance(size, Sequence) else [size] * places


def _only(mode: Linearised, function, args, kwargs):
    """The one activation among the arguments, of the shape that the result would have."""
    if len(args) == 1 and not kwargs:
        return args[0]
    tensors = [x for x in flat([args, kwargs]) if isinstance(x, Tensor)]
    found = [x for x in tensors if mode.is_activation(x)]
    if len(found) > 1:
        raise ValueError(f"the model calls {plain_name(function)} with several activations")
    if len(tensors) > 1 and torch.broadcast_shapes(*(x.shape for x in tensors)) != found[0].shape:
        raise ValueError(f"the model calls {plain_name(function)} with a larger tensor")
    return found[0]


def _named(rule: Callable) -> list[str]:
    """The functions that this rule of dependency groups is for."""
    return [name for name, of_name in rules.RULES.items() if of_name is rule]


def _for(names: str | Sequence[str], rule: Callable) -> dict[str, Callable]:
    return dict.fromkeys(names.split() if isinstance(names, str) else names, rule)


RULES: dict[str, Callable] = {
    **_for(_named(rules.asked), _unchanged),
    **_for(_named(rules.places), _unchanged),
    **_for(_named(rules.dropout), _same),
    **_for(_named(rules.linear) + _named(rules.matmul) + _named(rules.conv), _product),
    **_for("cat concat concatenate stack", _join),
    **_for("batch_norm", _norm),
    **_for(
        "relu relu6 leaky_relu rrelu elu celu selu gelu silu mish softplus sigmoid tanh "
        "hardtanh hardsigmoid hardswish softsign logsigmoid threshold clamp clip",
        _same,
    ),
    **_for("prelu", _slope),
    **_for("contiguous clone sum", _unchanged),
    **_for("add", _add),
    **_for("mul multiply div divide", _scale),
    **_for("mean amax", _over),
    **_for(
        [name for name in _named(rules.pool) if "max_pool" in name or "avg_pool" in name], _pool
    ),
    **_for("pad", _pad),
}

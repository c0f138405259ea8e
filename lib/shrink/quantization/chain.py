"""A model's layers one after the other, where it is a chain of such as have a form on integers."""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from shrink.modes import in_use
from shrink.plain import (
    check_module,
    described,
    is_hooked,
    refuse_hooks_of_all,
    refuse_unless_parameters,
    refuse_unless_plain,
)
from shrink.quantization.forms import WEIGHTED

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
DROPOUTS = (
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
NOTHING = (*DROPOUTS, nn.Identity)  # in use
PARTS = (*WEIGHTED, *NORMS, *NOTHING, nn.ReLU, nn.MaxPool2d, nn.Flatten)


def _flatten(start_dim: int = 0, end_dim: int = -1) -> nn.Flatten:
    return nn.Flatten(start_dim, end_dim)  # the module has another default


def _dropout(p: float = 0.5, training: bool = True, inplace: bool = False) -> nn.Identity:
    if training and p:
        raise ValueError(f"dropout of {p} with training={training} drops at random in use, too")
    return nn.Identity()


def _relu(inplace: bool = False) -> nn.ReLU:
    return nn.ReLU()


def _rows(*shape: object) -> nn.Flatten:
    """Images as rows, by a shape of two sizes; the layer behind sees whether they are whole."""
    sizes = shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
    if len(sizes) != 2:
        raise TypeError(f"a view makes rows of images, and not {len(sizes)} axes")
    return nn.Flatten()


FUNCTIONS: dict[Callable, Callable[..., nn.Module]] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_), _relu),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), nn.MaxPool2d),
    **dict.fromkeys((F.dropout, F.dropout1d, F.dropout2d, F.dropout3d), _dropout),
    torch.flatten: _flatten,
    torch.reshape: _rows,
}
METHODS: dict[str, Callable[..., nn.Module]] = {
    **dict.fromkeys(("relu", "relu_"), _relu),
    **dict.fromkeys(("view", "reshape"), _rows),
    "flatten": _flatten,
    "contiguous": nn.Identity,
}


class _Tracer(fx.Tracer):
    """Does not look into parts, nor into those that have more than their kind has."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, PARTS) or super().is_leaf_module(m, module_qualified_name)


def chain_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """The model's parts as it runs them in use, as modules, with their descriptions; no dropout.

    Raises `ValueError` with what does not fit into a chain that has an integer form.
    """
    check_module(model)
    refuse_hooks_of_all()
    for name, module in model.named_modules():
        what = described(name, module)
        if _is_compiled(module):
            raise ValueError(f"{what}, is compiled: convert the model first, and compile then")
        if isinstance(module, PARTS):
            refuse_unless_parameters(module, what)
        if is_hooked(module):
            raise ValueError(f"{what}, has a hook, which would be lost: remove it first")
    whole = nn.Sequential(OrderedDict(model=model))  # so that its own hooks and forward are seen
    found = []
    nodes = _trace(whole)
    sizes = _sizes(nodes)
    for before, node in pairwise(node for node in nodes if node not in sizes):
        if [given for given in node.all_input_nodes if given not in sizes] != [before]:
            raise ValueError(f"{node.name} does not follow on {before.name} alone: no chain")
        if node.op != "output":
            part = _as_module(whole, node)
            what = described(node.name, part)
            if not isinstance(part, PARTS):
                raise ValueError(f"{what}, has no form on integers")
            refuse_unless_plain(part, PARTS, what)
            found.append((what, part))
    return [(what, part) for what, part in found if not isinstance(part, NOTHING)]


def _trace(whole: nn.Module) -> list[fx.Node]:
    """What the model calls, one after the other, in `eval` mode."""
    try:
        with in_use(whole):
            return [*_Tracer().trace(whole).nodes]
    except Exception as error:  # the model's own code, which is given no numbers
        raise ValueError(f"what the model does depends on its input: {error}") from None


def _sizes(nodes: Iterable[fx.Node]) -> set[fx.Node]:
    """Those that ask for the size of a tensor, or compute with sizes alone."""
    sizes: set[fx.Node] = set()
    for node in nodes:
        asks = node.target == "size" or (node.target is getattr and node.args[1] == "shape")
        if asks or (node.all_input_nodes and sizes.issuperset(node.all_input_nodes)):
            sizes.add(node)
    return sizes


def _is_compiled(module: nn.Module) -> bool:
    scripted = isinstance(module, torch.jit.ScriptModule) or hasattr(module, "_orig_mod")
    return scripted or module._compiled_call_impl is not None


def _as_module(whole: nn.Module, node: fx.Node) -> nn.Module:
    if node.op == "call_module":
        return whole.get_submodule(node.target)
    makers = {"call_function": FUNCTIONS, "call_method": METHODS}.get(node.op, {})
    if node.target not in makers:
        raise ValueError(f"{node.name} has no form on integers")
    options = {name: value for name, value in node.kwargs.items() if name != "input"}
    try:
        return makers[node.target](*node.args[1:], **options)
    except TypeError as error:
        raise ValueError(f"{node.name} has no form on integers: {error}") from None


def refuse_another_result(model: nn.Module, chain: Sequence[nn.Module], images: Tensor) -> None:
    """Raise `ValueError` unless the chain gives what the model gives in use, for some images.

    What computes beside the layers (numbers from outside, chance, a forward that was replaced) is
    not seen in a chain; here it shows. Folding rounds otherwise than the layers do: within 1 % of
    the largest result they count as equal, within 10 % where floats have 16 bits.
    """
    with in_use(model):
        expected, found = model(images), images
        for part in chain:
            found = part(found)
    if not isinstance(expected, Tensor) or expected.shape != found.shape:
        got = tuple(expected.shape) if isinstance(expected, Tensor) else type(expected).__name__
        raise ValueError(f"the model gives {got}, and its layers {tuple(found.shape)}: no chain")
    kind = torch.finfo(images.dtype)
    near = 0.01 if kind.bits > 16 else 0.1
    if not (expected - found).abs().max() <= near * expected.abs().max() + kind.eps:
        raise ValueError(
            "the model gives another result than its layers one after the other: "
            "something beside them computes, so it is no chain"
        )

"""Products of integers, with ranges that are found at run time: nothing is calibrated."""

import re
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from shrink.plain import (
    check_module,
    copied,
    described,
    is_hooked,
    own_names,
    refuse_hooks_of_all,
    refuse_unless_parameters,
    said,
)
from shrink.quantization import QParams, dequantize, qparams_of, quantize
from shrink.quantization.arguments import check_floats, int8_bits
from shrink.quantization.asking import asks_for_kinds
from shrink.quantization.forms import (
    WEIGHTED,
    check_weighted,
    is_convolved_alike,
    on_sums,
    padding_of,
    weight_qparams,
)

# They hand the weights of their layers to a kernel of torch, and do not call the layers.
READERS = (nn.MultiheadAttention, nn.TransformerEncoderLayer)

# What a layer on integers has of its own: a float layer that says more under one of these stays.
NAMES = {"num_bits", "symmetric", "weight_dtype", "sums", "border", "per_output", "scale"}


def quantize_dynamically(
    model: nn.Module,
    *,
    weight_bits: int = 8,
    activation_bits: int = 8,
    per_channel: bool = False,
    symmetric: bool = False,
) -> nn.Module:
    """A copy of the model whose linear layers and 2-D convolutions multiply integers, else floats.

    Each batch that comes to a layer is quantized by its own range. So nothing is calibrated,
    and nothing clipped; but ranges and scales are computed at run time, in floats, and the answer
    for an image depends on the others in its batch.

    Any model is taken, not only a chain. What does more than `nn.Linear` or `nn.Conv2d` do stays
    as it is, in floats: a subclass with a forward or methods of its own (as of LoRA), a layer with
    hooks or with an attribute that is called as one of `NAMES`, a dilated convolution or one that
    pads with a word or with pixels, the layers of `nn.MultiheadAttention` and
    `nn.TransformerEncoderLayer`, which read their weights and do not call them, and those of a
    module that asks in its forward which of its layers are linear or convolutions.

    The arguments are those of `quantize_model`.

    Raises:
        ValueError: bits that are not 2 to 8; a weight that torch computes at each call (pruning by
            `torch.nn.utils`, weight and spectral norm, a parametrization), with what to run first;
            one that is on meta, not there yet, NaN or infinite; or a hook on all modules.
        TypeError: the model is no module; a number of bits is not whole; or a weight is complex, or
            of another type than floats of 16, 32 or 64 bits.

    >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    >>> [type(part).__name__ for part in quantize_dynamically(net)]
    ['DynamicLayer', 'ReLU', 'DynamicLayer']
    """
    weight_bits, activation_bits = int8_bits(weight_bits, activation_bits)
    check_module(model)
    refuse_hooks_of_all()
    for _, name, layer in _called_layers(nn.ModuleList([model])):  # the model may be a layer itself
        refuse_unless_parameters(layer, described(name, layer))
    whole = nn.ModuleList([copied(model)])
    converted: dict[nn.Module, DynamicLayer] = {}  # one layer under two names stays one
    for parent, name, layer in [*_called_layers(whole)]:
        if _does_no_more(layer):
            if layer not in converted:
                options = (weight_bits, activation_bits, per_channel, symmetric)
                converted[layer] = DynamicLayer(layer, *options)
            parent._modules[name] = converted[layer]
    return whole[0].eval()


def _called_layers(whole: nn.Module) -> Iterator[tuple[nn.Module, str, nn.Module]]:
    """Each place of a linear layer or convolution: whose part it is, its name there, the layer.

    What is inside a module that asks for the kinds of its layers is left out.
    """
    asked = {part for m in whole.modules() if asks_for_kinds(m, WEIGHTED) for part in m.modules()}
    for parent in (part for part in whole.modules() if part not in asked):
        for name, part in parent._modules.items():
            weighted = any(kind in type(part).__mro__ for kind in WEIGHTED)
            read = isinstance(parent, READERS) or isinstance(part, NonDynamicallyQuantizableLinear)
            if weighted and not read:
                yield parent, name, part


def _does_no_more(layer: nn.Module) -> bool:
    """Whether a layer on integers can stand in: all that the layer does and has is of its kind."""
    kind = _kind(layer)
    if is_hooked(layer) or own_names(layer, kind) or layer._modules or layer._buffers:
        return False
    if layer._parameters.keys() - {"weight", "bias"} or said(layer, kind).keys() & NAMES:
        return False
    return kind is nn.Linear or is_convolved_alike(layer)


def _kind(layer: nn.Module) -> type[nn.Module]:
    return next(kind for kind in WEIGHTED if kind in type(layer).__mro__)


# What torch calls the functions that change their first argument: add_, __iadd__, __setitem__.
WRITING = re.compile(r"\w*[^_]_|__(set|setitem|i(add|sub|mul|(true|floor)?div|mod|pow))__")


class DynamicLayer(nn.Module):
    """A linear layer or a convolution, floats in and out, whose products are of integers.

    The range of the input is that of the batch at hand, and the output is of the input's type, or
    of autocast's. There may be no example, and for a convolution one image without an axis of
    images, as in torch.

    What the layer says of itself (`in_features`, `stride`) is said here too, and `weight` are the
    floats that the integers stand for, of the type that the layer's had: for a model that reads
    them itself. One that writes to them at each call (a norm that is held, say) is refused then.
    """

    def __init__(
        self,
        layer: nn.Linear | nn.Conv2d,
        weight_bits: int = 8,
        activation_bits: int = 8,
        per_channel: bool = False,
        symmetric: bool = False,
    ) -> None:
        super().__init__()
        check_weighted(layer, described("", layer))
        vars(self).update(said(layer, _kind(layer)))
        weight = layer.weight.detach()
        w = weight_qparams(weight, weight_bits, 0 if per_channel else None)
        self.num_bits, self.symmetric, self.weight_dtype = activation_bits, symmetric, weight.dtype
        zeros = torch.zeros(len(weight), dtype=torch.int32, device=weight.device)
        self.sums = on_sums(layer, quantize(weight, w), zeros)
        self.border = padding_of(layer)
        self.per_output = (-1, *[1] * (weight.dim() - 2))  # the shape of one number an output
        self.register_buffer("scale", w.scale.flatten())
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())

    @property
    def weight(self) -> Tensor:
        """The floats that the weight's integers stand for, of the layer's shape and type."""
        q = self.sums.weight.detach()
        scale = self.scale.view(-1, *[1] * (q.dim() - 1))
        floats = dequantize(q, QParams(scale, torch.zeros_like(scale).int()))
        return floats.to(self.weight_dtype).as_subclass(_ReadOnly)

    def forward(self, input: Tensor) -> Tensor:
        check_floats(input, "what a dynamic layer is given")
        up, left = self.border
        x = F.pad(input, (left, left, up, up)) if up or left else input
        p = qparams_of(x, self.num_bits, self.symmetric)
        of_zeros = p.zero_point * self.sums.weight.flatten(1).sum(1, dtype=torch.int32)
        sums = self.sums(quantize(x, p)) - of_zeros.view(self.per_output)
        y = sums * (p.scale * self.scale).view(self.per_output)
        y = y if self.bias is None else y + self.bias.view(self.per_output)
        return y.to(_type_of_products(input))


class _ReadOnly(Tensor):
    """Raises `ValueError` in a call that writes to it or a view of it, which would be lost."""

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        into = kwargs.get("out", args[0] if WRITING.fullmatch(function.__name__) else None)
        if isinstance(into, cls):
            raise ValueError(
                "the model writes to the weight of a layer that was converted to integers: "
                "it must have its final weight, and not compute it at each call"
            )
        with torch._C.DisableTorchFunctionSubclass():
            result = function(*args, **kwargs)
            whole = {x.untyped_storage().data_ptr() for x in args if isinstance(x, cls)}
            if isinstance(result, Tensor) and result.untyped_storage().data_ptr() in whole:
                return result.as_subclass(cls)
        return result


def _type_of_products(x: Tensor) -> torch.dtype:
    """What torch's layers give for x: its type, and inside autocast that of autocast."""
    if torch.is_autocast_enabled(x.device.type) and x.dtype != torch.float64:
        return torch.get_autocast_dtype(x.device.type)
    return x.dtype

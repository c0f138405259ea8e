"""A model's weights in fewer bytes: the named arrays that go into its file, and back."""

from collections.abc import Mapping

import torch
from torch import Tensor

from shrink import quantization, sparse


def pack(state: Mapping[str, Tensor], format: str, gap_bits: int = 5) -> dict[str, Tensor]:
    """The tensors of a model with its weights in `format`, biases as they are.

    A weight, which is a tensor of two or more axes, becomes the arrays of `sparse.encode`, under
    the names `<weight>/<array>`; "dense" changes nothing. On the CPU.

    >>> import torch
    >>> list(pack({"fc.weight": torch.eye(2), "fc.bias": torch.ones(2)}, "bitmap"))
    ['fc.weight/shape', 'fc.weight/bitmap', 'fc.weight/values', 'fc.bias']

    Args:
        state: a model's `state_dict()`; not changed.
        format: one of `sparse.FORMATS`.
        gap_bits: 1 to 8, for "relative" alone.
    """
    arrays = {}
    for name, tensor in state.items():
        if tensor.dim() < 2 or format == "dense":
            arrays[name] = tensor.detach().cpu()
        else:
            parts = sparse.encode(tensor.detach(), format, gap_bits)
            arrays |= {f"{name}/{part}": array for part, array in parts.items()}
    return arrays


def unpack(arrays: Mapping[str, Tensor], format: str) -> dict[str, Tensor]:
    """The tensors that `pack` was given, for `load_state_dict`.

    >>> import torch
    >>> unpack(pack({"fc.weight": torch.eye(2)}, "relative"), "relative")
    {'fc.weight': tensor([[1., 0.],
            [0., 1.]])}

    Raises `ValueError` where the arrays of a weight contradict each other.
    """
    state, parts = _apart(arrays)
    return state | {name: sparse.decode(found, format) for name, found in parts.items()}


def pack_quantized(state: Mapping[str, Tensor], num_bits: int, **options) -> dict[str, Tensor]:
    """The tensors of a model with its weights quantized and packed, biases as they are.

    A weight, which is a tensor of two or more axes, becomes its integers, `<weight>/q` (int8 of 8
    bits, else packed), their scales and, unless symmetric, zero points, and `<weight>/layout`
    (int32: number of bits, group or 0, shape). On the CPU.

    >>> packed = pack_quantized({"fc.weight": torch.eye(4)}, num_bits=4, symmetric=True)
    >>> {name: array.nbytes for name, array in packed.items()}
    {'fc.weight/q': 8, 'fc.weight/scale': 4, 'fc.weight/layout': 16}

    Args:
        state: a model's `state_dict()`; not changed.
        num_bits: 2 to 8.
        options: those of `quantization.qparams_of`: symmetric, narrow, axis, group.

    Raises:
        ValueError: num_bits is not 2 to 8, or as `qparams_of` does.
    """
    if num_bits not in range(2, 9):
        raise ValueError(f"weights are packed in 2 to 8 bits, got {num_bits}")
    arrays = {}
    for name, tensor in state.items():
        tensor = tensor.detach().cpu()
        if tensor.dim() < 2:
            arrays[name] = tensor
            continue
        p = quantization.qparams_of(tensor, num_bits, signed=True, **options)
        q = quantization.quantize(tensor, p)
        arrays[f"{name}/q"] = q if num_bits == 8 else quantization.pack_bits(q, num_bits)
        arrays[f"{name}/scale"] = p.scale
        if p.zero_point.any():
            arrays[f"{name}/zero_point"] = p.zero_point.to(torch.int8)
        layout = [num_bits, p.group or 0, *tensor.shape]
        arrays[f"{name}/layout"] = torch.tensor(layout, dtype=torch.int32)
    return arrays


def unpack_quantized(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that `pack_quantized` stored, as near as its integers are: for `load_state_dict`.

    >>> unpack_quantized(pack_quantized({"fc.weight": torch.eye(2)}, 2, symmetric=True))
    {'fc.weight': tensor([[1., 0.],
            [0., 1.]])}

    Raises `ValueError` where the arrays of a weight contradict each other.
    """
    state, parts = _apart(arrays)
    for name, part in parts.items():
        num_bits, group, *shape = part["layout"].tolist()
        count = int(torch.tensor(shape).prod())
        q, scale = part["q"], part["scale"]
        if num_bits < 8:
            q = quantization.unpack_bits(q, num_bits, count, signed=True).view(shape)
        zero_point = part.get("zero_point", torch.zeros_like(scale)).int()
        p = quantization.QParams(scale, zero_point, num_bits, group=group or None)
        state[name] = quantization.dequantize(q, p)
    return state


def _apart(arrays: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, dict]]:
    """The tensors that are stored as they are, and the arrays of each weight."""
    state: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, array in arrays.items():
        weight, _, part = name.partition("/")
        if part:
            parts.setdefault(weight, {})[part] = array
        else:
            state[name] = array
    return state, parts

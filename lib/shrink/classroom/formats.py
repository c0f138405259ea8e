"""A model's weights in fewer bytes: the named arrays that go into its file, and back.

A weight is a floating-point tensor of two or more axes; integers, bools and tensors of fewer axes,
such as biases, stay as they are. The arrays of a weight are named by the weight, a "/" and the
array, so no tensor may have a "/" in its name. A tensor under two names gives the same arrays under
both, which `measure.write` stores once.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from shrink import quantization, sharing
from shrink.arguments import whole_number
from shrink.classroom.state_arrays import (
    Parts,
    apart,
    check_parts,
    contradictions,
    layout_of,
    packed_state,
)
from shrink.coding import sparse
from shrink.coding.codec_parts import checked_shared

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
LARGEST_CODEBOOK = 256


def pack(state: Mapping[str, Tensor], format: str, gap_bits: int = 5) -> dict[str, Tensor]:
    """The tensors of a model with its weights in `format`, biases as they are.

    A weight becomes the arrays of `sparse.encode`, under the names `<weight>/<array>`; "dense"
    changes nothing. On the CPU.

    >>> import torch
    >>> list(pack({"fc.weight": torch.eye(2), "fc.bias": torch.ones(2)}, "bitmap"))
    ['fc.weight/shape', 'fc.weight/bitmap', 'fc.weight/values', 'fc.bias']

    Args:
        state: a model's `state_dict()`; not changed.
        format: one of `sparse.FORMATS`.
        gap_bits: 1 to 8, for "relative" alone.

    Raises:
        TypeError: a tensor is sparse, quantized by torch or has no numbers, or is none at all.
        ValueError: the format is unknown, a name is empty or has a "/", or as `sparse.encode` does.
    """
    _check_format(format)

    def packed(name: str, tensor: Tensor) -> Parts | None:
        if not _is_weight(tensor) or format == "dense":
            return None
        return sparse.encode(tensor, format, gap_bits)

    return packed_state(state, packed)


def unpack(arrays: Mapping[str, Tensor], format: str) -> dict[str, Tensor]:
    """The tensors that `pack` was given, for `load_state_dict`.

    >>> import torch
    >>> unpack(pack({"fc.weight": torch.eye(2)}, "relative"), "relative")
    {'fc.weight': tensor([[1., 0.],
            [0., 1.]])}

    Raises `ValueError` where the arrays of a weight contradict each other.
    """
    _check_format(format)
    state, parts = apart(arrays)
    for name, found in parts.items():
        with contradictions(name):
            state[name] = sparse.decode(found, format)
    return state


def pack_quantized(state: Mapping[str, Tensor], num_bits: int, **options) -> dict[str, Tensor]:
    """The tensors of a model with its weights quantized and packed, biases as they are.

    A weight becomes its integers, `<weight>/q` (int8 of 8 bits, else packed), their scales and,
    unless symmetric, zero points, and `<weight>/layout` (int32: number of bits, group or 0, shape).
    One that is not float32 has an empty array of its type, `<weight>/like`. On the CPU.

    >>> packed = pack_quantized({"fc.weight": torch.eye(4)}, num_bits=4, symmetric=True)
    >>> {name: array.nbytes for name, array in packed.items()}
    {'fc.weight/q': 8, 'fc.weight/scale': 4, 'fc.weight/layout': 16}

    Args:
        state: a model's `state_dict()`; not changed.
        num_bits: 2 to 8.
        options: those of `quantization.qparams_of`: symmetric, narrow, axis, group.

    Raises:
        TypeError: as `pack` does.
        ValueError: num_bits is not 2 to 8, a name is empty or has a "/", or as `qparams_of` does.
    """
    num_bits = whole_number("num_bits", num_bits, 2, 8)

    def packed(name: str, tensor: Tensor) -> Parts | None:
        return _quantized(tensor, num_bits, options) if _is_weight(tensor) else None

    return packed_state(state, packed)


def _quantized(weight: Tensor, num_bits: int, options: dict) -> Parts:
    numbers = weight.float()
    p = quantization.qparams_of(numbers, num_bits, signed=True, **options)
    q = quantization.quantize(numbers, p)
    parts = {"q": q if num_bits == 8 else quantization.pack_bits(q, num_bits), "scale": p.scale}
    if p.zero_point.any():
        parts["zero_point"] = p.zero_point.to(torch.int8)
    layout = [num_bits, p.group or 0, *weight.shape]
    parts["layout"] = torch.tensor(layout, dtype=torch.int32)
    if weight.dtype != torch.float32:
        parts["like"] = weight.new_empty(0)
    return parts


def unpack_quantized(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that `pack_quantized` stored, to within its rounding, for `load_state_dict`.

    >>> unpack_quantized(pack_quantized({"fc.weight": torch.eye(2)}, 2, symmetric=True))
    {'fc.weight': tensor([[1., 0.],
            [0., 1.]])}

    Raises `ValueError` where the arrays of a weight contradict each other.
    """
    state, parts = apart(arrays)
    for name, part in parts.items():
        with contradictions(name):
            check_parts(part, ("q", "scale", "layout"), ("zero_point", "like"))
            state[name] = _dequantized(part)
    return state


def _dequantized(part: Parts) -> Tensor:
    num_bits, group, *shape = layout_of(part)
    q, scale = part["q"], part["scale"]
    if num_bits != 8:
        q = quantization.unpack_bits(q, num_bits, math.prod(shape), signed=True)
    zero_point = part.get("zero_point", torch.zeros_like(scale)).int()
    p = quantization.QParams(scale, zero_point, num_bits, group=group or None)
    weight = quantization.dequantize(q.view(shape), p)
    return weight.to(part["like"].dtype) if "like" in part else weight


def pack_shared(
    state: Mapping[str, Tensor], shared: Mapping[str, sharing.Shared], gap_bits: int = 5
) -> dict[str, Tensor]:
    """The tensors of a model: shared ones as numbers into a codebook, the others unchanged.

    A shared weight becomes `<weight>/codebook` (float32), `<weight>/numbers` (⌈log2 k⌉ bits each,
    packed) and `<weight>/layout` (int32: how many numbers, shape). If zeros are kept and that is
    shorter, only the nonzero weights have numbers: `<weight>/gaps` and `<weight>/gap_bits` say
    where they belong, as in `sparse.encode_relative`, and 0 is the first value. On the CPU.

    >>> shared = {"fc.weight": sharing.share(torch.tensor([[1.0, 1.0], [5.0, 6.0]]), k=2)}
    >>> packed = pack_shared({"fc.weight": shared["fc.weight"].weight}, shared)
    >>> packed["fc.weight/codebook"], packed["fc.weight/numbers"]  # 0 0 1 1 and four bits more
    (tensor([1.0000, 5.5000]), tensor([48], dtype=torch.uint8))

    Args:
        state: a model's `state_dict()`; not changed.
        shared: name → what `sharing.share` made of the weight, and training perhaps changed.
        gap_bits: 1 to 8.

    Raises:
        ValueError: a codebook has more than 256 values, or is of no tensor of the model.
    """
    if foreign := sorted(map(str, set(shared) - set(state))):
        raise ValueError(f"there is no {', '.join(foreign)} among the tensors of the model")

    def packed(name: str, tensor: Tensor) -> Parts | None:
        if name not in shared:
            return None
        one = _checked(shared[name], tensor)
        ways = [_pack_all(one)]
        if one.zero is not None:
            ways.append(_pack_nonzeros(one, gap_bits))
        return min(ways, key=lambda parts: sum(array.nbytes for array in parts.values()))

    return packed_state(state, packed, lambda name: id(shared.get(name)))


def _checked(one: sharing.Shared, weight: Tensor) -> sharing.Shared:
    if not isinstance(one, sharing.Shared):
        raise TypeError(f"must be a Shared, not a {type(one).__name__}")
    if (k := len(one.codebook)) > LARGEST_CODEBOOK:
        limit = f"for at most {LARGEST_CODEBOOK} values"
        raise ValueError(f"numbers into a codebook are packed {limit}, not {k}")
    if one.assignments.shape != weight.shape:
        shapes = f"{tuple(one.assignments.shape)} and {tuple(weight.shape)}"
        raise ValueError(f"the shared weight and the tensor have the shapes {shapes}")
    return checked_shared(one, LARGEST_CODEBOOK)


def _pack_all(one: sharing.Shared) -> Parts:
    numbers = one.assignments
    return {
        "codebook": one.codebook,
        "numbers": _pack_numbers(numbers, len(one.codebook)),
        "layout": torch.tensor([numbers.numel(), *numbers.shape], dtype=torch.int32),
    }


def _pack_nonzeros(one: sharing.Shared, gap_bits: int) -> Parts:
    """With 0 as the first value, so that the numbers are sparse as the weight is."""
    zero, numbers = one.zero, one.assignments
    numbers = torch.where(numbers < zero, numbers + 1, numbers).masked_fill(numbers == zero, 0)
    entries = sparse.encode(numbers.float(), "relative", gap_bits)
    others = torch.arange(len(one.codebook)) != zero
    return {
        "codebook": torch.cat([one.codebook[zero : zero + 1], one.codebook[others]]),
        "numbers": _pack_numbers(entries["values"], len(one.codebook)),
        "gaps": entries["gaps"],
        "gap_bits": entries["gap_bits"],
        "layout": torch.tensor([len(entries["values"]), *numbers.shape], dtype=torch.int32),
    }


def _pack_numbers(numbers: Tensor, k: int) -> Tensor:
    """Numbers below k in ⌈log2 k⌉ bits each: none where there is one value."""
    num_bits = (k - 1).bit_length()
    if num_bits in (0, 8):
        return numbers.flatten().to(torch.uint8)[: numbers.numel() * num_bits]
    return quantization.pack_bits(numbers, num_bits)


def unpack_shared(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that `pack_shared` stored, for `load_state_dict`.

    >>> shared = {"fc.weight": sharing.share(torch.tensor([[1.0, 1.0], [5.0, 6.0]]), k=2)}
    >>> unpack_shared(pack_shared({"fc.weight": shared["fc.weight"].weight}, shared))
    {'fc.weight': tensor([[1.0000, 1.0000],
            [5.5000, 5.5000]])}

    Raises `ValueError` where the arrays of a weight contradict each other.
    """
    state, parts = apart(arrays)
    for name, part in parts.items():
        with contradictions(name):
            check_parts(part, ("codebook", "numbers", "layout"), ("gaps", "gap_bits"))
            state[name] = _rebuilt(part)
    return state


def _rebuilt(part: Parts) -> Tensor:
    codebook, (count, *shape) = part["codebook"], layout_of(part)
    numbers = _unpack_numbers(part["numbers"], len(codebook), count)
    if "gaps" in part:
        entries = {"shape": part["layout"][1:], "values": numbers.float()}
        entries |= {key: part[key] for key in ("gaps", "gap_bits")}
        numbers = sparse.decode(entries, "relative").long()
    if numbers.numel() and int(numbers.max()) >= len(codebook):
        raise ValueError(f"has number {int(numbers.max())} of {len(codebook)} values")
    return sharing.rebuild(numbers.reshape(shape), codebook)


def _unpack_numbers(packed: Tensor, k: int, count: int) -> Tensor:
    num_bits = (k - 1).bit_length()
    if num_bits == 0:
        return torch.zeros(count, dtype=torch.long)
    if num_bits == 8:
        if len(packed) != count:
            raise ValueError(f"{len(packed)} bytes are not {count} numbers of 8 bits")
        return packed.long()
    return quantization.unpack_bits(packed, num_bits, count).long()


def _check_format(format: str) -> None:
    if format not in sparse.FORMATS:
        raise ValueError(f"format must be one of {', '.join(sparse.FORMATS)}, not {format!r}")


def _is_weight(tensor: Tensor) -> bool:
    return tensor.dim() >= 2 and tensor.dtype in FLOATS

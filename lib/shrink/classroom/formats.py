"""A model's weights in fewer bytes: the named arrays that go into its file, and back."""

from collections.abc import Mapping

import torch
from torch import Tensor

from shrink import quantization, sharing
from shrink.coding import sparse


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


def pack_shared(
    state: Mapping[str, Tensor], shared: Mapping[str, sharing.Shared], gap_bits: int = 5
) -> dict[str, Tensor]:
    """The tensors of a model, those that are shared as numbers into a codebook, the rest as is.

    A shared weight becomes `<weight>/codebook` (float32), `<weight>/numbers` (⌈log2 k⌉ bits each,
    packed) and `<weight>/layout` (int32: how many numbers, shape). Where zeros are kept and it is
    shorter, only the other weights have numbers: `<weight>/gaps` and `<weight>/gap_bits` say where
    they belong, as in `sparse.encode_relative`, and 0 is the first value. On the CPU.

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
    if foreign := sorted(set(shared) - set(state)):
        raise ValueError(f"there is no {', '.join(foreign)} among the tensors of the model")
    arrays = {}
    for name, tensor in state.items():
        if name not in shared:
            arrays[name] = tensor.detach().cpu()
            continue
        one = shared[name]
        packed = [_pack_all(one)]
        if one.zero is not None:
            packed.append(_pack_nonzeros(one, gap_bits))
        parts = min(packed, key=lambda parts: sum(array.nbytes for array in parts.values()))
        arrays |= {f"{name}/{part}": array for part, array in parts.items()}
    return arrays


def _pack_all(one: sharing.Shared) -> dict[str, Tensor]:
    numbers = one.assignments.cpu()
    return {
        "codebook": one.codebook.cpu(),
        "numbers": _pack_numbers(numbers, len(one.codebook)),
        "layout": torch.tensor([numbers.numel(), *numbers.shape], dtype=torch.int32),
    }


def _pack_nonzeros(one: sharing.Shared, gap_bits: int) -> dict[str, Tensor]:
    """With 0 as the first value, so that the numbers are sparse as the weight is."""
    numbers, codebook = one.assignments.cpu().long(), one.codebook.cpu()
    numbers = torch.where(numbers < one.zero, numbers + 1, numbers).masked_fill(
        numbers == one.zero, 0
    )
    entries = sparse.encode(numbers.float(), "relative", gap_bits)
    others = torch.arange(len(codebook)) != one.zero
    return {
        "codebook": torch.cat([codebook.new_zeros(1), codebook[others]]),
        "numbers": _pack_numbers(entries["values"], len(codebook)),
        "gaps": entries["gaps"],
        "gap_bits": entries["gap_bits"],
        "layout": torch.tensor([len(entries["values"]), *numbers.shape], dtype=torch.int32),
    }


def _pack_numbers(numbers: Tensor, k: int) -> Tensor:
    """Numbers below k in ⌈log2 k⌉ bits each: none where there is one value."""
    if k > 256:
        raise ValueError(f"numbers into a codebook are packed for at most 256 values, not {k}")
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
    state, parts = _apart(arrays)
    for name, part in parts.items():
        codebook, (count, *shape) = part["codebook"], part["layout"].tolist()
        numbers = _unpack_numbers(part["numbers"], len(codebook), count)
        if "gaps" in part:
            entries = {"shape": part["layout"][1:], "values": numbers.float()}
            entries |= {key: part[key] for key in ("gaps", "gap_bits")}
            numbers = sparse.decode(entries, "relative").long()
        if len(numbers) and int(numbers.max()) >= len(codebook):
            raise ValueError(f"{name} has number {int(numbers.max())} of {len(codebook)} values")
        state[name] = sharing.rebuild(numbers.reshape(shape), codebook)
    return state


def _unpack_numbers(packed: Tensor, k: int, count: int) -> Tensor:
    num_bits = (k - 1).bit_length()
    if num_bits == 0:
        return torch.zeros(count, dtype=torch.long)
    if num_bits == 8:
        if len(packed) != count:
            raise ValueError(f"{len(packed)} bytes are not {count} numbers of 8 bits")
        return packed.long()
    return quantization.unpack_bits(packed, num_bits, count).long()


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

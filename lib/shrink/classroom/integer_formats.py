"""Weights that are integers times a scale already, in as few bits as their values take.

`formats.pack_quantized` chooses a scale itself; training aware of quantization has chosen one, and
what is stored here is what it computes with.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from shrink.classroom.state_arrays import (
    Parts,
    apart,
    check_parts,
    contradictions,
    layout_of,
    packed_state,
)
from shrink.coding.codec_parts import Scaled, checked_scaled
from shrink.quantization import pack_bits, unpack_bits
from shrink.quantization.ternary_digits import pack_ternary, unpack_ternary

Integers = Mapping[str, tuple[Tensor, Tensor]]


def pack_integers(state: Mapping[str, Tensor], integers: Integers) -> dict[str, Tensor]:
    """The tensors of a model, weights that are integers as such, the others as they are.

    A weight becomes `<weight>/q`, its scales, `<weight>/scale` (float32), and `<weight>/layout`
    (int32: how many values an integer may have, and the shape). Signs, -1 and 1, take a bit each.
    Ternary numbers are packed five to a byte. Others take 2 to 8 bits, as the largest needs it. On
    the CPU.

    >>> t = torch.tensor([[1, 0, -1], [1, 1, 0]], dtype=torch.int8)
    >>> packed = pack_integers({"fc.weight": t * 0.5}, {"fc.weight": (t, torch.tensor(0.5))})
    >>> {name: array.tolist() for name, array in packed.items()}
    {'fc.weight/q': [197, 81], 'fc.weight/scale': 0.5, 'fc.weight/layout': [3, 2, 3]}

    Args:
        state: name → tensor; of weights in `integers` only the shape counts. Not changed.
        integers: name → int8 of the weight's shape, and float32 scales, finite, (), or of its axes,
            each 1 or as long.

    Raises:
        TypeError: a tensor is sparse, quantized by torch or has no numbers, integers are not int8,
            or scales not float32.
        ValueError: integers are of no tensor of the model, shapes do not fit, a scale is not
            finite, or a name is empty or has a "/".
    """
    if foreign := sorted(map(str, set(integers) - set(state))):
        raise ValueError(f"there is no {', '.join(foreign)} among the tensors of the model")

    def packed(name: str, tensor: Tensor) -> Parts | None:
        if name not in integers:
            return None
        return _packed(Scaled(*integers[name]), tuple(tensor.shape))

    return packed_state(state, packed, lambda name: id(integers.get(name)))


def _packed(part: Scaled, shape: tuple[int, ...]) -> Parts:
    part = checked_scaled(part)
    if part.q.shape != shape:
        raise ValueError(f"integers of {tuple(part.q.shape)} do not fit the shape {shape}")
    levels = _levels(part.q)
    layout = torch.tensor([levels, *shape], dtype=torch.int32)
    return {"q": _bytes(part.q, levels), "scale": part.scale, "layout": layout}


def _levels(q: Tensor) -> int:
    """2 for signs alone, 3 for ternary numbers, and else 2^b of the bits that the largest needs."""
    if (q.abs() == 1).all():
        return 2
    low, high = int(q.min()), int(q.max())
    if low >= -1 and high <= 1:
        return 3
    return 2 ** (1 + max(high, -low - 1).bit_length())


def _bytes(q: Tensor, levels: int) -> Tensor:
    if levels == 2:
        return pack_bits((q > 0).to(torch.uint8), 1)
    if levels == 3:
        return pack_ternary(q)
    return q.flatten() if levels == 256 else pack_bits(q, levels.bit_length() - 1)


def unpack_integers(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors that `pack_integers` stored, weights as float32, for `load_state_dict`.

    >>> q = torch.tensor([[1, -1], [-1, 1]], dtype=torch.int8)
    >>> unpack_integers(pack_integers({"w": q.float()}, {"w": (q, torch.tensor([[0.5], [2.0]]))}))
    {'w': tensor([[ 0.5000, -0.5000],
            [-2.0000,  2.0000]])}

    Raises `ValueError` where the arrays of a weight contradict each other.
    """
    state, parts = apart(arrays)
    for name, part in parts.items():
        with contradictions(name):
            check_parts(part, ("q", "scale", "layout"), ())
            levels, *shape = layout_of(part)
            q = _integers(part["q"], levels, math.prod(shape)).view(shape)
            found = checked_scaled(Scaled(q, part["scale"]))
            state[name] = found.q * found.scale
    return state


def _integers(stored: Tensor, levels: int, count: int) -> Tensor:
    if levels == 2:
        return unpack_bits(stored, 1, count).to(torch.int8) * 2 - 1
    if levels == 3:
        return unpack_ternary(stored, count)
    if levels == 256:
        return stored
    num_bits = levels.bit_length() - 1
    if levels != 2**num_bits:
        raise ValueError(f"integers of {levels} values have no form here")
    return unpack_bits(stored, num_bits, count, signed=True)

"""Affine quantization: x ≈ scale · (q - zero_point), where q is an integer of few bits.

Choose the parameters, quantize, and pack the bits so that a file is as short as it says.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from shrink.arguments import whole, whole_number
from shrink.quantization.arguments import (
    as_bound,
    check_dense,
    check_floats,
    check_integers,
    packed_bits,
    refuse_nan,
    refuse_nonfinite,
    whole_numbers,
)

CHUNK = 2**20  # numbers at a time: few enough for the cache, many enough to share among threads


@dataclass(frozen=True, eq=False)
class QParams:
    """Scale and zero point, and which integers there are.

    `scale` float32 above 0 and `zero_point` int32 have the same shape: () for a whole tensor, and
    otherwise one that broadcasts against what is quantized, or one for `group` numbers each along
    the last axis. `narrow` leaves out the lowest integer.
    """

    scale: Tensor
    zero_point: Tensor
    num_bits: int = 8
    signed: bool = True
    narrow: bool = False
    group: int | None = None

    @property
    def q_min(self) -> int:
        """The lowest integer: of 8 bits -128, unsigned 0, and one more if `narrow`."""
        return _integers(self.num_bits, self.signed, self.narrow)[0]

    @property
    def q_max(self) -> int:
        """The highest integer: of 8 bits 127, unsigned 255."""
        return _integers(self.num_bits, self.signed, self.narrow)[1]

    @property
    def dtype(self) -> torch.dtype:
        """The smallest type of torch that holds the integers and that it computes with."""
        if self.num_bits <= 8:
            return torch.int8 if self.signed else torch.uint8
        return torch.int16 if self.signed else torch.int32


def _integers(num_bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    num_bits = int(num_bits)  # 2^8 overflows in eight bits
    lowest = -(2 ** (num_bits - 1)) if signed else 0
    return lowest + int(narrow), 2 ** (num_bits - int(signed)) - 1


def choose_qparams(
    x_min: Tensor | float,
    x_max: Tensor | float,
    num_bits: int = 8,
    symmetric: bool = False,
    signed: bool = True,
    narrow: bool = False,
) -> QParams:
    """The scale and zero point with which the integers span x_min to x_max.

    The range is widened to include zero, and zero is exactly q = zero_point. So padding, pruned
    weights and the zeros that a ReLU gives stay zero.

    Args:
        x_min, x_max: floats of one shape, or numbers: one range, or one per channel.
        num_bits: 2 to 16.
        symmetric: zero point 0, and a scale that covers the larger magnitude. The integers reach
            from -2^(b-1) to 2^(b-1) - 1; `signed` must be True.
        narrow: without the lowest integer, so that the others lie evenly around zero. With 2 bits
            these are -1, 0 and 1: ternary.

    A range of no width gets the scale 1 (it holds only zero).

    Source: Jacob et al. 2018, section 2.1 and 3 (uint8, asymmetric); symmetric as in Krishnamoorthi
    2018, section 2.2.

    Raises:
        TypeError: a bound is bool or complex, or not a number, or num_bits is not whole.
        ValueError: a bound is NaN or infinite, x_min is above x_max, num_bits is not 2 to 16, or
            symmetric and unsigned.

    >>> p = choose_qparams(-1.0, 3.0, num_bits=2, signed=False)
    >>> p.scale.item(), p.zero_point.item(), p.q_min, p.q_max  # 0..3 for a width of 4
    (1.3333333730697632, 1, 0, 3)
    """
    num_bits = whole_number("num_bits", num_bits, 2, 16)
    if symmetric and not signed:
        raise ValueError("symmetric quantization is signed: its zero point is 0")
    low, high = torch.broadcast_tensors(as_bound(x_min, "x_min"), as_bound(x_max, "x_max"))
    refuse_nonfinite(torch.stack([low, high]), "the range")
    if (low > high).any():
        worst = (low - high).argmax()
        raise ValueError(
            f"x_min must not be above x_max, got {low.flatten()[worst]} and {high.flatten()[worst]}"
        )
    low, high = low.clamp(max=0).double(), high.clamp(min=0).double()
    q_min, q_max = _integers(num_bits, signed, narrow)
    if symmetric:
        scale = torch.maximum(high / q_max, low / q_min)
    else:
        scale = (high - low) / (q_max - q_min)
    scale = torch.where(scale > 0, scale, 1).float().clamp(min=torch.finfo(torch.float32).tiny)
    if symmetric:
        zero_point = torch.zeros_like(scale)
    else:
        zero_point = (q_min - low / scale).round().clamp(q_min, q_max)
    return QParams(scale, zero_point.int(), num_bits, signed, narrow)


def qparams_of(
    x: Tensor,
    num_bits: int = 8,
    symmetric: bool = False,
    signed: bool = True,
    narrow: bool = False,
    axis: int | None = None,
    group: int | None = None,
) -> QParams:
    """The parameters that span a tensor's values: one range for all, or one for each of its parts.

    Args:
        x: float, any shape, also empty.
        axis: a range for each index along this axis, a *channel*: 0 for the outputs of a linear
            layer or a convolution. Scale and zero point have x's axes, all of length 1 but this.
        group: a range for so many numbers in a row along the last axis; the last group of a row may
            be shorter. Scale and zero point then have ⌈columns / group⌉ columns.

    The others are those of `choose_qparams`.

    Raises:
        TypeError: x is not floating point, or sparse; or num_bits or group is not whole.
        ValueError: x has NaN or infinities (with how many), both `axis` and `group` are given,
            x has no such axis, or group is below 1.

    >>> rows = torch.tensor([[-1.0, 1.27], [0.0, 12.7]])
    >>> qparams_of(rows, symmetric=True, axis=0).scale.flatten()
    tensor([0.0100, 0.1000])
    """
    check_floats(x)
    refuse_nonfinite(x, "the tensor")
    if axis is not None and group is not None:
        raise ValueError(f"either an axis or a group, got axis {axis} and group {group}")
    options = (num_bits, symmetric, signed, narrow)
    if group is not None:
        return _by_group(x, group, options)
    if axis is None:
        low, high = (x.min(), x.max()) if x.numel() else (x.new_zeros(()), x.new_zeros(()))
        return choose_qparams(low, high, *options)
    channel = whole(axis)
    if channel is None or not -x.dim() <= channel < x.dim():
        raise ValueError(f"no axis {axis!r} in a tensor of shape {tuple(x.shape)}")
    others = [d for d in range(x.dim()) if d != channel % x.dim()]
    if not others:  # amin over no axis would be amin over all
        return choose_qparams(x, x, *options)
    if x.numel() == 0:
        shape = [1 if d in others else x.shape[d] for d in range(x.dim())]
        return choose_qparams(x.new_zeros(shape), x.new_zeros(shape), *options)
    return choose_qparams(x.amin(others, keepdim=True), x.amax(others, keepdim=True), *options)


def _by_group(x: Tensor, group: int, options: tuple) -> QParams:
    group = whole_number("group", group, 1)
    if x.dim() == 0:
        raise ValueError("groups are of numbers in a row, and the tensor has no axis")
    missing = -x.shape[-1] % group
    padded = torch.nn.functional.pad(x, (0, missing))  # with zeros, which every range holds
    parts = padded.unflatten(-1, (-1, group))
    low, high = (parts.amin(-1), parts.amax(-1)) if parts.numel() else (parts.sum(-1),) * 2
    chosen = choose_qparams(low, high, *options)
    return replace(chosen, group=group)


def quantize(x: Tensor, qparams: QParams) -> Tensor:
    """The nearest integers, q = round(x / scale) + zero_point; numbers outside saturate.

    Halves are rounded to even. An infinity becomes the lowest or highest integer.

    Args:
        x: float, of a shape that the parameters broadcast against.

    Returns:
        Integers of x's shape in the type `qparams.dtype`: int8 or uint8 up to 8 bits.

    Source: Jacob et al. 2018, equation 1 and section 3.
    Differs: x, as float32, is multiplied by the reciprocal of the scale, as torch does; near a half
    dividing may give the neighbour.

    Raises:
        TypeError: x is not floating point, or sparse.
        ValueError: x has NaN, which no integer stands for (with how many); or its shape does not
            fit.

    >>> p = QParams(torch.tensor(0.5), torch.tensor(3, dtype=torch.int32))
    >>> quantize(torch.tensor([0.0, 0.25, 0.75, -100.0, 100.0]), p)  # 0.5 and 1.5 are halves
    tensor([   3,    3,    5, -128,  127], dtype=torch.int8)
    """
    check_floats(x)
    scale, zero_point = fitted(qparams, x)
    factor = scale.reciprocal()
    q = torch.empty(x.shape, dtype=qparams.dtype, device=x.device)
    if scale.numel() != 1 or x.device.type != "cpu":
        nearest = (x.detach().float() * factor).round_().add_(zero_point)
        nearest.clamp_(qparams.q_min, qparams.q_max)
        refuse_nan(nearest.sum(), x)
        return q.copy_(nearest)
    factor, zero_point = factor.reshape(()), zero_point.reshape(())
    flat, room = x.detach().reshape(-1), torch.empty(min(CHUNK, x.numel()))
    for some, into in zip(flat.split(CHUNK), q.view(-1).split(CHUNK), strict=True):
        nearest = torch.mul(some.float(), factor, out=room[: len(some)]).round_().add_(zero_point)
        into.copy_(nearest.clamp_(qparams.q_min, qparams.q_max))
        refuse_nan(nearest.sum(), x)  # all else is finite now, and their sum with it
    return q


def dequantize(q: Tensor, qparams: QParams) -> Tensor:
    """The floats that the integers stand for, scale · (q - zero_point), float32 of q's shape.

    Raises `TypeError` when q has no integers, and `ValueError` when its shape does not fit.

    >>> p = QParams(torch.tensor(0.5), torch.tensor(3, dtype=torch.int32))
    >>> dequantize(torch.tensor([3, 5, -128], dtype=torch.int8), p)
    tensor([  0.0000,   1.0000, -65.5000])
    """
    check_integers(q)
    scale, zero_point = fitted(qparams, q)
    return (q.int() - zero_point) * scale  # int8 would wrap: -128 - 3 is 125


def fake_quantize(x: Tensor, qparams: QParams) -> Tensor:
    """Quantize and dequantize: x with its rounding and clipping errors, float32 of x's shape.

    >>> p = choose_qparams(-1.0, 1.0, num_bits=2, symmetric=True, narrow=True)
    >>> fake_quantize(torch.tensor([-5.0, -0.6, 0.2, 0.5, 0.6]), p)
    tensor([-1., -1.,  0.,  0.,  1.])
    """
    return dequantize(quantize(x, qparams), qparams)


def pack_bits(q: Tensor, num_bits: int) -> Tensor:
    """Integers of few bits, one after the other: uint8 of ⌈n · num_bits / 8⌉ bytes.

    Args:
        q: n integers, any shape: 0 to 2^b - 1, or -2^(b-1) to 2^(b-1) - 1, which is stored as its
            two's complement. The highest bit of each comes first.
        num_bits: 1 to 7.

    Raises:
        TypeError: q is bool, complex or sparse, or num_bits is not whole.
        ValueError: a value needs more bits or is not whole, or num_bits is not 1 to 7.

    >>> pack_bits(torch.tensor([1, 2, 3, 0, 2]), num_bits=2)  # 01 10 11 00 | 10
    tensor([108, 128], dtype=torch.uint8)
    """
    num_bits = packed_bits(num_bits)
    values = whole_numbers(q).cpu().flatten()
    low, high = -(2 ** (num_bits - 1)), 2**num_bits - 1
    if len(values) and (values.min() < 0 or values.max() > high):
        high = 2 ** (num_bits - 1) - 1
        if values.min() < low or values.max() > high:
            found = f"{int(values.min())} to {int(values.max())}"
            raise ValueError(f"{found} is more than {num_bits} bits hold")
    bits = np.unpackbits(values.numpy().astype(np.uint8)[:, None], axis=1)[:, 8 - num_bits :]
    return torch.from_numpy(np.packbits(bits)).to(q.device)


def unpack_bits(packed: Tensor, num_bits: int, count: int, signed: bool = False) -> Tensor:
    """The `count` integers that `pack_bits` was given: (count,) uint8, or int8 if signed.

    Raises:
        TypeError: `packed` is no tensor, or num_bits or count is not whole.
        ValueError: num_bits is not 1 to 7, `packed` is not uint8 of one axis, or its length is
            not that of so many integers.

    >>> unpack_bits(torch.tensor([108, 128], dtype=torch.uint8), num_bits=2, count=5)
    tensor([1, 2, 3, 0, 2], dtype=torch.uint8)
    >>> unpack_bits(torch.tensor([108, 128], dtype=torch.uint8), num_bits=2, count=5, signed=True)
    tensor([ 1, -2, -1,  0, -2], dtype=torch.int8)
    """
    num_bits, count = packed_bits(num_bits), whole_number("count", count, 0)
    check_dense(packed, "packed")
    if packed.dtype != torch.uint8 or packed.dim() != 1:
        raise ValueError(f"packed must be uint8 of one axis, got {packed.dtype}, {packed.dim()}")
    if len(packed) != -(-count * num_bits // 8):
        raise ValueError(f"{count} numbers of {num_bits} bits are not {len(packed)} bytes")
    bits = np.zeros((count, 8), np.uint8)
    used = np.unpackbits(packed.cpu().numpy(), count=count * num_bits)
    bits[:, 8 - num_bits :] = used.reshape(count, num_bits)
    values = np.packbits(bits)
    if signed:
        unused = 8 - num_bits
        values = (values << unused).view(np.int8) >> unused  # the sign bit fills up what is above
    return torch.from_numpy(values).to(packed.device)


def fitted(qparams: QParams, x: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and zero point as they broadcast against x; `ValueError` where shapes do not fit."""
    both = (qparams.scale, qparams.zero_point)
    if qparams.group is not None:
        both = (p.repeat_interleave(qparams.group, -1)[..., : x.shape[-1]] for p in both)
    scale, zero_point = both
    try:
        fits = torch.broadcast_shapes(scale.shape, x.shape) == x.shape
    except RuntimeError:
        fits = False
    if not fits:
        shapes = f"{tuple(scale.shape)} do not fit a tensor of shape {tuple(x.shape)}"
        raise ValueError(f"parameters of shape {shapes}")
    return scale, zero_point

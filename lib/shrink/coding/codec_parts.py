"""What goes into a Deep Compression file, put into the one form that the file has for it."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from shrink.arguments import whole_number
from shrink.coding.codec_format import VALUES
from shrink.coding.stored import INTEGERS, plain
from shrink.quantization import QParams, dequantize
from shrink.sharing import Shared


@dataclass(frozen=True, eq=False)
class Quantized:
    """A tensor as integers of 2 to 8 bits, int8, and their parameters (`shrink.quantization`)."""

    q: Tensor
    qparams: QParams


@dataclass(frozen=True, eq=False)
class Scaled:
    """A tensor as integers times scales, of which there are few: coded, not packed.

    `q` is int8 and `scale` float32, finite, () or with q's axes, each 1 or as long: what binary,
    ternary and other weights are that were trained so. Signs take a bit each, and numbers of
    unlike frequency less than their bits.
    """

    q: Tensor
    scale: Tensor


@dataclass(frozen=True, eq=False)
class ArithmeticCoded(Scaled):
    """As `Scaled`, for integers most of which are 0: all such of a file share one arithmetic code.

    There are no tables and no streams of their own (see `coding.arithmetic`), so this is for small
    files, and takes a microsecond or two for each number. A scale that half precision holds exactly
    takes two bytes.
    """


Part = Tensor | Shared | Quantized | Scaled  # an ArithmeticCoded is a Scaled


def shape_of(part: Part) -> tuple[int, ...]:
    """The shape of the tensor that `decode` gives back."""
    if isinstance(part, Shared):
        return tuple(part.assignments.shape)
    return tuple(part.q.shape if isinstance(part, Quantized | Scaled) else part.shape)


def checked_shared(part: Shared, most: int = VALUES) -> Shared:
    """The shared weight on the CPU, its numbers int64: they and `zero` are of values that it has.

    Args:
        part: what `sharing.share` gives, or is made by hand.
        most: values that a codebook has at most.

    Raises:
        TypeError: the codebook is not float32, or the numbers or `zero` are no integers.
        ValueError: the codebook has another number of axes or values, one that is not finite, or
            lacks a number.
    """
    codebook, numbers = plain(part.codebook), plain(part.assignments)
    if codebook.dtype != torch.float32:
        raise TypeError(f"a codebook is float32, not {codebook.dtype}: take its float()")
    if numbers.dtype not in INTEGERS:
        raise TypeError(f"numbers into a codebook are integers, not {numbers.dtype}")
    if codebook.dim() != 1:
        raise ValueError(f"a codebook has one axis, not the shape {tuple(codebook.shape)}")
    k, numbers = len(codebook), numbers.long()
    if not 1 <= k <= most:
        raise ValueError(f"a codebook in a file has 1 to {most} values, not {k}")
    if len(wrong := codebook[~codebook.isfinite()]):
        raise ValueError(f"a codebook holds finite values, not {wrong[:9].tolist()}")
    _check_range(numbers, 0, k - 1, f"numbers into {k} values")
    zero = (
        None if part.zero is None else whole_number("the number of the zero", part.zero, 0, k - 1)
    )
    return Shared(codebook, numbers, zero)


def checked_quantized(part: Quantized) -> Quantized:
    """The integers on the CPU; scale and zero point of one shape, with q's axes or with none.

    Raises:
        TypeError: the parameters are no `QParams`, or scale or zero point of another type.
        ValueError: the integers are not signed ones of 2 to 8 bits, do not fit their bits or their
            parameters, or a scale is not finite and above 0.
    """
    q, p = plain(part.q), part.qparams
    if not isinstance(p, QParams):
        raise TypeError(f"the parameters of integers are QParams, not a {type(p).__name__}")
    bits = whole_number("the number of bits", p.num_bits, 2, 16)
    if not (p.signed and bits <= 8 and q.dtype == torch.int8):
        raise ValueError(f"signed integers of 2 to 8 bits are stored, not {q.dtype}, {bits}")
    scale, zero_point = plain(p.scale), plain(p.zero_point)
    if scale.dtype != torch.float32 or zero_point.dtype not in INTEGERS:
        found = f"{scale.dtype} and {zero_point.dtype}"
        raise TypeError(f"scales are float32 and zero points integers, not {found}")
    if len(wrong := scale[~((scale > 0) & scale.isfinite())]):
        raise ValueError(f"scales are finite and above 0, not {wrong[:9].tolist()}")
    p = replace(p, num_bits=bits, scale=scale, zero_point=zero_point.long())
    _check_range(q, p.q_min, p.q_max, f"integers of {bits} bits")
    _check_range(p.zero_point, p.q_min, p.q_max, f"zero points of {bits} bits")
    return Quantized(q, _with_axes_of(q, p))


def checked_scaled(part: Scaled) -> Scaled:
    """The integers and their scales on the CPU.

    Raises:
        TypeError: the integers are not int8, or the scales not float32.
        ValueError: a scale is not finite, or the scales do not fit the integers.
    """
    q, scale = plain(part.q), plain(part.scale)
    if (q.dtype, scale.dtype) != (torch.int8, torch.float32):
        raise TypeError(f"integers are int8 and scales float32, not {q.dtype} and {scale.dtype}")
    if not fits(tuple(scale.shape), tuple(q.shape)):
        raise ValueError(f"scales of {tuple(scale.shape)} do not fit the shape {tuple(q.shape)}")
    if len(wrong := scale[~scale.isfinite()]):
        raise ValueError(f"scales are finite, not {wrong[:9].tolist()}")
    return replace(part, q=q, scale=scale)


def fits(parts: tuple[int, ...], shape: tuple[int, ...], group: int | None = None) -> bool:
    """Whether scales of these sizes are for a tensor of this shape: one for all, or its axes.

    Along an axis there is one scale or one for each number; of groups, one for each group.

    >>> fits((), (2, 3)), fits((2, 1), (2, 3)), fits((2, 2), (2, 3), group=2), fits((3,), (2, 3))
    (True, True, True, False)
    """
    if not parts or not shape:
        return not parts and group is None
    columns = (shape[-1], 1) if group is None else (-(-shape[-1] // group),)
    axes = [*((size, 1) for size in shape[:-1]), columns]
    return len(parts) == len(axes) and all(n in ok for n, ok in zip(parts, axes, strict=True))


def _with_axes_of(q: Tensor, p: QParams) -> QParams:
    """Parameters of the same meaning whose axes are q's: of a group one column, else as long or 1.

    One scale and zero point for all stay without axes.
    """
    columns = q.shape[-1] if q.dim() else 1
    both = [p.scale, p.zero_point]
    if p.group is not None:
        if not all(t.dim() for t in (q, *both)):
            raise ValueError("groups are those of a row: integers, scales and zero points have one")
        group = min(whole_number("group", p.group, 1, 2**62), max(columns, 1))
        both = [t[..., : -(-columns // group)] for t in both]
        p = replace(p, group=group)
    p = replace(p, scale=both[0], zero_point=both[1])
    dequantize(q, p)  # raises where the shapes do not fit
    scale, zero_point = torch.broadcast_tensors(*both)
    if not scale.dim():
        return p
    shape = (1,) * (q.dim() - scale.dim()) + scale.shape
    if p.group is not None:
        shape = (*shape[:-1], -(-columns // p.group))
    return replace(p, scale=scale.expand(shape), zero_point=zero_point.expand(shape))


def _check_range(numbers: Tensor, low: int, high: int, what: str) -> None:
    if not numbers.numel():
        return
    least, most = int(numbers.min()), int(numbers.max())
    if not low <= least <= most <= high:
        raise ValueError(f"{what} are {low} to {high}, not {least} to {most}")

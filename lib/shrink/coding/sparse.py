"""Sparse formats: what pruned weights weigh once the zeros are not stored.

A format turns a weight into a few named arrays, which any file can hold, and back. Weights may be
on any device; the arrays, and the weights decoded from them, are on the CPU. Every format gives
back each value bit for bit, NaN and infinity too; only -0.0 is a zero, and comes back as 0.0 from
all formats but "dense".
"""

import math
from bisect import bisect_right
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from shrink.arguments import whole_number
from shrink.coding.stored import named, plain
from shrink.tensors import check_plain

FORMATS = ("dense", "bitmap", "csr", "relative")

_VALUES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8)
_DTYPES = {
    "shape": (torch.int32,),
    "bitmap": (torch.uint8,),
    "row_starts": (torch.int32,),
    "columns": (torch.uint8, torch.int16, torch.int32),
    "gap_bits": (torch.uint8,),
    "gaps": (torch.uint8,),
    "values": _VALUES,
}
_MOST_WEIGHTS = 2**31 - 1  # so that int32 counts them; a damaged shape is refused, not allocated
_MOST_AXES = 8


def encode(weight: Tensor, format: str, gap_bits: int = 5) -> dict[str, Tensor]:
    """The weight as the named arrays of a format; `encode_bitmap` and the others say which.

    >>> encode(torch.tensor([[0.0, 2.0], [0.0, 0.0]]), "csr")["row_starts"]
    tensor([0, 1, 1], dtype=torch.int32)

    Args:
        weight: 1 to 8 axes, float16, bfloat16, float32, float64 or int8, on any device.
        format: one of `FORMATS`.
        gap_bits: 1 to 8, for "relative" alone.

    Returns:
        name → new tensor on the CPU.

    Raises:
        TypeError: `weight` is no plain tensor of these types (it is sparse, say), or `gap_bits` no
            whole number.
        ValueError: `format` is unknown, `weight` has no axis, more than 8 or more than 2³¹ - 1
            values, or `gap_bits` lies outside 1 to 8.
    """
    if _known(format) == "relative":
        return encode_relative(weight, gap_bits)
    encoders = {"dense": encode_dense, "bitmap": encode_bitmap, "csr": encode_csr}
    return encoders[format](weight)


def decode(arrays: Mapping[str, Tensor], format: str) -> Tensor:
    """The weight that `encode` was given, from the arrays of that format and no others.

    >>> decode(encode(torch.tensor([[0.0, 2.0], [0.0, 0.0]]), "relative"), "relative")
    tensor([[0., 2.], [0., 0.]])

    Returns:
        new tensor on the CPU, of the shape and type of the weight encoded.

    Raises:
        TypeError: an array is no tensor or of a type that the format does not have.
        ValueError: `format` is unknown, an array is missing or there is one too many, or they
            contradict each other; the message names the one that is wrong.
    """
    decoders = {
        "dense": decode_dense,
        "bitmap": decode_bitmap,
        "csr": decode_csr,
        "relative": decode_relative,
    }
    return decoders[_known(format)](arrays)


def num_bytes(arrays: Mapping[str, Tensor]) -> int:
    """The bytes of all arrays together; a file adds a header.

    >>> num_bytes(encode_dense(torch.zeros(300, 784)))
    940800
    """
    return sum(array.numel() * array.element_size() for array in arrays.values())


def encode_dense(weight: Tensor) -> dict[str, Tensor]:
    """All values, zeros too: {"values": weight}."""
    return {"values": _checked(weight).cpu().clone(memory_format=torch.contiguous_format)}


def decode_dense(arrays: Mapping[str, Tensor]) -> Tensor:
    """The weight that `encode_dense` was given; see `decode`."""
    return _checked(_take(arrays, "values")[0]).clone()


def encode_bitmap(weight: Tensor) -> dict[str, Tensor]:
    """One bit a weight, 1 where it is not zero, and the values that are not zero.

    >>> encode_bitmap(torch.tensor([0, 7, 0, 0, 0, 0, 0, 9, 5], dtype=torch.int8))["bitmap"]
    tensor([ 65, 128], dtype=torch.uint8)

    Returns:
        shape, int32 (axes,); bitmap, uint8 (⌈n / 8⌉,), row by row, the first weight in the highest
        bit of the first byte; values, (nonzeros,).
    """
    flat, positions = _nonzeros(weight)
    bits = np.zeros(len(flat), np.uint8)
    bits[positions.numpy()] = 1
    bitmap = torch.from_numpy(np.packbits(bits))
    return {"shape": _shape_array(weight), "bitmap": bitmap, "values": flat[positions]}


def decode_bitmap(arrays: Mapping[str, Tensor]) -> Tensor:
    """The weight that `encode_bitmap` was given; see `decode`."""
    shape, bitmap, values = _take(arrays, "shape", "bitmap", "values")
    sizes = _sizes(shape)
    n = math.prod(sizes)
    _check_length("bitmap", bitmap, -(-n // 8), f"{n} weights")
    positions = np.unpackbits(bitmap.numpy(), count=n).nonzero()[0]
    _check_length("values", values, len(positions), "the ones in the bitmap")
    return _scatter(values, torch.from_numpy(positions), sizes)


def encode_csr(weight: Tensor) -> dict[str, Tensor]:
    """Compressed sparse rows: a column and a value for each nonzero, and where each row starts.

    The first axis is the rows, all others together are the columns.

    >>> encode_csr(torch.tensor([[0.0, 2.0, 3.0], [0.0, 0.0, 4.0]]))["columns"]
    tensor([1, 2, 2], dtype=torch.uint8)

    Returns:
        shape, int32 (axes,); row_starts, int32 (rows + 1,), of which the last is the number of
        nonzeros; columns, (nonzeros,), the smallest of uint8, int16 and int32 that can number the
        columns there are; values, (nonzeros,).
    """
    flat, positions = _nonzeros(weight)
    columns = math.prod(weight.shape[1:])
    per_row = torch.bincount(positions // max(columns, 1), minlength=len(weight))
    return {
        "shape": _shape_array(weight),
        "row_starts": nn.functional.pad(per_row.cumsum(0), (1, 0)).to(torch.int32),
        "columns": (positions % max(columns, 1)).to(_column_type(columns)),
        "values": flat[positions],
    }


def decode_csr(arrays: Mapping[str, Tensor]) -> Tensor:
    """The weight that `encode_csr` was given; see `decode`."""
    sizes, rows, columns, values = _take_csr(arrays)
    positions = rows * math.prod(sizes[1:]) + columns
    if bool((positions.diff() <= 0).any()):
        raise ValueError("columns do not increase within a row")
    return _scatter(values, positions, sizes)


def csr_matmul(arrays: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """x @ W.T, with the kept weights alone: gather, multiply, add up row by row.

    >>> csr_matmul(encode_csr(torch.tensor([[0.0, 2.0], [3.0, 0.0]])), torch.tensor([[1.0, 10.0]]))
    tensor([[20.,  3.]])

    Args:
        arrays: what `encode_csr` returns, on any device.
        x: (batch, columns), floating point, of the type of the values.

    Returns:
        (batch, rows), of the type and device of `x`; the dense product to rounding.

    Raises:
        TypeError: `x` is no floating-point tensor, or of another type than the values.
        ValueError: `x` has another shape, or `arrays` are damaged (see `decode`).
    """
    sizes, rows, columns, values = _take_csr(arrays)
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.dtype != values.dtype:
        got = getattr(x, "dtype", type(x).__name__)
        raise TypeError(f"x must be a floating-point tensor of {values.dtype} values, not {got}")
    check_plain("x", x)
    if x.dim() != 2 or x.shape[1] != math.prod(sizes[1:]):
        raise ValueError(f"x must be (batch, {math.prod(sizes[1:])}), not {tuple(x.shape)}")
    rows, columns, values = (array.to(x.device) for array in (rows, columns, values))
    products = x.T.contiguous()[columns] * values[:, None]  # (nonzeros, batch)
    return x.new_zeros(sizes[0], len(x)).index_add(0, rows, products).T.contiguous()


def relative_indices(weight: Tensor, gap_bits: int = 5) -> tuple[Tensor, Tensor]:
    """Each nonzero with the number of zeros since the one before, in few bits.

    A gap is 0 to 2^gap_bits - 1 zeros. Where more come, a filler is stored: the greatest gap, with
    the value 0, which takes 2^gap_bits places. Zeros after the last nonzero are not stored.

    >>> weight = torch.zeros(16)
    >>> weight[[1, 4, 15]] = torch.tensor([3.4, 0.9, 1.7])
    >>> relative_indices(weight, gap_bits=3)
    (tensor([1, 2, 7, 2], dtype=torch.uint8), tensor([3.4000, 0.9000, 0.0000, 1.7000]))

    Args:
        weight: as for `encode`; it is gone through row by row.
        gap_bits: 1 to 8.

    Returns:
        gaps, uint8 (entries,), and values, (entries,), of the weight's type; both on the CPU.

    Raises:
        TypeError, ValueError: as `encode`.

    Source: Han, Mao, Dally 2016, "Deep Compression", section 2, figure 2 (the example above).
    Differs: the figure stores the difference of positions, 1, 3, 8 (the filler), 3. An 8 does not
        fit in 3 bits, and between weights a 0 never comes; the difference minus one fits.
    """
    flat, positions = _nonzeros(weight)
    reach = 2 ** _check_gap_bits(gap_bits)
    zeros = positions.diff(prepend=torch.tensor([-1])) - 1
    ends = (zeros // reach + 1).cumsum(0) - 1  # the entry of each nonzero, its fillers before it
    entries = int(ends[-1]) + 1 if len(ends) else 0
    gaps = torch.full((entries,), reach - 1, dtype=torch.uint8)
    gaps[ends] = (zeros % reach).to(torch.uint8)
    values = torch.zeros(entries, dtype=flat.dtype)
    values[ends] = flat[positions]
    return gaps, values


def encode_relative(weight: Tensor, gap_bits: int = 5) -> dict[str, Tensor]:
    """The entries of `relative_indices`, their gaps packed to `gap_bits` bits each.

    Returns:
        shape, int32 (axes,); gap_bits, uint8 (1,); gaps, uint8 (⌈entries · gap_bits / 8⌉,), one
        stream of bits, the highest first; values, (entries,), the fillers' zeros too.
    """
    gap_bits = _check_gap_bits(gap_bits)
    gaps, values = relative_indices(weight, gap_bits)
    bits = np.unpackbits(gaps.numpy()[:, None], axis=1)[:, 8 - gap_bits :]
    return {
        "shape": _shape_array(weight),
        "gap_bits": torch.tensor([gap_bits], dtype=torch.uint8),
        "gaps": torch.from_numpy(np.packbits(bits)),
        "values": values,
    }


def decode_relative(arrays: Mapping[str, Tensor]) -> Tensor:
    """The weight that `encode_relative` was given; see `decode`."""
    shape, gap_bits, packed, values = _take(arrays, "shape", "gap_bits", "gaps", "values")
    sizes, entries = _sizes(shape), len(values)
    _check_length("gap_bits", gap_bits, 1, "all gaps")
    width = _check_gap_bits(int(gap_bits))
    _check_length("gaps", packed, -(-entries * width // 8), f"{entries} values of {width} bits")
    bits = np.zeros((entries, 8), np.uint8)
    bits[:, 8 - width :] = np.unpackbits(packed.numpy(), count=entries * width).reshape(-1, width)
    gaps = torch.from_numpy(np.packbits(bits))
    positions = (gaps.long() + 1).cumsum(0) - 1
    if entries and int(positions[-1]) >= math.prod(sizes):
        raise ValueError(f"gaps lead to place {int(positions[-1])}, beyond the shape {sizes}")
    return _scatter(values, positions, sizes)


def break_even(
    format: str, rows: int, columns: int, value_bits: int = 32, gap_bits: int = 5
) -> float:
    """The smallest sparsity at which a matrix is no longer in this format than dense.

    Counted are the arrays, shape and row starts too. For "relative" no fillers are: a filler needs
    2^gap_bits zeros in a row, which is rare where the format breaks even.

    >>> [round(break_even(f, 300, 784), 4) for f in FORMATS]
    [0.0, 0.0313, 0.3342, 0.1351]

    Args:
        format: one of `FORMATS`.
        rows, columns: the shape, each at least 1.
        value_bits: bits of a value, dense or sparse alike, 1 to 64; values are packed to bytes.
        gap_bits: 1 to 8, for "relative" alone.

    Returns:
        zeros / (rows · columns), or infinity where even a matrix of zeros is longer.

    Raises:
        TypeError: a number is not whole.
        ValueError: `format` is unknown or a number out of range.
    """
    _known(format)
    rows = whole_number("rows", rows, 1, _MOST_WEIGHTS)
    columns = whole_number("columns", columns, 1, _MOST_WEIGHTS // rows)
    value_bits, gap_bits = whole_number("value_bits", value_bits, 1, 64), _check_gap_bits(gap_bits)
    n = rows * columns
    dense = -(-n * value_bits // 8)
    overhead = {  # bytes besides the values, as a function of how many are kept
        "dense": lambda kept: dense - -(-kept * value_bits // 8),
        "bitmap": lambda kept: 8 + -(-n // 8),
        "csr": lambda kept: 8 + 4 * (rows + 1) + kept * _column_type(columns).itemsize,
        "relative": lambda kept: 8 + 1 + -(-kept * gap_bits // 8),
    }[format]
    fits = bisect_right(range(n + 1), dense, key=lambda k: -(-k * value_bits // 8) + overhead(k))
    return (n - (fits - 1)) / n if fits else math.inf


def _nonzeros(weight: Tensor) -> tuple[Tensor, Tensor]:
    """The weight as one row on the CPU, and the places in it that are not zero, int64."""
    flat = _checked(weight).flatten().cpu()
    return flat, (flat != 0).nonzero().flatten()


def _scatter(values: Tensor, positions: Tensor, sizes: tuple[int, ...]) -> Tensor:
    flat = torch.zeros(math.prod(sizes), dtype=values.dtype)
    flat[positions] = values
    return flat.view(sizes)


def _shape_array(weight: Tensor) -> Tensor:
    return torch.tensor(weight.shape, dtype=torch.int32)


def _column_type(columns: int) -> torch.dtype:
    return next(t for t in _DTYPES["columns"] if columns - 1 <= torch.iinfo(t).max)


def _take(arrays: Mapping[str, Tensor], *names: str) -> list[Tensor]:
    """The arrays of these names, on the CPU; each of a right type and, dense excepted, one axis."""
    if not isinstance(arrays, Mapping):
        raise TypeError(f"arrays must map names to tensors, not be a {type(arrays).__name__}")
    if set(arrays) != set(names):
        raise ValueError(f"arrays must be {', '.join(names)}, not {', '.join(map(str, arrays))}")
    for name in names:
        array = arrays[name]
        if not isinstance(array, Tensor) or array.dtype not in _DTYPES[name]:
            got = getattr(array, "dtype", type(array).__name__)
            raise TypeError(f"{name} must be a tensor of {_DTYPES[name]}, not {got}")
        if len(names) > 1 and array.dim() != 1:
            raise ValueError(f"{name} must have one axis, not the shape {tuple(array.shape)}")
    return [arrays[name].detach().cpu() for name in names]


def _take_csr(arrays: Mapping[str, Tensor]) -> tuple[tuple[int, ...], Tensor, Tensor, Tensor]:
    """The shape, and the row, the column and the value of each nonzero."""
    shape, starts, columns, values = _take(arrays, "shape", "row_starts", "columns", "values")
    sizes = _sizes(shape)
    _check_length("row_starts", starts, sizes[0] + 1, f"{sizes[0]} rows and their end")
    _check_length("columns", columns, len(values), "the values")
    per_row = starts.diff()
    if int(starts[0]) != 0 or bool((starts[1:] < starts[:-1]).any()):
        raise ValueError("row_starts must begin with 0 and never fall")
    if int(starts[-1]) != len(values):
        raise ValueError(f"row_starts end at {int(starts[-1])}, but there are {len(values)} values")
    across = math.prod(sizes[1:])
    if columns.dtype != _column_type(across):
        raise TypeError(f"columns are {columns.dtype}, not {_column_type(across)} for {across}")
    if len(columns) and not 0 <= int(columns.min()) <= int(columns.max()) < across:
        raise ValueError(f"columns must lie between 0 and {across - 1}")
    return sizes, torch.arange(sizes[0]).repeat_interleave(per_row), columns.long(), values


def _sizes(shape: Tensor) -> tuple[int, ...]:
    if not 1 <= len(shape) <= _MOST_AXES:
        raise ValueError(f"shape must have 1 to {_MOST_AXES} axes, not {len(shape)}")
    sizes = tuple(shape.tolist())
    if min(sizes) < 0 or math.prod(max(size, 1) for size in sizes) > _MOST_WEIGHTS:
        raise ValueError(f"shape {sizes} is not that of 0 to {_MOST_WEIGHTS} weights")
    return sizes


def _checked(weight: Tensor) -> Tensor:
    if not isinstance(weight, Tensor):
        raise TypeError(f"weight must be a tensor, not a {type(weight).__name__}")
    with named("weight"):
        weight = plain(weight)
    if weight.dtype not in _VALUES:
        raise TypeError(f"weight must be of one of {_VALUES}, not {weight.dtype}")
    _sizes(torch.tensor(weight.shape, dtype=torch.int64))
    return weight


def _check_length(name: str, array: Tensor, length: int, of: str) -> None:
    if len(array) != length:
        raise ValueError(f"{name} has {len(array)} elements, not {length}, for {of}")


def _check_gap_bits(gap_bits: int) -> int:
    return whole_number("gap_bits", gap_bits, 1, 8)


def _known(format: str) -> str:
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")
    return format

"""The Deep Compression file: a network's tensors, each as short as it was made, in one file.

A weight that is pruned and shared becomes gaps and numbers of values, both coded; a quantized
tensor its integers, packed; anything else its bytes. `codec_reader` reads it.

    "SHRK", version, number of tensors
    of each tensor: name, kind, shape, and what the kind needs
    CRC-32 of all that
"""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from shrink.coding import ans, huffman
from shrink.coding.codec_reader import (
    AXES,
    CODES,
    DENSE,
    DTYPES,
    MAGIC,
    MOST,
    NAME,
    QUANTIZED,
    SHARED,
    SPARSE,
    TENSORS,
    VERSION,
    CodecError,
    Reader,
    Region,
)
from shrink.coding.sparse import relative_indices
from shrink.files import write_atomically
from shrink.quantization import QParams, dequantize, pack_bits
from shrink.sharing import Shared

LONGEST = 15  # bits of a Huffman code, so that its length takes 4


@dataclass(frozen=True, eq=False)
class Quantized:
    """A tensor as integers of 2 to 8 bits, int8, and their parameters (`shrink.quantization`)."""

    q: Tensor
    qparams: QParams


Part = Tensor | Shared | Quantized
Shapes = Mapping[str, tuple[int, ...]]


def save(parts: Mapping[str, Part], path: Path | str, **options: object) -> int:
    """Write the file that `encode` describes; return its length in bytes.

    The file appears whole or not at all. The arguments and errors are those of `encode`.
    """
    return write_atomically(path, encode(parts, **options))


def load(path: Path | str, most: int = MOST, expected: Shapes | None = None) -> dict[str, Tensor]:
    """The tensors in a file that `save` wrote, on the CPU, for `load_state_dict`.

    Arguments and errors are those of `decode`; the errors name the file.
    """
    try:
        return decode(Path(path).read_bytes(), most, expected)
    except CodecError as error:
        raise CodecError(f"{path}: {error}") from None


def encode(
    parts: Mapping[str, Part], code: str | None = None, gap_bits: int | None = None
) -> bytes:
    """A network's tensors as the bytes of a file.

    >>> shared = Shared(torch.tensor([0.0, 2.5]), torch.tensor([[0, 1], [0, 0]]), zero=0)
    >>> content = encode({"fc.weight": shared, "fc.bias": torch.ones(2)})
    >>> decode(content)
    {'fc.weight': tensor([[0.0000, 2.5000],
            [0.0000, 0.0000]]), 'fc.bias': tensor([1., 1.])}

    Args:
        parts: name → a tensor, which is stored as it is; or what sharing or quantizing made of it,
            which `decode` gives back as float32. A shared weight that keeps zeros is stored as gaps
            and values, or without gaps, whichever is shorter. A codebook has at most 256 values.
        code: one of `CODES`, for gaps and values; None takes the shortest for each.
        gap_bits: 1 to 8, for weights that keep zeros; None takes for each what should be shortest
            by its entropy.

    Source: Han, Mao, Dally 2016, "Deep Compression", sections 2 to 4.
    Differs: the paper gives no file. Ours has relative indices as `sparse.relative_indices`.

    Raises:
        TypeError: something is none of the three, or a tensor of a type that is not in `DTYPES`.
        ValueError: a name is empty or over 255 bytes, a codebook is too long, an integer has no
            value in it or does not fit its bits, a scale is not above 0, or an option is out of
            range.
    """
    if code is not None and code not in CODES:
        raise ValueError(f"the code must be one of {', '.join(CODES)}, not {code!r}")
    if gap_bits is not None and gap_bits not in range(1, 9):
        raise ValueError(f"gap_bits must be 1 to 8, not {gap_bits!r}")
    if len(parts) > TENSORS:
        raise ValueError(f"a file holds at most {TENSORS} tensors, not {len(parts)}")
    out = bytearray(MAGIC + bytes([VERSION]) + _varint(len(parts)))
    for name, part in parts.items():
        out += _name(name)
        if isinstance(part, Shared):
            out += _encode_shared(part, code, gap_bits)
        elif isinstance(part, Quantized):
            out += _encode_quantized(part)
        elif isinstance(part, Tensor):
            out += _encode_dense(part)
        else:
            raise TypeError(f"{name} must be a tensor, Shared or Quantized, not {type(part)}")
    return bytes(out) + struct.pack("<I", zlib.crc32(out))


def decode(content: bytes, most: int = MOST, expected: Shapes | None = None) -> dict[str, Tensor]:
    """The tensors that `encode` was given, by name and in their order, on the CPU.

    Args:
        content: all bytes of the file.
        most: numbers in all tensors together; a file with more is refused before memory is taken.
        expected: name → shape of each tensor; a file of others is refused before it is decoded.

    Raises:
        CodecError: the content is foreign, cut off, altered, too large or not what is expected;
            with the place.
    """
    return _read(content, most, expected).tensors


def _read(content: bytes, most: int, expected: Shapes | None = None) -> Reader:
    reader = Reader(content, most, expected)
    reader.read()
    return reader


def regions(content: bytes, most: int = MOST) -> list[Region]:
    """What each byte of a file is, from its first to its last; errors as in `decode`."""
    return _read(content, most).regions


# ---- writing


def _varint(number: int) -> bytes:
    """Seven bits a byte, the lowest first; the highest bit says that more come."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _name(name: str) -> bytes:
    raw = name.encode()
    if not 1 <= len(raw) <= NAME:
        raise ValueError(f"a name has 1 to {NAME} bytes, {name[:40]!r} has {len(raw)}")
    return bytes([len(raw)]) + raw


def _head(kind: int, shape: torch.Size) -> bytes:
    if len(shape) > AXES:
        raise ValueError(f"a tensor has at most {AXES} axes, not {len(shape)}")
    return bytes([kind, len(shape)]) + b"".join(map(_varint, shape))


def _encode_dense(tensor: Tensor) -> bytes:
    if tensor.dtype not in DTYPES:
        raise TypeError(f"a tensor of {tensor.dtype} has no form in the file")
    raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()
    return _head(DENSE, tensor.shape) + bytes([DTYPES.index(tensor.dtype)]) + raw


def _encode_quantized(part: Quantized) -> bytes:
    p, bits = part.qparams, part.qparams.num_bits
    if not (p.signed and bits <= 8 and part.q.dtype == torch.int8):
        raise ValueError(f"signed integers of 2 to 8 bits are stored, not {part.q.dtype}, {bits}")
    dequantize(part.q, p)  # raises where the shapes do not fit
    if not ((p.scale > 0) & p.scale.isfinite()).all():
        raise ValueError(f"scales are finite and above 0, not {p.scale.flatten().tolist()}")
    for what, whole in (("integers", part.q), ("zero points", p.zero_point)):
        if whole.numel() and not p.q_min <= int(whole.min()) <= int(whole.max()) <= p.q_max:
            found = f"{int(whole.min())} to {int(whole.max())}"
            raise ValueError(f"{what} of {bits} bits are {p.q_min} to {p.q_max}, not {found}")
    head = _head(QUANTIZED, part.q.shape) + bytes([bits])
    columns = part.q.shape[-1] if part.q.dim() else 1
    head += _varint(min(p.group or 0, max(columns, 1)))
    scales = bytes([p.scale.dim()]) + b"".join(map(_varint, p.scale.shape))
    scales += p.scale.detach().cpu().numpy().astype("<f4").tobytes()
    zero_points = p.zero_point.detach().cpu().numpy()
    shifted = bool(zero_points.any())
    scales += bytes([shifted]) + (zero_points.astype("i1").tobytes() if shifted else b"")
    q = part.q.detach().cpu()
    packed = q.flatten().view(torch.uint8) if bits == 8 else pack_bits(q, bits)
    return head + scales + packed.numpy().tobytes()


def _encode_shared(part: Shared, code: str | None, gap_bits: int | None) -> bytes:
    k, numbers = len(part.codebook), part.assignments.detach().cpu().flatten().long()
    if not 1 <= k <= 256:
        raise ValueError(f"a codebook in the file has 1 to 256 values, not {k}")
    if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < k:
        found = f"{int(numbers.min())} to {int(numbers.max())}"
        raise ValueError(f"numbers into {k} values are 0 to {k - 1}, not {found}")
    shape, codebook = part.assignments.shape, _codebook(part.codebook)
    ways = []
    if gap_bits is None or part.zero is None:
        ways.append(_head(SHARED, shape) + codebook + _symbols(numbers, k, code))
    if part.zero is not None:
        bits = gap_bits or min(
            range(1, 9), key=lambda b: _expected(*_entries(numbers, part.zero, b), b, k, code)
        )
        gaps, values = _entries(numbers, part.zero, bits)
        head = codebook + bytes([part.zero, bits]) + _varint(len(gaps))
        coded = _symbols(gaps, 2**bits, code) + _symbols(values, k, code)
        ways.append(_head(SPARSE, shape) + head + coded)
    return min(ways, key=len)


def _entries(numbers: Tensor, zero: int, bits: int) -> tuple[Tensor, Tensor]:
    """The gaps and the numbers of values that are stored; a filler's value is the zero."""
    others = torch.where(numbers == zero, 0, numbers + 1)
    gaps, values = relative_indices(others.float(), bits)
    return gaps.long(), torch.where(values > 0, values.long() - 1, zero)


def _expected(gaps: Tensor, values: Tensor, bits: int, k: int, code: str | None) -> float:
    """Bytes that such entries will take, tables of half a byte a symbol included."""
    total = 0.0
    for symbols, n in ((gaps, 2**bits), (values, k)):
        each = (n - 1).bit_length()
        if code != "fixed":
            each = huffman.entropy(torch.bincount(symbols, minlength=n))
            total += n / 2
        total += each * len(symbols) / 8
    return total


def _codebook(values: Tensor) -> bytes:
    """How many values, bytes of each, values; half precision where that holds them exactly."""
    values = values.detach().cpu().float()
    if not values.isfinite().all():
        raise ValueError(f"a codebook holds finite values, not {values.tolist()}")
    width = 2 if values.half().float().equal(values) else 4
    return bytes([len(values) - 1, width]) + values.numpy().astype(f"<f{width}").tobytes()


def _symbols(symbols: Tensor, k: int, code: str | None) -> bytes:
    """Symbols 0 to k - 1: the code's number, its table and stream."""
    ways = {"fixed": _fixed, "huffman": _huffman, "ans": _ans}
    chosen = [code] if code else CODES
    return min((bytes([CODES.index(c)]) + ways[c](symbols, k) for c in chosen), key=len)


def _fixed(symbols: Tensor, k: int) -> bytes:
    bits = (k - 1).bit_length()
    if bits in (0, 8):
        return symbols.to(torch.uint8).numpy().tobytes() if bits else b""
    return pack_bits(symbols, bits).numpy().tobytes()


def _huffman(symbols: Tensor, k: int) -> bytes:
    """The length of each code in four bits, and the stream."""
    lengths = huffman.code_lengths(torch.bincount(symbols, minlength=k), LONGEST)
    stream = huffman.encode(symbols, lengths).numpy().tobytes()
    return pack_bits(lengths, 4).numpy().tobytes() + _varint(len(stream)) + stream


def _ans(symbols: Tensor, k: int) -> bytes:
    """The frequency of each symbol, and the stream."""
    frequencies = ans.quantize_counts(torch.bincount(symbols, minlength=k))
    stream = ans.encode(symbols, frequencies).numpy().tobytes()
    table = b"".join(map(_varint, frequencies.tolist()))
    return table + _varint(len(stream)) + stream

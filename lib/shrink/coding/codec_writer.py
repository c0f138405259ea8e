"""Writing the Deep Compression file: what cannot be read again is refused here, by name."""

import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from shrink.arguments import whole_number
from shrink.coding import ans, arithmetic, huffman
from shrink.coding.codec_format import (
    ARITHMETIC,
    AXES,
    CODES,
    DENSE,
    DTYPES,
    LONGEST,
    MAGIC,
    MOST,
    NAME,
    PRECISION,
    QUANTIZED,
    SCALED,
    SHARED,
    SPARSE,
    TENSOR_STEPS,
    TENSORS,
    TIED,
    Limits,
    steps_of,
)
from shrink.coding.codec_parts import (
    ArithmeticCoded,
    Part,
    Quantized,
    Scaled,
    checked_quantized,
    checked_scaled,
    checked_shared,
    shape_of,
)
from shrink.coding.sparse import relative_indices
from shrink.coding.stored import checked_name, identity, named, plain
from shrink.quantization import pack_bits
from shrink.sharing import Shared


@dataclass(frozen=True)
class Coded:
    """Bytes of a tensor, or of a part of it, and the steps that decoding them takes."""

    content: bytes
    steps: int = 0

    def __add__(self, other: "Coded") -> "Coded":
        return Coded(self.content + other.content, self.steps + other.steps)


@dataclass
class Writer:
    """The options of `codec.encode`, and what has been written so far."""

    code: str | None = None
    gap_bits: int | None = None
    most: int = MOST
    body: bytearray = field(default_factory=bytearray)
    version: int = 1
    at_the_end: list[Tensor] = field(default_factory=list)  # integers of one arithmetic code
    limits: Limits = field(init=False)

    def __post_init__(self) -> None:
        if self.code is not None and self.code not in CODES:
            raise ValueError(f"the code must be one of {', '.join(CODES)}, not {self.code!r}")
        if self.gap_bits is not None:
            self.gap_bits = whole_number("gap_bits", self.gap_bits, 1, 8)
        self.limits = Limits.of(self.most)

    def write(self, parts: Mapping[str, Part]) -> bytes:
        """The bytes of a file of these parts; errors name theirs."""
        if not isinstance(parts, Mapping):
            raise TypeError(f"parts must map names to tensors, not be a {type(parts).__name__}")
        if len(parts) > TENSORS:
            raise ValueError(f"a file holds at most {TENSORS} tensors, not {len(parts)}")
        self.body += _varint(len(parts))
        if any(isinstance(part, ArithmeticCoded) for part in parts.values()):
            self.version = 4
        before = b""
        written: dict[tuple, int] = {}  # the number of each tensor, by its identity
        for number, (name, part) in enumerate(list(parts.items())):  # a list: all stay alive
            raw = _name(name)
            self.body += _after(before, raw) if self.version == 4 else bytes([len(raw)]) + raw
            before = raw
            if not isinstance(part, Part):
                kinds = "a tensor, Shared, Quantized, Scaled or ArithmeticCoded"
                raise TypeError(f"{name} must be {kinds}, not {type(part)}")
            with named(name):
                same = identity(part) if isinstance(part, Tensor) else (id(part),)
                if (first := written.setdefault(same, number)) < number:
                    self._add_tied(first, part)
                else:
                    self._add(part)
        if self.at_the_end:
            stream = arithmetic.encode(self.at_the_end, self.limits.take_steps)
            self.body += stream.numpy().tobytes()
        content = MAGIC + bytes([self.version]) + self.body
        return content + struct.pack("<I", zlib.crc32(content))

    def _add_tied(self, first: int, part: Part) -> None:
        """The number of the tensor that this one is."""
        self.limits.take_tensor(TIED, shape_of(part))
        self.version = max(self.version, 2)
        self.body += bytes([TIED]) + _varint(first)

    def _add(self, part: Part) -> None:
        if isinstance(part, Shared):
            self._add_shared(checked_shared(part))
        elif isinstance(part, ArithmeticCoded):
            part = checked_scaled(part)
            self._begin(ARITHMETIC, part.q)
            self.body += _short_scales(part.scale)
            self.at_the_end.append(part.q)
        elif isinstance(part, Scaled):
            self._add_scaled(checked_scaled(part))
        elif isinstance(part, Quantized):
            part = checked_quantized(part)
            self._begin(QUANTIZED, part.q)
            self.body += _quantized(part)
        else:
            tensor = plain(part)
            self._begin(DENSE, tensor)
            self.body += _dense(tensor)

    def _begin(self, kind: int, tensor: Tensor) -> None:
        """The kind and the shape, which count for the limits."""
        shape = tuple(tensor.shape)
        if len(shape) > AXES:
            raise ValueError(f"a tensor has at most {AXES} axes, not {len(shape)}")
        self.limits.take_tensor(kind, shape)
        self.body += bytes([kind, len(shape)]) + b"".join(map(_varint, shape))

    def _add_shared(self, part: Shared) -> None:
        """Without gaps or with them, whichever is shorter."""
        numbers, k, codebook = part.assignments.flatten(), len(part.codebook), _codebook(part)
        ways: list[tuple[int, Coded]] = []
        if self.gap_bits is None or part.zero is None:
            ways.append((SHARED, Coded(codebook) + self._symbols(numbers, k)))
        if part.zero is not None:
            bits = self.gap_bits or min(
                range(1, 9),
                key=lambda b: _expected(*_entries(numbers, part.zero, b), b, k, self.code),
            )
            gaps, values = _entries(numbers, part.zero, bits)
            head = Coded(codebook + bytes([part.zero, bits]) + _varint(len(gaps)))
            coded = head + self._symbols(gaps, 2**bits)
            ways.append((SPARSE, coded + self._symbols(values, k, coded.steps)))
        kind, coded = min(ways, key=lambda way: len(way[1].content))
        self._begin(kind, part.assignments)
        self.limits.take_steps(coded.steps)
        self.body += coded.content

    def _add_scaled(self, part: Scaled) -> None:
        """The scales, each integer that occurs once, and which of these each number is."""
        values, numbers = part.q.unique(return_inverse=True)
        if not len(values):
            values = part.q.new_zeros(1)  # a reader takes at least one
        self.version = max(self.version, 3)
        self._begin(SCALED, part.q)
        coded = self._symbols(numbers.flatten(), len(values))
        self.limits.take_steps(coded.steps)
        self.body += _scales(part.scale) + bytes([len(values) - 1])
        self.body += values.numpy().tobytes() + coded.content

    def _symbols(self, symbols: Tensor, k: int, taken: int = 0) -> Coded:
        """Symbols 0 to k - 1: the code's number, its table and stream.

        Without a code asked for it is the shortest for which enough steps are left, after those
        that what comes before has `taken`.
        """
        if self.code:
            return _coded(symbols, k, self.code)
        left = self.limits.steps - TENSOR_STEPS[SPARSE] - taken
        ways = [_coded(symbols, k, code) for code in CODES]
        possible = [way for way in ways if way.steps <= left]
        return min(possible or ways[:1], key=lambda way: len(way.content))


def _varint(number: int) -> bytes:
    """Seven bits per byte, the lowest first; the highest bit says that more bytes follow."""
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    return bytes([*out, number])


def _name(name: str) -> bytes:
    raw = checked_name(name).encode()
    if not 1 <= len(raw) <= NAME:
        raise ValueError(f"a name has 1 to {NAME} bytes, {name[:40]!r} has {len(raw)}")
    return raw


def _after(before: bytes, name: bytes) -> bytes:
    """The name as version 4 has it: how many bytes it shares with the one before, and the others.

    >>> _after(b"fc1.weight", b"fc1.bias")
    b'\\x04\\x04bias'
    """
    shared = 0
    while before[shared : shared + 1] == name[shared : shared + 1] != b"":
        shared += 1
    return bytes([shared, len(name) - shared]) + name[shared:]


def _dense(tensor: Tensor) -> bytes:
    if tensor.dtype not in DTYPES:
        raise TypeError(f"a tensor of {tensor.dtype} has no form in the file")
    flat = tensor.clone(memory_format=torch.contiguous_format).reshape(-1)
    raw = flat.view(torch.uint8).numpy()
    if tensor.dtype == torch.bool:
        raw = (raw != 0).astype(np.uint8)  # to torch each byte but 0 is True
    return bytes([DTYPES.index(tensor.dtype)]) + raw.tobytes()


def _quantized(part: Quantized) -> bytes:
    p, q = part.qparams, part.q
    head = bytes([p.num_bits]) + _varint(p.group or 0)
    scales = _scales(p.scale)
    zero_points = p.zero_point.numpy()
    shifted = bool(zero_points.any())
    scales += bytes([shifted]) + (zero_points.astype("i1").tobytes() if shifted else b"")
    packed = q.flatten().view(torch.uint8) if p.num_bits == 8 else pack_bits(q, p.num_bits)
    return head + scales + packed.numpy().tobytes()


def _scales(scale: Tensor) -> bytes:
    """How many axes, their lengths, the numbers."""
    sizes = bytes([scale.dim()]) + b"".join(map(_varint, scale.shape))
    return sizes + scale.numpy().astype("<f4").tobytes()


def _short_scales(scale: Tensor) -> bytes:
    """How many axes, their lengths, bytes of each number, the numbers."""
    sizes = bytes([scale.dim()]) + b"".join(map(_varint, scale.shape))
    width = _width(scale)
    return sizes + bytes([width]) + scale.numpy().astype(f"<f{width}").tobytes()


def _codebook(part: Shared) -> bytes:
    """How many values, bytes of each, values; half precision where that holds them exactly."""
    values = part.codebook
    width = _width(values)
    return bytes([len(values) - 1, width]) + values.numpy().astype(f"<f{width}").tobytes()


def _width(values: Tensor) -> int:
    return 2 if values.half().float().equal(values) else 4


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


def _coded(symbols: Tensor, k: int, code: str) -> Coded:
    """Symbols 0 to k - 1: the code's number, its table and stream."""
    table, stream = {"fixed": _fixed, "huffman": _huffman, "ans": _ans}[code](symbols, k)
    length = b"" if code == "fixed" else _varint(len(stream))
    content = bytes([CODES.index(code)]) + table + length + stream
    return Coded(content, steps_of(code, len(symbols), k, len(stream)))


def _fixed(symbols: Tensor, k: int) -> tuple[bytes, bytes]:
    """No table; the symbols in as few bits as k takes."""
    bits = (k - 1).bit_length()
    if bits in (0, 8):
        return b"", symbols.to(torch.uint8).numpy().tobytes() if bits else b""
    return b"", pack_bits(symbols, bits).numpy().tobytes()


def _huffman(symbols: Tensor, k: int) -> tuple[bytes, bytes]:
    """The length of each code in four bits, and the stream."""
    lengths = huffman.code_lengths(torch.bincount(symbols, minlength=k), LONGEST)
    stream = huffman.encode(symbols, lengths).numpy().tobytes()
    return pack_bits(lengths, 4).numpy().tobytes(), stream


def _ans(symbols: Tensor, k: int) -> tuple[bytes, bytes]:
    """The frequency of each symbol, and the stream."""
    frequencies = ans.quantize_counts(torch.bincount(symbols, minlength=k), PRECISION)
    stream = ans.encode(symbols, frequencies).numpy().tobytes()
    return b"".join(map(_varint, frequencies.tolist())), stream

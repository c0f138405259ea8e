"""Reading the Deep Compression file as if it came from a stranger: the format, byte by byte.

Nothing in a file is run, and no length is believed before it is checked against the bytes that are
left and against a limit; so is the work. Whatever is wrong ends in a `CodecError` that says what
and where.
"""

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from shrink.coding import ans, arithmetic, huffman
from shrink.coding.codec_bytes import Cursor, Region
from shrink.coding.codec_format import (
    ARITHMETIC,
    CODES,
    DENSE,
    DTYPES,
    KINDS,
    MAGIC,
    NAME,
    PRECISION,
    QUANTIZED,
    SCALED,
    SHARED,
    SPARSE,
    TENSORS,
    TIED,
    VERSION,
    CodecError,
    Limits,
    steps_of,
)
from shrink.coding.codec_parts import fits
from shrink.quantization import QParams, dequantize, unpack_bits
from shrink.sharing import rebuild


@dataclass(kw_only=True)
class Reader(Cursor):
    """A file's content from the place `at` on, and what has been read of it.

    `limits` says what may still come. Where `expected` says name → shape, these and no others must.
    """

    limits: Limits
    expected: Mapping[str, tuple[int, ...]] | None = None
    version: int = VERSION
    tensors: dict[str, Tensor] = field(default_factory=dict)
    at_the_end: list[tuple[Tensor, Tensor]] = field(default_factory=list)  # what waits, its scales

    @classmethod
    def of(
        cls, content: bytes, most: int, expected: Mapping[str, tuple[int, ...]] | None
    ) -> "Reader":
        """At the file's first byte; `CodecError` if the content is no bytes."""
        if not isinstance(content, bytes | bytearray | memoryview):
            raise CodecError(f"a file is bytes, not a {type(content).__name__}")
        return cls(content=bytes(content), limits=Limits.of(most), expected=expected)

    def read(self) -> None:
        """All of it, or `CodecError`."""
        if self.content[: len(MAGIC)] != MAGIC:
            raise CodecError(f"byte 0: begins with {self.content[:4]!r}, not with {MAGIC!r}")
        if len(self.content) < len(MAGIC) + 6:
            raise CodecError(f"{len(self.content)} bytes are too few for such a file")
        self.take(len(MAGIC), "header")
        self.version = self.byte("header", 0, 255)
        if not 1 <= self.version <= VERSION:
            knows = f"this reader knows 1 to {VERSION}"
            raise self.error("header", f"version {self.version}; {knows}")
        if zlib.crc32(self.content[:-4]) != int.from_bytes(self.content[-4:], "little"):
            raise CodecError("the checksum is another: the file is damaged or cut off")
        for _ in range(self.varint("header", TENSORS)):
            self.tensor = ""
            name = self._name()
            self.tensor = name
            self.tensors[name] = self._tensor()
        self.tensor = ""
        if missing := [name for name in self.expected or () if name not in self.tensors]:
            raise self.error("end", f"without {', '.join(missing)}")
        if self.at_the_end:
            self._fill()
        if self.at != len(self.content) - 4:
            raise self.error("end", f"{len(self.content) - 4 - self.at} bytes are left over")
        self.regions.append(Region(self.at, self.at + 4, "", "checksum"))

    # ---- tensors

    def _name(self) -> str:
        before = next(reversed(self.tensors), "").encode()
        shared = self.byte("name", 0, len(before)) if self.version > 3 else 0
        size = self.byte("name", 0 if shared else 1, NAME - shared)
        raw = before[:shared] + self.take(size, "name")
        with self.placed("name"):
            name = raw.decode()
        if name in self.tensors:
            raise self.error("name", f"{name!r} comes twice")
        if self.expected is not None and name not in self.expected:
            raise self.error("name", f"{name[:40]!r} is none of {', '.join(self.expected)}")
        return name

    def _tensor(self) -> Tensor:
        kind = self.byte("shape", 0, KINDS[self.version])
        if kind == TIED:
            return self._tied()
        shape = self.sizes("shape", self.limits.numbers)
        self._check_expected(shape, "shape")
        with self.placed("shape"):
            self.limits.take_tensor(kind, shape)
        return {
            DENSE: self._dense,
            QUANTIZED: self._quantized,
            SHARED: self._shared,
            SPARSE: self._sparse,
            SCALED: self._scaled,
            ARITHMETIC: self._arithmetic,
        }[kind](shape)

    def _check_expected(self, shape: tuple[int, ...], what: str) -> None:
        if self.expected is not None and shape != tuple(self.expected[self.tensor]):
            raise self.error(what, f"is {shape}, not {tuple(self.expected[self.tensor])}")

    def _tied(self) -> Tensor:
        """The tensor of another name, which came before."""
        number = self.varint("tied", TENSORS)
        if number >= len(self.tensors):
            raise self.error("tied", f"to tensor {number}, of {len(self.tensors)} before it")
        tensor = [*self.tensors.values()][number]
        self._check_expected(tuple(tensor.shape), "tied")
        with self.placed("tied"):
            self.limits.take_tensor(TIED, tuple(tensor.shape))
        return tensor

    def _dense(self, shape: tuple[int, ...]) -> Tensor:
        dtype = DTYPES[self.byte("type", 0, len(DTYPES) - 1)]
        raw = self.raw(math.prod(shape) * dtype.itemsize, "numbers")
        if dtype == torch.bool and len(raw) and int(raw.max()) > 1:
            raise self.error("numbers", f"a truth value is {int(raw.max())}")
        return raw.view(dtype).view(shape) if len(raw) else torch.zeros(shape, dtype=dtype)

    def _quantized(self, shape: tuple[int, ...]) -> Tensor:
        num_bits, columns = self.byte("type", 2, 8), shape[-1] if shape else 1
        group = self.varint("type", max(columns, 1)) or None
        parts = self.sizes("scales", max((1, *shape)))
        if not fits(parts, shape, group):
            raise self.error("scales", f"{parts} do not fit the shape {shape}")
        scale = self.floats(math.prod(parts), 4, "scales").view(parts)
        if not (scale > 0).all():
            raise self.error("scales", "one is not above 0")
        zero_point = torch.zeros(parts, dtype=torch.int32)
        if self.byte("zero points", 0, 1):
            raw = self.raw(math.prod(parts), "zero points")
            zero_point = raw.view(torch.int8).int().view(parts)
        count = math.prod(shape)
        packed = self.raw(-(-count * num_bits // 8), "integers")
        q = packed.view(torch.int8) if num_bits == 8 else unpack_bits(packed, num_bits, count, True)
        with self.placed("integers"):
            return dequantize(q.view(shape), QParams(scale, zero_point, num_bits, group=group))

    def _scaled(self, shape: tuple[int, ...]) -> Tensor:
        parts = self.sizes("scales", max((1, *shape)))
        if not fits(parts, shape):
            raise self.error("scales", f"{parts} do not fit the shape {shape}")
        scale = self.floats(math.prod(parts), 4, "scales").view(parts)
        values = self.raw(self.byte("values", 0, 255) + 1, "values").view(torch.int8)
        numbers = self._symbols(math.prod(shape), len(values), "integers")
        return values[numbers.long()].view(shape) * scale

    def _arithmetic(self, shape: tuple[int, ...]) -> Tensor:
        """A tensor without its numbers yet: these come at the end."""
        parts = self.sizes("scales", max((1, *shape)))
        if not fits(parts, shape):
            raise self.error("scales", f"{parts} do not fit the shape {shape}")
        scale = self.floats(math.prod(parts), self._width("scales"), "scales").view(parts)
        tensor = torch.zeros(shape)
        self.at_the_end.append((tensor, scale))
        return tensor

    def _fill(self) -> None:
        stream = self.raw(len(self.content) - 4 - self.at, "arithmetic code")
        shapes = [tuple(tensor.shape) for tensor, _ in self.at_the_end]
        with self.placed("arithmetic code"):
            found = arithmetic.decode(stream, shapes, self.limits.take_steps)
        for (tensor, scale), q in zip(self.at_the_end, found, strict=True):
            tensor.copy_(q * scale)

    def _shared(self, shape: tuple[int, ...]) -> Tensor:
        codebook = self._codebook()
        numbers = self._symbols(math.prod(shape), len(codebook), "values")
        return rebuild(numbers.view(shape), codebook)

    def _sparse(self, shape: tuple[int, ...]) -> Tensor:
        codebook, count = self._codebook(), math.prod(shape)
        zero = self.byte("codebook", 0, len(codebook) - 1)
        gap_bits = self.byte("gaps", 1, 8)
        entries = self.varint("gaps", count)
        gaps = self._symbols(entries, 2**gap_bits, "gaps")
        values = self._symbols(entries, len(codebook), "values")
        places = (gaps.int() + 1).cumsum(0) - 1
        if entries and int(places[-1]) >= count:
            raise self.error("gaps", f"they lead to place {int(places[-1])} of {count}")
        numbers = torch.full((count,), zero, dtype=torch.uint8)
        numbers[places] = values
        return rebuild(numbers.view(shape), codebook)

    def _codebook(self) -> Tensor:
        size = self.byte("codebook", 0, 255) + 1
        return self.floats(size, self._width("codebook"), "codebook")

    def _width(self, what: str) -> int:
        width = self.byte(what, 2, 4)
        if width == 3:
            raise self.error(what, "values have 2 or 4 bytes, not 3")
        return width

    # ---- coded symbols

    def _symbols(self, count: int, k: int, what: str) -> Tensor:
        """`count` symbols 0 to k - 1, uint8, in the code that comes first."""
        code = CODES[self.byte(what, 0, len(CODES) - 1)]
        if code == "fixed":
            self._take_steps(code, count, k, 0, what)
            found = self._fixed(count, (k - 1).bit_length(), what)
        elif code == "huffman":
            lengths = self._unpacked(k, 4, f"{what}, lengths of codes")
            stream = self._stream(code, count, k, what)
            with self.placed(what):
                found = huffman.decode(stream, lengths, count)
        else:
            table = self._frequencies(k, f"{what}, frequencies")
            stream = self._stream(code, count, k, what)
            with self.placed(what):
                found = ans.decode(stream, torch.tensor(table), count)
        if count and int(found.max()) >= k:
            raise self.error(what, f"a symbol is {int(found.max())}, of {k}")
        return found

    def _stream(self, code: str, count: int, k: int, what: str) -> Tensor:
        """The bytes of a stream, whose length comes before them."""
        size = self.varint(what, len(self.content))
        self._take_steps(code, count, k, size, what)
        return self.raw(size, what)

    def _take_steps(self, code: str, count: int, k: int, size: int, what: str) -> None:
        with self.placed(what):
            self.limits.take_steps(steps_of(code, count, k, size))

    def _frequencies(self, k: int, what: str) -> list[int]:
        table = [self.varint(what, 2**PRECISION) for _ in range(k)]
        if sum(table) > 2**PRECISION:
            raise self.error(what, f"they add up to {sum(table)}, above {2**PRECISION}")
        return table

    def _fixed(self, count: int, bits: int, what: str) -> Tensor:
        if bits == 0:
            return torch.zeros(count, dtype=torch.uint8)
        return self._unpacked(count, bits, what)

    def _unpacked(self, count: int, bits: int, what: str) -> Tensor:
        packed = self.raw(-(-count * bits // 8), what)
        return packed if bits == 8 else unpack_bits(packed, bits, count)

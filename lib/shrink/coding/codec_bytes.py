"""The bytes of a Deep Compression file, one field after the other, each checked as it is taken."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from shrink.coding.codec_format import AXES, CodecError


@dataclass(frozen=True)
class Region:
    """Bytes `start` to `end` of a file: which tensor they belong to ("" for none), and as what."""

    start: int
    end: int
    tensor: str
    what: str


@dataclass
class Cursor:
    """A place `at` in a file's content, and the regions that have been read before it."""

    content: bytes
    at: int = 0
    tensor: str = ""
    regions: list[Region] = field(default_factory=list)

    def error(self, what: str, message: str) -> CodecError:
        where = f"{self.tensor}, {what}" if self.tensor else what
        return CodecError(f"byte {self.at}, {where}: {message}")

    @contextmanager
    def placed(self, what: str) -> Iterator[None]:
        """What a technique refuses in here, the file is refused for."""
        try:
            yield
        except ValueError as error:
            raise self.error(what, str(error)) from None

    def take(self, size: int, what: str) -> bytes:
        """The next bytes; the last four of the file, its checksum, are never among them."""
        remaining = len(self.content) - 4 - self.at
        if size > remaining:
            raise self.error(what, f"{size} bytes are needed, and {remaining} are left")
        begin, self.at = self.at, self.at + size
        if size:
            here = Region(begin, self.at, self.tensor, what)
            last = self.regions[-1] if self.regions else None
            if last and (last.tensor, last.what) == (here.tensor, here.what):
                self.regions[-1] = Region(last.start, here.end, here.tensor, what)
            else:
                self.regions.append(here)
        return self.content[begin : self.at]

    def byte(self, what: str, low: int, high: int) -> int:
        value = self.take(1, what)[0]
        if not low <= value <= high:
            raise self.error(what, f"must be {low} to {high}, not {value}")
        return value

    def varint(self, what: str, most: int) -> int:
        """A number in bytes of seven bits, the lowest first; the eighth bit says that more come."""
        value = 0
        for place in range(5):
            byte = self.take(1, what)[0]
            value |= (byte & 127) << 7 * place
            if byte < 128 or value > most:
                break
        if byte > 127 or value > most:
            raise self.error(what, f"must be at most {most}, not {value}")
        return value

    def raw(self, size: int, what: str) -> Tensor:
        """The next bytes, uint8."""
        return torch.from_numpy(np.frombuffer(self.take(size, what), np.uint8).copy())

    def floats(self, count: int, width: int, what: str) -> Tensor:
        """Finite numbers of 2 or 4 bytes, as float32."""
        raw = np.frombuffer(self.take(width * count, what), f"<f{width}")
        values = torch.from_numpy(raw.astype(np.float32))
        if not values.isfinite().all():
            raise self.error(what, "one is NaN or infinite")
        return values

    def sizes(self, what: str, most: int) -> tuple[int, ...]:
        return tuple(self.varint(what, most) for _ in range(self.byte(what, 0, AXES)))

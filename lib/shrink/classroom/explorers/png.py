"""A picture as a PNG, in little time and few bytes."""

import functools
import struct
import zlib

import numpy as np

from shrink.classroom.plots import COLOURS

_GREYS = 32
_LIGHTER, _DARKER = 18, 4  # steps of a colour towards white, and towards black
_BITS = 5  # of red, green and blue each by which a pixel's colour is looked up
_LEVEL = 2  # of zlib's nine: higher ones save little and take longer


def encode(pixels: np.ndarray) -> bytes:
    """Pixels (height, width, 4) uint8, red, green, blue and an alpha that is left out, as a PNG.

    Each pixel becomes one byte, its place in a palette made for the course's figures: a third of
    the bytes of full colour, and less to compress (`make bench`).
    """
    height, width, _ = pixels.shape
    together = pixels.view("<u4")[..., 0]
    places = (together >> 3) & 31
    places <<= _BITS
    places |= (together >> 11) & 31
    places <<= _BITS
    places |= (together >> 19) & 31
    rows = np.zeros((height, 1 + width), np.uint8)  # each begins with its filter's number: none
    rows[:, 1:] = _nearest()[places]

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">2I5B", width, height, 8, 3, 0, 0, 0)  # 8 bits, a palette
    chunks = (
        chunk(b"IHDR", header)
        + chunk(b"PLTE", palette().tobytes())
        + chunk(b"IDAT", zlib.compress(rows, _LEVEL))
        + chunk(b"IEND", b"")
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


@functools.cache
def palette() -> np.ndarray:
    """Up to 256 colours (n, 3) uint8: greys, the course's colours lighter and darker, and others.

    Edges and transparent areas lie between a colour and white, or black; what lies between two
    colours is rare, and takes the nearest of 64 that are spread over all.
    """
    greys = np.linspace(0, 255, _GREYS)[:, None].repeat(3, 1)
    hues = _hues()
    lighter = [h + (255.0 - h) * i / _LIGHTER for h in hues for i in range(_LIGHTER)]
    darker = [h * (i / (1 + _DARKER)) for h in hues for i in range(1, 1 + _DARKER)]
    spread = np.stack(np.meshgrid(*3 * [np.linspace(0, 255, 4)]), -1).reshape(-1, 3)
    every = np.vstack([greys, lighter, darker, spread]).round().astype(np.uint8)
    return np.unique(every, axis=0)


def _hues() -> np.ndarray:
    """The course's colours (n, 3) uint8."""
    return np.array([list(bytes.fromhex(colour[1:])) for colour in COLOURS.values()], np.uint8)


@functools.cache
def _nearest() -> np.ndarray:
    """The place of the nearest colour of the palette, by the upper bits of red, green and blue.

    The course's colours are exact, also where another of the palette has the same upper bits.
    """
    levels = np.linspace(0, 255, 2**_BITS, dtype=np.float32)
    asked = np.stack(np.meshgrid(*3 * [levels], indexing="ij"), -1).reshape(-1, 3)
    known = palette().astype(np.float32)
    places = ((known**2).sum(1) - 2 * asked @ known.T).argmin(1).astype(np.uint8)
    red, green, blue = (_hues() >> (8 - _BITS)).astype(int).T
    exact = [int((known == hue).all(1).argmax()) for hue in _hues()]
    places[(((red << _BITS) | green) << _BITS) | blue] = exact
    return places

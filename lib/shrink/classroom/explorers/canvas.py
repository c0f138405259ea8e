"""An Agg canvas that draws each word once.

Most of an explorer's redraw is text, which Agg lays out and draws glyph by glyph, and most of its
words are what they were a moment ago. Here the pixels of a word are kept and laid over the figure
again, which takes a fraction of the time (`make bench`).
"""

import math
import re
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
from matplotlib.backend_bases import GraphicsContextBase
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

KEPT = 1000  # words, each in up to 16 places within a pixel
_PARTS = 4  # of a pixel, across and down: what is closer than that is at the same place


class Canvas(FigureCanvasAgg):
    """A canvas on which a word that was drawn before costs little.

    Its figure is opaque, its texts have no filters, and matplotlib's settings of fonts do not
    change between two drawings.
    """

    def get_renderer(self) -> RendererAgg:
        """The renderer for the figure as large as it is now."""
        size = (*self.get_width_height(physical=True), self.figure.dpi)
        if getattr(self, "renderer", None) is None or self.renderer.made_for != size:
            self.renderer = _Renderer(*size)
        return self.renderer


@dataclass
class _Word:
    """A word in a font with the spaces behind it, in pixels."""

    width: float  # up to where the next word begins
    height: float  # of that, `descent` is below the baseline
    descent: float
    room: int  # around it, for what reaches out of its box
    stamps: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)  # by place in a pixel

    @property
    def above(self) -> int:
        """Rows of a stamp above the baseline."""
        return self.room + math.ceil(self.height - self.descent)


class _Renderer(RendererAgg):
    def __init__(self, width: int, height: int, dpi: float) -> None:
        super().__init__(width, height, dpi)
        self.made_for = (width, height, dpi)
        self._kept: OrderedDict[tuple[str, int], _Word] = OrderedDict()  # the latest used is last

    def get_text_width_height_descent(
        self, s: str, prop: FontProperties, ismath: bool
    ) -> tuple[float, float, float]:
        """Pixels of a line of text: its width, its height, and what is below the baseline."""
        words = [] if ismath else self._words(s, prop)
        if not words:
            return super().get_text_width_height_descent(s, prop, ismath)
        descent = max(word.descent for _, word in words)
        above = max(word.height - word.descent for _, word in words)
        return sum(word.width for _, word in words), above + descent, descent

    def draw_text(
        self,
        gc: GraphicsContextBase,
        x: float,
        y: float,
        s: str,
        prop: FontProperties,
        angle: float,
        ismath: bool = False,
        mtext: Text | None = None,
    ) -> None:
        """Draw a line of text whose baseline begins at (x, y), in pixels from the top left."""
        if ismath or angle or _is_special(gc, mtext):
            super().draw_text(gc, x, y, s, prop, angle, ismath, mtext)
            return
        top, below = divmod(round(_PARTS * y), _PARTS)
        for text, word in self._words(s, prop):
            left, right = divmod(round(_PARTS * x), _PARTS)
            if (right, below) not in word.stamps:
                word.stamps[right, below] = self._stamp(text, word, prop, right, below)
            stamp = word.stamps[right, below]
            self._lay(stamp, left - word.room, top - word.above, gc.get_rgb())
            x += word.width

    def _words(self, line: str, prop: FontProperties) -> list[tuple[str, _Word]]:
        """The line's words, with spaces at its beginning as one of their own."""
        font = hash(prop)  # of its family, size and style: another when one of them changes
        found = []
        for text in re.findall(r"\s+|\S+\s*", line):
            if (word := self._kept.get((text, font))) is None:
                word = self._kept[text, font] = self._measured(text, prop)
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end((text, font))
            found.append((text, word))
        return found

    def _measured(self, text: str, prop: FontProperties) -> _Word:
        size = super().get_text_width_height_descent(text, prop, ismath=False)
        room = 2 + math.ceil(prop.get_size_in_points() * self.dpi / 72 / 3)
        return _Word(*size, room)

    def _stamp(
        self, text: str, word: _Word, prop: FontProperties, right: int, below: int
    ) -> np.ndarray:
        """How far each pixel is covered (height, width), 0 to 255.

        `right` and `below` are the parts of a pixel by which the word is off a whole one.
        """
        width = 2 * word.room + math.ceil(word.width) + 1
        height = word.above + math.ceil(word.descent) + word.room + 1
        spare = RendererAgg(width, height, self.dpi)
        place = word.room + right / _PARTS, word.above + below / _PARTS
        spare.draw_text(spare.new_gc(), *place, text, prop, 0)
        return np.asarray(spare.buffer_rgba())[..., 3].copy()

    def _lay(
        self, stamp: np.ndarray, left: int, top: int, rgba: tuple[float, float, float, float]
    ) -> None:
        """Blend a colour, its parts 0 to 1, into the figure's pixels from (left, top) on."""
        height, width = stamp.shape
        rows, columns = _within(top, height, self.height), _within(left, width, self.width)
        cover = stamp[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        under = np.asarray(self.buffer_rgba())[rows, columns, :3]
        *colour, alpha = (round(255 * part) for part in rgba)
        change = (colour - under.astype(np.int32)) * cover[..., None] * alpha
        under += ((change + 255**2 // 2) // 255**2).astype(np.uint8)  # to the nearest


def _is_special(gc: GraphicsContextBase, mtext: Text | None) -> bool:
    """Whether more than font, place and colour says how the text looks."""
    clipped = gc.get_clip_rectangle() is not None or gc.get_clip_path()[0] is not None
    features = mtext is not None and (mtext.get_fontfeatures() or mtext.get_language())
    return clipped or bool(features) or not gc.get_antialiased()


def _within(start: int, length: int, limit: int) -> slice:
    """What of the pixels from `start` on is in a figure of `limit` pixels."""
    return slice(min(max(start, 0), limit), min(max(start + length, 0), limit))

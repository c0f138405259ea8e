"""An Agg canvas that draws each word once, and each digit.

Most of an explorer's redraw is text, which Agg lays out and draws glyph by glyph, and most of its
words are what they were a moment ago; numbers change, but not their digits. Here the pixels of
words and digits are kept and put together to lines, which takes a fraction of the time (`make
bench`).
"""

import math
import re
from dataclasses import dataclass, field

import numpy as np
from matplotlib.backend_bases import GraphicsContextBase
from matplotlib.backends.backend_agg import FigureCanvasAgg, RendererAgg
from matplotlib.font_manager import FontProperties
from matplotlib.text import Text

from shrink.classroom.explorers.memory import Memory

KEPT = 1000  # lines, and as many pieces of them, each in up to 16 places within a pixel
_PARTS = 4  # of a pixel, across and down: what is closer than that is at the same place
_split = re.compile(r"\s+|\d|[.,](?=\d)|[^\s\d]+\s*").findall  # spaces, digits, words


class Canvas(FigureCanvasAgg):
    """A canvas on which a line of text costs little whose words were drawn before.

    Its texts have no filters, and matplotlib's settings of fonts do not change between two
    drawings.
    """

    def get_renderer(self) -> RendererAgg:
        """The renderer for the figure as large as it is now."""
        size = (*self.get_width_height(physical=True), self.figure.dpi)
        if getattr(self, "renderer", None) is None or self.renderer.made_for != size:
            self.renderer = _Renderer(*size)
        return self.renderer


@dataclass
class _Stamped:
    """A line of text in a font, or a piece of one; lengths in pixels."""

    width: float  # up to where what comes next begins
    height: float  # of that, `descent` is below the baseline
    descent: float
    room: int  # around it, for what reaches out of its box
    pieces: "tuple[tuple[str, _Stamped], ...]" = ()
    stamps: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)  # by place in a pixel

    @property
    def above(self) -> int:
        """Rows of a stamp above the baseline."""
        return self.room + math.ceil(self.height - self.descent)

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of a stamp."""
        rows = self.above + math.ceil(self.descent) + self.room + 1
        return rows, 2 * self.room + math.ceil(self.width) + 1


class _Renderer(RendererAgg):
    def __init__(self, width: int, height: int, dpi: float) -> None:
        super().__init__(width, height, dpi)
        self.made_for = (width, height, dpi)
        self._lines, self._pieces = Memory(KEPT), Memory(KEPT)

    def get_text_width_height_descent(
        self, s: str, prop: FontProperties, ismath: bool
    ) -> tuple[float, float, float]:
        """Pixels of a line of text: its width, its height, and what is below the baseline."""
        if ismath or not s:
            return super().get_text_width_height_descent(s, prop, ismath)
        line = self._line(s, prop)
        return line.width, line.height, line.descent

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
        line = self._line(s, prop)
        left, right = divmod(round(_PARTS * x), _PARTS)
        top, below = divmod(round(_PARTS * y), _PARTS)
        if (right, below) not in line.stamps:
            line.stamps[right, below] = self._stamp(line, prop, right, below)
        stamp = line.stamps[right, below]
        bottom = top - line.above + len(stamp)
        self._renderer.draw_text_image(stamp, left - line.room, bottom, 0, gc)

    def _line(self, text: str, prop: FontProperties) -> _Stamped:
        font = hash(prop)  # of its family, size and style: another when one of them changes

        def put_together() -> _Stamped:
            pieces = tuple((piece, self._piece(piece, font, prop)) for piece in _split(text))
            descent = max(piece.descent for _, piece in pieces)
            above = max(piece.height - piece.descent for _, piece in pieces)
            width = sum(piece.width for _, piece in pieces)
            return _Stamped(width, above + descent, descent, pieces[0][1].room, pieces)

        return self._lines.once((text, font), put_together)

    def _piece(self, text: str, font: int, prop: FontProperties) -> _Stamped:
        def measure() -> _Stamped:
            size = super(_Renderer, self).get_text_width_height_descent(text, prop, ismath=False)
            room = 2 + math.ceil(prop.get_size_in_points() * self.dpi / 72 / 3)
            return _Stamped(*size, room)

        return self._pieces.once((text, font), measure)

    def _stamp(self, line: _Stamped, prop: FontProperties, right: int, below: int) -> np.ndarray:
        """How far each pixel is covered (height, width), 0 to 255.

        `right` and `below` are the parts of a pixel by which the line is off a whole one.
        """
        whole = np.zeros(line.shape, np.uint8)
        x = right / _PARTS
        for text, piece in line.pieces:
            left, place = divmod(round(_PARTS * x), _PARTS)
            if (place, below) not in piece.stamps:
                piece.stamps[place, below] = self._drawn(text, piece, prop, place, below)
            stamp = piece.stamps[place, below]
            top = line.above - piece.above
            under = whole[top : top + len(stamp), left : left + stamp.shape[1]]
            np.maximum(under, stamp[:, : under.shape[1]], out=under)
            x += piece.width
        return whole

    def _drawn(
        self, text: str, piece: _Stamped, prop: FontProperties, right: int, below: int
    ) -> np.ndarray:
        height, width = piece.shape
        spare = RendererAgg(width, height, self.dpi)
        place = piece.room + right / _PARTS, piece.above + below / _PARTS
        spare.draw_text(spare.new_gc(), *place, text, prop, 0)
        return np.asarray(spare.buffer_rgba())[..., 3].copy()


def _is_special(gc: GraphicsContextBase, mtext: Text | None) -> bool:
    """Whether more than font, place, colour and a clip says how the text looks."""
    features = mtext is not None and (mtext.get_fontfeatures() or mtext.get_language())
    return bool(features) or not gc.get_antialiased()

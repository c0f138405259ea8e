"""An explorer's picture: what never moves is drawn once, what moves is drawn upon it."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axis import Axis
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure

from shrink.classroom import plots
from shrink.classroom.explorers import png
from shrink.classroom.explorers.canvas import Canvas

Draw = Callable[[Figure, Any], Mapping[str, Any]]
Update = Callable[[Mapping[str, Any], Any], None]


class Picture:
    """One private figure, never pyplot, and its pixels as a PNG.

    The axes are laid out and drawn once and kept as a bitmap; each change restores the bitmap and
    draws the moving artists on it.

    Args:
        draw: called once with the figure and the first result; returns the artists that move.
        update: called with those artists and each new result; moves them.
        size: of the figure, in inches at 100 dots per inch.
    """

    def __init__(self, draw: Draw, update: Update, size: tuple[float, float]) -> None:
        self._draw, self._update = draw, update
        width, height = (plots.SCALE * inches for inches in size)
        self.figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
        self._canvas = Canvas(self.figure)
        self._artists: Mapping[str, Any] | None = None
        self._background: Any = None

    def of(self, result: Any) -> bytes:
        """The picture of a result."""
        if self._artists is None:
            self._begin(result)
        self._update(self._artists, result)
        self._canvas.restore_region(self._background)
        renderer = self._canvas.get_renderer()
        for artist in sorted(_flat(self._artists), key=Artist.get_zorder):
            _redraw(artist, renderer)
        return png.encode(np.asarray(self._canvas.buffer_rgba()))

    def _begin(self, result: Any) -> None:
        self.figure.clear()  # of a drawing that failed on the way
        self.figure.set_layout_engine("constrained")
        artists = self._draw(self.figure, result)
        for artist in _flat(artists):
            artist.set_animated(True)
        self._canvas.draw()
        self.figure.set_layout_engine("none")  # frozen: the axes never jump
        self._background = self._canvas.copy_from_bbox(self.figure.bbox)
        self._artists = artists


def _redraw(artist: Artist, renderer: RendererBase) -> None:
    """Draw it; an axis without measuring where its label goes, which the first drawing has told."""
    if not isinstance(artist, Axis):
        artist.draw(renderer)
        return
    for tick in artist._update_ticks():
        tick.draw(renderer)
    artist.label.draw(renderer)


def _flat(artists: Any) -> list[Artist]:
    """Every artist in nested mappings, lists and containers."""
    if isinstance(artists, Artist):
        return [artists]
    parts = artists.values() if isinstance(artists, Mapping) else artists
    return [artist for part in parts for artist in _flat(part)]

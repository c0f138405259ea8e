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
    """Private figures, never pyplot, and their pixels as a PNG.

    The axes are laid out and drawn once and kept as a bitmap; each change restores the bitmap and
    draws the moving artists on it. Results of another type are another scene: they have a figure
    of their own, of the same size.

    Args:
        draw: called once a scene with its figure and its first result; returns the artists that
            move.
        update: called with those artists and each new result; moves them.
        size: of the figure, in inches at 100 dots per inch.
    """

    def __init__(self, draw: Draw, update: Update, size: tuple[float, float]) -> None:
        self._draw, self._update = draw, update
        self._size = tuple(plots.SCALE * inches for inches in size)
        self._scenes: dict[type, _Scene] = {}
        self._shown = _Scene(self._size)  # the one that was drawn last

    @property
    def figure(self) -> Figure:
        """The figure on show."""
        return self._shown.figure

    @property
    def _artists(self) -> Mapping[str, Any]:
        return self._shown.artists

    def of(self, result: Any) -> bytes:
        """The picture of a result."""
        if type(result) not in self._scenes:
            scene = self._shown if not self._scenes else _Scene(self._size)
            scene.begin(self._draw, result)
            self._scenes[type(result)] = scene
        self._shown = self._scenes[type(result)]
        return self._shown.of(self._update, result)


class _Scene:
    """A figure, what of it never moves as a bitmap, and the artists that do."""

    def __init__(self, size: tuple[float, float]) -> None:
        self.figure = Figure(figsize=size, dpi=100, layout="constrained")
        self._canvas = Canvas(self.figure)
        self.artists: Mapping[str, Any] = {}
        self._background: Any = None

    def begin(self, draw: Draw, result: Any) -> None:
        """Draw what never moves."""
        self.figure.clear()  # of a drawing that failed on the way
        self.figure.set_layout_engine("constrained")
        self.artists = draw(self.figure, result)
        for artist in _flat(self.artists):
            artist.set_animated(True)
        self._canvas.draw()
        self.figure.set_layout_engine("none")  # frozen: the axes never jump
        self._background = self._canvas.copy_from_bbox(self.figure.bbox)

    def of(self, update: Update, result: Any) -> bytes:
        """The picture of a result."""
        update(self.artists, result)
        self._canvas.restore_region(self._background)
        renderer = self._canvas.get_renderer()
        for artist in sorted(_flat(self.artists), key=Artist.get_zorder):
            _redraw(artist, renderer)
        return png.encode(np.asarray(self._canvas.buffer_rgba()))


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

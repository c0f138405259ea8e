"""An explorer's picture: what never moves is drawn once, what moves is drawn upon it."""

from collections.abc import Callable, Iterable, Mapping
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


class Held:
    """Artists that seldom move: while they show the same they are part of the bitmap.

    They lie below all others that move.

    Args:
        artists: nested as `Draw` returns them.
    """

    def __init__(self, artists: Any) -> None:
        self.artists = artists
        self.in_bitmap = False
        self._shown: Any = None

    def show(self, what: Any, move: Callable[[Any], None]) -> None:
        """Call `move` with the artists unless they show `what`, which is compared by ==."""
        if what == self._shown:
            return
        self._shown, self.in_bitmap = None, False  # until `move` has ended well
        move(self.artists)
        self._shown = what


class Picture:
    """Private figures, never pyplot, and their pixels as a PNG.

    The axes are laid out and drawn once and kept as a bitmap; each change restores the bitmap and
    draws the moving artists on it. Results of another type are another scene: they have a figure
    of their own, of the same size.

    Args:
        draw: called once a scene with its figure and its first result; returns the artists that
            move, and `Held` ones.
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
        self._axes: Any = None  # the bitmap of what never moves
        self._background: Any = None  # and with what is held

    def begin(self, draw: Draw, result: Any) -> None:
        """Draw what never moves."""
        self.figure.clear()  # of a drawing that failed on the way
        self.figure.set_layout_engine("constrained")
        self.artists = draw(self.figure, result)
        for artist in _flat(self.artists):
            artist.set_animated(True)
        self._canvas.draw()
        self.figure.set_layout_engine("none")  # frozen: the axes never jump
        self._axes = self._background = self._canvas.copy_from_bbox(self.figure.bbox)

    def of(self, update: Update, result: Any) -> bytes:
        """The picture of a result."""
        update(self.artists, result)
        held = _held(self.artists)
        if not all(one.in_bitmap for one in held):
            self._canvas.restore_region(self._axes)
            self._redraw([one.artists for one in held])
            self._background = self._canvas.copy_from_bbox(self.figure.bbox)
            for one in held:
                one.in_bitmap = True
        self._canvas.restore_region(self._background)
        self._redraw(self.artists, held=False)
        return png.encode(np.asarray(self._canvas.buffer_rgba()))

    def _redraw(self, artists: Any, held: bool = True) -> None:
        renderer = self._canvas.get_renderer()
        for artist in sorted(_flat(artists, held), key=Artist.get_zorder):
            _redraw(artist, renderer)


def _redraw(artist: Artist, renderer: RendererBase) -> None:
    """Draw it; an axis without measuring where its label goes, which the first drawing has told."""
    if not isinstance(artist, Axis):
        artist.draw(renderer)
        return
    for tick in artist._update_ticks():
        tick.draw(renderer)
    artist.label.draw(renderer)


def _flat(artists: Any, held: bool = True) -> list[Artist]:
    """Every artist in nested mappings, lists and containers, with those held or without them."""
    if isinstance(artists, Artist):
        return [artists]
    if isinstance(artists, Held):
        return _flat(artists.artists) if held else []
    return [artist for part in _parts(artists) for artist in _flat(part, held)]


def _held(artists: Any) -> list[Held]:
    """Everything `Held` in the nested artists."""
    if isinstance(artists, Held):
        return [artists]
    parts = [] if isinstance(artists, Artist) else _parts(artists)
    return [held for part in parts for held in _held(part)]


def _parts(artists: Any) -> Iterable[Any]:
    return artists.values() if isinstance(artists, Mapping) else artists

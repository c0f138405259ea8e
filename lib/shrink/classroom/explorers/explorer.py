"""The explorer frame: controls and one figure that keeps up with them.

Measured choices: one private figure, never pyplot; the axes are drawn once and kept as a bitmap;
each change restores the bitmap, draws the moving artists on it and sends one PNG into an image of
fixed size. Callbacks run on other threads than the main one in JupyterLab, so an explorer has a
lock of its own and touches no global state.
"""

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from shrink.classroom import plots
from shrink.classroom.exercises.front_end import is_live
from shrink.classroom.explorers import png
from shrink.classroom.explorers.canvas import Canvas
from shrink.classroom.explorers.controls import in_rows
from shrink.classroom.explorers.errors import error_panel
from shrink.classroom.explorers.jobs import Job, Worker
from shrink.classroom.explorers.shells import hear_beside_cells
from shrink.classroom.explorers.static import static_view

_CSS = (
    plots.STYLE_SHEET
    + """<style>
.shrink-explorer { padding: 4px 0 }
.shrink-figure { overflow: visible }
.shrink-explorer .widget-toggle-buttons > .widget-label { flex-shrink: 0; margin-right: 6px }
.shrink-job { border: 1px solid var(--jp-border-color1); margin: 4px 0; padding: 2px 8px 4px }
.shrink-busy .shrink-figure img, .shrink-busy img.shrink-figure
  { opacity: .45; transition: opacity .15s }
.shrink-stale .shrink-figure img, .shrink-stale img.shrink-figure { opacity: .3 }
.shrink-error pre { margin: 4px 0; padding: 6px 10px; white-space: pre-wrap;
  border-left: 6px solid #D55E00; color: var(--jp-content-font-color1);
  background: var(--jp-layout-color2) }
.shrink-summary { color: var(--jp-content-font-color1); line-height: 1.4 }
</style>"""
)
_BUSY_AFTER = 0.25  # seconds of redrawing until the figure is dimmed
_WATCHED = 2.0  # seconds after a redraw's beginning in which its thread waits for another


class Explorer(widgets.VBox):
    """Controls, a figure, a summary in words.

    Args:
        compute: called with the controls' values by name; returns the result.
        draw: called once with the figure and the first result; draws what never moves, and
            returns the artists that do, by name.
        update: called with those artists and each new result; moves them.
        summary: the result in words (HTML), shown below the figure: what a screen reader reads.
        controls: name → widget with a `value`; a slider gets a number box beside it.
        job: long work; its buttons, progress and messages are the explorer's `work`.
        size: of the figure, in inches at 100 dots per inch.
        alt: the figure in a sentence.
    """

    def __init__(
        self,
        compute: Callable[..., Any],
        draw: Callable[[Figure, Any], Mapping[str, Any]],
        update: Callable[[Mapping[str, Any], Any], None],
        summary: Callable[[Any], str],
        *,
        controls: Mapping[str, widgets.Widget],
        job: Job | None = None,
        size: tuple[float, float],
        alt: str,
    ) -> None:
        self._compute, self._draw, self._update, self._summarise = compute, draw, update, summary
        self.controls, self.alt = dict(controls), alt
        self.work = Worker(job, lambda: self.values, self.refresh) if job else None
        width, height = (plots.SCALE * inches for inches in size)
        self.figure = Figure(figsize=(width, height), dpi=100, layout="constrained")
        self._canvas = Canvas(self.figure)
        self._artists: Mapping[str, Any] | None = None
        self._background: Any = None
        self.result: Any = None
        self.error: BaseException | None = None
        self.redraws = 0
        self._lock, self._pending = threading.Lock(), False
        self._dimming, self._watcher = threading.Lock(), None
        self._drawing, self._began = False, 0.0
        self.image = widgets.Image(
            format="png",
            layout=widgets.Layout(width=f"{100 * width:.0f}px", height="auto", max_width="100%"),
        )
        self.image.add_class("shrink-figure")
        self.message, self.text = widgets.HTML(), widgets.HTML()
        self.message.add_class("shrink-error")
        self.text.add_class("shrink-summary")
        super().__init__(
            [
                widgets.HTML(_CSS, layout=widgets.Layout(display="none")),
                *in_rows(self.controls),
                self.image,
                *(self.work.rows if self.work else ()),
                self.text,
                self.message,
            ]
        )
        self.add_class("shrink-explorer")
        hear_beside_cells(self)
        for control in self.controls.values():
            control.observe(self.refresh, "value")
        self.refresh()

    @property
    def values(self) -> dict[str, Any]:
        """The controls' values by name."""
        return {name: control.value for name, control in self.controls.items()}

    def refresh(self, _change: object = None) -> None:
        """Redraw for the values of this moment; from any thread, and the latest wins.

        Whoever holds the lock redraws until nothing newer is pending, so a slow redraw is never
        queued up behind others.
        """
        self._pending = True
        while self._pending and self._lock.acquire(blocking=False):
            try:
                self._pending = False
                self._redraw(self.values)
            finally:
                self._lock.release()

    def _redraw(self, values: dict[str, Any]) -> None:
        self._watch()
        try:
            result = self._compute(**values)
            self.image.value = self._picture(result)
            self.text.value = self._summarise(result)
            self.result, self.error = result, None
            self.redraws += 1
            self.message.value = ""
            self.remove_class("shrink-stale")
        except (Exception, SystemExit) as error:  # a student's exit() too
            self.error = error
            self.message.value = error_panel(error, values)
            self.add_class("shrink-stale")
        finally:
            with self._dimming:
                self._drawing = False
                self.remove_class("shrink-busy")

    def _watch(self) -> None:
        """Have the figure dimmed if the redraw that begins takes long.

        One thread watches over many redraws, as each would wait for a thread of its own to start.
        """
        with self._dimming:
            self._drawing, self._began = True, time.monotonic()
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._dim_what_is_slow, daemon=True)
                self._watcher.start()

    def _dim_what_is_slow(self) -> None:
        while True:
            time.sleep(_BUSY_AFTER / 4)
            with self._dimming:
                since = time.monotonic() - self._began
                if self._drawing and since > _BUSY_AFTER:
                    self.add_class("shrink-busy")
                if not self._drawing and since > _WATCHED:
                    self._watcher = None
                    return

    def _picture(self, result: Any) -> bytes:
        if self._artists is None:
            self.figure.clear()  # of a drawing that failed on the way
            self.figure.set_layout_engine("constrained")
            artists = self._draw(self.figure, result)
            for artist in _flat(artists):
                artist.set_animated(True)
            self._canvas.draw()
            self.figure.set_layout_engine("none")  # frozen: the axes never jump
            self._background = self._canvas.copy_from_bbox(self.figure.bbox)
            self._artists = artists
        self._update(self._artists, result)
        self._canvas.restore_region(self._background)
        for artist in sorted(_flat(self._artists), key=Artist.get_zorder):
            self.figure.draw_artist(artist)
        return png.encode(np.asarray(self._canvas.buffer_rgba()))

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, where a person can move it; and what is shown where there are no widgets."""
        widget = super()._repr_mimebundle_(**kwargs) if is_live() else {}
        data, metadata = static_view(
            self.image.value, self.alt, self.text.value, self.message.value
        )
        return widget | data, metadata


def _flat(artists: Any) -> list[Artist]:
    """Every artist in nested mappings, lists and containers."""
    if isinstance(artists, Artist):
        return [artists]
    parts = artists.values() if isinstance(artists, Mapping) else artists
    return [artist for part in parts for artist in _flat(part)]

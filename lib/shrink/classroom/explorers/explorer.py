"""The explorer frame: controls and one figure that keeps up with them.

Measured choices: one private figure, never pyplot; the axes are drawn once and kept as a bitmap;
each change restores the bitmap, draws the moving artists on it and sends one PNG into an image of
fixed size. Callbacks run on other threads than the main one in JupyterLab, so an explorer has a
lock of its own and touches no global state. Long work runs in a worker thread that a button
starts and another one stops.
"""

import base64
import html
import struct
import sysconfig
import threading
import time
import traceback
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from shrink.classroom import plots
from shrink.classroom.exercises.exercise import ExerciseError
from shrink.classroom.explorers.canvas import Canvas
from shrink.classroom.explorers.shells import hear_beside_cells

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
_SLIDERS = (widgets.FloatSlider, widgets.IntSlider, widgets.FloatLogSlider)
_LIBRARY = (Path(__file__).parents[2], Path(sysconfig.get_path("stdlib")))


@dataclass
class Job:
    """Long work behind a button.

    `run(values, stop, progress)` works in a thread of its own: it looks at the event `stop` often,
    calls `progress(done, total)`, and leaves its result where `compute` finds it. `controls` matter
    to the work alone: they stand in a frame with the button, under `about`, what the work is, and
    `values` has theirs besides the explorer's.
    """

    label: str
    run: Callable[[dict[str, Any], threading.Event, Callable[[int, int], None]], None]
    controls: Mapping[str, widgets.Widget] = field(default_factory=dict)
    about: str = ""


class Explorer(widgets.VBox):
    """Controls, a figure, a summary in words.

    Args:
        compute: called with the controls' values by name; returns the result.
        draw: called once with the figure and the first result; draws what never moves, and
            returns the artists that do, by name.
        update: called with those artists and each new result; moves them.
        summary: the result in words (HTML), shown below the figure: what a screen reader reads.
        controls: name → widget with a `value`; a slider gets a number box beside it.
        job: long work, with its Start and Stop buttons and progress bar.
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
        self.controls, self.alt, self.job = dict(controls), alt, job
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
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
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
                *_rows(self.controls),
                self.image,
                *self._job_row(),
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
            self.message.value = _error_panel(error, values)
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
        return _png(np.asarray(self._canvas.buffer_rgba()))

    def _job_row(self) -> list[widgets.Widget]:
        if self.job is None:
            return []
        self.start_button = widgets.Button(description=self.job.label, button_style="primary")
        self.stop_button = widgets.Button(description="Stop", disabled=True)
        self.bar = widgets.FloatProgress(min=0, max=1, layout=widgets.Layout(width="220px"))
        self.status = widgets.Label()
        self.job_message = widgets.HTML()
        self.job_message.add_class("shrink-error")
        self.start_button.on_click(self.start)
        self.stop_button.on_click(self.stop)
        row = widgets.HBox([self.start_button, self.stop_button, self.bar, self.status])
        if self.job.controls:
            about = widgets.HTML(self.job.about)
            row = widgets.VBox([about, *_rows(self.job.controls), row])
            row.add_class("shrink-job")
        return [row, self.job_message]

    def start(self, _button: object = None) -> None:
        """Start the job in its thread, unless it is running."""
        if self._thread is not None and self._thread.is_alive():
            return
        self._stop.clear()
        self.start_button.disabled, self.stop_button.disabled = True, False
        self.bar.value, self.status.value, self.job_message.value = 0, "running", ""
        own = {name: control.value for name, control in self.job.controls.items()}
        values = self.values | own
        self._thread = threading.Thread(target=self._work, args=(values,), daemon=True)
        self._thread.start()

    def stop(self, _button: object = None) -> None:
        """Ask the job to end, if it runs; it does so after the step under way."""
        if self._thread is None or not self._thread.is_alive():
            return
        self._stop.set()
        self.status.value = "stopping"

    def wait(self, timeout: float | None = None) -> None:
        """Block until the job has ended."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _work(self, values: dict[str, Any]) -> None:
        last = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last > 0.1 and not self._stop.is_set():
                last = time.monotonic()
                self.bar.value = done / total
                self.status.value = f"step {done} of {total}"

        ended = "failed"
        try:
            self.job.run(values, self._stop, progress)
            ended = "stopped" if self._stop.is_set() else "finished"
        except (Exception, SystemExit) as error:
            self.job_message.value = _error_panel(error, values)
        finally:
            self.refresh()
            self.bar.value, self.status.value = 0, ended
            self.start_button.disabled, self.stop_button.disabled = False, True

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        """The widget, and a PNG with its text for viewers that have no widgets."""
        data = super()._repr_mimebundle_(**kwargs)
        if data is None or not self.image.value:
            return data
        data["image/png"] = base64.b64encode(self.image.value).decode()
        data["text/plain"] = self.alt
        return data, {"image/png": {"alt": self.alt}}


def toggle(description: str, options: list, width: int = 92) -> widgets.ToggleButtons:
    """A choice among a few options, as buttons `width` pixels wide."""
    return widgets.ToggleButtons(
        options=options,
        description=description,
        style={"button_width": f"{width}px", "description_width": "initial"},
        layout=widgets.Layout(display="flex", margin="2px 12px 2px 2px", width="auto"),
    )


def _rows(controls: Mapping[str, widgets.Widget]) -> list[widgets.Widget]:
    """The controls in a box that wraps, the sliders in rows of their own above the rest."""
    sliders = [c for c in controls.values() if isinstance(c, _SLIDERS)]
    others = [c for c in controls.values() if not isinstance(c, _SLIDERS)]
    wrapping = widgets.Layout(flex_flow="row wrap")
    return [*map(_with_number_box, sliders), widgets.HBox(others, layout=wrapping)]


def _with_number_box(slider: widgets.Widget) -> widgets.HBox:
    """The slider and a linked box to type in: in some front ends arrow keys do not reach it."""
    logarithmic = isinstance(slider, widgets.FloatLogSlider)
    low, high, step = slider.min, slider.max, slider.step
    whole = isinstance(slider, widgets.IntSlider)
    if logarithmic:  # they are exponents
        whole = low >= 0 and all(float(x).is_integer() for x in (slider.base, low, step))
        low, high, step = slider.base**low, slider.base**high, 1 if whole else None
    box = (widgets.BoundedIntText if whole else widgets.BoundedFloatText)(
        value=slider.value,
        min=low,
        max=high,
        step=step,
        layout=widgets.Layout(width="80px"),
        tooltip=slider.description,
    )
    slider.readout = False
    if logarithmic:
        _link_logarithmic(slider, box)
    else:
        widgets.link((slider, "value"), (box, "value"))
    return widgets.HBox([slider, box])


def _link_logarithmic(slider: widgets.FloatLogSlider, box: widgets.Widget) -> None:
    """Link a box that shows six digits, and in which values between the slider's stops hold.

    With `continuous_update` the front end answers such a value with that of the nearest stop, so
    it is off while one is sent.
    """

    def shown() -> float:
        return float(f"{slider.value:.6g}")

    def show(_change: object) -> None:
        box.value = shown()

    def type_in(change: Any) -> None:
        if change.new != shown():
            with slider.hold_sync():  # one message
                slider.continuous_update = False
                slider.value = change.new
            slider.continuous_update = True

    slider.observe(show, "value")
    box.observe(type_in, "value")


def _png(pixels: np.ndarray) -> bytes:
    """Pixels (height, width, 4) uint8, red, green, blue and an alpha that is left out, as a PNG.

    Each row is stored as its difference from the one above, as suits a figure, and compressed
    lightly. Pillow tries five filters a row, which takes several times as long (`make bench`).
    """
    height, width, _ = pixels.shape
    rows = np.empty((height, 1 + 3 * width), np.uint8)
    rows[:, 0] = 2  # the filter's number: up
    differences = rows[:, 1:].reshape(height, width, 3)  # a view
    for channel in range(3):  # a plane at a time is faster than threes out of fours
        plane = pixels[..., channel]
        differences[0, :, channel] = plane[0]
        np.subtract(plane[1:], plane[:-1], out=differences[1:, :, channel])

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    data = zlib.compress(rows, level=1)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _flat(artists: Any) -> list[Artist]:
    """Every artist in nested mappings, lists and containers."""
    if isinstance(artists, Artist):
        return [artists]
    parts = artists.values() if isinstance(artists, Mapping) else artists
    return [artist for part in parts for artist in _flat(part)]


def _error_panel(error: BaseException, values: Mapping[str, Any]) -> str:
    """The error as a student needs it: what, where in their own code, with which values."""
    if isinstance(error, ExerciseError):
        lines = [str(error)]
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [f for f in frames if not _is_library(f.filename)]
        lines = [
            f"{type(error).__name__}: {error}",
            *(f"  line {f.lineno} in {f.name}: {f.line or ''}" for f in own[-2:]),
            "  with " + ", ".join(f"{name} = {value}" for name, value in values.items()),
        ]
    return f"<pre role='alert'>{html.escape(chr(10).join(lines))}</pre>"


def _is_library(filename: str) -> bool:
    """Whether the file is the course's, Python's or an installed package's, so not a student's."""
    return any(Path(filename).is_relative_to(folder) for folder in _LIBRARY) or (
        "site-packages" in filename
    )

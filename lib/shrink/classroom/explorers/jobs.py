"""Long work behind a button: it runs in a thread of its own, and can be stopped."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import ipywidgets as widgets

from shrink.classroom.explorers.controls import in_boxes, in_rows
from shrink.classroom.explorers.errors import error_panel

_EVERY = 0.1  # seconds between two reports of progress


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


class Worker:
    """A job's buttons, progress bar and messages, and the thread in which it runs.

    Args:
        job: the work.
        values: gives the explorer's values at the start.
        refresh: called once the work has ended.
    """

    def __init__(
        self, job: Job, values: Callable[[], dict[str, Any]], refresh: Callable[[], None]
    ) -> None:
        self.job, self._values, self._refresh = job, values, refresh
        self.start_button = widgets.Button(description=job.label, button_style="primary")
        self.stop_button = widgets.Button(description="Stop", disabled=True)
        self.bar = widgets.FloatProgress(min=0, max=1, layout=widgets.Layout(width="220px"))
        self.status, self.message = widgets.Label(), widgets.HTML()
        self.message.add_class("shrink-error")
        self.start_button.on_click(self.start)
        self.stop_button.on_click(self.stop)
        self.boxes = in_boxes(job.controls)
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._told, self._running = threading.RLock(), False  # the lock is of what the status says

    @property
    def rows(self) -> list[widgets.Widget]:
        """What stands in the explorer."""
        row = widgets.HBox([self.start_button, self.stop_button, self.bar, self.status])
        if self.job.controls:
            about = widgets.HTML(self.job.about)
            sliders, others = in_rows(self.boxes)
            row = widgets.VBox([about, *sliders, others, row])
            row.add_class("shrink-job")
        return [row, self.message]

    def start(self, _button: object = None) -> None:
        """Start the job in its thread, unless it is running."""
        with self._told:
            if self._running:
                return
            self._running = True
            self._stop.clear()
            self.start_button.disabled, self.stop_button.disabled = True, False
            self.bar.value, self.status.value, self.message.value = 0, "running", ""
        own = {name: control.value for name, control in self.job.controls.items()}
        values = self._values() | own
        self._thread = threading.Thread(target=self._work, args=(values,), daemon=True)
        self._thread.start()

    def stop(self, _button: object = None) -> None:
        """Ask the job to end, if it runs; it does so after the step under way."""
        with self._told:
            if self._running:
                self._stop.set()
                self.status.value = "stopping"

    def wait(self, timeout: float | None = None) -> None:
        """Block until the job has ended."""
        if self._thread is not None:
            self._thread.join(timeout)

    def _work(self, values: dict[str, Any]) -> None:
        ended = "failed"
        try:
            self.job.run(values, self._stop, self._reporter())
            ended = "stopped" if self._stop.is_set() else "finished"
        except (Exception, SystemExit) as error:  # a student's exit() too
            self.message.value = error_panel(error, values)
        finally:
            self._refresh()
            with self._told:
                self._running = False
                self.bar.value, self.status.value = 0, ended
                self.start_button.disabled, self.stop_button.disabled = False, True

    def _reporter(self) -> Callable[[int, int], None]:
        last = 0.0

        def progress(done: int, total: int) -> None:
            nonlocal last
            if time.monotonic() - last < _EVERY:
                return
            last = time.monotonic()
            with self._told:
                if not self._stop.is_set():
                    self.bar.value = done / total
                    self.status.value = f"step {done} of {total}"

        return progress

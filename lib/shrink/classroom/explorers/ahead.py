"""While nothing moves, the next stops of a slider are computed, so that they are there at once."""

import atexit
import math
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

import ipywidgets as widgets

STOPS = 6  # on either side of where the slider is
_REST = 0.03  # seconds without a move until it begins: a key that is held comes sooner
_PATIENCE = 2.0  # seconds without work until its thread ends
_LAST = 2.0  # seconds that Python's end waits for what is computed: a student's loop may not end
_preparing = threading.local()
_living: "weakref.WeakSet[Ahead]" = weakref.WeakSet()


class GaveWay(Exception):
    """What was being prepared is given up, as a control has moved."""


def give_way() -> None:
    """Raise GaveWay where something is prepared and a control has moved; else do nothing.

    Long computations call it between their parts; `Memory` does so before it makes anything.
    """
    moved = getattr(_preparing, "moved", None)
    if moved is not None and moved.is_set():
        raise GaveWay


class Ahead:
    """A thread that does work while nothing moves; it ends when there has been none for a while.

    Work is a list of calls, the most likely to be wanted first. The latest list wins.
    """

    def __init__(self) -> None:
        self._told = threading.Condition()
        self._calls: Sequence[Callable[[], object]] = ()
        self._moved, self._done = threading.Event(), threading.Event()
        self._done.set()
        self._working = threading.Lock()
        self._thread: threading.Thread | None = None
        _living.add(self)

    @contextmanager
    def instead(self) -> Iterator[None]:
        """Have what is being prepared give way, and prepare nothing until this is done."""
        with self._told:
            self._give_up()
        with self._working:
            yield

    def prepare(self, calls: Sequence[Callable[[], object]]) -> None:
        """Make these calls once nothing has moved for a moment."""
        with self._told:
            self._give_up()
            self._calls, self._moved, self._done = calls, threading.Event(), threading.Event()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()
            self._told.notify()

    def end(self, timeout: float) -> None:
        """Give up what is prepared, and wait for what is computed, but not for ever."""
        with self._told:
            self._give_up()
        if self._working.acquire(timeout=timeout):
            self._working.release()

    def _give_up(self) -> None:
        """Have the latest list give way, or never begin."""
        self._moved.set()
        if self._calls:
            self._calls = ()
            self._done.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all is prepared, or given up; False if that takes longer."""
        return self._done.wait(timeout)

    def _work(self) -> None:
        while True:
            with self._told:
                if not self._told.wait_for(lambda: self._calls, _PATIENCE):
                    self._thread = None
                    return
                calls, moved, done = self._calls, self._moved, self._done
                self._calls = ()
            _preparing.moved = moved
            if not moved.wait(_REST):
                self._make(calls, moved)
            done.set()

    def _make(self, calls: Sequence[Callable[[], object]], moved: threading.Event) -> None:
        for call in calls:
            with self._working, suppress(Exception):  # whoever moves there is told what it was
                if moved.is_set():
                    return
                call()


@atexit.register
def _end() -> None:
    """Leave no thread within torch, which ends badly there, when Python ends."""
    for one in list(_living):
        one.end(_LAST)


def next_stops(slider: widgets.Widget, before: Any) -> list[Any]:
    """The slider's stops around its value, the nearest first; on the side that it came to first.

    `before` is the value that it had before.
    """
    place, low, high = slider.value, slider.min, slider.max
    logarithmic = isinstance(slider, widgets.FloatLogSlider)
    if logarithmic:
        place, before = math.log(place, slider.base), math.log(before, slider.base)
    here = round((place - low) / slider.step)
    last = round((high - low) / slider.step)
    forward = 1 if place >= before else -1
    steps = [side * n for n in range(1, STOPS + 1) for side in (forward, -forward)]
    places = [low + slider.step * (here + n) for n in steps if 0 <= here + n <= last]
    return [slider.base**place if logarithmic else _plain(place) for place in places]


def _plain(number: float) -> float:
    """0.91, as a front end has it, and not 0.9100000000000001."""
    return number if isinstance(number, int) else float(f"{number:.12g}")

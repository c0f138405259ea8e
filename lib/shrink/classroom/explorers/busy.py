"""A redraw that takes long can be seen to."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_AFTER = 0.25  # seconds of redrawing until it is shown
_WATCHED = 2.0  # seconds after a redraw's beginning in which its thread waits for another


class Busy:
    """Calls `show(True)` when work takes longer than a quarter of a second, `show(False)` after it.

    One thread watches over many redraws, as each would wait for a thread of its own to start.
    """

    def __init__(self, show: Callable[[bool], None]) -> None:
        self._show = show
        self._lock, self._watcher = threading.Lock(), None
        self._working, self._began = False, 0.0

    @contextmanager
    def working(self) -> Iterator[None]:
        """Watch over what is done inside."""
        with self._lock:
            self._working, self._began = True, time.monotonic()
            if self._watcher is None:
                self._watcher = threading.Thread(target=self._watch, daemon=True)
                self._watcher.start()
        try:
            yield
        finally:
            with self._lock:
                self._working = False
                self._show(False)

    def _watch(self) -> None:
        while True:
            time.sleep(_AFTER / 4)
            with self._lock:
                since = time.monotonic() - self._began
                if self._working and since > _AFTER:
                    self._show(True)
                if not self._working and since > _WATCHED:
                    self._watcher = None
                    return

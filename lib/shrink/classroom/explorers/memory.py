"""What a setting gave a moment ago: a slider that comes back computes nothing anew."""

import threading
from collections.abc import Callable, Hashable
from typing import Any

from shrink.classroom.explorers.ahead import give_way


class Memory:
    """The `limit` results that were asked for last, by key. Threads may share it."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._results: dict[Hashable, Any] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._results)

    def once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` gives, or gave for this key; it is called outside of the lock.

        Raises:
            GaveWay: this is being prepared, and a control has moved.
        """
        with self._lock:
            if key in self._results:
                self._results[key] = self._results.pop(key)  # the latest is last
                return self._results[key]
        give_way()
        made = make()
        with self._lock:
            self._results[key] = made
            while len(self._results) > self.limit:
                del self._results[next(iter(self._results))]
        return made

    def clear(self) -> None:
        """Forget all."""
        with self._lock:
            self._results.clear()

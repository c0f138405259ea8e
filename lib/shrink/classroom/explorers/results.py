"""An explorer's results: computed once, and beforehand where a slider may go next."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import ipywidgets as widgets

from shrink.classroom.explorers.ahead import Ahead, next_stops
from shrink.classroom.explorers.controls import SOURCE
from shrink.classroom.explorers.memory import Memory

_REMEMBERED = 100


class Results:
    """What `compute` gives for values of the controls by name, remembered.

    A student's own function is asked each time, and never beforehand.
    """

    def __init__(self, compute: Callable[..., Any]) -> None:
        self._compute = compute
        self._known, self._ahead = Memory(_REMEMBERED), Ahead()

    def of(self, values: Mapping[str, Any]) -> Any:
        """The result for these values."""
        if _is_mine(values):
            return self._compute(**values)
        key = tuple(f"{v:.9g}" if isinstance(v, float) else v for v in values.values())
        return self._known.once(key, lambda: self._compute(**values))

    def forget(self) -> None:
        """Have all computed anew."""
        with self.nothing_beforehand():
            self._known.clear()

    def nothing_beforehand(self) -> AbstractContextManager[None]:
        """Stop what is computed beforehand, and begin with nothing until this is done."""
        return self._ahead.instead()

    def prepare(
        self, values: Mapping[str, Any], sliders: Mapping[str, widgets.Widget], moved: str, was: Any
    ) -> None:
        """Once nothing moves, compute what the next stops show of the slider `moved`, that was at
        `was`, and then what one stop of each other slider shows, on either side.
        """
        if _is_mine(values):
            return
        stops = [(moved, stop) for stop in next_stops(sliders[moved], was)]
        for name, slider in sliders.items():
            if name != moved:
                stops += [(name, stop) for stop in next_stops(slider, slider.value)[:2]]
        if stops:
            self._ahead.prepare([partial(self.of, {**values, name: stop}) for name, stop in stops])

    def wait(self, timeout: float | None = None) -> bool:
        """Block until all is prepared, or given up; False if that takes longer."""
        return self._ahead.wait(timeout)


def _is_mine(values: Mapping[str, Any]) -> bool:
    return values.get(SOURCE) == "mine"

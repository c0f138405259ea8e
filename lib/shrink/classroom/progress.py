"""Progress: a function that long work calls with the steps done and the steps in all.

Long work is known by its bar. So one may ask what there is to do, and how long it would take,
without doing it: see `only_asking`.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm.auto import tqdm

Progress = Callable[[int, int], None]
_asking = threading.local()  # `on`; the last `bar`, its title and seconds; `making` a kept thing
_hidden = threading.local()  # `on`


class Announced(Exception):
    """Raised in place of long work by who only asks: what it is, and about how many seconds.

    `seconds` is None where that is not known.
    """

    def __init__(self, what: str, seconds: float | None) -> None:
        super().__init__(what)
        self.what, self.seconds = what, seconds


def new_bar(what: str, *, seconds: float | None = None, **options: object) -> tqdm:
    """A bar that moves once a second and goes when the work is done.

    In a notebook each move sends messages to the browser: a reader that looks at a cell's messages
    only at its end, as nbval does, loses some if there are thousands.

    Args:
        what: the work, for the bar's title.
        seconds: for work whose result is kept, roughly how long it takes; the title says so.
        options: go to tqdm.
    """
    if getattr(_asking, "on", False):
        _asking.bar = what, seconds
        if _asking.making:
            raise Announced(what, seconds)
        options["disable"] = True
    if getattr(_hidden, "on", False):
        options["disable"] = True
    if seconds is not None:
        what = f"{what} (once, {about(seconds)}, then kept)"
    return tqdm(desc=what, mininterval=1, leave=False, **options)


@contextmanager
def without_bars() -> Iterator[None]:
    """Inside, in this thread, no bar shows: for work in one of many processes."""
    before, _hidden.on = getattr(_hidden, "on", False), True
    try:
        yield
    finally:
        _hidden.on = before


@contextmanager
def only_asking() -> Iterator[None]:
    """Inside, in this thread, what is not kept yet and has a bar is not made.

    `Announced` is raised in its place. What has no bar is made, as that is short.
    """
    _asking.on, _asking.bar, _asking.making = True, None, False
    try:
        yield
    finally:
        _asking.on = False


def unless_asking(make: Callable[[], Any]) -> Callable[[], Any]:
    """What `cache.kept` calls for a thing that is missing: `make`, or what raises `Announced`."""

    def ask() -> Any:
        if _asking.bar:  # it is open already, around several things
            raise Announced(*_asking.bar)
        before, _asking.making = _asking.making, True
        try:
            return make()
        finally:
            _asking.making = before

    return ask if getattr(_asking, "on", False) else make


def about(seconds: float) -> str:
    """A rough time in words.

    >>> about(3.2), about(48), about(140)
    ('about 5 s', 'about 50 s', 'about 2 min')
    """
    if seconds > 90:
        return f"about {round(seconds / 60)} min"
    step = 5 if seconds < 20 else 10
    return f"about {max(step * round(seconds / step), step)} s"


def bar_progress(bar: tqdm) -> Progress:
    """A progress function that moves a tqdm bar."""

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return progress

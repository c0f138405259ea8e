"""Progress: a function that long work calls with the steps done and the steps in all."""

from collections.abc import Callable

from tqdm.auto import tqdm

Progress = Callable[[int, int], None]


def new_bar(what: str, *, seconds: float | None = None, **options: object) -> tqdm:
    """A bar that moves once a second and goes when the work is done.

    In a notebook each move sends messages to the browser: a reader that looks at a cell's messages
    only at its end, as nbval does, loses some if there are thousands.

    Args:
        what: the work, for the bar's title.
        seconds: for work whose result is kept, roughly how long it takes; the title says so.
        options: go to tqdm.
    """
    if seconds is not None:
        what = f"{what} (once, {about(seconds)}, then kept)"
    return tqdm(desc=what, mininterval=1, leave=False, **options)


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

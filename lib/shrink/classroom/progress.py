"""Progress: a function that long work calls with the steps done and the steps in all."""

from collections.abc import Callable

from tqdm.auto import tqdm

Progress = Callable[[int, int], None]


def new_bar(what: str, **options: object) -> tqdm:
    """A bar that moves once a second: in a notebook each move is messages to the browser.

    What reads a cell's messages only at its end, as nbval does, loses some if they are thousands.
    `options` go to tqdm.
    """
    return tqdm(desc=what, mininterval=1, **options)


def bar_progress(bar: tqdm) -> Progress:
    """A progress function that moves a tqdm bar."""

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return progress

"""Progress: a function that long work calls with the steps done and the steps in all."""

from collections.abc import Callable

from tqdm.auto import tqdm

Progress = Callable[[int, int], None]


def bar_progress(bar: tqdm) -> Progress:
    """A progress function that moves a tqdm bar."""

    def progress(done: int, total: int) -> None:
        bar.total = total
        bar.update(done - bar.n)

    return progress

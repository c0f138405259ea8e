"""A pytest plugin for nbval: it waits longer, sees that Python has ended, and runs elsewhere.

After a cell that took too long nbval expects each cell below to fail, and says nothing when it
does. And it says nothing of a cell that took too long and then came to an end.

nbval's own limit for what a cell printed is five seconds without a message. On a busy machine that
is too few, and a cell fails though it ran; and where a cell prints without end, and catches the
interrupt, nbval reads on for ever.

Where `quit()` or a crash ends Python, nbval waits for the answer until the cell's time is over, and
blames the cell below.
"""

import os
import time
from collections.abc import Generator
from pathlib import Path
from queue import Empty

import nbval.plugin
import pytest
from nbval.kernel import RunningKernel

from shrink.classroom.grading import ENDED, FOLDER

SECONDS = 60
_GLANCE = 0.5  # seconds between two looks at whether Python lives


class PythonEnded(Exception):
    """Raised where nbval waits for an answer that will not come."""


class WatchedKernel(RunningKernel):
    """A kernel whose end is noticed at once, in the cell that brought it about."""

    _until = float("inf")  # when what a cell printed must have come

    def await_reply(self, msg_id: str, timeout: float | None = None) -> None:
        """Wait until the cell has run; raises `Empty` when it has not after `timeout` seconds."""
        self._until = float("inf")
        try:
            super().await_reply(msg_id, timeout)
        finally:
            self._until = time.monotonic() + SECONDS

    def get_message(self, stream: str, timeout: float | None = None) -> dict:
        """The next message; raises `PythonEnded`, or `Empty` after `timeout` seconds.

        `Empty` as well where a cell prints without end, though there is always a next message.
        """
        end = float("inf") if timeout is None else time.monotonic() + timeout
        while True:
            if time.monotonic() >= self._until:
                raise Empty
            try:
                wait = max(0.0, min(_GLANCE, end - time.monotonic()))
                message = super().get_message(stream, timeout=wait)
            except Empty:
                if not self.is_alive():
                    raise PythonEnded(f"{ENDED} in it") from None
                if time.monotonic() >= end:
                    raise
            else:
                return self._unless_it_ends(message)

    def _unless_it_ends(self, message: dict) -> dict:
        """The message; where it asks a front end to end Python, as `quit()` does, that is done."""
        for payload in message["content"].get("payload") or ():
            if payload.get("source") == "ask_exit" and not payload.get("keepkernel"):
                self.km.shutdown_kernel(now=True)
                raise PythonEnded(f"{ENDED} in it: quit() or exit() ended it")
        return message


def pytest_configure() -> None:
    nbval.plugin.RunningKernel = WatchedKernel


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        item.output_timeout = SECONDS
        if folder := os.environ.get(FOLDER):
            item.parent.path = Path(folder, item.parent.path.name)  # nbval starts the kernel there


class TimedOut(Exception):
    """Raised for a cell that came to an end when its time was over."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    yield
    if item.parent.timed_out:
        seconds = item.config.option.nbval_cell_timeout
        raise TimedOut(f"Timeout of {seconds:g} seconds exceeded")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    item.parent.timed_out = False

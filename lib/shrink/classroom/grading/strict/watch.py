"""Keeps an eye on an answer while it runs: what it asks of the system ends in a refusal.

Python tells an audit hook of every file that is opened, process that is started, module that is
looked for and text that is run as code (PEP 578), whichever library does it on an answer's behalf.
An answer computes; it needs none of these.
"""

import collections
import contextlib
import sys
import tokenize
from collections.abc import Iterator
from types import FrameType
from typing import Any, NoReturn

CELL = "<code cell "  # what the names of answers' code begin with
_HARMLESS = {"array.__new__", "builtins.id", "compile", "object.__getattr__"}
_HARMLESS |= {"time.sleep"}
_OF_LIBRARIES = {"object.__delattr__", "object.__setattr__", "sys._getframe"}
_OF_LIBRARIES |= {"sys._getframemodulename"}  # none of these has a name that answers may use
_IMPORTING = "<frozen importlib._bootstrap>"

refusals: list[str] = []  # of the exercise on trial, in order


class Refused(Exception):
    """Raised in an answer that asks for what is not admitted."""


def refuse(what: str) -> NoReturn:
    """Note what an answer asked for, and raise `Refused`; to catch that does not help."""
    refusals.append(what)
    raise Refused(what)


class Watch:
    """Hears what the interpreter is asked for while it is on."""

    def __init__(self) -> None:
        self._is_on = False

    def begin(self) -> None:
        """Listen from now on; nothing can take the hook out again."""
        sys.addaudithook(self._hear)

    @contextlib.contextmanager
    def switched(self, on: bool) -> Iterator[None]:
        """Inside, the watch is on, or off."""
        before, self._is_on = self._is_on, on
        try:
            yield
        finally:
            self._is_on = before

    def _hear(self, event: str, args: tuple) -> None:
        if not self._is_on or event in _HARMLESS:
            return
        with self.switched(False):  # what follows raises events too
            if _is_admitted(event, args, sys._getframe(1)):
                return
        refuse(_in_words(event, args))


def _is_admitted(event: str, args: tuple, frame: FrameType) -> bool:
    """Whether libraries do this by themselves: import late, quote their lines, name their types."""
    if event in _OF_LIBRARIES:
        return not _is_theirs(frame)
    if event == "import":
        return args[0].partition(".")[0] != "shrink"  # an answer's own imports are lent
    if event == "open" and frame.f_code is tokenize.open.__code__:
        return True  # a library quotes where it was called
    if event == "exec" and args[0].co_filename.startswith(CELL):
        return True  # the definition of the answer
    if event == "exec" and frame.f_code is collections.namedtuple.__code__:
        return True
    return _is_importing(frame)


def _is_theirs(frame: FrameType) -> bool:
    return frame.f_code.co_filename.startswith(CELL)


def _is_importing(frame: FrameType | None) -> bool:
    """Whether a module is being imported between the answer and this frame."""
    while frame and not _is_theirs(frame):
        if frame.f_code.co_filename == _IMPORTING:
            return True
        frame = frame.f_back
    return False


def _in_words(event: str, args: tuple[Any, ...]) -> str:
    if event == "open":
        return f"opens a file, {str(args[0])[-80:]!r}"
    if event == "import":
        return f"imports {args[0]}"
    if event == "exec":
        return "runs text as code"
    return f"asks the system for {event}"

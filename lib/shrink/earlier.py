"""A notebook that was written for an earlier Shrink is told to be updated, in one line.

Its imports fail, for modules have moved. In IPython an import of ours that fails in a cell is shown
as that line, without a traceback. The import system is left alone: the error is Python's own.
"""

import re
import sys
from types import TracebackType

ADVICE = "if this notebook was written for an earlier one, run `shrink update` in a terminal"


def told_in_one_line(shell) -> None:
    """From now on the IPython `shell` shows failed imports of Shrink as one line."""

    def show(shell, etype, error, traceback, tb_offset=None) -> None:
        if line := told(error, traceback):
            error._render_traceback_ = lambda: [line]  # what IPython shows in place of a traceback
        shell.showtraceback((etype, error, traceback), tb_offset=tb_offset)

    shell.set_custom_exc((ImportError,), show)


def told(error: ImportError, traceback: TracebackType | None) -> str | None:
    """The line to show, or None where a cell did not ask for it, or not for something of ours."""
    if (error.name or "").partition(".")[0] != "shrink" or _module(traceback) != "__main__":
        return None
    name = re.match(r"cannot import name '(\w+)'", str(error))
    missing = f"{error.name}.{name[1]}" if name else error.name
    return f"this Shrink has no {missing}: {ADVICE}, then open it again"


def _module(traceback: TracebackType | None) -> str:
    """The name of the module whose import statement failed."""
    name = ""
    while traceback:
        code, names = traceback.tb_frame.f_code, traceback.tb_frame.f_globals
        if not code.co_filename.startswith("<frozen importlib"):
            name = names.get("__name__", "")
        traceback = traceback.tb_next
    return name


def running_shell():
    """The IPython shell that this process runs in, if it does; IPython is not imported for it."""
    ipython = sys.modules.get("IPython")
    return ipython.get_ipython() if ipython else None

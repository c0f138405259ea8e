"""Front ends are answered while cells run.

JupyterLab sends what its widgets say to a subshell of the kernel, a thread beside the one that runs
cells. ipykernel 7.4 sends it on to the shell from which the widget last spoke instead. That is the
shell of the cells for a widget that a cell has made or changed, or a thread that a cell started, so
that a press on a slider waits until all cells have run. Other versions do what the front end asks.
"""

from collections.abc import Iterator
from typing import Any

import ipywidgets as widgets


def hear_beside_cells(widget: widgets.Widget) -> None:
    """Let what the front end says to the widget, and to all inside it, go where it was sent."""
    for one in (widget, *_inside(widget)):
        if hasattr(one.comm, "_reply_subshell_for"):
            one.comm._reply_subshell_for = _as_sent


def _as_sent(_data: Any, subshell: str | None) -> str | None:
    """The subshell for a message, which names one."""
    return subshell


def _inside(widget: widgets.Widget) -> Iterator[widgets.Widget]:
    for child in getattr(widget, "children", ()):
        yield child
        yield from _inside(child)

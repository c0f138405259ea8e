"""Who sees what a check found: a person at a front end, or a program that judges.

One question tells them apart: can whoever runs the cell be asked something? JupyterLab, Notebook,
VS Code, Colab and consoles allow `input()` in every cell that they send. nbval, and nbclient, on
which nbconvert, papermill and nbgrader stand, refuse it. Names in the environment would tell less:
each front end has its own, and a program started from a notebook's terminal inherits it.

Voilà refuses `input()` too, for it runs the notebook with nbclient before it shows the page, and
the page ends at the first exception. So it counts as a front end; it is known by a name that it
sets in its kernels.
"""

import html
import os
from typing import Any

from IPython import get_ipython
from IPython.display import display

_COLOURS = {"done": "#009E73", "not done yet": "#E69F00", "wrong": "#D55E00"}


def is_live() -> bool:
    """Whether a person sees what this cell shows, and runs those below it.

    Under pytest nobody does, in a notebook's own process neither.
    """
    ask = getattr(getattr(get_ipython(), "kernel", None), "get_parent", None)
    if ask is None or "PYTEST_VERSION" in os.environ:
        return False
    request = ask().get("content", {})  # a press on a button is one too, and says nothing of input
    return request.get("allow_stdin", True) or "VOILA_PREHEAT" in os.environ


def show_panel(state: str, message: str, metadata: dict[str, Any]) -> None:
    """Display what a check found, its state first; a console shows the message alone.

    The notebook keeps `metadata` with the output.
    """
    data = {"text/html": _panel(state, message), "text/plain": message}
    display(data, metadata=metadata, raw=True)


def _panel(state: str, message: str) -> str:
    """The outcome as HTML that is legible on light and dark themes."""
    first, *rest = message.splitlines()
    first = first.removesuffix(f": {state}")
    details = f"<pre style='margin:4px 0 0'>{html.escape(chr(10).join(rest))}</pre>" if rest else ""
    return (
        f"<div role='status' style='border-left:6px solid {_COLOURS[state]};padding:6px 12px;"
        "color:var(--jp-content-font-color1,inherit);background:var(--jp-layout-color2,#8881)'>"
        f"<b>{state}</b> &nbsp; {html.escape(first)}{details}</div>"
    )

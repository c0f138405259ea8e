"""Actions: buttons that set controls to what the picture shows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets


@dataclass(frozen=True)
class Action:
    """A button that sets some controls by the result on show; the others stay as they are.

    Args:
        label: what the button says.
        about: what it does, while the mouse or the keyboard is on it.
        values: called with the result on show; control → value.
    """

    label: str
    about: str
    values: Callable[[Any], Mapping[str, Any]]


def button(one: Action, press: Callable[[Action], None]) -> widgets.Button:
    """The button, which calls `press` with its action."""
    made = widgets.Button(
        description=one.label, tooltip=one.about, layout=widgets.Layout(width="auto")
    )
    made.on_click(lambda _button: press(one))
    return made

"""What to try: buttons, each of which sets the state that a question is about."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ipywidgets as widgets

from shrink.classroom.explorers.controls import SLIDERS

_NEAR = 1e-6  # of a slider's step: what is closer to a stop is that stop


class Try:
    """A button that sets the state that a question is about.

    >>> Try("prune 90 %", "Which layer keeps least?", sparsity=0.9, scope="global").values
    {'sparsity': 0.9, 'scope': 'global'}

    Args:
        label: what the button says.
        question: what to look for; it shows while the mouse or the keyboard is on the button.
        values: control → value, of the explorer's controls and its job's.
    """

    def __init__(self, label: str, question: str = "", /, **values: Any) -> None:
        self.label, self.question, self.values = label, question, values


def refuse_what_cannot_be_set(tries: Sequence[Try], controls: Mapping[str, widgets.Widget]) -> None:
    """Raise a ValueError where a try names no control, or no value of its control."""
    for one in tries:
        for name, value in one.values.items():
            if name not in controls:
                raise ValueError(f"the try {one.label!r}: there is no control {name!r}")
            if not _has(controls[name], value):
                raise ValueError(f"the try {one.label!r}: {name} has no stop or choice {value!r}")


def _has(control: widgets.Widget, value: Any) -> bool:
    """Whether it is a choice, a slider's stop, or where the slider began."""
    if not isinstance(control, SLIDERS):
        options = getattr(control, "_options_full", None)
        return options is None or any(value == choice for _, choice in options)
    if value == control.value:
        return True
    place = value
    if isinstance(control, widgets.FloatLogSlider):
        if value <= 0:
            return False
        place = math.log(value, control.base)
    steps = (place - control.min) / control.step
    last = (control.max - control.min) / control.step
    return abs(steps - round(steps)) < _NEAR and -_NEAR < steps < last + _NEAR


def buttons(tries: Sequence[Try], press: Callable[[Try], None]) -> widgets.HBox:
    """A row of buttons that wraps; each calls `press` with its try."""
    row = [widgets.Label("try")]
    for one in tries:
        button = widgets.Button(
            description=one.label,
            tooltip=one.question or one.label,
            layout=widgets.Layout(width="auto"),
        )
        button.on_click(lambda _button, one=one: press(one))
        row.append(button)
    box = widgets.HBox(row, layout=widgets.Layout(flex_flow="row wrap"))
    box.add_class("shrink-tries")
    return box

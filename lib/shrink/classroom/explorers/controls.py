"""Controls: choices as buttons, sliders with a box to type in, and how they stand in rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets

if TYPE_CHECKING:  # it imports torch, and a slider needs none
    from shrink.classroom.exercises.exercise import Exercise

SOURCE = "source"  # the name of the switch between the library's function and the student's
SLIDERS = (widgets.FloatSlider, widgets.IntSlider, widgets.FloatLogSlider)


def toggle(
    description: str, options: list, width: int | None = 92, value: Any = None
) -> widgets.ToggleButtons:
    """A choice among a few options, `value` or the first, as buttons `width` pixels wide.

    Without a width each button is as wide as its words.
    """
    buttons = widgets.ToggleButtons(
        options=options,
        description=description,
        style={"button_width": f"{width}px" if width else "auto", "description_width": "initial"},
        layout=widgets.Layout(display="flex", margin="2px 12px 2px 2px", width="auto"),
    )
    if value is not None:
        buttons.value = value
    return buttons


def wide(width: int, words: int | None = None) -> dict[str, Any]:
    """The options of a slider `width` pixels wide; its description has `words` of them."""
    style = {} if words is None else {"style": {"description_width": f"{words}px"}}
    return {"layout": widgets.Layout(width=f"{width}px"), **style}


def whose(
    description: str, exercises: Collection[Exercise] | Exercise | None
) -> widgets.ToggleButtons:
    """The switch between the library's function and the student's, where there is an exercise."""
    return toggle(description, ["reference", "mine"] if exercises else ["reference"])


def in_boxes(controls: Mapping[str, widgets.Widget]) -> dict[str, widgets.Widget]:
    """Name → what stands in an explorer for the control: a slider with a box to type in."""
    return {
        name: _with_number_box(control) if isinstance(control, SLIDERS) else control
        for name, control in controls.items()
    }


def in_rows(boxes: Mapping[str, widgets.Widget]) -> tuple[list[widgets.Widget], widgets.HBox]:
    """The sliders' boxes, a row each, and the others in one that wraps."""
    sliders = [box for box in boxes.values() if isinstance(box, widgets.HBox)]
    others = [box for box in boxes.values() if not isinstance(box, widgets.HBox)]
    return sliders, widgets.HBox(others, layout=widgets.Layout(flex_flow="row wrap"))


def with_column(image: widgets.Image, column: Sequence[widgets.Widget]) -> widgets.HBox:
    """The picture with a column of boxes to its right, or below it where there is no room."""
    for box in column:
        if isinstance(box, widgets.HBox):
            slider, number = box.children
            slider.layout = widgets.Layout(flex="1 1 60px", width="auto", min_width="0")
            number.layout.width = "56px"
            box.layout.max_width = "320px"
    beside = widgets.VBox(column, layout=widgets.Layout(flex="1 1 190px", min_width="0"))
    return widgets.HBox([image, beside], layout=widgets.Layout(flex_flow="row wrap"))


def show(box: widgets.Widget, shown: bool) -> None:
    """Show or hide what stands in an explorer for a control."""
    if shown != (box.layout.display != "none"):
        box.layout.display = "flex" if shown else "none"


def put(control: widgets.Widget, value: Any) -> None:
    """Set a control's value; one between the stops of a logarithmic slider holds.

    With `continuous_update` the front end answers such a value with that of the nearest stop, so
    it is off while one is sent.
    """
    if not isinstance(control, widgets.FloatLogSlider) or control.value == value:
        control.value = value
        return
    with control.hold_sync():  # one message
        control.continuous_update = False
        control.value = value
    control.continuous_update = True


def _with_number_box(slider: widgets.Widget) -> widgets.HBox:
    """The slider and a linked box to type in: in some front ends arrow keys do not reach it."""
    logarithmic = isinstance(slider, widgets.FloatLogSlider)
    low, high, step = slider.min, slider.max, slider.step
    whole = isinstance(slider, widgets.IntSlider)
    if logarithmic:  # they are exponents
        whole = low >= 0 and all(float(x).is_integer() for x in (slider.base, low, step))
        low, high, step = slider.base**low, slider.base**high, 1 if whole else None
    box = (widgets.BoundedIntText if whole else widgets.BoundedFloatText)(
        value=slider.value,
        min=low,
        max=high,
        step=step,
        layout=widgets.Layout(width="80px"),
    )
    slider.readout_format = "d" if isinstance(slider, widgets.IntSlider) else ".6g"
    if logarithmic:
        _link_logarithmic(slider, box)
    else:
        widgets.link((slider, "value"), (box, "value"))
    widgets.dlink((slider, "disabled"), (box, "disabled"))
    return widgets.HBox([slider, box])


def _link_logarithmic(slider: widgets.FloatLogSlider, box: widgets.Widget) -> None:
    """Link a box that shows six digits, and in which values between the slider's stops hold."""

    def shown() -> float:
        return float(f"{slider.value:.6g}")

    def show(_change: object) -> None:
        box.value = shown()

    def type_in(change: Any) -> None:
        if change.new != shown():
            put(slider, change.new)

    slider.observe(show, "value")
    box.observe(type_in, "value")

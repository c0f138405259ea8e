"""Sliders, and the boxes to type in beside them."""

import ipywidgets as widgets
import pytest

from tests.classroom.explorers.dot import explorer, inside


def number_boxes(it):
    kinds = (widgets.BoundedFloatText, widgets.BoundedIntText)
    return [child for child in inside(it) if isinstance(child, kinds)]


def test_a_slider_has_a_number_box_linked_both_ways():
    epochs = widgets.IntSlider(3, min=1, max=20)
    it = explorer(lambda x, epochs: x, epochs=epochs)
    x_box, epochs_box = number_boxes(it)
    assert isinstance(epochs_box, widgets.BoundedIntText)
    assert (x_box.min, x_box.max, x_box.step, x_box.value) == (0, 10, 0.5, 2)
    x_box.value = 4
    assert it.controls["x"].value == 4 and it.result == 4
    it.controls["x"].value = 6
    assert x_box.value == 6
    epochs_box.value = 99
    assert epochs.value == 20


def test_a_number_box_is_disabled_with_its_slider():
    it = explorer()
    (box,) = number_boxes(it)
    it.controls["x"].disabled = True
    assert box.disabled
    it.controls["x"].disabled = False
    assert not box.disabled


def log_slider(step, **kwargs):
    return widgets.FloatLogSlider(64, base=2, min=3, max=12, step=step, **kwargs)


def test_a_logarithmic_slider_has_a_row_of_its_own_and_a_box_that_shows_its_values():
    memory = log_slider(0.25, description="memory")
    it = explorer(lambda x, memory: memory / 1000, memory=memory)
    (row,) = (box for box in inside(it) if memory in getattr(box, "children", ()))
    assert len(row.children) == 2
    _, box = number_boxes(it)
    assert isinstance(box, widgets.BoundedFloatText)
    assert (box.min, box.max, box.value) == (8, 4096, 64)
    box.value = 100
    assert memory.value == 100 and it.result == 0.1
    memory.value = 2**6.25
    assert box.value == 76.1093 and it.result == 2**6.25 / 1000
    box.value = 1e6
    assert memory.value == 4096
    box.value = 0
    assert memory.value == 8


@pytest.mark.parametrize(
    ("first", "base", "low", "high", "kind", "lowest", "highest", "typed"),
    [
        (1, 2, 0, 8, widgets.BoundedIntText, 1, 256, 100),
        (0.01, 10, -3, 0, widgets.BoundedFloatText, 0.001, 1, 0.3),
    ],
    ids=["whole numbers", "fractions"],
)
def test_the_box_of_a_logarithmic_slider_is_of_its_kind_of_numbers(
    first, base, low, high, kind, lowest, highest, typed
):
    slider = widgets.FloatLogSlider(first, base=base, min=low, max=high, step=1)
    _, box = number_boxes(explorer(lambda x, slider: slider, slider=slider))
    assert isinstance(box, kind)
    assert (box.min, box.max, box.value) == (lowest, highest, first)
    box.value = typed
    assert slider.value == typed
    box.value = 0
    assert slider.value == lowest


def test_what_is_typed_between_the_stops_is_sent_so_that_the_front_end_does_not_answer():
    batch = widgets.FloatLogSlider(1, base=2, min=0, max=8, step=1)
    it = explorer(lambda x, batch: batch, batch=batch)
    seen = []
    batch.observe(lambda _: seen.append((batch.continuous_update, batch._holding_sync)), "value")
    number_boxes(it)[1].value = 100
    batch.value = 64
    assert seen == [(False, True), (True, False)]
    assert batch.continuous_update

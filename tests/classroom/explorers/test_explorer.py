"""The explorer frame: the picture keeps up, errors are shown, what has no effect is hidden."""

import threading

import ipywidgets as widgets
import matplotlib.pyplot as plt
import pytest
from IPython.core.formatters import DisplayFormatter

from shrink.classroom.exercises.exercise import ExerciseError
from shrink.classroom.explorers import busy
from shrink.classroom.explorers import explorer as frame
from shrink.classroom.explorers.actions import Action
from shrink.classroom.explorers.explorer import Explorer
from tests.classroom.explorers.dot import Trying, draw, explorer, inside, pixels, until, update


def test_the_slider_moves_the_data_the_words_and_the_pixels():
    it = explorer()
    before = pixels(it)
    it.controls["x"].value = 7.5
    assert it.values == {"x": 7.5} and it.result == 7.5 and it.redraws == 2
    assert it.text.value == "x is <b>7.5</b>"
    changed = (pixels(it) != before).any(axis=2)
    assert changed.any() and changed.mean() < 0.25


def test_a_result_is_remembered_until_it_is_to_be_computed_anew():
    seen = []
    it = explorer(lambda x: seen.append(x) or x)
    for x in (5, 2, 5):
        it.controls["x"].value = x
    assert seen == [2, 5] and it.redraws == 4
    it.refresh()
    assert seen == [2, 5, 5] and it.redraws == 5


def test_axes_are_drawn_once_and_never_jump():
    calls, boxes = [], []

    def counting(figure, result):
        calls.append(result)
        return draw(figure, result)

    it = explorer(draw=counting)
    for x in (0, 5, 10):
        it.controls["x"].value = x
        boxes.append(it.figure.axes[0].get_position().bounds)
    assert calls == [2] and len(set(boxes)) == 1 and len(it.figure.axes) == 1


def test_no_figure_is_pyplots():
    it = explorer()
    it.controls["x"].value = 5
    assert plt.get_fignums() == []


@pytest.mark.parametrize("error", [ValueError("no <square> root"), SystemExit("no <square> root")])
def test_an_error_is_shown_and_the_picture_kept_until_it_is_gone(error):
    def compute(x):
        if x == 5:
            raise error
        return x

    it = explorer(compute)
    before, words = it.image.value, it.text.value
    it.controls["x"].value = 5
    assert f"{type(error).__name__}: no &lt;square&gt; root" in it.message.value
    assert "in compute: raise error" in it.message.value
    assert "with x = 5" in it.message.value and "alert" in it.message.value
    assert it.error is error
    assert (it.image.value, it.text.value) == (before, words) and it.result == 2
    it.controls["x"].value = 6
    assert it.message.value == "" and it.error is None and it.image.value != before


def test_an_exercises_own_words_are_shown_alone():
    def compute(x):
        raise ExerciseError("write it first")

    it = explorer(compute)
    assert it.message.value == "<pre role='alert'>write it first</pre>"
    assert it.image.value == b""


def test_an_error_in_the_first_picture_is_shown_and_the_next_one_drawn():
    def compute(x):
        if x == 2:
            raise ValueError("not two")
        return x

    it = explorer(compute)
    assert "not two" in it.message.value
    it.controls["x"].value = 3
    assert it.message.value == "" and pixels(it).shape == (200, 300, 3)


def test_a_drawing_that_failed_is_drawn_anew():
    fails = [True]

    def draw_at_second_try(figure, result):
        artists = draw(figure, result)
        if fails.pop() if fails else False:
            raise ValueError("half drawn")
        return artists

    it = explorer(draw=draw_at_second_try)
    assert "half drawn" in it.message.value
    it.controls["x"].value = 3
    assert it.message.value == "" and len(it.figure.axes) == 1


def test_an_error_in_update_is_shown_too():
    def broken(artists, x):
        if x > 5:
            raise KeyError("bar")
        update(artists, x)

    it = explorer(update=broken)
    before = it.image.value
    it.controls["x"].value = 6
    assert "KeyError" in it.message.value and it.image.value == before
    it.controls["x"].value = 2.5
    assert it.message.value == ""


class Gate:
    """A compute that waits where it is told to."""

    def __init__(self):
        self.seen, self.entered, self.open = [], threading.Event(), threading.Event()

    def __call__(self, x):
        self.seen.append(x)
        if x == 3:
            self.entered.set()
            assert self.open.wait(20)
        return x

    def slow_redraw(self, it):
        """Moves x to 3 in a thread, which goes on when `open` is set."""
        moving = threading.Thread(target=lambda: setattr(it.controls["x"], "value", 3))
        moving.start()
        assert self.entered.wait(20)
        until(lambda: "shrink-busy" in it._dom_classes)
        return moving


def test_while_a_redraw_runs_only_the_latest_of_the_rest_is_drawn():
    gate = Gate()
    it = explorer(gate)
    moving = gate.slow_redraw(it)
    for x in (4, 5, 6, 7):
        it.controls["x"].value = x  # returns at once
    gate.open.set()
    moving.join(20)
    assert gate.seen == [2, 3, 7]
    assert it.result == 7 and it.text.value == "x is <b>7</b>"
    assert "shrink-busy" not in it._dom_classes


def test_a_slow_redraw_is_dimmed_also_long_after_the_one_before(monkeypatch):
    monkeypatch.setattr(busy, "_WATCHED", 0)
    gate = Gate()
    it = explorer(gate)
    until(lambda: it._busy._watcher is None)
    assert "shrink-busy" not in it._dom_classes
    moving = gate.slow_redraw(it)
    gate.open.set()
    moving.join(20)
    assert "shrink-busy" not in it._dom_classes
    until(lambda: it._busy._watcher is None)


def test_whatever_the_threads_do_the_last_value_is_drawn():
    it = explorer()

    def move(values):
        for x in values:
            it.controls["x"].value = x

    threads = [threading.Thread(target=move, args=([i, i + 0.5, i + 1],)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert it.result == it.controls["x"].value
    last = widgets.FloatSlider(it.result, min=0, max=10, step=0.5)
    assert it.image.value == explorer(x=last).image.value


def test_a_choice_that_moves_while_the_next_stops_are_looked_up_is_no_error(monkeypatch):
    look_up = Explorer._sliders.fget

    def meanwhile(it):
        found, it._came = look_up(it), None  # as another thread does
        return found

    it = explorer()
    monkeypatch.setattr(Explorer, "_sliders", property(meanwhile))
    it.controls["x"].value = 5
    assert it.result == 5


def test_without_a_picture_there_is_still_the_error():
    def compute(x):
        raise ValueError("never")

    data, _ = DisplayFormatter().format(explorer(compute))
    assert "image/png" not in data and "ValueError: never" in data["text/html"]


def test_the_widget_is_shown_where_a_person_can_move_it_and_its_picture_everywhere(monkeypatch):
    one = explorer(lambda x: x)
    there, _ = DisplayFormatter().format(one)
    monkeypatch.setattr(frame, "is_live", lambda: True)
    live, _ = DisplayFormatter().format(one)
    assert live.pop("application/vnd.jupyter.widget-view+json")["model_id"] == one.model_id
    assert live == there and set(there) == {"text/html", "image/png", "text/plain"}


def test_the_alternative_text_is_that_of_the_picture_in_the_widget_and_without_it():
    it = explorer()
    (carrier,) = (w for w in inside(it) if "shrink-alt" in w._dom_classes)
    for x in (2, 7.5):
        it.controls["x"].value = x
        assert it.alt == f"A dot at x < {x + 1:g}"
        assert carrier.value == f"A dot at x &lt; {x + 1:g}"
        data, metadata = DisplayFormatter().format(it)
        assert metadata["image/png"]["alt"] == data["text/plain"] == it.alt


def hides(values):
    names = {"times"} if values["kind"] == 2 else set()
    return names | ({"kind"} if values["epochs"] == 9 else set())


def test_what_has_no_effect_is_hidden_with_its_number_box_and_keeps_its_value():
    trying = Trying(hidden=hides)
    (row,) = (w for w in inside(trying.it) if trying.times in getattr(w, "children", ()))
    assert trying.it.hidden == set() and row.layout.display != "none"
    trying.kind.value = 2
    assert trying.it.hidden == {"times"} and row.layout.display == "none"
    assert trying.times.value == 5
    trying.epochs.value = 9
    assert trying.it.hidden == {"times", "kind"} and trying.kind.layout.display == "none"
    trying.kind.value, trying.epochs.value = 1, 3
    assert trying.it.hidden == set()
    assert row.layout.display == trying.kind.layout.display == "flex"


def test_controls_are_hidden_also_where_the_picture_fails():
    def fails(values):
        return {"times"} if values["x"] == 5 else set()

    def compute(x, times):
        return x if x != 5 else 1 / 0

    times = widgets.IntSlider(3, min=1, max=9)
    it = explorer(compute, more={"hidden": fails}, times=times)
    it.controls["x"].value = 5
    assert it.hidden == {"times"} and it.error
    it.controls["x"].value = 6
    assert it.hidden == set() and it.error is None


class Large(float):
    """A number of another scene."""


def test_results_of_another_type_are_another_scene_with_axes_of_its_own():
    drawn = []

    def counting(figure, result):
        drawn.append(type(result))
        return draw(figure, result)

    it = explorer(lambda x: x if x < 5 else Large(x), draw=counting)
    first = it.image.value, it.figure
    it.controls["x"].value = 6
    assert it.figure is not first[1] and len(it.figure.axes) == 1 and it.error is None
    it.controls["x"].value = 2
    assert (it.image.value, it.figure) == first and drawn == [float, Large]


def test_controls_beside_the_picture_stand_in_a_column_and_keep_their_number_boxes():
    above, beside = explorer(), explorer(more={"beside": ("x",)})
    (row,) = [w for w in beside.children if beside.image in getattr(w, "children", ())]
    picture, column = row.children
    assert picture is beside.image and above.image in above.children
    assert (
        beside.controls["x"] in list(inside(column)) and column.children[0].children[1].value == 2
    )
    beside.controls["x"].value = 7.5
    assert beside.result == 7.5 and pixels(beside).tolist() == pixels(above_at(7.5)).tolist()


def above_at(x):
    it = explorer()
    it.controls["x"].value = x
    return it


def test_an_action_sets_what_the_result_on_show_says():
    half = Action("half", "Half of it", lambda result: {"x": result / 2})
    hidden = {"hidden": lambda values: {"half"} if values["x"] < 2 else ()}
    it = explorer(more={"actions": {"half": half}, **hidden})
    it.controls["x"].value = 6
    (button,) = [w for w in inside(it) if getattr(w, "description", "") == "half"]
    button.click()
    assert it.values == {"x": 3} and it.result == 3 and it.redraws == 3
    assert button.layout.display != "none"
    button.click()
    assert it.hidden == {"half"} and button.layout.display == "none"


def test_an_action_does_nothing_while_an_error_is_shown():
    def compute(x):
        if x == 5:
            raise ValueError("five")
        return x

    action = Action("half", "", lambda result: {"x": 0})
    it = explorer(compute, more={"actions": {"half": action}})
    it.controls["x"].value = 5
    it._buttons["half"].click()
    assert it.values == {"x": 5} and "five" in it.message.value

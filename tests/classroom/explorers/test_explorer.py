"""The explorer frame: the picture keeps up, long work can be stopped, errors are shown."""

import io
import threading
import time

import ipywidgets as widgets
import matplotlib.pyplot as plt
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from shrink.classroom.exercises.exercise import ExerciseError
from shrink.classroom.explorers import busy
from shrink.classroom.explorers import explorer as frame
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job
from shrink.classroom.explorers.tries import Try


def draw(figure, result):
    ax = figure.subplots()
    ax.set(xlim=(0, 10), ylim=(0, 1), title="where it is")
    (dot,) = ax.plot([result], [0.5], "o")
    return {"dot": dot, "more": [ax.bar([1, 2], [0, 0]), ax.text(5, 0.5, "")]}


def update(artists, x):
    artists["dot"].set_data([x], [0.5])
    bars, text = artists["more"]
    for bar in bars:
        bar.set_height(x / 10)
    text.set_text(f"{x:g}")


def explorer(compute=lambda x: x, *, draw=draw, update=update, more=None, job=None, **controls):
    """`more` are other arguments of the explorer."""
    slider = widgets.FloatSlider(2, min=0, max=10, step=0.5, description="x")
    return Explorer(
        compute,
        draw,
        update,
        lambda x: f"x is <b>{x:g}</b>",
        controls={"x": slider, **controls},
        job=job,
        size=(3, 2),
        alt=lambda x: f"A dot at x < {x + 1:g}",
        **(more or {}),
    )


def pixels(it):
    return np.asarray(Image.open(io.BytesIO(it.image.value)).convert("RGB"))


def until(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)


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


class Work:
    """A job that goes on until it is stopped or told to end."""

    def __init__(self, error=None):
        self.error, self.runs, self.ended = error, [], 0
        self.go_on, self.steps = threading.Event(), 0

    def __call__(self, values, stop, progress):
        self.runs.append(values)
        while not (stop.is_set() or self.go_on.is_set()):
            self.steps += 1
            progress(min(self.steps, 50), 100)
            time.sleep(0.002)
        self.ended += 1
        if self.error:
            raise self.error

    def to_its_end(self, it):
        self.go_on.set()
        it.work.start()
        it.work.wait(20)


def inside(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from inside(child)


def buttons(it):
    return it.work.start_button.disabled, it.work.stop_button.disabled


def test_a_job_runs_beside_the_explorer_until_it_ends():
    work = Work()
    it = explorer(job=Job("Go", work))
    assert it.work.start_button.description == "Go" and buttons(it) == (False, True)
    it.work.start_button.click()
    until(lambda: "step" in it.work.status.value and it.work.bar.value > 0)
    assert buttons(it) == (True, False) and it.work.bar.value <= 0.5
    it.controls["x"].value = 8
    assert it.result == 8 and not work.ended
    redraws = it.redraws
    work.go_on.set()
    it.work.wait(20)
    assert work.runs == [{"x": 2}] and work.ended == 1
    assert it.work.status.value == "finished" and it.work.bar.value == 0
    assert buttons(it) == (False, True) and it.redraws == redraws + 1


def test_controls_of_the_job_reach_its_work_alone_and_stand_with_its_button():
    work, seen = Work(), []
    own = {
        "width": widgets.IntSlider(3, min=1, max=9, description="width"),
        "kind": widgets.ToggleButtons(options=["a", "b"]),
    }
    it = explorer(lambda x: seen.append(x) or x, job=Job("Go", work, own, "It <b>trains</b>."))
    own["width"].value, own["kind"].value = 7, "b"
    assert seen == [2] and it.values == {"x": 2} and it.redraws == 1
    (frame,) = (child for child in it.children if "shrink-job" in child._dom_classes)
    framed = set(inside(frame))
    mine = (it.work.start_button, it.work.stop_button, it.work.bar, it.work.status)
    assert {*own.values(), *mine} <= framed
    assert it.controls["x"] not in framed and it.image not in framed
    assert "It <b>trains</b>." in {getattr(row, "value", None) for row in framed}
    boxes = [row for row in framed if isinstance(row, widgets.BoundedIntText)]
    assert [box.value for box in boxes] == [7]
    work.to_its_end(it)
    assert work.runs == [{"x": 2, "width": 7, "kind": "b"}]


def test_stop_pressed_as_the_job_ends_does_not_say_stopping_for_ever():
    work = Work()
    it = explorer(job=Job("Go", work))
    it.work.start_button.observe(lambda change: change.new or it.work.stop(), "disabled")
    work.to_its_end(it)
    assert it.work.status.value == "finished"


def test_a_job_that_runs_is_not_started_again():
    work = Work()
    it = explorer(job=Job("Go", work))
    it.work.start()
    until(lambda: work.runs)
    it.work.start()
    it.work.start_button.click()
    work.go_on.set()
    it.work.wait(20)
    assert len(work.runs) == 1


@pytest.mark.parametrize("error", [ValueError("out of luck"), SystemExit("out of luck")])
def test_an_error_in_a_job_is_shown_and_the_job_can_start_again(error):
    work = Work(error)
    it = explorer(job=Job("Go", work))
    work.to_its_end(it)
    assert "out of luck" in it.work.message.value
    assert it.work.status.value == "failed" and buttons(it) == (False, True)
    it.controls["x"].value = 4
    assert it.result == 4 and "out of luck" in it.work.message.value  # until the next start
    work.error = None
    it.work.start()
    it.work.wait(20)
    assert it.work.message.value == "" and it.work.status.value == "finished"


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


class Trying:
    """An explorer of a number, a kind, and a job's number, with tries; what was computed."""

    def __init__(self, *tries, hidden=lambda values: ()):
        self.seen = []
        self.kind = widgets.ToggleButtons(options=[("one", 1), ("two", 2)], description="kind")
        self.epochs = widgets.IntSlider(3, min=1, max=9, step=2, description="epochs")
        self.times = widgets.FloatLogSlider(5, base=2, min=0, max=4, step=1, description="times")
        self.it = explorer(
            self.compute,
            more={"tries": tries, "hidden": hidden},
            job=Job("Go", lambda *_: None, {"epochs": self.epochs}),
            kind=self.kind,
            times=self.times,
        )

    def compute(self, x, kind, times):
        self.seen.append((x, kind, times))
        return x

    def press(self, label):
        next(w for w in inside(self.it) if getattr(w, "description", "") == label).click()


def test_a_try_sets_its_state_with_one_redraw_whatever_was_there():
    trying = Trying(Try("far", "Where?", x=9.5, kind=2, epochs=7), Try("near", x=0, times=8))
    trying.press("far")
    assert trying.seen == [(2, 1, 5), (9.5, 2, 5)] and trying.epochs.value == 7
    assert trying.it.result == 9.5 and trying.it.redraws == 2
    trying.press("near")
    assert trying.seen[2:] == [(0, 1, 8)] and trying.epochs.value == 7
    trying.press("far")
    assert trying.it.values == {"x": 9.5, "kind": 2, "times": 5} and trying.it.redraws == 4
    assert trying.times.continuous_update


def test_a_try_leaves_the_switch_to_mine_where_it_is():
    source = widgets.ToggleButtons(options=["reference", "mine"])
    it = explorer(lambda x, source: x, more={"tries": [Try("far", x=9)]}, source=source)
    source.value = "mine"
    it.press(it.tries[0])
    assert it.values == {"x": 9, "source": "mine"}


def test_a_button_says_the_question_of_its_try():
    trying = Trying(Try("far", "Where is the dot?", x=9), Try("near", x=0))
    said = {w.description: w.tooltip for w in inside(trying.it) if isinstance(w, widgets.Button)}
    assert said["far"] == "Where is the dot?" and said["near"] == "near"


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"y": 2}, "the try 'far': there is no control 'y'"),
        ({"x": 9.7}, "the try 'far': x has no stop or choice 9.7"),
        ({"x": 10.5}, "x has no stop or choice 10.5"),
        ({"x": -0.5}, "x has no stop or choice -0.5"),
        ({"times": 7}, "times has no stop or choice 7"),
        ({"times": 0}, "times has no stop or choice 0"),
        ({"epochs": 2}, "epochs has no stop or choice 2"),
        ({"kind": "two"}, "kind has no stop or choice 'two'"),
    ],
)
def test_a_try_of_what_cannot_be_set_is_its_authors_error(values, words):
    with pytest.raises(ValueError, match=words):
        Trying(Try("far", **values))


def test_a_try_may_set_any_stop_and_where_a_slider_began():
    stops = [Try("a", x=0.5 * i) for i in range(21)] + [Try("b", times=2**i) for i in range(5)]
    trying = Trying(*stops, Try("c", times=5), Try("d", epochs=9))
    for one in trying.it.tries:
        trying.it.press(one)
        assert one.values.items() <= (trying.it.values | {"epochs": trying.epochs.value}).items()


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

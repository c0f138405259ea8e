"""Long work behind a button: it runs beside the explorer, can be stopped, and says its errors."""

import threading
import time

import ipywidgets as widgets
import pytest

from shrink.classroom.explorers.jobs import Job
from tests.classroom.explorers.dot import explorer, inside, until


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

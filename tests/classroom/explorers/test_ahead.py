"""What the next stops of a slider show is there before it comes, and never in its way."""

import threading

import ipywidgets as widgets
import pytest

from shrink.classroom.explorers import ahead
from shrink.classroom.explorers.ahead import Ahead, GaveWay, give_way, next_stops
from shrink.classroom.explorers.memory import Memory
from shrink.classroom.explorers.results import Results


@pytest.fixture(autouse=True)
def two_stops(monkeypatch):
    monkeypatch.setattr(ahead, "STOPS", 2)
    monkeypatch.setattr(ahead, "_REST", 0.001)


SLIDER = widgets.FloatSlider(0.9, min=0, max=1, step=0.01)
LOGARITHMIC = widgets.FloatLogSlider(64, base=2, min=0, max=7, step=1)


@pytest.mark.parametrize(
    ("slider", "before", "stops"),
    [
        (SLIDER, 0.89, [0.91, 0.89, 0.92, 0.88]),
        (SLIDER, 0.95, [0.89, 0.91, 0.88, 0.92]),
        (LOGARITHMIC, 1, [128, 32, 16]),
        (widgets.IntSlider(2, min=2, max=8), 3, [3, 4]),
        (widgets.IntSlider(92, min=50, max=98, step=3), 95, [89, 95, 86, 98]),
    ],
)
def test_the_next_stops_are_around_the_slider_where_it_goes_first(slider, before, stops):
    found = next_stops(slider, before)
    assert found == stops and {type(stop) for stop in found} == {type(slider.value)}


class Computing:
    """A compute that remembers what it was asked, and stops where it is told to."""

    def __init__(self):
        self.asked, self.parts = [], Memory(10)
        self.entered, self.go_on = threading.Event(), threading.Event()
        self.stop_at = None
        self.results = Results(self)

    def __call__(self, x, source="reference"):
        self.asked.append(x)
        if x == self.stop_at:
            self.entered.set()
            assert self.go_on.wait(20)
        self.parts.once(x, lambda: None)
        return -x

    def move(self, x, before=0, **more):
        with self.results.nothing_beforehand():
            self.results.of({"x": x, **more})
        sliders = {"x": widgets.IntSlider(x, min=0, max=100)}
        self.results.prepare({"x": x, **more}, sliders, "x", before)


def test_the_next_stops_are_computed_once_while_nothing_moves():
    computing = Computing()
    computing.move(50)
    assert computing.results.wait(20)
    assert computing.asked == [50, 51, 49, 52, 48]
    assert [computing.results.of({"x": x}) for x in range(48, 53)] == [-48, -49, -50, -51, -52]
    assert len(computing.asked) == 5
    computing.results.forget()
    assert computing.results.of({"x": 50}) == -50 and computing.asked[5:] == [50]


def test_of_other_sliders_one_stop_on_either_side_is_computed_last():
    asked = []
    results = Results(lambda **values: asked.append(tuple(values.values())))
    sliders = {name: widgets.IntSlider(5, min=0, max=10) for name in "ab"}
    results.prepare({"a": 5, "kind": "one", "b": 5}, sliders, "b", 4)
    assert results.wait(20)
    places = [(5, "one", b) for b in (6, 4, 7, 3)] + [(6, "one", 5), (4, "one", 5)]
    assert asked == places


def test_it_gives_way_at_once_and_goes_on_from_the_latest_place():
    computing = Computing()
    computing.stop_at = 51
    computing.move(50)
    assert computing.entered.wait(20)
    moving = threading.Thread(target=computing.move, args=(80,))
    moving.start()
    while not computing.results._ahead._moved.is_set():
        pass
    assert computing.asked == [50, 51]  # two never compute at the same time
    computing.go_on.set()
    moving.join(20)
    assert computing.results.wait(20)
    assert computing.asked == [50, 51, 80, 81, 79, 82, 78]
    assert computing.results.of({"x": 51}) == -51 and computing.asked[-1] == 51  # it had given way


def test_a_students_function_is_asked_each_time_and_never_beforehand():
    computing = Computing()
    for _ in range(2):
        computing.move(50, source="mine")
    assert computing.results.wait(20) and computing.results._ahead._thread is None
    assert computing.asked == [50, 50]


def test_what_fails_beforehand_fails_when_it_is_asked_for():
    def compute(x):
        return 1 / (x - 51)

    results = Results(compute)
    results.prepare({"x": 50}, {"x": widgets.IntSlider(50, min=0, max=100)}, "x", 0)
    assert results.wait(20)
    with pytest.raises(ZeroDivisionError):
        results.of({"x": 51})


def test_who_prepares_nothing_gives_way_to_nobody():
    give_way()
    told = []

    def call():
        ahead_of._moved.set()
        with pytest.raises(GaveWay):
            give_way()
        told.append(True)

    ahead_of = Ahead()
    ahead_of.prepare([call])
    assert ahead_of.wait(20) and told == [True]


class Lists:
    """An `Ahead` whose first list of calls has begun, and waits in its first call."""

    def __init__(self):
        self.made, self.begun, self.go_on = [], threading.Event(), threading.Event()
        self.ahead = Ahead()
        self.ahead.prepare([self.wait, lambda: self.made.append("old")])
        assert self.begun.wait(20)

    def wait(self):
        self.begun.set()
        assert self.go_on.wait(20)
        give_way()
        self.made.append("not given up")


def test_the_latest_list_of_calls_wins_over_one_that_has_begun():
    lists = Lists()
    lists.ahead.prepare([lambda: lists.made.append("new")])
    lists.go_on.set()
    assert lists.ahead.wait(20) and lists.made == ["new"]


def test_nobody_waits_for_what_was_given_up_before_it_began():
    lists = Lists()
    lists.ahead.prepare([lambda: lists.made.append("new")])

    def move():
        with lists.ahead.instead():
            pass

    moving = threading.Thread(target=move)
    moving.start()
    assert lists.ahead.wait(20)
    lists.go_on.set()
    moving.join(20)
    assert lists.made == []


def test_python_ends_though_a_students_loop_in_an_explorer_does_not(monkeypatch):
    monkeypatch.setattr(ahead, "_LAST", 0.01, raising=False)
    one = Ahead()
    with one.instead():  # a redraw that does not end
        ending = threading.Thread(target=ahead._end)
        ending.start()
        ending.join(2)
        assert not ending.is_alive()


def test_the_thread_ends_without_work_and_begins_anew(monkeypatch):
    monkeypatch.setattr(ahead, "_PATIENCE", 0.01)
    computing = Computing()
    for place in (20, 60):
        computing.move(place)
        assert computing.results.wait(20)
        if thread := computing.results._ahead._thread:
            thread.join(20)
        assert computing.results._ahead._thread is None
    assert len(computing.asked) == 10

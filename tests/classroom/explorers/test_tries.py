"""What to try: a button sets the state that its question is about, whatever was there."""

import ipywidgets as widgets
import pytest

from shrink.classroom.explorers.tries import Try
from tests.classroom.explorers.dot import Trying, explorer, inside


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

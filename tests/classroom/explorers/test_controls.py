"""Choices begin where they are told to, and the switch to mine is there for an exercise."""

import pytest

from shrink.classroom.explorers import controls


@pytest.mark.parametrize(("value", "expected"), [(None, 0.5), (0.0, 0.0), (1.0, 1.0)])
def test_a_choice_begins_at_its_value_or_the_first(value, expected):
    options = [("half", 0.5), ("none", 0.0), ("all", 1.0)]
    assert controls.toggle("share", options, value=value).value == expected


def test_mine_is_there_for_an_exercise():
    for nothing in (None, ()):
        assert controls.whose("by", nothing).options == ("reference",)
    assert controls.whose("by", ["an exercise"]).options == ("reference", "mine")


def test_a_slider_is_as_wide_as_it_is_told():
    assert controls.wide(420)["layout"].width == "420px" and "style" not in controls.wide(420)
    assert controls.wide(420, words=50)["style"] == {"description_width": "50px"}

"""Choices begin where they are told to."""

import pytest

from shrink.classroom.explorers import controls


@pytest.mark.parametrize(("value", "expected"), [(None, 0.5), (0.0, 0.0), (1.0, 1.0)])
def test_a_choice_begins_at_its_value_or_the_first(value, expected):
    options = [("half", 0.5), ("none", 0.0), ("all", 1.0)]
    assert controls.toggle("share", options, value=value).value == expected

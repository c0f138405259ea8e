"""Chapter 03's answers that must not get a hint: they are no known mistake."""

import pytest

from shrink.chapters import quantize
from tests import depth
from tests.chapters.judging import rejected
from tests.chapters.quantize import answers, integer_answers

NAMES = ("scale_and_zero_point", "quantize", "quantize_channels", "pack_bits")


@pytest.fixture(autouse=True)
def fresh_exercises():
    yield
    for exercise in quantize.EXERCISES:
        exercise.student, exercise.passed = None, False


@pytest.mark.parametrize(
    ("name", "function"), [(name, function) for name in NAMES for function in answers.WRONG[name]]
)
def test_what_is_no_known_mistake_gets_no_hint(name, function):
    for seed in depth.seeds(8, few=2):
        text = rejected(getattr(quantize, name), function, seed)
        assert "hint:" not in text, text


@pytest.mark.parametrize(("name", "function"), integer_answers.RIGHT_OF_ANOTHER_TYPE)
def test_a_right_answer_of_another_type_gets_no_hint_on_values(name, function):
    assert "hint:" not in rejected(getattr(quantize, name), function)

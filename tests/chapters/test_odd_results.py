"""What no check had thought of: odd results are wrong, with a message, and break nothing."""

import pytest

from tests import depth
from tests.chapters.odd import ODD
from tests.chapters.test_exercises import EXERCISES, each, fresh_exercises  # noqa: F401

FEW = ("None", "nan", "the input", "empty tensor", "meta tensor", "huge whole number")
FEW += ("object array", "generator", "function", "subclass of int", "what breaks", "text")
MOST = ODD if depth.DEEP else (*FEW, *(name for name in ODD if name.startswith("pair of")))


@pytest.mark.filterwarnings("ignore:Casting complex values")
@pytest.mark.parametrize("key", each(EXERCISES))
def test_an_odd_result_is_wrong_and_the_message_says_so(key):
    exercise = EXERCISES[key]
    for name in MOST:
        exercise.answer(lambda *args, name=name: ODD[name](*args))
        outcome = exercise.judge(seed=0)
        assert outcome.state == "wrong", name
        first, *rest = outcome.message.splitlines()
        assert first.startswith(f"{exercise.name}: ") and len(first) < 350
        assert any(line.startswith(f"  called:   {exercise.name}(") for line in rest), name
        assert all(c.isprintable() for line in rest for c in line)

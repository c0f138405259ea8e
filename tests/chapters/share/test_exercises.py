"""What of the exercises only chapter 04 has to hold."""

from collections import Counter

import pytest

from shrink.chapters import share


@pytest.mark.parametrize("exercise", [share.largest_k, share.best_cut, share.break_k_means])
def test_the_answer_is_the_students_alone_to_write(exercise):
    assert exercise.reference is None


def test_no_two_hints_of_the_chapter_are_the_same():
    hints = Counter(mistake.hint for exercise in share.EXERCISES for mistake in exercise.mistakes)
    assert max(hints.values()) == 1

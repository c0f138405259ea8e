"""The cases of a check are drawn so that they tell its known mistakes apart."""

from shrink.classroom.exercises.attempt import Mistake
from shrink.classroom.exercises.cases import telling


def test_inputs_tell_mistakes_apart():
    """Two mistakes that agree where a number is 2 are not tried there."""
    draws = iter([2, 2, 3, 1])
    right, doubled, squared = (Mistake("", f, "") for f in (abs, lambda x: 2 * x, lambda x: x * x))
    chosen = telling(
        [lambda: (next(draws),)] * 2, abs, (right, doubled, squared), lambda result: result
    )
    assert list(chosen) == [(3,), (1,)]

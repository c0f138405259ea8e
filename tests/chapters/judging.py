"""How the tests of the checks ask an exercise what it says of an answer."""

from collections.abc import Callable

from shrink.classroom.exercises.exercise import Exercise, Outcome


def judge(exercise: Exercise, function: Callable, seed: int = 0) -> Outcome:
    """The outcome of the exercise's check with this function as the student's answer."""
    exercise.answer(function)
    return exercise.judge(seed)


def rejected(exercise: Exercise, function: Callable, seed: int = 0) -> str:
    """What is said of a wrong answer; it must be called wrong, and say how it was called."""
    outcome = judge(exercise, function, seed)
    assert outcome.state == "wrong", f"seed {seed} lets it pass"
    assert f"\n  called:   {exercise.name}(" in outcome.message
    assert "the check cannot read" not in outcome.message
    assert "'cpu'" not in outcome.message and "device(" not in outcome.message  # words
    assert max(map(len, outcome.message.splitlines())) < 450
    return outcome.message

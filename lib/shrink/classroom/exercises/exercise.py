"""Exercises that are honest: a check tries the student's function and raises unless it is right.

A chapter imports an exercise by name and uses it like the function it asks for. It answers with
the reference until the student's answer has passed its check, so that an unfinished exercise
fails in its check and nowhere else:

    from shrink.chapters.prune import magnitude_mask

    @magnitude_mask.answer
    def magnitude_mask(weight, sparsity): ...

    magnitude_mask.check()
"""

import json
import os
import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

from shrink.classroom.exercises.attempt import (
    ABSENT,
    Attempt,
    Mistake,
    Wrong,
    in_words,
    printable,
    show,
)
from shrink.classroom.exercises.errors import ExerciseError
from shrink.classroom.exercises.front_end import is_live, show_panel
from shrink.classroom.exercises.passed import note
from shrink.classroom.exercises.stub import is_stub

State = Literal["done", "not done yet", "wrong"]


@dataclass(frozen=True)
class Outcome:
    """What a check found: the state, and the message a student reads."""

    state: State
    message: str


class Exercise:
    """A function that the student writes.

    Args:
        name: the function's name in the chapter.
        check: called with an `Attempt` and a seeded `random.Random`; returns when the answer
            is right and raises `Wrong` when it is not.
        reference: the library's function, for exercises that rebuild it; None where the answer
            exists only in the solution.
        core: one of the three that everyone does; the others are marked `more`.
        minutes: how long a student is expected to need.
        mistakes: the known wrong answers, for their hints.
    """

    def __init__(
        self,
        name: str,
        check: Callable[[Attempt, random.Random], None],
        *,
        reference: Callable | None = None,
        core: bool,
        minutes: int,
        mistakes: tuple[Mistake, ...] = (),
    ) -> None:
        self.name, self.core, self.minutes = name, core, minutes
        self.reference, self.mistakes = reference, mistakes
        self.student: Callable | None = None
        self.passed = False
        self._check = check
        self._thread = threading.local()  # an explorer's thread does not change a chapter's cells
        self.__doc__ = reference.__doc__ if reference else None

    def __repr__(self) -> str:
        return f"<exercise {self.name}: {'done' if self.passed else 'open'}>"

    def answer(self, function: Callable) -> "Exercise":
        """Decorate the student's function with this; the name stays the exercise."""
        self.student, self.passed = function, False
        return self

    @property
    def answered(self) -> bool:
        """Whether there is an answer that is more than the unchanged stub."""
        return self.student is not None and not is_stub(self.student)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if getattr(self._thread, "students_turn", False) or self.passed:
            return self.student(*args, **kwargs)
        if self.reference is None:
            raise ExerciseError(f"{self.name} is yours alone to write: it has no reference to call")
        return self.reference(*args, **kwargs)

    def mine(self, *args: Any, **kwargs: Any) -> Any:
        """Call the student's answer, checked or not; an explorer shows with it what a bug does."""
        if not self.answered:
            raise ExerciseError(
                f"{self.name} has no answer of yours yet: write it and run its cell"
            )
        with self._students_turn():
            return self.student(*args, **kwargs)

    def judge(self, seed: int) -> Outcome:
        """Try the student's answer on fresh inputs from `seed`."""
        self.passed = False
        if not self.answered:
            return Outcome("not done yet", f"{self.name}: not done yet")
        attempt = Attempt(self.name, self.student)
        try:
            with self._students_turn():
                self._check(attempt, random.Random(seed))
        except Wrong as wrong:
            return Outcome("wrong", self._explain(wrong, attempt, seed))
        except (Exception, SystemExit) as error:  # what the check had not thought of
            why = show(in_words(error).partition("\n")[0])
            wrong = Wrong(f"the check cannot read your answer ({why})", given=attempt.result)
            return Outcome("wrong", self._explain(wrong, attempt, seed))
        self.passed = True
        return Outcome("done", f"{self.name}: done")

    @contextmanager
    def _students_turn(self) -> Iterator[None]:
        """Inside, a call of the exercise reaches the student's function, a recursive one too."""
        before = getattr(self._thread, "students_turn", False)
        self._thread.students_turn = True
        try:
            yield
        finally:
            self._thread.students_turn = before

    def check(self, seed: int | None = None) -> None:
        """Show whether the answer is right: a panel at a live front end, otherwise an exception.

        Raises:
            ExerciseError: the exercise is not done yet or wrong, and a program runs the cell, such
                as nbval, nbconvert or pytest.
        """
        outcome = self.judge(random.SystemRandom().randrange(10**6) if seed is None else seed)
        _report(self, outcome)
        if is_live():
            passed = note(self.name, self.student) if outcome.state == "done" else {}
            show_panel(outcome.state, outcome.message, passed)
        elif outcome.state == "done":
            print(outcome.message)
        else:
            raise ExerciseError(outcome.message) from None

    def _explain(self, wrong: Wrong, attempt: Attempt, seed: int) -> str:
        lines = [f"{self.name}: {wrong.hint}", *self._hints(wrong, attempt)]
        lines.append(f"  called:   {attempt}")
        if wrong.expected is not ABSENT:
            lines.append(f"  expected: {show(wrong.expected)}")
        if wrong.given is not ABSENT:
            lines.append(f"  given:    {show(wrong.given)}")
        lines.append(f"  again with the same inputs: {self.name}.check(seed={seed})")
        return printable("\n".join(lines))

    def _hints(self, wrong: Wrong, attempt: Attempt) -> list[str]:
        """A line with the hint of the mistake that gives the same; else, which part is right."""
        try:
            if not wrong.known_mistakes:
                return []
            if hint := next((m.hint for m in self.mistakes if attempt.looks_like(m)), None):
                return [f"  hint:     {hint}"]
            with self._students_turn():
                return wrong.in_parts()
        except Exception:  # a result that compares with nothing is like no mistake
            return []


def _report(exercise: Exercise, outcome: Outcome) -> None:
    """Append the outcome to the file that `shrink check` reads, if it asked for one."""
    if path := os.environ.get("SHRINK_CHECK_REPORT"):
        row = {"exercise": exercise.name, "state": outcome.state, "message": outcome.message}
        with open(path, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

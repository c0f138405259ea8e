"""What the laws of explorers ask of a chapter."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.explorer import Explorer


@dataclass(frozen=True)
class Small:
    """A chapter's explorer on `digits`, and what is peculiar about it."""

    name: str
    prepare: Callable[[pytest.MonkeyPatch], None]  # few stops to sweep over, short trainings
    make: Callable[[Dataset], Explorer]  # with all its exercises
    exercises: tuple[Exercise, ...] = ()  # behind the switch to mine
    refused: Mapping[str, Callable[[Dataset], Explorer]] = field(default_factory=dict)  # by words
    of_job: frozenset[str] = frozenset()  # controls that matter to the job alone
    matters_at: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # by control
    quick: Mapping[str, Any] = field(default_factory=dict)  # values that make the job short
    alone: Callable[[Dataset], Explorer] | None = None  # the same without exercises
    job_first: bool = False  # some choices show what the job has found
    runs: str = "runs"  # what of the result grows with each job, if anything does


def forget_answers(exercises: Iterable[Exercise]) -> None:
    for exercise in exercises:
        exercise.student, exercise.passed = None, False

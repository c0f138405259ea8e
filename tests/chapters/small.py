"""What the laws of explorers ask of a chapter, and what the chapters' own tests share."""

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest
from torch import nn

from shrink.classroom.data import Dataset, Split
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.training import predict

HIGH = 679  # pixels of a notebook that JupyterLab shows in a window of 1280 by 800


@dataclass(frozen=True)
class Small:
    """A chapter's explorer on `digits`, and what is peculiar about it."""

    name: str
    prepare: Callable[[pytest.MonkeyPatch], None]  # few stops to sweep over, short trainings
    make: Callable[[Dataset], Explorer]  # with all its exercises
    exercises: tuple[Exercise, ...] = ()  # behind the switch to mine
    refused: Mapping[str, Callable[[Dataset], Explorer]] = field(default_factory=dict)  # by words
    of_job: frozenset[str] = frozenset()  # controls that matter to the job alone
    quick: Mapping[str, Any] = field(default_factory=dict)  # values that make the job short
    alone: Callable[[Dataset], Explorer] | None = None  # the same without exercises
    job_first: bool = False  # some choices show what the job has found
    runs: str = "runs"  # what of the result grows with each job, if anything does


def comparing_seeds(
    name: str,
    prepare: Callable[[pytest.MonkeyPatch], None],
    explore: Callable[..., Explorer],
    exercises: tuple[Exercise, ...],
    seeds: tuple[int, ...],
    **peculiar: Any,
) -> Small:
    """Of an explorer that compares seeds, and takes all of its exercises or none."""
    refused = {r"at least two seeds are compared, not \(4,\)": lambda d: explore(d, seeds=(4,))}
    *some, last = exercises
    if some:
        refused[f"also needs {last.name}"] = lambda digits: explore(digits, *some)
    return Small(
        name,
        prepare,
        lambda digits: explore(digits, *exercises, seeds=seeds),
        exercises,
        refused,
        alone=lambda digits: explore(digits, seeds=seeds),
        **peculiar,
    )


def forget_answers(exercises: Iterable[Exercise]) -> None:
    for exercise in exercises:
        exercise.student, exercise.passed = None, False


def share_right(net: nn.Module, split: Split) -> float:
    """The accuracy of a network that a test has made itself."""
    return (predict(net, split.images) == split.labels).double().mean().item()


def move(explorer: Explorer, **values: Any) -> Any:
    """Sets controls; what the explorer shows then."""
    for name, value in values.items():
        explorer.controls[name].value = value
    assert explorer.error is None and explorer.message.value == ""
    return explorer.result


def run_through(work: Callable, values: Mapping[str, Any]) -> list[tuple[int, int]]:
    """Does the work of a job to its end; the progress that it told, (done, total) each."""
    told = []
    work(values, threading.Event(), lambda *step: told.append(step))
    return told


def run_until(work: Callable, values: Mapping[str, Any], step: int) -> None:
    """Does the work of a job and stops it after so many steps, or before the first."""
    stop = threading.Event()
    if step == 0:
        stop.set()
    work(values, stop, lambda done, total: stop.set() if done == step else None)

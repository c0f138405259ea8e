"""Refusals that several labs word alike."""

from collections.abc import Collection, Sequence

from torch import Tensor

from shrink.classroom.exercises.exercise import ExerciseError


def refuse_one_seed(seeds: Sequence[int]) -> None:
    """Raise a ValueError unless there are two seeds."""
    if len(seeds) < 2:
        raise ValueError(f"at least two seeds are compared, not {seeds!r}")


def refuse_a_part(exercises: Collection[str], needed: Collection[str]) -> None:
    """Raise a ValueError if some of the exercises behind the switch to mine are given, not all."""
    if exercises and (missing := set(needed) - set(exercises)):
        raise ValueError(f"the switch to mine also needs {', '.join(sorted(missing))}")


def tensor_of_shape(answer: object, shape: Sequence[int], promise: str) -> Tensor:
    """What a student's function gave, if it is a tensor of the shape.

    Raises:
        ExerciseError: it is not. The message is the promise, "assign gives a tensor of the
            weights' shape", and then what theirs gave.
    """
    if isinstance(answer, Tensor) and tuple(answer.shape) == tuple(shape):
        return answer
    shaped = isinstance(answer, Tensor)
    found = f"shape {tuple(answer.shape)}" if shaped else type(answer).__name__
    raise ExerciseError(f"{promise}; yours gave {found}")


def refuse_what_is_not_finite(answer: Tensor, promise: str) -> None:
    """Raise an ExerciseError, "`promise` some of yours are NaN or infinite", where some are."""
    if not answer.isfinite().all():
        raise ExerciseError(f"{promise} some of yours are NaN or infinite")

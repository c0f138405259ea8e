"""An exercise of chapter 09: the step at which a training should have stopped.

The oracle is Python's `min` over pairs of loss and step. Losses are hundredths, so that equal ones
are equal.
"""

import math
import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from shrink.classroom.exercises.attempt import Wrong, known
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import about, count

Log = dict[str, list]

STEP, LOSS = "step", "validation loss"
ACCURACY, TEST, TRAINING = "validation accuracy", "test loss", "training loss"


def _least(losses: Sequence[float]) -> int:
    """The first place of the least loss; NaN is never the least."""
    return min(range(len(losses)), key=lambda i: (math.isnan(losses[i]), losses[i]))


def best_step(log: Log) -> int:
    """The first step at which the validation loss is least.

    >>> best_step({"step": [0, 50, 100, 200], "validation loss": [2.3, 0.4, 0.3, 0.3]})
    100
    """
    return log[STEP][_least(log[LOSS])]


@known("where two losses are equal, the first step counts: the training could have ended there")
def _last_of_equal_ones(log: Log) -> int:
    least = log[LOSS][_least(log[LOSS])]
    return max(step for step, loss in zip(log[STEP], log[LOSS], strict=True) if loss == least)


@known(
    "this is the least test loss: a step that is chosen by the test images makes the test error "
    "too good. Choose by the validation images"
)
def _test_loss(log: Log) -> int:
    return log[STEP][_least(log[TEST])]


@known(
    "this is where the training loss is least, and that falls for as long as the network learns "
    "its own images by heart: choose by the validation loss"
)
def _training_loss(log: Log) -> int:
    return log[STEP][_least(log[TRAINING])]


@known(
    "this is where the accuracy is largest. The accuracy counts images and says nothing of how "
    "sure the network is of them, so it often grows on when the loss rises: we stop by the loss"
)
def _largest_accuracy(log: Log) -> int:
    return log[STEP][_least([-accuracy for accuracy in log[ACCURACY]])]


@known("this is the place in the list: log['step'] says which step that is")
def _index_for_step(log: Log) -> int:
    return _least(log[LOSS])


@known("this is the last step, and the loss has risen since it was least", "last step")
def _last_step(log: Log) -> int:
    return log[STEP][-1]


@known(
    "your training stops when the loss first rises, and it may fall lower later: look at all steps",
    "no patience",
)
def _before_the_first_rise(log: Log) -> int:
    losses = log[LOSS]
    rises = (i for i in range(len(losses) - 1) if not losses[i + 1] < losses[i])
    return log[STEP][next(rises, len(losses) - 1)]


@known(
    "NaN is no loss: nothing is smaller than NaN, since every comparison with it is False, and "
    "np.argmin even takes it for the least. Leave it out"
)
def _nan_for_the_least(log: Log) -> int:
    losses = log[LOSS]
    return log[STEP][min(range(len(losses)), key=lambda i: (not math.isnan(losses[i]), losses[i]))]


@known("this is the least loss itself: return the step at which it was reached")
def _the_loss(log: Log) -> float:
    return log[LOSS][_least(log[LOSS])]


MISTAKES = (
    _test_loss,
    _training_loss,
    _largest_accuracy,
    _index_for_step,
    _last_step,
    _before_the_first_rise,
    _the_loss,
    _last_of_equal_ones,
    _nan_for_the_least,
)


def _first_of_the_least(log: Log) -> int:
    pairs = zip(log[LOSS], log[STEP], strict=True)
    return min((loss, step) for loss, step in pairs if not math.isnan(loss))[1]


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Log]]]:
    def column(rows: int, least: int) -> list[float]:
        """Hundredths that fall to about this row and rise again, no two of them alike."""
        while True:
            losses = [20 + 4 * abs(row - least) + rng.randint(0, 12) for row in range(rows)]
            if len(set(losses)) == rows:
                return [loss / 100 for loss in losses]

    def log(rows: int) -> Log:
        gaps = [rng.choice([10, 50, 100, 250]) for _ in range(rows)]
        falls = sorted(rng.sample(range(5, 60), rows), reverse=True)
        falls[-2:] = falls[:-3:-1]  # the least is not the last
        return {
            STEP: [sum(gaps[:row]) for row in range(rows)],
            TRAINING: [loss / 100 for loss in falls],
            LOSS: column(rows, rows // 2),
            ACCURACY: [round(1 - loss / 3, 4) for loss in column(rows, rows // 2)],
            TEST: column(rows, rows // 2),
        }

    def first_and_last(rows: int) -> tuple[Log]:
        """The least loss comes twice, and between the two the loss is larger."""
        found = log(rows)
        losses, place = found[LOSS], _least(found[LOSS])
        losses[rng.choice([i for i in range(rows) if abs(i - place) > 1])] = losses[place]
        return (found,)

    def not_measured(rows: int, *places: int) -> tuple[Log]:
        found = log(rows)
        for name in (LOSS, ACCURACY, TEST):
            for place in places:
                found[name][place] = math.nan
        return (found,)

    def rises_for_long(rows: int) -> tuple[Log]:
        """The loss rises from the second row on, and falls below all others at the end."""
        found = log(rows)
        found[LOSS] = sorted(found[LOSS])
        found[LOSS][0], found[LOSS][-2] = found[LOSS][-2], found[LOSS][0]
        return (found,)

    for _ in range(3):
        yield lambda: (log(12),)
    yield lambda: first_and_last(9)
    yield lambda: not_measured(8, 0)
    yield lambda: not_measured(9, 0, 2, 4, 8)
    yield lambda: rises_for_long(14)
    yield lambda: ({name: column[:1] for name, column in log(4).items()},)
    yield lambda: (
        {name: [column[1]] * 4 for name, column in log(4).items()} | {STEP: [5, 6, 8, 9]},
    )


def _alike(result: Any) -> Any:
    return about(result, 1e-6)


def _wrong_step(given: Any, right: int, log: Log) -> Wrong | None:
    found = count(given)
    if found == right and isinstance(found, int):
        return None
    losses = dict(zip(log[STEP], log[LOSS], strict=True))
    least = f"the least validation loss is {losses[right]:g}"
    if not isinstance(found, int) or found not in losses:
        told = f"return one of the steps in log[{STEP!r}]"
    elif losses[found] == losses[right]:
        told = f"{least}, first at step {right}, and again at step {found}"
    else:
        told = f"{least}, at step {right}; at step {found} it is {losses[found]:g}"
    return Wrong(told, expected=right, given=given)


stopping_step = Exercise(
    "stopping_step",
    by_cases(_cases, _first_of_the_least, _wrong_step, mistakes=MISTAKES, alike=_alike),
    reference=best_step,
    core=False,
    minutes=8,
    mistakes=MISTAKES,
)

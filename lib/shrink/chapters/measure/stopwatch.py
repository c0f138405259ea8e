"""An exercise of chapter 01: a stopwatch.

The function that is timed takes what a script says, on a clock of its own, so that the same answer
gives the same times again. The oracle is `statistics.quantiles`. All times are eighths of a second,
so that nothing is rounded, in float32 either.
"""

import copy
import random
import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import numpy as np

from shrink import latency
from shrink.classroom.exercises.attempt import Wrong, known
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import Near, near, numbers

_AFTER = 50.0  # seconds, for calls that the script has not
_NOTHING = 1e-2  # less than this is not from the script: real time, or no time at all


@dataclass
class _Script:
    """How long each call takes; the same script is equal to itself whatever has been played."""

    seconds: tuple[float, ...]
    now: float = field(compare=False)
    calls: int = field(default=0, compare=False)


@dataclass
class _Function:
    _script: _Script

    def __call__(self) -> None:
        seconds, n = self._script.seconds, self._script.calls
        self._script.now += seconds[n] if n < len(seconds) else _AFTER
        self._script.calls += 1

    def __repr__(self) -> str:
        return f"<function that takes {', '.join(f'{s:g}' for s in self._script.seconds)} s>"


@dataclass
class _Clock:
    _script: _Script

    def __call__(self) -> float:
        return self._script.now

    def __repr__(self) -> str:
        return "<its clock>"


_Timing = tuple[_Function, int, int, _Clock]
_Quartiles = tuple[float, float, float]


def _quartiles(times: Sequence[float]) -> _Quartiles:
    return tuple(np.quantile(times, [0.25, 0.5, 0.75]).tolist())


def _of_the_right_times(summary: Callable[[list[float]], Any]) -> Callable[..., Any]:
    """A stopwatch that takes the right times, and makes of them what `summary` does."""

    @wraps(summary)
    def time_call(function: Callable, warm_up: int, runs: int, clock: Callable) -> Any:
        for _ in range(warm_up):
            function()
        return summary(_times(function, runs, clock))

    return time_call


def _times(function: Callable, runs: int, clock: Callable) -> list[float]:
    times = []
    for _ in range(runs):
        began = clock()
        function()
        times.append(clock() - began)
    return times


@known("the warm-up calls are timed as well: leave them out", "warm-up timed")
def _warm_up_timed(function: Callable, warm_up: int, runs: int, clock: Callable) -> _Quartiles:
    return _quartiles(_times(function, warm_up + runs, clock))


@known("the first calls are slow: make warm_up calls before you time any", "no warm-up")
def _no_warm_up(function: Callable, warm_up: int, runs: int, clock: Callable) -> _Quartiles:
    return _quartiles(_times(function, runs, clock))


@known("these times are nearly 0: read clock(), the argument, before and after the call")
@_of_the_right_times
def _not_its_clock(times: list[float]) -> _Quartiles:
    return 0.0, 0.0, 0.0  # of another clock: the calls take no real time


@known("your times add up: read the clock before each call, not only once before the first")
def _from_the_beginning(function: Callable, warm_up: int, runs: int, clock: Callable) -> _Quartiles:
    for _ in range(warm_up):
        function()
    began, times = clock(), []
    for _ in range(runs):
        function()
        times.append(clock() - began)
    return _quartiles(times)


@known("a few slow calls move the mean and the standard deviation: return quartiles")
@_of_the_right_times
def _mean_and_deviation(times: list[float]) -> _Quartiles:
    mean, deviation = np.mean(times), np.std(times)
    return mean - deviation, mean, mean + deviation


@known(
    "there are several rules for quartiles; we take that of np.quantile, which "
    "statistics.quantiles follows with method='inclusive'"
)
@_of_the_right_times
def _exclusive(times: list[float]) -> _Quartiles:
    return tuple(statistics.quantiles(times, n=4))


@known("np.percentile takes 25, 50 and 75; np.quantile takes 0.25, 0.5 and 0.75")
@_of_the_right_times
def _percentile(times: list[float]) -> np.ndarray:
    return np.percentile(times, [0.25, 0.5, 0.75])


MISTAKES = (
    _warm_up_timed,
    _no_warm_up,
    _not_its_clock,
    _from_the_beginning,
    _mean_and_deviation,
    _exclusive,
    _percentile,
)


def _right(function: _Function, warm_up: int, runs: int, clock: _Clock) -> _Quartiles:
    timed = function._script.seconds[warm_up : warm_up + runs]
    return tuple(statistics.quantiles(timed, n=4, method="inclusive"))


def _cases(rng: random.Random) -> Iterator[Callable[[], _Timing]]:
    def case(warm_up: int, runs: int) -> _Timing:
        """The first calls are slow, the others quick with some that are not."""
        slow = sorted((rng.randint(120, 320) for _ in range(min(warm_up, 3))), reverse=True)
        rest = [
            rng.randint(8, 24) if rng.random() < 0.75 else rng.randint(40, 100)
            for _ in range(warm_up + runs - len(slow))
        ]
        script = _Script(tuple(n / 8 for n in slow + rest), now=float(rng.randint(1000, 9000)))
        return _Function(script), warm_up, runs, _Clock(script)

    yield lambda: case(2, 6)
    yield lambda: case(0, 4)
    yield lambda: case(1, 5)
    yield lambda: case(3, 7)
    yield lambda: case(0, 2)
    yield lambda: case(4, 3)
    yield lambda: case(10, 20)
    yield lambda: case(5, 41)


def _alike(result: Any) -> Any:
    found = numbers(result)
    if found is None:
        return result
    tiny = len(found) == 3 and all(abs(t) < _NOTHING for t in found)
    return Near((0.0,) * 3 if tiny else found)


def _wrong_times(
    given: Any,
    right: _Quartiles,
    function: _Function,
    warm_up: int,
    runs: int,
    clock: _Clock,
) -> Wrong | None:
    if (calls := function._script.calls) != warm_up + runs:
        return Wrong(
            f"the function must be called {warm_up + runs} times, {warm_up} to warm up "
            f"and {runs} timed; it was called {calls} times",
            expected=right,
            given=given,
            known_mistakes=calls == runs,  # those have no other number
        )
    found = numbers(given)
    if found is None or len(found) != 3:
        return Wrong("return three numbers, (low, median, high)", expected=right, given=given)
    for name, seconds, mine in zip(("low", "median", "high"), right, found, strict=True):
        if not near([seconds], [mine], 1e-9):
            timed = ", ".join(f"{s:g}" for s in sorted(function._script.seconds[warm_up:]))
            shown = f" of {timed}" if runs <= 10 else ""
            return Wrong(f"{name}{shown} is {seconds:g} s", expected=right, given=given)
    return None


time_call = Exercise(
    "time_call",
    by_cases(_cases, _right, _wrong_times, mistakes=MISTAKES, alike=_alike, copied=copy.deepcopy),
    reference=latency.time_call,
    core=False,
    minutes=15,
    mistakes=MISTAKES,
)

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
from typing import Any

import numpy as np

from shrink import latency
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import Near, near, numbers, plain

_AFTER = 50.0  # seconds, for calls that the script has not
_NOTHING = 1e-2  # less than this is not from the script: real time, or no time at all

Times = list[float]


@dataclass
class _Script:
    """How long each call takes; the same script is equal to itself whatever has been played."""

    seconds: tuple[float, ...]
    now: float = field(compare=False)
    calls: int = field(default=0, compare=False)


@dataclass
class _Function:
    script: _Script

    def __call__(self) -> None:
        seconds, n = self.script.seconds, self.script.calls
        self.script.now += seconds[n] if n < len(seconds) else _AFTER
        self.script.calls += 1

    def __repr__(self) -> str:
        return f"<function that takes {', '.join(f'{s:g}' for s in self.script.seconds)} s>"


@dataclass
class _Clock:
    script: _Script

    def __call__(self) -> float:
        return self.script.now

    def __repr__(self) -> str:
        return "<its clock>"


_Timing = tuple[_Function, int, int, _Clock]


def _times(function: Callable, runs: int, clock: Callable) -> Times:
    times = []
    for _ in range(runs):
        began = clock()
        function()
        times.append(clock() - began)
    return times


def _quartiles(times: Sequence[float]) -> tuple[float, float, float]:
    return tuple(np.quantile(times, [0.25, 0.5, 0.75]).tolist())


def _but(summary: Callable[[Times], Any]) -> Callable[..., Any]:
    """Right but for what is made of the times."""

    def time_call(function: Callable, warm_up: int, runs: int, clock: Callable) -> Any:
        for _ in range(warm_up):
            function()
        return summary(_times(function, runs, clock))

    return time_call


def _all_timed(function: Callable, warm_up: int, runs: int, clock: Callable) -> Any:
    return _quartiles(_times(function, warm_up + runs, clock))


def _no_warm_up(function: Callable, warm_up: int, runs: int, clock: Callable) -> Any:
    return _quartiles(_times(function, runs, clock))


def _warm_up_in_runs(function: Callable, warm_up: int, runs: int, clock: Callable) -> Any:
    return _quartiles(_times(function, runs, clock)[warm_up:])


def _from_the_beginning(function: Callable, warm_up: int, runs: int, clock: Callable) -> Any:
    for _ in range(warm_up):
        function()
    began, times = clock(), []
    for _ in range(runs):
        function()
        times.append(clock() - began)
    return _quartiles(times)


def _at_quarters(times: Times) -> tuple[float, ...]:
    n = len(times)
    return times[n // 4], times[n // 2], times[3 * n // 4]


def _with_mean(times: Times) -> tuple[float, ...]:
    low, _, high = _quartiles(times)
    return low, statistics.fmean(times), high


def _around_mean(times: Times) -> tuple[float, ...]:
    mean, deviation = np.mean(times), np.std(times)
    return mean - deviation, mean, mean + deviation


def _exclusive(times: Times) -> tuple[float, ...]:
    return tuple(statistics.quantiles(times, n=4))


def _halves(times: Times) -> tuple[float, ...]:
    """The medians of the lower and of the upper half, a middle one left out."""
    ordered, half = sorted(times), len(times) // 2
    parts = (ordered[:half], ordered, ordered[-half:])
    return tuple(map(statistics.median, parts))


MISTAKES = (
    Mistake("warm-up timed", _all_timed, "the calls to warm up are timed as well; leave them out"),
    Mistake("no warm-up", _no_warm_up, "the first calls are slow: let warm_up of them go before"),
    Mistake(
        "warm-up in the runs",
        _warm_up_in_runs,
        "the calls to warm up come before the runs, and are not some of them",
    ),
    Mistake(
        "not its clock",
        _but(lambda times: (0.0, 0.0, 0.0)),
        "these times are nearly nothing: read clock(), the argument, before and after the call",
    ),
    Mistake(
        "from the beginning",
        _from_the_beginning,
        "your times add up: read the clock before each call, not once before all of them",
    ),
    Mistake(
        "total over runs",
        _but(lambda times: (statistics.fmean(times),) * 3),
        "one time over all runs, divided, is a mean: time each call by itself",
    ),
    Mistake("mean", _but(_with_mean), "in the middle is a mean; the median does not mind outliers"),
    Mistake(
        "mean and deviation",
        _but(_around_mean),
        "mean and standard deviation are moved by a few slow calls: return quartiles",
    ),
    Mistake(
        "minimum and maximum",
        _but(lambda times: (min(times), statistics.median(times), max(times))),
        "these are the fastest and the slowest call; quartiles have a quarter of the calls beyond",
    ),
    Mistake(
        "minimum alone",
        _but(lambda times: (min(times),) * 3),
        "this is the fastest call: return the quartiles of all runs",
    ),
    Mistake(
        "median alone",
        _but(lambda times: statistics.median(times)),
        "this is the median alone: the quartiles below and above it say how sure it is",
    ),
    Mistake(
        "width",
        _but(lambda times: _quartiles(times)[2] - _quartiles(times)[0]),
        "this is how far apart the quartiles are: return them, and the median between them",
    ),
    Mistake(
        "median and width",
        _but(lambda times: (_quartiles(times)[1], _quartiles(times)[2] - _quartiles(times)[0])),
        "this is the median, and how far apart the quartiles are: return all three themselves",
    ),
    Mistake("unsorted", _but(_at_quarters), "the times are in the order of the calls: sort them"),
    Mistake(
        "no interpolation",
        _but(lambda times: _at_quarters(sorted(times))),
        "a quartile may lie between two calls; we take np.quantile, which interpolates",
    ),
    Mistake(
        "exclusive",
        _but(_exclusive),
        "there are several rules for quartiles; we take that of np.quantile, which "
        "statistics.quantiles follows with method='inclusive'",
    ),
    Mistake(
        "halves",
        _but(_halves),
        "there are several rules for quartiles; we take that of np.quantile, not the medians of "
        "the two halves",
    ),
    Mistake(
        "percentile",
        _but(lambda times: np.percentile(times, [0.25, 0.5, 0.75])),
        "np.percentile takes 25, 50 and 75; np.quantile takes 0.25, 0.5 and 0.75",
    ),
    Mistake(
        "milliseconds",
        _but(lambda times: [1000 * t for t in _quartiles(times)]),
        "these are milliseconds; return seconds, as the clock does",
    ),
    Mistake("descending", _but(lambda times: _quartiles(times)[::-1]), "the lowest comes first"),
    Mistake(
        "median first",
        _but(lambda times: [_quartiles(times)[i] for i in (1, 0, 2)]),
        "the median stands in the middle: (low, median, high)",
    ),
    Mistake(
        "negative",
        _but(lambda times: _quartiles([-t for t in times])),
        "a time is the later reading less the earlier one",
    ),
)


def _right(function: _Function, warm_up: int, runs: int, clock: _Clock) -> tuple[float, ...]:
    timed = function.script.seconds[warm_up : warm_up + runs]
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


def _seen(result: Any) -> Any:
    found = numbers(result)
    if found is None:
        number = plain(result)
        return Near((number,)) if type(number) is float else result
    tiny = len(found) == 3 and all(abs(t) < _NOTHING for t in found)
    return Near((0.0,) * 3 if tiny else found)


def _check_time_call(answer: Attempt, rng: random.Random) -> None:
    cases = telling(_cases(rng), _right, MISTAKES, _seen, copied=copy.deepcopy)
    for function, warm_up, runs, clock in cases:
        right = _right(function, warm_up, runs, clock)
        given = answer(function, warm_up, runs, clock, alike=_seen)
        if (calls := function.script.calls) != warm_up + runs:
            raise Wrong(
                f"the function is to be called {warm_up + runs} times, {warm_up} to warm up "
                f"and {runs} that are timed; it was called {calls} times",
                expected=right,
                given=given,
                known_mistakes=calls == runs,  # those have no other number
            )
        found = numbers(given)
        if found is None or len(found) != 3:
            raise Wrong("return three numbers, (low, median, high)", expected=right, given=given)
        for name, seconds, mine in zip(("low", "median", "high"), right, found, strict=True):
            if not near([seconds], [mine], 1e-9):
                timed = ", ".join(f"{s:g}" for s in sorted(function.script.seconds[warm_up:]))
                shown = f" of {timed}" if runs <= 10 else ""
                raise Wrong(f"{name}{shown} is {seconds:g} s", expected=right, given=given)


time_call = Exercise(
    "time_call",
    _check_time_call,
    reference=latency.time_call,
    core=False,
    minutes=15,
    mistakes=MISTAKES,
)

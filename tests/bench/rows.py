"""What a bench figure is: a row of the table, and two functions timed in turns."""

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple


class Row(NamedTuple):
    """One figure: what was measured, ours, what stands beside it, and the ratio or the goal."""

    what: str
    ours: str
    beside: str
    verdict: str

    def __str__(self) -> str:
        return "; ".join(filter(None, self))


NOT_HERE = Row("", "not measured", "", "needs `pip install -e '.[bench]'`")


def in_turns(
    a: Callable, b: Callable, prepare: Callable = lambda: (), runs: int = 40, warm_up: int = 3
) -> tuple[float, float]:
    """Median milliseconds of each, after a warm-up, on what `prepare` returns, run A B A B."""
    times: dict[Callable, list[float]] = {a: [], b: []}
    for run in range(runs + warm_up):
        for function in (a, b):
            arguments = prepare()
            began = time.perf_counter()
            function(*arguments)
            if run >= warm_up:
                times[function].append(1000 * (time.perf_counter() - began))
    return statistics.median(times[a]), statistics.median(times[b])


def faster(ours: float, theirs: float) -> str:
    """The ratio of two times in words.

    >>> faster(2, 5), faster(5, 2)
    ('2.5x as fast', '2.5x as slow')
    """
    return f"{theirs / ours:.1f}x as fast" if ours <= theirs else f"{ours / theirs:.1f}x as slow"


def goal(figure: float, limit: float, unit: str) -> tuple[str, str]:
    """The goal and whether it is met.

    >>> goal(107, 100, "ms")
    ('goal 100 ms', 'not met')
    """
    return f"goal {limit:g} {unit}", "met" if figure <= limit else "not met"

"""The record of a paper's table: how it was made; as text, in a notebook, for results.md."""

import html
import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from scipy import stats

Rows = Sequence[Sequence[str]]
Difference = tuple[float, float, float]  # mean over pairs, and its 95 % interval


class Record:
    """What a run stored, as `tables()` and a `verdict`; each paper has a class of its own."""

    def __init__(self, record: dict[str, Any]) -> None:
        self.record = record
        self.runs = list(record["seeds"].values())

    def tables(self) -> list[Rows]:
        """The cells of each table, its head first."""
        raise NotImplementedError

    @property
    def verdict(self) -> str:
        """Whether the paper's claim holds here, with the numbers."""
        raise NotImplementedError

    @property
    def made(self) -> str:
        """How the record was made, in a line."""
        made = self.record
        return (
            f"Made by `{made['command']}` on {made['data']}; torch {made['torch']}, "
            f"Python {made['python']}; {made['machine']}."
        )

    def markdown(self) -> str:
        """The tables for results.md."""
        return "\n\n".join(map(_markdown, self.tables()))

    def __str__(self) -> str:
        return "\n\n".join([*map(_text, self.tables()), f"{self.verdict}\n{self.made}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        verdict, made = html.escape(self.verdict), html.escape(self.made)
        tables = "".join(map(_html, self.tables()))
        return f"{tables}<p><b>{verdict}</b></p><p>{made}</p>"


def one_or_range(found: Iterable[float], form: str = ",") -> str:
    """One number where all agree, else the smallest and the largest.

    >>> one_or_range([2000, 2000]), one_or_range([0.5, 0.25], ".1%")
    ('2,000', '25.0% to 50.0%')
    """
    shown = sorted(set(found))
    ends = dict.fromkeys(format(number, form) for number in (shown[0], shown[-1]))
    return " to ".join(ends)


def spread(found: Sequence[float], form: str = ".2f") -> str:
    """Mean and range.

    >>> spread([1.5, 1.75]), spread([2000, 2000], ",.0f")
    ('1.62 (1.50 to 1.75)', '2,000 (2,000)')
    """
    return f"{statistics.mean(found):{form}} ({one_or_range(found, form)})"


def paired(first: Sequence[float], second: Sequence[float]) -> Difference:
    """What the first have more than the second: mean over pairs, and its 95 % interval.

    Differences are taken as normal (Student's t).

    >>> mean, low, high = paired([3, 5, 4], [1, 4, 1])  # 2, 1 and 3 more
    >>> f"{mean} ({low:.2f} to {high:.2f})"
    '2 (-0.48 to 4.48)'
    """
    pairs = [a - b for a, b in zip(first, second, strict=True)]
    mean, n = statistics.mean(pairs), len(pairs)
    half = stats.t.ppf(0.975, n - 1) * statistics.stdev(pairs) / math.sqrt(n)
    return mean, mean - half, mean + half


def interval(mean: float, low: float, high: float, form: str = "+z.2f") -> str:
    """
    >>> interval(-0.5, -1, 0)
    '-0.50 (-1.00 to +0.00)'
    """
    return f"{mean:{form}} ({low:{form}} to {high:{form}})"


def _markdown(rows: Rows) -> str:
    head, *body = rows
    lines = [head, ("---",) * len(head), *body]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def _text(rows: Rows) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _html(rows: Rows) -> str:
    head, *body = [[html.escape(text) for text in row] for row in rows]
    cells = ["<tr>" + "".join(f"<td>{text}</td>" for text in row) + "</tr>" for row in body]
    titles = "".join(f"<th>{text}</th>" for text in head)
    return f"<table><thead><tr>{titles}</tr></thead><tbody>{''.join(cells)}</tbody></table>"

"""What every student of a class does once with a network of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from reprlib import repr as brief
from typing import TYPE_CHECKING

from shrink.classroom import CourseError
from shrink.classroom.class_work.handing_in import LARGEST, Result, by_name, seed_of

if TYPE_CHECKING:
    from shrink.classroom.class_work.group import Group

DATASETS = ("mnist", "glyphs", "digits")


@dataclass(frozen=True)
class Experiment:
    """A chapter's class experiment: numbers from every student, and how they are shown together.

    `x` are the same for all: numbers, or categories as texts. A y is within `limits`, both
    included. `y_scale` is "linear", "log" or "accuracy" (`plots.accuracy_axis`). Results on two
    of `datasets` are never in one figure; without any, the data do not matter. A dashed line is
    drawn at the mean of the category `baseline`. With `one_series` each student has one of the
    series, which `series_of` deals out.
    """

    name: str
    title: str
    x: tuple[float, ...] | tuple[str, ...]
    y_label: str
    limits: tuple[float, float]
    series: tuple[str, ...]
    x_label: str = ""
    x_scale: str = "linear"
    y_scale: str = "linear"
    datasets: tuple[str, ...] = ()
    baseline: str | None = None
    one_series: bool = False

    @property
    def largest(self) -> int:
        """The most bytes of what is handed in."""
        return LARGEST

    def series_of(self, student: str) -> tuple[str, ...]:
        """What a student of that name hands in: all series, or the one that the name's seed gives.

        In a large class each series goes to about as many names. Raises as `seed_of` does.

        >>> arms = Experiment("9", "", (1,), "", (0, 1), ("ticket", "random"), one_series=True)
        >>> arms.series_of("Ada"), arms.series_of("Ada Lovelace"), arms.series_of("ADA")
        (('ticket',), ('random',), ('ticket',))
        """
        if not self.one_series:
            return self.series
        return (self.series[seed_of(student) % len(self.series)],)

    def checked(self, found: object, student: str) -> dict[str, tuple[float, ...]]:
        """The y's of each series in the order of x; `CourseError` unless all are there and good.

        The series are those of `series_of(student)`.
        """
        low, high = self.limits
        whose = f" of {brief(student)}" if self.one_series else ""
        by_series = by_name(f"the results{whose}", found, self.series_of(student))
        checked = {}
        for series, row in by_series.items():
            by_x = by_name(f"the results of {series}", row, self.x)
            for x, y in by_x.items():
                if not isinstance(y, Real) or isinstance(y, bool) or not low <= y <= high:
                    needed = f"a number from {low:g} to {high:g}"
                    raise CourseError(f"{series}, {x}: {brief(y)} is not {needed}")
            checked[series] = tuple(map(float, by_x.values()))
        return checked

    def stored(self, checked: Mapping[str, tuple[float, ...]]) -> dict[str, dict[str, float]]:
        """What `checked` gave, as it is written."""
        labels = [str(x) for x in self.x]
        return {series: dict(zip(labels, ys, strict=True)) for series, ys in checked.items()}

    def group(self, dataset: str | None, results: tuple[Result, ...]) -> Group:
        """The class's results on one data set together, to be told and drawn."""
        from shrink.classroom.class_work.group import Group  # a chapter loads without matplotlib

        return Group(self, dataset, results)

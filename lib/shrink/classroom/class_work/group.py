"""The results of a class in one experiment: told, drawn, and written as a picture."""

from __future__ import annotations

import io
import itertools
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from shrink.classroom import CourseError, plots
from shrink.classroom.class_work.handing_in import ClassExperiment, Result, stem
from shrink.files import write_atomically

SOFTWARE = "shrink gather"  # says in a PNG that we made it


@dataclass(frozen=True)
class Group:
    """What the students of a class found in one experiment, where it matters on one data set."""

    experiment: ClassExperiment
    dataset: str | None
    results: tuple[Result, ...]

    def values(self) -> dict[str, np.ndarray]:
        """Series → array (students, x), of the students who have that series."""
        plan = self.experiment
        found = {
            name: [result.found[name] for result in self.results if name in result.found]
            for name in plan.series
        }
        return {name: np.reshape(rows, (-1, len(plan.x))) for name, rows in found.items()}

    @property
    def about(self) -> str:
        """How many students, and on which data, or on how many kinds of machine."""
        students = f"{len(self.results)} student{'s' * (len(self.results) != 1)}"
        if self.dataset:
            return f"{students}, {self.dataset}"
        kinds = len({result.machine for result in self.results})
        return f"{students}, {kinds} kind{'s' * (kinds != 1)} of machine"

    def __str__(self) -> str:
        plan = self.experiment
        counted = ["students"] * plan.one_series
        columns = [[plan.x_label, *counted, *map(str, plan.x)]]
        for name, values in self.values().items():
            counted = [str(len(values))] * plan.one_series
            columns.append([name, *counted, *map(_mean_and_deviation, values.T)])
        widths = [max(map(len, column)) for column in columns]
        lines = [f"{plan.name}, {self.about}: {plan.y_label}, mean ± standard deviation"]
        for first, *rest in zip(*columns, strict=True):
            cells = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
            lines.append("  ".join(["", first.ljust(widths[0]), *cells]))
        return "\n".join(lines)

    def draw(self) -> plots.Plot:
        """Every student as a dot, without names; the mean, and the band of most students."""
        plan = self.experiment
        title = f"{plan.title}\n{self.about}"
        plot, (ax,) = plots.new(alt=str(self), width=5.6, height=3.6)
        ax.set(title=title, xlabel=plan.x_label, xscale=plan.x_scale)
        if plan.y_scale == "accuracy":
            plots.accuracy_axis(ax)
            errors = 100 - np.concatenate(list(self.values().values()))
            most, least = max(errors.max(), 1), min(errors.min(), 10)
            ax.set_ylim(max(100 - 2 * most, -2), 100 - least / 2)  # no student is cut off
        else:
            ax.set_yscale(plan.y_scale)
        _draw_class(ax, plan.x, self.values(), plan.baseline, count=plan.one_series)
        ax.set_ylabel(plan.y_label)
        return plot

    def of_these(self, results: tuple[Result, ...]) -> Group:
        """The group of some of the results."""
        return self.experiment.group(self.dataset, results)

    def picture(self) -> bytes:
        """The figure as a PNG."""
        buffer = io.BytesIO()
        self.draw().savefig(buffer, format="png", dpi=200, metadata={"Software": SOFTWARE})
        return buffer.getvalue()

    def write(self, folder: Path, picture: bytes | None = None) -> Path:
        """Write the figure, or what `picture` gave of it; an earlier one of ours is replaced.

        Raises `CourseError` when another picture has that name.
        """
        path = folder / f"{stem(self.experiment, self.dataset)}.png"
        if path.exists() and not is_ours(path):
            raise CourseError(f"{path} is no picture of shrink gather: move it, or pass --out")
        write_atomically(path, self.picture() if picture is None else picture)
        return path


def is_ours(path: Path) -> bool:
    """Whether it is a picture that an earlier `shrink gather` wrote."""
    try:
        if path.suffix != ".png" or not stat.S_ISREG(path.stat().st_mode):
            return False
        with open(path, "rb") as file:
            return SOFTWARE.encode() in file.read(1024)
    except OSError:
        return False


def _mean_and_deviation(values: np.ndarray) -> str:
    """Over the students; of a single one there is no deviation, of none no mean."""
    if not len(values):
        return "none"
    form = ".2f" if values.mean() >= 0.1 else ".3g"
    mean = f"{values.mean():{form}}"
    return f"{mean} ± {values.std(ddof=1):{form}}" if len(values) > 1 else mean


def _draw_class(
    ax: Axes,
    x: Sequence[float] | Sequence[str],
    groups: Mapping[str, np.ndarray],
    baseline: str | None = None,
    count: bool = False,
) -> None:
    """A class: each student as a dot, the mean over them, and the band of the middle 80 %.

    Args:
        x: numbers, joined by a line, or categories, each with a bar; `ax` has its scale already.
            Falling numbers fall from left to right.
        groups: name → array (students, len(x)); of no students, it is only counted.
        baseline: the category whose mean is a dashed grey line across.
        count: say how many students each group has.
    """
    named = isinstance(x[0], str)
    scale, back = (np.log, np.exp) if ax.get_xscale() == "log" else (np.asarray, np.asarray)
    places = np.arange(len(x)) if named else scale(x)
    room = np.abs(np.diff(places)).min() / (len(groups) if named else 1)
    for i, ((name, values), marker) in enumerate(zip(groups.items(), itertools.cycle("os^Dv"))):
        colour = list(plots.COLOURS.values())[1 + i % (len(plots.COLOURS) - 1)]
        centre = places + room * (i - (len(groups) - 1) / 2) * named
        jitter = np.random.default_rng(0).permutation(
            np.linspace(-0.15, 0.15, len(values) + 2)[1:-1]
        )
        at = back(centre + room * jitter[:, None])
        ax.plot(
            at.ravel(), values.ravel(), marker, color=colour, ms=3.5 * plots.SCALE, mew=0, alpha=0.5
        )
        label = f"{name}, mean" if len(groups) > 1 else "mean"
        label += f" of {len(values)}" if count else ""
        if not len(values):
            ax.plot([], [], color=colour, label=f"{name}, nobody")
            continue
        mean, (low, high) = values.mean(0), np.percentile(values, [10, 90], axis=0)
        if named:
            ax.bar(centre, high - low, 0.6 * room, low, color=colour, alpha=0.2)
            ax.hlines(mean, centre - 0.3 * room, centre + 0.3 * room, color=colour, label=label)
        else:
            ax.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
            ax.plot(x, mean, color=colour, label=label)
    if baseline is not None:
        at_baseline = [values[:, list(x).index(baseline)] for values in groups.values()]
        mean = np.concatenate(at_baseline).mean()
        ax.axhline(mean, color=plots.COLOURS["dense"], ls="--", label=f"{baseline}, mean", zorder=1)
    ax.plot(
        [], [], "o", color=plots.COLOURS["dense"], ms=3.5 * plots.SCALE, mew=0, label="a student"
    )
    ax.fill_between(
        [], [], color=plots.COLOURS["dense"], alpha=0.3, lw=0, label="10th to 90th percentile"
    )
    ax.set_xticks(range(len(x)) if named else x, [str(at).replace(", ", ",\n") for at in x])
    ax.set_xticks([], minor=True)
    if not named and x[0] > x[-1]:
        ax.invert_xaxis()
    ax.figure.legend(
        *ax.get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize="small"
    )

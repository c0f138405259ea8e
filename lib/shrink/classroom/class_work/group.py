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
        """Series → array (students, x)."""
        names = self.experiment.series
        return {name: np.array([result.found[name] for result in self.results]) for name in names}

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
        columns = [[plan.x_label, *map(str, plan.x)]]
        for name, values in self.values().items():
            columns.append([name, *map(_mean_and_deviation, values.T)])
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
        _draw_class(ax, plan.x, self.values(), plan.baseline)
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
    """Over the students; of a single one there is no deviation."""
    form = ".2f" if values.mean() >= 0.1 else ".3g"
    mean = f"{values.mean():{form}}"
    return f"{mean} ± {values.std(ddof=1):{form}}" if len(values) > 1 else mean


def _draw_class(
    ax: Axes,
    x: Sequence[float] | Sequence[str],
    groups: Mapping[str, np.ndarray],
    baseline: str | None = None,
) -> None:
    """A class: each student as a dot, the mean over them, and the band of the middle 80 %.

    Args:
        x: numbers, joined by a line, or categories, each with a bar; `ax` has its scale already.
        groups: name → array (students, len(x)).
        baseline: the category whose mean is a dashed grey line across.
    """
    named = isinstance(x[0], str)
    scale, back = (np.log, np.exp) if ax.get_xscale() == "log" else (np.asarray, np.asarray)
    places = np.arange(len(x)) if named else scale(x)
    room = np.diff(places).min() / (len(groups) if named else 1)
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
        mean, (low, high) = values.mean(0), np.percentile(values, [10, 90], axis=0)
        label = f"{name}, mean" if len(groups) > 1 else "mean"
        if named:
            ax.bar(centre, high - low, 0.6 * room, low, color=colour, alpha=0.2)
            ax.hlines(mean, centre - 0.3 * room, centre + 0.3 * room, color=colour, label=label)
        else:
            ax.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
            ax.plot(x, mean, color=colour, label=label)
    if baseline is not None:
        mean = np.mean([values[:, list(x).index(baseline)] for values in groups.values()])
        ax.axhline(mean, color=plots.COLOURS["dense"], ls="--", label=f"{baseline}, mean", zorder=1)
    ax.plot(
        [], [], "o", color=plots.COLOURS["dense"], ms=3.5 * plots.SCALE, mew=0, label="a student"
    )
    ax.fill_between(
        [], [], color=plots.COLOURS["dense"], alpha=0.3, lw=0, label="10th to 90th percentile"
    )
    ax.set_xticks(range(len(x)) if named else x, [str(at).replace(", ", ",\n") for at in x])
    ax.set_xticks([], minor=True)
    ax.figure.legend(
        *ax.get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize="small"
    )

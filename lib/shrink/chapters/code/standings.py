"""The files of a class in the byte league: told and drawn, without names."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes

from shrink.chapters.code.league import Point, frontier
from shrink.classroom import plots
from shrink.classroom.class_work.group import Group


@dataclass(frozen=True)
class Standings(Group):
    """The files of a league as measured here: one point per result, in their order.

    `dense` is the point of the network before anybody made it smaller.
    """

    points: tuple[Point, ...]
    dense: Point

    def __str__(self) -> str:
        best = set(frontier(self.points))
        lines = [
            f"{self.experiment.name}, {self.about}: bytes, and error on validation images in %"
        ]
        for point in sorted(self.points):
            beaten = "" if point in best else "  (another is no longer and errs no more)"
            lines.append(f"  {point[0]:9,}  {point[1]:5.2f}{beaten}")
        return "\n".join([*lines, f"  {self.dense[0]:9,}  {self.dense[1]:5.2f}  dense"])

    def draw(self) -> plots.Plot:
        """Every student as a dot, without names; the frontier, and the dense network."""
        plot, (ax,) = plots.new(alt=str(self), width=5.6, height=3.6)
        _draw_league(ax, self.points, frontier(self.points), self.dense)
        title = f"{self.experiment.title}\n{self.about}"
        ax.set(title=title, xlabel="bytes of the file", ylabel="error on validation images, %")
        return plot


def _draw_league(
    ax: Axes,
    points: Sequence[tuple[float, float]],
    frontier: Sequence[tuple[float, float]],
    dense: tuple[float, float],
) -> None:
    """Errors in % over bytes, on log scales: one dot per student, the best, and the dense network.

    An error below 0.05 stands at 0.05. The frontier is a stair: nobody in the class errs less with
    as many bytes.
    """

    def seen(some: Sequence[tuple[float, float]]) -> np.ndarray:
        sizes, errors = np.array(some, dtype=float).T
        return np.stack([sizes, np.maximum(errors, 0.05)])

    coded, grey = plots.COLOURS["coded"], plots.COLOURS["dense"]
    dot = {"color": coded, "ms": 4.5 * plots.SCALE, "mew": 0}
    (best_sizes, best_errors), (dense_size, dense_error) = seen(frontier), seen([dense])
    ends = np.append(best_sizes, dense_size)
    ax.step(ends, np.append(best_errors, best_errors[-1]), where="post", color=coded)
    ax.plot(*seen(points), "o", **dot, alpha=0.6)
    ax.axhline(dense_error[0], color=grey, ls="--")
    ax.plot(dense_size, dense_error, "s", color=grey)
    ax.plot([], [], "o", **dot, label="a student's file")
    ax.plot([], [], color=coded, label="the best: none as short errs less")
    ax.plot([], [], "s--", color=grey, label=f"dense, {dense[0]:,} bytes")
    errors = np.append(seen(points)[1], dense_error)
    ax.set(xscale="log", yscale="log")
    ax.set_yticks(
        marks := [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100], map("{:g}".format, marks)
    )
    ax.set_yticks([], minor=True)
    ax.set_ylim(0.8 * errors.min(), 1.25 * errors.max())
    ax.figure.legend(
        *ax.get_legend_handles_labels(), loc="outside lower right", ncols=2, fontsize="small"
    )

"""The explorer's scene after training: the rise of the loss, single deletions, and accuracy."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shrink.chapters.saliency.after_view import AfterView
from shrink.chapters.saliency.colours import COLOURS, STYLES
from shrink.chapters.saliency.deletions import ORDERS
from shrink.classroom import plots
from shrink.classroom.explorers import legend

SIZE_OF_TITLE = 9.5 * plots.SCALE
NARROW, WIDE = 1, 2.2  # lines: of the other orders, and of the one on show
DENSE, TUNED = plots.COLOURS["dense"], plots.COLOURS["fine-tuned"]
LINES = {
    order: {"color": COLOURS[order], "ls": STYLES[order], "lw": NARROW, "zorder": 3}
    for order in ORDERS
}
PREDICTED = {"color": "black", "ls": (0, (5, 2)), "lw": 1.5, "zorder": 4}
LOOKS = LINES | {  # that are always drawn
    "predicted": PREDICTED,
    "range of seeds": {"color": DENSE, "alpha": 0.35, "lw": 6},
    "whole network": {"color": DENSE, "ls": "--", "lw": 1},
}
RUNS = {
    "trained on": {"color": TUNED, "marker": "D", "ls": "", "ms": 7, "mec": "white"},
    "stopped on the way": {"color": TUNED, "marker": "o", "ls": "", "ms": 6, "mfc": "none"},
}
RISES = (0, 0.001, 0.01, 0.1, 1, 10)  # marked
LINEAR = 1e-3  # below it the axis of rises is linear, through zero


def draw(figure: Figure, view: AfterView) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    title = figure.suptitle(" ", x=0.01, ha="left", fontsize=SIZE_OF_TITLE)
    grid = figure.add_gridspec(2, 2, width_ratios=(11, 7))
    rise, ranks, right, between = (figure.add_subplot(grid[place]) for place in range(4))
    between.set_axis_off()
    legend.draw(between, LOOKS, left=0, top=0.98)
    return {
        "title": title,
        "rise": _draw_rise(rise, view),
        "ranks": _draw_ranks(ranks, view),
        "right": _draw_right(right, view),
        "legend": legend.draw(between, RUNS, left=0, top=0.15),
    }


def _draw_rise(ax: Axes, view: AfterView) -> dict[str, Any]:
    ax.set_yscale("symlog", linthresh=LINEAR, linscale=0.6)
    ax.set(xlim=(-1, 100), ylim=(-2 * LINEAR, 40))
    ax.set_yticks(RISES, [f"{rise:g}" for rise in RISES])
    ax.set_yticks([], minor=True)
    ax.set_title("rise of the loss of training images")
    ax.axhline(0, color=DENSE, ls="--", lw=1)
    percent = 100 * view.deleted
    band = ax.fill_between(percent, 0, 0, lw=0, alpha=0.3, zorder=2)
    lines = {order: ax.plot(percent, percent, **look)[0] for order, look in LINES.items()}
    (predicted,) = ax.plot(percent, percent, **PREDICTED)
    (marker,) = ax.plot([], [], "o", ms=8, mec="white", zorder=6)
    (expected,) = ax.plot([], [], "o", ms=7, mfc="white", mec="black", zorder=5)
    here = ax.axvline(0, color=DENSE, lw=0.8)
    return {
        "band": band,
        "lines": lines,
        "predicted": predicted,
        "marker": marker,
        "expected": expected,
        "here": here,
    }


def _draw_ranks(ax: Axes, view: AfterView) -> dict[str, Any]:
    n = view.ranks.shape[1]
    ax.plot([0, n], [0, n], color=DENSE, ls="--", lw=1)
    ax.set(xlim=(-4, n + 4), ylim=(-4, n + 4), xlabel="rank by score", ylabel="by true rise")
    ax.set_xticks([0, n // 2, n])
    ax.set_yticks([0, n // 2, n])
    (points,) = ax.plot([], [], "o", ms=3, mew=0, alpha=0.6)
    return {"points": points, "title": ax.set_title(f"{n} single deletions:\nranks")}


def _draw_right(ax: Axes, view: AfterView) -> dict[str, Any]:
    plots.accuracy_axis(ax)
    ax.set(xlim=(-1, 100), ylim=(5, 99.5), xlabel="weights deleted, %", ylabel="")
    ax.set_title("% right of validation images")
    percent = 100 * view.deleted
    dense = ax.axhline(50, **LOOKS["whole network"])
    lines = {order: ax.plot(percent, percent, **look)[0] for order, look in LINES.items()}
    (marker,) = ax.plot([], [], "o", ms=8, mec="white", zorder=6)
    runs = {name: ax.plot([], [], zorder=5, **look)[0] for name, look in RUNS.items()}
    return {"dense": dense, "lines": lines, "marker": marker, "runs": runs}


def update(artists: Mapping[str, Any], view: AfterView) -> None:
    """Move the artists to the view."""
    actual, predicted = view.shown.actual[view.stop], view.shown.predicted[view.stop]
    artists["title"].set_text(
        f"{100 * view.share:.0f} % deleted in the order of {view.order}: ● the loss rises by "
        f"{actual:.3g}, ○ predicted {predicted:.3g}"
    )
    _update_rise(artists["rise"], view)
    ranks = artists["ranks"]
    ranks["points"].set_data(*view.ranks)
    ranks["points"].set_color(COLOURS[view.order])
    ranks["title"].set_text(
        f"{view.ranks.shape[1]} single deletions:\n"
        f"rank correlation {view.correlations[view.order]:.3f}"
    )
    legend.update(artists["legend"], _update_right(artists["right"], view))


def _thicken(lines: Mapping[str, Any], order: str) -> None:
    for name, line in lines.items():
        line.set(linewidth=WIDE if name == order else NARROW, zorder=4 if name == order else 3)


def _update_rise(artists: Mapping[str, Any], view: AfterView) -> None:
    colour, at, shown = COLOURS[view.order], view.stop, view.shown
    percent, x = 100 * view.deleted, [100 * view.share]
    for order, line in artists["lines"].items():
        line.set_ydata(view.curves[order].actual)
    _thicken(artists["lines"], view.order)
    artists["band"].set_data(percent, *view.band)
    artists["band"].set_facecolor(colour)
    artists["predicted"].set_ydata(shown.predicted)
    artists["marker"].set_data(x, [shown.actual[at]])
    artists["marker"].set_color(colour)
    artists["marker"].set_markeredgecolor("white")
    artists["expected"].set_data(x, [shown.predicted[at]])
    artists["here"].set_xdata(x * 2)


def _update_right(artists: Mapping[str, Any], view: AfterView) -> set[str]:
    """Move the artists; the names of the runs that are drawn."""
    for order, line in artists["lines"].items():
        line.set_ydata(100 * view.curves[order].right)
    _thicken(artists["lines"], view.order)
    artists["dense"].set_ydata([100 * view.dense_accuracy] * 2)
    artists["marker"].set_data([100 * view.share], [100 * view.shown.right[view.stop]])
    artists["marker"].set_color(COLOURS[view.order])
    artists["marker"].set_markeredgecolor("white")
    drawn = set()
    for name, line in artists["runs"].items():
        runs = [run for run in view.runs if run.stopped == (name != "trained on")]
        line.set_data([100 * run.share for run in runs], [100 * run.accuracy for run in runs])
        drawn |= {name for _ in runs}
    return drawn

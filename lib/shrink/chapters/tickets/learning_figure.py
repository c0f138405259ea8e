"""The explorer's scene of how a network learns: over the steps, and over the share kept."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shrink.chapters.tickets import rounds
from shrink.chapters.tickets.colours import COLOURS, STYLES
from shrink.chapters.tickets.learning_view import LearningView, heading, mean
from shrink.classroom import plots
from shrink.classroom.explorers import legend

SIZE_OF_TITLE = 9.5 * plots.SCALE
COLUMNS = 4  # of the legend
NARROW, WIDE = 1.1, 2.6  # lines: of the others, and of the one on show
DENSE = plots.COLOURS["dense"]
LINES = {
    name: {"color": colour, "ls": STYLES[name], "lw": NARROW, "zorder": 3}
    for name, colour in COLOURS.items()
}
WHOLE = {"color": DENSE, "ls": "--", "lw": 1.2, "zorder": 2}
BAND = {"color": DENSE, "alpha": 0.35, "lw": 6}
NEXT = {"color": "black", "marker": "v", "ls": "", "ms": 7, "zorder": 6}
RUNS = {
    "trained here": {"marker": "D", "ms": 6.5, "mec": "white"},
    "stopped": {"marker": "D", "ms": 6, "mfc": "white"},
}
RUNS = {name: {"ls": "", "color": "black", "zorder": 6} | look for name, look in RUNS.items()}
BESIDE = {"whole network": WHOLE, "range of seeds": BAND, "your next round": NEXT} | RUNS
TICKS = (100, 50, 20, 10, 5, 3)  # % of the weights


def draw(figure: Figure, view: LearningView) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    title = figure.suptitle(" ", x=0.01, ha="left", fontsize=SIZE_OF_TITLE)
    above, below = figure.add_gridspec(2, 1, height_ratios=(12, 2))
    steps, shares = above.subgridspec(1, 2, width_ratios=(1, 1)).subplots()
    names = figure.add_subplot(below)
    return {
        "title": title,
        "steps": _draw_steps(steps, view),
        "shares": _draw_shares(shares, view),
        "legend": _draw_names(names),
    }


def _draw_names(ax: Axes) -> legend.Rows:
    ax.set_axis_off()
    rows = legend.draw(ax, LINES | BESIDE, left=0, top=0.8, columns=COLUMNS)
    for artist in (artist for row in rows.values() for artist in row):
        artist.set_in_layout(False)  # all of them together, as they never are, need more room
    return rows


def _draw_steps(ax: Axes, view: LearningView) -> dict[str, Any]:
    plots.accuracy_axis(ax)
    last = view.steps[-1]
    ax.set(xlim=(-0.02 * last, 1.02 * last), ylim=(5, 98.5), ylabel="", xlabel="steps")
    ax.set_title("% right while it learns")
    return _artists(ax, np.array(view.steps))


def _draw_shares(ax: Axes, view: LearningView) -> dict[str, Any]:
    ends = np.concatenate([line.ends.ravel() for line in view.lines.values()])
    plots.accuracy_axis(ax)
    ticks = [50, 70, 80, 85, 90, 92, 94, 95, 96, 97, 98, 99]
    ax.set(xscale="log", xlabel="weights kept, %", ylabel="", yticks=ticks)
    ax.set_xlim(110, 80 * view.shares[-1])
    ax.set_xticks(TICKS, [str(tick) for tick in TICKS])
    ax.set_xticks([], minor=True)
    ax.set_ylim(*_with_room(ends.min(), ends.max()))
    ax.set_title("% right after training")
    found = _artists(ax, 100 * view.shares)
    (found["marker"],) = ax.plot([], [], "o", ms=8.5, mec="white", zorder=7)
    (found["next"],) = ax.plot([], [], transform=ax.get_xaxis_transform(), **NEXT)
    found["here"] = ax.axvline(1, color=DENSE, lw=0.8)
    found["runs"] = {
        name: {line: ax.plot([], [], **look | _coloured(name, line))[0] for line in COLOURS}
        for name, look in RUNS.items()
    }
    return found


def _coloured(name: str, line: str) -> dict[str, str]:
    stopped = name == "stopped"
    return {"mec" if stopped else "mfc": COLOURS[line]}


def _with_room(low: float, high: float) -> tuple[float, float]:
    """Limits of an axis of accuracies whose errors are 8 % larger and 12 % smaller."""
    return 100 - 1.08 * (100 - low), 100 - 0.88 * (100 - high)


def _artists(ax: Axes, x: np.ndarray) -> dict[str, Any]:
    band = ax.fill_between(x, 50, 51, lw=0, alpha=0.3, zorder=2)
    lines = {name: ax.plot([], [], **look)[0] for name, look in LINES.items()}
    (whole,) = ax.plot(x, np.full(len(x), 50.0), **WHOLE)
    return {"band": band, "lines": lines, "whole": whole}


def update(artists: Mapping[str, Any], view: LearningView) -> None:
    """Move the artists to the view."""
    artists["title"].set_text(
        f"{heading(view)}: {mean(view.shown)} % right, whole network {mean(view.dense)} %"
        if view.trained
        else f"{heading(view)}, {mean(view.shown)} % right"
    )
    drawn = {"whole network", view.line, *view.others}
    _update_steps(artists["steps"], view)
    drawn |= _update_shares(artists["shares"], view)
    if len(view.seeds) > 1:
        drawn.add("range of seeds")
    legend.update(artists["legend"], drawn, COLUMNS)


def _update_steps(artists: Mapping[str, Any], view: LearningView) -> None:
    for name, line in artists["lines"].items():
        shown = name == view.line or name in view.others
        line.set_visible(shown)
        if shown:
            line.set_data(view.steps, view.in_round(name).mean(0))
    artists["whole"].set_data(view.steps, view.dense.mean(0))
    _bring_out(artists, view, np.array(view.steps), view.shown)


def _update_shares(artists: Mapping[str, Any], view: LearningView) -> set[str]:
    """Move the artists; the names of what is drawn there."""
    percent = 100 * view.shares
    arms = {view.line, *rounds.ARMS}
    drawn = set()
    for name, line in artists["lines"].items():
        learned = view.lines[name]
        shown = name in arms
        line.set_visible(shown)
        line.set_data(percent[list(learned.numbers)], learned.ends.mean(0))
        if shown:
            drawn.add(name)
    artists["whole"].set_data(percent, np.full(len(percent), view.dense[:, -1].mean()))
    learned, here = view.lines[view.line], percent[view.trained]
    _bring_out(artists, view, percent[list(learned.numbers)], learned.ends)
    artists["marker"].set_data([here], [view.shown[:, -1].mean()])
    artists["marker"].set_markerfacecolor(COLOURS[view.line])
    artists["here"].set_xdata([here] * 2)
    artists["next"].set_data([], [])
    if view.following:
        artists["next"].set_data([100 * view.following.share], [0.03])
        drawn.add("your next round")
    return drawn | _update_runs(artists["runs"], view)


def _update_runs(artists: Mapping[str, Any], view: LearningView) -> set[str]:
    drawn = set()
    for name, marks in artists.items():
        for line, mark in marks.items():
            runs = [
                run for run in view.runs if run.line == line and run.stopped == (name == "stopped")
            ]
            mark.set_data([100 * run.share for run in runs], [100 * run.accuracy for run in runs])
            drawn |= {name for _ in runs}
    return drawn


def _bring_out(
    artists: Mapping[str, Any], view: LearningView, x: np.ndarray, right: np.ndarray
) -> None:
    """Thicken the line on show, and put its band of seeds behind it: `right` is (seeds, x)."""
    for name, line in artists["lines"].items():
        wide = name == view.line
        line.set(linewidth=WIDE if wide else NARROW, zorder=4 if wide else 3)
    artists["band"].set_data(x, right.min(0), right.max(0))
    artists["band"].set_facecolor(COLOURS[view.line])

"""The figure of chapter 07's explorer: what a setting shows, drawn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shrink.chapters.structure import map_figure
from shrink.chapters.structure.view import CHANNELS, CURVE, SAME, STOPS, WIDTHS, View
from shrink.chapters.structure.ways import SHARE
from shrink.classroom import plots
from shrink.classroom.explorers import legend

SIZE = (6.4, 4.2)  # inches
MAP = (6, 20, map_figure.WIDE, map_figure.HIGH)  # of the map, in pixels from the top left
DENSE, PRUNED, TUNED = (plots.COLOURS[name] for name in ("dense", "pruned", "fine-tuned"))
OTHER = "norms anew"  # or as they were, where the line on show has them anew
LINES = {
    "on show": {"color": PRUNED},
    OTHER: {"color": PRUNED, "ls": ":", "lw": 1},
    "range of seeds": {"color": PRUNED, "alpha": 0.25, "lw": 6},
    "whole": {"color": DENSE, "ls": "--"},
    "from scratch": {"color": "black", "marker": "*", "ls": "", "ms": 10, "mew": 0},
}
RUNS = {  # by what the legend says; the cross upon the diamond: both can be seen
    "fine-tuned": {"marker": "D", "ms": 9, "mec": "white"},
    "tuned, each its own": {"marker": "X", "ms": 7, "mfc": "white"},
    "tuned, zeros only": {"marker": "s", "ms": 5, "mec": "white"},
    "stopped on the way": {"marker": "o", "ms": 6, "mfc": "none"},
}
RUNS = {name: {"ls": "", "color": TUNED} | look for name, look in RUNS.items()}


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    left, top, width, height = MAP
    full = tuple(100 * inches for inches in SIZE)
    above = figure.add_axes(
        (left / full[0], 1 - (top + height) / full[1], width / full[0], height / full[1])
    )
    share = (top + height) / full[1]
    rows = figure.add_gridspec(2, 1, height_ratios=(share, 1 - share))
    accuracy, between, time = rows[1].subgridspec(1, 3, width_ratios=(10, 7, 10)).subplots()
    between.set_axis_off()
    return {
        "title": figure.text(left / full[0], 1 - 6 / full[1], "", va="top"),
        "map": map_figure.draw(above, view),
        "accuracy": _draw_accuracy(accuracy),
        "legend": legend.draw(between, LINES | RUNS, left=0, top=0.97),
        "costs": between.text(0, -0.16, "", va="bottom"),
        "time": _draw_time(time),
    }


def _draw_accuracy(ax: Axes) -> dict[str, Any]:
    plots.accuracy_axis(ax)
    ax.set(xlabel="share kept, %", xlim=(0, 102), ylabel="", title="% right of validation images")
    ax.set_yticks([10, 50, 80, 90, 95, 98, 99, 99.5])
    ax.set_ylim(5, 99.85)
    lines = {
        name: ax.plot(100 * STOPS, 100 * STOPS, **LINES[name])[0] for name in ("on show", OTHER)
    }
    dense = ax.axhline(50, **LINES["whole"])
    band = ax.fill_between(100 * CURVE, CURVE, CURVE, color=PRUNED, alpha=0.25, lw=0)
    (scratch,) = ax.plot([], [], zorder=4, **LINES["from scratch"])
    runs = {name: ax.plot([], [], zorder=5, **look)[0] for name, look in RUNS.items()}
    (marker,) = ax.plot([], [], "o", color=PRUNED, ms=8, mec="white", zorder=6)
    return {
        "lines": lines,
        "dense": dense,
        "band": band,
        "scratch": scratch,
        "runs": runs,
        "marker": marker,
    }


def _draw_time(ax: Axes) -> dict[str, Any]:
    ax.set(xlim=(0, CHANNELS + 2), ylim=(0, 132), xlabel=f"channels, of {CHANNELS}")
    ax.set_xticks(range(0, CHANNELS + 1, 16))
    ax.set_title("a convolution's time, %")
    ax.plot([0, CHANNELS], [0, 100], color=DENSE, ls="--", label="multiply-accumulates")
    (found,) = ax.plot([], [], "o-", ms=3.5, lw=1, color=PRUNED, label="time, measured")
    here = ax.axvline(0, ymax=0.8, color=DENSE, lw=0.8)
    ax.legend(loc="upper left", borderaxespad=0, labelspacing=0.2, handlelength=1.7)
    return {"found": found, "here": here}


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    _update_title(artists["title"], view)
    map_figure.update(artists["map"], view)
    drawn = _update_accuracy(artists["accuracy"], view)
    artists["legend"][OTHER][1].set_text("norms as they were" if view.anew else OTHER)
    legend.update(artists["legend"], drawn)
    artists["costs"].set_text(_costs(view))
    _update_time(artists["time"], view)


def _update_title(title: Any, view: View) -> None:
    if view.difference is None:
        title.set(
            text="masked weights: nothing is removed, and the network stays as large", color="k"
        )
        return
    same = view.difference < SAME
    verdict = "the same network" if same else "another network"
    words = f"outputs differ from the masked network's by up to {view.difference:.2g}: {verdict}"
    title.set(text=words, color="black" if same else TUNED)


def _update_accuracy(artists: Mapping[str, Any], view: View) -> set[str]:
    """Move the artists; the names of what is drawn."""
    curves = (view.curve, view.other_curve)
    for line, curve in zip(artists["lines"].values(), curves, strict=True):
        line.set_ydata(100 * curve)
    at, low, high = 100 * CURVE, *(100 * view.band)
    if view.setting.granularity == "2:4":  # one share, and so a bar
        (here,) = np.flatnonzero(CURVE == 0.5)
        at, low, high = np.array([49, 51]), low[[here] * 2], high[[here] * 2]
    artists["lines"][OTHER].set_marker("." if view.setting.granularity == "2:4" else "")
    artists["band"].set_data(at, low, high)
    artists["dense"].set_ydata([100 * view.dense_accuracy] * 2)
    artists["marker"].set_data([100 * view.share], [100 * view.accuracy])
    scratch = [100 * right for right in view.scratch]
    artists["scratch"].set_data([100 * SHARE] * len(scratch), scratch)
    drawn = set(LINES) - {"from scratch"} | ({"from scratch"} if scratch else set())
    for name, line in artists["runs"].items():
        runs = [run for run in view.runs if called(run) == name]
        line.set_data([100 * r.share for r in runs], [100 * r.accuracy for r in runs])
        drawn |= {name for _ in runs}
    return drawn


def called(run: Any) -> str:
    """How the legend names such runs."""
    if run.stopped:
        return "stopped on the way"
    named = f"tuned, {run.setting.removal}"
    return named if run.setting.removes_filters and named in RUNS else "fine-tuned"


def _update_time(artists: Mapping[str, Any], view: View) -> None:
    share = view.share if view.setting.removes_channels else 1
    artists["here"].set_xdata([CHANNELS * share] * 2)
    if view.times is None:
        artists["found"].set_data([], [])
        return
    found = view.times.convolution
    artists["found"].set_data(WIDTHS, [100 * found[k] / found[CHANNELS] for k in WIDTHS])


def _costs(view: View) -> str:
    """What is left of the whole network's work and, where it was measured, of its time."""
    lines = ["of the whole network:", f"MACs {100 * view.macs[0] / view.macs[1]:.0f} %"]
    if view.times_here:
        whole, small = view.times.whole, view.times.small
        lines += [
            f"time, {n} image{'s' * (n > 1)} {100 * small[n] / whole[n]:.0f} %" for n in whole
        ]
    return "\n".join(lines)

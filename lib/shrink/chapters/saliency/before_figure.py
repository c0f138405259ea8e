"""The explorer's scene before training: layers, scores that are conserved or not, and accuracy."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shrink.chapters.saliency import arms
from shrink.chapters.saliency.arms import CONTROLS, METHODS
from shrink.chapters.saliency.before_view import BeforeView, counted, method_in_words, verdict
from shrink.chapters.saliency.colours import COLOURS, STYLES
from shrink.classroom import plots
from shrink.classroom.explorers import legend

SIZE_OF_TITLE = 9.5 * plots.SCALE
DENSE, ALARM = plots.COLOURS["dense"], plots.COLOURS["fine-tuned"]
LEAST, MOST = 0.7, 1e6  # of the axis of weights
LINES = {
    method: {"color": COLOURS[method], "ls": STYLES[method], "lw": 1, "zorder": 3}
    for method in METHODS
}
MARKS = {  # of the method on show, as chosen and by the controls
    CONTROLS[0]: {"marker": "o", "ms": 5},
    CONTROLS[1]: {"marker": "s", "ms": 6, "mfc": "white"},
    CONTROLS[2]: {"marker": "^", "ms": 6.5, "mfc": "white"},
}
MARKS = {name: {"ls": "", "color": DENSE, "zorder": 5} | look for name, look in MARKS.items()}
RUNS = {
    "trained here": {"marker": "D", "ms": 7, "mec": "white"},
    "stopped on the way": {"marker": "D", "ms": 6, "mfc": "white"},
}
RUNS = {name: {"ls": "", "color": ALARM, "zorder": 6} | look for name, look in RUNS.items()}
OTHERS = {
    "range of seeds": {"color": DENSE, "alpha": 0.35, "lw": 6},
    "whole network": {"color": DENSE, "ls": "--", "lw": 1},
    "a layer is empty": {"color": ALARM, "alpha": 0.25, "lw": 6},
}
LOOKS = LINES | MARKS | OTHERS  # that are always drawn


def draw(figure: Figure, view: BeforeView) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    title = figure.suptitle(" ", x=0.01, ha="left", fontsize=SIZE_OF_TITLE)
    above, below = figure.add_gridspec(2, 1, height_ratios=(10, 11))
    layers, sums, units = above.subgridspec(1, 3, width_ratios=(10, 5, 7)).subplots()
    right, between = below.subgridspec(1, 2, width_ratios=(11, 7)).subplots()
    between.set_axis_off()
    legend.draw(between, LOOKS, left=0, top=0.98)
    return {
        "title": title,
        "layers": _draw_layers(layers, view),
        "sums": _draw_sums(sums, view),
        "units": _draw_units(units),
        "right": _draw_right(right, view),
        "legend": legend.draw(between, RUNS, left=0, top=-0.12),
    }


def _draw_layers(ax: Axes, view: BeforeView) -> dict[str, Any]:
    rows = np.arange(len(view.layers))
    ax.set(xscale="log", xlim=(LEAST, MOST), ylim=(len(rows) - 0.4, -0.75))
    ax.set_xticks([1, 100, 10_000], ["1", "100", "10,000"])
    ax.set_xticks([], minor=True)
    ax.set_yticks([])
    ax.set_title("weights kept by layer")
    ax.spines["left"].set_visible(False)
    ax.barh(rows, view.sizes - LEAST, 0.42, left=LEAST, fc="none", ec=DENSE, lw=0.8)
    kept = ax.barh(rows, rows, 0.42, left=LEAST, lw=0, alpha=0.4)
    live = ax.barh(rows, rows, 0.42, left=LEAST, lw=0)
    words = [ax.text(LEAST * 1.1, row - 0.43, "", va="center") for row in rows]
    return {"kept": list(kept), "live": list(live), "words": words}


def _draw_sums(ax: Axes, view: BeforeView) -> dict[str, Any]:
    rows = np.arange(len(view.layers))
    bars = ax.bar(rows, rows * 0.0, 0.6)
    ax.set(ylim=(0, 118), title="sum of scores, %")
    ax.set_yticks([])
    ax.spines["left"].set_visible(False)
    ax.set_xticks(rows, view.layers)
    ax.tick_params(axis="x", length=0)
    words = [ax.text(row, 0, "", ha="center", va="bottom") for row in rows]
    return {"bars": list(bars), "words": words}


def _draw_units(ax: Axes) -> dict[str, Any]:
    ends = (1e-4, 2)
    ax.plot(ends, ends, color=DENSE, ls="--", lw=1)
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends, xlabel="score in", ylabel="score out")
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_ticks([1e-3, 1e-1], ["0.001", "0.1"])
        axis.set_ticks([], minor=True)
    ax.set_title("hidden units")
    looks = ({"marker": "o", "ms": 2.5, "mew": 0}, {"marker": "x", "ms": 4, "mew": 0.8})
    return {"points": [ax.plot([], [], ls="", alpha=0.6, **look)[0] for look in looks]}


def _draw_right(ax: Axes, view: BeforeView) -> dict[str, Any]:
    plots.accuracy_axis(ax)
    ax.set(xscale="log", xlim=(0.85, 1.2e5), ylim=(5, 99.3), ylabel="", xlabel="compression")
    ax.set_xticks([1, 10, 100, 1000, 10_000, 100_000], ["1", "10", "100", "1,000", "", "100,000"])
    ax.set_xticks([], minor=True)
    ax.set_title(f"% right after training (SynFlow in {arms.STEPS} steps)")
    dense = ax.axhline(50, **OTHERS["whole network"])
    gone = ax.axvspan(1, 2, color=ALARM, alpha=0.18, lw=0)
    band = ax.fill_between([1, 2], 0, 0, lw=0, alpha=0.3, zorder=2)
    for method, look in LINES.items():
        trained = view.trained[method, CONTROLS[0]]
        ax.plot(1 / trained.shares, trained.right.mean(0), **look)
    (shown,) = ax.plot([], [], lw=2.2, zorder=4)
    marks = {name: ax.plot([], [], **look)[0] for name, look in MARKS.items()}
    runs = {name: ax.plot([], [], **look)[0] for name, look in RUNS.items()}
    here = ax.axvline(1, color="black", lw=0.8)
    return {
        "dense": dense,
        "gone": gone,
        "band": band,
        "shown": shown,
        "marks": marks,
        "runs": runs,
        "here": here,
    }


def update(artists: Mapping[str, Any], view: BeforeView) -> None:
    """Move the artists to the view."""
    artists["title"].set_text(
        f"{method_in_words(view.method, view.steps)}, {counted(view.compression)} times fewer "
        f"weights: {verdict(view)}"
    )
    artists["title"].set_color(ALARM if view.empty or not view.paths else "black")
    _update_layers(artists["layers"], view)
    _update_sums(artists["sums"], view)
    parts = (slice(None, view.first), slice(view.first, None))
    for points, part in zip(artists["units"]["points"], parts, strict=True):
        points.set_data(view.into[part], view.out[part])
        points.set_color(COLOURS[view.method])
    legend.update(artists["legend"], _update_right(artists["right"], view))


def _update_layers(artists: Mapping[str, Any], view: BeforeView) -> None:
    colour = COLOURS[view.method]
    for name, counts in (("kept", view.kept), ("live", view.live)):
        for bar, count in zip(artists[name], counts, strict=True):
            bar.set_width(max(count - LEAST, 0))
            bar.set_facecolor(colour)
    rows = zip(artists["words"], view.layers, view.kept, view.live, strict=True)
    for words, layer, kept, live in rows:
        words.set_text(f"{layer}: {_in_words(kept, live)}")
        words.set_color("black" if live else ALARM)


def _in_words(kept: float, live: float) -> str:
    if not kept:
        return "empty"
    return f"{kept:,.0f} kept" + (f", {live:,.0f} live" if live < kept else "")


def _update_sums(artists: Mapping[str, Any], view: BeforeView) -> None:
    for bar, words, share in zip(artists["bars"], artists["words"], view.shares, strict=True):
        height = 0.0 if np.isnan(share) else 100 * share
        bar.set_height(height)
        bar.set_facecolor(COLOURS[view.method])
        words.set_y(height + 2)
        words.set_text("none" if np.isnan(share) else f"{height:.3g}")


def _update_right(artists: Mapping[str, Any], view: BeforeView) -> set[str]:
    """Move the artists; the names of the runs that are drawn."""
    colour = COLOURS[view.method]
    for control, marks in artists["marks"].items():
        trained = view.trained.get((view.method, control))
        marks.set_data([], [])
        if trained is not None:
            marks.set_data(1 / trained.shares, trained.right.mean(0))
        marks.set_markeredgecolor(colour)
    artists["marks"][CONTROLS[0]].set_markerfacecolor(colour)
    chosen = view.trained[view.method, CONTROLS[0]]
    artists["shown"].set_data(1 / chosen.shares, chosen.right.mean(0))
    artists["shown"].set(color=colour, linestyle=STYLES[view.method])
    artists["band"].set_data(1 / chosen.shares, chosen.right.min(0), chosen.right.max(0))
    artists["band"].set_facecolor(colour)
    artists["dense"].set_ydata([view.dense.mean()] * 2)
    artists["here"].set_xdata([view.compression] * 2)
    artists["gone"].set_visible(view.collapses is not None)
    if view.collapses is not None:
        artists["gone"].set_x(view.collapses)
        artists["gone"].set_width(1e6)
    drawn = set()
    for name, line in artists["runs"].items():
        runs = [run for run in view.runs if run.stopped == (name == "stopped on the way")]
        line.set_data([run.compression for run in runs], [100 * run.accuracy for run in runs])
        drawn |= {name for _ in runs}
    return drawn

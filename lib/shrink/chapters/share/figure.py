"""The figure of chapter 04's explorer: what a setting shows, drawn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from shrink.chapters.share.view import BAND, BINS, KS, View
from shrink.classroom import plots
from shrink.classroom.explorers import bars, strip

DENSE, SHARED, TUNED = (plots.COLOURS[name] for name in ("dense", "shared", "fine-tuned"))
OPTIMUM, RULER = "#000000", plots.COLOURS["quantized"]
GAPS = plots.COLOURS["pruned"]
PARTS = ((SHARED, ""), (TUNED, "xxx"), (GAPS, "///"))  # colours and hatches of the bytes
SMALL, TINY = "small", "x-small"
ROWS = (
    ("on show", SHARED, 0.14, 0.4),
    ("optimum", OPTIMUM, 0.04, 0.115),
    ("ruler", RULER, 0.0115, 0.033),
)


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    rows = figure.add_gridspec(2, 1, height_ratios=(1, 1))
    above = rows[0].subgridspec(1, 2, width_ratios=(11, 8)).subplots()
    below = rows[1].subgridspec(1, 2, width_ratios=(11, 8))
    last = below[1].subgridspec(2, 1, height_ratios=(2, 5)).subplots()
    return {
        **_draw_histogram(above[0]),
        **_draw_errors(above[1]),
        **_draw_accuracy(figure.add_subplot(below[0])),
        "bytes": bars.draw(last[0], ("float32", "shared"), PARTS, "bytes of the file"),
        "changed": strip.draw(last[1]),
        "changed_title": last[1].set_title("answers", fontsize=SMALL),
    }


def _draw_histogram(ax: Axes) -> dict[str, Any]:
    counts = ax.stairs(
        np.ones(BINS), np.linspace(-1, 1, BINS + 1), baseline=0.5, fill=True, color=DENSE + "88"
    )
    ticks = {
        name: ax.add_collection(LineCollection([], colors=colour, label=name))
        for name, colour, _, _ in ROWS
    }
    ax.axhline(0.5, color="black", lw=0.8)
    ax.set(yscale="log", ylim=(0.009, 4e5), ylabel="weights in the bin")
    ax.set_yticks([1, 1e2, 1e4])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.set(xlim=(-1.03, 1.03), xlabel="weight, as a part of the largest magnitude")
    ax.legend(loc="upper left", fontsize=TINY, ncols=3, columnspacing=1, borderaxespad=0)
    title = ax.set_title("weights and values")
    return {"counts": counts, "ticks": ticks, "histogram_title": title}


def _over_k(ax: Axes) -> None:
    ax.set(xscale="log", xlim=(1.9, 68), xlabel="values, k")
    ax.set_xticks([2, 4, 8, 16, 32, 64], ["2", "4", "8", "16", "32", "64"])
    ax.xaxis.set_minor_locator(NullLocator())


def _draw_curves(ax: Axes) -> dict[str, Any]:
    """The lines, the band and the markers that both plots over k have."""
    ones = np.ones(len(KS))
    (ruler,) = ax.plot(KS, ones, ":", color=RULER, label="ruler")
    (line,) = ax.plot(KS, ones, color=SHARED, label="k-means")
    (optimum,) = ax.plot(KS, ones, "--", color=OPTIMUM, lw=1, label="optimum")
    flat = np.ones(len(BAND))
    band = ax.fill_between(BAND, flat, flat, color=SHARED, alpha=0.25, lw=0, label="range of seeds")
    done, stopped = (
        ax.plot([], [], "D", ms=6, color=TUNED, mfc=fill, mec=edge, label=label)[0]
        for fill, edge, label in ((TUNED, "white", "trained"), ("none", TUNED, "_stopped"))
    )
    (marker,) = ax.plot([], [], "o", color=SHARED, ms=8, mec="white")
    return {
        "ruler": ruler,
        "line": line,
        "optimum": optimum,
        "band": band,
        "runs": [done, stopped],
        "marker": marker,
    }


def _draw_errors(ax: Axes) -> dict[str, Any]:
    _over_k(ax)
    ax.set(yscale="log", ylim=(3e-4, 30))
    artists = _draw_curves(ax)
    ax.set_yticks([1e-3, 1e-2, 1e-1, 1, 10], ["0.1 %", "1 %", "10 %", "100 %", "1000 %"])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.legend(loc="upper right", fontsize=TINY, ncols=2, columnspacing=1, borderaxespad=0)
    title = ax.set_title("squared error")
    return {"errors": artists, "error_title": title}


def _draw_accuracy(ax: Axes) -> dict[str, Any]:
    plots.accuracy_axis(ax)
    _over_k(ax)
    dense = ax.axhline(50, color=DENSE, ls="--", label="not shared")
    artists = _draw_curves(ax)
    ax.set(ylabel="", title="accuracy on validation images, %")
    ax.legend(loc="lower right", fontsize=TINY, ncols=2, columnspacing=1, borderaxespad=0)
    return {"accuracy": artists, "dense": dense}


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    _update_histogram(artists, view)
    runs = [[r for r in view.runs if r.stopped == stopped] for stopped in (False, True)]
    _update_curves(
        artists["errors"],
        view.errors,
        view.error_band,
        (view.k, view.error),
        [[(r.k, r.errors[view.layer]) for r in some] for some in runs],
        scale=1,
    )
    _update_curves(
        artists["accuracy"],
        view.accuracies,
        view.band,
        (view.k, 100 * view.accuracy),
        [[(r.k, 100 * r.accuracy) for r in some] for some in runs],
        scale=100,
    )
    artists["error_title"].set_text(
        f"squared error of fc{view.layer + 1}, part of its squared weights"
    )
    artists["dense"].set_ydata([100 * view.dense_accuracy] * 2)
    dense, shared, *parts = view.bytes
    bars.update(artists["bytes"], dense, shared, parts, f"{shared:,}, {parts[1]:,} of codebooks")
    strip.update(artists["changed"], view.strip)
    artists["changed_title"].set_text(
        f"answers changed: {view.changed:,}, by another seed: {view.other_changed:,}"
    )


def _update_histogram(artists: Mapping[str, Any], view: View) -> None:
    artists["counts"].set_data(np.maximum(view.counts, 0.5))
    for name, _, low, high in ROWS:
        ticks = artists["ticks"][name]
        ticks.set_segments([[(x, low), (x, high)] for x in view.values[name] / view.edge])
        ticks.set_linewidth(plots.SCALE * max(1, min(2.5, 40 / len(view.values[name]))))
    artists["histogram_title"].set_text(
        f"{int(view.counts.sum()):,} weights of fc{view.layer + 1}, and {view.k} values"
    )


def _update_curves(
    artists: Mapping[str, Any],
    curves: Mapping[str, np.ndarray],
    band: np.ndarray,
    here: tuple[int, float],
    runs: list[list[tuple[int, float]]],
    scale: float,
) -> None:
    for name in ("line", "optimum", "ruler"):
        artists[name].set_ydata(scale * curves[name])
    artists["band"].set_data(BAND, scale * band.min(0), scale * band.max(0))
    artists["marker"].set_data([here[0]], [here[1]])
    for line, points in zip(artists["runs"], runs, strict=True):
        line.set_data([k for k, _ in points], [y for _, y in points])

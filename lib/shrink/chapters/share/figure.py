"""The figure of chapter 04's explorer: what a setting shows, drawn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from shrink.chapters.share.view import BAND, BINS, KS, Run, View
from shrink.classroom import plots

SIZE = (6.4, 4.1)  # inches
DENSE, SHARED, TUNED = (plots.COLOURS[name] for name in ("dense", "shared", "fine-tuned"))
OPTIMUM, RULER = "#000000", plots.COLOURS["quantized"]
LEGEND = {"borderaxespad": 0, "labelspacing": 0.2, "handlelength": 1.7}
ROWS = {"k-means": SHARED, "optimum": OPTIMUM, "ruler": RULER}  # of values, from the top down


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    above, below = figure.add_gridspec(2, 1, height_ratios=(10, 9))
    counts, values = above.subgridspec(2, 1, height_ratios=(7, 4), hspace=0).subplots(sharex=True)
    errors, accuracy = below.subgridspec(1, 2).subplots()
    return {
        **_draw_counts(counts),
        "values": _draw_values(values),
        "errors": _draw_errors(errors),
        "accuracy": _draw_accuracy(accuracy),
    }


def _draw_counts(ax: Axes) -> dict[str, Any]:
    edges = np.linspace(-1, 1, BINS + 1)
    counts = ax.stairs(np.ones(BINS), edges, baseline=0.5, fill=True, color=DENSE + "88")
    ax.set(yscale="log", ylim=(0.5, 9e4), ylabel="weights")
    ax.set_yticks([1, 100, 10_000], ["1", "100", "10,000"])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.tick_params(axis="x", length=0, labelbottom=False)
    return {"counts": counts, "histogram_title": ax.set_title("weights and values")}


def _draw_values(ax: Axes) -> dict[str, LineCollection]:
    """A row of ticks for each way to find values, named at its left."""
    ax.set(ylim=(len(ROWS) - 0.4, -0.6), xlim=(-1.03, 1.03))
    ax.set_yticks(range(len(ROWS)), list(ROWS))
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("weight, as a part of the largest magnitude")
    return {
        name: ax.add_collection(LineCollection([], colors=colour)) for name, colour in ROWS.items()
    }


def _over_k(ax: Axes) -> None:
    ax.set(xscale="log", xlim=(1.9, 68), xlabel="values, k")
    ax.set_xticks([2, 4, 8, 16, 32, 64], ["2", "4", "8", "16", "32", "64"])
    ax.xaxis.set_minor_locator(NullLocator())


def _draw_curves(ax: Axes) -> dict[str, Any]:
    """The lines, the band and the markers that both plots over k have."""
    ones = np.ones(len(KS))
    (ruler,) = ax.plot(KS, ones, ":", color=RULER, label="ruler")
    (k_means,) = ax.plot(KS, ones, color=SHARED, label="k-means")
    (optimum,) = ax.plot(KS, ones, "-.", color=OPTIMUM, lw=1, label="optimum")
    flat = np.ones(len(BAND))
    band = ax.fill_between(BAND, flat, flat, color=SHARED, alpha=0.25, lw=0, label="range of seeds")
    done, stopped = (
        ax.plot([], [], "D", ms=6, color=TUNED, mfc=fill, mec=edge)[0]
        for fill, edge in ((TUNED, "white"), ("none", TUNED))
    )
    (marker,) = ax.plot([], [], "o", color=SHARED, ms=8, mec="white")
    return {
        "lines": {"k-means": k_means, "optimum": optimum, "ruler": ruler},
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
    ax.legend(handles=list(artists["lines"].values()), loc="upper right", **LEGEND)
    return artists | {"title": ax.set_title("squared error")}


def _draw_accuracy(ax: Axes) -> dict[str, Any]:
    plots.accuracy_axis(ax)
    _over_k(ax)
    dense = ax.axhline(50, color=DENSE, ls="--", label="not shared")
    artists = _draw_curves(ax)
    ax.set_yticks([10, 80, 90, 95, 98, 99])
    ax.set_ylabel("")
    ax.legend(handles=[dense, artists["band"]], loc="lower right", **LEGEND)
    return artists | {"dense": dense, "title": ax.set_title("accuracy")}


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    _update_histogram(artists, view)
    errors = [(run, run.errors[view.layer]) for run in view.runs]
    _update_curves(artists["errors"], view.errors, view.error_band, (view.k, view.error), errors)
    accuracies = {name: 100 * found for name, found in view.accuracies.items()}
    _update_curves(
        artists["accuracy"],
        accuracies,
        100 * view.band,
        (view.k, 100 * view.accuracy),
        [(run, 100 * run.accuracy) for run in view.runs],
    )
    artists["accuracy"]["dense"].set_ydata([100 * view.dense_accuracy] * 2)
    trained = "; ◆ trained" if view.runs else ""
    artists["errors"]["title"].set_text(f"squared error of fc{view.layer + 1}{trained}")
    artists["accuracy"]["title"].set_text(f"% right, all layers shared{trained}")


def _update_histogram(artists: Mapping[str, Any], view: View) -> None:
    artists["counts"].set_data(np.maximum(view.counts, 0.5))
    for row, (name, ticks) in enumerate(artists["values"].items()):
        places = view.values[name] / view.edge
        ticks.set_segments([[(x, row - 0.36), (x, row + 0.36)] for x in places])
        ticks.set_linewidth(plots.SCALE * max(1, min(2.5, 40 / len(places))))
    artists["histogram_title"].set_text(
        f"{int(view.counts.sum()):,} weights of fc{view.layer + 1}, and their {view.k} values"
    )


def _update_curves(
    artists: Mapping[str, Any],
    curves: Mapping[str, np.ndarray],
    band: np.ndarray,
    here: tuple[int, float],
    runs: list[tuple[Run, float]],
) -> None:
    """Move the lines of one plot over k; `runs` have the height of each run's diamond."""
    for name, line in artists["lines"].items():
        line.set_ydata(curves[name])
    artists["band"].set_data(BAND, band.min(0), band.max(0))
    artists["marker"].set_data([here[0]], [here[1]])
    for stopped, diamonds in enumerate(artists["runs"]):
        points = [(run.k, height) for run, height in runs if run.stopped == stopped]
        diamonds.set_data([k for k, _ in points], [height for _, height in points])

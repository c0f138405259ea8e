"""The figure of chapter 02's explorer: what a setting shows, drawn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from shrink.chapters.prune.view import BINS, CURVE, FORMATS, View
from shrink.classroom import plots
from shrink.classroom.explorers import legend, strip

SIZE = (6.4, 4.5)  # inches
DENSE, PRUNED, TUNED = (plots.COLOURS[name] for name in ("dense", "pruned", "fine-tuned"))
MORE = "dense, as many more steps"
LINES = {
    "pruned": {"color": PRUNED},
    "the other ranking": {"color": PRUNED, "ls": ":", "lw": 1},
    "dense": {"color": DENSE, "ls": "--"},
    MORE: {"color": TUNED, "ls": "-."},
}
RUNS = {  # by schedule, and whether they were stopped; the diamond on the square: both can be seen
    ("gradual", False): {"marker": "s", "ms": 8, "mec": "white"},
    ("one-shot", False): {"marker": "D", "ms": 6, "mec": "white"},
    ("gradual", True): {"marker": "s", "ms": 7, "mfc": "none"},
    ("one-shot", True): {"marker": "D", "ms": 6, "mfc": "none"},
}
RUNS = {kind: {"ls": "", "color": TUNED} | look for kind, look in RUNS.items()}


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    rows = figure.add_gridspec(2, 1, height_ratios=(4, 3))
    above = rows[0].subgridspec(1, 2, width_ratios=(7, 6)).subplots()
    below = rows[1].subgridspec(1, 3, width_ratios=(5, 8, 5)).subplots()
    return {
        "accuracy": _draw_accuracy(above[0]),
        "histogram": _draw_histogram(above[1], view),
        "layers": _draw_layers(below[0], view),
        "casualties": strip.draw(below[1]),
        "casualties_title": below[1].set_title("right before, wrong now"),
        "bytes": _draw_bytes(below[2], view),
    }


def _draw_accuracy(ax: Axes) -> dict[str, Any]:
    x = 100 * CURVE
    plots.accuracy_axis(ax)
    ax.set(xlabel="sparsity, %", xlim=(0, 100), ylabel="", title="accuracy on validation images, %")
    lines = {name: ax.plot(x, x, **look)[0] for name, look in LINES.items()}
    band = ax.fill_between(x, x, x, color=PRUNED, alpha=0.25, lw=0)
    runs = {
        kind: ax.plot([], [], clip_on=False, in_layout=False, **look)[0]
        for kind, look in RUNS.items()
    }
    (marker,) = ax.plot([], [], "o", color=PRUNED, ms=8, mec="white")
    looks = LINES | {named(*kind): look for kind, look in RUNS.items()}
    rows = legend.draw(ax, looks, left=0.05, top=0.62)
    return {"lines": lines, "band": band, "runs": runs, "marker": marker, "legend": rows}


def _draw_histogram(ax: Axes, view: View) -> dict[str, Any]:
    counts, edges = np.ones(BINS), np.linspace(-1, 1, BINS + 1)
    both = [
        ax.stairs(counts, edges, fill=True, color=colour, label=label)
        for colour, label in ((plots.ALL, "all"), (PRUNED, "kept"))
    ]
    lines = [
        ax.axvline(0, ymax=0.74, color=TUNED, lw=1, ls="--")
        for _ in range(2 * len(view.thresholds))
    ]
    lines[0].set_label("threshold")
    ax.set(yscale="log", ylim=(0.7, 2e5), xlim=(-1, 1), xlabel="weight, part of the largest")
    ax.set_xticks(ticks := [-1, -0.5, 0, 0.5, 1], [f"{tick:g}" for tick in ticks])
    ax.set_yticks(ticks := [1, 100, 10_000], [f"{tick:,}" for tick in ticks])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.legend(loc="upper right", labelspacing=0.2, borderaxespad=0, handlelength=1.4)
    return {"counts": both, "thresholds": lines, "title": ax.set_title("weights in each bin")}


def _draw_layers(ax: Axes, view: View) -> dict[str, Any]:
    names = list(view.kept)
    dots = [ax.plot([1], [i], "o", color=PRUNED, ms=7)[0] for i in range(len(names))]
    words = [ax.text(1, i - 0.2, "", va="bottom", ha="center") for i in range(len(names))]
    ax.set(xscale="log", xlim=(1e-4, 2), ylim=(len(names) - 0.6, -0.8), title="kept in each layer")
    ax.set_xticks([1e-4, 1e-2, 1], ["0.01 %", "1 %", "100 %"])
    ax.set_xticks([1e-3, 1e-1], ["", ""], minor=True)
    ax.grid(axis="x", color="#dddddd")
    ax.set_yticks(range(len(names)), [name.removesuffix(".weight") for name in names])
    ax.tick_params(axis="y", length=0)
    return {"dots": dots, "words": words}


def _draw_bytes(ax: Axes, view: View) -> dict[str, Any]:
    dense, places = view.file_bytes["dense"] / 1000, range(len(FORMATS))
    colours = [DENSE if name == "dense" else PRUNED for name in FORMATS]
    bars = ax.barh(places, 0, 0.7, color=colours)
    ax.axvline(dense, color=DENSE, ls="--", lw=0.8)
    ax.set(xlim=(0, 2.2 * dense), xticks=[])  # CSR has 6 bytes for a value's 4
    ax.set_yticks(places, list(FORMATS.values()))
    ax.tick_params(axis="y", length=0)
    ax.invert_yaxis()
    ax.spines[:].set_visible(False)
    words = [ax.text(0, i, "", va="center_baseline", bbox=plots.PAPER) for i in places]
    return {"bars": list(bars), "words": words, "title": ax.set_title("file in KB")}


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    _update_accuracy(artists["accuracy"], view)
    _update_histogram(artists["histogram"], view)
    layers = artists["layers"]
    for dot, words, kept in zip(layers["dots"], layers["words"], view.kept.values(), strict=True):
        dot.set_xdata([kept or np.nan])
        words.set(x=np.clip(kept, 1e-3, 0.3), text=f"{100 * kept:.3g} %" if kept else "empty")
        words.set_color("black" if kept else TUNED)
    strip.update(artists["casualties"], view.strip)
    artists["casualties_title"].set_text(
        f"right before, wrong now: {len(view.casualties):,}\n"
        f"(another seed, not pruned: {view.other_casualties:,})"
    )
    _update_bytes(artists["bytes"], view)


def _update_accuracy(artists: Mapping[str, Any], view: View) -> None:
    controls = [run.dense_accuracy for run in view.runs if np.isfinite(run.dense_accuracy)]
    heights = (
        100 * view.curve.mean(0),
        100 * view.other_curve,
        [100 * view.dense_accuracy] * len(CURVE),
        [100 * controls[-1] if controls else np.nan] * len(CURVE),
    )
    for line, height in zip(artists["lines"].values(), heights, strict=True):
        line.set_ydata(height)
    artists["band"].set_data(100 * CURVE, 100 * view.curve.min(0), 100 * view.curve.max(0))
    artists["marker"].set_data([100 * view.sparsity], [100 * view.accuracy])
    drawn = set(LINES) if controls else set(LINES) - {MORE}
    for kind, line in artists["runs"].items():
        runs = [run for run in view.runs if (run.schedule, run.stopped) == kind]
        line.set_data([100 * r.reached for r in runs], [100 * r.accuracy for r in runs])
        drawn |= {named(*kind) for _ in runs}
    legend.update(artists["legend"], drawn)


def named(schedule: str, stopped: bool) -> str:
    """How the legend names such runs."""
    return "stopped on the way" if stopped else f"fine-tuned, {schedule}"


def _update_histogram(artists: Mapping[str, Any], view: View) -> None:
    for stairs, counts in zip(artists["counts"], view.counts, strict=True):
        stairs.set_data(counts)
    for i, threshold in enumerate(view.thresholds):
        for line, sign in zip(artists["thresholds"][2 * i : 2 * i + 2], (-1, 1), strict=True):
            line.set_xdata([sign * threshold / view.edge] * 2)
    every, kept = (int(counts.sum()) for counts in view.counts)
    artists["title"].set_text(f"{kept:,} of {every:,} weights kept")


def _update_bytes(artists: Mapping[str, Any], view: View) -> None:
    for bar, words, size in zip(
        artists["bars"], artists["words"], view.file_bytes.values(), strict=True
    ):
        bar.set_width(size / 1000)
        words.set(x=1.03 * size / 1000, text=f"{size / 1000:,.0f}")

"""The figure of chapter 02's explorer: what a setting shows, drawn."""

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend_handler import HandlerTuple

from shrink.chapters.prune.view import BINS, CURVE, FORMATS, View
from shrink.classroom import plots
from shrink.classroom.explorers import strip

DENSE, PRUNED, TUNED = (plots.COLOURS[name] for name in ("dense", "pruned", "fine-tuned"))


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    rows = figure.add_gridspec(2, 1, height_ratios=(3, 2))
    above = rows[0].subgridspec(1, 3, width_ratios=(7, 7, 5)).subplots()
    below = rows[1].subgridspec(1, 4, width_ratios=(4, 6, 6, 4)).subplots()
    return {
        **_draw_accuracy(above[0]),
        **_draw_histogram(above[1], view),
        **_draw_layers(above[2], view),
        **_draw_pixels(below[0]),
        **_draw_casualties(below[1]),
        **_draw_changed(below[2]),
        **_draw_bytes(below[3], view),
    }


def _draw_accuracy(ax: Axes) -> dict[str, Any]:
    x = 100 * CURVE
    plots.accuracy_axis(ax)
    ax.set(xlabel="sparsity, %", xlim=(0, 100), title="accuracy on validation images")
    (mean,) = ax.plot(x, x, color=PRUNED, label="pruned, mean and range of seeds")
    (other,) = ax.plot(x, x, color=PRUNED, lw=0.8, ls=":", label="mean of the other ranking")
    dense = ax.axhline(50, color=DENSE, ls="--", label="dense")
    more = ax.axhline(50, color=TUNED, ls=":", label="dense, same extra steps")
    runs = [
        ax.plot([], [], shape, ms=size, color=TUNED, mfc=fill, mec=edge, label=label)[0]
        for shape, size, fill, edge, label in (  # the diamond on the square: both can be seen
            ("s", 8, TUNED, "white", "fine-tuned, gradual"),
            ("D", 6, TUNED, "white", "fine-tuned, one-shot"),
            ("s", 7, "none", TUNED, "_gradual, stopped"),
            ("D", 6, "none", TUNED, "_one-shot, stopped"),
        )
    ]
    lines, labels = ax.get_legend_handles_labels()
    ax.legend(
        [*lines, tuple(runs[2:])],
        [*labels, "stopped on the way"],
        handler_map={tuple: HandlerTuple(ndivide=None)},
        loc="lower left",
        fontsize="x-small",
    )
    band = ax.fill_between(x, x, x, color=PRUNED, alpha=0.25, lw=0)
    (marker,) = ax.plot([], [], "o", color=PRUNED, ms=8)
    return {
        "curve": [band, mean, other],
        "dense": dense,
        "more": more,
        "runs": runs,
        "marker": marker,
    }


def _draw_histogram(ax: Axes, view: View) -> dict[str, Any]:
    counts = np.ones(BINS)
    edges = np.linspace(-1, 1, BINS + 1)
    both = [
        ax.stairs(counts, edges, fill=True, color=colour, label=label)
        for colour, label in ((DENSE + "77", "all weights"), (PRUNED, "kept"))
    ]
    lines = [ax.axvline(0, color=TUNED, lw=1) for _ in range(2 * len(view.thresholds))]
    lines[0].set_label("threshold")
    ax.set(yscale="log", ylim=(0.7, 2e5), xlim=(-1, 1), title="weights and threshold")
    ax.set(xlabel="weight, relative to the largest", ylabel="weights in the bin")
    ax.legend(loc="upper right", fontsize="x-small")
    return {"histogram": both, "thresholds": lines}


def _draw_layers(ax: Axes, view: View) -> dict[str, Any]:
    names = list(view.kept)
    dots = [ax.plot([1], [i], "o", color=PRUNED, ms=8)[0] for i in range(len(names))]
    texts = [ax.text(1, i - 0.2, "", va="bottom", ha="center") for i in range(len(names))]
    ax.set(xscale="log", xlim=(1e-4, 2), ylim=(-0.6, len(names) - 0.5))
    ax.set(xlabel="kept, %, log scale", title="kept in each layer")
    ax.grid(axis="x", color="#dddddd")
    ax.set_xticks([1e-4, 1e-3, 1e-2, 1e-1, 1], ["0.01", "0.1", "1", "10", "100"])
    ax.set_yticks(range(len(names)), [name.removesuffix(".weight") for name in names])
    ax.invert_yaxis()
    return {"layers": dots, "layer_texts": texts}


def _draw_pixels(ax: Axes) -> dict[str, Any]:
    ax.set(xticks=[], yticks=[], title="pixels still seen")
    ax.set_xlabel("full ink: all 300")
    return {
        "pixels": ax.imshow(
            np.zeros((28, 28)), cmap="gray_r", vmin=0, vmax=1, interpolation="nearest"
        )
    }


def _draw_casualties(ax: Axes) -> dict[str, Any]:
    ax.set(title="right before, wrong now")
    return {"casualties": strip.draw(ax)}


def _draw_changed(ax: Axes) -> dict[str, Any]:
    digits = np.arange(10)
    bars = [
        ax.vlines(digits + shift, 0.1, 1, lw=7, color=colour, label=label)
        for shift, colour, label in (
            (-0.2, PRUNED, "pruned"),
            (0.2, DENSE, "another seed, dense"),
        )
    ]
    ax.set(yscale="log", ylim=(0.1, 400), xlabel="digit", title="answers that changed")
    ax.set_xticks(digits)
    ax.set_yticks([0.1, 1, 10, 100], ["0.1 %", "1 %", "10 %", "100 %"])
    ax.legend(loc="upper left", fontsize="x-small", ncols=2)
    return {"changed": bars}


def _draw_bytes(ax: Axes, view: View) -> dict[str, Any]:
    dense = view.file_bytes["dense"] / 1000
    places = range(len(FORMATS))
    bars = ax.bar(places, 0, color=[DENSE if name == "dense" else PRUNED for name in FORMATS])
    ax.axhline(dense, color=DENSE, ls="--", lw=0.8)
    ax.set(title="file, KB", ylim=(0, 1.75 * dense))  # CSR has 6 bytes for a value's 4
    ax.set_xticks(places, list(FORMATS.values()), fontsize="small")
    texts = [ax.text(i, 0, "", ha="center", va="bottom", fontsize="small") for i in places]
    return {"bytes": list(bars), "byte_texts": texts}


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    _update_accuracy(artists, view)
    for stairs, counts in zip(artists["histogram"], view.counts, strict=True):
        stairs.set_data(counts)
    for i, threshold in enumerate(view.thresholds):
        for line, sign in zip(artists["thresholds"][2 * i : 2 * i + 2], (-1, 1), strict=True):
            line.set_xdata([sign * threshold / view.edge] * 2)
    for dot, text, kept in zip(
        artists["layers"], artists["layer_texts"], view.kept.values(), strict=True
    ):
        dot.set_xdata([kept or np.nan])
        text.set_x(np.clip(kept, 4e-4, 0.6))
        text.set_text(f"{100 * kept:.3g} %" if kept else "empty")
        text.set_color(TUNED if kept == 0 else "black")
    artists["pixels"].set_data(view.pixels)
    strip.update(artists["casualties"], view.strip)
    for lines, percents, shift in zip(artists["changed"], view.changed, (-0.2, 0.2), strict=True):
        lines.set_segments([[(i + shift, 0.1), (i + shift, p)] for i, p in enumerate(percents)])
    for bar, text, size in zip(
        artists["bytes"], artists["byte_texts"], view.file_bytes.values(), strict=True
    ):
        bar.set_height(size / 1000)
        text.set_position((text.get_position()[0], size / 1000))
        text.set_text(f"{size / 1000:.0f}")


def _update_accuracy(artists: Mapping[str, Any], view: View) -> None:
    band, mean, other = artists["curve"]
    x = 100 * CURVE
    band.set_data(x, 100 * view.curve.min(0), 100 * view.curve.max(0))
    mean.set_ydata(100 * view.curve.mean(0))
    other.set_ydata(100 * view.other_curve)
    artists["dense"].set_ydata([100 * view.dense_accuracy] * 2)
    artists["marker"].set_data([100 * view.sparsity], [100 * view.accuracy])
    kinds = itertools.product((False, True), ("gradual", "one-shot"))
    for line, kind in zip(artists["runs"], kinds, strict=True):
        runs = [r for r in view.runs if (r.stopped, r.schedule) == kind]
        line.set_data([100 * r.reached for r in runs], [100 * r.accuracy for r in runs])
    controls = [r.dense_accuracy for r in view.runs if np.isfinite(r.dense_accuracy)]
    artists["more"].set_ydata([100 * controls[-1] if controls else np.nan] * 2)

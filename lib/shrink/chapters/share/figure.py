"""The figure of chapter 04's explorer: what a setting shows, drawn and said in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from shrink.classroom import plots

KS = np.arange(2, 65)
BAND = np.array([2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 40, 48, 64])  # of all seeds
BINS = 120
SHOWN = 10  # images whose answer changed, in two rows
CAPTION = 12  # pixels for the text under each
DENSE, SHARED, TUNED = (plots.COLOURS[name] for name in ("dense", "shared", "fine-tuned"))
OPTIMUM, RULER = "#000000", plots.COLOURS["quantized"]
GAPS = plots.COLOURS["pruned"]
SMALL, TINY = "small", "x-small"
ROWS = (
    ("on show", SHARED, 0.14, 0.4),
    ("optimum", OPTIMUM, 0.04, 0.115),
    ("ruler", RULER, 0.0115, 0.033),
)


@dataclass(frozen=True)
class Run:
    """A training of codebooks that the plot keeps; the accuracy is a fraction."""

    weights: str  # "dense" or "pruned"
    k: int
    init: str
    reduction: str
    mine: bool
    errors: tuple[float, ...]  # squared, as a part of the squared weights, a layer each
    before: float  # the accuracy before the training
    accuracy: float
    steps: int
    stopped: bool


@dataclass(frozen=True)
class View:
    """What the figure shows for one setting of the controls."""

    k: int
    init: str
    weights: str  # "dense" or "pruned"
    layer: int  # 0, 1 or 2, on show
    mine: bool  # whether the numbers and values are the student's
    counts: np.ndarray  # (BINS,) of the layer's weights that are not zero
    edge: float  # the largest magnitude: the histogram reaches from -edge to edge
    values: Mapping[str, np.ndarray]  # the codebook on show, the optimum's and the ruler's
    error: float  # squared, of the layer on show, as a part of its squared weights
    accuracy: float  # a fraction
    errors: Mapping[str, np.ndarray]  # (len(KS),) for the initialisation, the optimum, the ruler
    error_band: np.ndarray  # (seeds, len(BAND))
    accuracies: Mapping[str, np.ndarray]  # (len(KS),)
    band: np.ndarray  # (seeds, len(BAND))
    dense_accuracy: float  # before sharing
    images: int  # validation images that were asked
    bytes: tuple[int, int, int, int, int]  # float32, shared; of that numbers, codebooks, gaps
    changed: int  # answers
    other_changed: int  # by another seed
    strip: np.ndarray  # the first of those images as one picture, 0..1
    captions: tuple[str, ...]  # answer before and now
    runs: tuple[Run, ...]  # of these weights


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
        **_draw_bytes(last[0]),
        **_draw_changed(last[1]),
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


def _draw_curves(ax: Axes, band_label: str) -> dict[str, Any]:
    """The lines, the band and the markers that both plots over k have."""
    ones = np.ones(len(KS))
    (ruler,) = ax.plot(KS, ones, ":", color=RULER, label="ruler")
    (line,) = ax.plot(KS, ones, color=SHARED, label="k-means")
    (optimum,) = ax.plot(KS, ones, "--", color=OPTIMUM, lw=1, label="optimum")
    flat = np.ones(len(BAND))
    band = ax.fill_between(BAND, flat, flat, color=SHARED, alpha=0.25, lw=0, label=band_label)
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
    artists = _draw_curves(ax, "range of seeds")
    ax.set_yticks([1e-3, 1e-2, 1e-1, 1, 10], ["0.1 %", "1 %", "10 %", "100 %", "1000 %"])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.legend(loc="upper right", fontsize=TINY, ncols=2, columnspacing=1, borderaxespad=0)
    title = ax.set_title("squared error")
    return {"errors": artists, "error_title": title}


def _draw_accuracy(ax: Axes) -> dict[str, Any]:
    plots.accuracy_axis(ax)
    _over_k(ax)
    dense = ax.axhline(50, color=DENSE, ls="--", label="not shared")
    artists = _draw_curves(ax, "range of seeds")
    ax.set(ylabel="", title="accuracy on validation images, %")
    ax.legend(loc="lower right", fontsize=TINY, ncols=2, columnspacing=1, borderaxespad=0)
    return {"accuracy": artists, "dense": dense}


def _draw_bytes(ax: Axes) -> dict[str, Any]:
    ax.barh(0, 100, 0.6, color=DENSE)
    bars = [
        ax.barh(1, 0, 0.6, color=colour, hatch=hatch, ec="white", lw=0)[0]
        for colour, hatch in ((SHARED, ""), (TUNED, "xxx"), (GAPS, "///"), (DENSE, ""))
    ]
    texts = [
        ax.text(2, 0, "", va="center", color="white", fontsize=SMALL),
        ax.text(0, 1, "", va="center", fontsize=SMALL),
    ]
    ax.set(xlim=(0, 100), ylim=(1.45, -0.45), xticks=[])
    ax.set_yticks([0, 1], ["float32", "shared"])
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_visible(False)
    ax.set_title("bytes of the file", fontsize=SMALL)
    return {"bars": bars, "byte_texts": texts}


def _draw_changed(ax: Axes) -> dict[str, Any]:
    title = ax.set_title("answers", fontsize=SMALL)
    ax.set_axis_off()
    shape = (2 * (28 + CAPTION), 28 * SHOWN // 2)
    image = ax.imshow(np.zeros(shape), cmap="gray_r", vmin=0, vmax=1, interpolation="bilinear")
    texts = [
        ax.text(
            28 * (i % (SHOWN // 2)) + 14,
            (28 + CAPTION) * (i // (SHOWN // 2)) + 28 + CAPTION / 2,
            "",
            ha="center",
            va="center",
            fontsize=SMALL,
        )
        for i in range(SHOWN)
    ]
    return {"strip": image, "captions": texts, "changed_title": title}


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
    _update_bytes(artists, view)
    artists["strip"].set_data(view.strip)
    for i, text in enumerate(artists["captions"]):
        text.set_text(view.captions[i] if i < len(view.captions) else "")
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


def _update_bytes(artists: Mapping[str, Any], view: View) -> None:
    dense, shared, *parts = view.bytes
    left = 0.0
    for bar, part in zip(artists["bars"], (*parts, shared - sum(parts)), strict=True):
        bar.set_x(left)
        bar.set_width(100 * part / dense)
        left += 100 * part / dense
    artists["byte_texts"][0].set_text(f"{dense:,}")
    words = f"{shared:,}, {parts[1]:,} of codebooks"
    artists["byte_texts"][1].set(x=left + 2, text=words)


def summarise(view: View) -> str:
    """The numbers of the view in words."""
    here = int(np.flatnonzero(view.k == KS)[0])
    layer = f"fc{view.layer + 1}"
    zeros = " and 0" if view.weights == "pruned" else ""
    sentences = [
        f"<b>{view.k} values{zeros}</b> a layer, k-means from {view.init}, {view.weights} weights: "
        f"<b>{100 * view.accuracy:.2f} %</b> right of {view.images:,} validation images, not "
        f"shared {100 * view.dense_accuracy:.2f} %; the optimum "
        f"{100 * view.accuracies['optimum'][here]:.2f} %, the ruler "
        f"{100 * view.accuracies['ruler'][here]:.2f} %.",
        f"Answers that changed: {view.changed:,}; by another seed: {view.other_changed:,}.",
    ]
    if view.mine:
        sentences.insert(0, "<b>Your assign and update</b>, one step from where k-means ended.")
    dense, shared, numbers, codebooks, gaps = view.bytes
    of_gaps = f", {gaps:,} of gaps" if gaps else ""
    more = [
        f"Squared error of {layer}, as a part of its squared weights: {_percent(view.error)}, the "
        f"optimum {_percent(view.errors['optimum'][here])}, the ruler "
        f"{_percent(view.errors['ruler'][here])}.",
        f"The file has {shared:,} bytes, not {dense:,}: {numbers:,} of numbers, {codebooks:,} of "
        f"codebooks{of_gaps}, and biases and names.",
    ]
    paragraphs = [" ".join(sentences), " ".join(more)]
    if view.runs:
        paragraphs.insert(0, _summarise_run(view.runs[-1], layer, view.layer))
    return "<br>".join(paragraphs)


def _percent(part: float) -> str:
    return f"{100 * part:.3g} %"


def _summarise_run(run: Run, layer: str, number: int) -> str:
    whose = ", your values" if run.mine else ""
    return (
        f"<b>Codebooks trained</b>: {run.k} values, from {run.init}, {run.weights} weights{whose}, "
        f"gradients {run.reduction}, {run.steps:,} steps{', stopped' if run.stopped else ''}: "
        f"<b>{100 * run.accuracy:.2f} %</b>, before {100 * run.before:.2f} %; squared error of "
        f"{layer} now {_percent(run.errors[number])}. The figure shows the network before."
    )

"""The figure of chapter 03's explorer: what a setting shows, drawn."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import (
    FormatStrFormatter,
    FuncFormatter,
    LinearLocator,
    MaxNLocator,
    NullLocator,
)

from shrink.chapters.quantize.view import BINS, BITS, CLIPS, View, number
from shrink.classroom import plots
from shrink.classroom.explorers import bars, legend, strip

SIZE = (6.4, 4.5)  # inches
TICKS = 1000  # levels that are drawn at most: a quantizer that does not round leaves many more
DENSE, QUANTIZED = plots.COLOURS["dense"], plots.COLOURS["quantized"]
CLIPPING, ROUNDING = plots.COLOURS["fine-tuned"], plots.COLOURS["distilled"]
PART = plots.COLOURS["pruned"]  # the part of the numbers whose levels are shown
BYTES = ((QUANTIZED, ""), (PART, "xxx"))  # colours and hatches: integers, scales
SWATCH = {"lw": 6, "solid_capstyle": "butt"}
LOOKS = {
    "all": {"color": plots.ALL, **SWATCH},
    "levels": {"color": QUANTIZED, "marker": "|", "ms": 9, "mew": 1.5, "ls": ""},
    "part": {"color": PART, **SWATCH},
    "clipped": {"color": CLIPPING, "alpha": 0.25, **SWATCH},
}
COLUMNS = 2  # of the legend of all that
PAD = 15 * plots.SCALE  # points between axes and their title, where a legend stands


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    rows = figure.add_gridspec(2, 1)
    above = rows[0].subgridspec(1, 2, width_ratios=(8, 7)).subplots()
    below = rows[1].subgridspec(1, 2, width_ratios=(8, 7))
    last = below[1].subgridspec(2, 1, height_ratios=(2, 4))
    parts, answers = (figure.add_subplot(cell.subgridspec(1, 1)[0]) for cell in last)
    return {
        "line": _draw_line(above[0]),
        "errors": _draw_errors(above[1]),
        "accuracy": _draw_accuracy(figure.add_subplot(below[0])),
        "bytes": bars.draw(parts, ("float32", "8 bits"), BYTES, "bytes"),
        "changed": strip.draw(answers),
        "changed_title": answers.set_title("answers"),
    }


def _draw_line(ax: Axes) -> dict[str, Any]:
    ones, edges = np.ones(BINS), np.linspace(-1, 1, BINS + 1)
    counts = [
        ax.stairs(ones, edges, baseline=0.5, fill=True, color=colour)
        for colour in (plots.ALL, PART)
    ]
    clipped = [ax.axvspan(0, 0, color=CLIPPING, alpha=0.25, lw=0) for _ in range(2)]
    levels = ax.add_collection(LineCollection([], colors=QUANTIZED))
    ax.axhline(0.5, color="black", lw=0.8)
    ax.set(yscale="log", ylim=(0.05, 3e6), ylabel="numbers in the bin")
    ax.set_yticks([1, 100, 10_000], ["1", "100", "10,000"])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FormatStrFormatter("%.3g"))
    return {
        "counts": counts,
        "clipped": clipped,
        "levels": levels,
        "axis": ax.xaxis,
        "legend": legend.draw(ax, LOOKS, 0, 1.06, COLUMNS),
        "title": ax.set_title("weights and levels", pad=PAD),
    }


def _draw_errors(ax: Axes) -> dict[str, Any]:
    x = 100 * CLIPS
    areas = [
        ax.fill_between(x, x, x, fc=colour, hatch=hatch, ec="white", lw=0, label=label)
        for colour, hatch, label in ((ROUNDING, "", "rounding"), (CLIPPING, "///", "clipping"))
    ]
    (least,) = ax.plot([], [], "v", color="black", ms=7, mec="white", label="least")
    (now,) = ax.plot([], [], "o", color=QUANTIZED, ms=8, mec="white")
    (line,) = ax.plot([], [], color=QUANTIZED, lw=1)
    ax.set(xscale="log", xlim=(0.3, 112), xlabel="clip, % of the largest magnitude")
    ticks = ("0.3", "1", "3", "10", "30", "100")
    ax.set_xticks([float(tick) for tick in ticks], ticks)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(LinearLocator(3))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    ax.set_ylim(0, 200_000)  # the numbers' room
    _legend_above(ax)
    title = ax.set_title("squared error", pad=PAD)
    return {"areas": areas, "least": least, "now": [line, now], "axis": ax.yaxis, "title": title}


def _legend_above(ax: Axes) -> None:
    """A legend in a row between the axes and their title."""
    ax.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 0.98),
        ncols=3,
        borderaxespad=0,
        columnspacing=0.9,
        handlelength=1.4,
        handletextpad=0.4,
    ).set_in_layout(False)


def _draw_accuracy(ax: Axes) -> dict[str, Any]:
    plots.accuracy_axis(ax)
    ax.set(xticks=BITS, xlabel="bits", ylabel="")
    dense = ax.axhline(50, color=DENSE, ls="--", label="float32")
    (line,) = ax.plot(BITS, BITS, "o-", color=QUANTIZED, ms=3, label="quantized")
    band = ax.fill_between(BITS, BITS, BITS, color=QUANTIZED, alpha=0.25, lw=0, label="undisturbed")
    (marker,) = ax.plot([], [], "o", color=QUANTIZED, ms=8, mec="white")
    _legend_above(ax)
    title = ax.set_title("accuracy", pad=PAD)
    return {"band": band, "dense": dense, "line": line, "marker": marker, "title": title}


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    _update_line(artists["line"], view)
    _update_errors(artists["errors"], view)
    _update_accuracy(artists["accuracy"], view)
    _update_bytes(artists["bytes"], view)
    strip.update(artists["changed"], view.strip)
    artists["changed_title"].set_text(
        f"answers changed: {view.changed:,} (another seed: {view.other_changed:,})"
    )


def _update_line(artists: Mapping[str, Any], view: View) -> None:
    shown, span, levels = view.histogram, view.point.span, view.point.levels
    for stairs, counts in zip(artists["counts"], shown.counts, strict=True):
        stairs.set_data(np.maximum(counts, 0.5), shown.edges)
    artists["counts"][1].set_visible(bool(shown.part))
    lefts, rights = (shown.ends[0], span[1]), (span[0], shown.ends[1])
    for area, left, right in zip(artists["clipped"], lefts, rights, strict=True):
        area.set_x(left)
        area.set_width(max(right - left, 0))
    drawn = levels[:: -(-len(levels) // TICKS)]
    artists["levels"].set_segments([[(x, 0.065), (x, 0.4)] for x in drawn])
    artists["levels"].set_linewidth(plots.SCALE * max(0.6, min(2, 60 / len(levels))))
    ax = artists["axis"].axes
    low, high = min(shown.edges[0], levels.min()), max(shown.edges[-1], levels.max())
    room = 0.03 * (high - low)
    ax.set_xlim(low - room, high + room)
    clips = any(area.get_width() > 0 for area in artists["clipped"])
    there = {"part": bool(shown.part), "clipped": clips}
    legend.update(artists["legend"], [n for n in LOOKS if there.get(n, True)], COLUMNS)
    artists["legend"]["part"][1].set_text(shown.part)
    numbers = "weights of fc1" if view.setting.what == "weights" else "activations after fc1"
    artists["title"].set_text(f"{numbers}, in {len(levels):,} levels")


def _update_errors(artists: Mapping[str, Any], view: View) -> None:
    point, (clipping, rounding) = view.point, view.curve
    total, x = clipping + rounding, 100 * CLIPS
    least = int(total.argmin())
    now = point.error
    top = _round_up(max(1.15 * now, min(max(3 * total[least], 1.6 * now), 1.15 * total.max())))
    artists["areas"][0].set_data(x, 0 * x, rounding)
    artists["areas"][1].set_data(x, rounding, total)
    artists["least"].set_data([x[least]], [total[least] + 0.05 * top])
    line, marker = artists["now"]
    line.set_data([100 * point.reach] * 2, [0, now])
    marker.set_data([100 * point.reach], [now])
    artists["axis"].axes.set_ylim(0, top)
    artists["title"].set_text(f"squared error: {number(now)}")


def _update_accuracy(artists: Mapping[str, Any], view: View) -> None:
    here = 100 * view.accuracies[BITS.index(view.bits)]
    artists["line"].set_ydata(100 * view.accuracies)
    artists["marker"].set_data([view.bits], [here])
    artists["band"].set_data(BITS, 100 * view.band.min(0), 100 * view.band.max(0))
    artists["dense"].set_ydata([100 * view.dense_accuracy] * 2)
    artists["title"].set_text(f"accuracy: {here:.1f} % in {view.bits} bits")


def _round_up(value: float) -> float:
    """The least 1, 2 or 5 times a power of ten that is not below the value, 1 of nothing.

    >>> _round_up(0.3), _round_up(7), _round_up(0)
    (0.5, 10.0, 1.0)
    """
    if not value > 0:
        return 1.0
    power = math.floor(math.log10(value))
    return next(s for m in (1, 2, 5, 10, 20) if (s := float(f"{m}e{power}")) >= value)


def _update_bytes(artists: Mapping[str, Any], view: View) -> None:
    dense, quantized, integers, scales = view.bytes
    words = f"{quantized:,}" + f", {scales:,} of scales" * (scales > 0.01 * quantized)
    bars.update(artists, dense, quantized, (integers, scales), words)
    artists["axis"].set_ticklabels(["float32", f"{view.bits} bits"])
    weights = view.setting.what == "weights"
    artists["title"].set_text("bytes of the file" if weights else "bytes of an image's activations")

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
from shrink.classroom.explorers import bars, strip

TICKS = 1000  # levels that are drawn at most: a quantizer that does not round leaves many more
PER_BIT = 20 * math.log10(2)  # dB
DENSE, QUANTIZED = plots.COLOURS["dense"], plots.COLOURS["quantized"]
CLIPPING, ROUNDING = plots.COLOURS["fine-tuned"], plots.COLOURS["distilled"]
PART = plots.COLOURS["pruned"]  # the part of the numbers whose levels are shown
PARTS = ((QUANTIZED, ""), (PART, "xxx"))  # colours and hatches of the bytes
SMALL, TINY = "small", "x-small"


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    rows = figure.add_gridspec(2, 1, height_ratios=(1, 1))
    above = rows[0].subgridspec(1, 2, width_ratios=(11, 8)).subplots()
    below = rows[1].subgridspec(1, 3, width_ratios=(6, 7, 6))
    last = below[2].subgridspec(2, 1, height_ratios=(2, 5)).subplots()
    return {
        **_draw_line(above[0]),
        **_draw_errors(above[1]),
        **_draw_noise(figure.add_subplot(below[0])),
        **_draw_accuracy(figure.add_subplot(below[1])),
        "bytes": bars.draw(last[0], ("float32", "8 bits"), PARTS, "bytes"),
        "changed": strip.draw(last[1]),
        "changed_title": last[1].set_title("answers", fontsize=SMALL),
    }


def _draw_line(ax: Axes) -> dict[str, Any]:
    ones, edges = np.ones(BINS), np.linspace(-1, 1, BINS + 1)
    counts = [
        ax.stairs(ones, edges, baseline=0.5, fill=True, color=colour, label=label)
        for colour, label in ((DENSE + "88", "all numbers"), (PART, "the part in the title"))
    ]
    clipped = [
        ax.axvspan(0, 0, ymax=0.9, color=CLIPPING, alpha=0.25, lw=0, label=label)
        for label in ("clipped", "_clipped")
    ]
    levels = ax.add_collection(LineCollection([], colors=QUANTIZED, label="levels"))
    ax.axhline(0.5, color="black", lw=0.8)
    ax.set(yscale="log", ylim=(0.06, 4e6), ylabel="numbers in the bin")
    ax.set_yticks([1, 1e2, 1e4])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.xaxis.set_major_locator(MaxNLocator(8, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FormatStrFormatter("%.3g"))
    ax.legend(loc="upper left", fontsize=TINY, ncols=4, columnspacing=1, borderaxespad=0)
    title = ax.set_title("weights and levels")
    return {
        "counts": counts,
        "clipped": clipped,
        "levels": levels,
        "line_axis": ax.xaxis,
        "line_title": title,
    }


def _draw_errors(ax: Axes) -> dict[str, Any]:
    x = 100 * CLIPS
    areas = [
        ax.fill_between(x, x, x, color=colour, hatch=hatch, ec="white", lw=0, label=label)
        for colour, hatch, label in ((ROUNDING, "", "rounding"), (CLIPPING, "///", "clipping"))
    ]
    (least,) = ax.plot([], [], "v", color="black", ms=7, mec="white", label="least")
    (now,) = ax.plot([], [], "o", color=QUANTIZED, ms=8, mec="white", label="now")
    (line,) = ax.plot([], [], color=QUANTIZED, lw=1)
    ax.set(xscale="log", xlim=(0.3, 112), ylim=(0, 1), ylabel="sum of squared errors")
    ax.set(xlabel="clip, % of the largest magnitude, log scale", title="squared error")
    ticks = ("0.3", "1", "3", "10", "30", "100")
    ax.set_xticks([float(tick) for tick in ticks], ticks)
    ax.xaxis.set_minor_locator(NullLocator())
    ax.yaxis.set_major_locator(LinearLocator(3))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))
    ax.set_ylim(0, 200_000)  # the numbers' room
    _legend_beside_title(ax, 4)
    return {"areas": areas, "least": least, "now": [line, now], "error_axis": ax.yaxis}


def _legend_beside_title(ax: Axes, columns: int) -> None:
    ax.legend(
        loc="lower right",
        bbox_to_anchor=(1.02, 0.99),
        ncols=columns,
        fontsize=TINY,
        borderaxespad=0,
        columnspacing=1,
        handlelength=1.6,
    )


def _draw_noise(ax: Axes) -> dict[str, Any]:
    (slope,) = ax.plot(BITS, BITS, ":", color=DENSE, label="6.02 dB a bit")
    (line,) = ax.plot(BITS, BITS, "o-", color=QUANTIZED, ms=3, label="measured")
    (marker,) = ax.plot([], [], "o", color=QUANTIZED, ms=8, mec="white")
    ax.axhline(0, color="#dddddd", lw=0.8, zorder=0)
    ax.set(xticks=BITS, xlabel="bits", ylim=(-12, 62), title="signal to noise, dB")
    ax.legend(loc="upper left", fontsize=TINY)
    return {"noise": [slope, line, marker]}


def _draw_accuracy(ax: Axes) -> dict[str, Any]:
    plots.accuracy_axis(ax)
    ax.set(xticks=BITS, xlabel="bits", ylabel="", title="accuracy, %")
    dense = ax.axhline(50, color=DENSE, ls="--", label="float32")
    (line,) = ax.plot(BITS, BITS, "o-", color=QUANTIZED, ms=3, label="quantized")
    band = ax.fill_between(BITS, BITS, BITS, color=QUANTIZED, alpha=0.25, lw=0, label="undisturbed")
    (marker,) = ax.plot([], [], "o", color=QUANTIZED, ms=8, mec="white")
    _legend_beside_title(ax, 3)
    return {"band": band, "dense": dense, "accuracy": [line, marker]}


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    _update_line(artists, view)
    _update_errors(artists, view)
    here = BITS.index(view.bits)
    slope, line, marker = artists["noise"]
    slope.set_ydata(view.snrs[-1] + PER_BIT * (np.array(BITS) - BITS[-1]))
    line.set_ydata(view.snrs)
    marker.set_data([view.bits], [view.snrs[here]])
    line, marker = artists["accuracy"]
    line.set_ydata(100 * view.accuracies)
    marker.set_data([view.bits], [100 * view.accuracies[here]])
    artists["band"].set_data(BITS, 100 * view.band.min(0), 100 * view.band.max(0))
    artists["dense"].set_ydata([100 * view.dense_accuracy] * 2)
    _update_bytes(artists["bytes"], view)
    strip.update(artists["changed"], view.strip)
    artists["changed_title"].set_text(
        f"answers changed: {view.changed:,}, by another seed: {view.other_changed:,}"
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
    artists["levels"].set_segments([[(x, 0.075), (x, 0.4)] for x in drawn])
    artists["levels"].set_linewidth(plots.SCALE * max(0.6, min(2, 60 / len(levels))))
    ax = artists["line_axis"].axes
    low, high = min(shown.edges[0], levels.min()), max(shown.edges[-1], levels.max())
    room = 0.03 * (high - low)
    ax.set_xlim(low - room, high + room)
    weights = view.setting.what == "weights"
    numbers = "weights of fc1" if weights else "activations between fc1 and fc2"
    whose = f" of {shown.part}, the median range" if shown.part else ""
    artists["line_title"].set_text(f"{numbers}, and the {len(levels):,} levels{whose}")


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
    artists["error_axis"].axes.set_ylim(0, top)


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

"""The figure of chapter 03's explorer: what a setting shows, drawn and said in words."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
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

from shrink.classroom import plots

BITS = tuple(range(2, 9))
CLIPS = np.geomspace(0.003, 1, 30)  # of the largest magnitude
TICKS = 1000  # levels that are drawn at most: a quantizer that does not round leaves many more
DYNAMIC = "dynamic"
BINS = 120
SHOWN = 10  # images whose answer changed, in two rows
CAPTION = 12  # pixels for the text under each
PER_BIT = 20 * math.log10(2)  # dB
DENSE, QUANTIZED = plots.COLOURS["dense"], plots.COLOURS["quantized"]
CLIPPING, ROUNDING = plots.COLOURS["fine-tuned"], plots.COLOURS["distilled"]
PART = plots.COLOURS["pruned"]  # the part of the numbers whose levels are shown
SMALL, TINY = "small", "x-small"


@dataclass(frozen=True)
class View:
    """What the figure shows for one setting of the controls."""

    bits: int
    what: str  # "weights" or "activations"
    symmetric: bool
    by: str  # the weights' granularity, or how the activations are calibrated
    outlier: float
    percentile: float
    mine: bool  # whether scale, zero point and integers are the student's
    edges: np.ndarray  # (BINS + 1,)
    counts: np.ndarray  # (2, BINS): all numbers, and the part whose levels are shown
    part: str  # its name, or "" where one range is for all
    ends: tuple[float, float]  # its least and its largest number
    span: tuple[float, float]  # its range
    levels: np.ndarray  # the numbers that its integers stand for
    clipping: float  # squared error, summed over all numbers
    rounding: float
    reach: float  # the range as a part of the largest magnitude; of several ranges the median
    curve: np.ndarray  # (2, len(CLIPS)): clipping and rounding
    snrs: np.ndarray  # (len(BITS),), dB
    accuracies: np.ndarray  # (len(BITS),), fractions
    band: np.ndarray  # (seeds, len(BITS)), fractions, where nothing is disturbed
    dense_accuracy: float  # in float32, with the same outlier among the weights
    images: int  # validation images that were asked
    bytes: tuple[int, int, int, int]  # float32, quantized; of that integers, and scales
    changed: int  # answers
    other_changed: int  # by another seed
    strip: np.ndarray  # the first of those images as one picture, 0..1
    captions: tuple[str, ...]  # answer in float32 and now


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
        **_draw_bytes(last[0]),
        **_draw_changed(last[1]),
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
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _number(value)))
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


def _draw_bytes(ax: Axes) -> dict[str, Any]:
    names = ("float32", "8 bits")
    ax.barh(0, 100, 0.6, color=DENSE)
    bars = [
        ax.barh(1, 0, 0.6, color=colour, hatch=hatch, ec="white", lw=0)[0]
        for colour, hatch in ((QUANTIZED, ""), (PART, "xxx"), (DENSE, ""))
    ]
    texts = [
        ax.text(2, 0, "", va="center", color="white", fontsize=SMALL),
        ax.text(0, 1, "", va="center", fontsize=SMALL),
    ]
    ax.set(xlim=(0, 100), ylim=(1.45, -0.45), xticks=[])
    ax.set_yticks([0, 1], names)
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_visible(False)
    title = ax.set_title("bytes", fontsize=SMALL)
    return {"bars": bars, "byte_texts": texts, "byte_title": title, "byte_names": ax.yaxis}


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
    _update_bytes(artists, view)
    artists["strip"].set_data(view.strip)
    for i, text in enumerate(artists["captions"]):
        text.set_text(view.captions[i] if i < len(view.captions) else "")
    artists["changed_title"].set_text(
        f"answers changed: {view.changed:,}, by another seed: {view.other_changed:,}"
    )


def _update_line(artists: Mapping[str, Any], view: View) -> None:
    for stairs, counts in zip(artists["counts"], view.counts, strict=True):
        stairs.set_data(np.maximum(counts, 0.5), view.edges)
    artists["counts"][1].set_visible(bool(view.part))
    lefts, rights = (view.ends[0], view.span[1]), (view.span[0], view.ends[1])
    for span, left, right in zip(artists["clipped"], lefts, rights, strict=True):
        span.set_x(left)
        span.set_width(max(right - left, 0))
    levels = view.levels
    drawn = levels[:: -(-len(levels) // TICKS)]
    artists["levels"].set_segments([[(x, 0.075), (x, 0.4)] for x in drawn])
    artists["levels"].set_linewidth(plots.SCALE * max(0.6, min(2, 60 / len(levels))))
    ax = artists["line_axis"].axes
    low, high = min(view.edges[0], levels.min()), max(view.edges[-1], levels.max())
    room = 0.03 * (high - low)
    ax.set_xlim(low - room, high + room)
    numbers = "weights of fc1" if view.what == "weights" else "activations between fc1 and fc2"
    whose = f" of {view.part}, the median range" if view.part else ""
    artists["line_title"].set_text(f"{numbers}, and the {len(levels):,} levels{whose}")


def _update_errors(artists: Mapping[str, Any], view: View) -> None:
    clipping, rounding = view.curve
    total, x = clipping + rounding, 100 * CLIPS
    least = int(total.argmin())
    now = view.clipping + view.rounding
    top = _round_up(max(1.15 * now, min(max(3 * total[least], 1.6 * now), 1.15 * total.max())))
    artists["areas"][0].set_data(x, 0 * x, rounding)
    artists["areas"][1].set_data(x, rounding, total)
    artists["least"].set_data([x[least]], [total[least] + 0.05 * top])
    line, point = artists["now"]
    line.set_data([100 * view.reach] * 2, [0, now])
    point.set_data([100 * view.reach], [now])
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
    left = 0.0
    for bar, part in zip(
        artists["bars"], (integers, scales, quantized - integers - scales), strict=True
    ):
        bar.set_x(left)
        bar.set_width(100 * part / dense)
        left += 100 * part / dense
    artists["byte_texts"][0].set_text(f"{dense:,}")
    words = f"{quantized:,}" + f", {scales:,} of scales" * (scales > 0.01 * quantized)
    artists["byte_texts"][1].set(x=left + 2, text=words)
    artists["byte_names"].set_ticklabels(["float32", f"{view.bits} bits"])
    artists["byte_title"].set_text(
        "bytes of the file" if view.what == "weights" else "bytes of an image's activations"
    )


def summarise(view: View) -> str:
    """The numbers of the view in words."""
    here = BITS.index(view.bits)
    band = 100 * view.band[:, here]
    kind = "symmetric" if view.symmetric else "asymmetric"
    sentences = [
        f"<b>{view.what.capitalize()}</b> in {view.bits} bits, {kind}, {_how(view)}: "
        f"<b>{100 * view.accuracies[here]:.1f} %</b> right of {view.images:,} validation images, "
        f"in float32 {100 * view.dense_accuracy:.1f} %, {len(band)} seeds undisturbed "
        f"{band.min():.1f} to {band.max():.1f} %.",
        f"Answers that changed: {view.changed:,}; by another seed: {view.other_changed:,}.",
    ]
    if view.mine:
        sentences.insert(0, "<b>Your scale_and_zero_point and quantize.</b>")
    least = view.curve.sum(0)
    whose = "fc1's weights" if view.what == "weights" else "what fc1 gives on calibration images"
    shown = [
        f"Of {whose}: squared error {_number(view.clipping + view.rounding)}, clipping "
        f"{_number(view.clipping)} and rounding {_number(view.rounding)}; a clip at "
        f"{100 * CLIPS[least.argmin()]:.0f} % of the largest magnitude would have "
        f"{_number(least.min())}. Signal to noise {view.snrs[here]:.1f} dB"
        f"{', the outlier left out' * (view.outlier > 1)}.",
        _summarise_bytes(view),
    ]
    return "<br>".join([" ".join(sentences), " ".join(shown), *_notes(view)])


def _how(view: View) -> str:
    if view.what == "activations":
        words = "each batch by its own range" if view.by == DYNAMIC else f"calibrated by {view.by}"
    else:
        words = f"a scale per {view.by}"
    if view.percentile < 100:
        words += f", clipped at the {view.percentile:g}th percentile"
    if view.outlier > 1:
        one = (
            "one weight of fc1" if view.what == "weights" else "one calibration activation a layer"
        )
        words += f", {one} made {view.outlier:g} times as large"
    return words


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _summarise_bytes(view: View) -> str:
    dense, quantized, _, scales = view.bytes
    if view.what == "activations":
        return f"The layers' inputs take {quantized:,} bytes an image, not {dense:,}."
    of_scales = f", {scales:,} of them scales and zero points" if scales else ""
    return f"The file has {quantized:,} bytes{of_scales}, not {dense:,}."


def _notes(view: View) -> list[str]:
    """What some controls have no say in."""
    if view.what == "weights":
        return ["The activations stay floats; weights need no calibration."]
    if view.by == DYNAMIC:
        why = "nothing is calibrated, so no outlier among calibration images, and no clip"
    elif view.by == "percentile":
        return ["The weights stay floats."]
    else:
        why = "the clip is for the percentile alone"
    return [f"The weights stay floats; {why}."]

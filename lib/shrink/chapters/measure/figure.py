"""The figure of chapter 01's explorer: what a network costs, estimated, measured and counted.

What is measured is black, what is estimated is in colour.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import FormatStrFormatter, LinearLocator, NullLocator

from shrink.chapters.measure.view import BATCHES, KB, MEMORIES, MICRO, View, number, share
from shrink.classroom import plots

LAYERS = 4  # at most
# Colour (memory is blue, the dearer the darker), hatch in the bars, marker and line of the curves.
PARTS = {
    "arithmetic": ("#D55E00", "///", "^", "-."),
    "SRAM": ("#56B4E9", "...", "s", "--"),
    "DRAM": ("#0072B2", "", "o", "-"),
}
TOTAL = plots.COLOURS["quantized"]  # green: of the palette, what is left
SHAPES = "osD^"  # of the layers' points
SMALL, TINY = "small", "x-small"


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    above, below = figure.subplots(2, 2, gridspec_kw={"width_ratios": (11, 10)})
    return {
        **_draw_energy(above[0]),
        **_draw_curve(above[1]),
        **_draw_roofline(below[0], view),
        **_draw_bytes(below[1]),
    }


def _draw_energy(ax: Axes) -> dict[str, Any]:
    bars = [
        ax.add_patch(PathPatch(_boxes([0], [0], [1]), fc=colour, hatch=h, ec="white", lw=0))
        for colour, h, *_ in PARTS.values()
    ]
    ax.set(title="energy of an image, estimate", ylabel="µJ", ylim=(0, 500))
    ax.yaxis.set_major_locator(LinearLocator(3))
    ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    slots = range(LAYERS + 1)
    ax.set_xticks(slots, [" "] * len(slots))  # the names' room
    ax.tick_params(axis="x", length=0)
    _legend_beside_title(ax, bars, list(PARTS))
    across = ax.get_xaxis_transform()
    names = [ax.text(i, -0.04, "", transform=across, ha="center", va="top") for i in slots]
    totals = [ax.text(i, 0, "", ha="center", va="bottom", fontsize=SMALL) for i in slots]
    return {"bars": bars, "names": names, "totals": totals, "scale": ax.yaxis}


def _boxes(places: Sequence[float], below: Sequence[float], above: Sequence[float]) -> Path:
    """Bars in one path, which is drawn much faster than a patch each."""
    corners = [
        [(x - 0.3, y0), (x + 0.3, y0), (x + 0.3, y1), (x - 0.3, y1), (x - 0.3, y0)]
        for x, y0, y1 in zip(places, below, above, strict=True)
    ]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return Path(np.reshape(corners, (-1, 2)), codes * len(corners))


def _legend_beside_title(ax: Axes, handles: list, labels: list[str]) -> None:
    ax.legend(
        handles,
        labels,
        loc="lower right",
        bbox_to_anchor=(1.02, 0.99),
        ncols=len(labels),
        fontsize=TINY,
        borderaxespad=0,
        columnspacing=1,
        handlelength=1.6,
    )


def _draw_curve(ax: Axes) -> dict[str, Any]:
    lines, marks = [], []
    for part, (colour, _, marker, dashes) in {**PARTS, "total": (TOTAL, "", "", ":")}.items():
        (line,) = ax.plot(MEMORIES, MEMORIES, dashes, color=colour)
        (mark,) = ax.plot([], [], marker or "D", color=colour, ms=6, mec="white")
        ax.plot([], [], dashes, marker=marker or "D", color=colour, label=part, mec="white")
        lines.append(line)
        marks.append(mark)
    now = ax.axvline(64, ymax=0.9, color=plots.COLOURS["dense"], lw=1)
    _log(ax.xaxis, [8, 32, 128, 512, 2048])
    _log(ax.yaxis, [0.01, 0.1, 1, 10, 100, 1000])
    ax.set(xlim=(7, 4700), ylim=(0.01, 3000), ylabel="µJ, log scale")
    ax.set(xlabel="memory on chip, KB", title="the same over the memory on chip, estimate")
    ax.legend(loc="upper right", fontsize=TINY, ncols=4, columnspacing=1, borderaxespad=0)
    return {"curve": lines, "marks": marks, "now": now}


def _draw_roofline(ax: Axes, view: View) -> dict[str, Any]:
    ax.set(xscale="log", yscale="log", xlim=(0.2, 400), ylim=_reach(view))
    ax.set(xlabel="operations a byte", ylabel="10⁹ operations a second")
    ax.set_title("roofline, measured here in float32")
    _log(ax.xaxis, [1, 10, 100])
    ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.yaxis.set_minor_locator(NullLocator())
    roofs = [
        ax.plot([], [], dashes, color="black", lw=width * plots.SCALE, label=label)[0]
        for dashes, width, label in (
            ("-", 1.5, "arithmetic"),
            ("--", 1.5, "memory"),
            (":", 1.2, "cache"),
        )
    ]
    ax.legend(loc="lower right", fontsize=TINY, title="roofs", title_fontsize=TINY)
    grey = plots.COLOURS["dense"]
    faint = [ax.plot([], [], s, ls="-", lw=0.6, ms=3, color=grey, alpha=0.5)[0] for s in SHAPES]
    strong = [ax.plot([], [], s, color="black", ms=7, mec="white")[0] for s in SHAPES]
    paper = {"fc": "white", "ec": "none", "pad": 0.5, "alpha": 0.8}
    labels = [ax.text(1, 1, "", va="top", fontsize=SMALL, bbox=paper) for _ in SHAPES]
    return {"roofs": roofs, "faint": faint, "strong": strong, "labels": labels}


def _reach(view: View) -> tuple[float, float]:
    """From well below what was measured to well above: the next measurement gets in too."""
    rates = np.array([points[1] for points in view.points.values()])
    return rates.min() / 1e11, 20 * max(view.roofs.flops, rates.max()) / 1e9


def _draw_bytes(ax: Axes) -> dict[str, Any]:
    bars, texts = [], []
    for i, (words, colour, hatch) in enumerate(
        (
            ("parameters", plots.COLOURS["shared"], ""),
            ("inputs and outputs, hungriest layer", plots.COLOURS["coded"], "\\\\\\"),
        )
    ):
        bars += ax.barh(i, 1, 0.3, left=1e-2, color=colour, hatch=hatch, ec="white", lw=0)
        ax.text(0.025, i - 0.27, words, fontsize=SMALL)
        texts.append(ax.text(1e5, i - 0.27, "", ha="right", fontsize=SMALL))
    (room,) = ax.plot([], [], color="black", lw=2 * plots.SCALE)
    ax.set(xlim=(0.02, 1e5), ylim=(1.4, -0.5), yticks=[], title="bytes, counted")
    _log(ax.xaxis, [0.1, 1, 10, 100, 1000, 10000])
    ax.set_xlabel("KB of 1024 bytes, log scale")
    _legend_beside_title(ax, [room], ["memory on chip"])
    return {"bytes": bars, "byte_texts": texts, "room": room}


def _log(axis: Any, ticks: list[float]) -> None:
    axis.axes.set(**{f"{axis.axis_name}scale": "log"})
    axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.set_minor_locator(NullLocator())


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    _update_energy(artists, view)
    _update_curve(artists, view)
    _update_roofline(artists, view)
    _update_bytes(artists, view)


def _update_energy(artists: Mapping[str, Any], view: View) -> None:
    shown = {**view.energies, "all": view.total}
    n = len(view.energies)
    places = [*range(n), n + 0.2]  # the bar of all layers a little apart
    parts = [(0, e.arithmetic, e.sram, e.dram) for e in shown.values()]
    stacks = np.cumsum(parts, axis=1).T / MICRO
    limit = step_above(1.1 * stacks.max())
    artists["scale"].axes.set(ylim=(0, limit), xlim=(-0.5, n + 0.7))
    for bars, below, above in zip(artists["bars"], stacks, stacks[1:], strict=False):
        bars.set_path(_boxes(places, below, above))
    for text in (*artists["names"], *artists["totals"]):
        text.set_text("")
    for x, name, top, label, total in zip(
        places, shown, stacks[-1], artists["names"], artists["totals"], strict=False
    ):
        label.set(x=x, text=name)
        total.set(x=x, y=max(top, 0) + 0.01 * limit, text=number(top))


def step_above(value: float) -> float:
    """The least 1, 2 or 5 times a power of ten that is not below the value; 1 if it is 0 or less.

    >>> step_above(1.9), step_above(2.1), step_above(0.07), step_above(0)
    (2.0, 5.0, 0.1, 1.0)
    """
    if value <= 0:
        return 1.0
    power = math.floor(math.log10(value))
    return next(s for m in (1, 2, 5, 10, 20) if (s := float(f"{m}e{power}")) >= value)


def _update_curve(artists: Mapping[str, Any], view: View) -> None:
    now = (view.total.arithmetic, view.total.sram, view.total.dram, view.total.total)
    for line, mark, values, value in zip(
        artists["curve"], artists["marks"], view.curve, now, strict=True
    ):
        line.set_ydata(values / MICRO)
        mark.set_data([view.memory], [value / MICRO if value > 0 else np.nan])
    artists["now"].set_xdata([view.memory] * 2)


def _update_roofline(artists: Mapping[str, Any], view: View) -> None:
    roofs, right = view.roofs, artists["roofs"][0].axes.get_xlim()[1]
    arithmetic, *slopes = artists["roofs"]
    ridges = [roofs.flops / roofs.memory, roofs.flops / roofs.cache]
    arithmetic.set_data([min(ridges), right], [roofs.flops / 1e9] * 2)
    for line, ridge in zip(slopes, ridges, strict=True):
        line.set_data([ridge / 1e6, ridge], [roofs.flops / 1e15, roofs.flops / 1e9])
    here = BATCHES.index(view.nearest)
    places = {
        name: (points[0, here], points[1, here] / 1e9) for name, points in view.points.items()
    }
    heights = spread(places)
    names = [*places, *[None] * (LAYERS - len(places))]
    for name, faint, strong, label in zip(
        names, artists["faint"], artists["strong"], artists["labels"], strict=True
    ):
        x, y = places.get(name, (np.nan, np.nan))
        strong.set_data([x], [y])
        faint.set_data(view.points[name] / [[1], [1e9]] if name else ((), ()))
        label.set(text=name or "", x=1.2 * x, y=heights.get(name, 1))


def spread(places: Mapping[str, tuple[float, float]], apart: float = 1.9) -> dict[str, float]:
    """Heights of the labels of points (x, y): below them, and a factor `apart` where x is near."""
    heights: dict[str, float] = {}
    for name, (x, y) in sorted(places.items(), key=lambda place: -place[1][1]):
        near = [h for other, h in heights.items() if 0.3 < places[other][0] / x < 3.3]
        heights[name] = min([y / 1.25, *(h / apart for h in near)])
    return heights


def _update_bytes(artists: Mapping[str, Any], view: View) -> None:
    for bar, text, size, words in zip(
        artists["bytes"],
        artists["byte_texts"],
        (view.parameter_bytes / KB, view.live_bytes / KB),
        ("{} KB, " + share(view.stays) + " would stay", view.hungriest + ": {} KB"),
        strict=True,
    ):
        bar.set_width(size - bar.get_x())
        text.set_text(words.format(number(size)))
    m = view.memory
    artists["room"].set_data([m, m, np.nan, m, m], [-0.21, 0.21, np.nan, 0.79, 1.21])

"""The figure of chapter 01's explorer: what a network costs, estimated, counted and measured.

The estimate and the count stand over the same axis, the memory on chip. What is measured is black,
what is estimated or counted is in colour.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FormatStrFormatter, NullLocator

from shrink.chapters.measure.drawings import spread
from shrink.chapters.measure.view import BATCHES, KB, MEMORIES, MICRO, View, number, share
from shrink.classroom import plots

SIZE = (6.4, 4.5)  # inches
LAYERS = 4  # at most
# Colour (memory is blue, the dearer the darker), marker and line of the curves.
PARTS = {
    "arithmetic": ("#D55E00", "^", "-."),
    "SRAM": ("#56B4E9", "s", "--"),
    "DRAM": ("#0072B2", "o", "-"),
    "total": (plots.COLOURS["quantized"], "D", ":"),  # green: of the palette, what is left
}
BYTES = ((plots.COLOURS["shared"], ""), (plots.COLOURS["coded"], "\\\\\\"))  # colours and hatches
SHAPES = "osD^"  # of the layers' points


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    left, right = figure.add_gridspec(1, 2, width_ratios=(8, 5))
    curve, count = left.subgridspec(2, 1, height_ratios=(5, 3)).subplots(sharex=True)
    return {
        "energy": _draw_energy(curve),
        "bytes": _draw_bytes(count),
        "now": [_draw_now(curve, 0.8), _draw_now(count, 1)],
        "roofline": _draw_roofline(figure.add_subplot(right), view),
    }


def _draw_now(ax: Axes, top: float) -> Line2D:
    """The memory on chip: a line from the bottom up to a part of the height."""
    return ax.axvline(64, ymax=top, color=plots.COLOURS["dense"], lw=1, zorder=1.5)


def _draw_energy(ax: Axes) -> dict[str, Any]:
    lines, marks = [], []
    for part, (colour, marker, dashes) in PARTS.items():
        lines += ax.plot(MEMORIES, MEMORIES, dashes, color=colour)
        marks += ax.plot([], [], marker, color=colour, ms=6, mec="white")
        ax.plot([], [], dashes, marker=marker, color=colour, label=part, mec="white")
    ax.set(xscale="log", yscale="log", ylim=(0.01, 9000), ylabel="µJ, log scale")
    ax.set_yticks([0.01, 0.1, 1, 10, 100, 1000], ["0.01", "0.1", "1", "10", "100", "1000"])
    ax.yaxis.set_minor_locator(NullLocator())
    ax.tick_params(axis="x", labelbottom=False)
    ax.legend(loc="upper right", ncols=2, columnspacing=1, labelspacing=0.2, borderaxespad=0)
    return {"lines": lines, "marks": marks, "title": ax.set_title("an image, estimated")}


def _draw_bytes(ax: Axes) -> dict[str, Any]:
    bars, words = [], []
    for i, (colour, hatch) in enumerate(BYTES):
        bars += ax.barh(i, 1, 0.4, left=1e-3, color=colour, hatch=hatch, ec="white", lw=0)
        at = ax.get_yaxis_transform()
        words.append(ax.text(0.01, i - 0.28, "", transform=at, bbox=plots.PAPER))
    ax.set(ylim=(1.35, -0.7), yticks=[], xlim=(2, 16_000), xlabel="KB on chip, log scale")
    ticks = [8, 32, 128, 512, 2048, 8192]
    ax.set_xticks(ticks, list(map(str, ticks)))
    ax.xaxis.set_minor_locator(NullLocator())
    return {"bars": bars, "words": words, "title": ax.set_title("counted")}


def _draw_roofline(ax: Axes, view: View) -> dict[str, Any]:
    ax.set(xscale="log", yscale="log", xlim=(0.2, 1000), ylim=_reach(view))
    ax.set(xlabel="operations per byte", ylabel="billion operations a second")
    ax.set_xticks([1, 10, 100], ["1", "10", "100"])
    ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_minor_locator(NullLocator())
    roofs = [
        ax.plot([], [], dashes, color="black", lw=width * plots.SCALE, label=label)[0]
        for dashes, width, label in (
            ("-", 1.5, "arithmetic"),
            ("--", 1.5, "memory"),
            (":", 1.2, "cache"),
        )
    ]
    ax.legend(loc="lower right", title="roofs", labelspacing=0.2, borderaxespad=0)
    grey = plots.COLOURS["dense"]
    faint = [ax.plot([], [], s, ls="-", lw=0.6, ms=3, color=grey, alpha=0.5)[0] for s in SHAPES]
    names = [ax.text(1, 1, "", va="top", bbox=plots.PAPER, zorder=3) for _ in SHAPES]
    strong = [ax.plot([], [], s, color="black", ms=7, mec="white", zorder=4)[0] for s in SHAPES]
    title = ax.set_title("measured")
    return {"roofs": roofs, "faint": faint, "strong": strong, "names": names, "title": title}


def _reach(view: View) -> tuple[float, float]:
    """From well below what was measured to well above: the next measurement gets in too."""
    rates = np.array([points[1] for points in view.points.values()])
    return rates.min() / 5e10, 10 * max(view.roofs.flops, rates.max()) / 1e9


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    _update_energy(artists["energy"], view)
    _update_bytes(artists["bytes"], view)
    for line in artists["now"]:
        line.set_xdata([view.memory] * 2)
    _update_roofline(artists["roofline"], view)


def _update_energy(artists: Mapping[str, Any], view: View) -> None:
    e = view.total
    now = (e.arithmetic, e.sram, e.dram, e.total)
    for line, mark, values, value in zip(
        artists["lines"], artists["marks"], view.curve, now, strict=True
    ):
        line.set_ydata(values / MICRO)
        mark.set_data([view.memory], [value / MICRO if value > 0 else np.nan])
    artists["title"].set_text(f"estimated: {number(e.total / MICRO)} µJ an image")


def _update_bytes(artists: Mapping[str, Any], view: View) -> None:
    for bar, text, size, what in zip(
        artists["bars"],
        artists["words"],
        (view.parameter_bytes / KB, view.live_bytes / KB),
        ("parameters", f"inputs and outputs of {view.hungriest}"),
        strict=True,
    ):
        bar.set_width(size - bar.get_x())
        text.set_text(f"{what}: {number(size)} KB")
    artists["title"].set_text(f"counted: {share(view.stays)} of parameters on chip")


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
    heights = spread({n: (x, y / 1.25) for n, (x, y) in places.items()}, apart=1.9, near=6)
    names = [*places, *[None] * (LAYERS - len(places))]
    for name, faint, strong, label in zip(
        names, artists["faint"], artists["strong"], artists["names"], strict=True
    ):
        x, y = places.get(name, (np.nan, np.nan))
        strong.set_data([x], [y])
        faint.set_data(view.points[name] / [[1], [1e9]] if name else ((), ()))
        label.set(text=name or "", x=1.2 * x, y=heights.get(name, 1))
    seconds = view.whole.median / view.whole.batch
    artists["title"].set_text(f"measured: {number(1e6 * seconds)} µs an image")

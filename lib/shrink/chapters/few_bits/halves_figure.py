"""The explorer's scene of halves: numbers over a format's range, loss scales, swallowed updates."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shrink.chapters.few_bits.colours import FORMATS
from shrink.chapters.few_bits.halves_view import HalvesView, mean, power, what
from shrink.classroom import plots
from shrink.classroom.explorers import legend

SIZE_OF_TITLE = 9.5 * plots.SCALE
DENSE = plots.COLOURS["dense"]
LOW, HIGH = -64, 32  # of the axis of magnitudes, log2
ZONES = {  # name → hatch and face
    "become 0": ("////", "#777777"),
    "subnormal": ("..", "#777777"),
    "too large": ("xxxx", "#777777"),
}
FLOAT32 = {"color": DENSE, "ls": "--", "lw": 1.2, "zorder": 2}
DYNAMIC = {"color": "black", "ls": ":", "lw": 1.4, "zorder": 3}
BAND = {"color": DENSE, "alpha": 0.35, "lw": 6}
FP16 = {"color": FORMATS["fp16"], "marker": "o", "ms": 4, "lw": 1.6, "zorder": 4}
RUNS = {
    "trained here": {"marker": "D", "ms": 7, "mec": "white"},
    "stopped": {"marker": "D", "ms": 6, "mfc": "white"},
}
RUNS = {name: {"ls": "", "color": "black", "zorder": 6} | look for name, look in RUNS.items()}
NAMES = {"bf16, master weights": "bf16, master", "fp8, master weights": "fp8, master"}
ERRORS = (2, 5, 10, 20, 50, 90)  # % marked


def draw(figure: Figure, view: HalvesView) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    title = figure.suptitle(" ", x=0.01, ha="left", fontsize=SIZE_OF_TITLE)
    above, below = figure.add_gridspec(2, 1, height_ratios=(10, 12))
    numbers = figure.add_subplot(above)
    errors, right = below.subgridspec(1, 2, width_ratios=(10, 10))
    updates, names = right.subgridspec(2, 1, height_ratios=(7, 9)).subplots()
    return {
        "title": title,
        "numbers": _draw_numbers(numbers, view),
        "errors": _draw_errors(figure.add_subplot(errors), view),
        "updates": _draw_updates(updates, view),
        "legend": _draw_names(names),
    }


def _draw_names(ax: Axes) -> legend.Rows:
    ax.set_axis_off()
    looks = {"fp16": {name: of for name, of in FP16.items() if name != "marker"}}
    looks |= {"found while training": DYNAMIC, "float32": FLOAT32, "range of seeds": BAND} | RUNS
    rows = legend.draw(ax, looks, left=0, top=1.08)
    for artist in (artist for row in rows.values() for artist in row):
        artist.set_in_layout(False)
    return rows


def _draw_numbers(ax: Axes, view: HalvesView) -> dict[str, Any]:
    ax.set(xlim=(LOW, HIGH), ylim=(0, 1.3), xlabel="magnitude, with the loss scale")
    ticks = range(LOW, HIGH + 1, 16)
    ax.set_xticks(ticks, [power(tick) for tick in ticks])
    ax.set_yticks([])
    zones, words = {}, {}
    for name, (hatch, colour) in ZONES.items():
        zones[name] = ax.axvspan(LOW, LOW, fc="white", ec=colour, hatch=hatch, lw=0, alpha=0.5)
        words[name] = ax.text(0, 1.2, "", va="center", bbox=plots.PAPER, zorder=6)
    counts = ax.stairs(np.zeros(len(view.shares)), fill=True, zorder=4)
    return {"zones": zones, "words": words, "counts": counts, "title": ax.set_title(" ")}


def _draw_errors(ax: Axes, view: HalvesView) -> dict[str, Any]:
    scales = np.array(view.scales)
    ax.set(yscale="log", xlim=(scales[0] - 1, scales[-1] + 1), xlabel="loss scale")
    least = 0.8 * min(view.errors.min(), view.dynamic.min(), view.float32.min())
    ax.set_ylim(least, 98)
    ticks = [tick for tick in ERRORS if tick > least]
    ax.set_yticks(ticks, [str(tick) for tick in ticks])
    ax.set_yticks([], minor=True)
    marked = scales[::2]
    ax.set_xticks(marked, [power(one) for one in marked])
    ax.set_title("% wrong on validation images")
    ax.axhspan(view.float32.min(), view.float32.max(), color=DENSE, alpha=0.25, lw=0)
    ax.axhline(view.float32.mean(), **FLOAT32)
    ax.axhline(view.dynamic.mean(), **DYNAMIC)
    ax.fill_between(
        scales, view.errors.min(0), view.errors.max(0), lw=0, alpha=0.3, fc=FP16["color"]
    )
    ax.plot(scales, view.errors.mean(0), **FP16)
    (marker,) = ax.plot([], [], "o", ms=9, mec="white", mfc=FP16["color"], zorder=7)
    return {
        "marker": marker,
        "here": ax.axvline(0, color=DENSE, lw=0.8),
        "runs": {
            name: {
                one: ax.plot([], [], **look | {"mec" if name == "stopped" else "mfc": colour})[0]
                for one, colour in FORMATS.items()
            }
            for name, look in RUNS.items()
        },
    }


def _draw_updates(ax: Axes, view: HalvesView) -> dict[str, Any]:
    ways = list(view.updates)
    ax.set(xlim=(0, 215), ylim=(len(ways) - 0.4, -0.6))
    ax.set_yticks(range(len(ways)), [NAMES.get(way, way) for way in ways])
    ax.tick_params(axis="y", length=0)
    ax.set_xticks([0, 50, 100])
    ax.spines["bottom"].set_bounds(0, 100)
    ax.set_title("% swallowed; solid: of the sum")
    bars, words = [], []
    for place, (way, of) in enumerate(view.updates.items()):
        if len(of.swallowed):
            look = {"fc": FORMATS[way], "lw": 0}
            bars += ax.barh(place, of.swallowed.mean(), 0.6, alpha=0.4, **look)
            bars += ax.barh(place, of.lost.mean(), 0.6, **look)
            ax.plot(of.swallowed, [place] * len(of.swallowed), "o", color="black", ms=3)
        words.append(ax.text(110, place, f"{of.errors.mean():.1f} % wrong", va="center"))
    return {"bars": bars, "words": words}


def update(artists: Mapping[str, Any], view: HalvesView) -> None:
    """Move the artists to the view."""
    at = view.nearest
    artists["title"].set_text(
        f"{view.format.name}, loss scale {power(view.exponent)}: {100 * view.lost:.2g} % become 0; "
        f"fp16 at {power(view.scales[at])}: {mean(view.errors[:, at])} % wrong"
    )
    _update_numbers(artists["numbers"], view)
    drawn = {"fp16", "found while training", "float32"} | _update_errors(artists["errors"], view)
    if len(view.dynamic) > 1:
        drawn.add("range of seeds")
    _update_updates(artists["updates"], view)
    legend.update(artists["legend"], drawn)


def _update_numbers(artists: Mapping[str, Any], view: HalvesView) -> None:
    artists["counts"].set_data(view.shares / view.shares.max(), view.magnitudes)
    artists["counts"].set_color(FORMATS[view.format.name])
    lost, over = view.ends
    normal = np.log2(view.format.least_normal)
    ends = {"become 0": (LOW, lost), "subnormal": (lost, normal), "too large": (over, HIGH)}
    shares = dict(zip(ends, (view.lost, view.subnormal, view.over), strict=True))
    for name, (low, high) in ends.items():
        low, high = np.clip([low, high], LOW, HIGH)
        artists["zones"][name].set(x=low, width=high - low)
        words = artists["words"][name]
        words.set_visible(high > low)
        words.set(x=(low + high) / 2, ha="center", text=f"{100 * shares[name]:.2g} % {name}")
    artists["title"].set_text(
        f"{what(view)}; {view.format.name} spans {power(lost)} to {power(over)}"
    )


def _update_updates(artists: Mapping[str, Any], view: HalvesView) -> None:
    for way, words in zip(view.updates, artists["words"], strict=True):
        words.set_fontweight("bold" if way in view.shown else "normal")


def _update_errors(artists: Mapping[str, Any], view: HalvesView) -> set[str]:
    """Move the artists; the names of the runs that are drawn."""
    at, drawn = view.nearest, set()
    artists["marker"].set_data([view.scales[at]], [view.errors[:, at].mean()])
    artists["here"].set_xdata([view.exponent] * 2)
    for name, marks in artists["runs"].items():
        for one, mark in marks.items():
            runs = [r for r in view.runs if r.format == one and r.stopped == (name == "stopped")]
            mark.set_data([run.exponent for run in runs], [100 * run.error for run in runs])
            drawn |= {name for _ in runs}
    return drawn

"""The explorer's scene of bits by layer: a map of costs, two allocations, and the curves."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from shrink.chapters.mixed.allocation_view import UNITS, AllocationView, heading, percent, short
from shrink.chapters.mixed.colours import ALLOCATIONS, LINES, MARKS, STYLES
from shrink.classroom import plots
from shrink.classroom.explorers import legend
from shrink.classroom.explorers.picture import Held

SIZE_OF_TITLE = 9.5 * plots.SCALE
NARROW, BROAD = 1.1, 2.6  # lines: of the others, and of the one on show
DENSE = plots.COLOURS["dense"]
GAP = 0.016  # of all weights, between two bars
DECADES = 4  # of costs that the map tells apart
DARKEST = 0.85  # of black, on which marks can be seen
ERRORS = (0.5, 1, 2, 5, 10, 20, 50, 90)  # % marked
CURVES = {
    name: {"color": colour, "ls": STYLES[name], "lw": NARROW, "zorder": 3}
    for name, colour in LINES.items()
}
FLOAT = {"color": DENSE, "ls": "--", "lw": 1.2, "zorder": 2}
BAND = {"color": DENSE, "alpha": 0.35, "lw": 6}
HAND = {"marker": "o", "ms": 9, "mfc": ALLOCATIONS["by hand"], "mec": "black", "mew": 1.2}
OPTIMUM = {"marker": "D", "ms": 12, "mfc": "none", "mec": ALLOCATIONS["optimum"], "mew": 2}
POINTS = {
    "by hand": HAND | {"ls": "", "zorder": 8},
    "optimum": OPTIMUM | {"ls": "", "zorder": 7},
}
NAMED = CURVES | {"float network": FLOAT, "range of seeds": BAND} | POINTS
NAMES = {"mixed, rounding learned": "mixed, learned", "single, rounding learned": "single, learned"}


def draw(figure: Figure, view: AllocationView) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    title = figure.suptitle(" ", x=0.01, ha="left", fontsize=SIZE_OF_TITLE)
    above, below = figure.add_gridspec(2, 1, height_ratios=(10, 9))
    costs, errors = above.subgridspec(1, 2, width_ratios=(10, 9)).subplots()
    left, right = below.subgridspec(1, 2, width_ratios=(16, 6))
    bits, sizes = left.subgridspec(2, 1, height_ratios=(10, 4)).subplots()
    return {
        "title": title,
        "costs": _draw_costs(costs, view),
        "errors": _draw_errors(errors, view),
        "bits": _draw_bits(bits, view),
        "bytes": _draw_bytes(sizes, view),
        "legend": Held(_draw_names(figure.add_subplot(right))),
    }


def _draw_names(ax: Axes) -> legend.Rows:
    ax.set_axis_off()
    looks = {NAMES.get(name, name): look for name, look in NAMED.items()}
    rows = legend.draw(ax, looks, left=0, top=0.98)
    for artist in (artist for row in rows.values() for artist in row):
        artist.set_in_layout(False)
    return rows


def _draw_costs(ax: Axes, view: AllocationView) -> dict[str, Any]:
    image = ax.imshow(np.zeros(view.costs.shape), cmap="Greys", vmin=0, vmax=1, aspect="auto")
    ax.set_xticks(range(len(view.widths)), view.widths)
    ax.set_yticks(range(len(view.layers)), _numbered(view))
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    right = ax.get_yaxis_transform()
    key = ax.inset_axes((0.36, -0.3, 0.36, 0.08))
    key.imshow(DARKEST * np.linspace(0, 1, 100)[None], cmap="Greys", vmin=0, vmax=1, aspect="auto")
    key.set(xticks=[], yticks=[])
    ends = {
        x: key.text(x, 0.5, "0.0000", transform=key.transAxes, ha=side, va="center")
        for x, side in ((-0.05, "right"), (1.05, "left"))
    }
    ax.text(1.02, 1.02, "by hand", transform=ax.transAxes, va="bottom")
    ax.text(-0.03, -0.05, "bits", transform=ax.transAxes, ha="right", va="top")
    table = {"ends": list(ends.values()), "image": image, "title": ax.set_title(" ")}
    return {
        "table": Held(table),
        "marks": {name: ax.plot([], [], **look)[0] for name, look in POINTS.items()},
        "numbers": [
            ax.text(1.02, y, "0.0000", transform=right, va="center")
            for y in range(len(view.layers))
        ],
    }


def _numbered(view: AllocationView) -> list[str]:
    """The layers, numbered as they are under the bars."""
    return [f"{place} {name}" for place, name in enumerate(view.layers, 1)]


def _draw_errors(ax: Axes, view: AllocationView) -> dict[str, Any]:
    budgets = np.array(view.budgets)
    ax.set(yscale="log", xlim=(budgets.min() - 0.2, budgets.max() + 0.2))
    ax.set_xlabel("budget, bits a weight")
    ax.set_ylim(0.6 * min(view.whole, view.whole_here or view.whole), 98)
    ticks = [one for one in ERRORS if one > ax.get_ylim()[0]]
    ax.set_yticks(ticks, [f"{one:g}" for one in ticks])
    ax.set_yticks([], minor=True)
    ax.set_title("% wrong on validation images")
    ax.axhline(view.whole, **FLOAT)
    lines = {
        name: (
            ax.plot([], [], marker=MARKS[name], ms=3.5, **look)[0],
            ax.fill_between(budgets, 50, 51, lw=0, alpha=0.22, fc=LINES[name], zorder=1),
        )
        for name, look in CURVES.items()
    }
    return {
        "lines": Held(lines),
        "here": ax.axvline(1, color=DENSE, lw=0.8),
        "points": {name: ax.plot([], [], **look)[0] for name, look in POINTS.items()},
    }


def _draw_bits(ax: Axes, view: AllocationView) -> dict[str, Any]:
    lefts, widths = _places(view)
    top = max(view.widths)
    ax.set(xlim=(-GAP, lefts[-1] + widths[-1] + GAP), ylim=(0, top + 0.4))
    ax.set_yticks(range(0, top + 1, 2))
    ax.set_ylabel("bits")
    ax.set_title("bits by layer, as wide as its weights; dotted: the budget")
    middles = lefts + widths / 2
    wide = widths > 0.15 * lefts[-1]
    names = [
        name if one else str(place)
        for place, (name, one) in enumerate(zip(_numbered(view), wide, strict=True), 1)
    ]
    ax.set_xticks(middles, names)
    ax.tick_params(axis="x", length=0)
    bars = ax.bar(lefts, 0, widths, align="edge", fc=ALLOCATIONS["by hand"], ec="black", lw=0.6)
    outlines = [
        ax.add_patch(
            Rectangle((x - GAP / 3, 0), width + 2 * GAP / 3, 0, fill=False, lw=1.8, zorder=4)
        )
        for x, width in zip(lefts, widths, strict=True)
    ]
    for outline in outlines:
        outline.set(edgecolor=ALLOCATIONS["optimum"], linestyle=(0, (3, 1.5)))
    return {
        "bars": list(bars),
        "outlines": outlines,
        "budget": ax.axhline(4, color="black", lw=1, ls=":", zorder=5),
    }


def _places(view: AllocationView) -> tuple[np.ndarray, np.ndarray]:
    """Where the bars begin, and how wide they are: shares of all weights."""
    widths = np.array(view.counts) / sum(view.counts)
    return np.cumsum(widths) - widths + GAP * np.arange(len(widths)), widths


def _draw_bytes(ax: Axes, view: AllocationView) -> dict[str, Any]:
    most = sum(view.counts) * max(view.widths) / 8
    ax.set(xlim=(0, 1.5 * most), ylim=(1.5, -0.5), xticks=[])
    ax.set_yticks(range(len(ALLOCATIONS)), list(ALLOCATIONS))
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_visible(False)
    bars, over, words = [], [], []
    for place, colour in enumerate(ALLOCATIONS.values()):
        bars += ax.barh(place, 0, 0.62, fc=colour, lw=0)
        over += ax.barh(place, 0, 0.62, fc="white", ec="black", hatch="/////", lw=1)
        words.append(ax.text(0, place, "", va="center", bbox=plots.PAPER))
    budget = ax.axvline(0, color="black", lw=1, ls=":", zorder=5)
    return {"bars": bars, "over": over, "words": words, "budget": budget}


def update(artists: Mapping[str, Any], view: AllocationView) -> None:
    """Move the artists to the view."""
    whose = "optimum of yours" if view.mine else "optimum"
    artists["title"].set_text(
        f"{heading(view)}: by hand {percent(view.hand.error)} % wrong, "
        f"{whose} {percent(view.optimum.error)} % (floats {percent(view.whole_here)} %)"
    )
    _update_costs(artists["costs"], view)
    _update_bits(artists["bits"], view)
    _update_bytes(artists["bytes"], view)
    _update_errors(artists["errors"], view)
    artists["legend"].show(_drawn(view), lambda rows: legend.update(rows, _drawn(view)))


def _choices(view: AllocationView) -> dict[str, Any]:
    return dict(zip(POINTS, (view.hand, view.optimum), strict=True))


def _drawn(view: AllocationView) -> set[str]:
    """The names in the legend."""
    bands = any(len(errors) > 1 for errors in view.lines.values())
    lines = {NAMES.get(name, name) for name in view.lines}
    return {"float network", *POINTS, *lines, *(["range of seeds"] if bands else [])}


def _update_costs(artists: Mapping[str, Any], view: AllocationView) -> None:
    artists["table"].show(
        (view.by, view.rounding, view.per), lambda table: _update_table(table, view)
    )
    rows = np.arange(len(view.layers))
    for name, choice in _choices(view).items():
        columns = [view.widths.index(bits) for bits in choice.bits]
        artists["marks"][name].set_data(columns, rows)
    for text, cost in zip(artists["numbers"], view.cost_of(view.hand), strict=True):
        text.set_text(short(cost))


def _update_table(artists: Mapping[str, Any], view: AllocationView) -> None:
    most = float(view.costs.max())
    shares = np.log10(np.maximum(view.costs / most, 10.0**-DECADES)) / DECADES + 1
    artists["image"].set_data(DARKEST * shares)
    low, high = artists["ends"]
    low.set_text(f"≤ {short(most / 10**DECADES)}")
    high.set_text(short(most))
    artists["title"].set_text(f"cost of one layer alone, {UNITS[view.by]}")


def _update_bits(artists: Mapping[str, Any], view: AllocationView) -> None:
    for bar, bits in zip(artists["bars"], view.hand.bits, strict=True):
        bar.set_height(bits)
    for outline, bits in zip(artists["outlines"], view.optimum.bits, strict=True):
        outline.set_height(bits)
    artists["budget"].set_ydata([view.budget] * 2)


def _update_bytes(artists: Mapping[str, Any], view: AllocationView) -> None:
    gap = 0.01 * artists["budget"].axes.get_xlim()[1]
    for place, choice in enumerate(_choices(view).values()):
        within, over = min(choice.bytes, view.room), view.over(choice)
        artists["bars"][place].set_width(within)
        artists["over"][place].set(x=within, width=over)
        words = artists["words"][place]
        words.set(x=choice.bytes + gap, fontweight="bold" if over else "normal")
        words.set_text(f"{choice.bytes:,} bytes" + (f", {over:,} OVER" if over else ""))
    artists["budget"].set_xdata([view.room] * 2)


def _update_errors(artists: Mapping[str, Any], view: AllocationView) -> None:
    artists["lines"].show((view.by, view.per, view.line), lambda lines: _update_lines(lines, view))
    artists["here"].set_xdata([view.budget] * 2)
    low = artists["here"].axes.get_ylim()[0]
    for name, choice in _choices(view).items():
        error = max(choice.error, low)
        artists["points"][name].set_data([view.bits_a_weight(choice)], [error])


def _update_lines(artists: Mapping[str, Any], view: AllocationView) -> None:
    budgets = np.array(view.budgets)
    for name, (line, band) in artists.items():
        errors = view.lines[name]
        line.set_data(budgets, errors.mean(0))
        line.set(linewidth=BROAD if name == view.line else NARROW)
        band.set_data(budgets, errors.min(0), errors.max(0))

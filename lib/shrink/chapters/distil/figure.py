"""The figure of chapter 06's explorer: what a setting shows, drawn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from shrink.chapters.distil.view import Run, Sweep, View, bits
from shrink.classroom import plots

TEACHER, ALONE, DISTILLED = plots.COLOURS["dense"], "#000000", plots.COLOURS["distilled"]
PLAIN = UNSEEN = "#D55E00"  # of the same palette: KL without T², and the class that is missing
SHOWN = 8  # runs in the plot, the latest; the table has them all
SMALL, TINY = "small", "x-small"
CLASSES = np.arange(10)


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    rows = figure.add_gridspec(2, 1, height_ratios=(1, 1))
    above = rows[0].subgridspec(1, 3, width_ratios=(3, 9, 8)).subplots()
    below = rows[1].subgridspec(1, 3, width_ratios=(8, 7, 6)).subplots()
    return {
        **_draw_digit(above[0]),
        **_draw_soft(above[1]),
        **_draw_gradients(above[2], view.sweep),
        **_draw_sweep(below[0], view.sweep),
        **_draw_errors(below[1]),
        **_draw_runs(below[2], view.sweep),
    }


def _draw_digit(ax: Axes) -> dict[str, Any]:
    ax.set_axis_off()
    image = ax.imshow(np.zeros((28, 28)), cmap="gray_r", vmin=0, vmax=1)
    ax.set_title("the image", fontsize=SMALL)
    return {"image": image}


def _bars(ax: Axes, left: float, right: float, **style: Any) -> Any:
    """A bar a class, from its number + `left` to + `right`, all as one artist: they draw faster."""
    edges = np.stack([CLASSES + left, CLASSES + right], axis=1).ravel()
    return ax.stairs(np.zeros(19), edges, fill=True, lw=0, **style)


def _set_heights(bars: Any, heights: np.ndarray) -> None:
    between = np.zeros(19)
    between[::2] = heights
    bars.set_data(between)


def _over_classes(ax: Axes) -> None:
    ax.set(xlim=(-0.6, 9.6), xlabel="class")
    ax.set_xticks(CLASSES)
    ax.tick_params(axis="x", length=0)


def _draw_soft(ax: Axes) -> dict[str, Any]:
    teacher = _bars(ax, -0.4, 0, color=TEACHER, label="teacher")
    student = _bars(ax, 0, 0.4, fc=DISTILLED, ec="white", hatch="////", label="student")
    _over_classes(ax)
    ax.set(ylim=(0, 1.02), ylabel="softened answer")
    ax.legend(loc="upper right", fontsize=TINY, ncols=2, columnspacing=1, borderaxespad=0)
    return {"soft": [teacher, student], "soft_title": ax.set_title("soft target")}


def _over_temperature(ax: Axes) -> dict[str, Any]:
    ax.set(xscale="log", xlim=(0.09, 111), xlabel="temperature, T")
    ax.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    return {"line": ax.axvline(1, color="black", lw=0.8, ls=":")}


def _draw_gradients(ax: Axes, sweep: Sweep) -> dict[str, Any]:
    artists = _over_temperature(ax)
    ax.axhline(1, color=TEACHER, ls="--", lw=1)
    (scaled,) = ax.plot(sweep.over, sweep.gradients[0], color=DISTILLED, label="T² · KL")
    (plain,) = ax.plot(sweep.over, sweep.gradients[1], "--", color=PLAIN, label="KL")
    ax.set(yscale="log", ylabel="soft over hard loss's")
    ax.yaxis.set_minor_locator(NullLocator())
    ax.legend(loc="lower left", fontsize=TINY, borderaxespad=0)
    ax.set_title("gradient of the logits, before training")
    dots = [
        ax.plot([], [], "o", color=line.get_color(), ms=8, mec="white")[0]
        for line in (scaled, plain)
    ]
    return {"gradient": dots, "gradient_line": artists["line"]}


def _draw_sweep(ax: Axes, sweep: Sweep) -> dict[str, Any]:
    artists = _over_temperature(ax)
    rows, alone = 100 * sweep.distilled, 100 * sweep.alone
    ax.axhspan(alone.min(), alone.max(), color=ALONE, alpha=0.15, lw=0)
    ax.axhline(alone.mean(), color=ALONE, lw=1, label="alone")
    ax.fill_between(sweep.temperatures, rows.min(0), rows.max(0), color=DISTILLED, alpha=0.35, lw=0)
    ax.plot(sweep.temperatures, rows.mean(0), "o-", ms=3, color=DISTILLED, label="distilled")
    low, high = min(rows.min(), alone.min()), max(rows.max(), alone.max())
    room = high - low + 0.1
    ax.set_ylim(low - 0.1 * room, high + 0.4 * room)  # above, the legend
    ax.set_title(f"% right, {len(rows)} seeds (teacher {100 * sweep.teacher:.1f})")
    ax.legend(loc="upper left", fontsize=TINY, ncols=2, columnspacing=1, borderaxespad=0)
    (marker,) = ax.plot([], [], "o", color=DISTILLED, ms=8, mec="white")
    return {"marker": marker, "sweep_line": artists["line"]}


def _draw_errors(ax: Axes) -> dict[str, Any]:
    seen = _bars(ax, -0.4, 0.4, fc=DISTILLED, ec="white", hatch="////", label="distilled")
    unseen = _bars(ax, -0.4, 0.4, color=UNSEEN)
    ticks = [
        ax.plot(CLASSES, np.zeros(10), "_", color=colour, ms=11, mew=2, label=label)[0]
        for colour, label in ((TEACHER, "teacher"), (ALONE, "alone"))
    ]
    _over_classes(ax)
    ax.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
    ax.set(ylim=(0, 135))  # above 100, the legend
    ax.set_yticks([0, 1, 5, 20, 50, 100])
    ax.legend(loc="upper right", fontsize=TINY, ncols=3, columnspacing=1, borderaxespad=0)
    return {"errors": [seen, unseen], "ticks": ticks, "errors_title": ax.set_title("% wrong")}


def _draw_runs(ax: Axes, sweep: Sweep) -> dict[str, Any]:
    plots.accuracy_axis(ax)
    ax.axhline(100 * sweep.teacher, color=TEACHER, ls="--")
    ax.set(xlim=(0.4, SHOWN + 0.6), ylabel="", title="your runs, % right")
    ax.set_xticks(range(1, SHOWN + 1), [""] * SHOWN)
    ax.tick_params(axis="x", length=0)
    ax.set_xlabel("run, and KB of its file", labelpad=24)  # under the texts, which no layout sees
    (pairs,) = ax.plot([], [], color=TEACHER, lw=1)
    points = {
        name: ax.plot([], [], marker, color=colour, mfc=face, ms=6, label=name)[0]
        for name, marker, colour, face in (
            ("alone", "s", ALONE, "none"),
            ("distilled", "o", DISTILLED, DISTILLED),
        )
    }
    style = {"ha": "center", "va": "top", "fontsize": TINY, "linespacing": 1.4}
    texts = [
        ax.text(i + 1, -0.03, "", transform=ax.get_xaxis_transform(), **style) for i in range(SHOWN)
    ]
    ax.legend(loc="lower right", fontsize=TINY, borderaxespad=0)
    return {"runs": points, "pairs": pairs, "run_texts": texts}


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    sweep, T = view.sweep, view.temperature
    artists["image"].set_data(view.image)
    for bars, heights in zip(artists["soft"], view.soft.clip(0, 1.02), strict=True):
        _set_heights(bars, heights)
    artists["soft_title"].set_text(f"at T = {T:.3g}: entropy {bits(view.entropies[0])}")
    for name in ("gradient_line", "sweep_line"):
        artists[name].set_xdata([T, T])
    for dot, height in zip(artists["gradient"], view.gradient, strict=True):
        dot.set_data([T], [height])
    nearest = view.nearest
    artists["marker"].set_data(
        [sweep.temperatures[nearest]], [100 * sweep.distilled[:, nearest].mean()]
    )
    _update_errors(artists, view)
    _update_runs(artists, view.runs)


def _update_errors(artists: Mapping[str, Any], view: View) -> None:
    teacher, distilled, alone = 100 * view.errors
    unseen = (-1 if view.missing is None else view.missing) == CLASSES
    for bars, shown in zip(artists["errors"], (~unseen, unseen), strict=True):
        _set_heights(bars, distilled * shown)
    for ticks, heights in zip(artists["ticks"], (teacher, alone), strict=True):
        ticks.set_ydata(heights)
    missing = f"no {view.missing} was seen, bias {view.bias:+.2f}"
    artists["errors_title"].set_text(
        f"% wrong; {missing if view.missing is not None else 'each digit was seen'}"
    )


def _update_runs(artists: Mapping[str, Any], runs: tuple[Run, ...]) -> None:
    shown = runs[-SHOWN:]
    places = np.arange(1, len(shown) + 1)
    means = {
        name: np.array([100 * np.mean(getattr(run, name)) for run in shown])
        for name in ("distilled", "alone")
    }
    for name, line in artists["runs"].items():
        line.set_data(places, means[name])
    gaps = np.full(len(shown), np.nan)  # between the lines of two runs
    ends = np.stack([means["alone"], means["distilled"], gaps], axis=1)
    artists["pairs"].set_data(places.repeat(3), ends.ravel())
    for i, text in enumerate(artists["run_texts"]):
        number = len(runs) - len(shown) + i + 1
        text.set_text(f"{number}\n{shown[i].bytes / 1000:.0f}" if i < len(shown) else "")

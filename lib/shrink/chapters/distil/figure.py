"""The figure of chapter 06's explorer: what a setting shows, drawn."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shrink.chapters.distil.view import Run, Sweep, View
from shrink.classroom import plots

SIZE = (6.4, 3.9)  # inches
TEACHER, ALONE, DISTILLED = plots.COLOURS["dense"], "#000000", plots.COLOURS["distilled"]
UNSEEN = plots.COLOURS["fine-tuned"]  # the class that is missing
SHOWN = 5  # runs in the plot, the latest; the table has them all
INVITATION = "press Train students:\neach run adds a pair"
CLASSES = np.arange(10)


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    above, below = figure.add_gridspec(2, 1)
    digit, soft, sweep = above.subgridspec(1, 3, width_ratios=(2, 9, 10)).subplots()
    errors, runs = below.subgridspec(1, 2, width_ratios=(12, 11)).subplots()
    return {
        **_draw_digit(digit),
        **_draw_soft(soft),
        **_draw_sweep(sweep, view.sweep),
        **_draw_errors(errors),
        **_draw_runs(runs, view.sweep),
    }


def _draw_digit(ax: Axes) -> dict[str, Any]:
    ax.set_axis_off()
    return {"image": ax.imshow(np.zeros((28, 28)), cmap="gray_r", vmin=0, vmax=1)}


def _bars(ax: Axes, left: float, right: float, **style: Any) -> Any:
    """A bar for each class, from its number + `left` to + `right`, all as one artist, so faster."""
    edges = np.stack([CLASSES + left, CLASSES + right], axis=1).ravel()
    return ax.stairs(np.zeros(19), edges, fill=True, lw=0, **style)


def _set_heights(bars: Any, heights: np.ndarray) -> None:
    between = np.zeros(19)
    between[::2] = heights
    bars.set_data(between)


def _over_classes(ax: Axes) -> None:
    ax.set(xlim=(-0.6, 9.6))
    ax.set_xticks(CLASSES)
    ax.tick_params(axis="x", length=0)


def _draw_soft(ax: Axes) -> dict[str, Any]:
    teacher = _bars(ax, -0.4, 0, color=TEACHER, label="teacher")
    student = _bars(ax, 0, 0.4, fc=DISTILLED, ec="white", hatch="////", label="student")
    _over_classes(ax)
    ax.set(ylim=(0, 1.25), xlabel="answer", ylabel="%")
    ax.set_yticks([0, 0.5, 1], ["0", "50", "100"])
    ax.legend(loc="upper right", ncols=2, columnspacing=1, handlelength=1.2, borderaxespad=0)
    return {"soft": [teacher, student], "soft_title": ax.set_title("softened\nanswers")}


def _draw_sweep(ax: Axes, sweep: Sweep) -> dict[str, Any]:
    rows, alone = 100 * sweep.distilled, 100 * sweep.alone
    ax.axhspan(alone.min(), alone.max(), color=ALONE, alpha=0.15, lw=0)
    ax.axhline(alone.mean(), color=ALONE, lw=1, label="alone")
    ax.fill_between(sweep.temperatures, rows.min(0), rows.max(0), color=DISTILLED, alpha=0.35, lw=0)
    ax.plot(sweep.temperatures, rows.mean(0), "o-", ms=3, color=DISTILLED, label="distilled")
    low, high = min(rows.min(), alone.min()), max(rows.max(), alone.max())
    room = high - low + 0.1
    ax.set_ylim(low - 0.1 * room, high + 0.4 * room)  # above, the legend
    ax.set(xscale="log", xlim=(0.09, 111), xlabel="temperature of teaching")
    ax.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    ax.legend(loc="upper left", ncols=2, columnspacing=1, borderaxespad=0)
    (marker,) = ax.plot([], [], "o", color=DISTILLED, ms=8, mec="black")
    return {"marker": marker, "sweep_title": ax.set_title("% right")}


def _draw_errors(ax: Axes) -> dict[str, Any]:
    seen = _bars(ax, -0.4, 0.4, fc=DISTILLED, ec="white", hatch="////", label="distilled")
    unseen = _bars(ax, -0.4, 0.4, color=UNSEEN)
    ticks = [
        ax.plot(CLASSES, np.zeros(10), marker, color=ALONE, ms=size, mew=edge, label=label)[0]
        for marker, size, edge, label in (("x", 5, 1.2, "teacher"), ("_", 11, 2, "alone"))
    ]
    _over_classes(ax)
    ax.set_yscale("function", functions=(lambda y: np.sqrt(np.maximum(y, 0)), np.square))
    ax.set(ylim=(0, 160), xlabel="class")  # above 100, the legend
    ax.set_yticks([0, 5, 20, 50, 100])
    ax.legend(loc="upper right", ncols=3, columnspacing=1, handlelength=1.2, borderaxespad=0)
    return {"errors": [seen, unseen], "ticks": ticks, "errors_title": ax.set_title("% wrong")}


def _draw_runs(ax: Axes, sweep: Sweep) -> dict[str, Any]:
    plots.accuracy_axis(ax)
    ax.axhline(100 * sweep.teacher, color=TEACHER, ls="--")
    ax.set(
        xlim=(0.4, SHOWN + 0.6),
        ylim=(30, 99.7),
        ylabel="",
        title="runs: ● distilled, □ alone, % right",
    )
    ax.set_yticks([50, 80, 90, 95, 98, 99])
    ax.set_xticks(range(1, SHOWN + 1), [""] * SHOWN)
    ax.tick_params(axis="x", length=0)
    ax.set_xlabel(
        "labels, and units per layer", labelpad=26 * plots.SCALE
    )  # under texts, which no layout sees
    (pairs,) = ax.plot([], [], color=TEACHER, lw=1)
    points = {
        name: ax.plot([], [], marker, color=colour, mfc=face, ms=6)[0]
        for name, marker, colour, face in (
            ("alone", "s", ALONE, "none"),
            ("distilled", "o", DISTILLED, DISTILLED),
        )
    }
    style = {"ha": "center", "va": "top", "linespacing": 1.2}
    texts = [
        ax.text(i + 1, -0.03, "", transform=ax.get_xaxis_transform(), **style) for i in range(SHOWN)
    ]
    place = {"transform": ax.transAxes, "ha": "center", "va": "center", "color": TEACHER}
    invitation = ax.text(0.5, 0.45, "", **place)
    return {"runs": points, "pairs": pairs, "run_texts": texts, "invitation": invitation}


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    artists["image"].set_data(view.image)
    for bars, heights in zip(artists["soft"], view.soft.clip(0, 1.25), strict=True):
        _set_heights(bars, heights)
    first, second = np.argsort(-view.soft[0], kind="stable")[:2]
    of_first, of_second = (100 * view.soft[0, i] for i in (first, second))
    artists["soft_title"].set_text(
        f"at T = {view.temperature:.3g} the teacher says\n"
        f"{of_first:.3g} % for {first}, {of_second:.2g} % for {second}"
    )
    _update_sweep(artists, view)
    _update_errors(artists, view)
    _update_runs(artists, view.runs)


def _update_sweep(artists: Mapping[str, Any], view: View) -> None:
    sweep, at = view.sweep, view.nearest
    T, right = sweep.temperatures[at], 100 * sweep.distilled[:, at].mean()
    artists["marker"].set_data([T], [right])
    artists["sweep_title"].set_text(f"taught at T = {T:g}: {right:.2f} % right")


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
        text.set_text(f"{shown[i].labelled:,}\n{shown[i].width}" if i < len(shown) else "")
    artists["invitation"].set_text("" if runs else INVITATION)

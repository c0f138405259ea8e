"""The explorer's scene of weights in few bits: the staircase, weights that learn, and the error."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from shrink.chapters.few_bits.colours import STYLES, WAYS
from shrink.chapters.few_bits.unit_lab import NEAR, STEPS
from shrink.chapters.few_bits.weights_view import WeightsView, heading, mean
from shrink.classroom import plots
from shrink.classroom.explorers import legend
from shrink.classroom.explorers.picture import Held

SIZE_OF_TITLE = 9.5 * plots.SCALE
COLUMNS = 2  # of the legend
NARROW, BROAD = 1.1, 2.6  # lines: of the other ways, and of the one on show
DENSE = plots.COLOURS["dense"]
LINES = {
    way: {"color": colour, "ls": STYLES[way], "lw": NARROW, "zorder": 3}
    for way, colour in WAYS.items()
}
MARKS = dict(zip(WAYS, "v^sXoD", strict=True))
FLOAT = {"color": DENSE, "ls": "--", "lw": 1.2, "zorder": 2}
BAND = {"color": DENSE, "alpha": 0.35, "lw": 6}
RUNS = {
    "trained here": {"marker": "D", "ms": 7, "mec": "white"},
    "stopped": {"marker": "D", "ms": 6, "mfc": "white"},
}
RUNS = {name: {"ls": "", "color": "black", "zorder": 6} | look for name, look in RUNS.items()}
NAMES = {
    "after training, min-max": "after, min-max",
    "trained on, then rounded": "floats trained on",
}
NAMED = {NAMES.get(way, way): look for way, look in LINES.items()}
NAMED |= {"float network": FLOAT, "range of seeds": BAND} | RUNS
SURROGATE = {"color": "black", "ls": (0, (5, 2)), "lw": 1.1}
BY_SCALE = {"color": "black", "ls": ":", "lw": 1.4}
LATENT = ("-", (0, (4, 1.5)), (0, (1, 1.2)))  # of the three weights
THRESHOLD = {"color": DENSE, "lw": 0.6, "alpha": 0.7}
TOP = 1.6  # of the axis of gradients
ERRORS = (1, 2, 5, 10, 20, 50, 90)  # % marked


def draw(figure: Figure, view: WeightsView) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    title = figure.suptitle(" ", x=0.01, ha="left", fontsize=SIZE_OF_TITLE)
    left, right = figure.add_gridspec(1, 2, width_ratios=(10, 11))
    stairs, gradient, weights = left.subgridspec(3, 1, height_ratios=(10, 6, 5)).subplots()
    learns, errors, names = right.subgridspec(3, 1, height_ratios=(10, 10, 7)).subplots()
    return {
        "title": title,
        "stairs": _draw_stairs(stairs),
        "gradient": _draw_gradient(gradient),
        "weights": _draw_weights(weights, view),
        "learns": _draw_learning(learns),
        "errors": _draw_errors(errors, view),
        "legend": Held(_draw_names(names)),
    }


def _draw_names(ax: Axes) -> legend.Rows:
    ax.set_axis_off()
    rows = legend.draw(ax, NAMED, left=-0.08, top=1, columns=COLUMNS)
    for artist in (artist for row in rows.values() for artist in row):
        artist.set_in_layout(False)
    return rows


def _over_weights(ax: Axes) -> dict[str, Any]:
    """An axis from -1 to 1 times the reach, and the thresholds between two values across it."""
    ax.set_xlim(-1, 1)
    ax.set_xticks([-1, 0, 1], [""] * 3)
    thresholds = LineCollection([], transform=ax.get_xaxis_transform(), zorder=1, **THRESHOLD)
    ax.add_collection(thresholds, autolim=False)
    return {"thresholds": thresholds}


def _labels(ax: Axes, places: tuple[float, ...], axis: str) -> list[Any]:
    """Words of their own: an axis that is drawn anew takes several times as long."""
    if axis == "x":
        below = ax.get_xaxis_transform()
        return [ax.text(x, -0.12, "-0.000", transform=below, ha="center", va="top") for x in places]
    left = ax.get_yaxis_transform()
    return [ax.text(-0.03, y, "-0.000", transform=left, ha="right", va="center") for y in places]


def _draw_stairs(ax: Axes) -> dict[str, Any]:
    found = _over_weights(ax)
    ax.set_ylim(-1.5, 1.5)
    ax.set_yticks([-1, 0, 1], [""] * 3)
    found["up"] = _labels(ax, (-1, 0, 1), "y")
    (found["surrogate"],) = ax.plot([], [], zorder=3, **SURROGATE)
    (found["rounded"],) = ax.plot([], [], lw=2.2, zorder=4)
    found["title"] = ax.set_title("rounded; dashed: as the gradient sees it")
    return found


def _draw_gradient(ax: Axes) -> dict[str, Any]:
    found = _over_weights(ax)
    ax.set_ylim(-TOP, TOP)
    ax.set_yticks([-1, 0, 1])
    (found["gradient"],) = ax.plot([], [], lw=2.2, zorder=4)
    (found["by_scale"],) = ax.plot([], [], zorder=5, **BY_SCALE)
    found["title"] = ax.set_title(" ")
    return found


def _draw_weights(ax: Axes, view: WeightsView) -> dict[str, Any]:
    found = _over_weights(ax)
    found["along"] = _labels(ax, (-1, 0, 1), "x")
    bins = len(view.counts)
    edges = np.linspace(-1, 1, bins + 1)
    ax.set_ylim(0, 1.05)
    ax.set_yticks([])
    found["counts"] = ax.stairs(np.zeros(bins), edges, fill=True, color=DENSE, lw=0)
    found["beyond"] = ax.stairs(
        np.zeros(bins), edges, fill=True, fc="white", ec="black", hatch="////", lw=0.5
    )
    found["title"] = ax.set_title(" ")
    return found


def _draw_learning(ax: Axes) -> dict[str, Any]:
    ax.set(
        xlim=(0, STEPS),
        ylim=(-NEAR - 0.1, NEAR + 0.1),
        xlabel="steps (latent weights thin, rounded thick)",
    )
    ax.set_yticks([-1, 0, 1])
    found = {"title": ax.set_title(" ")}
    found["thresholds"] = [ax.axhline(y, **THRESHOLD) for y in (-0.5, 0.5)]
    found["latent"] = [ax.plot([], [], color="black", ls=ls, lw=1.2)[0] for ls in LATENT]
    found["rounded"] = [ax.plot([], [], ls=ls, lw=2.2, drawstyle="steps-post")[0] for ls in LATENT]
    return found


def _draw_errors(ax: Axes, view: WeightsView) -> dict[str, Any]:
    bits = np.array(view.bits_of)
    ax.set(yscale="log", xlim=(bits.min() - 0.25, bits.max() + 0.25), xlabel="bits")
    ax.set_ylim(0.8 * view.whole, 95)
    ax.set_xticks(bits)
    ticks = [one for one in ERRORS if one > 0.8 * view.whole]
    ax.set_yticks(ticks, [str(one) for one in ticks])
    ax.set_yticks([], minor=True)
    ax.set_title("% wrong on validation images")
    ax.axhline(view.whole, **FLOAT)
    (marker,) = ax.plot([], [], "o", ms=9, mec="white", zorder=7)
    curves = {
        "band": ax.fill_between(bits, 50, 51, lw=0, alpha=0.3, zorder=2),
        "lines": {
            way: ax.plot([], [], marker=MARKS[way], ms=4, **look)[0] for way, look in LINES.items()
        },
    }
    runs = {
        name: {way: ax.plot([], [], **look | _coloured(name, way))[0] for way in WAYS}
        for name, look in RUNS.items()
    }
    here = ax.axvline(1, color=DENSE, lw=0.8)
    return {"curves": Held(curves), "runs": Held(runs), "marker": marker, "here": here}


def _coloured(name: str, way: str) -> dict[str, str]:
    return {"mec" if name == "stopped" else "mfc": WAYS[way]}


def update(artists: Mapping[str, Any], view: WeightsView) -> None:
    """Move the artists to the view."""
    errors = view.errors.get(view.scale)
    wrong = "" if errors is None else f", {mean(errors[:, view.here])} % wrong"
    artists["title"].set_text(f"{heading(view)}{wrong} (float {view.whole:.3g} %)")
    _update_stairs(artists, view)
    _update_weights(artists["weights"], view)
    _update_learning(artists["learns"], view)
    _update_errors(artists["errors"], view)
    drawn = _drawn(view)
    artists["legend"].show(drawn, lambda rows: legend.update(rows, drawn, COLUMNS))


def _update_stairs(artists: Mapping[str, Any], view: WeightsView) -> None:
    shown, colour = view.stairs, WAYS[view.scale]
    x, thresholds = shown.latent / shown.reach, _thresholds(view)
    for name in ("stairs", "gradient", "weights"):
        artists[name]["thresholds"].set_segments([[(t, 0), (t, 1)] for t in thresholds])
    stairs = artists["stairs"]
    stairs["rounded"].set_data(x, shown.rounded / view.end)
    stairs["rounded"].set_color(colour)
    stairs["surrogate"].set_data(x, shown.surrogate / view.end)
    for words, value in zip(stairs["up"], (-view.end, 0, view.end), strict=True):
        words.set_text(f"{value:.2g}")
    gradient = artists["gradient"]
    gradient["gradient"].set_data(x, shown.gradient)
    gradient["gradient"].set_color(colour)
    gradient["by_scale"].set_data(*([], []) if shown.by_scale is None else (x, shown.by_scale))
    both = "" if shown.by_scale is None else "; by its scale, dotted"
    gradient["title"].set_text(f"gradient{both}")


def _thresholds(view: WeightsView) -> np.ndarray:
    """Where one value ends and the next begins, over the reach."""
    if view.bits == 1:
        return np.zeros(1)
    count = view.values - 1
    return (np.arange(count) - (count - 1) / 2) * view.step / view.stairs.reach


def _update_weights(artists: Mapping[str, Any], view: WeightsView) -> None:
    heights = np.log1p(view.counts) / np.log1p(view.counts.max())
    edges = np.linspace(-1, 1, len(heights) + 1) * view.stairs.reach
    outside = np.abs((edges[1:] + edges[:-1]) / 2) > view.end
    artists["counts"].set_data(heights)
    artists["beyond"].set_data(heights * outside)
    whose = "fc1" if view.per == "layer" else "a unit"
    zeros = "" if view.bits == 1 else f"{100 * view.zeros:.0f} % become 0, "
    artists["title"].set_text(f"{whose}: {zeros}{100 * view.beyond:.1f} % outside")
    for words, x in zip(artists["along"], (-1, 0, 1), strict=True):
        words.set_text(f"{x * view.stairs.reach:.2g}")


def _update_learning(artists: Mapping[str, Any], view: WeightsView) -> None:
    unit, steps = view.unit, np.arange(STEPS + 1)
    for place, which in enumerate(view.drawn):
        artists["latent"][place].set_data(steps, unit.latent[:, which] / unit.scales)
        artists["rounded"][place].set_data(steps, unit.levels[:, which] + 0.05 * (place - 1))
        artists["rounded"][place].set_color(WAYS[view.scale])
    artists["title"].set_text(
        f"{unit.changed} weights change, {unit.changed_if_stored} without latent ones"
    )
    for line, at in zip(artists["thresholds"], (-0.5, 0.5), strict=True):
        line.set_ydata([at if view.bits > 1 else 0] * 2)


def _drawn(view: WeightsView) -> set[str]:
    """The names in the legend."""
    drawn = {"float network", *(NAMES.get(way, way) for way in view.errors)}
    if len(view.errors.get(view.scale, ())) > 1:
        drawn.add("range of seeds")
    return drawn | {"stopped" if run.stopped else "trained here" for run in view.runs}


def _update_errors(artists: Mapping[str, Any], view: WeightsView) -> None:
    artists["curves"].show((view.per, view.scale), lambda curves: _update_curves(curves, view))
    artists["runs"].show(view.runs, lambda runs: _update_runs(runs, view))
    errors = view.errors.get(view.scale)
    artists["marker"].set_data([], [])
    artists["here"].set_xdata([view.bits] * 2)
    if errors is not None:
        artists["marker"].set_data([view.bits], [errors[:, view.here].mean()])
        artists["marker"].set_markerfacecolor(WAYS[view.scale])


def _update_curves(artists: Mapping[str, Any], view: WeightsView) -> None:
    bits, errors = np.array(view.bits_of), view.errors.get(view.scale)
    for way, line in artists["lines"].items():
        shown = way in view.errors
        line.set_visible(shown)
        if shown:
            line.set_data(bits, view.errors[way].mean(0))
        line.set(linewidth=BROAD if way == view.scale else NARROW)
    artists["band"].set_visible(errors is not None)
    if errors is not None:
        artists["band"].set_data(bits, errors.min(0), errors.max(0))
        artists["band"].set_facecolor(WAYS[view.scale])


def _update_runs(artists: Mapping[str, Any], view: WeightsView) -> None:
    for name, marks in artists.items():
        for way, mark in marks.items():
            runs = [r for r in view.runs if r.scale == way and r.stopped == (name == "stopped")]
            mark.set_data([run.bits for run in runs], [100 * run.error for run in runs])

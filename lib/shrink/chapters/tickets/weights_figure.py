"""The explorer's scene of the weights that are kept: of pixels, initial values and two seeds."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from shrink.chapters.tickets.colours import COLOURS
from shrink.chapters.tickets.weights_view import WeightsView, heading
from shrink.classroom import plots
from shrink.classroom.explorers import legend

SIZE_OF_TITLE = 9.5 * plots.SCALE
DENSE = plots.COLOURS["dense"]
OUTLINE = {"color": plots.COLOURS["fine-tuned"], "ls": "-", "lw": 1.3}
CHANCE = {"color": DENSE, "ls": "--", "lw": 1.2}
LOOKS = {
    "outline of the digits": OUTLINE,
    "by chance": CHANCE,
    "two standard deviations": {"color": DENSE, "alpha": 0.25, "lw": 6},
    "two seeds": {"color": "black", "marker": "o", "ls": "", "ms": 5},
    "by chance, pixel by pixel": {
        "color": "black",
        "marker": "D",
        "ls": "",
        "ms": 7,
        "mfc": "none",
    },
}
TOPS = (100, 50, 20, 10)  # % at the top of the axis of the share kept
LEAST = 0.1  # of the spread of chance, on a logarithmic axis
RATIOS = (0.5, 1, 1.5, 2, 3, 4)


def draw(figure: Figure, view: WeightsView) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    title = figure.suptitle(" ", x=0.01, ha="left", fontsize=SIZE_OF_TITLE)
    left, right = figure.add_gridspec(1, 2, width_ratios=(10, 11))
    pixels, names = left.subgridspec(2, 1, height_ratios=(10, 3)).subplots()
    kept, shared = right.subgridspec(2, 1).subplots()
    names.set_axis_off()
    legend.draw(names, LOOKS, left=0, top=0.9)
    return {
        "title": title,
        "pixels": _draw_pixels(pixels, view),
        "kept": _draw_kept(kept, view),
        "shared": _draw_shared(shared, view),
    }


def _draw_pixels(ax: Axes, view: WeightsView) -> dict[str, Any]:
    image = ax.imshow(view.pixels, cmap="gray_r", vmin=0, vmax=view.units, interpolation="nearest")
    edges = _outline(view.inked)
    (outline,) = ax.plot(*edges, **OUTLINE)
    ax.set_axis_off()
    return {"image": image, "outline": outline, "title": ax.set_title(" ")}


def _outline(inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The edges between pixels inside and outside, as x and y of strokes with gaps."""
    padded = np.pad(inside, 1).astype(int)
    x, y = [], []
    for row, column in np.argwhere(np.diff(padded, axis=0)[:, 1:-1]):
        x += [column - 0.5, column + 0.5, np.nan]
        y += [row - 0.5, row - 0.5, np.nan]
    for row, column in np.argwhere(np.diff(padded, axis=1)[1:-1]):
        x += [column - 0.5, column - 0.5, np.nan]
        y += [row - 0.5, row + 0.5, np.nan]
    return np.array(x), np.array(y)


def _draw_kept(ax: Axes, view: WeightsView) -> dict[str, Any]:
    bins = len(view.began)
    bars = ax.bar(np.arange(bins) + 0.5, np.zeros(bins), 0.9)
    average = ax.axhline(50, **CHANCE)
    ax.set(xlim=(0, bins), ylim=(0, 100))
    ax.set_xticks([0, bins / 2, bins], [""] * 3)
    ax.set_yticks([0, 50, 100], [""] * 3)
    # Words of their own: an axis that is drawn anew takes several times as long.
    below, left = ax.get_xaxis_transform(), ax.get_yaxis_transform()
    along = [
        ax.text(x, -0.05, "-0.000", transform=below, ha="center", va="top")
        for x in (0, bins / 2, bins)
    ]
    up = [ax.text(-0.03, y, "100", transform=left, ha="right", va="center") for y in (0, 50, 100)]
    title = ax.set_title("fc1: % kept, by initial weight")
    return {"bars": list(bars), "average": average, "title": title, "along": along, "up": up}


def _draw_shared(ax: Axes, view: WeightsView) -> dict[str, Any]:
    names = list(view.shared)
    ax.set_yscale("log")
    ax.set(xlim=(-0.5, len(names) - 0.2), ylim=(RATIOS[0], RATIOS[-1]))
    ax.set_yticks(RATIOS, [f"{ratio:g}" for ratio in RATIOS])
    ax.set_yticks([], minor=True)
    ax.set_xticks(range(len(names)), names)
    ax.tick_params(axis="x", length=0)
    ax.axhline(1, **CHANCE)
    ax.set_title("kept by both of two seeds, over chance")
    spread = ax.bar(range(len(names)), 0.1, 0.6, bottom=1, color=DENSE, alpha=0.25, lw=0)
    look = LOOKS["two seeds"]
    points = [ax.plot([], [], **look | {"mec": "white"}, zorder=5)[0] for _ in names]
    (by_pixel,) = ax.plot([], [], **LOOKS["by chance, pixel by pixel"], zorder=4)
    words = [ax.text(0, 1, "", va="bottom") for _ in names]
    return {"spread": list(spread), "points": points, "by_pixel": by_pixel, "words": words}


def update(artists: Mapping[str, Any], view: WeightsView) -> None:
    """Move the artists to the view."""
    artists["title"].set_text(heading(view))
    _update_pixels(artists["pixels"], view)
    _update_kept(artists["kept"], view)
    _update_shared(artists["shared"], view)


def _update_pixels(artists: Mapping[str, Any], view: WeightsView) -> None:
    most = view.pixels.max()
    artists["image"].set_data(view.pixels)
    artists["image"].set_clim(0, max(most, 1))
    artists["title"].set_text(f"weights left per pixel, 0 to {most:.0f}")


def _update_kept(artists: Mapping[str, Any], view: WeightsView) -> None:
    share = view.kept_by_bin
    top = min(one for one in TOPS if one >= share.max())
    for bar, height in zip(artists["bars"], 100 * share / top, strict=True):
        bar.set_height(height)
        bar.set_facecolor(COLOURS[view.arm])
    artists["average"].set_ydata([100 * view.kept_of_layer / top] * 2)
    end = f"{view.edges[-1]:.2g}"
    labels = {"up": ("0", f"{top / 2:g}", f"{top}"), "along": (f"-{end}", "0", f"+{end}")}
    for name, labels_of in labels.items():
        for words, label in zip(artists[name], labels_of, strict=True):
            words.set_text(label)
    artists["title"].set_text(f"{view.layer}: % kept, by initial weight")


def _update_shared(artists: Mapping[str, Any], view: WeightsView) -> None:
    names = ("spread", "points", "words")
    rows = zip(*(artists[name] for name in names), view.shared.values(), strict=True)
    for place, (spread, points, words, shared) in enumerate(rows):
        width = 2 * shared.deviation / shared.expected
        spread.set_y(max(1 - width, LEAST))
        spread.set_height(1 + width - spread.get_y())
        points.set_data([place] * len(shared.both), shared.ratios)
        points.set_markerfacecolor(COLOURS[view.arm])
        words.set_position((place + 0.33, shared.ratios.max()))
        words.set_text(f"{shared.ratios.mean():.2f}")
    first = next(iter(view.shared.values()))
    artists["by_pixel"].set_data([0], [first.by_pixel.mean() / first.expected])

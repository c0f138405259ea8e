"""The explorer's scene of one kernel: all its roundings, its integers, and G."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from shrink.chapters.mixed.colours import MARKS_OF_ROUNDINGS, ROUNDINGS
from shrink.chapters.mixed.kernel_view import TINY, KernelView, heading, times
from shrink.classroom import plots
from shrink.classroom.explorers import legend

SIZE_OF_TITLE = 9.5 * plots.SCALE
DENSE = plots.COLOURS["dense"]
SIDE = 3  # of a kernel
CANCEL = 0.5  # scales: errors that add up to at most this are marked
X, Y = (0.8, 60), (0.01, 100)  # multiples of the nearest rounding's errors that are shown
SIGNED = LinearSegmentedColormap.from_list(
    "signed", [plots.COLOURS["pruned"], "white", plots.COLOURS["fine-tuned"]]
)
SIZES = {"nearest": 12, "optimum": 10, "AdaRound": 7}  # where they are the same, all are seen
LOOKS = {
    name: {"marker": mark, "ms": SIZES[name], "mfc": ROUNDINGS[name], "mec": "white", "ls": ""}
    for name, mark in MARKS_OF_ROUNDINGS.items()
}
LOOKS = {name: look | {"zorder": 5 + place} for place, (name, look) in enumerate(LOOKS.items())}
ON_SHOW = {"marker": "o", "ms": 17, "mfc": "none", "mec": "black", "mew": 1.6}
ON_SHOW |= {"ls": "", "zorder": 9}
OTHERS = {
    f"|sum of errors| > {CANCEL:g} scales": {"marker": "o", "ms": 3.5, "mfc": "none", "mew": 0.6},
    f"|sum of errors| ≤ {CANCEL:g} scales": {"marker": "o", "ms": 3.5, "mfc": "black", "mew": 0.6},
}
OTHERS = {name: look | {"mec": "black", "ls": "", "zorder": 3} for name, look in OTHERS.items()}
NAMED = LOOKS | {"on show": ON_SHOW | {"ms": 9}} | OTHERS


def draw(figure: Figure, view: KernelView) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    title = figure.suptitle(" ", x=0.01, ha="left", fontsize=SIZE_OF_TITLE)
    left, right = figure.add_gridspec(1, 2, width_ratios=(12, 10))
    kernel, products, names = right.subgridspec(3, 1, height_ratios=(10, 10, 6)).subplots()
    return {
        "title": title,
        "roundings": _draw_roundings(figure.add_subplot(left)),
        "kernel": _draw_kernel(kernel),
        "products": _draw_products(products),
        "legend": _draw_names(names),
    }


def _draw_roundings(ax: Axes) -> dict[str, Any]:
    ax.set(xscale="log", yscale="log", xlim=X, ylim=Y)
    for axis, ticks in ((ax.xaxis, (1, 3, 10, 30)), (ax.yaxis, (0.01, 0.1, 1, 10, 100))):
        axis.set_ticks(ticks, [f"{tick:g}" for tick in ticks])
        axis.set_ticks([], minor=True)
    ax.set_xlabel("weight error, times that of nearest")
    ax.set_title("output error, times that of nearest")
    ax.axhline(1, color=DENSE, lw=0.8, zorder=1)
    ax.axvline(1, color=DENSE, lw=0.8, zorder=1)
    return {
        "others": [ax.plot([], [], **look)[0] for look in OTHERS.values()],
        "marks": {name: ax.plot([], [], **look)[0] for name, look in LOOKS.items()},
        "on show": ax.plot([], [], **ON_SHOW)[0],
        "better": ax.text(0.98, 0.98, "", transform=ax.transAxes, ha="right", va="top"),
    }


def _draw_names(ax: Axes) -> legend.Rows:
    ax.set_axis_off()
    rows = legend.draw(ax, NAMED, left=-0.1, top=0.95)
    for artist in (artist for row in rows.values() for artist in row):
        artist.set_in_layout(False)
    return rows


def _draw_kernel(ax: Axes) -> dict[str, Any]:
    image = ax.imshow(np.zeros((SIDE, SIDE)), cmap=SIGNED, vmin=-1, vmax=1)
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    cells = [divmod(i, SIDE) for i in range(SIDE**2)]
    return {
        "image": image,
        "integers": [
            ax.text(x, y - 0.12, "", ha="center", va="center", fontsize=11 * plots.SCALE, zorder=4)
            for y, x in cells
        ],
        "errors": [ax.text(x, y + 0.27, "", ha="center", va="center", zorder=4) for y, x in cells],
        "changed": [
            ax.add_patch(
                Rectangle((x - 0.46, y - 0.46), 0.92, 0.92, fill=False, ec="black", lw=1.6)
            )
            for y, x in cells
        ],
        "title": ax.set_title(" "),
    }


def _draw_products(ax: Axes) -> dict[str, Any]:
    image = ax.imshow(np.zeros((SIDE**2, SIDE**2)), cmap="Greys", vmin=0, vmax=1)
    ax.set_xticks(range(SIDE**2), range(1, 1 + SIDE**2))
    ax.set_yticks(range(0, SIDE**2, 2), range(1, 1 + SIDE**2, 2))
    ax.tick_params(length=0)
    return {"image": image, "title": ax.set_title(" ")}


def update(artists: Mapping[str, Any], view: KernelView) -> None:
    """Move the artists to the view."""
    ratio = float(view.beside_nearest(view.output_errors, view.place))
    artists["title"].set_text(
        f"{heading(view)}, rank {view.rank} of {len(view.output_errors)}: output error "
        f"{times(ratio)} times that of nearest"
    )
    _update_roundings(artists["roundings"], view)
    _update_kernel(artists["kernel"], view)
    largest = float(view.products.max())
    products = artists["products"]
    products["image"].set_data(view.products / max(largest, TINY))
    products["title"].set_text(f"G = E[xxᵀ]: white 0, black {largest:.2g}")


def _update_roundings(artists: Mapping[str, Any], view: KernelView) -> None:
    x = view.beside_nearest(view.weight_errors).clip(*X)
    y = view.beside_nearest(view.output_errors).clip(*Y)
    cancel = np.abs(view.sums) <= CANCEL
    for dots, which in zip(artists["others"], (~cancel, cancel), strict=True):
        dots.set_data(x[which], y[which])
    for name, mark in artists["marks"].items():
        mark.set_data(x[[view.places[name]]], y[[view.places[name]]])
    artists["on show"].set_data(x[[view.place]], y[[view.place]])
    artists["better"].set_text(f"{view.better} of {len(x)} below nearest")


def _update_kernel(artists: Mapping[str, Any], view: KernelView) -> None:
    integers, steps = view.integers[view.place], view.steps(view.place)
    artists["image"].set_data(steps.reshape(SIDE, SIDE))
    for text, q in zip(artists["integers"], integers, strict=True):
        text.set_text(f"{q}")
    for text, step in zip(artists["errors"], steps, strict=True):
        text.set_text(f"{step:+.2f}")
    for frame, changed in zip(
        artists["changed"], integers != view.integers[view.nearest], strict=True
    ):
        frame.set_visible(bool(changed))
    artists["title"].set_text(f"errors in scales, sum {steps.sum():+.2f}")

"""The figure of chapter 05's explorer of a file: what a flipped bit does, drawn."""

import math
import textwrap
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from shrink.chapters.code.file_view import CANVAS, View, place
from shrink.chapters.code.parts import COLOURS, PARTS, part_of
from shrink.classroom import plots
from shrink.coding.codec_bytes import Region

SIZE = (6.4, 4.6)  # inches
ASPECT = 1.75  # of the map, width to height
LIGHTER = 0.4  # how much white a byte of 255 is given
REFUSED = -11  # where refused flips stand on the axis of accuracy, %
DENSE, MARK = plots.COLOURS["dense"], plots.COLOURS["fine-tuned"]
LINE = 38  # letters that fit beside the map
INVITATION = "press\nFlip a hundred\nrandom bits"


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    above, below = figure.add_gridspec(2, 1, height_ratios=(1, 1))
    overview, byte = above.subgridspec(1, 2, width_ratios=(1, 1)).subplots()
    flips, picture = below.subgridspec(1, 2, width_ratios=(13, 10)).subplots()
    return {
        **_draw_map(overview, view),
        **_draw_byte(byte),
        **_draw_flips(flips, view),
        **_draw_picture(picture),
    }


def bytes_a_row(content: bytes) -> int:
    """How many pixels the map is wide."""
    return 16 * math.ceil(math.sqrt(ASPECT * len(content)) / 16)


def map_of(content: bytes, regions: tuple[Region, ...]) -> np.ndarray:
    """The bytes as pixels (rows, columns, 3), 0..1: coloured by part, the lighter the larger.

    What is left of the last row is white.
    """
    width = bytes_a_row(content)
    pixels = np.ones((-(-len(content) // width) * width, 3))
    values = np.frombuffer(content, np.uint8)[:, None] / 255
    for region in regions:
        colour = np.array(to_rgb(COLOURS[part_of(region)]))
        white = LIGHTER * values[region.start : region.end]
        pixels[region.start : region.end] = (1 - white) * colour + white
    return pixels.reshape(-1, width, 3)


def _draw_map(ax: Axes, view: View) -> dict[str, Any]:
    pixels = map_of(view.content, view.regions)
    height, width, _ = pixels.shape
    ax.imshow(pixels, interpolation="nearest", aspect="auto")
    every = max(1, height // 5)
    rows = range(0, height, every)
    ax.set_yticks(rows, [f"{row * width:,}" for row in rows])
    ax.set(xticks=[], title="every byte; the larger, the fainter")
    ax.set_ylabel("byte")
    marks = [
        ax.plot([], [], "s", ms=size, mfc="none", mec=colour, mew=edge, clip_on=False)[0]
        for size, colour, edge in ((11, "white", 3.5), (11, "black", 1.5))
    ]
    for mark in marks:  # without a place yet it would stretch the axes to the figure's corner
        mark.set_in_layout(False)
    return {"marks": marks}


def _draw_picture(ax: Axes) -> dict[str, Any]:
    ax.set(xticks=[], yticks=[], anchor="W")
    ax.spines[:].set_visible(False)
    image = ax.imshow(
        np.zeros((CANVAS, CANVAS)), cmap="gray_r", vmin=0, vmax=255, interpolation="nearest"
    )
    refusal = ax.text(0, CANVAS / 2, "", va="center")
    key = ax.text(0, 1.03 * CANVAS, "", va="top", color=DENSE)
    title = ax.set_title("what comes\nof it")
    return {"picture": image, "refusal": refusal, "key": key, "picture_title": title}


def _draw_flips(ax: Axes, view: View) -> dict[str, Any]:
    present = [i for i, size in enumerate(view.parts) if size]
    names = [f"{PARTS[i]}  {view.parts[i]:,}" for i in present]
    for row, i in enumerate(present):
        ax.add_patch(Rectangle((-25, row - 0.36), 6, 0.72, fc=COLOURS[PARTS[i]], ec=DENSE, lw=0.5))
    ax.axvline(-4.5, color="#dddddd", lw=0.8)
    ax.axvline(100 * view.accuracy, color=DENSE, ls="--", lw=1)
    (dots,) = ax.plot([], [], "o", color="black", ms=4, mew=0, alpha=0.55)
    (crosses,) = ax.plot([], [], "x", color=MARK, ms=4, mew=1)
    ax.set(xlim=(-25, 102), ylim=(len(present) - 0.4, -0.6))
    ax.set_yticks(range(len(present)), names)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xticks([REFUSED, *range(20, 101, 20)], ["refused", *map(str, range(20, 101, 20))])
    ax.set_xlabel("accuracy after a flip, repaired, %")
    invitation = ax.text(48, (len(present) - 1) / 2, "", ha="center", va="center", color=DENSE)
    return {
        "dots": dots,
        "crosses": crosses,
        "invitation": invitation,
        "flip_title": ax.set_title("flips"),
    }


def _draw_byte(ax: Axes) -> dict[str, Any]:
    ax.set(xlim=(0, 8), ylim=(0, 6))
    ax.set_axis_off()
    boxes = [ax.add_patch(Rectangle((i + 0.06, 4.35), 0.88, 1.2, lw=1)) for i in range(8)]
    bits = [ax.text(i + 0.5, 4.93, "", ha="center", va="center") for i in range(8)]
    for i in range(8):
        ax.text(i + 0.5, 5.62, str(7 - i), ha="center", va="bottom", color=DENSE)
    words = ax.text(0.06, 4.05, "", va="top", linespacing=1.3)
    title = ax.set_title("the byte")
    return {"boxes": boxes, "bits": bits, "words": words, "byte_title": title}


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    width = bytes_a_row(view.content)
    for mark in artists["marks"]:
        mark.set_data([view.byte % width], [view.byte // width])
    _update_picture(artists, view)
    _update_flips(artists, view)
    _update_byte(artists, view)


def _update_picture(artists: Mapping[str, Any], view: View) -> None:
    outcome = view.outcome
    artists["picture"].set_data(outcome.picture)
    words = outcome.refused if outcome.refused or outcome.changed else "Nothing changes."
    artists["refusal"].set_text(textwrap.fill(words, LINE - 8))
    if outcome.refused:
        title = (
            "the reader\nrefuses the file"
            if outcome.by_reader
            else "the file is read,\nand refused"
        )
    elif outcome.changed:
        title = f"{outcome.changed:,} of {outcome.tensor} changed:\n"
        title += f"{100 * outcome.accuracy:.1f} % right, before {100 * view.accuracy:.1f} %"
    else:
        title = "the file is read:\nthe same network"
    artists["picture_title"].set_text(title)
    by_pixel = outcome.tensor == "fc1.weight"
    key = "by pixel; the darker, the more" if by_pixel else "dark where changed"
    artists["key"].set_text(key if outcome.changed else "")


def _update_flips(artists: Mapping[str, Any], view: View) -> None:
    present = [PARTS[i] for i, size in enumerate(view.parts) if size]
    rows = np.array([present.index(flip.part) for flip in view.flips], float)
    rows += [0.5 * (0.618 * i % 1) - 0.25 for i in range(len(rows))]
    places = REFUSED + np.array([6 * (0.755 * i % 1) - 3 for i in range(len(rows))])
    right = np.array([100 * flip.accuracy for flip in view.flips])
    refused = np.array([flip.refused for flip in view.flips], bool)
    artists["dots"].set_data(right[~refused], rows[~refused])
    artists["crosses"].set_data(places[refused], rows[refused])
    artists["invitation"].set_text("" if view.flips else INVITATION)
    count = f"{len(view.flips)} random flips, {refused.sum()} of them refused"
    artists["flip_title"].set_text(count if view.flips else "the parts: their bytes, and flips")


def _update_byte(artists: Mapping[str, Any], view: View) -> None:
    for i, (box, text) in enumerate(zip(artists["boxes"], artists["bits"], strict=True)):
        bit, chosen = 7 - i, 7 - i == view.bit
        now = view.value >> bit & 1
        box.set(facecolor="#ffe2cc" if chosen else "white", edgecolor=MARK if chosen else DENSE)
        text.set_text(f"{now}→{1 - now}" if chosen else str(now))
    artists["byte_title"].set_text(f"byte {view.byte:,} of {len(view.content):,}: {view.value}")
    lines = [place(view.region), *textwrap.wrap(view.meaning, LINE)]
    if view.meaning_after:
        lines += textwrap.wrap(f"flipped: {view.meaning_after}", LINE)
    artists["words"].set_text("\n".join(lines[:6]))

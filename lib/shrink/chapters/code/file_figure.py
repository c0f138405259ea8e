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

ASPECT = 1.75  # of the map, width to height
LIGHTER = 0.4  # how much white a byte of 255 is given
REFUSED = -11  # where refused flips stand on the axis of accuracy, %
DENSE, MARK = plots.COLOURS["dense"], plots.COLOURS["fine-tuned"]
SMALL, TINY = "small", "x-small"


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    rows = figure.add_gridspec(2, 1, height_ratios=(10, 8))
    above = rows[0].subgridspec(1, 2, width_ratios=(7, 4)).subplots()
    below = rows[1].subgridspec(1, 2, width_ratios=(6, 5)).subplots()
    return {
        **_draw_map(above[0], view),
        **_draw_picture(above[1]),
        **_draw_flips(below[0], view),
        **_draw_byte(below[1]),
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
    ax.set_yticks(rows, [f"{row * width:,}" for row in rows], fontsize=TINY)
    ax.set(xticks=[], title=f"every byte of the file, {width} a row; the larger, the fainter")
    ax.set_ylabel("byte")
    marks = [
        ax.plot([], [], "s", ms=size, mfc="none", mec=colour, mew=edge, clip_on=False)[0]
        for size, colour, edge in ((11, "white", 3.5), (11, "black", 1.5))
    ]
    for mark in marks:  # without a place yet it would stretch the axes to the figure's corner
        mark.set_in_layout(False)
    return {"marks": marks}


def _draw_picture(ax: Axes) -> dict[str, Any]:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)
    image = ax.imshow(
        np.zeros((CANVAS, CANVAS)), cmap="gray_r", vmin=0, vmax=255, interpolation="nearest"
    )
    text = ax.text(CANVAS / 2, CANVAS / 2, "", ha="center", va="center")
    return {"picture": image, "refusal": text, "picture_title": ax.set_title("changed weights")}


def _draw_flips(ax: Axes, view: View) -> dict[str, Any]:
    total = view.parts.sum()
    present = [i for i, size in enumerate(view.parts) if size]
    names = [f"{PARTS[i]}  {view.parts[i]:,}  {100 * view.parts[i] / total:.2g} %" for i in present]
    for row, i in enumerate(present):
        ax.add_patch(Rectangle((-25, row - 0.36), 6, 0.72, fc=COLOURS[PARTS[i]], ec=DENSE, lw=0.5))
    ax.axvline(-4.5, color="#dddddd", lw=0.8)
    ax.axvline(100 * view.accuracy, color=DENSE, ls="--", lw=1)
    (dots,) = ax.plot([], [], "o", color="black", ms=4, mew=0, alpha=0.55)
    (crosses,) = ax.plot([], [], "x", color=MARK, ms=4, mew=1)
    ax.set(xlim=(-25, 102), ylim=(len(present) - 0.4, -0.6))
    ax.set_yticks(range(len(present)), names, fontsize=SMALL)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)
    ax.set_xticks([REFUSED, 0, 20, 40, 60, 80, 100], ["refused", *map(str, range(0, 101, 20))])
    ax.set_xlabel("accuracy after a random flip, the checksum repaired, %")
    title = ax.set_title("parts, bytes; no random flips yet")
    return {"dots": dots, "crosses": crosses, "flip_title": title}


def _draw_byte(ax: Axes) -> dict[str, Any]:
    ax.set(xlim=(0, 8), ylim=(0, 6))
    ax.set_axis_off()
    boxes = [ax.add_patch(Rectangle((i + 0.06, 4.35), 0.88, 1.2, lw=1)) for i in range(8)]
    bits = [ax.text(i + 0.5, 4.93, "", ha="center", va="center", fontsize=11) for i in range(8)]
    for i in range(8):
        ax.text(i + 0.5, 5.62, str(7 - i), ha="center", va="bottom", fontsize=TINY, color=DENSE)
    words = ax.text(0.06, 4.05, "", va="top", fontsize=SMALL, linespacing=1.35)
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
    words = f"{'Refused' if outcome.by_reader else 'Read, and refused'}: {outcome.refused}"
    if not outcome.refused:
        words = "" if outcome.changed else "Nothing changes."
    artists["refusal"].set_text(textwrap.fill(words, 38))
    if outcome.refused or not outcome.changed:
        title = "refused" if outcome.refused else "the same network"
    elif outcome.tensor == "fc1.weight":
        title = f"fc1.weight, changed by pixel, up to {outcome.darkest}"
    else:
        title = f"{outcome.tensor}: what changed"
    artists["picture_title"].set_text(title)


def _update_flips(artists: Mapping[str, Any], view: View) -> None:
    present = [PARTS[i] for i, size in enumerate(view.parts) if size]
    rows = np.array([present.index(flip.part) for flip in view.flips], float)
    rows += [0.5 * (0.618 * i % 1) - 0.25 for i in range(len(rows))]
    places = REFUSED + np.array([6 * (0.755 * i % 1) - 3 for i in range(len(rows))])
    right = np.array([100 * flip.accuracy for flip in view.flips])
    refused = np.array([flip.refused for flip in view.flips], bool)
    artists["dots"].set_data(right[~refused], rows[~refused])
    artists["crosses"].set_data(places[refused], rows[refused])
    if view.flips:
        words = f"{len(view.flips)} random flips: {refused.sum()} refused though repaired"
        artists["flip_title"].set_text(words)


def _update_byte(artists: Mapping[str, Any], view: View) -> None:
    for i, (box, text) in enumerate(zip(artists["boxes"], artists["bits"], strict=True)):
        bit, chosen = 7 - i, 7 - i == view.bit
        now = view.value >> bit & 1
        box.set(facecolor="#ffe2cc" if chosen else "white", edgecolor=MARK if chosen else DENSE)
        text.set_text(f"{now}→{1 - now}" if chosen else str(now))
        text.set_fontsize(9 * plots.SCALE)
    artists["byte_title"].set_text(f"byte {view.byte:,} of {len(view.content):,}: {view.value}")
    lines = [place(view.region), *textwrap.wrap(view.meaning, 62)]
    if view.meaning_after:
        lines += textwrap.wrap(f"flipped: {view.meaning_after}", 62)
    artists["words"].set_text("\n".join([*lines[:6], _accuracy(view)]))


def _accuracy(view: View) -> str:
    now = 100 * view.accuracy
    if view.outcome.refused:
        return f"accuracy: {now:.1f} % as the file is, none when flipped"
    return f"accuracy: {now:.1f} % as the file is, {100 * view.outcome.accuracy:.1f} % flipped"

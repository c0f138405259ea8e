"""The map in chapter 07's explorer: each weight a pixel, each channel a mark at the layers' edges.

A layer is drawn as its matrix: rows make channels, columns read them. At its right side stands what
it makes, above it what it reads, a mark for each channel in the colour of its dependency group.
Behind conv2 and conv4 a line joins each two channels that are added.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import to_rgba

from shrink.chapters.structure.view import View, pairs
from shrink.classroom import plots

COLOURS = {  # of groups, by the layers that make them
    ("stem", "conv2"): plots.COLOURS["coded"],
    ("conv1",): plots.COLOURS["distilled"],
    ("down", "conv4"): plots.COLOURS["quantized"],
    ("conv3",): plots.COLOURS["shared"],
}
OF = {layer: colour for layers, colour in COLOURS.items() for layer in layers}
READS = {"conv1": "stem", "conv2": "conv1", "down": "conv2", "conv3": "down", "conv4": "conv3"}
READS |= {"fc": "conv4"}
ADDED = {"conv2": "stem", "conv4": "down"}  # branch → what its shortcut brings
KEPT, GONE = "#BBD7EA", "#22303A"
WRONG, RIGHT = plots.COLOURS["fine-tuned"], "#999999"
# Pixels, from the top: names, the marks of what is read, the matrices; and between them.
WIDE, HIGH = 628, 146
TOP, MARK, GAP, BUNDLE, FIRST = 31, 4, 13, 24, 28
ROAD, NAMES = 5, 23  # where shortcuts run, and the baseline of names
KEY = {"kept": KEPT, "zero or removed": GONE}


@dataclass(frozen=True)
class Place:
    """Where a layer's matrix lies, in pixels."""

    left: int
    width: int
    height: int

    @property
    def right(self) -> int:
        """Where the marks of what it makes end."""
        return self.left + self.width + 1 + MARK


def places(masks: Mapping[str, np.ndarray]) -> dict[str, Place]:
    """A place for each layer, from left to right."""
    found, left = {}, FIRST
    for name, mask in masks.items():
        out, into, height, width = mask.shape
        found[name] = Place(left, into * width, out * height)
        left = found[name].right + GAP
        if name in ADDED:
            left += BUNDLE + MARK
    return found


def draw(ax: Axes, view: View) -> dict[str, Any]:
    """The artists that `update` moves, on axes that are `WIDE` by `HIGH` pixels."""
    ax.set(xlim=(0, WIDE), ylim=(HIGH, 0))
    ax.set_axis_off()
    where = places(view.masks)
    image = ax.imshow(
        np.zeros((HIGH, WIDE, 4), np.uint8), extent=(0, WIDE, HIGH, 0), aspect="auto", zorder=0
    )
    counts = {}
    for name, place in where.items():
        middle = place.left + place.width / 2
        counts[name] = ax.text(middle, TOP + place.height + 3, "", ha="center", va="top")
        if name in READS:
            ax.text(middle, NAMES, name, ha="center")
            ax.text(place.left - GAP / 2 - 1, TOP + 24, "→", ha="center", va="center")
        else:
            ax.text(place.left, NAMES, name, ha="right")  # beside the road that begins here
    for row, (words, colour) in enumerate(KEY.items()):
        y = HIGH - 24 + 15 * row
        ax.plot([FIRST + 4], [y], "s", ms=7, color=colour)
        ax.text(FIRST + 14, y, words, va="center_baseline")
    for branch, shortcut in ADDED.items():
        _draw_road(ax, where[shortcut], where[branch])
    bundles = {branch: ax.add_collection(LineCollection([], linewidths=0.8)) for branch in ADDED}
    return {"image": image, "counts": counts, "bundles": bundles}


def _draw_road(ax: Axes, shortcut: Place, branch: Place) -> None:
    begin, end = shortcut.right - MARK / 2, branch.right + BUNDLE + MARK / 2
    ax.plot([begin, begin, end, end], [TOP - 2, ROAD, ROAD, TOP - 2], color=RIGHT, lw=1)
    ax.text(branch.right + BUNDLE / 2, NAMES, "+", ha="center")


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    where = places(view.masks)
    artists["image"].set_data(paint(view))
    for name, words in artists["counts"].items():
        words.set_text(_left(view, name))
    for branch, bundle in artists["bundles"].items():
        from_shortcut, own = pairs(view, branch, ADDED[branch])
        side = view.masks[branch].shape[2]
        begin, end = where[branch].right, where[branch].right + BUNDLE
        rows = [TOP + side * (channels + 0.5) for channels in (own, from_shortcut)]
        bundle.set_segments([[(begin, y), (end, z)] for y, z in zip(*rows, strict=True)])
        bundle.set_color(np.where(own == from_shortcut, RIGHT, WRONG))


def _left(view: View, name: str) -> str:
    """How many channels a layer makes or, where only weights went, which part of them is left."""
    if view.setting.removes_channels:
        return f"{view.outputs[name].sum()}"
    return f"{100 * view.masks[name].mean():.0f} %"


def paint(view: View) -> np.ndarray:
    """The map's pixels, (HIGH, WIDE, 4) uint8, transparent beside the layers."""
    pixels = np.zeros((HIGH, WIDE, 4), np.uint8)
    for name, place in places(view.masks).items():
        mask = view.masks[name]
        cells = mask.transpose(0, 2, 1, 3).reshape(place.height, place.width)
        _fill(pixels, TOP, place.left, cells, KEPT)
        tall, wide = mask.shape[2:]
        if name in READS:
            marks = np.tile(view.inputs[name].repeat(wide), (MARK, 1))
            _fill(pixels, TOP - MARK - 1, place.left, marks, OF[READS[name]])
        if name in OF:
            marks = np.tile(view.outputs[name].repeat(tall)[:, None], (1, MARK))
            _fill(pixels, TOP, place.left + place.width + 1, marks, OF[name])
        if name in ADDED:
            other = view.outputs[ADDED[name]].repeat(tall)[:, None]
            _fill(pixels, TOP, place.right + BUNDLE, np.tile(other, (1, MARK)), OF[name])
    return pixels


def _fill(pixels: np.ndarray, top: int, left: int, kept: np.ndarray, colour: str) -> None:
    """Paint a block (height, width): what is kept in the colour, the rest dark."""
    height, width = kept.shape
    block = np.where(kept[..., None], _BYTES[colour], _BYTES[GONE])
    pixels[top : top + height, left : left + width] = block


_BYTES = {colour: np.array(to_rgba(colour)) * 255 for colour in (KEPT, GONE, *COLOURS.values())}

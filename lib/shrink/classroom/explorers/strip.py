"""The strip of casualties: images whose answer is another now, each with its caption."""

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes

SHOWN = 10  # images at most, in two rows
SIDE = 28  # pixels of an image
CAPTION, GAP = 12, 12  # pixels for the text under each, and beside it
_COLUMNS = SHOWN // 2


@dataclass(frozen=True)
class Strip:
    """The first of some images as one picture (height, width), 0 to 1, and their captions."""

    picture: np.ndarray
    captions: tuple[str, ...]

    @classmethod
    def of(
        cls, images: np.ndarray, places: np.ndarray, before: np.ndarray, after: np.ndarray
    ) -> "Strip":
        """Of `images` (n, 28, 28) those at `places`; what each was before, and what it is after."""
        first = places[:SHOWN]
        cells = np.zeros((SHOWN, SIDE + CAPTION, SIDE + GAP), np.float32)
        cells[: len(first), :SIDE, GAP // 2 : GAP // 2 + SIDE] = images[first]
        rows = cells.reshape(2, _COLUMNS, SIDE + CAPTION, SIDE + GAP).transpose(0, 2, 1, 3)
        captions = tuple(f"{before[i]} → {after[i]}" for i in first)
        return cls(rows.reshape(2 * (SIDE + CAPTION), -1), captions)


def draw(ax: Axes) -> list[Any]:
    """The artists of a strip on axes of its own, empty at first: an image and its texts."""
    ax.set_axis_off()
    shape = (2 * (SIDE + CAPTION), (SIDE + GAP) * _COLUMNS)
    image = ax.imshow(np.zeros(shape), cmap="gray_r", vmin=0, vmax=1, interpolation="bilinear")
    texts = [
        ax.text(
            (SIDE + GAP) * (i % _COLUMNS + 0.5),
            (SIDE + CAPTION) * (i // _COLUMNS) + SIDE + CAPTION / 2,
            "",
            ha="center",
            va="center",
        )
        for i in range(SHOWN)
    ]
    return [image, *texts]


def update(artists: list[Any], strip: Strip) -> None:
    """Show the strip."""
    image, *texts = artists
    image.set_data(strip.picture)
    for text, caption in itertools.zip_longest(texts, strip.captions, fillvalue=""):
        text.set_text(caption)

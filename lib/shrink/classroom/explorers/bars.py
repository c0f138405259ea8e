"""The bar of bytes: a file in float32, and below it the smaller one by its parts."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes

from shrink.classroom import plots

_GAP = 2  # % of the axis, between a bar and its words


def draw(
    ax: Axes, names: tuple[str, str], looks: Sequence[tuple[str, str]], title: str
) -> dict[str, Any]:
    """Two bars named `names`; the second has a part for each look, a colour and a hatch.

    What no part has comes last, in the colour of the whole bar. The artists are the "parts", the
    "words" in the whole bar and behind the parts, and the "title" and the "axis" with the names for
    those who change them.
    """
    whole = plots.COLOURS["dense"]
    ax.barh(0, 100, 0.6, color=whole)
    parts = [
        ax.barh(1, 0, 0.6, color=colour, hatch=hatch, ec="white", lw=0)[0]
        for colour, hatch in (*looks, (whole, ""))
    ]
    words = [
        ax.text(_GAP, 0, "", va="center", color="white"),
        ax.text(0, 1, "", va="center"),
    ]
    ax.set(xlim=(0, 100), ylim=(1.45, -0.45), xticks=[])
    ax.set_yticks([0, 1], names)
    ax.tick_params(axis="y", length=0)
    ax.spines[:].set_visible(False)
    heading = ax.set_title(title)
    return {"parts": parts, "words": words, "title": heading, "axis": ax.yaxis}


def update(
    artists: Mapping[str, Any], whole: int, total: int, parts: Sequence[int], words: str
) -> None:
    """Make the second bar `total` bytes long beside `whole`, `parts` of them as they come."""
    left = 0.0
    for bar, part in zip(artists["parts"], (*parts, total - sum(parts)), strict=True):
        bar.set_x(left)
        bar.set_width(100 * part / whole)
        left += 100 * part / whole
    artists["words"][0].set_text(f"{whole:,}")
    artists["words"][1].set(x=left + _GAP, text=words)

"""A legend that names what is drawn at the moment, and nothing else."""

from collections.abc import Collection, Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.transforms import ScaledTranslation

from shrink.classroom import plots

# Inches: from a row to the next and from a column to the next; a key's width, and the gap behind.
ROW, COLUMN, KEY, GAP = (plots.SCALE * points / 72 for points in (11, 108, 15, 5))

Rows = dict[str, tuple[Line2D, Text]]


def draw(
    ax: Axes,
    looks: Mapping[str, Mapping[str, Any]],
    left: float,
    top: float,
    columns: int = 1,
) -> Rows:
    """A key and a name for each of `looks`, which are the options of a line by name.

    A look with a marker shows that marker, others a line. `left` and `top` are where the first key
    begins and its middle, as parts of the axes' width and height.
    """
    at = ax.figure.dpi_scale_trans + ScaledTranslation(left, top, ax.transAxes)
    rows = {}
    for name, look in looks.items():
        length = 1 if "marker" in look else 2
        key = Line2D([0] * length, [0] * length, transform=at, clip_on=False, **look)
        ax.add_artist(key)
        rows[name] = key, ax.text(0, 0, name, transform=at, va="center_baseline")
    update(rows, looks, columns)
    return rows


def update(rows: Rows, drawn: Collection[str], columns: int = 1) -> None:
    """Show the names of what is drawn, row by row without gaps."""
    place = 0
    for name, (key, words) in rows.items():
        key.set_visible(name in drawn)
        words.set_visible(name in drawn)
        if name not in drawn:
            continue
        row, column = divmod(place, columns)
        x, y = COLUMN * column, -ROW * row
        ends = [x, x + KEY] if len(key.get_xdata()) == 2 else [x + KEY / 2]
        key.set_data(ends, [y] * len(ends))
        words.set_position((x + KEY + GAP, y))
        place += 1

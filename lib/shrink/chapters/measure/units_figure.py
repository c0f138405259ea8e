"""Two bars: the multiply-accumulates and the time of a network, beside those of the largest."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from shrink.chapters.measure.units import MOST, UnitsView
from shrink.chapters.measure.view import number, share
from shrink.classroom import plots

_NAMES = ("multiply-accumulates, counted", "time, measured here")
_LIMIT = 125  # % of the largest network's: a time may be longer


def draw(figure: Figure, view: UnitsView) -> dict[str, Any]:
    """Draw the axes, and the artists that `update` moves."""
    ax = figure.subplots()
    ax.set(xlim=(0, _LIMIT), ylim=(1.6, -0.6), xlabel=f"% of those with {MOST:,} units")
    ax.set_yticks([0, 1], _NAMES)
    ax.tick_params(axis="y", length=0)
    ax.axvline(100, color=plots.COLOURS["dense"], ls="--", lw=1)
    looks = ((plots.COLOURS["coded"], "//"), ("black", ""))  # measured is black, in this chapter
    bars = [
        ax.barh(i, 0, 0.6, color=colour, hatch=hatch, ec="white", lw=0)[0]
        for i, (colour, hatch) in enumerate(looks)
    ]
    return {"bars": bars, "texts": [ax.text(0, i, "", va="center") for i in range(len(bars))]}


def update(artists: Mapping[str, Any], view: UnitsView) -> None:
    """Move the artists to the view."""
    shares = (view.macs_share, view.time_share)
    said = (f"{view.macs:,}", f"{number(1e6 * view.time.median)} µs")
    for bar, text, part, words in zip(artists["bars"], artists["texts"], shares, said, strict=True):
        width = min(100 * part, _LIMIT)
        bar.set_width(width)
        text.set(x=min(width, 100) + 1, text=f"{words}  ({share(part)})")

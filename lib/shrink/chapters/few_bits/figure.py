"""The figure of chapter 10's explorer: two scenes, weights in few bits and halves."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from shrink.chapters.few_bits import halves_figure, weights_figure
from shrink.chapters.few_bits.halves_view import HalvesView
from shrink.chapters.few_bits.view import View

SIZE = (6.4, 4.6)  # inches


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes of the view's scene, and the artists that `update` moves."""
    return (halves_figure if isinstance(view, HalvesView) else weights_figure).draw(figure, view)


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    (halves_figure if isinstance(view, HalvesView) else weights_figure).update(artists, view)

"""The figure of chapter 11's explorer: two scenes, bits by layer and one kernel."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from shrink.chapters.mixed import allocation_figure, kernel_figure
from shrink.chapters.mixed.kernel_view import KernelView
from shrink.chapters.mixed.view import View

SIZE = (6.4, 4.6)  # inches


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes of the view's scene, and the artists that `update` moves."""
    return (kernel_figure if isinstance(view, KernelView) else allocation_figure).draw(figure, view)


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    (kernel_figure if isinstance(view, KernelView) else allocation_figure).update(artists, view)

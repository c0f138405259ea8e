"""The figure of chapter 08's explorer: two scenes, after training and before."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from shrink.chapters.saliency import after_figure, before_figure
from shrink.chapters.saliency.after_view import AfterView
from shrink.chapters.saliency.view import View

SIZE = (6.4, 4.5)  # inches


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes of the view's scene, and the artists that `update` moves."""
    return (after_figure if isinstance(view, AfterView) else before_figure).draw(figure, view)


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    (after_figure if isinstance(view, AfterView) else before_figure).update(artists, view)

"""The figure of chapter 09's explorer: two scenes, how it learns and which weights are kept."""

from collections.abc import Mapping
from typing import Any

from matplotlib.figure import Figure

from shrink.chapters.tickets import learning_figure, weights_figure
from shrink.chapters.tickets.learning_view import LearningView
from shrink.chapters.tickets.view import View

SIZE = (6.4, 4.6)  # inches


def draw(figure: Figure, view: View) -> dict[str, Any]:
    """Draw the axes of the view's scene, and the artists that `update` moves."""
    return (learning_figure if isinstance(view, LearningView) else weights_figure).draw(
        figure, view
    )


def update(artists: Mapping[str, Any], view: View) -> None:
    """Move the artists to the view."""
    (learning_figure if isinstance(view, LearningView) else weights_figure).update(artists, view)

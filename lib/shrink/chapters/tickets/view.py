"""What chapter 09's explorer shows, in words: how a network learns, or which weights are kept."""

from shrink.chapters.tickets import learning_view, weights_view
from shrink.chapters.tickets.learning_view import LearningView
from shrink.chapters.tickets.weights_view import WeightsView

View = LearningView | WeightsView


def summarise(view: View) -> str:
    """The numbers of the view in words."""
    return (learning_view if isinstance(view, LearningView) else weights_view).summarise(view)


def describe(view: View) -> str:
    """The picture in a few sentences, for those who do not see it."""
    return (learning_view if isinstance(view, LearningView) else weights_view).describe(view)

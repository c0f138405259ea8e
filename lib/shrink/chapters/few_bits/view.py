"""What chapter 10's explorer shows, in words: weights in few bits, or halves."""

from shrink.chapters.few_bits import halves_view, weights_view
from shrink.chapters.few_bits.halves_view import HalvesView
from shrink.chapters.few_bits.weights_view import WeightsView

View = WeightsView | HalvesView


def summarise(view: View) -> str:
    """The numbers of the view in words."""
    return (halves_view if isinstance(view, HalvesView) else weights_view).summarise(view)


def describe(view: View) -> str:
    """The picture in a few sentences, for those who do not see it."""
    return (halves_view if isinstance(view, HalvesView) else weights_view).describe(view)

"""What chapter 08's explorer shows, in words: after training, or before."""

from shrink.chapters.saliency import after_view, before_view
from shrink.chapters.saliency.after_view import AfterView
from shrink.chapters.saliency.before_view import BeforeView

View = AfterView | BeforeView


def summarise(view: View) -> str:
    """The numbers of the view in words."""
    return (after_view if isinstance(view, AfterView) else before_view).summarise(view)


def describe(view: View) -> str:
    """The picture in a few sentences, for those who do not see it."""
    return (after_view if isinstance(view, AfterView) else before_view).describe(view)

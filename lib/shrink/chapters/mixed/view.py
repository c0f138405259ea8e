"""What chapter 11's explorer shows, in words: bits by layer, or one kernel."""

from shrink.chapters.mixed import allocation_view, kernel_view
from shrink.chapters.mixed.allocation_view import AllocationView
from shrink.chapters.mixed.kernel_view import KernelView

View = AllocationView | KernelView


def summarise(view: View) -> str:
    """The numbers of the view in words."""
    return (kernel_view if isinstance(view, KernelView) else allocation_view).summarise(view)


def describe(view: View) -> str:
    """The picture in a few sentences, for those who do not see it."""
    return (kernel_view if isinstance(view, KernelView) else allocation_view).describe(view)

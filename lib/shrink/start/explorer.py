"""The one slider of the start page: how many of a network's weights are taken away."""

import ipywidgets as widgets

from shrink.classroom.explorers.controls import wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.start.figure import HEIGHT, WIDTH, Picture
from shrink.start.network import Network, View

FIRST = 90  # % of the weights that are gone at first


def explore() -> Explorer:
    """LeNet-300-100, which tells digits apart, without its smallest weights; nothing is trained."""
    network = Network()
    picture = Picture(network)
    slider = widgets.IntSlider(
        FIRST, min=0, max=99, description="weights taken away, %", **wide(620, words=170)
    )
    return Explorer(
        network.without,
        picture.draw,
        picture.update,
        summarise,
        controls={"percent": slider},
        size=(WIDTH / 100, HEIGHT / 100),
        alt=describe,
    )


def summarise(view: View) -> str:
    """The numbers of the view in words."""
    answers = view.answers.tolist()
    wrong = [(digit, answer) for digit, answer in enumerate(answers) if digit != answer]
    taken = [f"the {digit} for a{'n' * (answer == 8)} {answer}" for digit, answer in wrong]
    it_takes = f": it takes {_listed(taken)}" if taken else ""
    share = 100 * view.file_bytes / view.dense_bytes
    return (
        f"<b>{view.left:,} of {view.weights:,} weights</b> are left, the largest. "
        f"<b>{view.right} of 10 answers</b> are right{it_takes}. "
        f"The file has <b>{view.file_bytes:,} bytes</b>, {share:.0f} % of the whole network's."
    )


def describe(view: View) -> str:
    """What the figure shows, for those who do not see it."""
    answers = ", ".join(map(str, view.answers))
    return (
        f"The digits 0 to 9, and below them what the network takes them for: {answers}. Squares of "
        f"60 of its 300 units, with a dot for each weight that is left, {view.percent} % of all "
        f"being gone. A bar as long as its file: {view.file_bytes:,} of {view.dense_bytes:,} bytes."
    )


def _listed(words: list[str]) -> str:
    """The words as a list in a sentence.

    >>> _listed(["one"]), _listed(["one", "two", "three"])
    ('one', 'one, two and three')
    """
    *some, last = words
    return f"{', '.join(some)} and {last}" if some else last

"""Chapter 08 in JupyterLab, as a student meets it: both questions, the button, and Stop."""

import re

import pytest

pytestmark = pytest.mark.browser

DELETED, COMPRESSION = 0, 1  # the sliders' numbers


def test_chapter_08_in_jupyterlab(run_chapter, record_property):
    with run_chapter("08_saliency") as chapter:
        explorer = chapter.explorer("explore_saliency(data")
        explorer.key_to_pixels(presses=20, record_property=record_property)
        delete(explorer)
        collapse(explorer)
        train_and_stop(explorer)
        explorer.press("after training", says=re.compile("of the weights deleted"))
        explorer.mine_and_reference()
        explorer.shoot("explorer-08.png")


def delete(explorer):
    """A share is typed in, each switch is heard, and a tanh network cannot be rescaled."""
    explorer.fill(DELETED, "60")
    explorer.sums_up("60 % of the weights deleted, in the order of OBD")
    explorer.press("magnitude", says=re.compile("in the order of magnitude"))
    assert not explorer.button("10x").is_visible()
    explorer.press("ReLU", says=re.compile("ReLU network, trained out"))
    explorer.press("10x", says=re.compile("units rescaled by up to 10x"))
    explorer.press("one epoch", says=re.compile("trained for one epoch"))


def collapse(explorer):
    """The other question has its own sliders and switches; a try brings its state."""
    explorer.press("4 steps", says=re.compile("SynFlow in one step, 100 times fewer"))
    assert not explorer.box(DELETED).is_visible() and not explorer.button("tanh").is_visible()
    explorer.sums_up("fc1 is empty")
    explorer.fill(COMPRESSION, "100000")
    explorer.button("100").click()
    explorer.sums_up("no layer is empty, and 1 path leads through")
    explorer.fits_a_laptop()


def train_and_stop(explorer):
    """Stop works within a step, and a choice is heard while the training runs."""
    explorer.press("6 shuffle", says=re.compile("SNIP in one step"))
    explorer.press("Train what is left", says=re.compile(r"step \d+ of"))
    explorer.redraws_on(explorer.button("GraSP").click)
    explorer.stop()
    explorer.press("SNIP")
    explorer.sums_up(", stopped:")

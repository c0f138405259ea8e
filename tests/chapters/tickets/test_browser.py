"""Chapter 09 in JupyterLab, as a student meets it: both questions, the button, and Stop."""

import re

import pytest

pytestmark = pytest.mark.browser

ROUND = 0  # the number of the slider


def test_chapter_09_in_jupyterlab(run_chapter, record_property):
    with run_chapter("09_tickets") as chapter:
        explorer = chapter.explorer("explore_tickets(data")
        explorer.key_to_pixels(presses=20, record_property=record_property)
        learn(explorer)
        look_at_the_weights(explorer)
        train_and_stop(explorer)
        explorer.press("ticket", says=re.compile("21.1 % kept: ticket"))
        explorer.mine_and_reference()
        explorer.shoot("explorer-09.png")


def learn(explorer):
    """A round is typed in, and what has no effect is not there."""
    explorer.fill(ROUND, "12")
    explorer.sums_up("round 12, 7.0 % kept: ticket")
    explorer.press("the end", says=re.compile("7.0 % kept: ticket, the end"))
    explorer.press("random places", says=re.compile("7.0 % kept: random places"))
    assert not explorer.button("the end").is_visible() and not explorer.button("fc2").is_visible()


def look_at_the_weights(explorer):
    """The other question has its own switch; a try brings its state."""
    explorer.press("6 two seeds", says=re.compile("7.0 % kept: ticket, 3 seeds"))
    explorer.press("fc2", says=re.compile("initial weights of fc2"))
    explorer.fits_a_laptop()


def train_and_stop(explorer):
    """Stop works within a step, and a choice is heard while the training runs."""
    explorer.press("1 structure", says=re.compile("21.1 % kept: re-initialised"))
    explorer.press("Train once more", says=re.compile(r"step \d+ of"))
    explorer.redraws_on(explorer.button("signs only").click)
    explorer.stop()
    explorer.sums_up(", stopped:")

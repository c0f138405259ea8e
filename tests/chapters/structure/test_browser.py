"""Chapter 07 in JupyterLab, as a student meets it: what goes, how, the button, and Stop."""

import re

import pytest

pytestmark = pytest.mark.browser

KEPT = 0  # the slider's number


def test_chapter_07_in_jupyterlab(run_chapter, record_property):
    with run_chapter("07_structure") as chapter:
        explorer = chapter.explorer("explore_structure(data")
        explorer.key_to_pixels(presses=20, record_property=record_property)
        choose(explorer)
        measure(explorer)
        tune_and_stop(explorer)
        explorer.mine_and_reference()
        explorer.shoot("explorer-07.png")


def choose(explorer):
    """A number is typed in, each switch is heard, and what does nothing goes away."""
    explorer.fill(KEPT, "12")
    explorer.sums_up("75 % of the filters, linked")
    explorer.press("each its own", says=re.compile("each layer its own.*another network"))
    explorer.press("zeros only", says=re.compile("set to zero.*turn a zero into a constant"))
    explorer.press("gamma", says=re.compile("by gamma"))
    explorer.press("anew", says=re.compile("norms anew"))
    explorer.press("2:4", says=re.compile("Two of each four weights"))
    assert not explorer.button("linked").is_visible()
    assert not explorer.box(KEPT).is_visible()
    explorer.press("2 own choice", says=re.compile("each layer its own, by L1"))


def measure(explorer):
    """Times are measured for the network on show."""
    explorer.press("3 time")
    explorer.press("Start")
    explorer.sums_up("of its time")


def tune_and_stop(explorer):
    """Stop works within a step, and the slider answers while the training runs."""
    explorer.press("4 scratch")
    explorer.press("Start", says="step")
    explorer.answers_and_stops("ArrowRight")
    assert "Fine-tuned, 50 % of the filters, linked, by L1" in explorer.summary
    assert ", stopped:" in explorer.summary

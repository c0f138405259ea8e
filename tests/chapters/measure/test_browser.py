"""Chapter 01 in JupyterLab, as a student meets it: a slider by keyboard, its box, button, Stop."""

import pytest

pytestmark = pytest.mark.browser

SLOW = """
from shrink.chapters.measure import lab

lab.RUNS = (2, 60)  # slow enough to be stopped on the way
"""


def test_chapter_01_in_jupyterlab(run_chapter):
    with run_chapter("01_measure", after=[SLOW]) as chapter:
        explorer = chapter.explorer("explore_costs(layer")
        explorer.key_to_pixels(presses=4)
        assert explorer.box(0).input_value() == "32"  # four quarters of a doubling
        assert "measured here" in explorer.summary.lower()

        explorer.fill(1, "100")
        explorer.says("batch 128, the nearest to 100")
        assert explorer.box(1).input_value() == "100" and "batch of 100," in explorer.summary
        explorer.key("End", slider=1)
        explorer.says("an image of a batch of 256")
        assert explorer.box(1).input_value() == "256"

        explorer.press("4 bits", says="an image of a batch of 1, numbers of 32 bits")
        assert [explorer.box(slider).input_value() for slider in range(2)] == ["256", "1"]

        measure_and_stop(explorer)
        explorer.shoot("explorer-01.png")


def measure_and_stop(explorer):
    """Stop keeps the old measurement, and the slider answers on the way."""
    before = explorer.summary.split("\n")[1]
    explorer.press("Measure again", says="step")
    explorer.answers_and_stops("ArrowLeft")
    assert explorer.summary.split("\n")[1] == before
    explorer.no_error()

"""Chapter 03 in JupyterLab, as a student meets it: a slider by keyboard, its box, the switches."""

import pytest

pytestmark = pytest.mark.browser

BITS, OUTLIER, CLIP = range(3)  # the sliders in their order


def test_chapter_03_in_jupyterlab(run_chapter):
    with run_chapter("03_quantize") as chapter:
        explorer = chapter.explorer("explore_quantization(data")
        explorer.key_to_pixels(presses=4)
        assert explorer.box(BITS).input_value() == "8"
        assert "Weights in 8 bits" in explorer.summary
        stretch_a_weight(explorer)
        calibrate(explorer)
        explorer.mine_and_reference()
        explorer.shoot("explorer-03.png")


def stretch_a_weight(explorer):
    """A whole number that is between the slider's stops holds, and a scale per channel helps."""
    explorer.fill(OUTLIER, "100")
    explorer.says("one weight of fc1 made 100 times as large")
    assert explorer.box(OUTLIER).input_value() == "100"
    explorer.press("group of 64", says="a scale per group")
    explorer.press("channel", says="a scale per channel")
    explorer.key("Home", slider=OUTLIER)
    explorer.itself.locator(".shrink-summary", has_not_text="times as large").wait_for()


def calibrate(explorer):
    """What does not matter is not there."""
    explorer.press("activations", says="calibrated by min-max")
    assert not explorer.box(CLIP).is_visible() and not explorer.button("channel").is_visible()
    explorer.press("percentile", says="calibrated by percentile")
    explorer.fill(CLIP, "99")
    explorer.says("clipped at the 99th percentile")

"""Chapter 10 in JupyterLab, as a student meets it: both scenes, the button, and Stop."""

import re

import pytest

pytestmark = pytest.mark.browser

BITS, LOSS_SCALE = 0, 1  # the numbers of the sliders


def test_chapter_10_in_jupyterlab(run_chapter, record_property):
    with run_chapter("10_few_bits") as chapter:
        explorer = chapter.explorer("explore_few_bits(data")
        explorer.key_to_pixels(presses=20, record_property=record_property)
        look_at_weights(explorer)
        look_at_halves(explorer)
        train_and_stop(explorer)
        explorer.press("1 gradient", says=re.compile("2 bits, scale fixed"))
        explorer.mine_and_reference()
        explorer.shoot("explorer-10.png")


def look_at_weights(explorer):
    """Bits are typed in, and what has no effect is not there."""
    explorer.fill(BITS, "1")
    explorer.sums_up("1 bit, scale learned, one per layer: 2 values")
    assert not explorer.button("mine").is_visible() and not explorer.button("fp16").is_visible()
    explorer.press("3 scale", says=re.compile("2 bits, scale follows"))
    explorer.press("channel", says=re.compile("scale follows, one per channel"))


def look_at_halves(explorer):
    """The other scene has its own slider; a try brings its state."""
    explorer.press("5 loss scale", says=re.compile("fp16, loss scale 1: gradients of activations"))
    explorer.fill(LOSS_SCALE, "1024")
    explorer.sums_up("fp16, loss scale 2^10: gradients of activations")
    explorer.press("bf16", says=re.compile("bf16, loss scale 2^10".replace("^", r"\^")))
    explorer.fits_a_laptop()
    assert not explorer.button("follows").is_visible()


def train_and_stop(explorer):
    """Stop works within a step, and a choice is heard while the training runs."""
    explorer.press("4 extra steps", says=re.compile("2 bits, scale learned"))
    explorer.press("Train once more", says=re.compile(r"step \d+ of"))
    explorer.redraws_on(explorer.button("fixed").click)
    explorer.stop()
    explorer.sums_up(", stopped:")

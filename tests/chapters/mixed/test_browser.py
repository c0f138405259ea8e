"""Chapter 11 in JupyterLab, as a student meets it: both scenes, and the optimum by hand."""

import re

import pytest

pytestmark = pytest.mark.browser

BUDGET, KERNEL = 0, 7  # the numbers of the sliders


def test_chapter_11_in_jupyterlab(run_chapter, record_property):
    with run_chapter("11_mixed") as chapter:
        explorer = chapter.explorer("explore_mixed(data")
        explorer.key_to_pixels(presses=8, record_property=record_property)
        look_at_bits(explorer)
        look_at_a_kernel(explorer)
        explorer.press("1 one width", says=re.compile("3.5 bits a weight, "))
        explorer.mine_and_reference()
        explorer.shoot("explorer-11.png")


def look_at_bits(explorer):
    """A budget is typed in, and the optimum is taken."""
    explorer.fill(BUDGET, "2.5")
    explorer.sums_up("2.5 bits a weight, ")
    explorer.redraws_on(explorer.button("take the optimum").click)
    assert not explorer.button("stem").is_visible()
    explorer.press("channel", says=re.compile("one scale per channel"))
    assert not explorer.button("curvature").is_visible()


def look_at_a_kernel(explorer):
    """The other scene has its own controls; a try brings its state."""
    explorer.press("6 one kernel", says=re.compile(r"depthwise1, kernel \d+, 4 bits: nearest"))
    explorer.press("optimum", says=re.compile("4 bits: optimum"))
    explorer.fill(KERNEL, "3")
    explorer.sums_up("depthwise1, kernel 3, 4 bits: optimum")
    explorer.fits_a_laptop()
    assert not explorer.button("take the optimum").is_visible()

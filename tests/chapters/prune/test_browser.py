"""Chapter 02 in JupyterLab, as a student meets it: one session, one kernel, a keyboard."""

import pytest

pytestmark = pytest.mark.browser

EMPTY_CACHE = """
import os

os.environ["SHRINK_CACHE"] = {!r}
"""
BROKEN_EXPLORER = """
import ipywidgets
from shrink.classroom.explorers.explorer import Explorer

Explorer(
    lambda s: 1 / (s - 7),
    lambda figure, y: {"point": figure.subplots().plot([0], [y], "o")},
    lambda artists, y: artists["point"][0].set_ydata([y]),
    lambda y: f"one over s minus seven is {y}",
    controls={"s": ipywidgets.IntSlider(6, min=0, max=10, description="s")},
    size=(4, 2),
    alt=lambda _: "one over s minus seven",
)
"""


def test_chapter_02_in_jupyterlab(run_chapter, tmp_path, record_property):
    """The cache is empty, as when a chapter is opened for the first time."""
    empty = EMPTY_CACHE.format(str(tmp_path / "cache"))
    with run_chapter("02_prune", before=[empty], after=[BROKEN_EXPLORER]) as chapter:
        explorer = chapter.explorer("explore_pruning(data")
        explorer.key_to_pixels(presses=30, record_property=record_property)
        assert "Sparsity 0.8:" in explorer.summary
        explorer.fill(0, "0.93")
        explorer.says("Sparsity 0.93:")
        explorer.shoot("explorer.png")
        fine_tune_and_stop(explorer)
        see_the_error_panel(chapter.explorer("1 / (s - 7)"))


def fine_tune_and_stop(explorer):
    """Stop works within a step, and the slider answers while the training runs."""
    explorer.fill(1, "20")
    explorer.press("gradual")
    explorer.press("Fine-tune", says="step")
    explorer.answers_and_stops("ArrowRight")
    assert "Fine-tuned, gradual, at sparsity" in explorer.summary
    assert ", stopped)" in explorer.summary


def see_the_error_panel(explorer):
    """An exception in compute is shown with its type, and gone with the next good value."""
    explorer.itself.locator(".noUi-handle").focus()
    explorer.page.keyboard.press("ArrowRight")
    panel = explorer.itself.locator(".shrink-error pre")
    panel.wait_for()
    assert "ZeroDivisionError" in panel.inner_text() and "s = 7" in panel.inner_text()
    explorer.page.keyboard.press("ArrowRight")
    explorer.no_error()

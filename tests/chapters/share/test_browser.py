"""Chapter 04 in JupyterLab, as a student meets it: the slider, the switches, training, Stop."""

import pytest

pytestmark = pytest.mark.browser

VALUES = 0  # the slider's number


def test_chapter_04_in_jupyterlab(run_chapter, record_property):
    with run_chapter("04_share") as chapter:
        explorer = chapter.explorer("explore_sharing(data")
        explorer.key_to_pixels(presses=30, record_property=record_property)
        assert "38 values per layer" in explorer.summary
        assert explorer.box(VALUES).input_value() == "38"
        choose(explorer)
        train_and_stop(explorer)
        explorer.mine_and_reference()
        explorer.shoot("explorer-04.png")


def choose(explorer):
    """A number is typed in, and each switch is heard."""
    explorer.fill(VALUES, "4")
    explorer.press("pruned", says="4 values and 0 per layer")
    explorer.press("histogram", says="k-means from histogram, pruned weights")
    explorer.press("fc2", says="Squared error of fc2")


def train_and_stop(explorer):
    """Stop works within a step, and the slider answers while the training runs."""
    explorer.press("10")
    explorer.press("Train codebooks", says="step")
    explorer.answers_and_stops("ArrowRight")
    assert "Codebooks trained: 4 values, from histogram" in explorer.summary
    assert ", stopped:" in explorer.summary

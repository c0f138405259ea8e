"""Chapter 06 in JupyterLab, as a student meets it: temperature, the bias, training, Stop."""

import re

import pytest

pytestmark = pytest.mark.browser

TEMPERATURE, BIAS = range(2)  # the sliders in their order


def test_chapter_06_in_jupyterlab(run_chapter, record_property):
    with run_chapter("06_distil") as chapter:
        explorer = chapter.explorer("explore_distillation(data")
        explorer.key_to_pixels(presses=20, record_property=record_property)
        assert "T = 90.5" in explorer.summary
        assert explorer.box(TEMPERATURE).input_value().startswith("90.5")
        move_the_bias(explorer)
        choose(explorer)
        train_and_stop(explorer)
        explorer.mine_and_reference()
        explorer.shoot("explorer-06.png")


def move_the_bias(explorer):
    """The bias that is typed in is added to the missing digit's logit."""
    assert "without any 3; bias +0.00" in explorer.summary
    explorer.fill(BIAS, "6")
    explorer.says("bias +6.00")


def choose(explorer):
    """Each choice is heard: the image, the student, and that none of theirs is trained yet."""
    explorer.press("7", says="this 7:")
    show_student(explorer, "saw every digit")
    explorer.says("no digit is missing")
    assert explorer.box(BIAS).is_hidden()
    show_student(explorer, "is your last one")
    explorer.says("press Train students")


def train_and_stop(explorer):
    """Stop works within a step, the slider answers meanwhile, and the runs stay."""
    explorer.press("3 labels")
    explorer.press("Train students", says=re.compile(r"^step \d"))
    explorer.no_error()
    explorer.answers_and_stops("ArrowLeft")
    explorer.itself.locator(".shrink-summary").get_by_role("table").wait_for()
    show_student(explorer, "is your last one")
    explorer.says("the last run's")
    assert "distilled less alone" in explorer.summary


def show_student(explorer, name):
    explorer.itself.locator("select").first.select_option(label=name)

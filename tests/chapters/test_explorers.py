"""What every chapter's explorer does, whatever it is about.

To put a chapter's explorer under these laws:
1. Write tests/chapters/<name>/small.py, whose EXPLORERS has a `Small` for each explorer.
2. `prepare` patches what takes long: recipes of baselines, stops of sweeps, runs of a stopwatch.
3. `make` builds the explorer with all its exercises; `refused` says what must not build, by words.
4. Use all of it in the chapter's own test_explorer.py (conftest.py's `cache` and `no_answers` take
   the chapter's `prepare` and EXERCISES), and leave content there alone: what is shown is what the
   network does. Tests that are laws here go.
"""

import base64
import dataclasses
import html
import importlib
import io
from pathlib import Path
from types import SimpleNamespace

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from PIL import Image

from shrink.classroom import cache
from shrink.classroom.data import ten_digits
from tests.chapters.small import forget_answers

CHAPTERS = sorted(path.parent.name for path in Path(__file__).parent.glob("*/small.py"))
MODULES = [importlib.import_module(f"tests.chapters.{name}.small") for name in CHAPTERS]
EVERY = [small for module in MODULES for small in module.EXPLORERS]


@pytest.fixture(scope="module", params=EVERY, ids=lambda small: small.name)
def built(request, digits, tmp_path_factory):
    """An explorer on small data, what was there when it was made, and what is peculiar about it."""
    small = request.param
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SHRINK_CACHE", str(tmp_path_factory.mktemp(small.name)))
        small.prepare(patch)
        explorer = small.make(digits)
        first = (explorer.redraws, explorer.error, explorer.image.value, explorer.text.value)
        yield SimpleNamespace(small=small, explorer=explorer, first=first)


@pytest.fixture
def small(built):
    return built.small


@pytest.fixture
def explorer(built):
    """The explorer as it began; no exercise has an answer."""
    every = controls_of(built.explorer)
    before = {name: control.value for name, control in every.items()}
    yield built.explorer
    forget_answers(built.small.exercises)
    for name, control in every.items():
        control.value = before[name]
    assert built.explorer.error is None


def controls_of(explorer):
    """The explorer's controls and its job's."""
    return explorer.controls | dict(explorer.work.job.controls if explorer.work else {})


def set_controls(explorer, values):
    for name, value in values.items():
        controls_of(explorer)[name].value = value


def other_values(control):
    """Every other choice, or the ends of a slider."""
    if isinstance(control, widgets.FloatLogSlider):
        return [control.base**control.min, control.base**control.max]
    if hasattr(control, "options"):
        return [value for _, value in control._options_full]
    return [control.min, control.max]


def shown(explorer):
    return explorer.image.value, explorer.text.value


def inside(widget):
    yield widget
    for child in getattr(widget, "children", ()):
        yield from inside(child)


def needs_a_job(explorer):
    if explorer.work is None:
        pytest.skip("it has no job")


def needs_exercises(small):
    if not small.exercises:
        pytest.skip("it has no switch to mine")


def test_the_first_picture_is_there_at_once(built):
    redraws, error, picture, words = built.first
    assert redraws == 1 and error is None and words
    pixels = np.asarray(Image.open(io.BytesIO(picture)))
    width, height = (round(100 * inches) for inches in built.explorer.figure.get_size_inches())
    assert pixels.shape == (height, width, 3) and (pixels != pixels[0, 0]).any()


def test_made_again_it_is_the_same_out_of_the_cache_and_ten_test_images(built, digits, monkeypatch):
    monkeypatch.setattr(cache, "write_atomically", lambda *_: pytest.fail("made again"))
    monkeypatch.setattr(torch.optim.SGD, "step", lambda *_: pytest.fail("trained again"))
    hidden = dataclasses.replace(digits, test=ten_digits(digits))
    again = built.small.make(hidden)
    assert (again.image.value, again.text.value) == built.first[2:]


def test_without_exercises_there_is_no_mine(built, digits):
    if built.small.alone is None:
        pytest.skip("it has no switch to mine")
    alone = built.small.alone(digits)
    assert alone.controls["source"].options == ("reference",) and alone.error is None
    assert (alone.image.value, alone.text.value) == built.first[2:]


def test_every_control_is_in_the_explorer_and_has_its_label(explorer):
    everything = list(inside(explorer))
    for control in controls_of(explorer).values():
        assert control in everything and control.description
    numbers = (widgets.BoundedIntText, widgets.BoundedFloatText)
    assert all(box.tooltip for box in everything if isinstance(box, numbers))


def test_every_control_moves_the_picture_or_the_words_or_is_the_jobs(explorer, small):
    assert small.of_job <= set(explorer.controls) and (explorer.work or not small.of_job)
    if small.job_first:
        finish_the_job(explorer, small)
    for name, control in explorer.controls.items():
        if name == "source":
            continue
        there = small.matters_at.get(name, {})
        as_before = {other: explorer.controls[other].value for other in there}
        set_controls(explorer, there)
        before, first = shown(explorer), control.value
        seen = set()
        for value in other_values(control):
            control.value = value
            assert explorer.error is None, (name, value)
            seen.add(shown(explorer))
        control.value = first
        assert shown(explorer) == before, f"{name} there and back leaves a trail"
        assert (len(seen | {before}) == 1) == (name in small.of_job), name
        set_controls(explorer, as_before)


def test_without_widgets_there_are_a_picture_and_its_text(explorer):
    data, metadata = DisplayFormatter().format(explorer)
    assert base64.b64decode(data["image/png"]) == explorer.image.value
    assert metadata["image/png"]["alt"] == data["text/plain"] == explorer.alt
    assert len(explorer.alt.split()) > 5
    assert f'alt="{html.escape(explorer.alt)}" src="data:image/png;base64,' in data["text/html"]
    assert data["image/png"] in data["text/html"] and explorer.text.value in data["text/html"]


def test_its_widgets_are_those_that_every_front_end_has(explorer):
    """They are ipywidgets' own; Colab shows others only once a cell has allowed them."""
    own = {"@jupyter-widgets/base", "@jupyter-widgets/controls"}
    assert {widget._view_module for widget in inside(explorer)} <= own


def test_mine_without_an_answer_is_told_and_gone_with_the_reference(explorer, small):
    needs_exercises(small)
    before = shown(explorer)
    explorer.controls["source"].value = "mine"
    assert "has no answer of yours" in explorer.message.value and shown(explorer) == before
    explorer.controls["source"].value = "reference"
    assert explorer.message.value == "" and shown(explorer) == before


def test_an_error_of_mine_is_shown_and_gone_with_the_reference(explorer, small):
    needs_exercises(small)
    before = shown(explorer)
    for exercise in small.exercises:
        exercise.answer(lambda *_: {}["no <such> key"])
    explorer.controls["source"].value = "mine"
    assert "KeyError" in explorer.message.value and "alert" in explorer.message.value
    assert "no &lt;such&gt; key" in explorer.message.value and shown(explorer) == before
    explorer.controls["source"].value = "reference"
    assert explorer.message.value == "" and shown(explorer) == before


def test_what_cannot_be_compared_is_refused(built, digits):
    for words, make in built.small.refused.items():
        with pytest.raises(ValueError, match=words):
            make(digits)


def quicken(explorer, small):
    set_controls(explorer, small.quick)


def finish_the_job(explorer, small):
    quicken(explorer, small)
    explorer.work.start_button.click()
    explorer.work.wait(120)
    assert explorer.work.status.value == "finished" and explorer.error is None


def kept(explorer, small):
    return len(getattr(explorer.result, small.runs)) if small.runs else 0


def test_the_job_ends_and_what_it_found_is_shown_beside_what_was_there(explorer, small):
    needs_a_job(explorer)
    quicken(explorer, small)
    before = shown(explorer)
    for _ in range(2):
        runs = kept(explorer, small)
        finish_the_job(explorer, small)
        assert explorer.work.message.value == ""
        assert kept(explorer, small) > runs or not small.runs
    assert shown(explorer) != before


def test_the_job_stops_at_its_first_step_and_can_start_again(explorer, small):
    needs_a_job(explorer)
    quicken(explorer, small)
    press_stop = explorer.work.stop_button.click
    explorer.work.bar.observe(lambda change: change.new and press_stop(), "value")
    try:
        explorer.work.start_button.click()
        explorer.work.wait(120)
    finally:
        explorer.work.bar.unobserve_all("value")
    assert explorer.work.status.value == "stopped" and explorer.error is None
    assert explorer.work.message.value == ""
    assert explorer.work.stop_button.disabled and not explorer.work.start_button.disabled
    explorer.work.start_button.click()
    explorer.work.wait(120)
    assert explorer.work.status.value == "finished"

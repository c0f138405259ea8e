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
import math
import re
from pathlib import Path
from types import SimpleNamespace

import ipywidgets as widgets
import numpy as np
import pytest
import torch
from IPython.core.formatters import DisplayFormatter
from matplotlib.text import Text
from PIL import Image

from shrink.classroom import cache
from shrink.classroom.data import ten_digits
from shrink.classroom.explorers.controls import SLIDERS
from tests.chapters.small import HIGH, forget_answers

CHAPTERS = sorted(path.parent.name for path in Path(__file__).parent.glob("*/small.py"))
MODULES = [importlib.import_module(f"tests.chapters.{name}.small") for name in CHAPTERS]
EVERY = [small for module in MODULES for small in module.EXPLORERS]
NARROW = 568  # pixels that JupyterLab, its side bar open, leaves an output at 1000 by 700
SMALLEST = 8 * 96 / 72  # pixels of 8 points
ROW, LINE, FRAME = 32, 28, 12  # pixels of a row of controls, a line of words, a job's frame


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
    pixels = np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))
    width, height = (round(100 * inches) for inches in built.explorer.figure.get_size_inches())
    assert pixels.shape == (height, width, 3) and (pixels != pixels[0, 0]).any()


def test_the_palette_has_the_colours_of_the_picture(explorer):
    drawn = np.asarray(explorer.figure.canvas.buffer_rgba())[..., :3].astype(int)
    sent = np.asarray(Image.open(io.BytesIO(explorer.image.value)).convert("RGB"))
    off = abs(sent - drawn).max(-1)
    assert off.mean() < 2 and (off > 48).mean() < 1e-3


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


def test_every_control_is_in_the_explorer_and_has_a_label_of_its_own(explorer):
    everything = list(inside(explorer))
    controls = list(controls_of(explorer).values())
    assert all(control in everything and control.description for control in controls)
    labels = [control.description for control in controls]
    assert len(set(labels)) == len(labels)


def steps_away(explorer):
    """The first state, what one choice away from it is, and the states of the tries."""
    yield {}
    for name, control in controls_of(explorer).items():
        if name != "source":
            yield from ({name: value} for value in other_values(control))
    yield from (one.values for one in explorer.tries)


def states_by_hidden(explorer):
    """A state for each set of hidden controls, by that set."""
    first = {name: control.value for name, control in controls_of(explorer).items()}
    found = {}
    for state in steps_away(explorer):
        explorer.move(**first | state)
        found.setdefault(frozenset(explorer.hidden), first | state)
    explorer.move(**first)
    return found


def every_other(explorer, name):
    """Set the control to each other value, and back; what there is to see and to read each time."""
    control = explorer.controls[name]
    first, before = control.value, shown(explorer)
    for value in other_values(control):
        control.value = value
        assert explorer.error is None, (name, value)
        yield shown(explorer)
    control.value = first
    assert shown(explorer) == before, f"{name} there and back leaves a trail"


def test_what_is_hidden_has_no_effect_and_what_is_shown_has_one(explorer, small):
    assert small.of_job <= set(explorer.controls) and (explorer.work or not small.of_job)
    if small.job_first:
        finish_the_job(explorer, small)
    shown_somewhere = set()
    for hidden, state in states_by_hidden(explorer).items():
        explorer.move(**state)
        assert explorer.error is None, state
        before = shown(explorer)
        for name in explorer.controls.keys() - {"source"}:
            seen = {before, *every_other(explorer, name)}
            idle = name in hidden or name in small.of_job
            assert (len(seen) == 1) == idle, f"{name} at {state}"
        shown_somewhere |= controls_of(explorer).keys() - hidden
    assert shown_somewhere == controls_of(explorer).keys()


def test_the_alternative_text_changes_with_the_picture_and_has_its_numbers(explorer, small):
    if small.job_first:
        finish_the_job(explorer, small)
    picture, alt = explorer.image.value, explorer.alt
    for name in explorer.controls.keys() - explorer.hidden - {"source"}:
        for seen in every_other(explorer, name):
            assert (seen[0] == picture) or (explorer.alt != alt), (name, alt)
            assert re.search(r"\d", explorer.alt) and "<" not in explorer.alt
            assert 10 <= len(explorer.alt.split()) <= 120


def test_a_try_asks_a_question_and_shows_the_same_whatever_was_there(explorer, small):
    assert len(explorer.tries) >= 3
    assert len({one.label for one in explorer.tries}) == len(explorer.tries)
    if small.job_first:
        finish_the_job(explorer, small)
    first = shown(explorer)
    found = []
    for one in explorer.tries:
        assert one.question.endswith("?"), one.label
        redraws = explorer.redraws
        explorer.press(one)
        assert explorer.error is None and explorer.redraws == redraws + 1, one.label
        assert not one.values.keys() & explorer.hidden, one.label
        found.append(shown(explorer))
    pairs = list(zip(explorer.tries, found, strict=True))
    assert all(seen != first or of_job(one, explorer) for one, seen in pairs)
    for one, seen in reversed(pairs):
        explorer.press(one)
        assert shown(explorer) == seen, one.label


def of_job(one, explorer):
    """Whether the try sets what matters to the job alone, whose button is pressed next."""
    return bool(explorer.work and one.values.keys() & explorer.work.job.controls.keys())


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


def test_at_1000_by_700_no_text_is_smaller_than_8_points(explorer):
    scale = min(1, NARROW / (100 * explorer.figure.get_figwidth())) * 100 / 72  # of a point
    for text in explorer.figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            assert scale * text.get_fontsize() >= SMALLEST, text.get_text()
            assert "$" not in text.get_text(), "an exponent is smaller than its number"


def test_at_1280_by_800_controls_picture_and_the_first_words_are_seen_together(explorer):
    """By arithmetic, with three buttons to try in a row and choices in two rows."""
    above = {n: c for n, c in explorer.controls.items() if n not in explorer.beside}
    rows = max(sliders_of(above), math.ceil(len(explorer.tries) / 3)) + 2
    height = ROW * rows + 100 * explorer.figure.get_figheight() + LINE + FRAME
    if explorer.work:
        job = explorer.work.job
        sliders = sliders_of(job.controls)
        height += ROW * (1 + sliders + (sliders < len(job.controls)))
        height += LINE * bool(job.about) + FRAME * bool(job.controls)
    assert height <= HIGH


def sliders_of(controls):
    return sum(isinstance(control, SLIDERS) for control in controls.values())


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

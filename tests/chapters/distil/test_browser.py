"""Chapter 06 in JupyterLab, as a student meets it: temperature, the bias, training, Stop."""

import re
import statistics

import pytest

from tests import ROOT
from tests.chapters import jupyter

pytestmark = pytest.mark.browser

NOTEBOOK = ROOT / "notebooks" / "06_distil.ipynb"
BOXES = ("temperature", "bias")  # in their order


@pytest.mark.timeout(1200)
def test_chapter_06_in_jupyterlab(chromium, tmp_path, monkeypatch, record_property):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("SHRINK_DATASET", "glyphs")
    root = tmp_path / "work"
    root.mkdir()
    (root / "06_distil.ipynb").write_bytes(NOTEBOOK.read_bytes())
    with (
        jupyter.server(root, tmp_path / "lab") as url,
        jupyter.browser(chromium, tmp_path) as (page, errors),
    ):
        jupyter.open_notebook(page, url, "06_distil.ipynb")
        jupyter.run_all(page)
        jupyter.show_cell(page, "explore_distillation(data")
        explorer = page.locator(".shrink-explorer")
        words = explorer.locator(".shrink-summary")

        times = sorted(jupyter.key_to_pixels(page, presses=20))
        median, p95 = statistics.median(times), times[int(0.95 * len(times))]
        print(f"key press to pixels: median {median:.0f} ms, p95 {p95:.0f} ms")
        record_property("key_to_pixels_ms", {"median": median, "p95": p95})
        assert jupyter.cut_off(explorer) == []
        assert "T = 39.8" in words.inner_text()
        assert box(explorer, "temperature").input_value().startswith("39.8")

        move_the_bias(explorer, words)
        choose(explorer)
        train_and_stop(page, explorer, words)
        explorer.get_by_role("button", name="mine").click()
        explorer.get_by_text("has no answer of yours").wait_for(timeout=10_000)
        explorer.get_by_role("button", name="reference").click()
        explorer.locator(".shrink-error pre").wait_for(state="detached", timeout=10_000)
        jupyter.shoot(page, explorer, "explorer-06.png")
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
        assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
        assert errors == []


def box(explorer, name):
    return explorer.locator("input[type=number]").nth(BOXES.index(name))


def press(explorer, name):
    explorer.get_by_role("button", name=name, exact=True).first.click()


def move_the_bias(explorer, words):
    """The bias that is typed in is added to the missing digit's logit."""
    before = words.inner_text()
    assert "without any 3; bias +0.00" in before
    box(explorer, "bias").fill("6")
    box(explorer, "bias").press("Enter")
    explorer.get_by_text("bias +6.00").wait_for(timeout=10_000)


def choose(explorer):
    """Each switch is heard: the image, the missing digit, and that no student is trained yet."""
    press(explorer, "7")  # the first row's: the image
    explorer.get_by_text("this 7:").wait_for(timeout=10_000)
    press(explorer, "none")
    explorer.get_by_text("the bias does nothing").wait_for(timeout=10_000)
    press(explorer, "trained")
    explorer.get_by_text("press Train students").wait_for(timeout=10_000)


def train_and_stop(page, explorer, words):
    """Stop works within a step, the slider answers meanwhile, and the runs stay."""
    press(explorer, "50")
    explorer.get_by_role("button", name="Train students").click()
    explorer.get_by_text(re.compile(r"^step \d")).wait_for(timeout=20_000)
    press(explorer, "prepared")
    explorer.locator(".shrink-error pre").wait_for(state="detached", timeout=10_000)
    before = page.evaluate("() => window.times.length")
    page.locator(jupyter.SLIDER).first.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("n => window.times.length > n", arg=before, timeout=10_000)
    explorer.get_by_role("button", name="Stop").click()
    explorer.get_by_text("stopped", exact=True).wait_for(timeout=10_000)
    words.get_by_role("table").wait_for(timeout=10_000)
    press(explorer, "trained")
    explorer.get_by_text("the last run's").wait_for(timeout=10_000)
    assert "distilled less alone" in words.inner_text()

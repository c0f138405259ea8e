"""Chapter 03 in JupyterLab, as a student meets it: a slider by keyboard, its box, the switches."""

import pytest

from tests import ROOT
from tests.chapters import jupyter

pytestmark = pytest.mark.browser

NOTEBOOK = ROOT / "notebooks" / "03_quantize.ipynb"


@pytest.mark.timeout(600)
def test_chapter_03_in_jupyterlab(chromium, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("SHRINK_DATASET", "glyphs")
    root = tmp_path / "work"
    root.mkdir()
    (root / "03_quantize.ipynb").write_bytes(NOTEBOOK.read_bytes())
    with (
        jupyter.server(root, tmp_path / "lab") as url,
        jupyter.browser(chromium, tmp_path) as (page, errors),
    ):
        jupyter.open_notebook(page, url, "03_quantize.ipynb")
        jupyter.run_all(page)
        jupyter.show_cell(page, "explore_quantization(data")
        explorer = page.locator(".shrink-explorer")
        words = explorer.locator(".shrink-summary")
        bits, outlier, clip = (explorer.locator("input[type=number]").nth(i) for i in range(3))

        assert len(jupyter.key_to_pixels(page, presses=4)) >= 4
        assert jupyter.cut_off(explorer) == []
        assert bits.input_value() == "8" and "Weights in 8 bits" in words.inner_text()
        stretch_a_weight(page, explorer, outlier)
        calibrate(explorer, clip)

        explorer.get_by_role("button", name="mine").click()
        explorer.get_by_text("has no answer of yours").wait_for(timeout=10_000)
        explorer.get_by_role("button", name="reference").click()
        explorer.locator(".shrink-error pre").wait_for(state="detached", timeout=10_000)
        jupyter.shoot(page, explorer, "explorer-03.png")
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
        assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
        assert errors == []


def stretch_a_weight(page, explorer, outlier):
    """A whole number that is between the slider's stops holds, and a scale per channel helps."""
    outlier.fill("100")
    outlier.press("Enter")
    explorer.get_by_text("one weight of fc1 made 100 times as large").wait_for(timeout=20_000)
    assert outlier.input_value() == "100"
    explorer.get_by_role("button", name="group of 64").click()
    explorer.get_by_text("a scale per group").wait_for(timeout=20_000)
    explorer.get_by_role("button", name="channel").click()
    explorer.get_by_text("a scale per channel").wait_for(timeout=20_000)
    page.locator(jupyter.SLIDER).nth(1).focus()
    page.keyboard.press("Home")
    explorer.locator(".shrink-summary", has_not_text="times as large").wait_for(timeout=20_000)


def calibrate(explorer, clip):
    """What does not matter cannot be moved."""
    explorer.get_by_role("button", name="activations").click()
    explorer.get_by_text("calibrated by min-max").wait_for(timeout=20_000)
    assert clip.is_disabled()
    assert explorer.get_by_role("button", name="channel").is_disabled()
    explorer.get_by_role("button", name="percentile").click()
    explorer.get_by_text("calibrated by percentile").wait_for(timeout=20_000)
    clip.fill("99")
    clip.press("Enter")
    explorer.get_by_text("clipped at the 99th percentile").wait_for(timeout=20_000)

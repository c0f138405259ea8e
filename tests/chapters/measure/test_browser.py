"""Chapter 01 in JupyterLab, as a student meets it: a slider by keyboard, its box, button, Stop."""

import nbformat
import pytest

from tests import ROOT
from tests.chapters import jupyter

pytestmark = pytest.mark.browser

NOTEBOOK = ROOT / "notebooks" / "01_measure.ipynb"
SLOW = """
from shrink.classroom.explorers import measure

measure.RUNS = (2, 60)  # slow enough to be stopped on the way
"""


@pytest.mark.timeout(300)
def test_chapter_01_in_jupyterlab(chromium, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("SHRINK_DATASET", "glyphs")
    root = tmp_path / "work"
    root.mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(SLOW))
    nbformat.write(notebook, root / "01_measure.ipynb")
    with (
        jupyter.server(root, tmp_path / "lab") as url,
        jupyter.browser(chromium, tmp_path) as (page, errors),
    ):
        jupyter.open_notebook(page, url, "01_measure.ipynb")
        jupyter.run_all(page)
        jupyter.show_cell(page, "explore_costs(layer")
        explorer = page.locator(".shrink-explorer")
        words = explorer.locator(".shrink-summary")
        memory, batch = (explorer.locator("input[type=number]").nth(i) for i in (0, 1))

        assert len(jupyter.key_to_pixels(page, presses=4)) >= 4
        assert memory.input_value() == "128"  # four quarters of a doubling
        assert jupyter.cut_off(explorer) == []
        assert "measured here" in words.inner_text().lower()

        batch.fill("100")
        batch.press("Enter")
        explorer.get_by_text("batch 128, the nearest to 100").wait_for(timeout=10_000)
        assert batch.input_value() == "100" and "batch of 100," in words.inner_text()
        page.locator(jupyter.SLIDER).nth(1).focus()
        page.keyboard.press("End")
        explorer.get_by_text("an image of a batch of 256").wait_for(timeout=10_000)
        assert batch.input_value() == "256"

        measure_and_stop(page, explorer, words)
        jupyter.shoot(page, explorer, "explorer-01.png")
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
        assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
        assert errors == []


def measure_and_stop(page, explorer, words):
    """Stop keeps the old measurement, and the slider answers on the way."""
    before = words.inner_text().split("\n")[1]
    explorer.get_by_role("button", name="Measure again").click()
    explorer.get_by_text("step").wait_for(timeout=20_000)
    drawn = page.evaluate("() => window.times.length")
    page.locator(jupyter.SLIDER).first.focus()
    page.keyboard.press("ArrowLeft")
    page.wait_for_function("n => window.times.length > n", arg=drawn, timeout=10_000)
    explorer.get_by_role("button", name="Stop").click()
    explorer.get_by_text("stopped", exact=True).wait_for(timeout=20_000)
    assert words.inner_text().split("\n")[1] == before
    assert explorer.locator(".shrink-error pre").count() == 0

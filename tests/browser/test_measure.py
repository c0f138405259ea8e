"""The explorer of chapter 01 in JupyterLab: the slider by keyboard, its box, the button, Stop."""

import nbformat
import pytest

from tests.browser import jupyter

pytestmark = pytest.mark.browser

CELL = """
from shrink.classroom.explorers import measure

measure.RUNS, measure.ROUNDS = (0, 1), 1
explorer = measure.explore_costs(device="cpu")
measure.RUNS = (2, 60)  # slow enough to be stopped on the way
explorer
"""


@pytest.mark.timeout(120)
def test_the_costs_in_jupyterlab(chromium, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    root = tmp_path / "work"
    root.mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}  # or it asks
    nbformat.write(notebook, root / "costs.ipynb")
    with (
        jupyter.server(root, tmp_path / "lab") as url,
        jupyter.browser(chromium, tmp_path) as (page, errors),
    ):
        jupyter.open_notebook(page, url, "costs.ipynb")
        jupyter.run_all(page)
        explorer = page.locator(".shrink-explorer")
        words = explorer.locator(".shrink-summary")
        memory, batch = (explorer.locator("input[type=number]").nth(i) for i in (0, 1))

        assert len(jupyter.key_to_pixels(page, presses=4)) >= 4
        assert memory.input_value() == "128"  # four quarters of a doubling
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
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
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

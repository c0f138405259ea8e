"""Chapter 02 in JupyterLab, as a student meets it: one session, one kernel, a keyboard."""

import statistics

import nbformat
import pytest

from tests import ROOT
from tests.chapters import jupyter

pytestmark = pytest.mark.browser
NOTEBOOKS = ROOT / "notebooks"

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
    alt="one over s minus seven",
)
"""


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A folder with chapter 02 as students get it, and at its end an explorer that can fail.

    The cache is empty, as when it is opened for the first time.
    """
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    notebook = nbformat.read(NOTEBOOKS / "02_prune.ipynb", as_version=4)
    notebook.cells.append(nbformat.v4.new_code_cell(BROKEN_EXPLORER))
    root = tmp_path / "work"
    root.mkdir()
    nbformat.write(notebook, root / "02_prune.ipynb")
    return root


@pytest.mark.timeout(300)
def test_chapter_02_in_jupyterlab(chapter, chromium, tmp_path, monkeypatch, record_property):
    monkeypatch.setenv("SHRINK_DATASET", "glyphs")
    with (
        jupyter.server(chapter, tmp_path / "lab") as url,
        jupyter.browser(chromium, tmp_path) as (page, errors),
    ):
        jupyter.open_notebook(page, url, "02_prune.ipynb")
        jupyter.run_all(page)
        jupyter.show_cell(page, "explore_pruning(data")
        explorer = page.locator(".shrink-explorer").first

        times = sorted(jupyter.key_to_pixels(page, presses=30))
        median, p95 = statistics.median(times), times[int(0.95 * len(times))]
        print(f"key press to pixels: median {median:.0f} ms, p95 {p95:.0f} ms")
        record_property("key_to_pixels_ms", {"median": median, "p95": p95})
        assert jupyter.cut_off(explorer) == []
        assert "Sparsity 0.8:" in explorer.locator(".shrink-summary").inner_text()

        fine_tune_and_stop(page, explorer)
        see_the_error_panel(page)
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
        assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
        assert errors == []


def fine_tune_and_stop(page, explorer):
    """Stop works within a step, and the slider answers while the training runs."""
    epochs = explorer.locator("input[type=number]").nth(1)
    epochs.fill("20")
    epochs.press("Enter")
    explorer.get_by_role("button", name="gradual").click()
    explorer.get_by_role("button", name="Fine-tune").click()
    explorer.get_by_text("step").wait_for(timeout=10_000)
    before = page.evaluate("() => window.times.length")
    page.locator(jupyter.SLIDER).first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("n => window.times.length > n", arg=before, timeout=10_000)
    explorer.get_by_role("button", name="Stop").click()
    explorer.get_by_text("stopped", exact=True).wait_for(timeout=10_000)
    words = explorer.locator(".shrink-summary").inner_text()
    assert "Fine-tuned, gradual, at sparsity" in words and ", stopped)" in words
    jupyter.shoot(page, explorer, "explorer.png")


def see_the_error_panel(page):
    """An exception in compute is shown with its type, and gone with the next good value."""
    jupyter.show_cell(page, "1 / (s - 7)")
    broken = page.locator(".shrink-explorer").last
    broken.locator(jupyter.SLIDER).focus()
    page.keyboard.press("ArrowRight")
    panel = broken.locator(".shrink-error pre")
    panel.wait_for(timeout=10_000)
    assert "ZeroDivisionError" in panel.inner_text() and "s = 7" in panel.inner_text()
    page.keyboard.press("ArrowRight")
    panel.wait_for(state="detached", timeout=10_000)

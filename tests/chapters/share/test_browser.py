"""Chapter 04 in JupyterLab, as a student meets it: the slider, the switches, training, Stop."""

import statistics

import pytest

from tests import ROOT
from tests.chapters import jupyter

pytestmark = pytest.mark.browser

NOTEBOOK = ROOT / "notebooks" / "04_share.ipynb"


@pytest.mark.timeout(900)
def test_chapter_04_in_jupyterlab(chromium, tmp_path, monkeypatch, record_property):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("SHRINK_DATASET", "glyphs")
    root = tmp_path / "work"
    root.mkdir()
    (root / "04_share.ipynb").write_bytes(NOTEBOOK.read_bytes())
    with (
        jupyter.server(root, tmp_path / "lab") as url,
        jupyter.browser(chromium, tmp_path) as (page, errors),
    ):
        jupyter.open_notebook(page, url, "04_share.ipynb")
        jupyter.run_all(page)
        jupyter.show_cell(page, "explore_sharing(data")
        explorer = page.locator(".shrink-explorer")
        words = explorer.locator(".shrink-summary")

        times = sorted(jupyter.key_to_pixels(page, presses=30))
        median, p95 = statistics.median(times), times[int(0.95 * len(times))]
        print(f"key press to pixels: median {median:.0f} ms, p95 {p95:.0f} ms")
        record_property("key_to_pixels_ms", {"median": median, "p95": p95})
        assert jupyter.cut_off(explorer) == []
        assert "38 values a layer" in words.inner_text()
        assert explorer.locator("input[type=number]").first.input_value() == "38"

        choose(explorer)
        train_and_stop(page, explorer)
        explorer.get_by_role("button", name="mine").click()
        explorer.get_by_text("has no answer of yours").wait_for(timeout=10_000)
        explorer.get_by_role("button", name="reference").click()
        explorer.locator(".shrink-error pre").wait_for(state="detached", timeout=10_000)
        jupyter.shoot(page, explorer, "explorer-04.png")
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
        assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
        assert errors == []


def choose(explorer):
    """A number is typed in, and each switch is heard."""
    k = explorer.locator("input[type=number]").first
    k.fill("4")
    k.press("Enter")
    for button, words in (
        ("pruned", "4 values and 0 a layer"),
        ("histogram", "k-means from histogram, pruned weights"),
        ("fc2", "Squared error of fc2"),
    ):
        explorer.get_by_role("button", name=button).click()
        explorer.get_by_text(words).wait_for(timeout=20_000)


def train_and_stop(page, explorer):
    """Stop works within a step, and the slider answers while the training runs."""
    epochs = explorer.locator("input[type=number]").nth(1)
    epochs.fill("10")
    epochs.press("Enter")
    explorer.get_by_role("button", name="Train codebooks").click()
    explorer.get_by_text("step").wait_for(timeout=20_000)
    before = page.evaluate("() => window.times.length")
    page.locator(jupyter.SLIDER).first.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("n => window.times.length > n", arg=before, timeout=10_000)
    explorer.get_by_role("button", name="Stop").click()
    explorer.get_by_text("stopped", exact=True).wait_for(timeout=10_000)
    words = explorer.locator(".shrink-summary").inner_text()
    assert "Codebooks trained: 4 values, from histogram" in words and ", stopped:" in words

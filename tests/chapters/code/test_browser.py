"""Chapter 05 in JupyterLab, as a student meets it: sliders by keyboard, a byte, a hundred flips."""

import pytest

from tests import ROOT
from tests.chapters import jupyter

pytestmark = pytest.mark.browser

NOTEBOOK = ROOT / "notebooks" / "05_code.ipynb"


@pytest.mark.timeout(900)
def test_chapter_05_in_jupyterlab(chromium, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")
    monkeypatch.setenv("SHRINK_DATASET", "glyphs")
    root = tmp_path / "work"
    root.mkdir()
    (root / "05_code.ipynb").write_bytes(NOTEBOOK.read_bytes())
    with (
        jupyter.server(root, tmp_path / "lab") as url,
        jupyter.browser(chromium, tmp_path) as (page, errors),
    ):
        jupyter.open_notebook(page, url, "05_code.ipynb")
        jupyter.run_all(page)
        explore_the_codes(page)
        explore_the_file(page)
        assert page.locator("[data-mime-type='application/vnd.jupyter.error']").count() == 0
        assert page.locator("[data-mime-type='application/vnd.jupyter.stderr']").count() == 0
        assert errors == []


def explorer_with(page, label):
    """The explorer that has a control of this name; both may be attached to the page."""
    return page.locator(".shrink-explorer", has=page.get_by_text(label, exact=True))


def explore_the_codes(page):
    """Both sliders, by keyboard and by their boxes, the choices, and the switch to mine."""
    jupyter.show_cell(page, "explore_coding(data")
    explorer = explorer_with(page, "gap bits")
    explorer.wait_for(timeout=30_000)
    words = explorer.locator(".shrink-summary")
    assert len(jupyter.key_to_pixels(page, presses=4)) >= 4
    assert jupyter.cut_off(explorer) == []
    assert "sparsity 92 %, 16 values, Huffman" in words.inner_text()
    sparsity = explorer.locator("input[type=number]").nth(1)
    sparsity.fill("98")
    sparsity.press("Enter")
    explorer.get_by_text("sparsity 98 %").wait_for(timeout=20_000)
    explorer.get_by_role("button", name="fixed").click()
    explorer.get_by_text("16 values, fixed").wait_for(timeout=20_000)
    explorer.get_by_role("button", name="64").click()
    explorer.get_by_text("64 values, fixed").wait_for(timeout=20_000)
    explorer.get_by_role("button", name="fc2").click()
    explorer.get_by_text("each of fc2's gaps").wait_for(timeout=20_000)
    explorer.get_by_role("button", name="mine").click()
    explorer.get_by_text("has no answer of yours").wait_for(timeout=10_000)
    explorer.get_by_role("button", name="reference").click()
    explorer.locator(".shrink-error pre").wait_for(state="detached", timeout=10_000)
    for name in ("ANS", "16", "fc1", "Huffman"):
        explorer.get_by_role("button", name=name, exact=True).click()
    explorer.get_by_text("16 values, Huffman").wait_for(timeout=20_000)
    jupyter.shoot(page, explorer, "explorer-05-codes.png")


def explore_the_file(page):
    """A byte by its box, the way to a region, a flip with the checksum repaired, and Stop."""
    jupyter.show_cell(page, "explore_file(content")
    explorer = explorer_with(page, "go to")
    explorer.wait_for(timeout=30_000)
    assert jupyter.cut_off(explorer) == []
    byte, bit = (explorer.locator("input[type=number]").nth(i) for i in range(2))
    byte.fill("1")
    byte.press("Enter")
    explorer.get_by_text("the letter 'H' of SHRK").wait_for(timeout=20_000)
    region = explorer.locator("select")
    choice = region.locator("option", has_text="fc1.weight, codebook").inner_text()
    region.select_option(label=choice)
    explorer.get_by_text("the codebook has").wait_for(timeout=20_000)
    explorer.get_by_text("CodecError: the checksum is another").wait_for(timeout=20_000)
    byte.fill(str(int(byte.input_value()) + 5))
    byte.press("Enter")
    bit.fill("7")
    bit.press("Enter")
    explorer.get_by_role("button", name="repaired").click()
    explorer.get_by_text("nobody notices").wait_for(timeout=20_000)
    explorer.get_by_role("button", name="Flip a hundred random bits").click()
    explorer.get_by_text("step").wait_for(timeout=30_000)
    explorer.get_by_role("button", name="Stop").click()
    explorer.get_by_text("stopped", exact=True).wait_for(timeout=30_000)
    assert (
        "random flips. With the checksum as it is"
        in explorer.locator(".shrink-summary").inner_text()
    )
    jupyter.shoot(page, explorer, "explorer-05-file.png")

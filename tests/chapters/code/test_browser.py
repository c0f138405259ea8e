"""Chapter 05 in JupyterLab, as a student meets it: sliders by keyboard, a byte, a hundred flips."""

import pytest

pytestmark = pytest.mark.browser

SPARSITY = 1  # the slider's number
BYTE, BIT = range(2)


def test_chapter_05_in_jupyterlab(run_chapter):
    with run_chapter("05_code") as chapter:
        explore_the_codes(chapter.explorer("explore_coding(data"))
        explore_the_file(chapter.explorer("explore_file(content"))


def explore_the_codes(explorer):
    """Both sliders, by keyboard and by their boxes, the choices, and the switch to mine."""
    explorer.key_to_pixels(presses=4)
    assert "sparsity 92 %, 16 values, Huffman" in explorer.summary
    explorer.fill(SPARSITY, "98")
    explorer.says("sparsity 98 %")
    explorer.press("fixed", says="16 values, fixed")
    explorer.press("64", says="64 values, fixed")
    explorer.press("fc2", says="each of fc2's gaps")
    explorer.mine_and_reference()
    for name in ("ANS", "16", "fc1"):
        explorer.press(name)
    explorer.press("Huffman", says="16 values, Huffman")
    explorer.shoot("explorer-05-codes.png")


def explore_the_file(explorer):
    """A byte by its box, the way to a region, a flip with the checksum repaired, and Stop."""
    assert explorer.cut_off() == []
    explorer.fill(BYTE, "1")
    explorer.says("the letter 'H' of SHRK")
    region = explorer.itself.locator("select")
    choice = region.locator("option", has_text="fc1.weight, codebook").inner_text()
    region.select_option(label=choice)
    explorer.says("the codebook has")
    explorer.says("CodecError: the checksum is another")
    explorer.fill(BYTE, str(int(explorer.box(BYTE).input_value()) + 5))
    explorer.fill(BIT, "7")
    explorer.press("repaired", says="nobody notices")
    explorer.press("Flip a hundred random bits", says="step")
    explorer.stop()
    assert "random flips. With the checksum as it is" in explorer.summary
    explorer.shoot("explorer-05-file.png")

"""The table in measured.md is what the command writes, and of the versions in the lock."""

import datetime
import re

import pytest

from tests import CHAPTERS, ROOT
from tests.bench import __main__ as bench
from tests.bench.rows import Row

ROWS = [Row("masks", "1.0 ms", "torch 3.0 ms", "3.0x as fast"), Row("memory", "", "", "")]


def test_a_table_says_when_and_on_what_machine():
    text = bench.table(ROWS, "two cores", datetime.date(2026, 11, 23))
    assert text.startswith("Measured on 2026-11-23 on a machine with two cores.")
    assert "| masks | 1.0 ms | torch 3.0 ms | 3.0x as fast |" in text.splitlines()
    assert len({line.count("|") for line in text.splitlines() if line.startswith("|")}) == 1


def test_what_stands_between_the_marks_is_replaced_and_nothing_else():
    text = f"before\n{bench.BEGIN}\nold\n{bench.END}\nafter\n"
    once = bench.put_in(text, "new")
    assert once == f"before\n{bench.BEGIN}\nnew\n{bench.END}\nafter\n"
    assert bench.put_in(once, "new") == once
    with pytest.raises(ValueError):
        bench.put_in("no marks", "new")


def test_the_machine_is_named_in_words():
    assert re.search(r"\d+ cores .* GB of memory, .*; \w+, Python 3\.\d+", bench.machine())


def test_measured_has_a_row_of_every_figure_and_the_locks_torch():
    _, rest = bench.MEASURED.read_text(encoding="utf-8").split(bench.BEGIN)
    written = rest.split(bench.END)[0]
    torch = re.search(r"^torch==(.*)$", (ROOT / "requirements.lock").read_text(), re.MULTILINE)[1]
    assert re.search(r"Measured on \d{4}-\d\d-\d\d on a machine with ", written)
    assert f"torch {torch}." in written
    said = (
        "LeNet-5",
        "global masks",
        "2:4 mask",
        "channels of the residual network removed",
        "convolution from 64 channels",
        "the Hessian of 1,770 parameters",
        "SynFlow of lenet-300-100",
        "with masks held",
        "networks side by side",
        "fake quantization, forward",
        "XNOR and popcount",
        "the best of 7 widths for 53 layers",
        "csr_matmul",
        "relative indices",
        "lenet-300-100 in int8",
        "lenet-5 in int8",
        "quantizing 10,000,000",
        "k-means of 266,200 weights",
        "best values of 266,200 weights",
        "Huffman of 266,200 symbols",
        "ANS of 266,200 symbols",
        "32 values a layer, as a file",
        "PNG",
        "lines of text drawn again",
        "memory of a student",
        "explorer of the start page",
    )
    assert not [what for what in said if what not in written]
    for chapter in CHAPTERS:
        assert f"chapter {chapter[:2]} on " in written
    assert "not measured" not in written

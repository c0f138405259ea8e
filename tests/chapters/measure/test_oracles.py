"""Chapter 01's oracles: the machine and the counter that the checks compare with."""

import pytest
from torch import nn

from shrink import cost
from shrink.chapters.measure import energy, macs


def test_the_machine_that_counts_agrees_with_the_library_and_the_chapters_example():
    layer = cost.Layer("fc", macs=6, parameters=8, inputs=3, outputs=2)
    price = cost.Prices(1, 10, 100)
    assert energy._right(layer, price, 9, 1) == (6, 130, 400)
    for batch in (1, 2, 3, 7):
        for room in range(60):
            right = cost.layer_energy(layer, price, room, batch)
            parts = (right.arithmetic, right.sram, right.dram)
            assert energy._right(layer, price, room, batch) == pytest.approx(parts)


def test_the_example_of_the_chapter_is_what_the_counter_gives():
    layer = nn.Conv2d(8, 8, kernel_size=3, stride=2, padding=1, groups=8)
    assert macs._watched(layer, (4, 4)) == (288, (8, 2, 2))

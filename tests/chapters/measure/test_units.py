"""The small explorer at the top of chapter 01 counts right, and measures each network once."""

import pytest
import torch

from shrink import cost
from shrink.chapters.measure import units
from shrink.chapters.measure.units_explorer import explore_units
from tests import ROOT


@pytest.fixture(scope="module")
def explorer():
    return explore_units("cpu")


def test_the_count_is_that_of_the_networks_layers():
    lab = units.UnitsLab(torch.device("cpu"))
    for number in (1, 300, units.MOST):
        layers = cost.layers(lab._network(number), torch.zeros(1, units.INPUTS))
        assert lab.view(number).macs == units.macs(number) == sum(layer.macs for layer in layers)


def test_it_begins_with_the_largest_network_and_fewer_units_do_less(explorer):
    whole = explorer.result
    assert (whole.units, whole.macs_share, whole.time_share) == (units.MOST, 1, 1)
    explorer.controls["units"].value = 32
    assert explorer.error is None
    small = explorer.result
    assert small.macs_share == 32 / units.MOST < small.time_share < 1
    assert "25,408 multiply-accumulates" in explorer.text.value
    assert "<b>1.6 %</b> of those with 2,048 units" in explorer.text.value


def test_a_network_is_measured_once_and_between_the_stops_when_asked(explorer, monkeypatch):
    explorer.controls["units"].value = 64
    first = explorer.result.time
    calls = []
    real = units.latency
    monkeypatch.setattr(units, "latency", lambda *args: calls.append(args) or real(*args))
    for number in (128, 300, 64, 300):
        explorer.controls["units"].value = number
    assert explorer.result.units == 300 and len(calls) == 1
    explorer.controls["units"].value = 64
    assert explorer.result.time is first


def test_it_stands_within_the_chapters_first_ten_cells():
    text = (ROOT / "course" / "01_measure.py").read_text(encoding="utf-8")
    cells = text.split("# %% ")[1:]
    assert any("explore_units(" in cell for cell in cells[:10])

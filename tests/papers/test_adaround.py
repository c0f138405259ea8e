"""Rounding of one layer: the ways, random roundings, how a run resumes, the verdicts."""

import copy
import functools
import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.classroom import data
from shrink.classroom.data import Split
from shrink.classroom.training import Recipe, train
from shrink.modes import seeded
from shrink.papers import adaround as paper
from shrink.papers import adaround_result, reproduce
from shrink.papers.adaround_result import NAMES, RULES, WAYS
from tests import ROOT

STEM, DEPTHWISE, LAST = NAMES
NET = ("net", "2")
COUNT = 6


@pytest.fixture
def digits(monkeypatch, tmp_path):
    """A few digits, a small network that has learned a little, one layer, a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(paper, "PLAN", replace(paper.PLAN, random=COUNT, calibrated=40))
    monkeypatch.setattr(paper, "LAYERS", (NET,))
    monkeypatch.setattr(paper, "baseline", lambda name, dataset, seed: learned(seed))
    whole = data.load("digits", announce=False)
    return replace(whole, test=Split(whole.test.images[:130], whole.test.labels[:130]))


@functools.cache
def trained(seed):
    whole = data.load("digits", announce=False)
    with seeded(seed):
        layers = nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 10)
        net = nn.Sequential(nn.AvgPool2d(7), nn.Flatten(), *layers)
    few = Split(whole.train.images[:200], whole.train.labels[:200])
    train(net, few, Recipe(epochs=8, batch_size=40), seed=seed)
    return net.eval()


def learned(seed):
    return copy.deepcopy(trained(seed))


def loss_of(net, dataset):
    with torch.no_grad():
        return float(F.cross_entropy(net(dataset.test.images), dataset.test.labels))


@pytest.mark.parametrize("bits", [4, 3])
def test_ways_round_one_layer_alone(digits, tmp_path, bits):
    found = paper.run(digits, 3, tmp_path / "seed-3")
    assert found["images"] == 130
    numbers = found["net, 2"]
    assert numbers["floats"]["loss"] == pytest.approx(loss_of(learned(3), digits), rel=1e-4)
    net = learned(3)
    w = net[2].weight.data.clone()
    scale = w.abs().max() / (2 ** (bits - 1) - 1)
    net[2].weight.data.copy_((w / scale).round() * scale)
    nearest = numbers[str(bits)]["nearest"]
    assert nearest["loss"] == pytest.approx(loss_of(net, digits), rel=1e-4)
    wrong = int((net(digits.test.images).argmax(1) != digits.test.labels).sum())
    assert nearest["wrong"] == pytest.approx(wrong, abs=1)
    x = learned(3)[:2](digits.train.images[:40])
    off = x @ (net[2].weight.detach() - w).T
    assert nearest["output error"] == pytest.approx(float(off.square().mean(0).sum()), rel=1e-3)
    assert nearest["weight error"] == pytest.approx(float((net[2].weight - w).square().sum()))
    by_way = [numbers[str(bits)][way]["output error"] for way in WAYS]
    assert by_way[0] > by_way[1] >= by_way[2] * (1 - 1e-6)
    assert ("random" in numbers[str(bits)]) == (bits == 4)


def test_random_roundings_are_no_better_than_nearest_and_the_optimum_in_their_errors(
    digits, tmp_path
):
    found = paper.run(digits, 3, tmp_path)["net, 2"]["4"]
    assert all(len(numbers) == COUNT for numbers in found["random"].values())
    assert min(found["random"]["weight error"]) > found["nearest"]["weight error"]
    assert min(found["random"]["output error"]) >= found["least output error"]["output error"]


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same(digits, tmp_path, monkeypatch):
    whole = reproduce.reproduce("adaround", digits, [0, 1], tmp_path / "whole.json").record
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "another"))
    calls, row, rows = [], paper._row, 1 + 2 * len(WAYS) + COUNT

    def killed_in_the_second_seed(*args):
        calls.append(args)
        if len(calls) == rows + 2:
            raise Killed
        return row(*args)

    monkeypatch.setattr(paper, "_row", killed_in_the_second_seed)
    out = tmp_path / "out.json"
    with pytest.raises(Killed):
        reproduce.reproduce("adaround", digits, [0, 1], out)
    assert not out.exists()
    again = reproduce.reproduce("adaround", digits, [0, 1], out).record
    assert again == whole == json.loads(out.read_text())
    assert len(calls) == 2 * rows + 2  # the layer that was cut off is begun again


def test_jobs_leave_what_a_run_then_reads(digits, tmp_path, monkeypatch):
    for wave in paper.waves([0]):
        for job in wave:
            job.run(digits, tmp_path)
    found = []
    monkeypatch.setattr(paper, "_row", lambda *args: found.append(args))
    paper.run(digits, 0, tmp_path / "seed-0")
    assert not found


def record(*changes):
    """A record of three seeds; `changes` are (seed, layer, way, loss or losses)."""

    def numbers(loss):
        kinds = ("loss", "wrong", "output error", "weight error")
        return dict.fromkeys(kinds, loss)

    seeds = {}
    for seed in range(3):
        of_layer = {way: numbers(x) for way, x in zip(WAYS, (0.5, 0.3, 0.25), strict=True)}
        with_random = of_layer | {"random": numbers([0.4] * 40 + [0.6] * 60)}
        layers = {
            name: copy.deepcopy({"floats": numbers(0.1), "4": with_random, "3": of_layer})
            for name in NAMES
        }
        seeds[str(seed)] = {"images": 10_000, **layers}
    for seed, layer, way, losses in changes:
        seeds[str(seed)][layer]["4"][way]["loss"] = losses
    made = dict.fromkeys(("command", "data", "torch", "python", "machine"), "")
    return {**made, "recipe": paper.RECIPE, "seeds": seeds}


FEW = [0.4] * 20 + [0.6] * 80


@pytest.mark.parametrize(
    ("changes", "learned", "chance"),
    [
        ([], "reproduced", "reproduced"),
        ([(1, LAST, "AdaRound", 0.5)], "partly reproduced", "reproduced"),
        ([(1, layer, "AdaRound", 0.5) for layer in NAMES], "not reproduced", "reproduced"),
        ([(0, STEM, "random", FEW)], "reproduced", "reproduced"),  # 20, 40 and 40
        ([(s, STEM, "random", FEW) for s in (0, 1)], "reproduced", "partly reproduced"),
        (
            [(s, layer, "random", FEW) for s in (0, 1) for layer in NAMES],
            "reproduced",
            "not reproduced",
        ),
    ],
)
def test_both_claims_have_their_verdict(changes, learned, chance):
    verdict = paper.Result(record(*changes)).verdict
    assert f"(Nagel et al. 2020): {learned}; of 3 seeds" in verdict
    assert f"better than nearest: {chance}; here" in verdict


def test_the_tables_have_each_layer_in_4_and_3_bits():
    result = paper.Result(record((1, STEM, "AdaRound", 0.36)))
    assert result.better(STEM) == [40] * 3 and result.below(STEM) == 3
    for shown in (str(result), result._repr_html_(), result.markdown()):
        assert f"{STEM}, 4 bits" in shown and f"{LAST}, 3 bits, of" not in shown
        assert "0.3200 (0.3000 to 0.3600)" in shown and f"{STEM}, 4 bits, of 100" in shown
    losses, ratios, counts = result.tables()
    assert len(losses) == len(ratios) == 1 + 2 * len(NAMES) and len(counts) == 1 + len(NAMES)
    assert losses[-1][-1] == "" and ratios[1][1:] == ("0.60 (0.60)", "0.50 (0.50)")
    for table in result.tables():
        assert len({len(row) for row in table}) == 1


def test_the_rules_are_part_of_the_recipe():
    assert paper.RECIPE["rules"] == RULES
    assert paper.RECIPE["random_bits"] == adaround_result.BITS


def test_the_shipped_record_is_what_results_md_shows():
    result = reproduce.stored("adaround")
    assert len(result.runs) >= 3 and result.record["data"] == "mnist"
    assert result.record["recipe"] == paper.RECIPE
    shown = (ROOT / "course" / "results.md").read_text(encoding="utf-8")
    assert result.markdown() in shown and result.verdict in " ".join(shown.split())

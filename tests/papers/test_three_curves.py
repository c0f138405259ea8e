"""The three curves and their control: the arms, how a run resumes, the verdicts."""

import copy
import functools
import itertools
import json
from dataclasses import replace

import pytest
from torch import nn

from shrink.classroom import data
from shrink.classroom.data import Split
from shrink.classroom.training import Recipe, accuracy, train
from shrink.modes import seeded
from shrink.papers import reproduce
from shrink.papers import three_curves as paper
from shrink.papers.three_curves_result import ARMS, CURVES, PARTS, RULES
from tests import ROOT

LAYERS = ("2", "4")
COUNTS = dict(zip(LAYERS, (16 * 12, 12 * 10), strict=True))


@pytest.fixture
def digits(monkeypatch, tmp_path):
    """A few digits, a small network that has learned a little, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    few = {"budgets": (4, 3), "widths": (2, 3, 4, 8), "calibrated": 40, "judged": 60}
    monkeypatch.setattr(paper, "PLAN", replace(paper.PLAN, **few))
    monkeypatch.setattr(paper, "baseline", started)
    whole = data.load("digits", announce=False)
    return replace(whole, test=Split(whole.test.images[:130], whole.test.labels[:130]))


@functools.cache
def learned(seed):
    whole = data.load("digits", announce=False)
    with seeded(seed):
        layers = nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 10)
        net = nn.Sequential(nn.AvgPool2d(7), nn.Flatten(), *layers)
    few = Split(whole.train.images[:200], whole.train.labels[:200])
    train(net, few, Recipe(epochs=8, batch_size=40), seed=seed)
    return net.eval()


def started(name, dataset, *, seed):
    return copy.deepcopy(learned(seed))


def wrong(net, dataset):
    return round((1 - accuracy(net, dataset.test)) * len(dataset.test))


def test_nearest_arms_are_what_their_names_say(digits, tmp_path):
    found = paper.run(digits, 3, tmp_path / "seed-3")
    assert found["images"] == 130 and found["layers"] == [*LAYERS]
    assert found["floats"] == wrong(learned(3), digits)
    for part, per_channel in zip(PARTS, (False, True), strict=True):
        assert set(found[part]) == set(ARMS)
        for arm, bits in itertools.product(("single", "mixed"), (4, 3)):
            point, net = found[part][arm][str(bits)], copy.deepcopy(learned(3))
            assert arm == "mixed" or point["bits"] == [bits] * 2
            for name, width in zip(LAYERS, point["bits"], strict=True):
                w = net.get_submodule(name).weight.data
                largest = w.abs().amax(1, keepdim=True) if per_channel else w.abs().max()
                scale = largest / (2 ** (width - 1) - 1)
                w.copy_((w / scale).round() * scale)
            assert point["wrong"] == pytest.approx(wrong(net, digits), abs=1)


def test_mixed_bits_fit_and_learned_rounding_has_costs_of_its_own(digits):
    part = PARTS[0]
    for arm in ("mixed", ARMS[3]):
        for budget, bits in paper.allocations(digits, 0, part, arm).items():
            taken, most = (
                sum(-(-n * b // 8) for n, b in zip(COUNTS.values(), widths, strict=True))
                for widths in (bits.values(), [budget] * 2)
            )
            assert taken <= most
    nearest, own = (paper.sensitivities(digits, learned(0), part, a) for a in ("mixed", ARMS[3]))
    assert nearest.keys() == own.keys() == COUNTS.keys()
    assert sum(row[3] for row in own.values()) < sum(row[3] for row in nearest.values())


def test_learned_rounding_has_less_error_of_outputs_and_keeps_their_means(digits):
    images, single = digits.train.images[:40], dict.fromkeys(LAYERS, 3)
    apart, means = {}, {}
    of_floats = learned(0)(images).detach()
    for arm in ("single", ARMS[2]):
        logits = paper.quantized(digits, 0, PARTS[0], arm, single)(images).detach()
        apart[arm] = float((logits - of_floats).square().mean())
        means[arm] = float((logits - of_floats).mean(0).abs().max())
    assert apart[ARMS[2]] < apart["single"]
    assert means[ARMS[2]] < 1e-5 < means["single"]


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same(digits, tmp_path, monkeypatch):
    whole = reproduce.reproduce("three-curves", digits, [0, 1], tmp_path / "whole.json").record
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "another"))
    calls, quantized = [], paper.quantized

    def killed_in_the_second_part(*args):
        calls.append(args)
        if len(calls) == 10:
            raise Killed
        return quantized(*args)

    monkeypatch.setattr(paper, "quantized", killed_in_the_second_part)
    out = tmp_path / "out.json"
    with pytest.raises(Killed):
        reproduce.reproduce("three-curves", digits, [0, 1], out)
    assert not out.exists()
    again = reproduce.reproduce("three-curves", digits, [0, 1], out).record
    assert again == whole == json.loads(out.read_text())
    assert len(calls) == 2 * 2 * 8 + 2  # a part that was cut off is begun again


def test_jobs_leave_what_a_run_then_reads(digits, tmp_path, monkeypatch):
    for wave in paper.waves([0]):
        for job in wave:
            job.run(digits, tmp_path)
    found = []
    monkeypatch.setattr(paper, "quantized", lambda *args: found.append(args))
    paper.run(digits, 0, tmp_path / "seed-0")
    assert not found


def record(*changes):
    """A record of three seeds; `changes` are (seed, part, arm, bits, how many are wrong)."""
    seeds = {}
    for seed in range(3):
        seeds[str(seed)] = {"images": 10_000, "floats": 100, "layers": [*LAYERS]}
        for part in PARTS:
            counts = dict(zip(CURVES, (900, 200, 120), strict=True)) | {ARMS[2]: 300}
            seeds[str(seed)][part] = {
                arm: {str(b): {"wrong": counts[arm], "bits": [b] * 2} for b in (6, 5, 4, 3)}
                for arm in ARMS
            }
    for seed, part, arm, bits, count in changes:
        seeds[str(seed)][part][arm][str(bits)]["wrong"] = count
    made = dict.fromkeys(("command", "data", "torch", "python", "machine"), "")
    return {**made, "recipe": paper.RECIPE, "seeds": seeds}


LAYER, CHANNEL = PARTS
BEST = ARMS[3]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ([], "reproduced"),
        ([(0, LAYER, BEST, 3, 200)], "reproduced"),  # in two of three seeds
        ([(0, LAYER, BEST, 3, 200), (1, LAYER, "mixed", 3, 900)], "partly reproduced"),
        ([(seed, CHANNEL, BEST, 3, 500) for seed in range(3)], "reproduced"),
        ([(s, LAYER, "single", b, 90) for s in (0, 1) for b in (6, 5, 4, 3)], "not reproduced"),
    ],
)
def test_it_is_reproduced_where_each_budget_has_the_ordering_in_two_of_three_seeds(changes, word):
    verdict = paper.Result(record(*changes)).verdict
    assert f"Toolkit): {word}; of 3 seeds" in verdict


def test_tables_and_verdict_tell_of_all_arms_and_of_the_control():
    result = paper.Result(record((1, LAYER, ARMS[2], 4, 330)))
    assert result.errors() == [1, 1, 1] and result.errors(LAYER, ARMS[2], 4) == [3, 3.3, 3]
    for shown in (str(result), result._repr_html_(), result.markdown()):
        assert LAYER in shown and CHANNEL in shown and "3.10 (3.00 to 3.30)" in shown
    assert "at 3 bits in 3; with one scale per channel at 6 bits in 3" in result.verdict
    *errors, bits = result.tables()
    assert [len(table) for table in errors] == [2 + len(ARMS)] * 2 and len(bits) == 1 + 2 * 4
    assert bits[0][2:] == tuple(LAYERS) and bits[1][2:] == tuple("66")


def test_the_rules_are_part_of_the_recipe():
    assert paper.RECIPE["rules"] == RULES


def test_the_shipped_record_is_what_results_md_shows():
    result = reproduce.stored("three-curves")
    assert len(result.runs) >= 3 and result.record["data"] == "mnist"
    assert result.record["recipe"] == paper.RECIPE
    shown = (ROOT / "course" / "results.md").read_text(encoding="utf-8")
    assert result.markdown() in shown and result.verdict in " ".join(shown.split())

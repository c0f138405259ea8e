"""Structured pruning beside training from scratch: the arms, how a run resumes, the verdicts."""

import json
from dataclasses import replace

import pytest
import torch
from scipy import stats

from shrink import pruning
from shrink.classroom import data, models
from shrink.classroom.data import Split
from shrink.papers import reproduce, stages
from shrink.papers import structured as paper
from shrink.papers.structured_result import ARMS, STATES, WAYS

SMALL = (8, 8, 16, 16)
TRAININGS = 6  # dense, longer, three removed, from scratch


@pytest.fixture
def digits(monkeypatch, tmp_path):
    """A few digits, recipes of an epoch or two, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    epochs = {"dense": 1, "tuning": 1, "scratch": 2}
    short = {name: replace(getattr(paper.PLAN, name), epochs=n) for name, n in epochs.items()}
    monkeypatch.setattr(paper, "PLAN", replace(paper.PLAN, **short, norm_images=100))
    whole = data.load("digits", announce=False)
    part = {
        name: Split(split.images[:130], split.labels[:130])
        for name, split in (("train", whole.train), ("test", whole.test))
    }
    return replace(whole, **part)


def test_each_arm_is_what_its_name_says(digits, tmp_path, monkeypatch):
    trainings, train = {}, stages.train

    def watched(net, split, recipe, **options):
        before = {name: t.clone() for name, t in net.state_dict().items()}
        done = train(net, split, recipe, **options)
        trainings[options["checkpoint"].stem] = before, recipe, net
        return done

    monkeypatch.setattr(stages, "train", watched)
    found = paper.run(digits, 3, tmp_path / "seed-3")
    states = [f"{way}, {state}" for way in WAYS for state in STATES]
    assert set(found) == {*ARMS, *states}
    assert all(0 < arm["errors"] <= arm["images"] == 130 for arm in found.values())
    small = sum(p.numel() for p in models.build("residual", 0, hidden=SMALL).parameters())
    for arm, facts in found.items():
        assert facts["parameters"] == (30_970 if arm in ("dense", "longer") else small)

    plan = paper.PLAN
    assert list(trainings) == ["dense", "longer", *WAYS, "scratch"]
    dense = trainings["dense"][2]
    recipes = {name: recipe for name, (_, recipe, _) in trainings.items()}
    assert recipes["dense"] == plan.dense
    assert {recipes[name] for name in ("longer", *WAYS)} == {plan.tuning}
    assert recipes["scratch"] == plan.scratch
    assert {arm: found[arm]["epochs"] for arm in ARMS} == {
        "dense": 1,
        "longer": 2,
        **{f"{way}, tuned": 2 for way in WAYS},
        "scratch": 2,
    }

    fresh = models.build("residual", 3, hidden=SMALL).state_dict()
    assert all(t.equal(fresh[key]) for key, t in trainings["scratch"][0].items())
    assert all(t.equal(dense.state_dict()[key]) for key, t in trainings["longer"][0].items())
    groups = pruning.dependency_groups(dense, digits.train.images[:2])
    for way, kept in paper.kept_units(dense, groups, 3).items():
        expected = pruning.remove_units(dense, groups, kept).state_dict()
        weights = [name for name in expected if "running" not in name and "num_" not in name]
        assert all(trainings[way][0][name].equal(expected[name]) for name in weights)


def test_the_units_that_stay_are_half_of_each_group():
    net = models.build("residual", 5)
    groups = pruning.dependency_groups(net, torch.zeros(1, 1, 28, 28))
    kept = paper.kept_units(net, groups, seed=0)
    norms = {  # of the filters of all layers that make the unit, added up by hand
        "stem": net.stem.weight.abs().sum((1, 2, 3)) + net.conv2.weight.abs().sum((1, 2, 3)),
        "conv1": net.conv1.weight.abs().sum((1, 2, 3)),
        "down": net.down.weight.abs().sum((1, 2, 3)) + net.conv4.weight.abs().sum((1, 2, 3)),
        "conv3": net.conv3.weight.abs().sum((1, 2, 3)),
    }
    assert set(kept["smallest"]) == set(norms)
    for name, size in zip(paper.WIDTHS, SMALL, strict=True):
        order = norms[name].argsort()
        assert set(kept["smallest"][name].tolist()) == set(order[size:].tolist())
        assert set(kept["largest"][name].tolist()) == set(order[:size].tolist())
        assert len(kept["random"][name].unique()) == size
    other = paper.kept_units(net, groups, seed=1)
    assert any(not other["random"][name].equal(kept["random"][name]) for name in norms)
    assert all(other["smallest"][name].equal(kept["smallest"][name]) for name in norms)


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same(digits, tmp_path, monkeypatch):
    whole = reproduce.reproduce("structured", digits, [0, 1], tmp_path / "whole.json").record
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "another"))
    calls, train = [], stages.train

    def killed_in_the_fifth(*args, **kwargs):
        calls.append(args)
        if len(calls) == 5:
            raise Killed
        return train(*args, **kwargs)

    monkeypatch.setattr(stages, "train", killed_in_the_fifth)
    out = tmp_path / "out.json"
    with pytest.raises(Killed):
        reproduce.reproduce("structured", digits, [0, 1], out)
    assert not out.exists()
    again = reproduce.reproduce("structured", digits, [0, 1], out).record
    assert again == whole == json.loads(out.read_text())
    assert len(calls) == 2 * TRAININGS + 1  # only the one that was cut off is done twice


def record(**changes):
    """A record of five seeds: errors among 10 000 images; an arm's are changed by its name."""
    errors = dict.fromkeys([*ARMS, *(f"{way}, {state}" for way in WAYS for state in STATES)], 100)
    found = {arm: [n, n + 2, n - 1, n + 3, n + 1] for arm, n in errors.items()}
    found |= {name.replace("__", ", "): numbers for name, numbers in changes.items()}
    sizes = {"images": 10_000, "parameters": 7_000, "macs": 500_000, "epochs": 6}
    seeds = {
        str(seed): {arm: {"errors": numbers[seed], **sizes} for arm, numbers in found.items()}
        for seed in range(5)
    }
    made = dict.fromkeys(("command", "data", "torch", "python", "machine"), "")
    return {**made, "recipe": paper.RECIPE, "seeds": seeds}


@pytest.mark.parametrize(
    ("scratch", "word"),
    [
        ([100, 102, 99, 103, 101], "reproduced."),
        ([80, 84, 79, 83, 82], "reproduced."),
        ([108, 109, 108, 111, 108], "reproduced."),
        ([112, 104, 107, 111, 106], "partly reproduced"),
        ([80, 122, 80, 123, 83], "partly reproduced"),
        ([112, 111, 111, 114, 113], "not reproduced."),
    ],
)
def test_from_scratch_is_no_worse_if_the_interval_says_so(scratch, word):
    result = paper.Result(record(scratch=scratch))
    claim, _ = result._scratch(), result._smallest()
    assert claim.split(": ")[1].startswith(word), claim
    oracle = stats.ttest_rel(scratch, [100, 102, 99, 103, 101]).confidence_interval(0.95)
    mean, low, high = result.difference("scratch", "smallest, tuned")
    assert (100 * low, 100 * high) == pytest.approx((oracle.low, oracle.high))
    assert f"{mean:+.2f} ({low:+.2f} to {high:+.2f}) points" in claim.replace("-0.00", "+0.00")
    assert word.startswith("reproduced") == (high < 0.1)


@pytest.mark.parametrize(
    ("random", "word"),
    [
        ([110, 109, 112, 111, 113], "reproduced."),
        ([101, 130, 99, 102, 101], "partly reproduced"),
        ([100, 102, 99, 103, 101], "not reproduced."),
        ([90, 92, 89, 93, 92], "not reproduced."),
    ],
)
def test_the_smallest_are_the_ones_to_remove_if_they_beat_random_ones(random, word):
    claim = paper.Result(record(random__tuned=random))._smallest()
    assert claim.split(": ")[1].startswith(word), claim


def test_the_tables_show_every_arm():
    result = paper.Result(record(random__removed=[500, 502, 499, 503, 501]))
    assert result.verdict == f"{result._scratch()} {result._smallest()}"
    assert "-4.00 (-4.00 to -4.00) right after the removal" in result.verdict
    for shown in (str(result), result._repr_html_(), result.markdown()):
        assert all(name in shown for name in (*ARMS.values(), *WAYS.values(), *STATES.values()))
        assert "500,000" in shown and "5.01 (4.99 to 5.03)" in shown
    assert [row[0] for row in result.tables()[0][1:]] == list(ARMS.values())


def test_the_plan_compares_like_with_like():
    plan = paper.PLAN
    assert plan.scratch.epochs == plan.dense.epochs + plan.tuning.epochs

"""The smaller recipe: files of networks with fewer units, and the limits that were named before."""

import json
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F

from shrink.classroom import data, measure, models
from shrink.classroom.training import Recipe
from shrink.papers import deep_compression_smaller as paper
from shrink.papers import reproduce, stages
from shrink.pruning import units
from tests import ROOT

NAME = "lenet-300-100"
QUICK = Recipe(epochs=1, weight_decay=0)
PLAN = paper.Plan(
    dense=replace(QUICK, epochs=3),
    hidden=(40, 20),
    narrowing=QUICK,
    rounds=((0.5, QUICK), (0.8, QUICK), (0.9, QUICK)),
    files=(0.5, 0.9),
    tuning=replace(QUICK, learning_rate=1e-4),
    temperature=3.0,
    teachers=(0, 1),
    limits={"goal": (0.5, 10**6, 90.0), "stretch": (0.9, 10, 90.0)},
    values=4,
)
WEIGHTS = 784 * 40 + 40 * 20 + 20 * 10
TRAININGS = 7  # dense, narrowed, three rounds, the codebooks of two files


@pytest.fixture
def digits(monkeypatch, tmp_path):
    """The small data set, one network that its like teach, few epochs, a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(paper, "TEACHER", NAME)
    monkeypatch.setattr(paper, "PLANS", {NAME: PLAN})
    monkeypatch.setattr(paper, "RECIPE", json.loads(json.dumps({NAME: asdict(PLAN)})))
    return data.load("digits", announce=False)


def test_each_stage_is_what_its_name_says(digits, read_here, tmp_path):
    found = paper.run(digits, 0, tmp_path / "run")[NAME]
    assert list(found) == ["dense", "narrowed", "0.5", "0.9"]
    left = {stage: sum(n for n, _ in f["kept"].values()) for stage, f in found.items()}
    half, tenth = WEIGHTS - round(0.5 * WEIGHTS), WEIGHTS - round(0.9 * WEIGHTS)
    assert left == {"dense": 266_200, "narrowed": WEIGHTS, "0.5": half, "0.9": tenth}
    sizes = [stage["file_bytes"] for stage in found.values()]
    assert sizes == sorted(sizes, reverse=True)
    small = models.build(NAME, 0, hidden=PLAN.hidden)
    assert found["narrowed"]["file_bytes"] == measure.size(small.state_dict())
    for stage in found.values():
        assert sum(of for _, of in stage["kept"].values()) == 266_200
        assert 0 < stage["errors"] < stage["images"] == 400


def test_a_file_is_made_aside_and_changes_nothing_of_what_follows(
    digits, in_process, tmp_path, monkeypatch
):
    whole = paper.run(digits, 0, tmp_path / "whole")[NAME]
    only_last = replace(PLAN, files=(0.9,))
    monkeypatch.setattr(paper, "PLANS", {NAME: only_last})
    assert paper.run(digits, 0, tmp_path / "last")[NAME]["0.9"] == whole["0.9"]


def test_all_but_the_dense_network_learn_from_the_teacher(
    digits, in_process, tmp_path, monkeypatch
):
    losses, train = [], stages.train

    def watched(net, split, recipe, **options):
        losses.append((options["loss"], options["examples"]))
        return train(net, split, recipe, **options)

    monkeypatch.setattr(stages, "train", watched)
    paper.run(digits, 0, tmp_path / "seed-0")
    (first, second, *others) = losses
    assert first == second == (None, None) and len(others) == TRAININGS - 1
    logits, v, w = torch.randn(3, 8, 10)
    labels = torch.arange(8)
    hard = F.cross_entropy(logits, labels)
    t = PLAN.temperature
    targets = (F.softmax(v / t, 1) + F.softmax(w / t, 1)) / 2
    soft = F.kl_div(F.log_softmax(logits / t, 1), targets, reduction="batchmean")
    expected = (1 - PLAN.alpha) * hard + PLAN.alpha * t**2 * soft
    for loss, examples in others:
        assert loss(logits, None, labels, v, w).item() == pytest.approx(expected.item(), rel=1e-5)
        images, labels_of, *answers = examples(torch.arange(5), torch.Generator().manual_seed(0))
        assert len(images) == len(labels_of) == 5 and [len(a) for a in answers] == [5, 5]


def test_the_units_that_are_left_are_the_strongest():
    net = models.build(NAME, 3)
    small = paper.narrowed(NAME, (9, 6), net)
    state, layers = net.state_dict(), ["fc1", "fc2", "fc3"]
    kept = units.strongest_units(state, layers, (9, 6))
    expected = units.keep_units(state, layers, kept)
    found = small.state_dict()
    assert set(found) == set(expected)
    assert all(found[name].equal(expected[name]) for name in expected)


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same(
    digits, in_process, tmp_path, monkeypatch
):
    name = "deep-compression-smaller"
    whole = reproduce.reproduce(name, digits, [0, 1], tmp_path / "whole.json").record
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
        reproduce.reproduce(name, digits, [0, 1], out)
    assert not out.exists()
    again = reproduce.reproduce(name, digits, [0, 1], out).record
    assert again == whole == json.loads(out.read_text())
    assert len(calls) == 2 * TRAININGS + 1  # only the one that was cut off is done twice


def record(sizes, errors):
    """A record of LeNet-300-100 alone: the file of the goal in each seed, its errors of 10 000."""
    stage = {"file_bytes": 1_000_000, "errors": 150, "images": 10_000}
    stage["kept"] = {"fc1.weight": [8, 100], "fc2.weight": [2, 50]}
    seeds = {
        str(seed): {
            NAME: {
                "dense": stage,
                "narrowed": stage,
                "0.5": stage | {"file_bytes": size, "errors": wrong},
                "0.9": stage,
            }
        }
        for seed, (size, wrong) in enumerate(zip(sizes, errors, strict=True))
    }
    plan = asdict(replace(PLAN, limits={"goal": (0.5, 8_000, 1.58)}))
    made = dict.fromkeys(("command", "data", "torch", "python", "machine"), "")
    return {**made, "recipe": json.loads(json.dumps({NAME: plan})), "seeds": seeds}


@pytest.mark.parametrize(
    ("sizes", "errors", "says"),
    [
        ([8_000, 7_000, 6_000], [158, 150, 140], "met, kept by 3 of 3 seeds; at most 8,000"),
        ([8_001, 7_000, 6_000], [158, 150, 140], "not met, kept by 2 of 3 seeds; at most 8,001"),
        ([8_001, 7_000, 6_000], [158, 159, 140], "not met, kept by 1 of 3 seeds"),
    ],
)
def test_the_verdict_follows_from_every_seed(sizes, errors, says):
    result = paper.Result(record(sizes, errors))
    assert result.verdict.startswith(f"{NAME}, goal (8,000 bytes, 1.58 %): {says}")
    assert result.files(NAME) == (
        [sizes, [1_000_000] * 3],
        [[wrong / 100 for wrong in errors], [1.5] * 3],
    )
    for shown in (str(result), result._repr_html_(), result.markdown()):
        assert "goal: 8,000 bytes, 1.58 %" in shown and f"{max(sizes):,}" in shown
        assert "40 and 20 units left" in shown and "50.0% of these pruned" in shown


def test_the_plans_can_be_run():
    for name, plan in paper.PLANS.items():
        sparsities = [sparsity for sparsity, _ in plan.rounds]
        assert sparsities == sorted(sparsities) and set(plan.files) <= set(sparsities)
        assert {sparsity for sparsity, *_ in plan.limits.values()} <= set(plan.files)
        assert models.build(name, 0, hidden=plan.hidden)
    assert paper.TEACHER in paper.PLANS
    assert reproduce.stored("deep-compression-smaller").record["recipe"] == paper.RECIPE


def test_the_shipped_record_is_what_results_md_shows():
    result = reproduce.stored("deep-compression-smaller")
    assert len(result.runs) >= 3 and result.record["data"] == "mnist"
    shown = (ROOT / "course" / "results.md").read_text(encoding="utf-8")
    assert result.markdown() in shown and result.verdict in " ".join(shown.split())

"""Pruning before training until a layer is empty: what is counted, and the verdicts."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from shrink import pruning
from shrink.classroom import data, models
from shrink.classroom.data import Split
from shrink.papers import reproduce
from shrink.papers import synflow as paper
from shrink.papers.synflow_result import OURS, STEPS
from tests import ROOT, depth


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", announce=False)


@pytest.fixture
def short(monkeypatch, tmp_path):
    """One small network, few steps, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    plan = replace(paper.PLAN, networks=("tiny-tanh",), steps=6, compressions=(10, 1000))
    monkeypatch.setattr(paper, "PLAN", plan)


def one_by_one(scores):
    """The fewest weights that leave no layer empty: the smallest go, of equal ones the first."""
    flat = [
        (s, layer) for layer, of_layer in enumerate(scores) for s in of_layer.flatten().tolist()
    ]
    order = sorted(range(len(flat)), key=lambda i: flat[i][0])  # stable
    left = [of_layer.numel() for of_layer in scores]
    for gone, i in enumerate(order):
        left[flat[i][1]] -= 1
        if not all(left):
            return len(flat) - gone


@pytest.mark.parametrize("seed", depth.seeds(30, few=8))
def test_the_first_layer_that_is_emptied_says_how_many_must_be_left(seed):
    draw = torch.Generator().manual_seed(seed)
    sizes = torch.randint(1, 9, (3,), generator=draw).tolist()
    kinds = 4 if seed % 2 else 1000  # with ties and without
    scores = [torch.randint(0, kinds, (size,), generator=draw).float() for size in sizes]
    assert paper.outlasting(scores) == one_by_one(scores)


def test_in_one_shot_the_order_is_that_of_one_ranking(digits):
    net, batch = models.build("tiny-tanh", 0), paper.drawn(digits.train, 10, 0)
    for method in ("random", "magnitude", "SNIP", "GraSP", "SynFlow, one shot"):
        score, steps = paper.methods(batch, 0)[method]
        assert paper.fewest_left(net, score, steps) == one_by_one([*score(net).values()])


@pytest.mark.parametrize("method", [STEPS, OURS])
def test_in_steps_a_layer_is_emptied_right_below_what_is_found(digits, method):
    net, batch = models.build("tiny-tanh", 1), paper.drawn(digits.train, 10, 1)
    score, steps = paper.methods(batch, 1)[method]
    left = paper.fewest_left(net, score, steps)
    planned = [
        1720 - round(pruning.exponential_sparsity(t, steps, 1 - 3 / 1720) * 1720)
        for t in range(1, steps + 1)
    ]
    whole = [count for count in planned if count >= left]  # the steps that empty no layer
    for counts, empties in (([*whole, left], False), ([*whole, left - 1], True)):
        if left == 3 and empties:
            continue
        sparsities = iter([1 - count / 1720 for count in counts])
        masks = pruning.prune_by_score(
            net, score, 1 - counts[-1] / 1720, len(counts), lambda t, n, s, it=sparsities: next(it)
        )
        assert sum(int(mask.sum()) for mask in masks.values()) == counts[-1]
        assert any(not mask.any() for mask in masks.values()) == empties


def test_scores_are_those_of_their_method(digits):
    net, batch = models.build("lenet-5", 0), paper.drawn(digits.train, 10, 3)
    found = {m: (score(net), steps) for m, (score, steps) in paper.methods(batch, 3).items()}
    assert {m: steps for m, (_, steps) in found.items() if steps > 1} == {STEPS: 100, OURS: 100}
    weights = models.weights(net)
    for name, w in weights.items():
        scores = {method: of[name] for method, (of, _) in found.items()}
        assert scores["magnitude"].equal(w.detach().abs())
        assert scores[OURS].equal(scores["SynFlow, one shot"])
        assert scores[STEPS].equal(scores["SNIP"]) and not (scores["SNIP"] < 0).any()
        assert (scores["GraSP"] < 0).any() and 0.4 < scores["random"].mean() < 0.6
    again, other = (paper.methods(batch, seed)["random"][0](net) for seed in (3, 4))
    assert again["fc1.weight"].equal(found["random"][0]["fc1.weight"])
    assert not again["fc1.weight"].equal(other["fc1.weight"])


def test_random_scores_have_nothing_to_do_with_the_weights(digits):
    net = models.build("lenet-300-100", 3)
    drawn = paper.methods(paper.drawn(digits.train, 1, 3), 3)["random"][0](net)
    for name, w in models.weights(net).items():
        both = torch.stack([w.detach().flatten(), drawn[name].flatten()])
        assert abs(both.corrcoef()[0, 1]) < 0.15


def test_images_are_so_many_of_each_class_and_others_for_another_seed(digits):
    batch, other = (paper.drawn(digits.train, 10, seed) for seed in (0, 1))
    assert batch.labels.bincount().tolist() == [10] * 10
    assert not batch.images.equal(other.images)
    first = Split(digits.train.images[:300], digits.train.labels[:300])
    chosen = paper.drawn(first, 10, 0)
    rows = {tuple(image.flatten().tolist()) for image in first.images}
    assert {tuple(image.flatten().tolist()) for image in chosen.images} <= rows
    for image, label in zip(chosen.images, chosen.labels, strict=True):
        at = (first.images == image).flatten(1).all(1).nonzero()[0]
        assert first.labels[at] == label


def test_the_deep_network_is_as_deep_as_the_plan_says():
    net = paper.built("deep", 0)
    weights = [p for p in net.parameters() if p.dim() > 1]
    assert [w.shape[0] for w in weights] == [32] * 19 + [10]
    assert sum(isinstance(part, nn.ReLU) for part in net) == 19
    assert weights[5].std().item() == pytest.approx((2 / 32) ** 0.5, rel=0.1)
    assert not paper.built("deep", 1)[1].weight.equal(net[1].weight)
    assert paper.built("lenet-5", 2).fc1.weight.equal(models.build("lenet-5", 2).fc1.weight)


def test_a_run_counts_what_masks_leave_and_goes_on_where_it_was(
    digits, short, tmp_path, monkeypatch
):
    result = reproduce.reproduce("synflow", digits, [0, 1], tmp_path / "out.json")
    of = result.record["seeds"]["1"]["tiny-tanh"]
    assert (of["weights"], of["layers"]) == (1720, 3)
    net = models.build("tiny-tanh", 1)
    score, steps = paper.methods(paper.drawn(digits.train, 10, 1), 1)["SNIP"]
    masks = pruning.prune_by_score(net, score, 0.9, steps)
    assert of["methods"]["SNIP"]["at"] == {  # at 1000 fewer weights are left than layers
        "10": {
            "empty": sum(not mask.any() for mask in masks.values()),
            "paths": pruning.count_paths(net, masks, paper.SHAPE),
        }
    }
    monkeypatch.setattr(paper, "_pruned", lambda *args: pytest.fail("pruned again"))
    again = reproduce.reproduce("synflow", digits, [0, 1], tmp_path / "out.json")
    assert again.record == result.record == json.loads((tmp_path / "out.json").read_text())


ONE_SHOT = ("random", "magnitude", "SNIP", "GraSP", "SynFlow, one shot")


def record(**changes):
    """Three seeds of two networks of 1000 weights in 4 layers; changes: method → weights left."""
    left = dict.fromkeys(ONE_SHOT, (50, 40, 80)) | {STEPS: (9, 8, 5), OURS: (4, 4, 4)}
    left |= {{"snip": "SNIP", "steps": STEPS, "ours": OURS}[name]: n for name, n in changes.items()}
    at = {"100": {"empty": 0, "paths": 1234}}
    seeds = {
        str(seed): {
            net: {
                "weights": 1000,
                "layers": 4,
                "methods": {m: {"left": counts[seed], "at": at} for m, counts in left.items()},
            }
            for net in ("one", "two")
        }
        for seed in range(3)
    }
    made = dict.fromkeys(("command", "data", "torch", "python", "machine"), "")
    return {**made, "recipe": {**paper.RECIPE, "compressions": [100]}, "seeds": seeds}


@pytest.mark.parametrize(
    ("changes", "word", "told"),
    [
        ({}, "reproduced. ", "10.0 to 20.0 times"),
        ({"snip": (4, 40, 80)}, "partly reproduced", "as far goes SNIP on one, SNIP on two"),
        ({"ours": (4, 5, 4)}, "partly reproduced", "it falls short on one, two"),
        ({"ours": (4, 45, 4)}, "not reproduced", "further goes random on one"),
        ({"ours": (5, 5, 5), "snip": (9, 9, 4)}, "not reproduced", "further goes SNIP on one"),
    ],
)
def test_synflow_must_reach_one_weight_per_layer_and_the_others_must_not(changes, word, told):
    claim = paper.Result(record(**changes))._reaches()
    assert claim.split(": ")[1].startswith(word) and told in claim, claim


@pytest.mark.parametrize(
    ("steps", "word", "told"),
    [
        ((9, 8, 5), "holds.", "0.44 to 0.80 of N/L."),
        ((9, 8, 4), "holds partly.", "0.44 to 1.00 of N/L, and reaches it on one, two."),
        ((4, 4, 4), "does not hold.", "has 1.00 of N/L, and reaches it on one, two."),
    ],
)
def test_whether_the_steps_do_it_is_told_apart(steps, word, told):
    claim = paper.Result(record(steps=steps))._steps_alone()
    assert claim.split(": ")[1].startswith(word) and told in claim, claim


def test_the_tables_show_every_method_and_the_bound():
    result = paper.Result(record())
    critical, at = result.tables()
    assert critical[0] == ("critical compression", "one", "two")
    assert critical[-1] == ("N/L, one weight per layer", "250", "250")
    assert ("SNIP", "12 to 25", "12 to 25") in critical and (OURS, "250", "250") in critical
    assert ("random", "0; 1,234", "0; 1,234") in at
    assert result.verdict in str(result) and result.verdict.split(":")[0] in result._repr_html_()


def test_the_shipped_record_is_what_results_md_shows():
    result = reproduce.stored("synflow")
    assert len(result.runs) >= 3 and result.record["data"] == "mnist"
    assert result.record["recipe"] == paper.RECIPE and len(result.networks) == 5
    shown = (ROOT / "course" / "results.md").read_text(encoding="utf-8")
    assert result.markdown() in shown and result.verdict in " ".join(shown.split())

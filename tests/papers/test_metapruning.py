"""The MetaPruning experiment: what is ranked how, how it resumes, what its verdict rests on."""

import copy
import itertools
import json
import random
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import nn

from shrink import pruning
from shrink.classroom import data, training
from shrink.papers import metapruning as paper
from shrink.papers import perceptrons, reproduce, stages
from shrink.papers.tables import paired
from tests import ROOT

TRAININGS = 2 + 2 * 2  # of a seed: generator and shared weights; structures and winners, twice


@pytest.fixture
def digits(monkeypatch, tmp_path):
    """The small data set, few structures and epochs, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    plan = replace(
        paper.PLAN,
        structures=5,
        times=2,
        alone=replace(paper.PLAN.alone, epochs=2),
        generator=replace(paper.PLAN.generator, epochs=2),
        shared=replace(paper.PLAN.shared, epochs=2),
        norm_images=400,
        population=3,
        generations=2,
    )
    monkeypatch.setattr(paper, "PLAN", plan)
    return data.load("digits", announce=False)


def test_every_ranking_and_winner_is_there(digits, tmp_path):
    found = paper.run(digits, 0, tmp_path / "seed-0")
    space = paper.band()
    assert len(set(map(tuple, found["structures"]))) == 5
    assert all(5700 <= space.macs(widths) <= 6300 for widths in found["structures"])
    for kind in ("generator", "shared"):
        assert {what: len(row) for what, row in found[kind].items()} == {"loss": 5, "errors": 5}
    assert len(found["alone"]) == 2
    for alone in found["alone"]:
        assert {what: len(row) for what, row in alone.items()} == {
            "loss": 5,
            "errors": 5,
            "test": 5,
        }
    assert set(found["winners"]) == {"even", "generator", "shared"}
    for winner in found["winners"].values():
        assert tuple(winner["widths"]) in space and len(winner["alone"]) == 2
        assert all(0 < one["test"] < 400 and one["loss"] > 0 for one in winner["alone"])
    assert found["winners"]["even"]["widths"] == [24, 24, 24]
    assert found["images"] == {"validation": 200, "test": 400}
    assert found == json.loads(json.dumps(found))


def test_a_network_is_judged_on_the_part_that_is_named_with_statistics_of_training_images(digits):
    weights = pruning.SharedWeights(196, (6, 5, 4), 10, seed=0)((6, 5, 4))
    small = paper.pooled(digits)
    found = {part: paper._judged(weights, small, part) for part in ("validation", "test")}
    x, y = small.train.images[:400].flatten(1), small.test.images.flatten(1)
    for weight in weights[:-1]:
        x, y = x @ weight.T, y @ weight.T
        mean, deviation = x.mean(0), (x.var(0) + 1e-5).sqrt()
        x, y = ((z - mean).div(deviation).clamp(min=0) for z in (x, y))
    expected = F.cross_entropy(y @ weights[-1].T, small.test.labels).item()
    assert found["test"]["loss"] == pytest.approx(expected, rel=1e-4)
    assert found["test"]["errors"] > 200 > found["validation"]["errors"]


def test_images_are_means_of_four_pixels(digits):
    small = paper.pooled(digits)
    image = digits.test.images[3, 0]
    expected = [
        [image[2 * i : 2 * i + 2, 2 * j : 2 * j + 2].mean() for j in range(14)] for i in range(14)
    ]
    assert torch.allclose(small.test.images[3, 0], torch.tensor(expected))
    assert small.test.labels is digits.test.labels


def test_networks_side_by_side_learn_as_each_would_alone(digits):
    split = paper.pooled(digits).train
    structures = [(3, 7, 4), (6, 2, 5), (6, 7, 5)]
    weights = [
        pruning.SharedWeights(196, widths, 10, seed=i)(widths)
        for i, widths in enumerate(structures)
    ]
    recipe = training.Recipe(epochs=1, weight_decay=1e-3, batch_size=256)
    together = perceptrons.SideBySide(weights)
    training.train(together, split, recipe, loss=perceptrons.summed_loss)
    for own, found in zip(weights, together.weights(), strict=True):
        net = pruning.perceptron(own)
        training.train(net, split, recipe)
        layers = [layer.weight for layer in net if isinstance(layer, nn.Linear)]
        for a, b in zip(layers, found, strict=True):
            assert a.shape == b.shape and torch.allclose(a, b, atol=1e-4)


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same(digits, tmp_path, monkeypatch):
    whole = reproduce.reproduce("metapruning", digits, [0, 1], tmp_path / "whole.json").record
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
        reproduce.reproduce("metapruning", digits, [0, 1], out)
    assert not out.exists()
    again = reproduce.reproduce("metapruning", digits, [0, 1], out).record
    assert again == whole == json.loads(out.read_text())
    first, second = whole["seeds"].values()
    assert first["structures"] != second["structures"]
    once, more = first["alone"]
    assert once["loss"] != more["loss"]  # it begins with other weights
    assert len(calls) == 2 * TRAININGS + 1  # only the one that was cut off is done twice


def record(generator=0.0, shared=0.5, seeds=4):
    """A record in which a ranking has the right order but for noise of that size."""
    found = {}
    for seed in range(seeds):
        rng = random.Random(seed)
        space = paper.band()
        structures = [space.draw(rng) for _ in range(24)]
        true = [rng.random() for _ in structures]

        def noisy(size, rng=rng, true=true):
            loss = [x + size * rng.gauss(0, 1) for x in true]
            return {"loss": loss, "errors": [round(1000 * x) for x in loss]}

        alone = [{**noisy(0.05), "test": [400] * 24} for _ in range(3)]
        one = [{"loss": 0.1, "errors": 150, "test": 300 + seed} for _ in range(3)]
        winners = {name: {"widths": [24, 24, 24], "alone": one} for name in ("generator", "shared")}
        found[str(seed)] = {
            "structures": structures,
            "alone": alone,
            "generator": noisy(generator),
            "shared": noisy(shared),
            "winners": {**winners, "even": {"widths": [24, 24, 24], "alone": one}},
            "images": {"validation": 5000, "test": 10_000},
        }
    made = dict.fromkeys(("command", "data", "torch", "python", "machine"), "")
    return {**made, "recipe": paper.RECIPE, "seeds": copy.deepcopy(found)}


@pytest.mark.parametrize(
    ("generator", "shared", "word"),
    [
        (0.0, 1.0, "reproduced."),
        (0.1, 0.1, "partly reproduced."),
        (0.5, 0.0, "partly reproduced."),
        (30.0, 0.1, "not reproduced."),
        (30.0, 30.0, "not reproduced."),
    ],
)
def test_the_verdict_follows_from_both_intervals(generator, shared, word):
    result = paper.Result(record(generator, shared))
    assert result.verdict.startswith(word)
    lows = [result.better(by)[1] for by in ("shared", "macs")]
    assert word.startswith({2: "repr", 1: "partly", 0: "not"}[sum(low > 0 for low in lows)])


def test_correlations_are_those_of_scipy_and_orders_have_the_right_sign():
    made = record(0.2)
    result = paper.Result(made)
    run = made["seeds"]["2"]
    losses = [training["loss"] for training in run["alone"]]
    rho = [stats.spearmanr(run["generator"]["loss"], loss)[0] for loss in losses]
    assert result.correlations("generator")[2] == pytest.approx(sum(rho) / 3)
    rho = [stats.spearmanr(*pair)[0] for pair in itertools.combinations(losses, 2)]
    assert result.correlations("again")[2] == pytest.approx(sum(rho) / 3)

    space = paper.band()
    for by, of in (("macs", space.macs), ("narrowest", min)):
        made = record()
        for run in made["seeds"].values():  # the more, the lower the loss
            for training_ in run["alone"]:
                training_["loss"] = [-of(widths) for widths in run["structures"]]
        assert paper.Result(made).correlations(by) == pytest.approx([1, 1, 1, 1])
    assert abs(sum(paper.Result(record()).correlations("chance")) / 4) < 0.3


def test_the_tables_show_every_ranking_and_winner():
    result = paper.Result(record())
    for shown in (str(result), result._repr_html_(), result.markdown()):
        for text in ("the ceiling", "narrowest", "MACs", "24-24-24", "4.00", "3.01 (3.00 to 3.03)"):
            assert text in shown
    mean, low, high = paired(result.correlations("generator"), result.correlations("shared"))
    assert f"{mean:+.2f} ({low:+.2f} to {high:+.2f})" in result.tables()[0][2][2]


def test_the_figures_ranks_are_those_of_each_seed_apart():
    made = record()
    for by, column in (("generator", None), ("again", 1)):
        ranked, alone = paper.Result(made).ranks(by)
        for seed, run in made["seeds"].items():
            losses = run["alone"][1] if column else run[by]
            own = slice(24 * int(seed), 24 * int(seed) + 24)
            for ranks, loss in ((ranked, losses["loss"]), (alone, run["alone"][0]["loss"])):
                assert ranks[own] == [1 + sorted(loss).index(x) for x in loss]


def test_the_shipped_record_is_what_results_md_shows():
    result = reproduce.stored("metapruning")
    assert len(result.runs) >= 3 and result.record["data"] == "mnist"
    assert result.record["recipe"] == paper.RECIPE
    shown = (ROOT / "course" / "results.md").read_text(encoding="utf-8")
    assert result.markdown() in shown and result.verdict in " ".join(shown.split())

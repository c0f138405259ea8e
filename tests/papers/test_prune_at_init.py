"""Pruning before training and its controls: the arms, how a run resumes, the verdicts."""

import copy
import json
from dataclasses import replace

import pytest
from scipy import stats
from torch import nn

from shrink.chapters.saliency import arms
from shrink.classroom import data
from shrink.classroom.data import Split
from shrink.papers import prune_at_init as paper
from shrink.papers import prune_at_init_result as result_of
from shrink.papers import reproduce
from tests import ROOT

TRAININGS = 1 + 2 * (1 + 4 * 3)  # dense; for each sparsity random, and four methods three times


@pytest.fixture
def digits(monkeypatch, tmp_path):
    """A few digits, a small network, two sparsities, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    plan = replace(paper.PLAN, sparsities=(0.5, 0.9), scored=50, steps=3)
    monkeypatch.setattr(paper, "PLAN", plan)
    monkeypatch.setattr(arms, "LeNet300100", small_net)
    whole = data.load("digits", announce=False)
    part = {
        name: Split(split.images[:130], split.labels[:130])
        for name, split in (("train", whole.train), ("test", whole.test))
    }
    return replace(whole, **part)


def small_net():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 12), nn.ReLU(), nn.Linear(12, 10))


def watched(monkeypatch):
    """Notes what is trained: the network as it comes, its masks, and what it has become."""
    trainings, train = [], paper.train_masked

    def noted(net, masks, split, **options):
        before = {name: t.clone() for name, t in net.state_dict().items()}
        done = train(net, masks, split, **options)
        trainings.append((before, masks, net, options))
        return done

    monkeypatch.setattr(paper, "train_masked", noted)
    return trainings


def test_each_arm_is_what_its_name_says(digits, tmp_path, monkeypatch):
    trainings = watched(monkeypatch)
    found = paper.run(digits, 3, tmp_path / "seed-3")
    assert set(found) == {"dense", "images", "0.5", "0.9"} and found["images"] == 130
    assert len(trainings) == TRAININGS and 0 < found["dense"] <= 130
    before, masks, _, options = trainings[0]
    first, anew = (arms.initial(seed).state_dict() for seed in (3, 1003))
    assert masks == {} and all(before[name].equal(t) for name, t in first.items())
    assert (options["epochs"], options["seed"]) == (paper.PLAN.epochs, 3)
    arm = iter(trainings[1:])
    for sparsity in (0.5, 0.9):
        for method in arms.METHODS:
            said = found[str(sparsity)][method]
            controls = arms.CONTROLS if method != "random" else ("as chosen",)
            assert set(said["errors"]) == set(controls)
            own, masks, _, _ = next(arm)
            assert sum(int(m.sum()) for m in masks.values()) == 9528 - round(sparsity * 9528)
            assert said["weights"] == {name: int(mask.sum()) for name, mask in masks.items()}
            assert all(own[name].equal(t) for name, t in first.items())
            for control in controls[1:]:
                net, theirs, trained, _ = next(arm)
                shuffled = control == "shuffled"
                assert all(net[n].equal(t) for n, t in (first if shuffled else anew).items())
                for name, mask in masks.items():
                    assert theirs[name].sum() == mask.sum()
                    assert theirs[name].equal(mask) == (not shuffled or bool(mask.all()))
                    assert not trained.get_parameter(name)[~theirs[name]].any()


def test_errors_are_those_of_the_trained_network_on_the_test_images(digits, tmp_path, monkeypatch):
    trainings = watched(monkeypatch)
    found = paper.run(digits, 0, tmp_path / "seed-0")
    wrong = [
        int((net(digits.test.images).argmax(1) != digits.test.labels).sum())
        for _, _, net, _ in trainings
    ]
    said = [found["dense"]]
    for sparsity in ("0.5", "0.9"):
        for method in arms.METHODS:
            errors = found[sparsity][method]["errors"]
            said += [errors[control] for control in arms.CONTROLS if control in errors]
    assert said == wrong and len(set(wrong)) > 5


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same(digits, tmp_path, monkeypatch):
    whole = reproduce.reproduce("prune-at-init", digits, [0, 1], tmp_path / "whole.json").record
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "another"))
    calls, train = [], paper.train_masked

    def killed_in_the_sixth(*args, **kwargs):
        calls.append(args)
        if len(calls) == 6:  # the first of SNIP
            raise Killed
        return train(*args, **kwargs)

    monkeypatch.setattr(paper, "train_masked", killed_in_the_sixth)
    out = tmp_path / "out.json"
    with pytest.raises(Killed):
        reproduce.reproduce("prune-at-init", digits, [0, 1], out)
    assert not out.exists()
    again = reproduce.reproduce("prune-at-init", digits, [0, 1], out).record
    assert again == whole == json.loads(out.read_text())
    assert len(calls) == 2 * TRAININGS + 1  # only what was cut off is done twice
    first, second = whole["seeds"].values()
    assert first != second


def record(**changes):
    """A record of five seeds: errors among 10 000 images; an arm's are changed by its name."""
    usual = [300, 302, 299, 303, 301]
    seeds = {}
    for seed in range(5):
        by_method = {
            method: {
                "errors": dict.fromkeys(result_of.controls_of(method), usual[seed]),
                "weights": {"fc1.weight": 9},
            }
            for method in arms.METHODS
        }
        by_sparsity = {str(s): copy.deepcopy(by_method) for s in paper.PLAN.sparsities}
        for name, errors in changes.items():
            method, control = name.split("__")
            by_sparsity["0.95"][method]["errors"][control.replace("_", " ")] = errors[seed]
        seeds[str(seed)] = {"dense": 200, "images": 10_000, **by_sparsity}
    made = dict.fromkeys(("command", "data", "torch", "python", "machine"), "")
    return {**made, "recipe": paper.RECIPE, "seeds": seeds}


SAME = [300, 302, 299, 303, 301]
WORSE = [400, 402, 399, 403, 401]
BETTER = [200, 202, 199, 203, 201]
SPREAD = [200, 402, 299, 203, 401]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "reproduced, no loss in 8 of 8;"),
        ({"SNIP__shuffled": BETTER}, "reproduced, no loss in 8 of 8;"),
        ({"SNIP__shuffled": SPREAD}, "partly reproduced, no loss in 7 of 8;"),
        (
            {"SNIP__shuffled": WORSE},
            "partly reproduced, no loss in 7 of 8, a loss in 1 (SNIP, shuffled within layers);",
        ),
        (
            {f"{m}__shuffled": WORSE for m in arms.METHODS[1:]},
            "not reproduced, no loss in 4 of 8, a loss in 4 (",
        ),
        (
            {f"{m}__{c}": SPREAD for m in arms.METHODS[1:] for c in arms.CONTROLS[1:]},
            "unclear, no loss in 0 of 8;",
        ),
    ],
)
def test_to_shuffle_or_draw_anew_loses_nothing_if_the_intervals_say_so(changes, said):
    result = paper.Result(record(**changes))
    at_95 = result.verdict.split("95 % pruned: ")[1].split("98 % pruned")[0]
    assert f"(Frankle et al. 2021): {said}" in at_95
    assert result.verdict.count("reproduced, no loss in 8 of 8") >= 3  # at the other sparsities


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "reproduced, no loss in 4 of 4."),
        ({"SynFlow__as_chosen": BETTER}, "reproduced, no loss in 4 of 4."),
        (
            {"SNIP__as_chosen": BETTER},
            "partly reproduced, no loss in 3 of 4, a loss in 1 (SNIP).",
        ),
        (
            {"SNIP__as_chosen": BETTER, "random__as_chosen": BETTER},
            "not reproduced, no loss in 2 of 4, a loss in 2 (random; SNIP).",
        ),
        ({"SynFlow__as_chosen": SPREAD}, "unclear, no loss in 0 of 4."),
    ],
)
def test_synflow_is_no_worse_if_the_intervals_say_so(changes, said):
    result = paper.Result(record(**changes))
    at_95 = result.verdict.split("95 % pruned: ")[1].split("98 % pruned")[0]
    assert f"(Tanaka et al. 2020): {said}" in at_95


def test_differences_are_points_of_accuracy_paired_over_seeds():
    errors = [310, 322, 299, 333, 281]
    result = paper.Result(record(SNIP__shuffled=errors))
    oracle = stats.ttest_rel(SAME, errors).confidence_interval(0.95)
    _, low, high = result.control(0.95, "SNIP", "shuffled")
    assert (100 * low, 100 * high) == pytest.approx((oracle.low, oracle.high))
    assert result.accuracies(0.95, "SNIP", "shuffled")[1] == pytest.approx(96.78)
    better = paper.Result(record(SynFlow__as_chosen=BETTER))
    assert better.synflow(0.95, "GraSP") == pytest.approx((1, 1, 1))


def test_the_tables_show_every_arm():
    result = paper.Result(record(GraSP__shuffled=WORSE))
    for shown in (str(result), result._repr_html_(), result.markdown()):
        assert all(name in shown for name in (*arms.METHODS, "99 % pruned", "98.00 (98.00)"))
        assert "95.99 (95.97 to 96.01)" in shown
        assert "-1.00 (-1.00 to -1.00), a loss" in shown
    accuracies, controls, synflow = result.tables()
    assert len(accuracies) == 1 + 1 + 1 + 4 * 3 and len(controls) == 1 + 8 and len(synflow) == 5


def test_the_shipped_record_is_what_results_md_shows():
    result = reproduce.stored("prune-at-init")
    assert len(result.runs) >= 5 and result.record["data"] == "mnist"
    assert result.record["recipe"] == paper.RECIPE
    shown = (ROOT / "course" / "results.md").read_text(encoding="utf-8")
    assert result.markdown() in shown and result.verdict in " ".join(shown.split())


@pytest.mark.mnist
def test_the_methods_leave_each_layer_as_much_as_when_the_record_was_made():
    said = reproduce.stored("prune-at-init").record["seeds"]["0"]["0.95"]
    few = arms.scored(data.load("mnist", announce=False).train, 0, paper.PLAN.scored)
    for method in arms.METHODS:
        steps = paper.PLAN.steps if method == "SynFlow" else 1
        net = arms.initial(0)
        masks = arms.masks_by(method, net, few.images, few.labels, 0.95, seed=0, steps=steps)
        for name, mask in masks.items():
            assert int(mask.sum()) == pytest.approx(said[method]["weights"][name], rel=0.01, abs=2)

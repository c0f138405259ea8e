"""Dense-sparse-dense and its controls: the arms, how a run resumes, the verdicts."""

import json
from dataclasses import replace

import pytest
import torch
from scipy import stats

from shrink.chapters.tickets import dense_sparse
from shrink.classroom import data
from shrink.classroom.data import Split
from shrink.classroom.models import LeNet300100
from shrink.classroom.training import Recipe
from shrink.papers import dsd as paper
from shrink.papers import reproduce
from shrink.papers.dsd_result import RULE
from shrink.pruning.dense_sparse import PHASES
from tests import ROOT

SHORT = dict(zip(PHASES, (Recipe(2), Recipe(1, 0.02), Recipe(1, 0.01)), strict=True))
TRAININGS = 1 + 1 + 3 * 2  # dense, one schedule; two phases each of two sparsities and never sparse


@pytest.fixture
def digits(monkeypatch, tmp_path):
    """A few digits, a small network, two sparsities, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    plan = replace(paper.PLAN, images=120, sparsities=(0.5, 0.9), phases=SHORT)
    monkeypatch.setattr(paper, "PLAN", plan)
    monkeypatch.setattr(dense_sparse, "LeNet300100", lambda: LeNet300100(hidden=(12, 8)))
    whole = data.load("digits", announce=False)
    part = {
        name: Split(split.images[:130], split.labels[:130])
        for name, split in (("train", whole.train), ("test", whole.test))
    }
    return replace(whole, **part)


def watched(monkeypatch):
    """Notes what is trained: the state before and after, the recipe and the seed."""
    trainings, train = [], dense_sparse.train

    def noted(net, split, recipe, *, seed, **options):
        assert len(split) == 120
        before = {name: t.clone() for name, t in net.state_dict().items()}
        done = train(net, split, recipe, seed=seed, **options)
        after = {name: t.clone() for name, t in net.state_dict().items()}
        trainings.append((before, after, recipe, seed))
        return done

    monkeypatch.setattr(dense_sparse, "train", noted)
    return trainings


def same(one, other):
    return all(one[name].equal(other[name]) for name in other)


def wrong(state, split):
    net = LeNet300100(hidden=(12, 8))
    net.load_state_dict(state)
    return int((net(split.images).argmax(1) != split.labels).sum())


def test_each_arm_is_what_its_name_says(digits, tmp_path, monkeypatch):
    trainings = watched(monkeypatch)
    found = paper.run(digits, 3, tmp_path / "seed-3")
    assert set(found) == {"images", "dense", "one schedule", "never sparse", "0.5", "0.9"}
    new = dense_sparse.initial(3).state_dict()
    (began, dense, recipe, seed), at_once, *later = trainings
    assert len(trainings) == TRAININGS and same(began, new)
    assert (recipe, seed) == (SHORT["dense"], 3)
    assert same(at_once[0], new) and at_once[2:] == (Recipe(4), 3)  # all epochs, the first rate
    assert found["images"] == 130 and found["dense"] == wrong(dense, digits.test)
    assert found["one schedule"] == wrong(at_once[1], digits.test)
    for arm, sparsity in (("never sparse", 0), ("0.5", 0.5), ("0.9", 0.9)):
        (began, sparse, *how), (begin_again, end, *again) = later[:2]
        del later[:2]
        assert how == [SHORT["sparse"], 1003] and again == [SHORT["dense again"], 2003]
        for name, tensor in dense.items():
            gone = torch.zeros_like(tensor, dtype=torch.bool)
            if tensor.dim() == 2:
                order = tensor.abs().flatten().argsort()[: round(sparsity * tensor.numel())]
                gone.view(-1)[order] = True
            assert began[name].equal(tensor * ~gone)
            assert not sparse[name][gone].any() and not sparse[name].equal(began[name])
            assert begin_again[name].equal(sparse[name])
            assert end[name][gone].any() == gone.any()
        assert found[arm] == {
            "sparse": wrong(sparse, digits.test),
            "dense again": wrong(end, digits.test),
        }


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same(digits, tmp_path, monkeypatch):
    whole = reproduce.reproduce("dsd", digits, [0, 1], tmp_path / "whole.json").record
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "another"))
    calls, train = [], dense_sparse.train

    def killed_in_the_fourth(*args, **kwargs):
        calls.append(args)
        if len(calls) == 4:  # the second of "never sparse"
            raise Killed
        return train(*args, **kwargs)

    monkeypatch.setattr(dense_sparse, "train", killed_in_the_fourth)
    out = tmp_path / "out.json"
    with pytest.raises(Killed):
        reproduce.reproduce("dsd", digits, [0, 1], out)
    assert not out.exists()
    again = reproduce.reproduce("dsd", digits, [0, 1], out).record
    assert again == whole == json.loads(out.read_text())
    assert len(calls) == 2 * TRAININGS + 2  # the arm that was cut off is begun again
    first, second = whole["seeds"].values()
    assert first != second


USUAL = [150, 152, 149, 153, 151]
BETTER = [140, 142, 139, 143, 141]
WORSE = [160, 162, 159, 163, 161]
SPREAD = [120, 182, 149, 133, 171]


def record(**changes):
    """A record of five seeds: errors among 10 000 images; an arm's are changed by its name."""
    seeds = {}
    for seed in range(5):
        arms = {
            name: {"sparse": USUAL[seed], "dense again": changes.get(name, USUAL)[seed]}
            for name in ("never sparse", *map(str, paper.PLAN.sparsities))
        }
        one = {name: changes.get(name, USUAL)[seed] for name in ("dense", "one schedule")}
        seeds[str(seed)] = {"images": 10_000, **one, **arms}
    made = dict.fromkeys(("command", "data", "torch", "python", "machine"), "")
    return {**made, "recipe": paper.RECIPE, "seeds": seeds}


@pytest.mark.parametrize(
    ("changes", "whole", "at_30"),
    [
        ({"0.3": BETTER, "0.5": BETTER, "0.8": BETTER}, "reproduced.", "reproduced, -0.10"),
        ({"0.3": BETTER}, "partly reproduced.", "reproduced, -0.10"),
        ({"0.5": BETTER}, "partly reproduced.", "not reproduced, no clear difference, +0.00"),
        ({"0.3": SPREAD}, "not reproduced.", "not reproduced, no clear difference, +0.00"),
        ({"0.3": WORSE}, "not reproduced.", "not reproduced, worse, +0.10"),
        ({"never sparse": BETTER}, "not reproduced.", "not reproduced, worse, +0.10"),
        ({"dense": WORSE, "one schedule": WORSE}, "not reproduced.", "not reproduced, no clear"),
    ],
)
def test_it_is_reproduced_where_it_beats_the_same_restarts(changes, whole, at_30):
    verdict = paper.Result(record(**changes)).verdict
    assert f"(Han et al. 2017): {whole}" in verdict
    assert f"at 30 % {at_30}" in verdict


def test_differences_are_points_of_test_error_paired_over_seeds():
    errors = [131, 162, 150, 133, 141]
    result = paper.Result(record(**{"0.5": errors, "dense": WORSE}))
    oracle = stats.ttest_rel(errors, USUAL).confidence_interval(0.95)
    _, low, high = result.difference(0.5, "never sparse")
    assert (100 * low, 100 * high) == pytest.approx((oracle.low, oracle.high))
    assert result.errors("0.5") == pytest.approx([1.31, 1.62, 1.5, 1.33, 1.41])
    assert result.errors("0.5", "sparse") == pytest.approx([1.5, 1.52, 1.49, 1.53, 1.51])
    assert result.difference(0.3, "dense")[0] == pytest.approx(-0.1)
    assert "The restarts alone have -0.10 (-0.10 to -0.10) against" in result.verdict


def test_the_tables_show_every_arm():
    result = paper.Result(record(**{"one schedule": BETTER}))
    for shown in (str(result), result._repr_html_(), result.markdown()):
        assert all(f"dense-sparse-dense, {share} %" in shown for share in (30, 50, 80))
        assert all(
            text in shown
            for text in ("after 20 epochs", "after 30", "after 40", "1.41 (1.39 to 1.43)")
        )
        assert shown.count("+0.10 (+0.10 to +0.10), a loss") == 3
    errors, differences = result.tables()
    assert len(errors) == 1 + 1 + 3 + 2 and len(differences) == 1 + 3
    assert {len(row) for row in errors} == {len(row) for row in differences} == {4}


def test_the_rule_is_part_of_the_recipe():
    assert paper.RECIPE["rule"] == RULE and paper.RECIPE["phases"].keys() == set(PHASES)


def test_the_shipped_record_is_what_results_md_shows():
    result = reproduce.stored("dsd")
    assert len(result.runs) >= 5 and result.record["data"] == "mnist"
    assert result.record["recipe"] == paper.RECIPE
    shown = (ROOT / "course" / "results.md").read_text(encoding="utf-8")
    assert result.markdown() in shown and result.verdict in " ".join(shown.split())

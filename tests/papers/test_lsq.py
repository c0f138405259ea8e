"""Learned step sizes and their controls: the arms, how a run resumes, the verdicts."""

import copy
import json
from dataclasses import replace

import pytest

from shrink.classroom import data, models
from shrink.classroom.data import Split
from shrink.classroom.training import Recipe, accuracy, train
from shrink.papers import lsq as paper
from shrink.papers import reproduce
from shrink.papers.lsq_result import ARMS, PARTS, RULES
from shrink.quantization import aware
from tests import ROOT

TRAINING = Recipe(epochs=2, learning_rate=0.05, weight_decay=0, batch_size=40)
TRAININGS = 1 + 2 * 3  # the control's floats; three arms in each part


@pytest.fixture
def digits(monkeypatch, tmp_path):
    """A few digits, a small network that has learned a little, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(
        paper, "PLAN", replace(paper.PLAN, images=120, calibrated=50, training=TRAINING)
    )
    monkeypatch.setattr(paper, "baseline", started)
    whole = data.load("digits", announce=False)
    test = Split(whole.test.images[:130], whole.test.labels[:130])
    return replace(whole, test=test)


def started(name, dataset, *, seed):
    net = models.build(name, seed, hidden=(12, 8))
    train(net, few(dataset), Recipe(epochs=8), seed=seed)
    return net.eval()


def few(dataset):
    return Split(dataset.train.images[:120], dataset.train.labels[:120])


def wrong(net, dataset):
    return round((1 - accuracy(net, dataset.test)) * len(dataset.test))


def test_each_arm_is_what_its_name_says(digits, tmp_path):
    found = paper.run(digits, 3, tmp_path / "seed-3")
    start = started("lenet-300-100", digits, seed=3)
    longer = copy.deepcopy(start)
    train(longer, few(digits), TRAINING, seed=3)
    assert found["images"] == 130
    assert found["floats"] == wrong(start, digits) and found["trained on"] == wrong(longer, digits)
    seen = {"activation_bits": 2, "calibration_data": digits.train.images[:50]}
    least = {"method": "squared error"}
    options = {
        "after training": (start, {"scale": "fixed"}, {"range": "fixed", **least}),
        "trained on, then rounded": (longer, {"scale": "fixed"}, {"range": "fixed", **least}),
        "follows": (start, {"scale": "follows"}, {"range": "fixed", "method": "min-max"}),
        "fixed": (start, {"scale": "fixed"}, {"range": "fixed", **least}),
        "learned": (start, {"scale": "learned"}, {"range": "learned", **least}),
    }
    assert set(options) == set(ARMS)
    for arm, (floats, of_weights, of_inputs) in options.items():
        for part, more in zip(PARTS, ({}, seen | of_inputs), strict=True):
            net = aware.prepare(floats, weight_bits=2, **of_weights, **more)
            if arm in paper.AWARE:
                train(net, few(digits), TRAINING, seed=3)
            assert found[part][arm] == wrong(net, digits), (part, arm)


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same(digits, tmp_path, monkeypatch):
    whole = reproduce.reproduce("lsq", digits, [0, 1], tmp_path / "whole.json").record
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "another"))
    calls, train = [], paper.train

    def killed_in_the_fourth(*args, **kwargs):
        calls.append(args)
        if len(calls) == 4:
            raise Killed
        return train(*args, **kwargs)

    monkeypatch.setattr(paper, "train", killed_in_the_fourth)
    out = tmp_path / "out.json"
    with pytest.raises(Killed):
        reproduce.reproduce("lsq", digits, [0, 1], out)
    assert not out.exists()
    again = reproduce.reproduce("lsq", digits, [0, 1], out).record
    assert again == whole == json.loads(out.read_text())
    assert len(calls) == 2 * TRAININGS + 1  # the arm that was cut off is begun again


def test_jobs_leave_what_a_run_then_reads(digits, tmp_path, monkeypatch):
    for wave in paper.waves([0]):
        for job in wave:
            job.run(digits, tmp_path)
    found = []
    monkeypatch.setattr(paper, "train", lambda *args, **kwargs: found.append(args))
    paper.run(digits, 0, tmp_path / "seed-0")
    assert not found


BEST = {"follows": 300, "fixed": 250, "learned": 200}


def record(*changes):
    """A record of three seeds; `changes` are (seed, part, arm, how many are wrong)."""
    seeds = {}
    for seed in range(3):
        arms = {"after training": 900, "trained on, then rounded": 800, **BEST}
        seeds[str(seed)] = {"images": 10_000, "floats": 180, "trained on": 175}
        seeds[str(seed)] |= {part: dict(arms) for part in PARTS}
    for seed, part, arm, count in changes:
        seeds[str(seed)][part][arm] = count
    made = dict.fromkeys(("command", "data", "torch", "python", "machine"), "")
    return {**made, "recipe": paper.RECIPE, "seeds": seeds}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ([], "reproduced"),
        ([(1, PARTS[0], "learned", 250)], "partly reproduced"),  # equal to fixed: not fewer
        ([(1, PARTS[0], "fixed", 300)], "partly reproduced"),
        ([(1, PARTS[0], "fixed", 300), (2, PARTS[1], "fixed", 301)], "partly reproduced"),
        ([(1, PARTS[0], "fixed", 300), (2, PARTS[1], "fixed", 200)], "not reproduced"),
        ([(0, PARTS[0], "learned", 251), (0, PARTS[1], "learned", 251)], "not reproduced"),
        ([(0, part, "follows", 199) for part in PARTS], "not reproduced"),
    ],
)
def test_it_is_reproduced_where_each_seed_has_the_ordering(changes, word):
    verdict = paper.Result(record(*changes)).verdict
    assert f"(Esser et al. 2020): {word};" in verdict


def test_the_table_and_the_verdict_tell_of_both_parts():
    result = paper.Result(record((1, PARTS[1], "learned", 260)))
    assert result.errors("floats") == pytest.approx([1.8] * 3)
    assert result.errors(PARTS[1], "learned") == pytest.approx([2, 2.6, 2])
    for shown in (str(result), result._repr_html_(), result.markdown()):
        assert "weights in 2 bits" in shown and "weights and activations in 2 bits" in shown
        assert "2.20 (2.00 to 2.60)" in shown and "2.00 (2.00)" in shown
    assert "with weights in 2 bits the ordering holds in 3 of 3 seeds" in result.verdict
    assert result.verdict.endswith("holds in 2 of 3 seeds, and learned scales are best in 2.")
    (table,) = result.tables()
    assert len(table) == 1 + 2 + len(ARMS) and {len(row) for row in table} == {3}


def test_the_rules_are_part_of_the_recipe():
    assert paper.RECIPE["rules"] == RULES


def test_the_shipped_record_is_what_results_md_shows():
    result = reproduce.stored("lsq")
    assert len(result.runs) >= 3 and result.record["data"] == "mnist"
    assert result.record["recipe"] == paper.RECIPE
    shown = (ROOT / "course" / "results.md").read_text(encoding="utf-8")
    assert result.markdown() in shown and result.verdict in " ".join(shown.split())

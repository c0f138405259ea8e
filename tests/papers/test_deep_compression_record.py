"""The third recipe: networks that trained for their files' length, and limits named before."""

import json
from dataclasses import asdict, replace

import pytest
import torch
import torch.nn.functional as F

from shrink.classroom import data, models
from shrink.classroom.training import Recipe
from shrink.papers import deep_compression_record as paper
from shrink.papers import reproduce
from shrink.papers.coded_net import CodedNet
from shrink.papers.coded_training import Rounds
from tests import ROOT

NAME = "lenet-300-100"
RECORD = "deep-compression-record"
PLAN = paper.Plan(
    hidden=(30, 20),
    start=Rounds(epochs=2),
    files={
        "large": Rounds(epochs=2, shrinking=1, bytes=6000),
        "small": Rounds(epochs=2, shrinking=1, bytes=2000),
    },
    limits={"small": (2_000, 20.0)},
    temperature=3.0,
)
TRAININGS = 3  # floats and two files


def recipe(plans):
    return {
        "teachers": {"seeds": paper.TEACHERS, **asdict(paper.DENSE)},
        "networks": {name: asdict(plan) for name, plan in plans.items()},
    }


@pytest.fixture
def digits(monkeypatch, tmp_path):
    """The small data set, one network that two of its like teach, a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(paper, "TEACHER", NAME)
    monkeypatch.setattr(paper, "TEACHERS", (0, 1))
    monkeypatch.setattr(paper, "DENSE", Recipe(epochs=3, weight_decay=0))
    monkeypatch.setattr(paper, "PLANS", {NAME: PLAN})
    monkeypatch.setattr(paper, "RECIPE", json.loads(json.dumps(recipe({NAME: PLAN}))))
    return data.load("digits", announce=False)


def test_each_stage_is_what_its_name_says(digits, read_here, tmp_path):
    found = paper.run(digits, 0, tmp_path / "seed-0")[NAME]
    assert list(found) == ["start", "large", "small"]
    sizes = [stage["file_bytes"] for stage in found.values()]
    assert sizes == sorted(sizes, reverse=True)
    weights = [sum(n for n, _ in stage["kept"].values()) for stage in found.values()]
    assert weights[0] == 784 * 30 + 30 * 20 + 20 * 10 > weights[1] > weights[2]
    for stage in found.values():
        assert set(stage) == {"file_bytes", "errors", "images", "kept"}
        assert sum(of for _, of in stage["kept"].values()) == 266_200
        assert 0 < stage["errors"] < stage["images"] == 400
    kept = [path.name for path in sorted((tmp_path / "seed-0" / NAME).iterdir())]
    assert kept == [f"{stage}.safetensors" for stage in ("dense", "file-0", "file-1", "floats")]
    assert (tmp_path / "seed-1" / NAME / "dense.safetensors").exists()  # the other teacher


def test_it_may_start_pruned(digits, read_here, tmp_path, monkeypatch):
    quick = Recipe(epochs=1, weight_decay=0)
    start = paper.Pruning(paper.DENSE, narrowing=quick, rounds=((0.5, quick), (0.9, quick)))
    monkeypatch.setattr(paper, "PLANS", {NAME: replace(PLAN, start=start)})
    found = paper.run(digits, 0, tmp_path / "seed-0")[NAME]
    kept = [sum(n for n, _ in stage["kept"].values()) for stage in found.values()]
    assert kept[0] == pytest.approx(0.1 * (784 * 30 + 30 * 20 + 20 * 10), abs=1)
    folder = tmp_path / "seed-0" / NAME
    assert (folder / "narrowed.safetensors").exists() and (
        folder / "pruned-0.9.safetensors"
    ).exists()
    assert not (folder / "floats.safetensors").exists()


def test_it_learns_from_labels_and_the_mean_of_the_teachers_answers():
    logits, v, w = torch.randn(3, 8, 10)
    labels = torch.arange(8)
    t = PLAN.temperature
    targets = (F.softmax(v / t, 1) + F.softmax(w / t, 1)) / 2
    soft = F.kl_div(F.log_softmax(logits / t, 1), targets, reduction="batchmean")
    hard = F.cross_entropy(logits, labels)
    expected = (1 - PLAN.alpha) * hard + PLAN.alpha * t**2 * soft
    found = paper._loss(PLAN, logits, None, labels, v, w)
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same(
    digits, read_here, tmp_path, monkeypatch
):
    whole = reproduce.reproduce(RECORD, digits, [0, 1], tmp_path / "whole.json").record
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "another"))
    calls, train = [], paper.train_coded

    def killed_in_the_fifth(*args, **kwargs):
        calls.append(args)
        if len(calls) == 5:
            raise Killed
        return train(*args, **kwargs)

    monkeypatch.setattr(paper, "train_coded", killed_in_the_fifth)
    out = tmp_path / "out.json"
    with pytest.raises(Killed):
        reproduce.reproduce(RECORD, digits, [0, 1], out)
    assert not out.exists()
    again = reproduce.reproduce(RECORD, digits, [0, 1], out).record
    assert again == whole == json.loads(out.read_text())
    assert len(calls) == 2 * TRAININGS + 1  # only the one that was cut off is done twice


def test_its_jobs_are_the_teachers_their_answers_and_each_network():
    teachers, answers, networks = paper.waves([3, 4])
    assert [job.seed for job in teachers] == list(paper.TEACHERS) and len(answers) == 1
    assert {(job.seed, *job.arguments) for job in networks} == {
        (seed, name) for seed in (3, 4) for name in paper.PLANS
    }


def record(sizes, errors):
    """A record of LeNet-300-100 alone: the small file of each seed, its errors of 10 000."""
    stage = {"file_bytes": 1_000_000, "errors": 150, "images": 10_000}
    stage["kept"] = {"fc1.weight": [8, 100], "fc2.weight": [2, 50]}
    seeds = {
        str(seed): {
            NAME: {
                "start": stage,
                "large": stage,
                "small": stage | {"file_bytes": size, "errors": wrong},
            }
        }
        for seed, (size, wrong) in enumerate(zip(sizes, errors, strict=True))
    }
    made = dict.fromkeys(("command", "data", "torch", "python", "machine"), "")
    plan = json.loads(json.dumps(recipe({NAME: PLAN})))
    plan["networks"][NAME]["limits"] = {"small": [3_000, 1.58]}
    return {**made, "recipe": plan, "seeds": seeds}


@pytest.mark.parametrize(
    ("sizes", "errors", "says"),
    [
        ([3_000, 2_900, 2_800], [158, 150, 142], "kept by all 3 seeds; at most 3,000 bytes"),
        ([3_001, 2_900, 2_800], [158, 150, 142], "kept by 2 of 3 seeds; at most 3,001 bytes"),
        ([3_001, 2_900, 2_800], [158, 159, 142], "kept by 1 of 3 seeds"),
    ],
)
def test_the_verdict_follows_from_every_seed(sizes, errors, says):
    result = paper.Result(record(sizes, errors))
    assert result.verdict.startswith(f"{NAME}, 3,000 bytes at 1.58 %: {says}")
    assert result.files(NAME) == (
        [[1_000_000] * 3, sizes],
        [[1.5] * 3, [wrong / 100 for wrong in errors]],
    )
    for shown in (str(result), result._repr_html_(), result.markdown()):
        assert "3,000 bytes, 1.58 %" in shown and f"{max(sizes):,}" in shown
        assert "floats, 30 and 20 units" in shown and "coded, small" in shown


def test_the_plans_can_be_run():
    for name, plan in paper.PLANS.items():
        assert set(plan.limits) <= set(plan.files)
        sizes = [rounds.bytes for rounds in plan.files.values()]
        assert sizes == sorted(sizes, reverse=True)
        assert all(plan.files[file].bytes <= most for file, (most, _) in plan.limits.items())
        model = CodedNet(models.build(name, 0, hidden=plan.hidden))
        model.begin()
        assert model.parts()


def test_the_shipped_record_is_what_results_md_shows():
    result = reproduce.stored(RECORD)
    assert result.record["recipe"] == paper.RECIPE
    assert len(result.runs) >= 3 and result.record["data"] == "mnist"
    shown = (ROOT / "course" / "results.md").read_text(encoding="utf-8")
    assert result.markdown() in shown and result.verdict in " ".join(shown.split())

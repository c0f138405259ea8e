"""Binary weights beside their float control: the arms, how a run resumes, the verdicts."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shrink.classroom import data
from shrink.classroom.data import Split
from shrink.papers import binaryconnect as paper
from shrink.papers import reproduce
from shrink.papers.binaryconnect_result import ARMS, RULES
from tests import ROOT


@pytest.fixture
def digits(monkeypatch, tmp_path):
    """A few digits, a small network, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    rates = {"float": 0.01, "binary": 0.02}
    plan = replace(paper.PLAN, hidden=(12, 8), epochs=2, batch_size=65, rates=rates)
    monkeypatch.setattr(paper, "PLAN", plan)
    whole = data.load("digits", announce=False)
    part = {
        name: Split(split.images[:130], split.labels[:130])
        for name, split in (("train", whole.train), ("test", whole.test))
    }
    return replace(whole, **part)


def watched(monkeypatch):
    """Notes what is trained: the state before and after, the seed and the rate."""
    trainings, train = [], paper.train

    def noted(net, split, seed, rate, progress):
        assert len(split) == 130
        before = state_of(net)
        train(net, split, seed, rate, progress)
        trainings.append((before, state_of(net), seed, rate, net.binary))

    monkeypatch.setattr(paper, "train", noted)
    return trainings


def state_of(net):
    return {name: t.detach().clone() for name, t in net.state_dict().items()}


def weights_of(state):
    return [w for name, w in state.items() if name.startswith("layers")]


def bound(weight):
    return np.sqrt(6 / sum(weight.shape)) / 2


def binary(weight):
    return torch.where(weight >= 0, 1.0, -1.0) * bound(weight)


def scores(state, images, signed, measured=None):
    """A network with this state, and signs or floats; `measured` images give the batch norms'."""
    x, seen = images.flatten(1), None if measured is None else measured.flatten(1)
    for i, weight in enumerate(weights_of(state)):
        weight = binary(weight) if signed else weight
        mean, variance, gain, bias = (
            state[f"norms.{i}.{name}"] for name in ("running_mean", "running_var", "weight", "bias")
        )
        if seen is not None:  # the mean over two batches, each normalised by its own
            parts = (seen @ weight.T).split(65)
            mean = torch.stack([part.mean(0) for part in parts]).mean(0)
            variance = torch.stack([part.var(0) for part in parts]).mean(0)
            own = [(p - p.mean(0)) / (p.var(0, unbiased=False) + 1e-5).sqrt() for p in parts]
            seen = F.relu(torch.cat(own) * gain + bias)
        x = (x @ weight.T - mean) / (variance + 1e-5).sqrt() * gain + bias
        x = F.relu(x) if i < 2 else x
    return x


def test_each_arm_is_what_its_name_says(digits, tmp_path, monkeypatch):
    trainings = watched(monkeypatch)
    found = paper.run(digits, 3, tmp_path / "seed-3")
    assert found["images"] == 130 and found.keys() == {"images", *ARMS}
    assert [how for *_, how in trainings] == [False, True]
    assert [rate for *_, rate, _ in trainings] == [0.01, 0.02]
    first, second = trainings
    assert all(first[0][name].equal(second[0][name]) for name in first[0])
    assert first[2] == second[2] == 3
    images, labels = digits.test.images, digits.test.labels
    for arm, (before, after, _, _, signed) in zip(ARMS, trainings, strict=True):
        wrong = [
            int((scores(after, images, kind, measured).argmax(1) != labels).sum())
            for kind, measured in ((signed, None), (not signed, digits.train.images))
        ]
        assert [found[arm]["errors"], found[arm]["other"]] == wrong
        pairs = list(zip(weights_of(before), weights_of(after), strict=True))
        turned = [(binary(old) != binary(new)).flatten() for old, new in pairs]
        assert found[arm]["turned"] == round(float(torch.cat(turned).float().mean()), 4) > 0
        for old, new in pairs:
            assert old.abs().max() <= bound(old) and not old.equal(new)
            assert signed == bool(new.abs().max() <= bound(new) * (1 + 1e-6))


def test_the_binary_network_multiplies_by_signs_and_passes_gradients_to_floats(digits):
    for signed, arm in zip((False, True), ARMS, strict=True):
        net = paper.initial(1, arm).eval()
        with torch.no_grad():
            net.layers[1].weight[0, :3] = 0  # the sign of 0 is 1
        images = digits.train.images[:20]
        expected = scores(state_of(net), images, signed)
        assert torch.allclose(net(images), expected, atol=1e-5)
        net(images)[0, 0].backward()
        assert all(layer.weight.grad.any() for layer in net.layers)


def test_steps_are_those_of_adam_along_a_cosine(digits):
    net, copy = (paper.initial(0, "float") for _ in range(2))
    paper.train(net, digits.train, 5, 0.01, lambda *_: None)
    optimizer = torch.optim.Adam(copy.parameters(), foreach=False)
    copy.train()
    for step in range(4):
        epoch, half = divmod(step, 2)
        optimizer.param_groups[0]["lr"] = 0.01 * (1 + np.cos(np.pi * step / 4)) / 2
        generator = torch.Generator().manual_seed(5 * 1_000_003 + epoch)
        batch = torch.randperm(130, generator=generator)[65 * half : 65 * half + 65]
        sides = 2 * F.one_hot(digits.train.labels[batch], 10) - 1
        loss = ((1 - sides * copy(digits.train.images[batch])).clamp(min=0) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for one, other in zip(net.parameters(), copy.parameters(), strict=True):
        assert torch.allclose(one, other, atol=2e-4)


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same(digits, tmp_path, monkeypatch):
    whole = reproduce.reproduce("binaryconnect", digits, [0, 1], tmp_path / "whole.json").record
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "another"))
    calls, train = [], paper.train

    def killed_in_the_third(*args):
        calls.append(args)
        if len(calls) == 3:
            raise Killed
        return train(*args)

    monkeypatch.setattr(paper, "train", killed_in_the_third)
    out = tmp_path / "out.json"
    with pytest.raises(Killed):
        reproduce.reproduce("binaryconnect", digits, [0, 1], out)
    assert not out.exists()
    again = reproduce.reproduce("binaryconnect", digits, [0, 1], out).record
    assert again == whole == json.loads(out.read_text())
    assert len(calls) == 2 * len(ARMS) + 1
    first, second = whole["seeds"].values()
    assert first != second


def test_waves_fill_the_files_that_a_run_reads(digits, tmp_path, monkeypatch):
    alone = paper.run(digits, 0, tmp_path / "alone" / "seed-0")
    (jobs,) = paper.waves([0, 1])
    assert [(job.seed, *job.arguments) for job in jobs] == [(s, a) for s in (0, 1) for a in ARMS]
    for job in jobs:
        job.run(digits, tmp_path / "jobs")
    monkeypatch.setattr(paper, "train", None)
    assert paper.run(digits, 0, tmp_path / "jobs" / "seed-0") == alone


def record(floats=(130, 125, 135), signs=(135, 130, 140)):
    """A record of three seeds: errors among 10 000 images."""
    seeds = {
        str(seed): {
            "images": 10_000,
            "float": {"errors": dense, "other": 700, "turned": 0.1},
            "binary": {"errors": sign, "other": 300, "turned": 0.25},
        }
        for seed, (dense, sign) in enumerate(zip(floats, signs, strict=True))
    }
    made = dict.fromkeys(("command", "data", "torch", "python", "machine"), "")
    return {**made, "recipe": paper.RECIPE, "seeds": seeds}


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "reproduced. Its test error minus the control's is +0.05 (+0.05 to +0.05) points"),
        ({"signs": (150, 150, 150)}, "reproduced. Its test error minus the control's is +0.20"),
        ({"signs": (151, 150, 150)}, "not reproduced. Its test error minus the control's is +0.20"),
        ({"floats": (170,) * 3, "signs": (151, 150, 149)}, "reproduced."),
        ({"floats": (170,) * 3, "signs": (151, 150, 150)}, "partly reproduced."),
        ({"floats": (110,) * 3}, "not reproduced."),
    ],
)
def test_it_is_reproduced_near_the_control_and_below_the_limit(changes, word):
    verdict = paper.Result(record(**changes)).verdict
    assert f"(Courbariaux et al. 2015): {word}" in verdict


def test_the_table_shows_both_arms_with_both_kinds_of_weights():
    result = paper.Result(record())
    head, floats, signs = result.tables()[0]
    assert [len(row) for row in (head, floats, signs)] == [4, 4, 4]
    assert floats[1:] == ("1.30 (1.25 to 1.35)", "7.00 (7.00)", "10.0 (10.0)")
    assert signs[1:] == ("3.00 (3.00)", "1.35 (1.30 to 1.40)", "25.0 (25.0)")
    for shown in (str(result), result._repr_html_(), result.markdown()):
        assert "signs of latent floats" in shown and "1.35 (1.30 to 1.40)" in shown


def test_the_rules_are_part_of_the_recipe():
    assert paper.RECIPE["rules"] == RULES and paper.RECIPE["rates"].keys() == set(ARMS)


def test_the_shipped_record_is_what_results_md_shows():
    result = reproduce.stored("binaryconnect")
    assert len(result.runs) >= 3 and result.record["data"] == "mnist"
    assert result.record["recipe"] == paper.RECIPE
    shown = (ROOT / "course" / "results.md").read_text(encoding="utf-8")
    assert result.markdown() in shown and result.verdict in " ".join(shown.split())

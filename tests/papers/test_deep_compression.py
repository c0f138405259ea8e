"""Deep Compression stage by stage: every figure is a file's, read back in a process of its own."""

import json
import subprocess
from dataclasses import asdict, replace

import pytest
import torch

from shrink.classroom import CourseError, data, models, training
from shrink.classroom.training import Recipe
from shrink.coding import codec
from shrink.papers import deep_compression as paper
from shrink.papers import read_file, reproduce, stages
from tests import ROOT

NAME = "lenet-300-100"
QUICK = Recipe(epochs=1, weight_decay=0)
PLAN = paper.Plan(
    dense=replace(QUICK, epochs=3),
    rounds=((0.5, QUICK), (0.9, QUICK)),
    values=6,
    tuning=replace(QUICK, learning_rate=1e-4),
    limits=(10**6, 90.0),
)
TRAININGS = 4  # dense, two rounds, codebooks


@pytest.fixture
def digits(monkeypatch, tmp_path):
    """The small data set, one network and a plan of few epochs, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(paper, "PLANS", {NAME: PLAN})
    monkeypatch.setattr(paper, "RECIPE", json.loads(json.dumps({NAME: asdict(PLAN)})))
    return data.load("digits", announce=False)


def test_each_stage_is_what_its_name_says(digits, read_here, tmp_path):
    found = paper.run(digits, 0, tmp_path / "run")[NAME]
    assert list(found) == list(paper.STAGES)
    sizes = [stage["file_bytes"] for stage in found.values()]
    assert sizes == sorted(sizes, reverse=True) and sizes[0] > 1_066_000
    layers = {name: w.numel() for name, w in models.weights(models.build(NAME, 0)).items()}
    for stage in found.values():
        assert {name: of for name, (_, of) in stage["kept"].items()} == layers
        assert 0 < stage["errors"] < stage["images"] == 400
    left = {name: sum(n for n, _ in stage["kept"].values()) for name, stage in found.items()}
    assert left["dense"] == 266_200
    assert left["pruned"] == left["shared"] == left["coded"] == 266_200 - round(0.9 * 266_200)
    assert found["shared"]["errors"] == found["coded"]["errors"]
    assert set(found["coded"]["bits"]) == set(layers)


@pytest.mark.parametrize("network", paper.PLANS)
def test_the_weights_that_are_stored_share_as_many_values_as_the_plan_says(network):
    net = models.build(network, 0).to(memory_format=torch.channels_last)
    with torch.no_grad():
        for w in models.weights(net).values():
            w[w.abs() < 0.02] = 0
    parts = stages.file_parts(net, values=6)
    tensors = codec.decode(codec.encode(parts))
    for name, w in models.weights(net).items():
        assert len(tensors[name].unique()) == 7 and tensors[name].half().float().equal(
            tensors[name]
        )
        assert (tensors[name] == 0).equal(w == 0)
    for name, bias in net.state_dict().items():
        if name in models.weights(net):
            continue
        assert (tensors[name] - bias).abs().max() <= bias.abs().max() / 127 / 2 * 1.001

    net.load_state_dict(tensors)
    again = codec.decode(codec.encode(stages.file_parts(net, values=6)))
    assert all(again[name].equal(tensors[name]) for name in models.weights(net))


def test_a_figure_is_that_of_the_file_and_of_nothing_else(digits):
    net = models.build(NAME, 0)
    parts = stages.file_parts(net, values=6)
    found = stages.measured(NAME, digits, codec.save, parts)
    content = codec.encode(parts)
    assert found["file_bytes"] == len(content)
    net.load_state_dict(codec.decode(content))
    wrong = training.predict(net.eval(), digits.test.images) != digits.test.labels
    assert found["errors"] == int(wrong.sum())
    spent = sum(
        (bits["values"] + bits["gaps"]) / 8 * found["kept"][layer][0]
        for layer, bits in found["bits"].items()
    )
    coded = [r for r in codec.regions(content) if r.what.split(",")[0] in ("values", "gaps")]
    assert spent == pytest.approx(sum(r.end - r.start for r in coded))
    assert found["file_bytes"] - spent < 800  # names, codebooks and 410 biases


def test_a_file_that_is_damaged_has_no_figure(digits, monkeypatch):
    def write(parts, path):
        codec.save(parts, path)
        path.write_bytes(path.read_bytes()[:-1])
        return 1

    parts = stages.file_parts(models.build(NAME, 0), 6)
    with pytest.raises(CourseError, match=r"could not be read from its file: .*CodecError"):
        stages.measured(NAME, digits, write, parts)

    def killed(command, **how):
        return subprocess.CompletedProcess(command, -9, "", "")

    monkeypatch.setattr(stages.subprocess, "run", killed)
    with pytest.raises(CourseError, match="could not be read from its file: exit status -9"):
        stages.measured(NAME, digits, codec.save, parts)


@pytest.mark.parametrize("network", paper.PLANS)
@pytest.mark.parametrize("write", [stages.write_dense, stages.write_relative])
def test_files_of_safetensors_are_read_back(write, network, tmp_path):
    state = models.build(network, 0).to(memory_format=torch.channels_last).state_dict()
    state["fc1.weight"][:, 1:700] = 0
    length = write(state, tmp_path / "file")
    assert (tmp_path / "file").stat().st_size == length
    found = read_file.read(tmp_path / "file")
    assert set(found) == set(state) and all(found[name].equal(state[name]) for name in state)


@pytest.mark.parametrize(
    ("content", "kind", "said"),
    [
        (b"<html>not found</html>", CourseError, "it is a web page"),
        (b"", CourseError, "it is empty"),
        (b"SHRK and then nothing", codec.CodecError, "version 32"),
    ],
)
def test_what_is_no_file_of_a_network_is_named(content, kind, said, tmp_path):
    (tmp_path / "net.bin").write_bytes(content)
    with pytest.raises(kind, match=f"net.bin.*{said}"):
        read_file.read(tmp_path / "net.bin")


def test_the_papers_layers_are_those_of_the_networks():
    assert paper.PLANS.keys() == paper.PAPER.keys() == paper.PAPER_LAYERS.keys()
    for network, layers in paper.PAPER_LAYERS.items():
        weights = models.weights(models.build(network, 0))
        assert [f"{layer}.weight" for layer in layers] == list(weights)


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same(
    digits, in_process, tmp_path, monkeypatch
):
    whole = reproduce.reproduce("deep-compression", digits, [0, 1], tmp_path / "whole.json").record
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "another"))
    calls, train = [], stages.train

    def killed_in_the_sixth(*args, **kwargs):
        calls.append(args)
        if len(calls) == 6:
            raise Killed
        return train(*args, **kwargs)

    monkeypatch.setattr(stages, "train", killed_in_the_sixth)
    out = tmp_path / "out.json"
    with pytest.raises(Killed):
        reproduce.reproduce("deep-compression", digits, [0, 1], out)
    assert not out.exists()
    again = reproduce.reproduce("deep-compression", digits, [0, 1], out).record
    assert again == whole == json.loads(out.read_text())
    assert len(calls) == 2 * TRAININGS + 1  # only the one that was cut off is done twice


def record(sizes, errors):
    """A record of LeNet-300-100 alone: the last file of each seed, and its errors of 10 000."""
    seeds = {}
    for seed, (size, wrong) in enumerate(zip(sizes, errors, strict=True)):
        stage = {"file_bytes": 1_000_000, "errors": 150, "images": 10_000}
        stages = {name: dict(stage) for name in paper.STAGES}
        stages["coded"] |= {"file_bytes": size, "errors": wrong}
        for name in stages:
            layers = paper.PAPER_LAYERS[NAME]
            stages[name]["kept"] = {f"{layer}.weight": [8, 100] for layer in layers}
            bits = {"values": 3.0, "gaps": 5.0}
            stages[name]["bits"] = {f"{layer}.weight": bits for layer in layers}
        seeds[str(seed)] = {NAME: stages}
    made = dict.fromkeys(("command", "data", "torch", "python", "machine"), "")
    return {**made, "recipe": {NAME: {"limits": [24_000, 1.58]}}, "seeds": seeds}


@pytest.mark.parametrize(
    ("sizes", "errors", "word", "kept"),
    [
        ([20_000, 24_000, 23_000], [130, 158, 140], "reproduced.", "3 of 3"),
        ([26_000, 27_000, 23_000], [130, 158, 140], "reproduced.", "1 of 3"),
        ([20_000, 24_000, 27_001], [130, 158, 140], "partly reproduced.", "2 of 3"),
        ([20_000, 24_000, 23_000], [130, 159, 140], "partly reproduced.", "2 of 3"),
        ([27_001, 24_000, 23_000], [130, 159, 140], "not reproduced.", "1 of 3"),
    ],
)
def test_the_verdict_follows_from_every_seed(sizes, errors, word, kept):
    result = paper.Result(record(sizes, errors))
    assert result.verdict.startswith(f"{NAME}: {word}")
    assert f"are kept by {kept}" in result.verdict
    assert result.files(NAME) == ([sizes], [[wrong / 100 for wrong in errors]])
    for shown in (str(result), result._repr_html_(), result.markdown()):
        assert "27,000" in shown and f"{max(sizes):,}" in shown and "LeNet" not in shown
        assert f"{NAME}, fc1" in shown and "8.0%" in shown


def test_the_shipped_record_has_three_seeds_and_keeps_its_limits():
    result = reproduce.stored("deep-compression")
    assert len(result.runs) >= 3 and result.record["data"] == "mnist"
    assert result.record["recipe"] == paper.RECIPE
    for network, plan in paper.PLANS.items():
        assert max(result.each(network, "coded", "file_bytes")) <= plan.limits[0]
        assert max(result.errors(network, "coded")) <= plan.limits[1]
    shown = (ROOT / "course" / "results.md").read_text(encoding="utf-8")
    assert result.markdown() in shown and result.verdict in " ".join(shown.split())

"""Papers' tables: what a run stores, how it resumes, and what the verdict rests on."""

import json
from dataclasses import replace

import pytest
import torch
from scipy import stats

from shrink import cli
from shrink.classroom import CourseError, data, formats, measure, models
from shrink.classroom.baselines import RECIPES
from shrink.papers import pruning, reproduce
from tests import ROOT


@pytest.fixture
def digits(monkeypatch, tmp_path):
    """The small data set, recipes of one epoch, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(pruning, "TUNING", replace(pruning.TUNING, epochs=1))
    monkeypatch.setattr(pruning, "TRAINING", replace(pruning.TRAINING, epochs=1))
    key = ("lenet-300-100", "digits")
    monkeypatch.setitem(RECIPES, key, replace(RECIPES[key], epochs=1))
    return data.load("digits", announce=False)


def test_each_arm_is_what_its_name_says(digits, tmp_path):
    found = pruning.run(digits, 0, tmp_path / "run")
    assert list(found) == list(pruning.ARMS)
    n = 266_200
    assert found["dense"]["weights"] == found["same steps"]["weights"] == n
    assert found["pruned"]["weights"] == found["random"]["weights"] == n - round(0.92 * n)
    assert found["random"]["kept"] == found["pruned"]["kept"]
    assert found["small"]["file_bytes"] <= found["pruned"]["file_bytes"]
    assert found["pruned"]["file_bytes"] < 0.12 * found["dense"]["file_bytes"]
    assert all(0 < arm["errors"] < arm["images"] == 400 for arm in found.values())


def test_the_small_net_is_the_widest_that_fits():
    for limit in (20_000, 100_000):
        net = pruning.small_net(limit, seed=0)
        width = net.fc2.out_features
        wider = models.build("lenet-300-100", 0, hidden=(3 * width + 3, width + 1))
        assert measure.size(net.state_dict()) <= limit < measure.size(wider.state_dict())
    with pytest.raises(ValueError, match="100 bytes"):
        pruning.small_net(100, seed=0)


def test_the_shortest_file_is_found_among_all_widths_of_a_gap():
    torch.manual_seed(0)
    state = {"w": torch.randn(40, 50) * (torch.rand(40, 50) < 0.03), "b": torch.ones(3)}
    length, bits = pruning.shortest(state)
    lengths = {b: measure.size(formats.pack(state, "relative", b)) for b in range(1, 9)}
    assert length == min(lengths.values()) == lengths[bits]


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same(digits, tmp_path, monkeypatch):
    whole = reproduce.reproduce("pruning", digits, [0, 1], tmp_path / "whole.json").record
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "another"))
    calls, train = [], pruning.train

    def killed_in_the_seventh(*args, **kwargs):
        calls.append(args)
        if len(calls) == 7:
            raise Killed
        return train(*args, **kwargs)

    monkeypatch.setattr(pruning, "train", killed_in_the_seventh)
    out = tmp_path / "out.json"
    with pytest.raises(Killed):
        reproduce.reproduce("pruning", digits, [0, 1], out)
    assert not out.exists()
    again = reproduce.reproduce("pruning", digits, [0, 1], out).record
    assert again == whole == json.loads(out.read_text())
    rounds = 3 * 4 + 5
    assert len(calls) == 2 * rounds + 1  # nothing but the round that was cut off is trained twice

    reproduce.reproduce("pruning", digits, [1, 0], out)
    assert len(calls) == 2 * rounds + 1


def test_the_record_says_how_it_was_made(digits, tmp_path):
    record = reproduce.reproduce("pruning", digits, [3, 4], tmp_path / "out.json").record
    assert record["command"] == "shrink reproduce pruning --seeds 3 4"
    assert record["data"] == "digits" and record["torch"] == torch.__version__
    assert set(record["seeds"]) == {"3", "4"}
    assert {"python", "machine", "recipe"} <= set(record)


@pytest.mark.parametrize("seeds", [[], [1], [1, 1]])
def test_seeds_that_cannot_be_compared_are_refused(digits, tmp_path, seeds):
    with pytest.raises(CourseError, match="different seeds"):
        reproduce.reproduce("pruning", digits, seeds, tmp_path / "out.json")


def test_an_unknown_paper_is_named():
    with pytest.raises(ValueError, match="'alchemy'"):
        reproduce.stored("alchemy")


def record(dense, pruned):
    """A record of as many seeds as there are numbers: errors among 10 000 images."""

    def arm(errors):
        return {"errors": errors, "images": 10_000, "weights": 9, "kept": {}, "file_bytes": 9}

    seeds = {}
    for seed, (a, b) in enumerate(zip(dense, pruned, strict=True)):
        seeds[str(seed)] = {name: arm(b if name == "pruned" else a) for name in pruning.ARMS}
    return {"command": "", "data": "", "torch": "", "python": "", "machine": "", "seeds": seeds}


@pytest.mark.parametrize(
    ("dense", "pruned", "word"),
    [
        ([160, 164, 158, 170, 161], [161, 165, 157, 171, 162], "reproduced."),
        ([160, 164, 158, 170, 161], [140, 141, 139, 150, 143], "reproduced."),
        ([160, 164, 158, 170, 161], [190, 195, 187, 201, 192], "not reproduced."),
        ([160, 164, 158, 170, 161], [150, 190, 150, 199, 150], "partly reproduced"),
        ([160, 164, 158, 170, 161], [169, 174, 169, 181, 171], "partly reproduced"),
    ],
)
def test_the_verdict_follows_from_the_interval(dense, pruned, word):
    result = pruning.Result(record(dense, pruned))
    assert result.verdict.startswith(word)
    oracle = stats.ttest_rel(pruned, dense).confidence_interval(0.95)
    mean, low, high = result.difference("pruned")
    assert mean == pytest.approx(sum(b - a for a, b in zip(dense, pruned, strict=True)) / 500)
    assert (100 * low, 100 * high) == pytest.approx((oracle.low, oracle.high))


def test_seeds_that_agree_exactly_have_a_verdict_too():
    assert pruning.Result(record([160, 161], [160, 161])).verdict.startswith("reproduced.")


def test_the_shipped_record_has_five_seeds_and_stands_among_the_results():
    result = reproduce.stored("pruning")
    assert len(result.runs) >= 5 and result.record["data"] == "mnist"
    assert result.record["recipe"] == pruning.RECIPE
    shown = (ROOT / "course" / "results.md").read_text(encoding="utf-8")
    assert result.markdown() in shown
    assert result.verdict in " ".join(shown.split())


def test_the_result_shows_as_text_and_as_a_table():
    result = pruning.Result(record([160, 161], [150, 155]))
    for shown in (str(result), result._repr_html_()):
        assert "dense, the same extra steps" in shown and "1.605" not in shown
        assert result.verdict.split(".")[0] in shown and "Han et al. 2015" in shown


def test_the_command_names_what_is_wrong(capsys, tmp_path, monkeypatch, digits):
    monkeypatch.setattr(data, "load", lambda *args: digits)
    out = str(tmp_path / "out.json")
    assert cli.main(["reproduce", "pruning", "--seeds", "2", "--out", out]) == 1
    assert "different seeds" in capsys.readouterr().err
    assert cli.main(["reproduce", "pruning", "--seeds", "2", "3", "--out", out]) == 0
    assert "the record is in" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.main(["reproduce", "alchemy"])


def test_the_command_takes_every_paper():
    for paper in reproduce.PAPERS:
        assert cli._parser().parse_args(["reproduce", paper]).paper == paper

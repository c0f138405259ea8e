"""Optimal Brain Damage's table: what a run measures, that it resumes, and the two verdicts."""

from dataclasses import replace

import pytest
import torch

from shrink import pruning
from shrink.chapters.saliency import deletions
from shrink.classroom import data
from shrink.classroom.baselines import RECIPES
from shrink.classroom.data import Split
from shrink.classroom.training import Recipe
from shrink.papers import obd as paper
from shrink.papers import reproduce
from shrink.papers.obd_result import CLAIMED, ORDERS, PARTS, SHOWN
from tests import ROOT


@pytest.fixture
def digits(monkeypatch, tmp_path):
    """A few digits, networks of two epochs, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(RECIPES, (paper.NAME, "digits"), Recipe(2, weight_decay=0))
    small = {"images": 50, "few": 10, "singles": 4, "fractions": (0.3, 0.6), "retrained": (0.6,)}
    monkeypatch.setattr(paper, "PLAN", replace(paper.PLAN, **small))
    monkeypatch.setattr(pruning, "DIAGONALS", ("backpropagated", "fisher"))
    whole = data.load("digits", announce=False)
    part = {
        name: Split(split.images[:130], split.labels[:130])
        for name, split in (("train", whole.train), ("test", whole.test))
    }
    return replace(whole, **part)


def test_a_run_measures_what_its_names_say_and_resumes(digits, tmp_path, monkeypatch):
    found = paper.run(digits, 3, tmp_path / "seed-3")
    net = deletions.trained(paper.NAME, digits, 3)
    loss = torch.nn.functional.cross_entropy(net(digits.train.images), digits.train.labels)
    slope = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])
    assert found["loss"] == pytest.approx(loss.item(), rel=1e-4)
    assert found["slope"] == pytest.approx(slope.norm().item(), rel=1e-3)
    assert found["curves"].keys() == set(ORDERS) == set(deletions.ORDERS)
    for by, curve in found["curves"].items():
        assert {len(numbers) for numbers in curve.values()} == {2}
        assert (curve.keys() > {"rise", "errors"}) == (by == "OBD")
    for curve in (found["curves"]["OBD"], found["less"]):
        for place, rise in enumerate(curve["rise"]):
            assert rise == pytest.approx(sum(curve[part][place] for part in PARTS), abs=1e-4)
    assert found["less"] != found["curves"]["OBD"]
    assert set(found["ranks"]) == {"magnitude", "gradient", "OBD, backpropagated", "OBD, fisher"}
    assert all(-1 <= rank <= 1 for rank in found["ranks"].values())
    for by in ("magnitude", "OBD"):
        assert 0 <= found["retrained"][by][0] <= found["images"] == 130
    again = paper._pruned(
        net, pruning.masks_from_scores(deletions.order_of(net, digits.train, "magnitude"), 0.6)
    )
    assert (
        paper._errors(net, {n: w != 0 for n, w in deletions.weights_of(again).items()}, digits)
        == found["curves"]["magnitude"]["errors"][1]
    )

    monkeypatch.setattr(paper, "train", lambda *_, **__: pytest.fail("it is trained again"))
    assert paper.run(digits, 3, tmp_path / "seed-3") == found


def record(rise=1.0, obd=None, predicted=None, seeds=2):
    """A record in which magnitude's order costs `rise` everywhere; OBD's numbers by share."""
    fractions = paper.RECIPE["fractions"]
    obd = obd or {}
    predicted = predicted or {}

    def run(seed):
        actual = [obd.get(share, [0.5] * seeds)[seed] for share in fractions]
        parts = dict.fromkeys(PARTS, [0.0] * len(fractions))
        parts["diagonal"] = [
            predicted.get(share, [a] * seeds)[seed]
            for share, a in zip(fractions, actual, strict=True)
        ]
        curve = {"rise": [rise] * len(fractions), "errors": [100] * len(fractions)}
        return {
            "loss": 0.1,
            "slope": 0.01,
            "images": 10_000,
            "curves": dict.fromkeys(ORDERS, curve) | {"OBD": curve | {"rise": actual} | parts},
            "less": curve | parts,
            "ranks": {"magnitude": 0.8, "OBD, exact": 0.9},
            "retrained": {
                by: [200] * len(paper.RECIPE["retrained"]) for by in ("magnitude", "OBD")
            },
        }

    made = dict.fromkeys(("command", "data", "torch", "python", "machine"), "")
    return paper.Result(
        {**made, "recipe": paper.RECIPE, "seeds": {str(s): run(s) for s in range(seeds)}}
    )


@pytest.mark.parametrize(
    ("obd", "word"),
    [
        ({}, "reproduced"),
        ({0.7: [3.0, 3.0]}, "reproduced"),
        ({0.5: [1.2, 0.5]}, "partly reproduced"),
        ({0.5: [1.2, 1.1]}, "not reproduced"),
        ({0.3: [1.0, 1.0]}, "not reproduced"),
    ],
)
def test_obds_order_is_better_if_it_is_in_every_seed(obd, word):
    assert record(obd=obd)._order().split(": ")[1].startswith(f"{word}.")


@pytest.mark.parametrize(
    ("obd", "predicted", "word"),
    [
        ({}, {}, "reproduced"),
        ({}, {0.3: [0.26, 0.26]}, "reproduced"),
        ({}, {0.3: [0.24, 0.24]}, "not reproduced"),
        ({}, {0.35: [0.1, 0.1]}, "reproduced"),
        ({0.2: [0.001, 0.001]}, {0.2: [0.0001, 0.0001]}, "partly reproduced"),
        ({0.2: [0.001, 0.05]}, {0.2: [0.0001, 0.0001]}, "not reproduced"),
        ({0.2: [0.0, 0.0]}, {}, "reproduced"),
    ],
)
def test_the_prediction_holds_if_it_is_within_a_factor_of_two(obd, predicted, word):
    told = record(obd=obd, predicted=predicted)._prediction()
    assert told.split(": ")[1].startswith(f"{word}."), told


def test_shares_at_which_the_prediction_holds_are_told():
    result = record(predicted={0.3: [0.2, 0.2], 0.6: [1.1, 1.1]})
    assert set(result.fractions) - set(result.holds()) == {0.3, 0.6}
    assert "2.5 times the predicted one at 30 %" in result.verdict


def test_the_tables_show_every_order_and_part():
    result = record()
    for shown in (str(result), result._repr_html_(), result.markdown()):
        assert all(name in shown for name in (*ORDERS.values(), *PARTS.values(), "OBD, exact"))
        assert "2.00" in shown and "1.00" in shown  # errors of retrained and pruned networks
    fractions = paper.RECIPE["fractions"]
    assert {*SHOWN, *CLAIMED, *paper.RECIPE["retrained"]} <= set(fractions)


def test_the_shipped_record_is_what_results_md_shows():
    result = reproduce.stored("obd")
    assert len(result.runs) >= 5 and result.record["data"] == "mnist"
    assert result.record["recipe"] == paper.RECIPE
    shown = (ROOT / "course" / "results.md").read_text(encoding="utf-8")
    assert result.markdown() in shown and result.verdict in " ".join(shown.split())

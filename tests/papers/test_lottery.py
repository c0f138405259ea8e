"""Lottery tickets: the arms, when a training stops, how a run resumes, and the verdicts."""

import json
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from scipy import stats

from shrink.chapters.tickets import rounds
from shrink.classroom import data, models
from shrink.classroom.data import Split
from shrink.papers import lottery as paper
from shrink.papers import lottery_result as result_of
from shrink.papers import reproduce
from tests import ROOT

TRAININGS = 4 + 2 * 2  # rounds 0 to 3; two arms after two of them


@pytest.fixture
def digits(monkeypatch, tmp_path):
    """A few digits, a small network, three rounds, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    plan = replace(paper.PLAN, rounds=3, controlled=(1, 3), epochs=2, learning_rate=0.02, every=1)
    monkeypatch.setattr(paper, "PLAN", plan)
    monkeypatch.setattr(rounds, "LeNet300100", partial(models.LeNet300100, hidden=(12, 8)))
    whole = data.load("digits", announce=False)
    part = {
        name: Split(split.images[:130], split.labels[:130])
        for name, split in (("train", whole.train), ("test", whole.test))
    }
    return replace(whole, **part)


def watched(monkeypatch):
    """Notes what is trained: the network as it comes, its masks, and each step's state."""
    trainings, train = [], paper.train_masked

    def noted(net, masks, split, *, progress, **options):
        before, states = state_of(net), []

        def after(step, planned):
            progress(step, planned)
            states.append(state_of(net))

        done = train(net, masks, split, progress=after, **options)
        trainings.append((before, dict(masks), states, options))
        return done

    monkeypatch.setattr(paper, "train_masked", noted)
    return trainings


def state_of(net):
    return {name: t.detach().clone() for name, t in net.state_dict().items()}


def asked(state, split):
    """Loss and errors of a network with this state."""
    net = models.LeNet300100(hidden=(12, 8))
    net.load_state_dict(state)
    logits = net(split.images).detach()
    errors = int((logits.argmax(1) != split.labels).sum())
    return float(F.cross_entropy(logits, split.labels)), errors


def test_each_arm_is_what_its_name_says(digits, tmp_path, monkeypatch):
    trainings = watched(monkeypatch)
    found = paper.run(digits, 3, tmp_path / "seed-3")
    assert len(trainings) == TRAININGS
    order = [("ticket", 0), ("ticket", 1), ("re-initialised", 1), ("random places", 1)]
    order += [("ticket", 2), ("ticket", 3), ("re-initialised", 3), ("random places", 3)]
    first, anew = (rounds.initial(seed).state_dict() for seed in (3, 3 + rounds.APART))
    counts = {name: w.numel() for name, w in first.items() if w.dim() == 2}
    tickets = {}
    for (arm, number), (before, masks, states, options) in zip(order, trainings, strict=True):
        assert str(number) in found[arm] and options["seed"] == 3
        theirs = anew if arm == "re-initialised" else first
        for name, start in theirs.items():
            mask = masks.get(name, torch.ones_like(start, dtype=torch.bool))
            assert (before[name] * mask).equal(start * mask)
            assert not states[-1][name][~mask].any()
        if arm == "ticket":
            for name, mask in masks.items():
                if number:  # pruned by the last state of the round before, the smallest first
                    last, old = tickets[number - 1]
                    pruned = round(paper.PLAN.rates[name] * int(old[name].sum()))
                    left = last[name].abs()[old[name]].sort().values[pruned:]
                    assert last[name].abs()[mask].sort().values.equal(left)
                    assert not (mask & ~old[name]).any()
            tickets[number] = states[-1], masks
            share = sum(int(m.sum()) for m in masks.values()) / sum(counts.values())
            assert found["kept"][number] == share
        else:
            own = tickets[number][1]
            assert all(masks[name].sum() == own[name].sum() for name in own)
            same = [masks[name].equal(own[name]) for name in own]
            assert all(same) if arm == "re-initialised" else not any(same)


def test_a_training_stops_at_its_least_validation_loss(digits, tmp_path, monkeypatch):
    trainings = watched(monkeypatch)
    said = paper.run(digits, 0, tmp_path / "seed-0")["ticket"]["0"]
    states = trainings[0][2]
    losses = [asked(state, digits.validation)[0] for state in states]
    best = losses.index(min(losses))
    assert said["stopped"] == best + 1 < len(states)
    assert said["errors"] == {
        "end": asked(states[-1], digits.test)[1],
        "stopped": asked(states[best], digits.test)[1],
    }
    assert said["curve"]["step"] == [2, 4, 6]
    assert said["curve"]["loss"] == pytest.approx(losses[1::2], abs=1e-4)
    wrong = [asked(state, digits.validation)[1] for state in states[1::2]]
    assert said["curve"]["right"] == [len(digits.validation) - n for n in wrong]


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same(digits, tmp_path, monkeypatch):
    whole = reproduce.reproduce("lottery", digits, [0, 1], tmp_path / "whole.json").record
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "another"))
    calls, train = [], paper.train_masked

    def killed_in_the_sixth(*args, **kwargs):
        calls.append(args)
        if len(calls) == 6:  # the ticket of round 3
            raise Killed
        return train(*args, **kwargs)

    monkeypatch.setattr(paper, "train_masked", killed_in_the_sixth)
    out = tmp_path / "out.json"
    with pytest.raises(Killed):
        reproduce.reproduce("lottery", digits, [0, 1], out)
    assert not out.exists()
    again = reproduce.reproduce("lottery", digits, [0, 1], out).record
    assert again == whole == json.loads(out.read_text())
    assert len(calls) == 2 * TRAININGS + 1  # only what was cut off is done twice
    first, second = whole["seeds"].values()
    assert first != second


def test_waves_fill_the_files_that_a_run_reads(digits, tmp_path, monkeypatch):
    alone = paper.run(digits, 0, tmp_path / "alone" / "seed-0")
    first, second = paper.waves([0, 1])
    assert [job.seed for job in first] == [0, 1] and len(second) == 2 * 4
    for job in (*first, *second):
        job.run(digits, tmp_path / "jobs")

    def refused(*args, **kwargs):
        raise AssertionError("a job has left this out")

    monkeypatch.setattr(paper, "train_masked", refused)
    assert paper.run(digits, 0, tmp_path / "jobs" / "seed-0") == alone


SEEDS = 5
SAME = [200, 210, 190, 205, 195]


def record(**changes):
    """A record of five seeds: errors among 10 000 images; `ticket_7=[...]` changes an arm's.

    `steps_0=[...]` changes when the ticket of a round stops.
    """
    recipe = paper.RECIPE
    numbers = {"ticket": range(recipe["rounds"] + 1)}
    numbers |= dict.fromkeys(result_of.ARMS[1:], recipe["controlled"])
    seeds = {}
    for seed in range(SEEDS):
        runs = {}
        for arm, of in numbers.items():
            usual = SAME[seed] + 100 * (arm != "ticket")
            runs[arm] = {
                str(n): {"errors": {"end": usual, "stopped": usual}, "stopped": 3000 - 100 * n}
                for n in of
            }
        for name, found in changes.items():
            what, number = name.rsplit("_", 1)
            if what == "steps":
                runs["ticket"][number]["stopped"] = found[seed]
            else:
                when = "end" if what.endswith("_end") else "stopped"
                arm = {"t": "ticket", "n": "re-initialised", "r": "random places"}[what[0]]
                runs[arm][number]["errors"][when] = found[seed]
        images = {"validation": 5000, "test": 10_000}
        kept = [rounds.kept_share(n) for n in numbers["ticket"]]
        seeds[str(seed)] = {"images": images, "kept": kept, **runs}
    made = dict.fromkeys(("command", "data", "torch", "python", "machine"), "")
    return {**made, "recipe": recipe, "seeds": seeds}


def said(**changes):
    """The verdicts on the three claims."""
    verdict = paper.Result(record(**changes)).verdict
    return [verdict.split(f"({claim}) ")[1].split(": ", 1)[1] for claim in "abc"]


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({}, "reproduced, in 5 of 5 seeds at 21 % of the weights and in 5 at 3.6 %"),
        ({"new_7": SAME}, "partly reproduced, in 0 of 5 seeds at 21 % of the weights and in 5"),
        ({"new_15": [*SAME[:4], 196]}, "partly reproduced, in 5 of 5 seeds at 21 % of the weights"),
        ({"new_7": SAME, "new_15": SAME}, "not reproduced, in 0 of 5 seeds"),
        ({"new_end_7": SAME}, "reproduced, in 5 of 5 seeds"),
        ({"random_7": SAME}, "reproduced, in 5 of 5 seeds"),
    ],
)
def test_a_ticket_errs_less_than_new_initial_values_if_it_does_in_every_seed(changes, word):
    assert said(**changes)[0].startswith(word)


@pytest.mark.parametrize(
    ("steps", "word"),
    [
        ([2000, 2100, 1900, 2000, 2100], "reproduced, a difference of -980 ("),
        ([3000, 3100, 2900, 3000, 2900], "unclear, a difference of -20 ("),
        ([4000, 4100, 3900, 4000, 4100], "not reproduced, a difference of +1,020 ("),
    ],
)
def test_a_ticket_stops_earlier_if_the_interval_lies_below_zero(steps, word):
    assert said(steps_7=steps)[1].startswith(word)


@pytest.mark.parametrize(
    ("errors", "word"),
    [
        (SAME, "reproduced, a difference of +0.00 ("),
        ([n + 9 for n in SAME], "reproduced, a difference of -0.09 ("),
        ([n - 50 for n in SAME], "reproduced, a difference of +0.50 ("),
        ([n + 20 for n in SAME], "not reproduced, a difference of -0.20 ("),
        ([SAME[0] + 40, *SAME[1:]], "unclear, a difference of -0.08 ("),
    ],
)
def test_a_ticket_lasts_if_the_interval_begins_above_the_margin(errors, word):
    assert said(ticket_15=errors)[2].startswith(word)
    assert said(ticket_end_15=errors)[2].startswith("reproduced, a difference of +0.00 (")


def test_differences_are_paired_over_seeds():
    errors = [230, 222, 199, 233, 181]
    result = paper.Result(record(ticket_15=errors, steps_7=[2000, 2400, 2100, 2500, 1900]))
    oracle = stats.ttest_rel(SAME, errors).confidence_interval(0.95)
    _, low, high = result.lasting()
    assert (100 * low, 100 * high) == pytest.approx((oracle.low, oracle.high))
    oracle = stats.ttest_1samp([-1000, -600, -900, -500, -1100], 0).confidence_interval(0.95)
    assert result.earlier()[1:] == pytest.approx((oracle.low, oracle.high))


def test_the_tables_show_every_arm():
    result = paper.Result(record(ticket_7=[100] * 5, steps_16=[1200] * 5))
    for shown in (str(result), result._repr_html_(), result.markdown()):
        assert all(name in shown for name in (*result_of.ARMS, "21.1 % left", "dense"))
        assert "1.00 (1.00)" in shown and "1,200 (1,200)" in shown
        assert "2.00 (1.90 to 2.10)" in shown and "3.00 (2.90 to 3.10)" in shown
    stopped, end, steps, all_rounds = result.tables()
    assert [len(rows) for rows in (stopped, end, steps, all_rounds)] == [4, 4, 4, 18]


def test_curves_are_those_of_the_record():
    made = record()
    for run in made["seeds"].values():
        run["ticket"]["7"]["curve"] = {"step": [200], "loss": [0.3], "right": [4000]}
    curves = paper.Result(made).curves("ticket", 7)
    assert curves == [{"step": [200], "loss": [0.3], "accuracy": [80.0]}] * SEEDS


def test_the_shipped_record_is_what_results_md_shows():
    result = reproduce.stored("lottery")
    assert len(result.runs) >= 5 and result.record["data"] == "mnist"
    assert result.record["recipe"] == paper.RECIPE
    shown = (ROOT / "course" / "results.md").read_text(encoding="utf-8")
    assert result.markdown() in shown and result.verdict in " ".join(shown.split())
    for number, share in enumerate(result.runs[0]["kept"]):
        assert share == pytest.approx(rounds.kept_share(number))

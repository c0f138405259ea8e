"""The reproduction of Hinton et al. 2015: its arms, how it resumes, what its verdicts rest on."""

import copy
import json
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from shrink.classroom import data, models
from shrink.papers import distillation as paper
from shrink.papers import reproduce, stages
from shrink.papers.distillation_result import CAVEAT
from shrink.papers.tables import paired
from tests import ROOT

TRAININGS = 2 + 4  # of the teachers, and of a seed's students of the wider kind


@pytest.fixture
def digits(monkeypatch, tmp_path):
    """The small data set, a plan of two epochs and narrow networks, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path / "cache"))
    plan = paper.PLAN
    short = {
        name: replace(getattr(plan, name), epochs=2)
        for name in ("teacher", "alone", "taught", "side_by_side")
    }
    plan = replace(plan, **short, teachers=(0, 1), teacher_units=40, small=20, narrow=8, few=(30,))
    plan = replace(plan, assistant=10, weights={"hint": (0.1, 1.0), "distance": (1.0,)})
    monkeypatch.setattr(paper, "PLAN", plan)
    return data.load("digits", announce=False)


def test_every_arm_of_every_table_is_there(digits, tmp_path):
    found = paper.run(digits, 0, tmp_path / "seed-0")
    arms = {table: list(found[table]) for table in found if table != "images"}
    assert arms == {
        "small": ["teacher", "alone", "distilled", "alone, shifts"],
        "missing": ["as it is", "best", "a tenth"],
        "temperatures": ["alone", "1", "2.5", "4", "8", "20"],
        "few": ["labels, 30", "answers, 30", "answers, all"],
        "relatives": ["the assistant itself", "plain", "ensemble", "assistant"],
        "guides": ["hint", "distance"],
    }
    assert all(list(arm) == ["0.5", "1", "2"] for arm in found["temperatures"].values())
    assert found["images"] == {"validation": 200, "test": 400, "missing": 40}
    by_seed = json.loads(json.dumps(found))
    assert paper.Result({"recipe": paper.RECIPE, "seeds": {"0": by_seed}}).images == 400


def test_the_arms_see_and_are_told_what_their_names_say(digits, tmp_path, monkeypatch):
    seen, train = {}, stages.train

    def watched(net, split, recipe, **options):
        batch = torch.arange(len(split))[:64]
        images, _, *theirs = options["examples"](batch, torch.Generator().manual_seed(0))
        arm = options["checkpoint"].parent.name
        moved = not torch.equal(images, split.images[batch])
        seen[arm] = moved, len(theirs), 3 in split.labels, options["loss"]
        return train(net, split, recipe, **options)

    monkeypatch.setattr(stages, "train", watched)
    paper.run(digits, 0, tmp_path / "seed-0")
    assert {arm: what[:3] for arm, what in seen.items()} == {
        "teacher-0": (True, 0, True),
        "teacher-1": (True, 0, True),
        "alone": (False, 0, True),
        "distilled": (False, 1, True),
        "shifted": (True, 0, True),
        "missing": (False, 1, False),
    }
    logits, v = torch.randn(2, 8, 10)
    labels = torch.arange(8)
    hard = F.cross_entropy(logits, labels)
    assert seen["alone"][3](logits, None, labels) == hard
    soft = F.kl_div(F.log_softmax(logits / 20, 1), F.softmax(v / 20, 1), reduction="batchmean")
    expected = 0.1 * hard + 0.9 * 400 * soft
    assert seen["missing"][3](logits, None, labels, v).item() == pytest.approx(
        expected.item(), 1e-4
    )


def test_the_teacher_drops_out_in_training_alone():
    teacher = paper.Teacher((40, 40))
    images = torch.rand(3, 1, 28, 28)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        first, second = teacher(images), teacher(images)
    assert not torch.allclose(first, second)
    plain = models.build("lenet-300-100", 0, hidden=(40, 40))
    plain.load_state_dict(teacher.state_dict())
    assert torch.equal(teacher.eval()(images), plain(images))


def test_students_side_by_side_learn_what_their_arm_says(digits, monkeypatch):
    calls = []

    def watched(split, answers, lessons, recipe, width, order):
        calls.append((split, answers, [*lessons], width))
        assert recipe == paper.PLAN.side_by_side and order == 5
        return [models.build("lenet-300-100", 0, hidden=(width, width)) for _ in lessons]

    monkeypatch.setattr(paper, "taught", watched)
    n = len(digits.train)
    first, second = torch.randn(2, n, 10)

    paper._temperatures(digits, 5, first)
    (split, answers, lessons, width), *_ = calls
    assert split is digits.train and answers is first and width == 8
    kinds = [(lesson.temperature, lesson.alpha) for lesson in lessons]
    taught = [(t, 0.9) for t in (1.0, 2.5, 4.0, 8.0, 20.0) for _ in range(3)]
    assert kinds == [(1.0, 0.0)] * 3 + taught
    assert {lesson.seed for lesson in lessons} == {5}
    assert [lesson.rate for lesson in lessons[:3]] == [0.5, 1.0, 2.0]
    assert lessons[-1].rate == pytest.approx(2 / 4.6)

    calls.clear()
    paper._few(digits, 5, first)
    (few, told, (labels, soft), _), (whole, everything, (alone,), _) = calls
    rows = (150 + torch.arange(n) % 30) % n
    assert torch.equal(few.labels, digits.train.labels[rows]) and torch.equal(told, first[rows])
    assert labels.alpha == 0 and soft.alpha == alone.alpha == 1 and soft.temperature == 4
    assert whole is digits.train and everything is first

    calls.clear()
    paper._relatives(digits, 5, [first, second])
    assert [width for *_, width in calls] == [10, 8, 8, 8]
    assert calls[0][1] is calls[1][1] is first
    mean = (F.softmax(first / 4, 1) + F.softmax(second / 4, 1)) / 2
    assert torch.allclose(F.softmax(calls[2][1] / 4, 1), mean, atol=1e-6)
    assistant = models.build("lenet-300-100", 0, hidden=(10, 10)).eval()
    assert torch.allclose(calls[3][1], assistant(digits.train.images), atol=1e-5)
    assert all([(t.temperature, t.alpha) for t in c[2]] == [(4.0, 0.9)] for c in calls)


def test_guides_have_the_teachers_second_layer(digits, monkeypatch):
    teacher, calls = paper.Teacher((12, 9)), []

    def watched(split, answers, features, lesson, recipe, *, way, weight, width, order):
        calls.append((way, weight))
        second = teacher.fc2(F.relu(teacher.fc1(split.images.flatten(1))))
        assert torch.allclose(features, second, atol=1e-5)
        assert (lesson.temperature, lesson.alpha, width, order) == (4.0, 0.9, 8, 5)
        return models.build("lenet-300-100", 0, hidden=(8, 8))

    monkeypatch.setattr(paper, "guided", watched)
    found = paper._guides(digits, 5, torch.randn(len(digits.train), 10), teacher)
    assert calls == [("hint", 0.1), ("hint", 1.0), ("distance", 1.0)]
    assert {way: list(arms) for way, arms in found.items()} == {
        "hint": ["0.1", "1"],
        "distance": ["1"],
    }


def test_the_bias_for_a_tenth_makes_a_tenth():
    logits = torch.randn(1000, 10, generator=torch.Generator().manual_seed(0))
    raised = logits + paper._bias_for_a_tenth(logits) * F.one_hot(torch.tensor(3), 10)
    assert int((raised.argmax(1) == 3).sum()) == pytest.approx(100, abs=1)


def test_the_missed_are_those_of_the_missing_class():
    answers, labels = torch.tensor([3, 1, 3, 2, 5]), torch.tensor([3, 3, 1, 2, 3])
    assert paper._wrong_answers(answers, labels) == {"test": 3, "missed": 2}


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_where_it_was_and_ends_with_the_same(digits, tmp_path, monkeypatch):
    whole = reproduce.reproduce("distillation", digits, [0, 1], tmp_path / "whole.json").record
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
        reproduce.reproduce("distillation", digits, [0, 1], out)
    assert not out.exists()
    again = reproduce.reproduce("distillation", digits, [0, 1], out).record
    assert again == whole == json.loads(out.read_text())
    assert len(calls) == TRAININGS + 4 + 1  # only the one that was cut off is done twice


def test_another_seed_draws_other_few_images(digits, monkeypatch):
    drawn = []

    def watched(split, answers, lessons, recipe, width, order):
        drawn.append(split.images[:30].clone())
        return [models.build("lenet-300-100", 0, hidden=(8, 8)) for _ in lessons]

    monkeypatch.setattr(paper, "taught", watched)
    for seed in (0, 1):
        paper._few(digits, seed, torch.zeros(len(digits.train), 10))
    assert torch.equal(drawn[0], digits.train.images[:30])
    assert torch.equal(drawn[2], digits.train.images[30:60])


SEEDS = 4


def record(**changes):
    """A record of four seeds in which all claims of the paper hold; an arm at a time is changed."""
    small = {"teacher": 70, "alone": 150, "distilled": 80, "alone, shifts": 90}
    arms = {("small", name): {"validation": 9, "test": n} for name, n in small.items()}
    missing = {"as it is": (300, 200, 0.0), "best": (110, 20, 3.5), "a tenth": (112, 22, 3.6)}
    for name, (wrong, missed, bias) in missing.items():
        arms["missing", name] = {"test": wrong, "missed": missed, "bias": bias}
    warm = {"alone": 400, "1": 390, "2.5": 300, "4": 310, "8": 340, "20": 390}
    for name, n in warm.items():
        for rate, worse in (("0.5", 40), ("1", 0), ("2", 20)):
            arms["temperatures", name, rate] = {"validation": 90 + worse, "test": n + worse}
    few = {"labels, 100": 3000, "answers, 100": 2000, "labels, 1000": 900, "answers, 1000": 600}
    for name, n in {**few, "answers, all": 320}.items():
        arms["few", name] = {"validation": 9, "test": n}
    others = {"the assistant itself": 200, "plain": 310, "ensemble": 300, "assistant": 330}
    for name, n in others.items():
        arms["relatives", name] = {"validation": 9, "test": n}
    for way, weight in (("hint", "0.1"), ("hint", "1"), ("distance", "10")):
        arms["guides", way, weight] = {"validation": 9, "test": 305}
    arms |= {tuple(path.split("/")): arm for path, arm in changes.items()}
    seeds = {}
    for seed in range(SEEDS):
        run = {"images": {"validation": 5000, "test": 10_000, "missing": 1010}}
        for number, (path, arm) in enumerate(arms.items()):
            *tables, name = path
            inside = run
            for table in tables:
                inside = inside.setdefault(table, {})
            noise = (7 * number * (seed + 1)) % 5 - 2  # so that seeds differ
            inside[name] = {**arm, "test": arm["test"] + noise}
        seeds[str(seed)] = copy.deepcopy(run)
    made = dict.fromkeys(("command", "data", "torch", "python", "machine"), "")
    return {**made, "recipe": paper.RECIPE, "seeds": seeds}


@pytest.mark.parametrize(
    ("changes", "number", "word"),
    [
        ({}, None, "reproduced"),
        ({"small/distilled": {"validation": 9, "test": 157}}, 0, "not reproduced"),
        ({"small/distilled": {"validation": 9, "test": 130}}, 0, "partly reproduced"),
        ({"small/teacher": {"validation": 9, "test": 160}}, 0, "not reproduced"),
        ({"missing/best": {"test": 900, "missed": 10, "bias": 3.5}}, 1, "not reproduced"),
        ({"missing/best": {"test": 200, "missed": 150, "bias": 3.5}}, 1, "partly reproduced"),
        ({"missing/best": {"test": 300, "missed": 210, "bias": 3.5}}, 1, "not reproduced"),
        ({"temperatures/8/1": {"validation": 90, "test": 303}}, 2, "partly reproduced"),
        ({"temperatures/8/1": {"validation": 90, "test": 280}}, 2, "not reproduced"),
        ({"temperatures/4/1": {"validation": 80, "test": 345}}, 2, "not reproduced"),
        ({"few/answers, 100": {"validation": 9, "test": 3100}}, 3, "not reproduced"),
        ({"few/answers, 1000": {"validation": 9, "test": 899}}, 3, "partly reproduced"),
    ],
)
def test_each_verdict_follows_from_the_seeds(changes, number, word):
    result = paper.Result(record(**changes))
    claims = [result._gain(), result._restored(), result._warmth(), result._answers()]
    for i, claim in enumerate(claims):
        assert claim.split(": ")[1].startswith(word if i == number else "reproduced"), claim
    assert result.verdict == " ".join((*claims, CAVEAT))


def test_a_rate_is_chosen_on_validation_images_and_told_with_its_test_error():
    low = {"temperatures/4/0.5": {"validation": 10, "test": 399}}
    result = paper.Result(record(**low))
    assert result.chosen("temperatures", "4") == "0.5" and result.chosen("temperatures", "8") == "1"
    assert result.tuned("temperatures", "4") == pytest.approx([4, 4, 4, 4], abs=0.03)
    rows = {row[0]: row for row in result.tables()[2]}
    assert rows["T = 4"][1] == "0.5 times" and rows["T = 4"][3].startswith("-0.0")


def test_the_tables_show_every_arm_beside_the_paper():
    result = paper.Result(record())
    for shown in (str(result), result._repr_html_(), result.markdown()):
        for text in ("146", "206", "133", "800 units, alone, shifts", "T = 2.5", "1000 images"):
            assert text in shown
    gap = paired(result.wrong("small", "distilled"), result.wrong("small", "alone"))
    assert f"{gap[0]:+.0f}" in result.tables()[0][3][2]
    assert f"{gap[0]:+.0f}" in result.verdict


def test_the_shipped_record_is_what_results_md_shows():
    result = reproduce.stored("distillation")
    assert len(result.runs) >= 5 and result.record["data"] == "mnist"
    assert result.record["recipe"] == paper.RECIPE
    shown = (ROOT / "course" / "results.md").read_text(encoding="utf-8")
    assert result.markdown() in shown and result.verdict in " ".join(shown.split())

"""The explorer of chapter 06 on small data: what it shows is what teacher and students answer."""

import dataclasses
import itertools
import re

import numpy as np
import pytest
import torch
from scipy import stats
from torch.nn import functional as F

from shrink.chapters.distil import explorer as distil
from shrink.chapters.distil import figure as distil_figure
from shrink.chapters.distil import lab as distil_lab
from shrink.chapters.distil import prepared as distil_prepared
from shrink.chapters.distil import pupils
from shrink.chapters.distil import view as distil_view
from shrink.chapters.distil.lab import DistillationLab
from shrink.chapters.distil.pupils import Lesson, build
from shrink.chapters.distil.teacher import ask
from shrink.classroom import baselines, data, measure
from shrink.classroom.data import ten_digits
from shrink.classroom.exercises.exercise import ExerciseError
from shrink.classroom.training import Recipe, train
from shrink.distillation import distillation_loss
from shrink.distillation import soften as reference
from tests import ROOT
from tests.chapters.distil.small import EXERCISES, RECIPE, SEEDS, TEACHER, TEMPERATURES, WIDTH
from tests.chapters.small import move, run_through, run_until, share_right

pytestmark = pytest.mark.usefixtures("cache", "no_answers")
REAL = distil_prepared.TEMPERATURES, distil.LABELLED, distil.WIDTHS
REAL_CHAPTERS, REAL_RECIPE = distil_prepared.CHAPTERS, distil_prepared.RECIPE
CHAPTER = ROOT / "course" / "06_distil.py"
(soften,) = EXERCISES


@pytest.fixture(scope="module")
def first_lab(digits, cache):
    return DistillationLab(digits, soften, SEEDS)


@pytest.fixture
def lab(first_lab):
    """The lab with no runs yet."""
    first_lab.runs.clear()
    first_lab.last = None
    return first_lab


def values(**changed):
    given = {"temperature": 4.0, "bias": 0.0, "digit": 2, "student": "3", "source": "reference"}
    more = {"alpha": 0.9, "labelled": 320, "width": WIDTH, "missing": "3"}
    return given | more | changed


def view(lab, **changed):
    given = values(**changed)
    return lab.view(**{name: given[name] for name in list(given)[:5]})


def teacher_of(digits):
    return baselines.baseline(TEACHER, digits)


def by_itself(digits, seed, temperature, alpha, missing=None, width=WIDTH):
    """A student that is trained by itself, image by image as the explorer's."""
    net = build(seed, width)
    images, labels = digits.train.images[:320], digits.train.labels[:320]
    answers = ask(teacher_of(digits), images)
    rate = RECIPE.learning_rate / (1 - alpha + alpha * min(temperature, 5))

    def loss(logits, images, labels, theirs):
        seen = labels != (-1 if missing is None else missing)
        return distillation_loss(logits[seen], theirs[seen], labels[seen], temperature, alpha)

    train(
        net,
        data.Split(images, labels),
        dataclasses.replace(RECIPE, learning_rate=rate),
        loss=loss,
        examples=lambda batch, _: (images[batch], labels[batch], answers[batch]),
    )
    return net


def test_the_controls_reach_what_the_chapter_asks_for():
    temperatures, labelled, widths = REAL
    assert (temperatures[0], temperatures[-1]) == (0.1, 100) and 4.0 in temperatures
    assert (labelled[0], labelled[-1]) == (50, 10_000)
    assert distil.TAUGHT_AT in temperatures and widths[0] < 30 < widths[-1]
    assert (distil.ALPHAS[0], distil.ALPHAS[-1]) == (0, 1) and distil.ALPHA in distil.ALPHAS


def test_the_sweep_asks_for_the_students_that_the_chapter_has_taught(digits, monkeypatch):
    """So that they are in the cache when the explorer comes: temperatures, recipe, order."""
    text = CHAPTER.read_text(encoding="utf-8")
    (hot,) = re.findall(r"^hot = np.array\(\[(.*)\]\)$", text, re.MULTILINE)
    assert tuple(map(float, hot.split(","))) == REAL_CHAPTERS
    (recipe,) = re.findall(r"^RECIPE = training\.Recipe\((.*)\)$", text, re.MULTILINE)
    assert eval(f"Recipe({recipe})", {"Recipe": Recipe}) == REAL_RECIPE
    asked, real = [], pupils.taught

    def spy(split, answers, lessons, recipe, **options):
        asked.append(tuple(lessons))
        return real(split, answers, lessons, recipe, **options)

    monkeypatch.setattr(distil_prepared, "taught", spy)
    distil_prepared.Prepared(digits, SEEDS)
    (cell,) = re.findall(r"^# %% lesson-defined\n(.*?)^# %%", text, re.MULTILINE | re.DOTALL)
    (alone,) = re.findall(r"^ALONE = .*$", text, re.MULTILINE)
    said: dict = {"Lesson": Lesson}
    exec(f"{alone}\n{cell}", said)
    plans = [said["alone"](s) for s in SEEDS]
    plans += [said["lesson"](s, T) for T in (0.5, 4.0) for s in SEEDS]
    assert asked[0] == tuple(plans)


# --- what is on show -----------------------------------------------------------------------


def test_the_sweep_is_students_that_train_by_themselves(lab, digits):
    """To one image of the validation's, as a sum in another order may tip one."""
    sweep, one = lab.sweep, 1.01 / len(digits.validation)
    assert sweep.distilled.shape == (3, 3) and sweep.alone.shape == (3,)
    for seed in SEEDS:
        for number, T in enumerate(TEMPERATURES):
            expected = share_right(by_itself(digits, seed, T, 0.9), digits.validation)
            assert sweep.distilled[seed, number] == pytest.approx(expected, abs=one)
        expected = share_right(by_itself(digits, seed, 1.0, 0.0), digits.validation)
        assert sweep.alone[seed] == pytest.approx(expected, abs=one)
    assert sweep.teacher == pytest.approx(share_right(teacher_of(digits), digits.validation))
    assert sweep.images == len(digits.validation)
    assert len({*sweep.distilled.ravel(), *sweep.alone}) > 3


@pytest.mark.parametrize("T", [0.1, 1.0, 4.0, 100.0])
@pytest.mark.parametrize(("missing", "bias"), [("none", 9.0), ("3", 0.0), ("3", 2.5)])
def test_the_softened_answers_are_those_for_the_digit(lab, digits, T, missing, bias):
    ten = ten_digits(digits)
    shown = view(lab, temperature=T, digit=7, student=missing, bias=bias)
    assert np.array_equal(shown.image, ten.images[7, 0].numpy())
    net = by_itself(digits, 0, 4.0, 0.9, None if missing == "none" else 3)
    logits = ask(net, ten.images[7:8])[0]
    if missing == "3":
        logits[3] += bias
    both = torch.stack([ask(teacher_of(digits), ten.images[7:8])[0], logits])
    expected = F.softmax(both.double() / T, -1).numpy()
    assert shown.soft == pytest.approx(expected, abs=2e-3)
    for found, row in zip(shown.entropies, shown.soft, strict=True):
        assert found == pytest.approx(stats.entropy(row, base=2), abs=1e-4)


@pytest.mark.parametrize("missing", ["none", "0", "3", "9"])
@pytest.mark.parametrize("bias", [-5.0, 0.0, 3.0, 15.0])
def test_the_errors_of_each_class_are_of_the_biased_answers(lab, digits, missing, bias):
    shown = view(lab, student=missing, bias=bias)
    digit = None if missing == "none" else int(missing)
    assert shown.missing == digit and shown.errors.shape == (3, 10)
    nets = [by_itself(digits, 0, *lesson, digit) for lesson in ((4.0, 0.9), (1.0, 0.0))]
    labels, one = digits.validation.labels, 2.01
    for row, net in zip(shown.errors, [teacher_of(digits), *nets], strict=True):
        logits = ask(net, digits.validation.images)
        if digit is not None and net in nets:
            logits[:, digit] += bias
        for c in range(10):
            expected = (logits.argmax(1)[labels == c] != c).double()
            assert row[c] == pytest.approx(expected.mean().item(), abs=one / len(expected))
    counts = np.bincount(labels.numpy(), minlength=10)
    for found, row in zip(shown.accuracies, shown.errors[1:], strict=True):
        assert found == pytest.approx(1 - (row * counts).sum() / counts.sum())


def test_a_student_never_answers_what_it_never_saw_until_the_bias_says_so(lab):
    without, biased = (view(lab, student="4", bias=b) for b in (0, 15))
    assert without.errors[2, 4] == 1 and biased.errors[2, 4] < 0.5
    assert biased.errors[1, 4] < without.errors[1, 4]


def test_without_a_missing_digit_the_bias_does_nothing(lab):
    one, other = (view(lab, student="none", bias=b) for b in (0, 9))
    assert np.array_equal(one.errors, other.errors) and np.array_equal(one.soft, other.soft)
    assert lab.without_effect(values(student="none")) == {"bias"}
    assert not lab.without_effect(values()) | lab.without_effect(values(student="trained"))
    assert "no digit is missing" in distil_view.summarise(other)
    assert "set by hand on these validation images" in distil_view.summarise(view(lab))


def test_no_slider_or_switch_trains_or_asks_a_network(lab, monkeypatch):
    def not_now(*args, **options):
        pytest.fail("asked")

    for name in ("teach", "ask"):
        monkeypatch.setattr(distil_prepared, name, not_now)
    monkeypatch.setattr(distil_prepared.Pupils, "forward", not_now)
    for T, bias, missing in itertools.product((0.1, 100), (-5, 15), ("none", "0", "9")):
        view(lab, temperature=T, bias=bias, student=missing)


# --- mine ----------------------------------------------------------------------------------


def test_a_right_answer_of_mine_changes_nothing(lab):
    soften.answer(lambda logits, temperature: torch.softmax(logits / temperature, -1))
    for T in (0.5, 4.0, 100.0):
        mine, other = (view(lab, temperature=T, source=s) for s in ("mine", "reference"))
        assert mine.mine and not other.mine
        assert mine.soft == pytest.approx(other.soft, abs=1e-5)
        assert mine.entropies == pytest.approx(other.entropies, abs=1e-4)
    assert "Your soften" in distil_view.summarise(mine)


def test_mine_shows_what_the_students_bug_does(lab):
    soften.answer(lambda logits, temperature: torch.softmax(logits * temperature, -1))
    mine, other = (view(lab, source=s) for s in ("mine", "reference"))
    assert mine.entropies[0] < other.entropies[0]
    soften.answer(lambda logits, temperature: torch.softmax(logits, -1) / temperature)
    shown = view(lab, source="mine")
    assert np.isnan(shown.entropies).all()
    words = distil_view.summarise(shown)
    assert "They add up to 0.25 and 0.25, and not to 1." in words
    assert "Entropy of the soft target: none" in words


def test_mine_cannot_spoil_what_is_kept(lab):
    soften.answer(lambda logits, temperature: logits.zero_().softmax(-1))
    before = view(lab)
    view(lab, source="mine")
    assert np.array_equal(view(lab).soft, before.soft)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda v, T: v[0].softmax(-1), r"logits' shape; yours gave shape \(10,\)"),
        (lambda v, T: v / 0, "at T = 4 some of yours are NaN or infinite"),
    ],
)
def test_what_mine_gives_wrongly_is_said(lab, answer, words):
    soften.answer(answer)
    with pytest.raises(ExerciseError, match=words):
        view(lab, source="mine")


def test_an_answer_that_is_certain_has_no_entropy():
    """Nor one of a little less than nothing, where float32 adds up to a little more than 1."""
    for certain in (np.eye(10)[2], np.eye(10)[2] * 1.000001):
        assert distil_view.bits(distil_lab._entropy(certain)) == "0.00 bits"


# --- training ------------------------------------------------------------------------------


def test_a_run_is_a_pair_for_each_seed(lab, digits):
    told = run_through(lab.train, values(temperature=2.0, alpha=0.5, missing="none", width=4))
    (run,) = lab.runs
    one = 1.01 / len(digits.validation)
    for seed in SEEDS:
        pairs = ((run.distilled, (2.0, 0.5)), (run.alone, (1.0, 0.0)))
        for found, lesson in pairs:
            expected = share_right(by_itself(digits, seed, *lesson, width=4), digits.validation)
            assert found[seed] == pytest.approx(expected, abs=one)
    assert (run.temperature, run.alpha, run.missing, run.width) == (2.0, 0.5, None, 4)
    assert run.labelled == 320 and run.steps == 30 and not run.stopped
    assert told == [(step, 90) for step in range(1, 91)]
    assert run.bytes == measure.size(build(0, 4).state_dict())


@pytest.mark.parametrize("missing", ["none", "7"])
def test_a_run_as_the_prepared_students_were_taught_gives_them_again(lab, digits, missing):
    run_through(lab.train, values(missing=missing))
    (run,), one = lab.runs, 1.01 / len(digits.validation)
    if missing == "none":
        assert run.distilled == pytest.approx(lab.sweep.distilled[:, 1], abs=one)
        assert run.alone == pytest.approx(lab.sweep.alone, abs=one)
    prepared = lab.prepared.pairs[None if missing == "none" else 7]
    assert (lab.last.others != prepared.others).sum() <= 1
    assert lab.last.shortfalls == pytest.approx(prepared.shortfalls, abs=1e-3)
    assert lab.last.digits == pytest.approx(prepared.digits, abs=1e-3)


def test_a_run_without_a_digit_counts_the_labels_that_are_left(lab, digits):
    run_through(lab.train, values(missing="5", labelled=50))
    (run,) = lab.runs
    assert run.missing == 5 and run.labelled == int((digits.train.labels[:50] != 5).sum()) < 50
    shown = view(lab, student="trained", bias=0)
    assert shown.missing == 5 and shown.trained and shown.errors[2, 5] == 1


def test_with_few_labels_the_student_alone_has_those_only(lab, digits):
    run_through(lab.train, values(missing="none", labelled=10))
    few = lab.runs[0]
    run_through(lab.train, values(missing="none"))
    assert np.mean(few.alone) < np.mean(lab.runs[1].alone)
    assert few.labelled == 10


def test_the_last_run_is_on_show_when_asked_for(lab, digits):
    with pytest.raises(ExerciseError, match="press Train students"):
        view(lab, student="trained")
    prepared = view(lab, student="none")
    run_through(lab.train, values(temperature=1.0, missing="none"))
    shown = view(lab, student="trained")
    assert shown.taught_at == 1 and prepared.taught_at == 4
    assert shown.accuracies == (lab.runs[0].distilled[0], lab.runs[0].alone[0])
    net = by_itself(digits, 0, 1.0, 0.9)
    logits = ask(net, ten_digits(digits).images[2:3])
    assert shown.soft[1] == pytest.approx(reference(logits, 4.0)[0].numpy(), abs=2e-3)
    assert "the last run's, of the first seed, taught at T = 1" in distil_view.summarise(shown)
    assert "prepared, of the first seed, taught at T = 4" in distil_view.summarise(
        view(lab, student="none")
    )


@pytest.mark.parametrize("step", [0, 4, 30, 44, 60, 61])
def test_a_stopped_run_has_the_seeds_that_were_through_or_marks_the_first(lab, step):
    run_until(lab.train, values(), step)
    (run,) = lab.runs
    assert len(run.distilled) == len(run.alone) == max(step // 30, 1)
    assert run.steps == (step if step < 30 else 30) and run.stopped == (step < 30)
    if run.stopped:
        words = distil_view.summarise(view(lab))
        assert "<td>1, stopped</td>" in words and "by one seed: no interval" in words


# --- differences ---------------------------------------------------------------------------


def test_a_difference_has_the_interval_of_paired_seeds():
    distilled, alone = (0.97, 0.96, 0.975, 0.965), (0.95, 0.955, 0.96, 0.95)
    found = distil_view.Difference.between(distilled, alone)
    expected = stats.ttest_rel(distilled, alone).confidence_interval(0.95)
    assert found.mean - found.half == pytest.approx(100 * expected.low)
    assert found.mean + found.half == pytest.approx(100 * expected.high)
    assert str(found).endswith(": distilled is better")
    assert str(distil_view.Difference.between(alone, distilled)).endswith("distilled is worse")


def test_a_difference_within_the_seeds_is_not_called_one():
    words = str(distil_view.Difference.between((0.97, 0.95, 0.96), (0.95, 0.96, 0.94)))
    assert words.endswith("no difference shown") and "+1.00 points" in words
    assert str(distil_view.Difference.between((0.9,) * 3, (0.9,) * 3)).endswith("difference shown")


# --- the picture ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explorer(first_lab, digits):
    first_lab.runs.clear()
    return distil.explore_distillation(digits, soften, seeds=SEEDS)


def test_each_stop_of_a_slider_is_seen(explorer, controls):
    """Also where no answer changes: a key press after which nothing moves looks like a hang."""
    pictures = set()
    for T, bias in ((0.1, -5), (0.1, -4.75), (0.112, -4.75)):
        move(explorer, temperature=T, bias=bias)
        pictures.add(explorer.image.value)
    assert len(pictures) == 3


def test_the_artists_are_where_the_view_says(explorer, controls):
    shown, artists = move(explorer, temperature=10, bias=4), explorer._picture._artists
    for bars, heights in zip(artists["soft"], shown.soft, strict=True):
        assert bars.get_data().values[::2] == pytest.approx(heights)
        assert not bars.get_data().values[1::2].any()
    seen, unseen = (bars.get_data().values[::2] for bars in artists["errors"])
    assert seen + unseen == pytest.approx(100 * shown.errors[1])
    assert np.flatnonzero(unseen).tolist() in ([3], []) and seen[3] == 0
    for ticks, row in zip(artists["ticks"], shown.errors[[0, 2]], strict=True):
        assert ticks.get_ydata() == pytest.approx(100 * row)
    right = 100 * shown.sweep.distilled[:, 2].mean()  # the nearest at which students were taught
    assert artists["marker"].get_xydata() == pytest.approx(np.array([[20, right]]))
    assert artists["sweep_title"].get_text() == f"taught at T = 20: {right:.2f} % right"
    assert artists["errors_title"].get_text() == "% wrong; no 3 was seen, bias +4.00"
    most = 100 * shown.soft[0].max()
    assert (
        artists["soft_title"]
        .get_text()
        .startswith(f"at T = 10 the teacher says\n{most:.3g} % for {shown.soft[0].argmax()}, ")
    )


def test_the_words_have_the_numbers(explorer, controls):
    shown, words = move(explorer, temperature=4, student="3"), explorer.text.value
    distilled, alone = shown.sweep.distilled[:, 1], shown.sweep.alone
    assert f"taught at T = 4, {100 * distilled.mean():.2f} % right" in words
    assert f"alone {100 * alone.mean():.2f} %, the teacher" in words
    assert f"<b>{100 * shown.errors[1, 3]:.1f} % of the 3s wrong</b>, alone" in words
    assert "320 images, all labelled" in words
    assert str(distil_view.Difference.between(distilled, alone)) in words


def run_of(distilled=(0.9, 0.92), alone=(0.8, 0.81), **changed):
    given = {"temperature": 2.0, "alpha": 0.5, "labelled": 50, "missing": None, "width": 30}
    more = {"bytes": 104_000, "steps": 7, "stopped": False}
    return distil_view.Run(distilled=distilled, alone=alone, **given | more | changed)


def test_the_latest_runs_are_in_the_plot_and_all_in_the_table(explorer):
    artists = explorer._picture._artists
    assert artists["invitation"].get_text() == distil_figure.INVITATION
    runs = tuple(run_of(width=10 + i) for i in range(11))
    shown = dataclasses.replace(explorer.result, runs=runs)
    distil_figure.update(artists, shown)
    places = np.arange(1, 6)
    for name, height in (("distilled", 91), ("alone", 80.5)):
        expected = np.stack([places, np.full(5, height)], 1)
        assert artists["runs"][name].get_xydata() == pytest.approx(expected)
    texts = [text.get_text() for text in artists["run_texts"]]
    assert texts == [f"50\n{width}" for width in range(16, 21)]
    assert artists["invitation"].get_text() == ""
    table = distil_view.summarise(shown)
    assert re.findall(r"<tr><td>(\d+)</td>", table) == [str(i) for i in range(1, 12)]
    assert "<td>20</td><td>7</td><td>104,000</td><td>91.00</td><td>80.50</td><td>2</td>" in table
    distil_figure.update(artists, explorer.result)

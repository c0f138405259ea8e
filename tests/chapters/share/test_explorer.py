"""The explorer of chapter 04 on small data: what it shows is what the shared network does."""

import copy
import dataclasses
import itertools

import numpy as np
import pytest
import torch

from shrink import sharing
from shrink.chapters import share as exercises
from shrink.chapters.share import figure, network, prepared
from shrink.chapters.share import lab as share
from shrink.chapters.share.view import Run, summarise
from shrink.classroom import formats, measure, models
from shrink.classroom.data import Split
from shrink.classroom.exercises.exercise import ExerciseError
from shrink.classroom.training import predict, train
from tests.chapters.share.small import EXERCISES, EXPLORERS, SEEDS
from tests.chapters.small import run_through, run_until, share_right

pytestmark = pytest.mark.usefixtures("cache", "no_answers")
KINDS = ("dense", "pruned")
REAL_KS, REAL_BAND = share.KS, share.BAND


@pytest.fixture(scope="module")
def first_lab(digits, cache):
    return share.SharingLab(digits, {e.name: e for e in EXERCISES}, SEEDS)


@pytest.fixture
def lab(first_lab):
    """The lab with no runs yet."""
    first_lab.runs.clear()
    return first_lab


def values(**changed):
    given = {"k": 4, "init": "linear", "weights": "dense", "layer": "fc1", "source": "reference"}
    return given | {"reduction": "averaged", "epochs": 1} | changed


def view(lab, k=4, **changed):
    given = values(k=k, **changed)
    return lab.view(**{name: given[name] for name in list(given)[:5]})


def net_of(digits, kind, seed=0):
    return prepared.KINDS[kind](network.NAME, digits, seed=seed)


def shared_net(net, k, how):
    """The network with each weight replaced afresh, by the distances to all values."""
    net, errors = copy.deepcopy(net), []
    for w in models.weights(net).values():
        flat = w.detach().flatten().double().numpy()
        kept = torch.from_numpy(flat[flat != 0]).float()
        if how == "optimum":
            codebook = sharing.optimal_codebook(kept, k)
        elif how == "ruler":
            codebook = torch.linspace(kept.min(), kept.max(), k)
        else:
            codebook = sharing.fit_codebook(kept, k, how)
        codebook = codebook.double().numpy()
        nearest = np.abs(flat[:, None] - codebook).argmin(1)
        left = np.where(flat == 0, 0, codebook[nearest])
        errors.append(((flat - left) ** 2).sum() / (flat**2).sum())
        w.data = torch.from_numpy(left).float().view(w.shape)
    return net, errors


def right(net, digits):
    asked = digits.validation
    return share_right(net, Split(asked.images[: share.IMAGES], asked.labels[: share.IMAGES]))


def test_the_slider_reaches_from_2_to_64_and_the_bands_stand_on_its_stops():
    assert REAL_KS.tolist() == list(range(2, 65))
    assert np.isin(REAL_BAND, REAL_KS).all() and (np.diff(REAL_BAND) > 0).all()
    assert (REAL_BAND[0], REAL_BAND[-1]) == (2, 64)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("init", sharing.INITS)
@pytest.mark.parametrize("k", [2, 5, 7])
def test_the_network_answers_as_the_shared_one(lab, digits, kind, init, k):
    net, errors = shared_net(net_of(digits, kind), k, init)
    shown = view(lab, k, weights=kind, init=init)
    assert shown.accuracy == pytest.approx(right(net, digits), abs=1.01 / share.IMAGES)
    assert shown.accuracy == shown.accuracies["k-means"][k - 2]
    for number, error in enumerate(errors):
        layer = view(lab, k, weights=kind, init=init, layer=f"fc{number + 1}")
        assert layer.error == pytest.approx(error, rel=1e-4)
        assert layer.error == layer.errors["k-means"][k - 2]
        assert len(layer.values["k-means"]) == k


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["optimum", "ruler"])
def test_the_optimum_and_the_ruler_stand_beside(lab, digits, kind, how):
    shown = view(lab, 5, weights=kind)
    for k in (2, 5, 7):
        net, errors = shared_net(net_of(digits, kind), k, how)
        assert shown.errors[how][k - 2] == pytest.approx(errors[0], rel=1e-4)
        found = shown.accuracies[how][k - 2]
        assert found == pytest.approx(right(net, digits), abs=1.01 / share.IMAGES)
    assert len(shown.values[how]) == 5


@pytest.mark.parametrize("kind", KINDS)
def test_no_beginning_beats_the_optimum(lab, kind):
    for init, layer in itertools.product(sharing.INITS, ("fc1", "fc2", "fc3")):
        shown = view(lab, weights=kind, init=init, layer=layer)
        assert (shown.errors["optimum"] <= shown.errors["k-means"] * (1 + 1e-6)).all()
        assert (np.diff(shown.errors["optimum"]) < 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_band_is_the_seeds(lab, digits, kind):
    shown = view(lab, weights=kind, init="density", layer="fc2")
    on_band = np.isin(share.KS, share.BAND)
    assert shown.band[0].tolist() == shown.accuracies["k-means"][on_band].tolist()
    assert shown.error_band[0].tolist() == shown.errors["k-means"][on_band].tolist()
    net, errors = shared_net(net_of(digits, kind, seed=1), 4, "density")
    assert shown.band[1][1] == pytest.approx(right(net, digits), abs=1.01 / share.IMAGES)
    assert shown.error_band[1][1] == pytest.approx(errors[1], rel=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [2, 3, 4, 7])
def test_the_length_is_that_of_the_file(lab, digits, kind, k, tmp_path):
    net = net_of(digits, kind)
    shared = {name: sharing.share(w, k) for name, w in models.weights(net).items()}
    arrays = formats.pack_shared(net.state_dict(), shared)
    length = measure.write(tmp_path / "file", arrays)
    dense, stored, numbers, codebooks, gaps = view(lab, k, weights=kind).bytes
    assert stored == length == (tmp_path / "file").stat().st_size
    assert dense == measure.size(net.state_dict())
    found = [
        sum(array.nbytes for name, array in arrays.items() if name.endswith(part))
        for part in ("/numbers", "/codebook", "/gaps")
    ]
    assert [numbers, codebooks, gaps] == found
    assert (gaps > 0) == (kind == "pruned") and codebooks == 4 * 3 * (k + (kind == "pruned"))


@pytest.mark.parametrize("kind", KINDS)
def test_the_histogram_counts_what_is_shared(lab, digits, kind):
    w = models.weights(net_of(digits, kind))["fc2.weight"].detach()
    shown = view(lab, weights=kind, layer="fc2")
    assert shown.counts.sum() == (w != 0).sum().item()
    assert shown.edge == w.abs().max().item()
    below = (w.flatten() < 0).sum().item()
    assert shown.counts[: share.BINS // 2].sum() == pytest.approx(below, abs=5)


def test_answers_that_changed_are_counted(lab, digits):
    shown = view(lab, 2)
    images = digits.validation.images[: share.IMAGES]
    before = predict(net_of(digits, "dense"), images)
    after = predict(shared_net(net_of(digits, "dense"), 2, "linear")[0], images)
    changed = (before != after).sum().item()
    assert abs(shown.changed - changed) <= 1 and changed > 5
    other = predict(net_of(digits, "dense", seed=1), images)
    assert shown.other_changed == (other != before).sum().item()


def test_the_networks_stay_as_they_are(lab, digits):
    exercises.assign.answer(_spoils_its_input)
    exercises.update.answer(exercises.update.reference)
    mine = view(lab, source="mine")
    assert mine.error == pytest.approx(view(lab).error, rel=1e-3)  # update has the weights too
    run_through(lab.train, values())
    for kind in KINDS:
        net = models.weights(net_of(digits, kind)).values()
        for layer, w in zip(lab.nets[kind].layers, net, strict=True):
            assert layer.weight.equal(w.detach())


# --- mine ----------------------------------------------------------------------------------


def _spoils_its_input(weights, codebook):
    numbers = exercises.assign.reference(weights, codebook)
    weights.zero_()
    return numbers


def answer_rightly():
    exercises.assign.answer(lambda w, c: (w[..., None] - c).abs().argmin(-1).to(torch.uint8))
    exercises.update.answer(exercises.update.reference)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [2, 7])
def test_a_right_step_of_mine_changes_nothing(lab, kind, k):
    answer_rightly()
    mine, reference = (view(lab, k, weights=kind, source=s) for s in ("mine", "reference"))
    assert mine.mine and not reference.mine
    assert "Your assign and update" in summarise(mine)
    assert mine.accuracy == pytest.approx(reference.accuracy, abs=1.01 / share.IMAGES)
    assert mine.error == pytest.approx(reference.error, rel=1e-3)
    pruned = kind == "pruned"
    on_show = np.sort(mine.values["k-means"])
    assert len(on_show) == k
    assert np.sort(mine.values["k-means"]) == pytest.approx(reference.values["k-means"], rel=1e-3)
    assert np.isfinite(on_show).all() and (pruned or not mine.bytes[4])


def test_mine_shows_what_the_students_bug_does(lab):
    answer_rightly()
    exercises.assign.answer(lambda w, c: (w[..., None] - c).argmin(-1))
    mine, reference = view(lab, source="mine"), view(lab)
    assert mine.error > 1.5 * reference.error and mine.accuracy < reference.accuracy
    answer_rightly()
    exercises.update.answer(lambda w, numbers, c: c + 0.05)
    assert view(lab, source="mine").error > 1.5 * reference.error
    assert view(lab).error == reference.error


@pytest.mark.parametrize(
    ("assign", "update", "words"),
    [
        (lambda w, c: torch.zeros(3), None, r"the weights' shape; yours gave shape \(3,\)"),
        (lambda w, c: torch.full(w.shape, 4), None, "numbers from 0 to 3; yours go from 4 to 4"),
        (None, lambda w, a, c: c[:2], r"update gives 4 values; yours gave shape \(2,\)"),
        (None, lambda w, a, c: c / 0, "some of yours are NaN or infinite"),
    ],
)
def test_what_mine_gives_wrongly_is_said(lab, assign, update, words):
    exercises.assign.answer(assign or exercises.assign.reference)
    exercises.update.answer(update or exercises.update.reference)
    with pytest.raises(ExerciseError, match=words):
        view(lab, source="mine")


# --- training ------------------------------------------------------------------------------


def spy_on_training(monkeypatch):
    trained = []

    def spy(net, split, recipe, **options):
        done = train(net, split, recipe, **options)
        trained.append((net, recipe, done))
        return done

    monkeypatch.setattr(share, "train", spy)
    return trained


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reduction", share.RATES)
def test_training_moves_values_and_leaves_numbers(lab, digits, monkeypatch, kind, reduction):
    trained = spy_on_training(monkeypatch)
    calls = run_through(lab.train, values(weights=kind, reduction=reduction, k=5))
    ((net, recipe, done),) = trained
    assert recipe.learning_rate == share.RATES[reduction] and recipe.weight_decay == 0
    start = net_of(digits, kind)
    for w, old in zip(models.weights(net).values(), models.weights(start).values(), strict=True):
        w, old = w.detach(), old.detach()
        assert len(w[old != 0].unique()) == 5 and not w[old == 0].any()
        codebook = sharing.fit_codebook(old[old != 0], 5)
        numbers = sharing.assign(old, codebook)
        for j in range(5):
            assert len(w[(numbers == j) & (old != 0)].unique()) == 1
    (run,) = lab.runs
    assert (run.weights, run.k, run.init, run.reduction) == (kind, 5, "linear", reduction)
    assert run.accuracy == pytest.approx(right(net, digits)) and not run.stopped and not run.mine
    assert run.before == view(lab, 5, weights=kind).accuracy
    first = net.fc1.weight.detach().double() - start.fc1.weight.detach().double()
    expected = (first.square().sum() / start.fc1.weight.detach().double().square().sum()).item()
    assert run.errors[0] == pytest.approx(expected, rel=1e-4)
    assert calls == [(step, done.planned) for step in range(1, done.planned + 1)]


def test_the_sum_and_the_mean_are_what_they_say(lab, digits):
    """One step each from the same place: the sum's is larger by the number of weights."""
    moved, parts = {}, lab.shared("dense", 3, "linear", False)
    images, labels = digits.train.images[:200], digits.train.labels[:200]
    for reduction, how in share.REDUCTIONS.items():
        net = copy.deepcopy(net_of(digits, "dense"))
        held = dict(zip(lab.nets["dense"].names, copy.deepcopy(parts), strict=True))
        sgd = torch.optim.SGD(net.parameters(), lr=1e-9)
        with sharing.hold_shared(models.weights(net), held, sgd, how):
            torch.nn.functional.cross_entropy(net(images), labels).backward()
            moved[reduction] = net.fc1.weight.grad.flatten()[0].item()
    number = parts[0].assignments.flatten()
    times = (number == number[0]).sum().item()
    assert moved["summed"] == pytest.approx(times * moved["averaged"], rel=1e-3)


@pytest.mark.parametrize("step", [0, 4])
def test_a_stopped_run_is_kept_and_marked(lab, step):
    run_until(lab.train, values(), step)
    (run,) = lab.runs
    assert run.stopped and run.steps == step
    assert f"{step} steps, stopped" in summarise(view(lab))


def test_runs_stay_with_the_weights_they_began_from(lab):
    for kind in KINDS:
        run_through(lab.train, values(weights=kind))
    for kind in KINDS:
        assert [run.weights for run in view(lab, weights=kind).runs] == [kind]


def test_training_begins_with_the_students_step(lab):
    answer_rightly()
    exercises.update.answer(lambda w, numbers, c: c + 0.05)
    run_through(lab.train, values(source="mine"))
    (run,) = lab.runs
    assert run.mine and run.before == view(lab, source="mine").accuracy
    assert "your values" in summarise(view(lab))


# --- the picture ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explorer(first_lab, digits):
    return EXPLORERS[0].make(digits)


def test_the_artists_are_where_the_view_says(explorer, controls):
    controls["k"].value, controls["weights"].value = 5, "pruned"
    shown, artists = explorer.result, explorer._picture._artists
    for name, marker in (("accuracy", 100 * shown.accuracy), ("errors", shown.error)):
        assert artists[name]["marker"].get_xydata().tolist() == [[5, marker]]
    line = artists["accuracy"]["lines"]["k-means"].get_ydata()
    assert line == pytest.approx(100 * shown.accuracies["k-means"])
    assert artists["errors"]["lines"]["optimum"].get_ydata() == pytest.approx(
        shown.errors["optimum"]
    )
    places = [s[0, 0] for s in artists["values"]["k-means"].get_segments()]
    assert places == pytest.approx(shown.values["k-means"] / shown.edge)
    assert len(artists["values"]["ruler"].get_segments()) == 5
    assert artists["accuracy"]["dense"].get_ydata() == [100 * shown.dense_accuracy] * 2
    assert f"{shown.counts.sum():,} weights of fc1, and their 5 values" in (
        artists["histogram_title"].get_text()
    )


def test_runs_have_their_markers(explorer):
    run = Run(
        "dense", 5, "linear", "averaged", False, (0.3, 0.2, 0.1), 0.5, 0.9, steps=7, stopped=False
    )
    stopped = dataclasses.replace(run, k=3, accuracy=0.8, stopped=True)
    shown = dataclasses.replace(explorer.result, runs=(run, stopped), layer=1)
    figure.update(explorer._picture._artists, shown)
    done, other = explorer._picture._artists["accuracy"]["runs"]
    assert done.get_xydata().tolist() == [[5, 90]] and other.get_xydata().tolist() == [[3, 80]]
    assert other.get_markerfacecolor() == "none" != done.get_markerfacecolor()
    assert explorer._picture._artists["errors"]["runs"][0].get_xydata().tolist() == [[5, 0.2]]


def test_the_words_hold_the_numbers(lab):
    shown = view(lab, 5, weights="pruned", init="density", layer="fc2")
    words = summarise(shown)
    for text in (
        "<b>5 values and 0</b> per layer, k-means from density, pruned weights",
        f"<b>{100 * shown.accuracy:.2f} %</b> right of 150 validation images",
        f"not shared {100 * shown.dense_accuracy:.2f} %",
        f"the ruler {100 * shown.accuracies['ruler'][3]:.2f} %",
        f"Squared error of fc2, as a part of its squared weights: {100 * shown.error:.3g} %",
        f"{shown.bytes[1]:,} bytes, not {shown.bytes[0]:,}",
        f"{shown.bytes[3]:,} of codebooks, {shown.bytes[4]:,} of gaps",
    ):
        assert text in words
    assert " of gaps" not in summarise(view(lab)) and " and 0" not in summarise(view(lab))

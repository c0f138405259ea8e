"""The explorer of chapter 02 on small data: what it shows is what the network does."""

import copy
import io
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from shrink import pruning
from shrink.classroom import baselines, data, measure, models
from shrink.classroom.checks import prune as exercises
from shrink.classroom.exercise import ExerciseError
from shrink.classroom.explorers import prune, prune_figure
from shrink.classroom.training import Recipe, predict, train

SEEDS = (0, 1)
EXERCISES = (exercises.magnitude_mask, exercises.global_masks)
COMBINATIONS = [(w, s) for w in ("trained", "initial") for s in ("global", "local")]
REAL_STOPS, REAL_CURVE = prune.STOPS, prune.CURVE
CALM = threading.Event()  # never set


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", announce=False)


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    """A cache of this file's own, baselines trained in a second, and few stops to sweep over."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prune, "STOPS", np.array([0, 0.1, 0.37, 0.5, 0.9, 0.92, 0.96, 0.97, 0.99, 1]))
        for module in (prune, prune_figure):
            patch.setattr(module, "CURVE", np.array([0, 0.5, 0.9, 0.97, 1]))
        patch.setenv("SHRINK_CACHE", str(folder))
        patch.setitem(baselines.RECIPES, (prune.NAME, "digits"), Recipe(epochs=6))
        yield folder


@pytest.fixture(scope="module")
def first_lab(digits, cache):
    return new_lab(digits)


@pytest.fixture
def lab(first_lab):
    """The lab with no runs yet."""
    first_lab.runs.clear()
    first_lab._dense_runs.clear()
    return first_lab


@pytest.fixture(autouse=True)
def no_answers():
    yield
    for exercise in EXERCISES:
        exercise.student, exercise.passed = None, False


def new_lab(digits):
    return prune.PruningLab(digits, {e.name: e for e in EXERCISES}, SEEDS)


def view(lab, sparsity, weights="trained", scope="global", source="reference"):
    return lab.view(sparsity=sparsity, scope=scope, weights=weights, source=source, epochs=1)


def values(**changed):
    return {
        "sparsity": 0.9,
        "scope": "global",
        "weights": "trained",
        "source": "reference",
        "epochs": 1,
        **changed,
    }


def test_the_slider_stops_at_whole_percents_and_the_curve_at_some_of_them():
    assert REAL_STOPS.tolist() == [i / 100 for i in range(101)]
    assert np.isin(REAL_CURVE, REAL_STOPS).all() and (np.diff(REAL_CURVE) > 0).all()
    assert (REAL_CURVE[0], REAL_CURVE[-1]) == (0, 1)


def pruned_net(lab, sparsity, weights, scope):
    """The network pruned afresh, by sorting."""
    net = copy.deepcopy(lab.nets[weights][0])
    tensors = list(models.weights(net).values())
    for group in [tensors] if scope == "global" else [[w] for w in tensors]:
        flat = torch.cat([w.detach().flatten() for w in group])
        flat[flat.abs().argsort(stable=True)[: round(sparsity * len(flat))]] = 0
        for w, part in zip(group, flat.split([w.numel() for w in group]), strict=True):
            w.data = part.view(w.shape)
    return net


@pytest.mark.parametrize(("weights", "scope"), COMBINATIONS)
@pytest.mark.parametrize("sparsity", [0, 0.37, 0.92, 1])
def test_a_stop_of_the_slider_shows_what_the_network_answers(lab, weights, scope, sparsity):
    shown = view(lab, sparsity, weights, scope)
    validation = lab.data.validation
    answers = predict(pruned_net(lab, sparsity, weights, scope), validation.images)
    right = (answers == validation.labels).double().mean().item()
    assert shown.answers.tolist() == answers.tolist()
    assert shown.accuracy == pytest.approx(right)
    assert shown.sparsity == sparsity


def test_between_the_stops_the_network_is_asked(lab):
    shown = view(lab, 0.925)
    net = pruned_net(lab, 0.925, "trained", "global")
    assert shown.answers.tolist() == predict(net, lab.data.validation.images).tolist()


@pytest.mark.parametrize(("weights", "scope"), COMBINATIONS)
def test_the_curves_start_at_the_dense_accuracy_of_their_seed(lab, weights, scope):
    shown = view(lab, 0.5, weights, scope)
    labels = lab.labels
    dense = [
        (predict(net, lab.data.validation.images).numpy() == labels).mean()
        for net in lab.nets[weights]
    ]
    assert prune.CURVE[0] == 0 and prune.CURVE[-1] == 1
    assert shown.curve.shape == (len(SEEDS), len(prune.CURVE))
    assert shown.curve[:, 0] == pytest.approx(dense)
    assert shown.dense_accuracy == pytest.approx(dense[0])
    other = "local" if scope == "global" else "global"
    assert shown.other_curve == pytest.approx(view(lab, 0.5, weights, other).curve.mean(0))


def test_the_curve_is_what_the_slider_shows(lab):
    curve = view(lab, 0).curve[0]
    shown = [view(lab, sparsity).accuracy for sparsity in prune.CURVE]
    assert curve == pytest.approx(shown)


@pytest.mark.parametrize(("weights", "scope"), COMBINATIONS)
@pytest.mark.parametrize("sparsity", [0, 0.37, 0.925, 1])
def test_what_the_layers_keep_adds_up(lab, weights, scope, sparsity):
    shown = view(lab, sparsity, weights, scope)
    sizes = {name: w.numel() for name, w in models.weights(lab.nets[weights][0]).items()}
    kept = {name: round(shown.kept[name] * n) for name, n in sizes.items()}
    if scope == "local":
        assert kept == {name: n - round(sparsity * n) for name, n in sizes.items()}
    assert sum(kept.values()) == pytest.approx(266_200 - round(sparsity * 266_200), abs=1)
    assert shown.counts.sum(1).tolist() == [266_200, sum(kept.values())]
    assert shown.pixels.mean() == pytest.approx(shown.kept["fc1.weight"])


def test_thresholds_part_what_went_from_what_stayed(lab):
    shown = view(lab, 0.9, scope="local")
    weights = models.weights(lab.nets["trained"][0]).values()
    for threshold, weight in zip(shown.thresholds, weights, strict=True):
        kept = (weight.abs() > threshold).sum().item()
        assert kept == weight.numel() - round(0.9 * weight.numel())
    one = set(view(lab, 0.9).thresholds)
    assert len(one) == 1 and sum((w.abs() > max(one)).sum().item() for w in weights) == 26_620
    assert set(view(lab, 0).thresholds) == {0.0}


def test_casualties_were_right_before_and_are_wrong_now(lab):
    shown, dense = view(lab, 0.97), view(lab, 0).answers
    expected = [
        i for i, label in enumerate(lab.labels) if dense[i] == label and shown.answers[i] != label
    ]
    assert shown.casualties.tolist() == expected and len(expected) > 2
    first = expected[0]
    assert shown.captions[0] == f"{lab.labels[first]} → {shown.answers[first]}"
    assert np.array_equal(shown.strip[:28, :28], lab.images[first])
    assert len(shown.captions) == min(len(expected), prune.SHOWN)
    assert view(lab, 0).casualties.size == 0 and not view(lab, 0).strip.any()


def test_changed_answers_are_counted_beside_another_seeds(lab):
    shown, dense = view(lab, 0.97), view(lab, 0).answers
    other = predict(lab.nets["trained"][1], lab.data.validation.images).numpy()
    for digit in range(10):
        of_class = lab.labels == digit
        expected = [(dense != answers)[of_class].mean() for answers in (shown.answers, other)]
        assert shown.changed[:, digit] == pytest.approx(100 * np.array(expected))
    assert not view(lab, 0).changed[0].any()


def test_a_file_with_zeros_is_as_long_as_the_dense_one(lab, tmp_path):
    dense, pruned = view(lab, 0.99).file_bytes
    net = pruned_net(lab, 0.99, "trained", "global")
    assert measure.write(tmp_path / "net", net.state_dict()) == pruned == dense


def test_one_ranking_empties_a_layer_at_initialisation_and_none_after_training(lab):
    assert view(lab, 0.96, "initial", "global").kept["fc1.weight"] == 0
    assert all(view(lab, 0.93, "initial", "global").kept.values())
    assert all(view(lab, 0.96, "trained", "global").kept.values())
    assert all(view(lab, 0.96, "initial", "local").kept.values())
    words = prune.summarise(view(lab, 0.96, "initial", "global"))
    assert "Nothing is left of fc1.weight" in words
    assert "Nothing is left" not in prune.summarise(view(lab, 0.96))


def test_the_words_hold_the_numbers(lab):
    shown = view(lab, 0.9)
    words = prune.summarise(shown)
    for text in (
        "Sparsity 0.9",
        f"{100 * shown.accuracy:.2f} %",
        f"dense {100 * shown.dense_accuracy:.2f} %",
        f"{len(shown.casualties)} that were right",
        f"{shown.file_bytes[1]:,} bytes",
    ):
        assert text in words


# --- mine ----------------------------------------------------------------------------------


def _keeps_the_smallest(weight, sparsity):
    return ~pruning.magnitude_mask(weight, sparsity)


def test_mine_shows_what_the_students_bug_does(lab):
    exercises.magnitude_mask.answer(_keeps_the_smallest)
    mine = view(lab, 0.1, scope="local", source="mine")
    reference = view(lab, 0.1, scope="local")
    assert mine.accuracy < reference.accuracy - 0.2
    for name, kept in mine.kept.items():
        assert kept == pytest.approx(1 - reference.kept[name])
    assert view(lab, 0.1, scope="local").accuracy == reference.accuracy


def test_mine_with_the_right_answer_shows_the_same(lab):
    exercises.global_masks.answer(pruning.global_masks)
    mine, reference = view(lab, 0.93, source="mine"), view(lab, 0.93)
    assert mine.answers.tolist() == reference.answers.tolist() and mine.kept == reference.kept


def test_mine_without_an_answer_says_which_is_missing(lab):
    with pytest.raises(ExerciseError, match="global_masks has no answer of yours"):
        view(lab, 0.5, source="mine")
    with pytest.raises(ExerciseError, match="magnitude_mask has no answer of yours"):
        view(lab, 0.5, scope="local", source="mine")


def _spoils_its_input(weight, sparsity):
    mask = pruning.magnitude_mask(weight, sparsity)
    weight.data[~mask] = 0
    return mask


def test_mine_cannot_spoil_the_network_for_the_reference(lab):
    before = {name: t.clone() for name, t in lab.nets["trained"][0].state_dict().items()}
    exercises.magnitude_mask.answer(_spoils_its_input)
    try:
        view(lab, 0.9, scope="local", source="mine")
        lab.fine_tune(values(scope="local", source="mine"), CALM, lambda done, total: None)
        after = {n: t.clone() for n, t in lab.nets["trained"][0].state_dict().items()}
    finally:
        lab.nets["trained"][0].load_state_dict(before)
    assert all(t.equal(before[name]) for name, t in after.items())


@pytest.mark.parametrize(
    "answer",
    [
        lambda weights, sparsity: None,
        lambda weights, sparsity: {},
        lambda weights, sparsity: list(pruning.global_masks(weights, sparsity).values()),
        lambda weights, sparsity: {n: w.abs() for n, w in weights.items()},
        lambda weights, sparsity: {"fc1.weight": weights["fc1.weight"] > 0},
    ],
    ids=["None", "no masks", "a list", "no bool", "one layer only"],
)
def test_what_mine_gives_wrongly_is_said_in_terms_of_masks(lab, answer):
    exercises.global_masks.answer(answer)
    with pytest.raises((TypeError, ValueError, ExerciseError), match="mask"):
        view(lab, 0.5, source="mine")


# --- fine-tuning ---------------------------------------------------------------------------


def spy_on_training(monkeypatch):
    trained = []

    def spy(net, *args, **kwargs):
        training = train(net, *args, **kwargs)
        trained.append((net, training))
        return training

    monkeypatch.setattr(prune, "train", spy)
    return trained


def test_fine_tuning_holds_the_masks_and_has_its_control(lab, monkeypatch):
    trained, calls = spy_on_training(monkeypatch), []
    lab.fine_tune(values(), CALM, lambda *call: calls.append(call))
    (net, training), (dense, control) = trained
    (run,) = lab.runs
    assert training.steps == control.steps == run.steps and not run.stopped
    masks = pruning.global_masks(models.weights(lab.nets["trained"][0]), 0.9)
    for name, weight in models.weights(net).items():
        assert not weight[~masks[name]].any() and weight[masks[name]].all()
        assert dict(dense.named_parameters())[name].all()
    validation = lab.data.validation
    for accuracy, network in ((run.accuracy, net), (run.dense_accuracy, dense)):
        answers = predict(network, validation.images)
        assert accuracy == pytest.approx((answers == validation.labels).double().mean().item())
    assert (run.sparsity, run.scope, run.weights) == (0.9, "global", "trained")
    assert calls == [(step, 2 * run.steps) for step in range(1, 2 * run.steps + 1)]


def test_fine_tuning_keeps_every_run_and_trains_the_control_once(lab, monkeypatch):
    trained = spy_on_training(monkeypatch)
    for sparsity in (0.9, 0.95):
        lab.fine_tune(values(sparsity=sparsity), CALM, lambda done, total: None)
    assert len(trained) == 3 and [run.sparsity for run in lab.runs] == [0.9, 0.95]
    assert lab.runs[0].dense_accuracy == lab.runs[1].dense_accuracy
    shown = view(lab, 0.5)
    assert shown.runs == tuple(lab.runs)
    assert f"{100 * lab.runs[1].accuracy:.2f} %</b>; the dense" in prune.summarise(shown)


def test_fine_tuning_leaves_the_networks_on_show_as_they_are(lab):
    before = view(lab, 0.925)
    lab.fine_tune(values(), CALM, lambda done, total: None)
    assert view(lab, 0.925).answers.tolist() == before.answers.tolist()


@pytest.mark.parametrize("step", [0, 4])
def test_a_stopped_run_is_kept_and_marked(lab, step):
    stop = threading.Event()
    if step == 0:
        stop.set()
    lab.fine_tune(values(), stop, lambda done, total: stop.set() if done == step else None)
    (run,) = lab.runs
    assert run.stopped and run.steps == step and np.isnan(run.dense_accuracy)
    words = prune.summarise(view(lab, 0.5))
    assert f"{step} steps, stopped)" in words and "was not trained on for comparison" in words


def test_a_control_that_was_stopped_is_no_control(lab):
    stop = threading.Event()
    lab.fine_tune(values(), stop, lambda done, total: stop.set() if done > total / 2 else None)
    (run,) = lab.runs
    assert not run.stopped and np.isnan(run.dense_accuracy)


def test_fine_tuning_uses_the_students_masks(lab, monkeypatch):
    trained = spy_on_training(monkeypatch)
    exercises.magnitude_mask.answer(_keeps_the_smallest)
    lab.fine_tune(values(scope="local", source="mine"), CALM, lambda done, total: None)
    start = models.weights(lab.nets["trained"][0])
    for name, weight in models.weights(trained[0][0]).items():
        assert not weight[pruning.magnitude_mask(start[name], 0.9)].any()


# --- the picture ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explorer(first_lab, digits):
    return prune.explore_pruning(digits, *EXERCISES, seeds=SEEDS)


def test_there_is_a_picture_at_every_extreme(explorer):
    pictures = set()
    for sparsity in (0, 1):
        for weights, scope in COMBINATIONS:
            explorer.controls["sparsity"].value = sparsity
            explorer.controls["weights"].value = weights
            explorer.controls["scope"].value = scope
            assert explorer.error is None
            Image.open(io.BytesIO(explorer.image.value)).load()
            pictures.add(explorer.image.value)
    assert len(pictures) >= 4


def test_a_missing_answer_is_shown_and_goes_when_the_reference_is_back(explorer):
    before = explorer.image.value
    explorer.controls["source"].value = "mine"
    assert "has no answer of yours" in explorer.message.value
    assert explorer.image.value == before
    explorer.controls["source"].value = "reference"
    assert explorer.message.value == ""


def test_the_button_fine_tunes_and_the_run_appears(explorer):
    explorer.controls["sparsity"].value = 0.9
    explorer.controls["epochs"].value = 1
    before = explorer.image.value
    explorer.start_button.click()
    explorer.wait(60)
    assert explorer.status.value == "finished" and explorer.error is None
    assert len(explorer.result.runs) == 1 and "Fine-tuned" in explorer.text.value
    assert explorer.image.value != before


def test_runs_stay_with_the_weights_they_began_from(lab):
    lab.fine_tune(values(), CALM, lambda done, total: None)
    assert len(view(lab, 0.5, "trained").runs) == 1 and view(lab, 0.5, "initial").runs == ()


def test_one_seed_or_one_exercise_is_not_enough(digits):
    with pytest.raises(ValueError, match=r"at least two seeds are compared, not \(0,\)"):
        prune.explore_pruning(digits, seeds=(0,))
    with pytest.raises(ValueError, match="also needs global_masks"):
        prune.explore_pruning(digits, exercises.magnitude_mask)


def test_without_exercises_there_is_no_mine(first_lab, digits):
    alone = prune.explore_pruning(digits, seeds=SEEDS)
    assert alone.controls["source"].options == ("reference",)
    assert alone.error is None and alone.image.value


def test_the_second_time_everything_comes_from_the_cache(first_lab, digits, cache, monkeypatch):
    def not_again(*args, **kwargs):
        pytest.fail("made again")

    monkeypatch.setattr(baselines, "train", not_again)
    monkeypatch.setattr(prune.PruningLab, "_predict", not_again)
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    again = new_lab(digits)
    for key, answers in first_lab.answers.items():
        assert np.array_equal(again.answers[key], answers)
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()} == files


def test_the_test_set_stays_unread(first_lab, digits):
    hidden = data.Dataset("digits", digits.train, digits.validation, test=None)
    assert view(new_lab(hidden), 0.5).accuracy > 0

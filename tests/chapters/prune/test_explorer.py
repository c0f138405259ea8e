"""The explorer of chapter 02 on small data: what it shows is what the network does."""

import copy
import dataclasses
import io
import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from shrink import pruning
from shrink.chapters import prune as exercises
from shrink.chapters.prune import explorer as prune
from shrink.chapters.prune import figure as prune_figure
from shrink.chapters.prune import prepared
from shrink.classroom import baselines, formats, measure, models
from shrink.classroom.exercises.exercise import ExerciseError
from shrink.classroom.explorers import strip
from shrink.classroom.training import predict, train
from shrink.coding import sparse
from tests.chapters.prune.small import EXERCISES, SEEDS

pytestmark = pytest.mark.usefixtures("cache", "no_answers")
COMBINATIONS = [(w, s) for w in ("trained", "initial") for s in ("global", "local")]
REAL_STOPS, REAL_CURVE = prune.STOPS, prune.CURVE
CALM = threading.Event()  # never set


@pytest.fixture(scope="module")
def first_lab(digits, cache):
    return new_lab(digits)


@pytest.fixture
def lab(first_lab):
    """The lab with no runs yet."""
    first_lab.runs.clear()
    first_lab._dense_runs.clear()
    return first_lab


def new_lab(digits):
    return prune.PruningLab(digits, {e.name: e for e in EXERCISES}, SEEDS)


def view(lab, sparsity, weights="trained", scope="global", source="reference"):
    return lab.view(
        sparsity=sparsity,
        scope=scope,
        weights=weights,
        source=source,
        schedule="one-shot",
        epochs=1,
    )


def values(**changed):
    return {
        "sparsity": 0.9,
        "scope": "global",
        "weights": "trained",
        "source": "reference",
        "schedule": "one-shot",
        "epochs": 1,
        **changed,
    }


def test_the_slider_stops_at_whole_percents_and_the_curve_at_some_of_them():
    assert REAL_STOPS.tolist() == [i / 100 for i in range(101)]
    assert np.isin(REAL_CURVE, REAL_STOPS).all() and (np.diff(REAL_CURVE) > 0).all()
    assert (REAL_CURVE[0], REAL_CURVE[-1]) == (0, 1)


def pruned_net(lab, sparsity, weights, scope):
    """The network pruned afresh, by sorting."""
    net = copy.deepcopy(lab.nets[weights])
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
        for net in (prepared.network(lab.data, weights, seed) for seed in SEEDS)
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
    sizes = {name: w.numel() for name, w in models.weights(lab.nets[weights]).items()}
    kept = {name: round(shown.kept[name] * n) for name, n in sizes.items()}
    if scope == "local":
        assert kept == {name: n - round(sparsity * n) for name, n in sizes.items()}
    assert sum(kept.values()) == pytest.approx(266_200 - round(sparsity * 266_200), abs=1)
    assert shown.counts.sum(1).tolist() == [266_200, sum(kept.values())]
    assert shown.pixels.mean() == pytest.approx(shown.kept["fc1.weight"])


def test_thresholds_part_what_went_from_what_stayed(lab):
    shown = view(lab, 0.9, scope="local")
    weights = models.weights(lab.nets["trained"]).values()
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
    assert shown.strip.captions[0] == f"{lab.labels[first]} → {shown.answers[first]}"
    assert np.array_equal(shown.strip.picture[:28, :28], lab.images[first])
    assert len(shown.strip.captions) == min(len(expected), strip.SHOWN)
    assert view(lab, 0).casualties.size == 0 and not view(lab, 0).strip.picture.any()


def test_changed_answers_are_counted_beside_another_seeds(lab):
    shown, dense = view(lab, 0.97), view(lab, 0).answers
    other = predict(
        prepared.network(lab.data, "trained", SEEDS[1]), lab.data.validation.images
    ).numpy()
    for digit in range(10):
        of_class = lab.labels == digit
        expected = [(dense != answers)[of_class].mean() for answers in (shown.answers, other)]
        assert shown.changed[:, digit] == pytest.approx(100 * np.array(expected))
    assert not view(lab, 0).changed[0].any()


@pytest.mark.parametrize(("weights", "scope"), COMBINATIONS)
@pytest.mark.parametrize("sparsity", [0, 0.37, 0.925, 0.97, 1])
@pytest.mark.parametrize("source", ["reference", "mine"])
def test_the_lengths_are_those_of_the_files(lab, weights, scope, sparsity, source, tmp_path):
    exercises.magnitude_mask.answer(pruning.magnitude_mask)
    exercises.global_masks.answer(pruning.global_masks)
    shown = view(lab, sparsity, weights, scope, source).file_bytes
    assert tuple(shown) == sparse.FORMATS
    state = pruned_net(lab, sparsity, weights, scope).state_dict()
    for format, length in shown.items():
        measure.write(tmp_path / format, formats.pack(state, format))
        assert length == (tmp_path / format).stat().st_size
    assert shown["dense"] == view(lab, 0).file_bytes["dense"]


def test_the_lengths_of_mine_are_those_of_the_students_masks(lab):
    exercises.magnitude_mask.answer(_keeps_the_smallest)
    mine = view(lab, 0.9, scope="local", source="mine").file_bytes
    assert mine["bitmap"] == view(lab, 0.1, scope="local").file_bytes["bitmap"]


def test_a_format_that_changes_is_measured_again(first_lab, digits, monkeypatch):
    sweep = prepared._sweep

    def changed(*args):
        return sweep(*args)

    def pack(state, format):
        return formats.pack(state, format) | {"one array more": torch.zeros(2)}

    monkeypatch.setattr(prepared, "formats", SimpleNamespace(pack=pack))
    monkeypatch.setattr(prepared, "_sweep", changed)
    before, after = view(first_lab, 0.9).file_bytes, view(new_lab(digits), 0.9).file_bytes
    assert all(after[format] > length for format, length in before.items())


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
        f"dense {shown.file_bytes['dense']:,}, bitmap {shown.file_bytes['bitmap']:,}, "
        f"CSR {shown.file_bytes['csr']:,}, relative {shown.file_bytes['relative']:,};",
    ):
        assert text in words


@pytest.mark.parametrize(
    ("sparsity", "shortest"), [(0, "dense"), (0.5, "bitmap"), (0.97, "CSR"), (1, "relative")]
)
def test_the_words_name_the_shortest_format(lab, sparsity, shortest):
    shown = view(lab, sparsity)
    assert f"the shortest is {shortest}." in prune.summarise(shown)
    assert min(shown.file_bytes.values()) == shown.file_bytes[shortest.lower()]


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
    before = {name: t.clone() for name, t in lab.nets["trained"].state_dict().items()}
    exercises.magnitude_mask.answer(_spoils_its_input)
    try:
        view(lab, 0.9, scope="local", source="mine")
        lab.fine_tune(values(scope="local", source="mine"), CALM, lambda done, total: None)
        after = {n: t.clone() for n, t in lab.nets["trained"].state_dict().items()}
    finally:
        lab.nets["trained"].load_state_dict(before)
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
    masks = pruning.global_masks(models.weights(lab.nets["trained"]), 0.9)
    for name, weight in models.weights(net).items():
        assert not weight[~masks[name]].any() and weight[masks[name]].all()
        assert dict(dense.named_parameters())[name].all()
    validation = lab.data.validation
    for accuracy, network in ((run.accuracy, net), (run.dense_accuracy, dense)):
        answers = predict(network, validation.images)
        assert accuracy == pytest.approx((answers == validation.labels).double().mean().item())
    assert (run.sparsity, run.scope, run.weights) == (0.9, "global", "trained")
    assert (run.reached, run.schedule, run.mine) == (0.9, "one-shot", False)
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
    start = models.weights(lab.nets["trained"])
    for name, weight in models.weights(trained[0][0]).items():
        assert not weight[pruning.magnitude_mask(start[name], 0.9)].any()
    (run,) = lab.runs
    assert run.mine and run.reached == pytest.approx(0.1)
    assert "(local, with your masks, trained weights" in prune.summarise(view(lab, 0.5))


def _prunes_twice_as_little(weight, sparsity):
    return pruning.magnitude_mask(weight, sparsity / 2)


def test_a_run_is_where_the_students_masks_brought_it(lab):
    exercises.magnitude_mask.answer(_prunes_twice_as_little)
    lab.fine_tune(values(scope="local", source="mine"), CALM, lambda done, total: None)
    assert lab.runs[0].reached == 0.45
    assert "at sparsity 0.45, not the 0.9 asked for" in prune.summarise(view(lab, 0.5))


# --- gradual -------------------------------------------------------------------------------


def number_pruned(net):
    return {name: int((w == 0).sum()) for name, w in models.weights(net).items()}


def expected_growth(scope, steps):
    """Zeros in the network after each step: none at first, then as Zhu and Gupta have it."""
    half = steps // 2
    every = max(half // 20, 1)
    end = half // every * every
    sizes = [266_200] if scope == "global" else [235_200, 30_000, 1_000]
    zeros = []
    for step in range(1, steps + 1):
        at = min(step // every * every, end)
        sparsity = 0.9 - 0.9 * (1 - at / end) ** 3
        zeros.append(sum(round(sparsity * n) for n in sizes))
    return zeros


@pytest.mark.parametrize("scope", ["global", "local"])
@pytest.mark.parametrize("epochs", [1, 5])
def test_gradual_grows_along_the_cubic_schedule(lab, monkeypatch, scope, epochs):
    trained, zeros = [], []
    monkeypatch.setattr(
        prune, "train", lambda net, *args, **kw: trained.append(net) or train(net, *args, **kw)
    )
    gradual = values(scope=scope, schedule="gradual", epochs=epochs)
    lab.fine_tune(
        gradual,
        CALM,
        lambda done, total: zeros.append(sum(number_pruned(trained[0]).values())),
    )
    (run,) = lab.runs
    assert zeros[: run.steps] == expected_growth(scope, run.steps)
    assert zeros[0] < zeros[run.steps // 4] < zeros[run.steps // 2] == zeros[-1] == 239_580
    assert (run.reached, run.schedule, run.stopped) == (0.9, "gradual", False)
    if scope == "local":
        assert list(number_pruned(trained[0]).values()) == [211_680, 27_000, 900]
    assert not any(number_pruned(trained[1]).values())
    assert f", gradual, at sparsity 0.9 ({scope}, trained" in prune.summarise(view(lab, 0.5))


@pytest.mark.parametrize("images", [1, 128, 300, 12_000])
@pytest.mark.parametrize("epochs", [1, 3, 20])
def test_gradual_meets_the_sparsity_exactly_however_many_steps_there_are(images, epochs):
    weight = torch.nn.Parameter(torch.randn(100_000))
    steps = epochs * -(-images // 128)
    optimizer, zeros = torch.optim.SGD([weight], lr=0.0), [0]
    with prune.grow_over_half([{"w": weight}], optimizer, 0.97, steps):
        for _ in range(steps):
            optimizer.step()
            zeros.append(int((weight == 0).sum()))
    growths = np.count_nonzero(np.diff(zeros))
    assert zeros[-1] == zeros[max(steps // 2, 1)] == 97_000
    assert max(min(steps // 2, 20), 1) <= growths < 40


def test_gradual_runs_share_the_control_of_one_shot_runs(lab, monkeypatch):
    trained = spy_on_training(monkeypatch)
    for schedule in ("one-shot", "gradual"):
        lab.fine_tune(values(schedule=schedule), CALM, lambda done, total: None)
    assert len(trained) == 3 and len({t.steps for _, t in trained}) == 1
    assert lab.runs[0].dense_accuracy == lab.runs[1].dense_accuracy


@pytest.mark.parametrize("step", [0, 2])
def test_a_gradual_run_that_was_stopped_is_at_the_sparsity_it_has(lab, monkeypatch, step):
    trained, stop = spy_on_training(monkeypatch), threading.Event()
    if step == 0:
        stop.set()
    lab.fine_tune(
        values(schedule="gradual"), stop, lambda done, total: stop.set() if done == step else None
    )
    (run,) = lab.runs
    zeros = sum(number_pruned(trained[0][0]).values())
    assert run.stopped and run.steps == step and run.reached == zeros / 266_200 < 0.9
    assert (zeros > 0) == (step > 0)
    words = prune.summarise(view(lab, 0.5))
    assert f"at sparsity {run.reached:.3g}, not the 0.9 asked for" in words


def test_gradual_is_the_librarys_alone(lab, monkeypatch):
    trained = spy_on_training(monkeypatch)
    exercises.global_masks.answer(pruning.global_masks)
    with pytest.raises(ExerciseError, match="choose one-shot to fine-tune with your masks"):
        lab.fine_tune(values(schedule="gradual", source="mine"), CALM, lambda done, total: None)
    assert trained == [] and lab.runs == []


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


@pytest.mark.parametrize("sparsity", [0, 0.9, 1])
def test_the_bars_stand_as_high_as_their_numbers_say(explorer, sparsity):
    explorer.controls["sparsity"].value = sparsity
    artists, shown = explorer._artists, explorer.result.file_bytes.values()
    top = artists["bytes"][0].axes.get_ylim()[1]
    for bar, text, length in zip(artists["bytes"], artists["byte_texts"], shown, strict=True):
        assert bar.get_height() == text.get_position()[1] == length / 1000 < 0.9 * top
        assert text.get_text() == f"{length / 1000:.0f}"
    assert [t.get_text() for t in artists["bytes"][0].axes.get_xticklabels()] == [
        "dense",
        "bitmap",
        "CSR",
        "relative",
    ]


def run(reached, schedule, stopped):
    return prune_figure.Run(
        sparsity=0.9,
        reached=reached,
        scope="global",
        weights="trained",
        schedule=schedule,
        mine=False,
        accuracy=0.5,
        dense_accuracy=0.9,
        steps=7,
        stopped=stopped,
    )


def test_each_kind_of_run_has_its_marker_where_it_got_to(explorer):
    runs = [run(0.9, "one-shot", False), run(0.8, "gradual", False)]
    runs += [run(0.7, "one-shot", True), run(0.6, "gradual", True)]
    shown = dataclasses.replace(explorer.result, runs=tuple(runs))
    prune.update(explorer._artists, shown)
    markers = [
        (line.get_xdata(), line.get_marker(), line.get_markerfacecolor() != "none")
        for line in explorer._artists["runs"]
    ]
    assert markers == [
        ([80], "s", True),
        ([90], "D", True),
        ([60], "s", False),
        ([70], "D", False),
    ]
    legend = explorer._artists["runs"][0].axes.get_legend()
    texts = [text.get_text() for text in legend.get_texts()]
    assert texts[-3:] == ["fine-tuned, gradual", "fine-tuned, one-shot", "stopped on the way"]


def test_gradual_with_mine_says_why_it_does_not_run(explorer):
    exercises.global_masks.answer(pruning.global_masks)
    explorer.controls["source"].value = "mine"
    explorer.controls["schedule"].value = "gradual"
    explorer.work.start_button.click()
    explorer.work.wait(60)
    assert explorer.work.status.value == "failed"
    assert "<pre role='alert'>gradual pruning grows" in explorer.work.message.value
    explorer.controls["source"].value = "reference"
    explorer.work.start_button.click()
    explorer.work.wait(60)
    assert explorer.work.status.value == "finished" and explorer.work.message.value == ""
    assert explorer.result.runs[-1].schedule == "gradual"


def test_runs_stay_with_the_weights_they_began_from(lab):
    lab.fine_tune(values(), CALM, lambda done, total: None)
    assert len(view(lab, 0.5, "trained").runs) == 1 and view(lab, 0.5, "initial").runs == ()


def test_the_second_time_everything_comes_from_the_cache(first_lab, digits, cache, monkeypatch):
    def not_again(*args, **kwargs):
        pytest.fail("made again")

    monkeypatch.setattr(baselines, "new_bar", not_again)
    monkeypatch.setattr(prepared, "new_bar", not_again)
    files = {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()}
    again = new_lab(digits)
    for key, answers in first_lab.answers.items():
        assert np.array_equal(again.answers[key], answers)
        assert np.array_equal(again.file_bytes[key], first_lab.file_bytes[key])
    assert {path: path.stat().st_mtime_ns for path in cache.rglob("*") if path.is_file()} == files

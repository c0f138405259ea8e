"""The explorer of chapter 02 on small data: what it shows is what the network does."""

import copy
import itertools
import threading

import numpy as np
import pytest
import torch

from shrink import pruning
from shrink.chapters import prune as exercises
from shrink.chapters.prune import lab as prune_lab
from shrink.chapters.prune import prepared
from shrink.chapters.prune.explorer import explore_pruning
from shrink.chapters.prune.figure import update
from shrink.chapters.prune.view import summarise
from shrink.classroom import formats, measure, models
from shrink.classroom.exercises.exercise import ExerciseError
from shrink.classroom.explorers import strip
from shrink.classroom.training import predict, train
from shrink.coding import sparse
from tests.chapters.prune.small import EXERCISES, SEEDS
from tests.chapters.small import move, run_through, run_until, share_right

pytestmark = pytest.mark.usefixtures("cache", "no_answers")
in_every_way = pytest.mark.parametrize(
    ("weights", "scope"), list(itertools.product(("trained", "initial"), ("global", "local")))
)
REAL_STOPS, REAL_CURVE = prune_lab.STOPS, prune_lab.CURVE


@pytest.fixture(scope="module")
def first_lab(digits, cache):
    return prune_lab.PruningLab(digits, {e.name: e for e in EXERCISES}, SEEDS)


@pytest.fixture
def lab(first_lab):
    """The lab with no runs yet."""
    first_lab.runs.clear()
    first_lab._dense_runs.clear()
    return first_lab


def values(**changed):
    given = {"sparsity": 0.9, "scope": "global", "weights": "trained", "source": "reference"}
    return given | {"schedule": "one-shot", "epochs": 1} | changed


def view(lab, sparsity, weights="trained", scope="global", source="reference"):
    return lab.view(**values(sparsity=sparsity, weights=weights, scope=scope, source=source))


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


@in_every_way
@pytest.mark.parametrize("sparsity", [0, 0.37, 0.92, 0.925, 1])
def test_at_the_stops_and_between_them_the_answers_are_the_networks(lab, weights, scope, sparsity):
    shown = view(lab, sparsity, weights, scope)
    net, validation = pruned_net(lab, sparsity, weights, scope), lab.data.validation
    assert shown.answers.tolist() == predict(net, validation.images).tolist()
    assert shown.accuracy == pytest.approx(share_right(net, validation))
    assert shown.sparsity == sparsity


@in_every_way
def test_the_curves_start_at_the_dense_accuracy_of_their_seed(lab, weights, scope):
    shown = view(lab, 0.5, weights, scope)
    networks = (prepared.network(lab.data, weights, seed) for seed in SEEDS)
    dense = [share_right(net, lab.data.validation) for net in networks]
    assert prune_lab.CURVE[0] == 0 and prune_lab.CURVE[-1] == 1
    assert shown.curve.shape == (len(SEEDS), len(prune_lab.CURVE))
    assert shown.curve[:, 0] == pytest.approx(dense)
    assert shown.dense_accuracy == pytest.approx(dense[0])
    other = "local" if scope == "global" else "global"
    assert shown.other_curve == pytest.approx(view(lab, 0.5, weights, other).curve.mean(0))


def test_the_curve_is_what_the_slider_shows(lab):
    curve = view(lab, 0).curve[0]
    shown = [view(lab, sparsity).accuracy for sparsity in prune_lab.CURVE]
    assert curve == pytest.approx(shown)


@in_every_way
@pytest.mark.parametrize("sparsity", [0, 0.37, 0.925, 1])
def test_what_the_layers_keep_adds_up(lab, weights, scope, sparsity):
    shown = view(lab, sparsity, weights, scope)
    sizes = {name: w.numel() for name, w in models.weights(lab.nets[weights]).items()}
    kept = {name: round(shown.kept[name] * n) for name, n in sizes.items()}
    if scope == "local":
        assert kept == {name: n - round(sparsity * n) for name, n in sizes.items()}
    assert sum(kept.values()) == pytest.approx(266_200 - round(sparsity * 266_200), abs=1)
    assert shown.counts.sum(1).tolist() == [266_200, sum(kept.values())]


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
    assert np.array_equal(shown.strip.picture[:28, 6:34], lab.images[first])
    assert len(shown.strip.captions) == min(len(expected), strip.SHOWN)
    assert view(lab, 0).casualties.size == 0 and not view(lab, 0).strip.picture.any()


@pytest.mark.parametrize("weights", ["trained", "initial"])
def test_casualties_are_counted_beside_those_of_a_network_of_another_seed(lab, weights):
    networks = (prepared.network(lab.data, weights, seed) for seed in SEEDS)
    validation = lab.data.validation
    first, other = (predict(net, validation.images) == validation.labels for net in networks)
    for sparsity in (0, 0.97):
        assert view(lab, sparsity, weights).other_casualties == (first & ~other).sum().item()


@in_every_way
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


def test_one_ranking_empties_a_layer_at_initialisation_and_none_after_training(lab):
    assert view(lab, 0.96, "initial", "global").kept["fc1.weight"] == 0
    assert all(view(lab, 0.93, "initial", "global").kept.values())
    assert all(view(lab, 0.96, "trained", "global").kept.values())
    assert all(view(lab, 0.96, "initial", "local").kept.values())
    words = summarise(view(lab, 0.96, "initial", "global"))
    assert "Nothing is left of fc1.weight" in words
    assert "Nothing is left" not in summarise(view(lab, 0.96))


def test_the_words_hold_the_numbers(lab):
    shown = view(lab, 0.9)
    words = summarise(shown)
    assert "Sparsity 0.9" in words and f"{100 * shown.accuracy:.2f} %" in words
    assert f"dense {100 * shown.dense_accuracy:.2f} %" in words
    assert f"{len(shown.casualties)} that were right" in words
    for name, length in shown.file_bytes.items():
        assert f"{'CSR' if name == 'csr' else name} {length:,}" in words


@pytest.mark.parametrize(
    ("sparsity", "shortest"), [(0, "dense"), (0.5, "bitmap"), (0.97, "CSR"), (1, "relative")]
)
def test_the_words_name_the_shortest_format(lab, sparsity, shortest):
    assert f"the shortest is {shortest}." in summarise(view(lab, sparsity))


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
    opposite = view(lab, 0.9, scope="local")
    assert mine.file_bytes["bitmap"] == opposite.file_bytes["bitmap"]
    assert view(lab, 0.1, scope="local").accuracy == reference.accuracy


def _spoils_its_input(weight, sparsity):
    mask = pruning.magnitude_mask(weight, sparsity)
    weight.data[~mask] = 0
    return mask


def test_mine_cannot_spoil_the_network_for_the_reference(lab):
    before = copy.deepcopy(lab.nets["trained"].state_dict())
    exercises.magnitude_mask.answer(_spoils_its_input)
    view(lab, 0.9, scope="local", source="mine")
    run_through(lab.fine_tune, values(scope="local", source="mine"))
    after = lab.nets["trained"].state_dict()
    assert all(t.equal(before[name]) for name, t in after.items())


@pytest.mark.parametrize(
    "wrong",
    [
        lambda masks: None,
        lambda masks: {},
        lambda masks: list(masks.values()),
        lambda masks: {name: mask.float() for name, mask in masks.items()},
        lambda masks: {"fc1.weight": masks["fc1.weight"]},
    ],
    ids=["None", "no masks", "a list", "no bool", "one layer only"],
)
def test_what_mine_gives_wrongly_is_said_in_terms_of_masks(lab, wrong):
    exercises.global_masks.answer(lambda *given: wrong(pruning.global_masks(*given)))
    with pytest.raises((TypeError, ValueError, ExerciseError), match="mask"):
        view(lab, 0.5, source="mine")


# --- fine-tuning ---------------------------------------------------------------------------


@pytest.fixture
def trained(monkeypatch):
    """The networks that were trained, in their order."""
    networks = []

    def spy(net, *args, **kwargs):
        networks.append(net)
        return train(net, *args, **kwargs)

    monkeypatch.setattr(prune_lab, "train", spy)
    return networks


def test_fine_tuning_holds_the_masks_and_has_its_control(lab, trained):
    told = run_through(lab.fine_tune, values())
    net, dense = trained
    (run,) = lab.runs
    masks = pruning.global_masks(models.weights(lab.nets["trained"]), 0.9)
    for name, weight in models.weights(net).items():
        assert not weight[~masks[name]].any() and weight[masks[name]].all()
        assert dict(dense.named_parameters())[name].all()
    assert run.accuracy == pytest.approx(share_right(net, lab.data.validation))
    assert run.dense_accuracy == pytest.approx(share_right(dense, lab.data.validation))
    assert (run.sparsity, run.scope, run.weights) == (0.9, "global", "trained")
    assert (run.reached, run.schedule, run.mine, run.stopped) == (0.9, "one-shot", False, False)
    assert told == [(step, 2 * run.steps) for step in range(1, 2 * run.steps + 1)]


def test_fine_tuning_keeps_every_run_and_trains_the_control_once(lab, trained):
    for sparsity, schedule in ((0.9, "one-shot"), (0.95, "gradual")):
        run_through(lab.fine_tune, values(sparsity=sparsity, schedule=schedule))
    first, second = lab.runs
    assert len(trained) == 3 and (first.sparsity, second.sparsity) == (0.9, 0.95)
    assert first.dense_accuracy == second.dense_accuracy and first.steps == second.steps
    shown = view(lab, 0.5)
    assert shown.runs == (first, second) and view(lab, 0.5, "initial").runs == ()
    assert f"{100 * second.accuracy:.2f} %</b>; the dense" in summarise(shown)


@pytest.mark.parametrize("schedule", ["one-shot", "gradual"])
@pytest.mark.parametrize("step", [0, 2])
def test_a_stopped_run_is_kept_at_the_sparsity_it_has(lab, trained, schedule, step):
    run_until(lab.fine_tune, values(schedule=schedule), step)
    (run,) = lab.runs
    zeros = sum(number_pruned(trained[0]).values())
    assert run.stopped and run.steps == step and np.isnan(run.dense_accuracy)
    assert run.reached == zeros / 266_200
    assert (run.reached < 0.9) == (schedule == "gradual")
    assert (zeros > 0) == (step > 0 or schedule == "one-shot")
    words = summarise(view(lab, 0.5))
    assert f"{step} steps, stopped)" in words and "was not trained on for comparison" in words
    behind = f"at sparsity {run.reached:.3g}, not the 0.9 asked for"
    assert (behind in words) == (schedule == "gradual")


def test_a_control_that_was_stopped_is_no_control(lab):
    stop = threading.Event()
    lab.fine_tune(values(), stop, lambda done, total: stop.set() if done > total / 2 else None)
    (run,) = lab.runs
    assert not run.stopped and np.isnan(run.dense_accuracy)


def test_fine_tuning_uses_the_students_masks(lab, trained):
    exercises.magnitude_mask.answer(_keeps_the_smallest)
    run_through(lab.fine_tune, values(scope="local", source="mine"))
    start = models.weights(lab.nets["trained"])
    for name, weight in models.weights(trained[0]).items():
        assert not weight[pruning.magnitude_mask(start[name], 0.9)].any()
    (run,) = lab.runs
    assert run.mine and run.reached == pytest.approx(0.1)
    words = summarise(view(lab, 0.5))
    assert "at sparsity 0.1, not the 0.9 asked for (local, with your masks, trained w" in words


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
def test_gradual_grows_along_the_cubic_schedule(lab, trained, scope, epochs):
    zeros = []

    def count(done, total):
        zeros.append(sum(number_pruned(trained[0]).values()))

    gradual = values(scope=scope, schedule="gradual", epochs=epochs)
    lab.fine_tune(gradual, threading.Event(), count)
    (run,) = lab.runs
    assert zeros[: run.steps] == expected_growth(scope, run.steps)
    assert zeros[0] < zeros[run.steps // 4] < zeros[run.steps // 2] == zeros[-1] == 239_580
    assert (run.reached, run.schedule, run.stopped) == (0.9, "gradual", False)
    if scope == "local":
        assert list(number_pruned(trained[0]).values()) == [211_680, 27_000, 900]
    assert not any(number_pruned(trained[1]).values())
    assert f", gradual, at sparsity 0.9 ({scope}, trained" in summarise(view(lab, 0.5))


@pytest.mark.parametrize("images", [1, 128, 300, 12_000])
@pytest.mark.parametrize("epochs", [1, 3, 20])
def test_gradual_meets_the_sparsity_exactly_however_many_steps_there_are(images, epochs):
    weight = torch.nn.Parameter(torch.randn(100_000))
    steps = epochs * -(-images // 128)
    optimizer, zeros = torch.optim.SGD([weight], lr=0.0), [0]
    with prune_lab.grow_over_half([{"w": weight}], optimizer, 0.97, steps):
        for _ in range(steps):
            optimizer.step()
            zeros.append(int((weight == 0).sum()))
    growths = np.count_nonzero(np.diff(zeros))
    assert zeros[-1] == zeros[max(steps // 2, 1)] == 97_000
    assert max(min(steps // 2, 20), 1) <= growths < 40


def test_gradual_is_the_librarys_alone(lab, trained):
    exercises.global_masks.answer(pruning.global_masks)
    with pytest.raises(ExerciseError, match="choose one-shot to fine-tune with your masks"):
        run_through(lab.fine_tune, values(schedule="gradual", source="mine"))
    assert trained == [] and lab.runs == []


# --- the picture ---------------------------------------------------------------------------


@pytest.fixture
def explorer(lab, digits):
    return explore_pruning(digits, seeds=SEEDS)


def in_the_legend(explorer):
    rows = explorer._picture._artists["accuracy"]["legend"].items()
    return [name for name, (_, words) in rows if words.get_visible()]


def test_each_kind_of_run_has_its_marker_where_it_got_to_and_its_name(lab, explorer):
    always = ["pruned", "the other ranking", "dense"]
    assert in_the_legend(explorer) == always
    for schedule in ("gradual", "one-shot"):
        run_through(lab.fine_tune, values(schedule=schedule))
        update(explorer._picture._artists, view(lab, 0.5))
        assert (f"fine-tuned, {schedule}") in in_the_legend(explorer)
        run_until(lab.fine_tune, values(schedule=schedule), 2)
    update(explorer._picture._artists, view(lab, 0.5))
    runs = explorer._picture._artists["accuracy"]["runs"]
    assert {kind: line.get_xdata() for kind, line in runs.items()} == {
        (run.schedule, run.stopped): [100 * run.reached] for run in lab.runs
    }
    assert in_the_legend(explorer) == [
        *always,
        "dense, as many more steps",
        "fine-tuned, gradual",
        "fine-tuned, one-shot",
        "stopped on the way",
    ]


def test_a_run_without_a_control_has_no_line_for_it(lab, explorer):
    run_until(lab.fine_tune, values(), 2)
    update(explorer._picture._artists, view(lab, 0.5))
    assert in_the_legend(explorer)[3:] == ["stopped on the way"]


def test_the_artists_are_where_the_view_says(explorer):
    shown, artists = move(explorer, sparsity=0.9), explorer._picture._artists
    marker = artists["accuracy"]["marker"].get_xydata().tolist()
    assert marker == [[90, 100 * shown.accuracy]]
    assert artists["histogram"]["title"].get_text() == "26,620 of 266,200 weights kept"
    assert [dot.get_xdata() for dot in artists["layers"]["dots"]] == [
        [kept] for kept in shown.kept.values()
    ]
    lengths = [bar.get_width() for bar in artists["bytes"]["bars"]]
    assert lengths == [length / 1000 for length in shown.file_bytes.values()]
    title = artists["casualties_title"].get_text()
    assert f"wrong now: {len(shown.casualties)}\n" in title
    assert f"another seed, not pruned: {shown.other_casualties}" in title
    for words in (f"at 0.9 {100 * shown.accuracy:.2f} %", "26,620 of 266,200", "fc3 "):
        assert words in explorer.alt


def test_a_layer_of_which_nothing_is_left_is_said_to_be_empty(explorer):
    move(explorer, weights="initial", sparsity=0.96)
    said = [words.get_text() for words in explorer._picture._artists["layers"]["words"]]
    assert said[0] == "empty" and all(words.endswith(" %") for words in said[1:])

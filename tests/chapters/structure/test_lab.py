"""The explorer of chapter 07 on small data: what it shows is what the cut network does."""

import copy
import dataclasses
import itertools
import threading

import numpy as np
import pytest
import torch
from torch.nn.utils import prune

from shrink.chapters.structure import figure, lab, map_figure, prepared, times, view, ways
from shrink.chapters.structure.cuts import GRANULARITIES, REMOVALS, SCORES, Setting, settings
from shrink.chapters.structure.filters import filters_to_keep
from shrink.classroom import measure, models
from shrink.classroom.baselines import baseline
from shrink.classroom.data import Split
from shrink.classroom.exercises.exercise import ExerciseError
from shrink.classroom.training import train
from tests.chapters.small import run_through, run_until, share_right
from tests.chapters.structure.small import EXPLORERS, SEEDS

pytestmark = pytest.mark.usefixtures("cache", "no_answers")
REAL_STOPS, REAL_CURVE = view.STOPS, view.CURVE
CONVOLUTIONS = ("conv1", "conv2", "down", "conv3", "conv4")
# By hand: the norm behind each convolution, who reads its channels, and which convolutions share.
NORMS = {f"{name}": f"norm{i}" for i, name in enumerate(("stem", *CONVOLUTIONS))}
READERS = {"stem": ("conv1",), "conv1": ("conv2",), "conv2": ("down",), "down": ("conv3",)}
READERS |= {"conv3": ("conv4",), "conv4": ("fc",)}
SHARED = (("stem", "conv2"), ("conv1",), ("down", "conv4"), ("conv3",))


@pytest.fixture(scope="module")
def first_lab(digits, cache):
    return lab.StructureLab(digits, filters_to_keep, SEEDS)


@pytest.fixture
def a_lab(first_lab):
    """The lab with no runs and no times yet."""
    first_lab.runs.clear()
    first_lab.times = None
    return first_lab


def values(**changed):
    given = {"kept": 8, "granularity": "filter", "removal": "linked", "score": "L1"}
    return given | {"norms": "as they were", "source": "reference"} | changed


def shown(a_lab, **changed):
    return a_lab.view(**values(**changed))


def net_of(digits, seed=0):
    return baseline(ways.NAME, digits, seed=seed)


def right(net, digits, anew=False):
    """The accuracy, by hand: with `anew` the norms average over batches of 128."""
    if anew:
        net = copy.deepcopy(net).train()
        for norm in NORMS.values():
            net.get_submodule(norm).momentum = None
            net.get_submodule(norm).reset_running_stats()
        with torch.no_grad():
            for batch in digits.train.images[: prepared.STATISTICS].split(128):
                net(batch)
        net.eval()
    asked = digits.validation
    return share_right(net, Split(asked.images[: prepared.IMAGES], asked.labels[: prepared.IMAGES]))


def strongest(net, layers, count):
    norms = sum(net.get_submodule(name).weight.detach().abs().sum((1, 2, 3)) for name in layers)
    return norms.topk(count).indices.sort().values


def zeroed(net, names, kept, norms=True):
    """A copy in which these convolutions, and their norms, are zero but for the kept channels."""
    net = copy.deepcopy(net)
    for name in names:
        gone = torch.ones(len(net.get_submodule(name).weight), dtype=bool)
        gone[kept] = False
        parts = [net.get_submodule(name).weight.data]
        norm = net.get_submodule(NORMS[name])
        parts += [norm.weight.data, norm.bias.data] if norms else []
        for tensor in parts:
            tensor[gone] = 0
    return net


def linked_by_hand(net, share=0.5, norms=True):
    """Every group halved in the whole network, by zeros."""
    for layers in SHARED:
        count = round(share * len(net.get_submodule(layers[0]).weight))
        net = zeroed(net, layers, strongest(net, layers, count), norms)
    return net


def own_by_hand(net):
    """The small network in which each convolution keeps its own half, copied entry by entry."""
    kept = {
        name: strongest(net, (name,), len(net.get_submodule(name).weight) // 2) for name in NORMS
    }
    small = models.build(ways.NAME, 0, hidden=(8, 8, 16, 16)).eval()
    before = None
    for name, units in kept.items():
        weight = net.get_submodule(name).weight.detach()[units]
        weight = weight if before is None else weight[:, before]
        small.get_submodule(name).weight.data = weight.clone()
        for what in ("weight", "bias", "running_mean", "running_var"):
            tensor = getattr(net.get_submodule(NORMS[name]), what).detach()[units].clone()
            getattr(small.get_submodule(NORMS[name]), what).data = tensor
        before = units
    columns = [9 * unit + place for unit in before.tolist() for place in range(9)]
    small.fc.weight.data = net.fc.weight.detach()[:, columns].clone()
    small.fc.bias.data = net.fc.bias.detach().clone()
    return small


def test_the_slider_has_sixteenths_and_the_band_stands_on_its_stops():
    assert (16 * REAL_STOPS).tolist() == list(range(1, 17))
    assert np.isin(REAL_CURVE, REAL_STOPS).all() and 0.5 in REAL_CURVE


@pytest.mark.parametrize("norms", ["as they were", "anew"])
def test_the_linked_network_answers_as_the_one_masked_by_hand(a_lab, digits, norms):
    found = shown(a_lab, norms=norms)
    net = linked_by_hand(net_of(digits))
    if norms == "as they were":
        assert found.accuracy == right(net, digits)
    small = a_lab.cut(found.setting, 0.5, False).net
    assert found.accuracy == right(small, digits, norms == "anew")
    assert found.difference < 1e-4
    images = digits.validation.images[:50]
    with torch.no_grad():
        assert torch.allclose(small(images), net(images), atol=1e-4)


def test_each_its_own_is_what_layers_give_that_were_cut_one_by_one(a_lab, digits):
    found = shown(a_lab, removal="each its own")
    by_hand, images = own_by_hand(net_of(digits)), digits.validation.images[:50]
    with torch.no_grad():
        ours = a_lab.cut(found.setting, 0.5, False).net(images)
        assert torch.allclose(ours, by_hand(images), atol=1e-4)
    assert found.accuracy == right(by_hand, digits)
    assert found.difference > 0.1 and view.strangers(found) > 0
    assert view.strangers(shown(a_lab)) == 0


def test_zeros_only_leaves_norms_and_readers(a_lab, digits):
    found = shown(a_lab, removal="zeros only")
    net = linked_by_hand(net_of(digits), norms=False)
    assert found.accuracy == right(net, digits)
    assert found.difference > 0.1
    with torch.no_grad():
        images = digits.validation.images[: min(lab.COMPARED, prepared.IMAGES)]
        off = (net(images) - linked_by_hand(net_of(digits))(images)).abs().max().item()
    assert found.difference == pytest.approx(off, rel=1e-3)


@pytest.mark.parametrize("granularity", ["weight", "vector", "kernel", "group", "2:4"])
def test_a_mask_is_on_the_convolutions_behind_the_stem(a_lab, digits, granularity):
    net = net_of(digits)
    found = shown(a_lab, granularity=granularity)
    for name in CONVOLUTIONS:
        weight, mask = net.get_submodule(name).weight, found.masks[name]
        assert mask.mean() == 0.5
        if granularity == "weight":
            layer = copy.deepcopy(net.get_submodule(name))
            prune.l1_unstructured(layer, "weight", 0.5)
            assert np.array_equal(mask, layer.weight_mask.numpy() > 0)
        weight.data *= torch.from_numpy(mask)
    assert found.masks["stem"].all() and found.masks["fc"].all()
    assert found.accuracy == right(net, digits) and found.difference is None


def test_the_patterns_are_what_they_are_called(a_lab):
    axes = {"vector": (3,), "kernel": (2, 3), "group": (0,)}
    for granularity, along in axes.items():
        for name in CONVOLUTIONS:
            mask = shown(a_lab, granularity=granularity).masks[name]
            assert np.array_equal(mask.all(along), mask.any(along)), (granularity, name)
    for name in CONVOLUTIONS:
        mask = shown(a_lab, granularity="2:4").masks[name]
        out, into = mask.shape[:2]
        assert (mask.reshape(out, into // 4, 4, 9).sum(2) == 2).all()


def test_2_of_4_has_one_share(a_lab):
    for kept in (1, 16):
        assert shown(a_lab, granularity="2:4", kept=kept).share == 0.5


def test_the_band_is_the_seeds(a_lab, digits):
    found = shown(a_lab)
    place = np.flatnonzero(view.CURVE == 0.5)[0]
    other = right(linked_by_hand(net_of(digits, seed=1)), digits)
    both = sorted([found.accuracy, other])
    assert found.band[:, place].tolist() == both
    assert found.curve[np.isin(view.STOPS, view.CURVE)][place] == found.accuracy


def test_the_other_curve_is_that_of_the_other_norms(a_lab):
    now, anew = shown(a_lab), shown(a_lab, norms="anew")
    assert np.array_equal(now.curve, anew.other_curve)
    assert np.array_equal(now.other_curve, anew.curve)


def test_every_setting_is_swept_over(a_lab):
    every = {Setting(g) for g in GRANULARITIES if g != "filter"}
    every |= {Setting("filter", *both) for both in itertools.product(REMOVALS, SCORES)}
    assert set(settings()) == every
    assert set(a_lab.curves) == {(one, anew) for one in every for anew in (False, True)}


@pytest.mark.parametrize("removal", REMOVALS)
def test_what_is_left_is_counted(a_lab, removal, tmp_path):
    found = shown(a_lab, removal=removal)
    net = a_lab.cut(found.setting, found.share, False).net
    size = measure.write(tmp_path / "file", net.state_dict())
    assert found.bytes[0] == size and found.bytes[1] == measure.size(a_lab.subject.net.state_dict())
    half, whole = (
        14 * 14 * (9 * (a + 2 * a * a) + 3 * a) + 7 * 7 * (9 * (a * b + 2 * b * b) + 3 * b) + 90 * b
        for a, b in ((8, 16), (16, 32))
    )
    assert found.macs == (whole if removal == "zeros only" else half, whole)


def test_the_small_network_from_scratch_stands_beside(a_lab, digits):
    expected = tuple(right(ways.finished("from scratch", digits, seed), digits) for seed in SEEDS)
    assert shown(a_lab).scratch == expected
    assert shown(a_lab, removal="zeros only").scratch == ()
    assert shown(a_lab, granularity="kernel").scratch == ()


def test_the_network_stays_as_it_is(a_lab, digits):
    filters_to_keep.answer(lambda weight, count: weight.zero_()[:, 0, 0, 0].topk(count).indices)
    shown(a_lab, source="mine")
    run_through(a_lab.work, values(task="fine-tune", granularity="weight"))
    state = net_of(digits).state_dict()
    for name, tensor in a_lab.subject.net.state_dict().items():
        assert tensor.equal(state[name]), name


def test_what_has_no_effect_is_hidden():
    def hidden(**changed):
        return lab.without_effect(values(**changed))

    assert hidden() == set() and hidden(source="mine") == {"score"}
    assert hidden(granularity="kernel", source="mine") == {"score", "removal", "source"}
    assert hidden(granularity="2:4") == {"score", "removal", "source", "kept"}


# --- mine ----------------------------------------------------------------------------------


@pytest.mark.parametrize("removal", REMOVALS)
def test_a_right_choice_of_mine_changes_nothing(a_lab, removal):
    filters_to_keep.answer(lambda w, count: w.abs().sum((1, 2, 3)).topk(count).indices.sort()[0])
    mine = shown(a_lab, removal=removal, source="mine", score="random")
    reference = shown(a_lab, removal=removal)
    assert mine.mine and "chosen by your function" in view.summarise(mine)
    assert mine.accuracy == reference.accuracy and mine.setting == reference.setting
    for name, mask in reference.masks.items():
        assert np.array_equal(mask, mine.masks[name])


def test_mine_shows_what_the_students_bug_does(a_lab):
    filters_to_keep.answer(lambda w, count: torch.arange(count))
    mine = shown(a_lab, source="mine")
    assert mine.outputs["conv1"].nonzero()[0].tolist() == list(range(8))
    assert mine.difference < 1e-4  # a bad choice, and right surgery


@pytest.mark.parametrize(
    "answer",
    [
        lambda w, count: torch.arange(count + 1),
        lambda w, count: torch.zeros(count, dtype=torch.int64),
        lambda w, count: torch.arange(count) - 1,
        lambda w, count: torch.arange(count) + len(w) - count + 1,
        lambda w, count: torch.arange(count).float(),
        lambda w, count: torch.ones(count, dtype=bool),
        lambda w, count: None,
    ],
)
def test_what_is_no_choice_is_told(a_lab, answer):
    filters_to_keep.answer(answer)
    with pytest.raises(ExerciseError, match="filters_to_keep gives 8 different numbers"):
        shown(a_lab, source="mine")


# --- what the button does ------------------------------------------------------------------


def spied(monkeypatch):
    trained = []

    def spy(net, split, recipe, **options):
        done = train(net, split, recipe, **options)
        trained.append((net, recipe, done))
        return done

    monkeypatch.setattr(lab, "train", spy)
    return trained


@pytest.mark.parametrize(
    "changed", [{}, {"removal": "each its own"}, {"removal": "zeros only"}, {"granularity": "2:4"}]
)
def test_fine_tuning_trains_what_stays(a_lab, digits, monkeypatch, changed):
    trained = spied(monkeypatch)
    calls = run_through(a_lab.work, values(task="fine-tune", **changed))
    ((net, recipe, done),), (run,) = trained, a_lab.runs
    assert recipe == ways.recipe("linked", digits)
    assert calls == [(step, done.planned) for step in range(1, done.planned + 1)]
    found = shown(a_lab, **changed)
    start = a_lab.cut(found.setting, found.share, False).net
    for (name, one), other in zip(start.named_parameters(), net.parameters(), strict=True):
        assert one.shape == other.shape and not torch.equal(one, other), name
    if not found.setting.removes_channels:
        for name, mask in found.masks.items():
            weight = net.get_submodule(name).weight.detach().reshape(mask.shape).numpy()
            assert not weight[~mask].any() and weight[mask].all(), name
    assert run.before == found.accuracy and run.accuracy == right(net, digits)
    assert found.runs == (run,) and not run.stopped


def test_it_begins_with_new_statistics_where_they_are_on_show(a_lab):
    run_until(a_lab.work, values(task="fine-tune", norms="anew"), 0)
    (run,) = a_lab.runs
    assert run.anew and run.before == shown(a_lab, norms="anew").accuracy


@pytest.mark.parametrize("step", [0, 3])
def test_a_stopped_run_is_kept_and_marked(a_lab, step):
    run_until(a_lab.work, values(task="fine-tune"), step)
    (run,) = a_lab.runs
    assert run.stopped and run.steps == step
    assert f"{step} steps, stopped" in view.summarise(shown(a_lab))
    assert shown(a_lab, granularity="vector").runs == ()


class _Clock:
    """Latencies that say what was timed: a layer takes its channels, a network its batch."""

    conditions = "nothing"

    def __init__(self, net, images):
        single = isinstance(net, torch.nn.Conv2d)
        width = net.out_channels if single else net.stem.out_channels
        self.median = width * (1 if single else len(images))


def test_times_are_those_of_the_widths_and_of_both_networks(a_lab, monkeypatch):
    asked = []

    def clock(net, images, warm_up, runs):
        asked.append(net)
        return _Clock(net, images)

    monkeypatch.setattr(times, "latency", clock)
    run_through(a_lab.work, values(task="measure times", kept=4))
    found = shown(a_lab, kept=4)
    assert found.times.convolution == {k: k for k in view.WIDTHS}
    assert found.times.whole == {1: 16, 64: 16 * 64} and found.times.small == {1: 4, 64: 4 * 64}
    assert len(asked) == (times.ROUNDS + 1) * (len(view.WIDTHS) + 4)
    words = view.summarise(found)
    assert "of its time <b>25 % for 1 image, 25 % for 64 images</b> (nothing)" in words
    for changed in ({"kept": 8}, {"kept": 4, "granularity": "kernel"}):
        other = shown(a_lab, **changed)
        assert other.times is not None and other.times_here is None
        assert "of its time" not in view.summarise(other)


def test_stopped_on_the_way_the_times_are_those_of_before(a_lab):
    assert run_until(a_lab.work, values(task="measure times"), 5) is None
    assert a_lab.times is None and a_lab.runs == []


def test_real_times_are_seconds(a_lab):
    drawn = torch.get_rng_state()
    a_lab.work(values(task="measure times"), threading.Event(), lambda *_: None)
    assert torch.equal(torch.get_rng_state(), drawn)  # the student's cells draw what they drew
    found = a_lab.times
    every = [*found.convolution.values(), *found.whole.values(), *found.small.values()]
    assert all(0 < second < 5 for second in every) and "thread" in found.conditions


# --- the picture ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explorer(first_lab, digits):
    return EXPLORERS[0].make(digits)


@pytest.mark.parametrize("changed", [{"removal": "each its own"}, {"granularity": "weight"}])
def test_the_map_has_a_pixel_for_each_weight(a_lab, changed):
    found = shown(a_lab, **changed)
    pixels, where = map_figure.paint(found), map_figure.places(found.masks)
    for name, place in where.items():
        mask = found.masks[name]
        block = pixels[map_figure.TOP :][: place.height, place.left :][:, : place.width]
        light = (block[..., 0] > 100).reshape(mask.shape[0], mask.shape[2], -1, mask.shape[3])
        assert np.array_equal(light.transpose(0, 2, 1, 3), mask), name
    lefts = [place.left for place in where.values()]
    assert lefts == sorted(lefts) and where["fc"].left + where["fc"].width < map_figure.WIDE
    assert pixels.shape == (map_figure.HIGH, map_figure.WIDE, 4)


def test_the_marks_are_the_channels(a_lab):
    found = shown(a_lab)
    for layers in SHARED:
        for name in layers:
            assert np.array_equal(found.outputs[name], found.outputs[layers[0]])
            for reader in READERS[name]:
                assert np.array_equal(found.inputs[reader], found.outputs[name])
    assert found.outputs["stem"].sum() == 8 and found.outputs["fc"].all()
    zeros = shown(a_lab, removal="zeros only")
    assert all(made.all() for made in [*zeros.outputs.values(), *zeros.inputs.values()])


def test_the_lines_of_the_shortcuts_join_what_is_added(explorer, controls):
    bundle = explorer._picture._artists["map"]["bundles"]["conv2"]
    for removal, slanted in (("linked", False), ("each its own", True)):
        controls["removal"].value = removal
        segments = np.array(bundle.get_segments())
        heights = (segments[:, :, 1] - map_figure.TOP) / 3 - 0.5
        shortcut, branch = view.pairs(explorer.result, "conv2", "stem")
        assert heights[:, 0].tolist() == branch.tolist()
        assert heights[:, 1].tolist() == shortcut.tolist()
        assert (heights[:, 0] != heights[:, 1]).any() == slanted
    assert len(segments) == 8


def test_the_artists_are_where_the_view_says(explorer, controls):
    controls["norms"].value = "anew"
    found, artists = explorer.result, explorer._picture._artists
    accuracy = artists["accuracy"]
    assert accuracy["marker"].get_xydata().tolist() == [[50, 100 * found.accuracy]]
    assert accuracy["lines"]["on show"].get_ydata() == pytest.approx(100 * found.curve)
    assert accuracy["dense"].get_ydata() == [100 * found.dense_accuracy] * 2
    assert sorted(accuracy["scratch"].get_ydata()) == sorted(100 * s for s in found.scratch)
    assert "the same network" in artists["title"].get_text()
    assert "MACs 26 %" in artists["costs"].get_text()
    controls["removal"].value = "each its own"
    assert "another network" in artists["title"].get_text()
    controls["granularity"].value = "2:4"
    assert "masked weights" in artists["title"].get_text()
    assert accuracy["marker"].get_xdata() == [50] and len(accuracy["scratch"].get_xdata()) == 0


def test_runs_and_times_have_their_markers(explorer):
    found = explorer.result
    run = view.Run(Setting("filter"), 0.5, False, False, 0.2, 0.9, steps=7, stopped=False)
    runs = (
        run,
        dataclasses.replace(run, setting=Setting("filter", "each its own"), accuracy=0.8),
        dataclasses.replace(run, share=0.25, stopped=True),
    )
    measured = view.Times({k: k / 64 for k in view.WIDTHS}, {1: 4}, {1: 3}, 0.5, "here")
    figure.update(explorer._picture._artists, dataclasses.replace(found, runs=runs, times=measured))
    lines = explorer._picture._artists["accuracy"]["runs"]
    assert lines["fine-tuned"].get_xydata().tolist() == [[50, 90]]
    assert lines["tuned, each its own"].get_xydata().tolist() == [[50, 80]]
    assert lines["stopped on the way"].get_xydata().tolist() == [[25, 90]]
    points = explorer._picture._artists["time"]["found"].get_xydata()
    assert points[:, 0].tolist() == list(view.WIDTHS)
    assert points[:, 1] == pytest.approx(100 * points[:, 0] / 64)
    assert "time, 1 image 75 %" in explorer._picture._artists["costs"].get_text()


def test_the_words_hold_the_numbers(a_lab):
    found = shown(a_lab)
    words = view.summarise(found)
    for text in (
        "<b>50 % of the filters, linked</b>, by L1",
        f"<b>{100 * found.accuracy:.1f} %</b> right of {prepared.IMAGES} validation images",
        f"the whole network {100 * found.dense_accuracy:.1f} %",
        "<b>the same network</b>, only smaller",
        f"{found.macs[0]:,} multiply-accumulates per image, 26 % of {found.macs[1]:,}",
        f"{found.bytes[0]:,} bytes, not {found.bytes[1]:,}",
    ):
        assert text in words
    mask = view.summarise(shown(a_lab, granularity="vector"))
    assert "no surgery" in mask and f"{found.bytes[1]:,} bytes, as before" in mask
    assert "norms turn a zero into a constant" in view.summarise(shown(a_lab, removal="zeros only"))

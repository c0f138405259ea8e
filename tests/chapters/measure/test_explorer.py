"""The explorer of chapter 01: estimates equal the library's, measurements stay measurements."""

import itertools
import threading
import warnings

import numpy as np
import pytest
import torch

from shrink import cost
from shrink.chapters.measure import figure as measure_figure
from shrink.chapters.measure import lab as measure_lab
from shrink.chapters.measure.drawings import roofline, spread
from shrink.chapters.measure.explorer import explore_costs
from shrink.chapters.measure.lab import NETWORKS, STEPS, MeasureLab
from shrink.chapters.measure.view import BATCHES, MEMORIES, number, summarise
from shrink.classroom import models, plots
from shrink.classroom.exercises.exercise import ExerciseError
from shrink.cost import Energy
from tests.chapters.measure.small import EXERCISES, ROOFS, Machine
from tests.chapters.small import move

pytestmark = pytest.mark.usefixtures("no_answers")
(exercise,) = EXERCISES
CALM = threading.Event()  # never set
EXTREMES = list(itertools.product((8, 64, 4096), (1, 3, 256), (32, 8, 1), NETWORKS))


@pytest.fixture
def machine(monkeypatch):
    machine = Machine()
    machine.stand_in(monkeypatch)
    return machine


@pytest.fixture
def lab(machine):
    return MeasureLab(exercise, torch.device("cpu"))


@pytest.fixture
def explorer(machine):
    it = explore_costs(exercise, device="cpu")
    assert it.error is None
    return it


def view(lab, memory=64, batch=1, bits=32, model="LeNet-300-100", source="reference"):
    return lab.view(memory=memory, batch=batch, bits=bits, model=model, source=source)


def network(model):
    built = models.build(NETWORKS[model], seed=1)
    return cost.layers(built, torch.zeros(1, 1, 28, 28))


# --- the estimate and the count ------------------------------------------------------------


@pytest.mark.parametrize(("memory", "batch", "bits", "model"), EXTREMES)
@pytest.mark.parametrize("source", ["reference", "mine"])
def test_the_energies_are_the_librarys(lab, memory, batch, bits, model, source):
    exercise.answer(cost.layer_energy)
    shown = view(lab, memory, batch, bits, model, source)
    expected = cost.energy(network(model), memory * 1024, batch, bits)
    assert lab.energies(model, memory, batch, bits, source) == expected
    assert shown.total.total == pytest.approx(sum(e.total for e in expected))
    for i in (0, 30, len(MEMORIES) - 1):
        there = cost.energy(network(model), MEMORIES[i] * 1024, batch, bits)
        parts = [sum(getattr(e, n) for e in there) for n in ("arithmetic", "sram", "dram", "total")]
        assert shown.curve[:, i] == pytest.approx(parts)
    assert MEMORIES[[0, -1]].tolist() == [8, 4096]


def test_at_batch_1_the_arithmetic_is_little_beside_the_dram(lab):
    total = view(lab, memory=8).total
    assert total.arithmetic / 1e6 == pytest.approx(1.22, abs=0.005)
    assert total.dram / 1e6 == pytest.approx(170, abs=1)


def test_bytes_are_counted(lab):
    shown = view(lab, memory=64)
    assert shown.parameter_bytes == 4 * 266_610
    assert (shown.hungriest, shown.live_bytes) == ("fc1", 4 * 1084)
    assert shown.stays == pytest.approx((64 * 1024 - 4 * 1084) / (4 * 266_610))
    shown = view(lab, memory=64, batch=256, bits=2, model="LeNet-5")
    assert shown.parameter_bytes == 431_080 / 4
    assert (shown.hungriest, shown.live_bytes) == ("conv1", 256 * (784 + 20 * 24 * 24) / 4)
    assert shown.stays == 0
    assert view(lab, memory=4096, bits=1).stays == 1


def test_what_stays_is_what_does_not_come_from_dram(lab):
    for memory, batch, bits in ((64, 1, 32), (512, 4, 32), (16, 1, 1), (200, 7, 8)):
        shown = view(lab, memory, batch, bits)
        room = memory * 1024 * 8 / bits
        assert shown.live_bytes < memory * 1024 and room > 0  # nothing of it spills
        fetched = shown.total.dram * batch / (cost.DRAM * bits / 32)
        assert 1 - shown.stays == pytest.approx(fetched / 266_610)


# --- mine ----------------------------------------------------------------------------------


def _no_batch(layer, price, room, batch):
    return cost.layer_energy(layer, price, room, 1)


def test_mine_shows_what_the_students_bug_does(lab):
    exercise.answer(_no_batch)
    mine, reference = view(lab, batch=64, source="mine"), view(lab, batch=64)
    assert mine.mine and not reference.mine
    assert mine.total.dram > 10 * reference.total.dram
    assert mine.total.arithmetic == reference.total.arithmetic
    assert mine.curve[2, 0] > 10 * reference.curve[2, 0]
    assert mine.stays == reference.stays
    assert "by your layer_energy" in summarise(mine)
    assert "your" not in summarise(reference)


@pytest.mark.parametrize(
    "answer", [(1, 2, 3), torch.tensor([1.0, 2, 3]), Energy(1, 2, 3)], ids=type
)
def test_three_numbers_are_an_answer(lab, answer):
    exercise.answer(lambda layer, price, room, batch: answer)
    assert view(lab, source="mine").total == Energy(3, 6, 9)


@pytest.mark.parametrize(
    "answer",
    [3.0, (1, 2), (1, 2, float("nan")), "abc", Energy(1, None, 2)],
    ids=["one", "two", "nan", "words", "a None in an Energy"],
)
def test_what_is_no_answer_is_said(lab, answer):
    exercise.answer(lambda layer, price, room, batch: answer)
    with pytest.raises(ExerciseError, match="gives three numbers in pJ"):
        view(lab, source="mine")


@pytest.mark.parametrize("answer", [(0, 0, 0), (-1e6, 2, 3), (0, -5e6, -1), (1e30, 1, 1)])
def test_strange_numbers_of_mine_are_drawn(explorer, answer):
    exercise.answer(lambda layer, price, room, batch: answer)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert move(explorer, source="mine").mine


# --- the measurement -----------------------------------------------------------------------


def test_everything_is_measured_once_at_the_start(machine, lab):
    measured = [call[:2] for call in machine.calls]
    each = [(kind, b) for b in BATCHES for kind in ("layers", "whole")]
    assert measured == [("roofs", "cpu"), *each, *each]
    assert len(measured) == STEPS
    view(lab, memory=100, batch=17)
    assert len(machine.calls) == len(measured)


def test_points_are_operations_over_the_time_taken(lab):
    shown = view(lab, batch=4)
    for i, layer in enumerate(network("LeNet-300-100")):
        for (x, y), batch in zip(shown.points[layer.name].T, BATCHES, strict=True):
            assert x == cost.intensity(layer, batch, 32)
            assert y == pytest.approx(2 * layer.macs * batch / (1e-5 * (i + batch)))
    assert shown.roofs == ROOFS


@pytest.mark.parametrize("bits", [16, 8, 4, 2, 1])
@pytest.mark.parametrize("memory", [8, 4096])
def test_no_control_of_the_estimate_touches_the_measurement(lab, bits, memory):
    shown, other = view(lab, batch=8), view(lab, memory=memory, batch=8, bits=bits)
    for name, points in shown.points.items():
        assert np.array_equal(points, other.points[name])
    assert (shown.roofs, shown.nearest, shown.whole) == (other.roofs, other.nearest, other.whole)
    assert "stays in float32 whatever the bits" in summarise(other)
    assert "whatever the bits" not in summarise(shown)


@pytest.mark.parametrize(
    ("batch", "nearest"), [(1, 1), (3, 4), (5, 4), (100, 128), (90, 64), (256, 256), (2.6, 4)]
)
def test_the_nearest_measured_batch_is_shown(lab, batch, nearest):
    shown = view(lab, batch=batch)
    assert shown.nearest == nearest == shown.whole.batch
    assert shown.batch == round(batch)
    near = f"batch {nearest}, the nearest to {round(batch)}" in summarise(shown)
    assert near == (nearest != round(batch))


def test_the_words_tell_the_estimate_from_the_measurement(lab):
    estimate, measured = summarise(view(lab, memory=8, batch=4)).split("<br>")
    total = view(lab, memory=8, batch=4).total
    for text in (
        "Estimated",
        f"{total.total / 1e6:.3g} µJ",
        f"arithmetic {total.arithmetic / 1e6:.3g}",
        f"DRAM {total.dram / 1e6:.3g} ({100 * total.dram / total.total:.1f} %)",
        "Of 1,041 KB of parameters 0 % stay on chip",
    ):
        assert text in estimate
    for text in ("Measured here", "50 µs</b> an image (45 to 60)", "float32", "2 threads, cpu"):
        assert text in measured
    assert "100 billion operations a second" in measured and "20 billion bytes" in measured
    assert "µJ" not in measured and "µs" not in estimate


def test_a_busy_machine_is_measured_in_fewer_runs(machine, lab, monkeypatch):
    assert {call[2:] for call in machine.calls[1:]} == {measure_lab.RUNS}
    machine.calls.clear()
    monkeypatch.setattr(measure_lab, "PATIENCE", -1.0)
    lab.measure_again({}, CALM, lambda done, total: None)
    assert {call[2:] for call in machine.calls[1:]} == {measure_lab.HASTY}


# --- measuring again -----------------------------------------------------------------------


def test_measuring_again_replaces_everything_at_once(machine, lab):
    old, seen, steps = lab.measured, [], []
    machine.factor, machine.on_call = 2.0, lambda: seen.append(lab.measured is old)
    lab.measure_again({}, CALM, lambda *step: steps.append(step))
    assert all(seen) and lab.measured is not old
    assert lab.measured.roofs.flops == 50e9
    for key, layers in lab.measured.layers.items():
        assert {n: t.median / 2 for n, t in layers.items()} == pytest.approx(
            {n: t.median for n, t in old.layers[key].items()}
        )
        assert lab.measured.whole[key].median == 2 * old.whole[key].median
    assert steps == [(i, STEPS) for i in range(1, STEPS + 1)]


@pytest.mark.parametrize("call", [0, 1, 5, STEPS - 1])
def test_stopped_it_keeps_the_old_measurements_and_ends_soon(machine, lab, call):
    old, stop = lab.measured, threading.Event()
    machine.calls.clear()
    machine.factor = 2.0
    machine.on_call = lambda: stop.set() if len(machine.calls) > call else None
    if call == 0:
        stop.set()
    lab.measure_again({}, stop, lambda done, total: None)
    assert lab.measured is old and len(machine.calls) == call + 1


# --- the figure ----------------------------------------------------------------------------


def test_every_combination_of_extremes_is_drawn(explorer):
    for memory, batch, bits, model in EXTREMES:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            shown = move(explorer, memory=memory, batch=batch, bits=bits, model=model)
        assert (shown.memory, shown.batch, shown.bits) == (memory, batch, bits)
        assert "nan" not in explorer.text.value + explorer.alt and np.isfinite(shown.curve).all()


@pytest.mark.parametrize(("memory", "batch", "bits", "model"), EXTREMES)
def test_all_that_is_drawn_lies_within_its_axis(lab, memory, batch, bits, model):
    shown = view(lab, memory, batch, bits, model)
    micro = shown.curve[[0, 1, 3]] / 1e6
    assert micro.min() > 0.01 and micro.max() < 1000
    for size in (shown.parameter_bytes, shown.live_bytes):
        assert size / 1024 < 16_000
    low, high = measure_figure._reach(view(lab))
    for x, y in shown.points.values():
        assert (x > 0.2).all() and (x < 400).all()
        assert (y / 1e9 > low).all() and (y / 1e9 < high).all()


@pytest.mark.parametrize("model", NETWORKS)
def test_the_points_and_their_names_follow_the_model(explorer, model):
    shown = move(explorer, model=model, batch=4, memory=256)
    roofline, layers = (
        explorer._picture._artists["roofline"],
        [layer.name for layer in network(model)],
    )
    assert [text.get_text() for text in roofline["names"] if text.get_text()] == layers
    for line, points in zip(roofline["strong"], shown.points.values(), strict=False):
        assert line.get_xdata() == points[0, 2] and line.get_ydata() == points[1, 2] / 1e9
    hidden = roofline["strong"][len(layers) :]
    assert all(np.isnan(line.get_xdata()).all() for line in hidden)


def test_the_marks_are_where_the_slider_is(explorer):
    shown = move(explorer, memory=100, batch=2)
    artists = explorer._picture._artists
    assert [line.get_xdata() for line in artists["now"]] == [[100, 100]] * 2
    parts = (shown.total.arithmetic, shown.total.sram, shown.total.dram, shown.total.total)
    for mark, part in zip(artists["energy"]["marks"], parts, strict=True):
        assert (mark.get_xdata(), mark.get_ydata()) == ([100], [part / 1e6])
    ends = [bar.get_x() + bar.get_width() for bar in artists["bytes"]["bars"]]
    assert ends == pytest.approx([shown.parameter_bytes / 1024, shown.live_bytes / 1024])
    move(explorer, memory=4096, bits=1)
    assert np.isnan(artists["energy"]["marks"][2].get_ydata()).all()  # nothing comes from DRAM


def test_the_dram_part_vanishes_where_the_slider_passes_the_ends_of_both_bars(lab):
    shown = view(lab)
    ends = (shown.parameter_bytes + shown.live_bytes) / 1024
    gone = MEMORIES[shown.curve[2] == 0].min()
    assert ends <= gone < 1.1 * ends


def test_titles_and_alternative_text_have_the_numbers(explorer):
    shown = move(explorer, memory=64, batch=256, model="LeNet-5")
    artists = explorer._picture._artists
    titles = [artists[panel]["title"].get_text() for panel in ("energy", "bytes", "roofline")]
    micro = number(shown.total.total / 1e6)
    assert titles == [
        f"estimated: {micro} µJ an image",
        "counted: 0 % of parameters on chip",
        f"measured: {number(1e6 * shown.whole.median / 256)} µs an image",
    ]
    for words in (f"at 64 KB {micro} µJ", "DRAM 13.8", "12,304 KB of inputs and outputs of conv1"):
        assert words in explorer.alt
    assert "fc2 " in explorer.alt and "roof of arithmetic is at 100" in explorer.alt


def test_names_of_near_points_are_apart():
    near = {"a": (1, 10.0), "b": (1.1, 9.0), "c": (4, 8.5), "far": (100, 9.5)}
    heights = spread(near, apart=1.9, near=6)
    assert heights["a"] > 1.8 * heights["b"] > 1.8 * 1.8 * heights["c"]
    assert (heights["a"], heights["far"]) == (10, 9.5)


def test_no_two_names_in_the_roofline_of_the_text_cover_each_other():
    plot, (ax,) = plots.new(alt="", width=7, height=3.6)
    layers = {f"fc{i}": (0.5 + 0.01 * i, (10 - i / 5) * 1e9) for i in range(5)}
    roofline(ax, 1e11, {"memory": 2e10}, {"one": layers, "two": layers})
    plot.canvas.draw()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == 10
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_measuring_leaves_the_students_seed_alone(machine):
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    explore_costs(device="cpu")
    assert torch.equal(torch.rand(3), expected)


def test_a_real_measurement_of_the_real_machine(monkeypatch):
    for name, few in (("BATCHES", (1, 2)), ("RUNS", (0, 1)), ("ROUNDS", 1)):
        monkeypatch.setattr(measure_lab, name, few)
    lab = MeasureLab(None, torch.device("cpu"))
    for model in NETWORKS:
        shown = view(lab, model=model)
        assert all((points[1] > 0).all() for points in shown.points.values())
        assert shown.whole.median > 0 and shown.whole.device == shown.roofs.device == "cpu"

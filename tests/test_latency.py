"""Times by a clock that the timed function turns, and what a measurement must leave as it was."""

import itertools
import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from shrink import latency as timing
from shrink.classroom import models
from shrink.latency import Latency, Roofs, latency, layer_latencies, measure_roofs, time_call


class Clock:
    """A clock that stands still but while the function runs, which takes the next duration."""

    def __init__(self, durations):
        self.durations = iter(durations)
        self.now, self.calls, self.log = 1000, 0, []

    def function(self):
        self.calls += 1
        self.now += next(self.durations)
        self.log.append("call")

    def read(self):
        self.log.append("read")
        return self.now


class Watched(nn.Module):
    """Notes how it is called, and raises when it is told to."""

    def __init__(self, fail_at=None):
        super().__init__()
        self.fc1, self.fc2, self.idle = nn.Linear(4, 3), nn.Linear(3, 2), nn.Linear(9, 9)
        self.norm, self.drop = nn.BatchNorm1d(3), nn.Dropout()
        self.calls, self.fail_at = [], fail_at

    def forward(self, x):
        parts = [m.training for m in self.modules()]
        self.calls.append((x, parts, torch.is_grad_enabled()))
        if len(self.calls) == self.fail_at:
            raise KeyError("told to")
        return self.fc2(self.drop(self.norm(self.fc1(x).relu())))


class TwoTensors(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.pair = nn.Linear(4, 3), nn.Bilinear(3, 3, 2)

    def forward(self, x):
        return self.pair(self.fc(x), self.fc(x))


def state(model):
    """What a measurement must leave as it was."""
    hooks = [[*m._forward_hooks, *m._forward_pre_hooks] for m in model.modules()]
    training = [m.training for m in model.modules()]
    tensors = [t.tolist() for t in model.state_dict().values()]
    return hooks, training, tensors, torch.get_rng_state().tolist(), torch.is_grad_enabled()


@pytest.fixture
def images():
    return torch.rand(5, 4, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


# ---- time_call


@given(
    st.lists(st.integers(0, 9), max_size=5), st.lists(st.integers(0, 10**6), min_size=1, max_size=9)
)
def test_quartiles_of_the_calls_that_come_after_the_warm_up(warm_up, durations):
    clock = Clock([*(10**9 + t for t in warm_up), *durations])
    found = time_call(clock.function, len(warm_up), len(durations), clock.read)
    assert clock.calls == len(warm_up) + len(durations)
    assert found == pytest.approx(tuple(np.percentile(durations, [25, 50, 75])))
    assert found[1] == pytest.approx(statistics.median(durations))
    if len(durations) > 1:
        by_hand = statistics.quantiles(durations, n=4, method="inclusive")
        assert found == pytest.approx(tuple(by_hand))
    assert [type(t) for t in found] == [float] * 3


def test_the_clock_is_read_just_before_and_just_after_each_call():
    clock = Clock(itertools.repeat(1))
    assert time_call(clock.function, warm_up=2, runs=3, clock=clock.read) == (1, 1, 1)
    assert clock.log == ["call"] * 2 + ["read", "call", "read"] * 3


def test_it_calls_110_times_unless_told_otherwise():
    clock = Clock([*[10**6] * 10, *range(100)])
    assert time_call(clock.function, clock=clock.read) == (24.75, 49.5, 74.25)
    assert clock.calls == 110


def test_one_run_is_all_three():
    clock = Clock([7])
    assert time_call(clock.function, warm_up=0, runs=1, clock=clock.read) == (7, 7, 7)


def test_its_own_clock_is_in_seconds():
    low, median, high = time_call(lambda: sum(range(1000)), warm_up=1, runs=5)
    assert 0 < low <= median <= high < 60


@pytest.mark.parametrize(("warm_up", "runs"), [(0, 0), (1, -2), (-1, 1), (-3, 0)])
def test_numbers_of_calls_that_make_no_sense_are_named(warm_up, runs):
    clock = Clock(itertools.repeat(1))
    with pytest.raises(ValueError, match=r"(runs|warm_up) must be at least [01], not"):
        time_call(clock.function, warm_up, runs, clock.read)
    assert clock.log == []


# ---- latency


@pytest.mark.parametrize("training", [True, False])
def test_latency_runs_the_model_as_in_use_and_leaves_it_as_it_was(images, training):
    model = Watched().train(training)
    before = state(model)
    latency(model, images, warm_up=2, runs=3)
    assert state(model) == before
    assert len(model.calls) == 5
    for x, parts, grad in model.calls:
        assert x is images and not any(parts) and grad is False


@pytest.mark.parametrize("frozen", [True, False])
@pytest.mark.parametrize("measure", [latency, layer_latencies])
def test_parts_in_another_mode_stay_in_it(images, measure, frozen):
    """As in fine-tuning, where batch norm is often kept in `eval`."""
    model = Watched()
    model.train(frozen).norm.train(not frozen)
    before = state(model)
    measure(model, images, warm_up=0, runs=1)
    assert state(model) == before


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("fail_at", [1, 2, 4])
def test_an_error_leaves_the_model_as_it_was(images, training, fail_at):
    model = Watched(fail_at).train(training)
    before = state(model)
    with pytest.raises(KeyError, match="told to"):
        latency(model, images, warm_up=2, runs=3)
    assert len(model.calls) == fail_at
    assert state(model) == before


def test_latency_says_how_it_was_taken(images, two_threads, monkeypatch):
    found = latency(Watched(), images, warm_up=0, runs=3)
    assert (found.batch, found.threads, found.device, found.runs) == (5, 2, "cpu", 3)
    assert 0 < found.low <= found.median <= found.high < 60

    def time_three(function, warm_up, runs):
        asked.append((warm_up, runs))
        return 0.25, 0.5, 0.75

    asked = []
    monkeypatch.setattr(timing, "time_call", time_three)
    assert latency(Watched(), images[:1]) == Latency(0.25, 0.5, 0.75, 100, 1, 2, "cpu")
    assert latency(Watched(), images, 4, 7).runs == 7
    assert asked == [(10, 100), (4, 7)]


def test_a_latency_in_words():
    found = Latency(0.000987, 0.001234, 0.0456, runs=100, batch=64, threads=1, device="cpu")
    assert str(found) == "1.23 ms (0.987 to 45.6, 100 runs), batch 64, 1 thread, cpu"
    more = Latency(1e-5, 2e-5, 3e-5, runs=9, batch=1, threads=2, device="cuda:0")
    assert str(more) == "0.02 ms (0.01 to 0.03, 9 runs), batch 1, 2 threads, cuda:0"


def test_a_latency_above_a_second_in_words():
    found = Latency(1.0, 1.5, 12.0, runs=9, batch=1, threads=1, device="cpu")
    assert "e+" not in str(found)


def test_a_gpu_is_waited_for_after_each_call(monkeypatch):
    log = []
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda device: log.append(str(device)))
    timed = timing._and_wait(lambda: log.append("call"), torch.device("cuda:1"))
    assert log == []
    timed(), timed()
    assert log == ["call", "cuda:1"] * 2
    log.clear()
    timing._and_wait(lambda: log.append("call"), torch.device("cpu"))()
    assert log == ["call"]


# ---- layers


@pytest.mark.parametrize("training", [True, False])
def test_each_layer_is_timed_on_what_it_gets(images, training, monkeypatch):
    model = Watched().train(training)
    before = state(model)
    x1 = model.eval().fc1(images).relu()
    x2 = model.drop(model.norm(x1))
    model.train(training)
    asked = {}

    def record(module, x, warm_up, runs):
        assert state(model)[:2] == before[:2]  # the hooks are gone, and the mode is back
        asked[module] = (x, warm_up, runs)
        return f"time {len(asked)}"

    monkeypatch.setattr(timing, "latency", record)
    found = layer_latencies(model, images, warm_up=4, runs=6)
    assert found == {"fc1": "time 1", "norm": "time 2", "fc2": "time 3"}
    assert list(asked) == [model.fc1, model.norm, model.fc2]
    for (x, warm_up, runs), expected in zip(asked.values(), (images, x1, x2), strict=True):
        assert torch.equal(x, expected) and not x.requires_grad
        assert (warm_up, runs) == (4, 6)
    assert state(model) == before
    ((_, parts, grad),) = model.calls
    assert not any(parts) and grad is False


def test_each_layers_time_says_how_it_was_taken(images, two_threads):
    model = Watched()
    before = state(model)
    found = layer_latencies(model, images, warm_up=0, runs=2)
    assert list(found) == ["fc1", "norm", "fc2"]
    for time in found.values():
        assert (time.batch, time.threads, time.device, time.runs) == (5, 2, "cpu", 2)
        assert 0 < time.low <= time.median <= time.high < 60
    assert state(model) == before


@pytest.mark.parametrize("name", models.MODELS)
def test_the_courses_models_have_their_layers_timed(name):
    model = models.build(name, seed=0)
    found = layer_latencies(model, torch.zeros(2, 1, 28, 28), warm_up=0, runs=1)
    assert list(found) == [part for part, _ in model.named_children()]
    nested = nn.Sequential(nn.Sequential(model))
    assert list(layer_latencies(nested, torch.zeros(2, 1, 28, 28), 0, 1)) == [
        f"0.0.{part}" for part in found
    ]


def test_a_layer_is_warmed_up_and_run_as_often_as_asked(images):
    layer, calls = nn.Linear(4, 2), []
    model = nn.Sequential(layer, nn.ReLU())
    layer.register_forward_hook(lambda *_: calls.append(1))
    layer_latencies(model, images, warm_up=2, runs=5)
    assert len(calls) == 1 + 2 + 5
    calls.clear()
    assert layer_latencies(model, images)["0"].runs == 20
    assert len(calls) == 1 + 3 + 20


@pytest.mark.parametrize("training", [True, False])
def test_a_layer_that_takes_two_tensors_is_named(images, training):
    model = TwoTensors().train(training)
    before = state(model)
    with pytest.raises(ValueError, match=r"^pair takes 2 tensors, not one$"):
        layer_latencies(model, images, warm_up=0, runs=1)
    assert state(model) == before


class ByName(nn.Module):
    """Calls its layer with a named tensor, and may hand over another one."""

    def __init__(self, layer, *positional, **named):
        super().__init__()
        self.layer, self.positional, self.named = layer, positional, named

    def forward(self, x):
        return self.layer(*(x for _ in self.positional), **dict.fromkeys(self.named, x))


class Adds(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(4))

    def forward(self, x, other=None):
        return self.gain * x if other is None else self.gain * x + other


@pytest.mark.parametrize("odd", [None, [1.0], torch.ones(2, 3).numpy()])
def test_images_that_are_no_tensor_are_named(odd):
    for measure in (latency, layer_latencies):
        with pytest.raises(TypeError, match="the images must be a tensor, not a"):
            measure(nn.Linear(3, 2), odd)


def test_nothing_is_timed_on_meta():
    with pytest.raises(ValueError, match="meta, where nothing is computed"):
        latency(nn.Linear(3, 2, device="meta"), torch.ones(2, 3, device="meta"))


def test_a_layer_whose_tensor_is_named_is_timed(images):
    model = ByName(nn.Linear(4, 2), input=1)
    assert list(layer_latencies(model, images, warm_up=0, runs=1)) == ["layer"]


def test_a_second_tensor_that_is_named_counts_too(images):
    with pytest.raises(ValueError, match="layer takes 2 tensors"):
        layer_latencies(ByName(Adds(), 1, other=1), images, warm_up=0, runs=1)


@pytest.mark.parametrize("training", [True, False])
def test_an_error_in_the_model_leaves_no_hook(images, training):
    model = Watched(fail_at=1).train(training)
    before = state(model)
    with pytest.raises(KeyError, match="told to"):
        layer_latencies(model, images)
    assert state(model) == before


@pytest.mark.parametrize("training", [True, False])
def test_an_error_in_the_timing_leaves_no_hook(images, training, monkeypatch):
    def fail(*_):
        raise KeyError("the clock")

    monkeypatch.setattr(timing, "time_call", fail)
    model = Watched().train(training)
    before = state(model)
    for measure in (latency, layer_latencies):
        with pytest.raises(KeyError, match="the clock"):
            measure(model, images)
        assert state(model) == before


# ---- roofs


@pytest.mark.parametrize(
    ("intensity", "expected"), [(0, 0), (0.5, 5), (2, 20), (10, 100), (11, 100), (1e9, 100)]
)
def test_the_roof_rises_with_the_intensity_and_then_is_flat(intensity, expected):
    assert Roofs(100, 10, 50, threads=1, device="cpu").at(intensity) == expected


@given(st.floats(0, 1e6), st.floats(0, 1e6))
def test_no_roof_is_above_either(one, other):
    roofs = Roofs(flops=100, memory=10, cache=50, threads=1, device="cpu")
    low, high = sorted((one, other))
    assert roofs.at(low) <= roofs.at(high) <= min(100, 10 * high)


class Work(TorchDispatchMode):
    """Notes how many bytes each sum reads."""

    def __init__(self):
        super().__init__()
        self.summed = []

    def __torch_dispatch__(self, op, types, args=(), kwargs=None):
        if "sum" in op.__name__:
            self.summed.append(args[0].nbytes)
        return op(*args, **(kwargs or {}))


def test_roofs_are_measured_and_say_how(two_threads):
    roofs = measure_roofs(rounds=1)
    for figure in (roofs.flops, roofs.memory, roofs.cache):
        assert math.isfinite(figure) and figure > 0
    assert (roofs.threads, roofs.device) == (2, "cpu")


def test_roofs_are_the_work_over_the_least_time(monkeypatch):
    """Each time is made up; the work is what torch's counter and the sums' arguments say."""
    work, flops = [], FlopCounterMode(display=False)
    # The second round is the best, and its small product better than its large one.
    seconds = iter([9.0, 8.0, 7.0, 600.0, 3.0, 2.0, 0.01, 1.0, 6.0, 5.0, 4.0, 500.0])

    def time_one(function, warm_up=10, runs=100):
        assert warm_up >= 1 and runs >= 1  # the small array was just read
        before = flops.get_total_flops()
        with Work() as seen:
            function()
        took = next(seconds)
        work.append((flops.get_total_flops() - before, sum(seen.summed), took))
        return took, took, took

    monkeypatch.setattr(timing, "time_call", time_one)
    with flops:
        roofs = measure_roofs(rounds=3)

    products = [(did, took) for did, _, took in work if did]
    sums = [(did, took) for _, did, took in work if did]
    small, large = sorted({did for did, _ in sums})
    assert {did for did, _ in products} == {2 * 256**3, 2 * 1024**3}
    assert (small, large) == (4 * 2**20, 256 * 2**20)
    assert roofs.flops == max(did / took for did, took in products)
    assert roofs.memory == max(did / took for did, took in sums if did == large)
    assert roofs.cache == max(did / took for did, took in sums if did == small)
    assert len(products) == len(sums) == 6


# ---- on a GPU


@pytest.mark.gpu
def test_a_latency_on_the_gpu_includes_the_work():
    """The large product takes hundreds of times the small one's time, but as long to queue."""
    small, large = (nn.Linear(n, n, bias=False).cuda() for n in (64, 8192))
    quick = latency(small, torch.rand(64, 64, device="cuda"), runs=20)
    slow = latency(large, torch.rand(8192, 8192, device="cuda"), runs=20)
    assert slow.median > 3 * quick.median
    assert (slow.batch, slow.device) == (8192, "cuda:0")


@pytest.mark.gpu
def test_layers_on_the_gpu():
    model = models.build("lenet-5", seed=0).cuda()
    found = layer_latencies(model, torch.zeros(2, 1, 28, 28, device="cuda"), runs=3)
    assert list(found) == ["conv1", "conv2", "fc1", "fc2"]
    assert {time.device for time in found.values()} == {"cuda:0"}


@pytest.mark.gpu
def test_roofs_of_the_gpu():
    roofs = measure_roofs("cuda", rounds=3)
    assert roofs.device == "cuda"
    for figure in (roofs.flops, roofs.memory, roofs.cache):
        assert math.isfinite(figure) and figure > 0

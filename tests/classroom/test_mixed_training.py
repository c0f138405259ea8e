"""Training in a format: as plain training without one, and skipped, stopped and watched."""

import copy
import itertools
import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.classroom import data
from shrink.classroom.data import Split
from shrink.classroom.mixed_training import train_in
from shrink.classroom.training import Recipe, train
from shrink.modes import seeded
from shrink.quantization.mixed_precision import LossScaler, compute_in
from shrink.quantization.number_formats import BF16, E4M3, E5M2, FP16, round_to

RECIPE = Recipe(epochs=2, learning_rate=0.1, batch_size=50)
STEPS = 2 * 5  # of 230 images


@pytest.fixture(scope="module")
def some():
    digits = data.load("digits", announce=False)
    return Split(digits.train.images[:230], digits.train.labels[:230])


def small_net(seed=0):
    with seeded(seed):
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 10))


def trained(split, **options):
    net = small_net()
    return net, train_in(net, split, RECIPE, seed=3, **options)


def apart(a, b):
    pairs = zip(a.parameters(), b.parameters(), strict=True)
    return max(float((p - q).detach().abs().max()) for p, q in pairs)


@pytest.mark.parametrize("scale", [None, 2.0**10])
def test_in_float32_it_is_plain_training_with_a_loss_scale_too(some, scale):
    plain = small_net()
    oracle = train(plain, some, RECIPE, seed=3)
    net, found = trained(some, scaler=scale and LossScaler(scale))
    assert apart(net, plain) < 1e-6 < apart(net, small_net())
    assert (found.steps, found.planned) == (oracle.steps, oracle.planned) == (STEPS, STEPS)
    assert found.losses == pytest.approx(oracle.losses, rel=1e-5)


def test_each_format_has_its_own_end(some):
    ends = {
        "float32": trained(some)[0],
        "fp16": trained(some, format=FP16, master=False)[0],
        "bf16": trained(some, format=BF16, master=False)[0],
        "master": trained(some, format=BF16)[0],
        "fp8": trained(some, format=E4M3, gradients=E5M2, scaler=LossScaler())[0],
    }
    for name, format in (("fp16", FP16), ("bf16", BF16)):
        assert all(p.equal(round_to(p, format)) for p in ends[name].parameters())
    assert not ends["master"][1].weight.equal(round_to(ends["master"][1].weight, BF16))
    far = {name: apart(net, ends["float32"]) for name, net in ends.items()}
    assert 0 < far["fp16"] < far["bf16"] and 0 < far["master"] < far["fp8"] < 0.1


def test_one_step_with_master_weights_by_hand(some):
    batch = Split(some.images[:50], some.labels[:50])
    net, start = small_net(), small_net()
    train_in(net, batch, Recipe(1, 0.1, 0, batch_size=50), format=BF16)
    order = torch.randperm(50, generator=torch.Generator().manual_seed(0))
    with compute_in(start, BF16):
        F.cross_entropy(start(batch.images[order]), batch.labels[order]).backward()
    for p, q in zip(net.parameters(), start.parameters(), strict=True):
        assert torch.allclose(p, q - 0.1 * 1.9 * q.grad, atol=1e-7)  # Nesterov's first step


def test_a_step_that_overflows_is_skipped_and_training_goes_on(some):
    scaler = LossScaler(2.0**24, backoff=2.0**-6, interval=100)
    net, found = trained(some, format=FP16, scaler=scaler)
    assert 0 < scaler.skipped < STEPS == found.steps
    assert all(p.isfinite().all() for p in net.parameters())
    stuck = LossScaler(2.0**24, growth=1, backoff=1)
    net, _ = trained(some, format=FP16, scaler=stuck)
    assert stuck.skipped == STEPS and apart(net, small_net()) == 0


def test_what_is_watched_is_each_step_before_it_is_rounded(some):
    seen = []

    def watch(step, pairs):
        seen.append((step, {n: (b.clone(), a.clone()) for n, (b, a) in pairs.items()}))

    net, _ = trained(some, format=BF16, master=False, watch=watch)
    assert [step for step, _ in seen] == list(range(1, STEPS + 1))
    start = copy.deepcopy(small_net())
    for name, p in start.named_parameters():
        assert seen[0][1][name][0].equal(round_to(p, BF16))
        for (_, now), (_, later) in itertools.pairwise(seen):
            assert later[name][0].equal(round_to(now[name][1], BF16))
        assert net.get_parameter(name).equal(round_to(seen[-1][1][name][1], BF16))


def test_it_stops_when_asked_and_tells_how_far_it_is(some):
    stop, told = threading.Event(), []

    def progress(done, planned):
        told.append((done, planned))
        if done == 3:
            stop.set()

    _, found = trained(some, format=FP16, progress=progress, stop=stop)
    assert told == [(1, STEPS), (2, STEPS), (3, STEPS)]
    assert found.steps == 3 and found.stopped and found.losses == ()


def test_without_a_format_nothing_is_stored_in_one(some):
    for wrong in ({"master": False}, {"gradients": E5M2}):
        with pytest.raises(ValueError, match="without a format"):
            trained(some, **wrong)

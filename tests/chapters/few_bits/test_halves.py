"""Prepared trainings in halves: what each way does, what is counted, and that all is kept."""

import threading
from functools import partial

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shrink.chapters.few_bits import halves
from shrink.classroom import data, models
from shrink.classroom.data import Split
from shrink.classroom.training import Recipe, accuracy, train
from shrink.quantization.mixed_precision import overflow, underflow
from shrink.quantization.number_formats import BF16, E4M3, FORMATS, round_to

SMALL = {"TRAINED": 120, "BATCH": 40, "EPOCHS": 2, "WATCHED": (1, 4, 6), "SEEDS": (0,)}
SMALL |= {"SCALED_EPOCHS": 1, "EXPONENTS": (-20, 4, 24), "MOMENTS": (0, 2, 6)}
SMALL |= {"DYNAMIC": {"scale": 2.0**24, "backoff": 2.0**-8}}
STEPS = 6


@pytest.fixture(autouse=True)
def small(tmp_path, monkeypatch):
    """Trainings of six steps of a small network, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    for name, value in SMALL.items():
        monkeypatch.setattr(halves, name, value)
    monkeypatch.setattr(halves, "LeNet300100", partial(models.LeNet300100, hidden=(12, 8)))


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", announce=False)


def few(digits):
    return Split(digits.train.images[:120], digits.train.labels[:120])


def test_in_float32_it_is_the_training_of_every_chapter(digits):
    net = halves.initial(7)
    train(net, few(digits), Recipe(2, 0.1, 0, 40), seed=7)
    found = halves.run(digits, "float32", 0.1, 7)
    assert found.error == 1 - accuracy(net, digits.validation)
    assert len(found.swallowed) == len(found.swallowed_amount) == 0


def test_each_way_trains_as_its_name_says(digits):
    ends = {}
    for way in halves.WAYS:
        ends[way] = halves.initial(7)
        halves.train_way(ends[way], digits, way, 0.1, 7)
    weight = {way: net.fc1.weight.detach() for way, net in ends.items()}
    stored = [f.name for f in FORMATS.values() if weight["fp16"].equal(round_to(weight["fp16"], f))]
    assert stored == ["fp16"]
    assert weight["bf16"].equal(round_to(weight["bf16"], BF16))
    for way in ("bf16, master weights", "fp8, master weights"):
        assert not any(weight[way].equal(round_to(weight[way], f)) for f in FORMATS.values())
    apart = {way: float((w - weight["float32"]).norm()) for way, w in weight.items()}
    assert 0 < apart["bf16, master weights"] < apart["fp8, master weights"]
    assert 0 < apart["fp16"] < apart["bf16"]
    with pytest.raises(ValueError, match="'fp4'"):
        halves.train_way(ends["fp16"], digits, "fp4", 0.1, 7)


def test_updates_that_change_nothing_are_counted(digits):
    """By hand, from the weights before and after each step."""
    net, shares, amounts = halves.initial(7), [], []

    def watch(step, pairs):
        if step in SMALL["WATCHED"]:
            before, after = pairs["fc2.weight"]
            stays = after.bfloat16().float() == before
            moved = after != before
            shares.append(float((stays & moved).sum() / moved.sum()))
            amounts.append(
                float((after - before).abs()[stays].sum() / (after - before).abs().sum())
            )

    halves.train_way(net, digits, "bf16", 0.005, 7, watch)
    found = halves.run(digits, "bf16", 0.005, 7)
    assert found.swallowed.shape == found.swallowed_amount.shape == (3, 3)
    assert found.swallowed[:, 1] == pytest.approx(shares, rel=1e-5)
    assert found.swallowed_amount[:, 1] == pytest.approx(amounts, rel=1e-4)
    assert (found.swallowed >= found.swallowed_amount).all()  # the small ones are swallowed
    fine = halves.run(digits, "fp16", 0.005, 7)
    assert fine.swallowed.mean() < found.swallowed.mean()


def test_a_fixed_scale_stays_and_a_found_one_falls_until_steps_are_taken(digits):
    for exponent in (-20, 4, 24):
        found = halves.at_scale(digits, exponent, 7)
        assert found.scales.tolist() == [2.0**exponent] * 3
        assert found.skipped == (3 if exponent == 24 else 0)
    untrained = 1 - accuracy(halves.initial(7), digits.validation)
    assert halves.at_scale(digits, 24, 7).error == untrained
    plain = halves.initial(7)
    train(plain, few(digits), Recipe(1, 0.1, 0, 40), seed=7)
    found = halves.at_scale(digits, "float32", 7)
    assert found.error == 1 - accuracy(plain, digits.validation)
    assert found.skipped == 0 and found.scales.tolist() == [1, 1, 1]
    dynamic = halves.at_scale(digits, None, 7)
    assert dynamic.scales[0] == 2.0**24 > dynamic.scales[-1] and 0 < dynamic.skipped < 3


def test_magnitudes_are_counted_in_bins(digits):
    x = torch.tensor([0.0, 1.0, -1.0, 1.05, 1.1, 1.99, 2.0, 1e-30, 1e30])
    counts = halves.counted(x)
    assert counts.sum() == 8 and counts[0] == 1 and counts[-1] == 1
    first = halves.PARTS * 64  # the bin that begins at 1
    assert halves.EDGES[first] == 1 and halves.EDGES[first + 8] == 2
    assert [int(c) for c in counts[first : first + 9]] == [3, 1, 0, 0, 0, 0, 0, 1, 1]
    draw = torch.randn(5000, generator=torch.Generator().manual_seed(1))
    oracle, _ = np.histogram(draw.abs().double(), halves.EDGES)
    assert halves.counted(draw).tolist() == oracle.tolist()


@pytest.mark.parametrize("format", FORMATS.values(), ids=list(FORMATS))
def test_what_is_lost_is_read_from_the_bins(format):
    draw = torch.Generator().manual_seed(2)
    x = torch.randn(20_000, generator=draw) * 2.0 ** torch.randint(
        -30, 10, (20_000,), generator=draw
    )
    counts = halves.counted(x).numpy()
    for exponent in (-20, 0, 6, 24):
        low, high = halves.lost(counts, format, exponent)
        assert low == pytest.approx(underflow(x, format, 2.0**exponent), abs=1e-4)
        assert high == pytest.approx(overflow(x, format, 2.0**exponent), abs=0.005)
    kept = (x * 64).abs() > halves.ends(format)[0]
    share = float(x[~kept].abs().sum() / x.abs().sum())
    assert halves.lost(counts * halves.MIDDLES, format, 6)[0] == pytest.approx(share, rel=0.05)
    assert halves.lost(np.zeros(halves.BINS, dtype=np.int32), format) == (0, 0)


def test_where_a_format_ends(digits):
    for format in FORMATS.values():
        low, high = (torch.tensor(end) for end in halves.ends(format))
        assert round_to(low, format) == 0 < round_to(torch.nextafter(low, high), format)
        assert round_to(torch.nextafter(high, low), format) == format.largest
        beyond = torch.nextafter(high, torch.tensor(torch.inf)) if format is E4M3 else high
        assert not round_to(beyond, format).isfinite()


def test_gradients_are_those_of_a_batch_while_the_network_learns(digits):
    found = halves.magnitudes(digits, 7)
    net, batch = halves.initial(7), Split(digits.train.images[:40], digits.train.labels[:40])
    states = {}

    def note(done, planned):
        states[done] = {name: t.clone() for name, t in net.state_dict().items()}

    note(0, 6)
    halves.train_way(net, digits, "float32", 0.1, 7, progress=note)
    for step in SMALL["MOMENTS"]:
        other = halves.initial(7)
        other.load_state_dict(states[step])
        hidden = F.relu(other.fc1(batch.images.flatten(1)))
        out = other.fc2(hidden)
        out.retain_grad()
        F.cross_entropy(other.fc3(F.relu(out)), batch.labels).backward()
        numbers = (other.fc2.weight, out, out.grad, other.fc2.weight.grad)
        for kind, x in zip(halves.KINDS, numbers, strict=True):
            assert found.of(step, kind, "fc2").tolist() == halves.counted(x).tolist()
            place = SMALL["MOMENTS"].index(step), halves.KINDS.index(kind), 1
            assert found.zeros[place] == int((x == 0).sum())
    whole = found.of(2, "weights")
    assert whole.sum() + found.zeros[1, 0].sum() == 784 * 12 + 12 * 8 + 8 * 10
    for wrong, value in (
        ((5, "weights", None), "5"),
        ((0, "losses", None), "losses"),
        ((0, "weights", "fc9"), "fc9"),
    ):
        with pytest.raises(ValueError, match=value):
            found.of(*wrong)


def test_a_training_can_be_stopped(digits):
    stop, steps = threading.Event(), []

    def progress(done, planned):
        steps.append(done)
        stop.set()

    halves.train_way(halves.initial(1), digits, "bf16", 0.1, 1, progress=progress, stop=stop)
    assert steps == [1]


def test_all_is_prepared_beforehand(digits, monkeypatch):
    made = [make() for make in halves.trainings(digits)]
    assert len(made) == 1 + 5 + 4 + 5
    assert halves.ways(0.005) == tuple(halves.WAYS)[:4] and halves.ways(0.1) == tuple(halves.WAYS)

    def refused(what, *_, **__):
        raise AssertionError(f"{what} is not prepared")

    monkeypatch.setattr(halves, "new_bar", refused)
    halves.magnitudes(digits)
    for exponent in (*halves.EXPONENTS, None, "float32"):
        halves.at_scale(digits, exponent, 0)
    for rate in halves.RATES:
        for way in halves.ways(rate):
            halves.run(digits, way, rate, 0)
    with pytest.raises(AssertionError, match=r"seed 1, fp16, rate 0\.1 is not prepared"):
        halves.run(digits, "fp16", 0.1, 1)

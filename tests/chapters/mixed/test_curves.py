"""What chapter 11 prepares: integers of all widths, costs, allocations, random roundings, yours."""

import copy
import itertools
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.chapters.mixed import EXPERIMENT, costs, curves, networks, roundings, yours
from shrink.classroom import CourseError, cache, models
from shrink.classroom.data import Split
from shrink.classroom.training import Recipe, accuracy, train
from shrink.modes import seeded
from shrink.quantization.mixed_bits import quantize_mixed
from shrink.quantization.sensitivity import hessian_trace

NAMES = ("stem", "depthwise1", "fc")
COUNTS = dict(zip(NAMES, (36, 36, 160), strict=True))
OUTPUTS = dict(zip(NAMES, (4, 4, 10), strict=True))
SEED = 7


class Small(nn.Module):
    """Two small convolutions with norms, one of them depthwise, and a linear layer."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1, bias=False)
        self.norm0 = nn.BatchNorm2d(4)
        self.depthwise1 = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
        self.norm1 = nn.BatchNorm2d(4)
        self.fc = nn.Linear(16, 10)

    def forward(self, images):
        x = F.relu(self.norm0(self.stem(F.avg_pool2d(images, 4))))
        x = F.relu(self.norm1(self.depthwise1(x)))
        return self.fc(F.max_pool2d(x, 3).flatten(1))


HIDDEN = partial(models.LeNet300100, hidden=(4, 3))


@pytest.fixture(scope="module")
def begun(digits):
    """Small networks that have learned a little."""
    nets = {}
    for name, make in ((networks.SEPARABLE, Small), (networks.LENET, HIDDEN)):
        with seeded(1):
            nets[name] = make()
        train(nets[name], shown(digits, 300), Recipe(epochs=6, batch_size=50), seed=1)
    return {name: net.eval() for name, net in nets.items()}


def shown(digits, count):
    return Split(digits.train.images[:count], digits.train.labels[:count])


@pytest.fixture(autouse=True)
def small(begun, tmp_path, monkeypatch):
    """Small networks, few images, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    monkeypatch.setitem(models.MODELS, networks.SEPARABLE, Small)
    monkeypatch.setitem(models.MODELS, networks.LENET, HIDDEN)
    monkeypatch.setattr(networks, "baseline", lambda name, *_, **__: copy.deepcopy(begun[name]))
    monkeypatch.setattr(networks, "CALIBRATED", 60)
    monkeypatch.setattr(costs, "CALIBRATED", 60)
    monkeypatch.setattr(costs, "JUDGED", 80)
    monkeypatch.setattr(costs, "PROBES", 2)
    monkeypatch.setattr(roundings, "COUNT", 30)
    monkeypatch.setitem(networks.ROUNDINGS, "adaround", "descent")  # a hundredth of the time


def judged(digits):
    return Split(digits.validation.images[:80], digits.validation.labels[:80])


def divergence(net, floats, images):
    with torch.no_grad():
        p, q = floats(images).log_softmax(1), net(images).log_softmax(1)
    return float(F.kl_div(q, p, reduction="batchmean", log_target=True))


def test_floats_are_the_trained_network_with_its_norms_folded(begun, digits):
    net = networks.floats(digits, SEED)
    assert [*networks.layers_of(net)] == [*NAMES]
    assert not any(isinstance(part, nn.BatchNorm2d) for part in net.modules())
    x = digits.validation.images[:50]
    assert torch.allclose(net(x), begun[networks.SEPARABLE](x), atol=1e-4)
    with pytest.raises(ValueError, match="no network 'lenet-5' in this chapter; there are sep"):
        networks.floats(digits, SEED, "lenet-5")


@pytest.mark.parametrize("per_channel", [False, True])
def test_integers_are_those_beside_each_weight(digits, per_channel):
    layers = networks.layers_of(networks.floats(digits, SEED))
    tables = {
        rounding: networks.integers(digits, SEED, rounding=rounding, per_channel=per_channel)
        for rounding in networks.ROUNDINGS
    }
    for name, width in itertools.product(NAMES, networks.WIDTHS):
        w, most = layers[name].weight.detach(), 2 ** (width - 1) - 1
        largest = w.abs().flatten(1).amax(1) if per_channel else w.abs().max()
        scale = largest.view(-1, *[1] * (w.dim() - 1)) / most
        for rounding, table in tables.items():
            q, its_scale = table[name][width]
            assert q.dtype == torch.int8 and int(q.abs().max()) <= most
            assert torch.allclose(its_scale.expand(w.shape), scale.expand(w.shape))
            assert ((q - w / scale).abs() < 1 + 1e-4).all(), (rounding, name, width)
            if rounding == "nearest":
                assert ((q - w / scale).abs() < 0.5 + 1e-4).all()
    with pytest.raises(ValueError, match="no rounding 'up'; there are nearest, learned, ada"):
        networks.integers(digits, SEED, rounding="up")


def test_bytes_are_those_of_packed_integers_and_scales():
    for per_channel in (False, True):
        sizes = networks.sizes(per_channel=per_channel)
        for name, width in itertools.product(NAMES, networks.WIDTHS):
            scales = OUTPUTS[name] if per_channel else 1
            assert sizes[name][width] == -(-COUNTS[name] * width // 8) + 4 * scales
        for width in networks.WIDTHS:
            whole = sum(of_layer[width] for of_layer in sizes.values())
            assert networks.budget(width, per_channel=per_channel) == whole
    assert networks.budget(2.5) == 12 + 12 + 50 + 3 * 4  # 36 · 2.5 / 8 = 11.25, rounded up


@pytest.mark.parametrize("model", networks.MODELS)
def test_what_is_put_together_is_what_quantize_mixed_gives(begun, digits, model):
    seen, x = digits.train.images[:60], digits.validation.images[:50]
    net, table = networks.floats(digits, SEED, model), networks.integers(digits, SEED, model)
    bits = dict(zip(table, (3, 5, 4), strict=True))
    mixed = networks.put_together(net, table, bits)
    by_library = quantize_mixed(begun[model], bits)
    assert torch.allclose(mixed(x), by_library(x), atol=1e-4)
    corrected = networks.correct_biases(mixed, networks.output_means(net, seen), seen)
    by_library = quantize_mixed(begun[model], bits, seen, correct_bias=True)
    assert corrected is mixed and torch.allclose(mixed(x), by_library(x), atol=1e-4)
    assert torch.allclose(mixed(seen).mean(0), net(seen).mean(0), atol=1e-4)
    part = networks.put_together(net, table, {"fc": 2} if "fc" in table else {"fc3": 2})
    weights = zip(networks.layers_of(part).values(), networks.layers_of(net).values(), strict=True)
    same = [torch.equal(a.weight, b.weight) for a, b in weights]
    assert same == [True, True, False]


@pytest.mark.parametrize("rounding", costs.MEASURED)
def test_costs_are_of_one_layer_rounded_alone(digits, rounding):
    net, images = networks.floats(digits, SEED), judged(digits).images
    table = networks.integers(digits, SEED, rounding=rounding)
    found = {by: costs.sensitivities(digits, SEED, by=by, rounding=rounding) for by in costs.BY}
    few = shown(digits, 60)
    trace = hessian_trace(net, few.images, few.labels, 2)
    assert costs.traces(digits, SEED) == pytest.approx(
        {name.removesuffix(".weight"): x for name, x in trace.items()}
    )
    for name, width in itertools.product(NAMES, networks.WIDTHS):
        w, (q, scale) = networks.layers_of(net)[name].weight.detach(), table[name][width]
        alone = networks.put_together(net, table, {name: width})
        apart = divergence(alone, net, images)
        assert found["answers"][name][width] == pytest.approx(apart, rel=1e-3, abs=1e-6)
        error = float((q * scale - w).square().sum())
        assert found["weights"][name][width] == pytest.approx(error, rel=1e-4)
        curved = error * trace[f"{name}.weight"] / COUNTS[name] / 2
        assert found["curvature"][name][width] == pytest.approx(curved, rel=1e-4)


def test_each_line_has_allocations_that_fit_and_the_best_ones_cost_least(begun, digits):
    sizes, images = networks.sizes(), judged(digits).images
    net, seen = begun[networks.SEPARABLE], digits.train.images[:60]
    everything = [
        dict(zip(NAMES, widths, strict=True))
        for widths in itertools.product(networks.WIDTHS, repeat=len(NAMES))
    ]
    for line, how in curves.LINES.items():
        table = costs.sensitivities(digits, SEED, rounding=how.measured)
        points = curves.points(digits, SEED, line)
        assert [*points] == [*curves.BUDGETS]
        assert curves.curve(digits, SEED, line) == {b: p.error for b, p in points.items()}
        for bits in (2.5, 4):
            point, limit = points[bits], networks.budget(bits)
            cost, taken = (
                sum(numbers[n][w] for n, w in point.allocation.items())
                for numbers in (table, sizes)
            )
            assert point.cost == pytest.approx(cost) and point.bytes == taken <= limit
            if how.choice == "single":
                assert point.allocation == dict.fromkeys(NAMES, int(bits))
            if how.choice == "best":
                least = min(
                    sum(table[n][w] for n, w in one.items())
                    for one in everything
                    if sum(sizes[n][w] for n, w in one.items()) <= limit
                )
                assert cost == pytest.approx(least)
            learned = how.rounding == "learned"
            rounded = quantize_mixed(
                net,
                point.allocation,
                seen,
                rounding="exact" if learned else "nearest",
                correct_bias=learned,
            )
            wrong = 1 - accuracy(rounded, judged(digits))
            assert point.error == pytest.approx(wrong, abs=1.1 / 80)
            apart = divergence(rounded, networks.floats(digits, SEED), images)
            assert point.divergence == pytest.approx(apart, rel=0.01, abs=1e-5)


def test_random_roundings_stand_beside_nearest_and_the_optimum(digits):
    net = networks.floats(digits, SEED)
    found = roundings.random_roundings(digits, SEED, "stem", 3)
    assert found.loss.shape == found.weight_error.shape == found.output_error.shape == (30,)
    few = judged(digits)
    with torch.no_grad():
        w = net.stem.weight.clone()
        scale = w.abs().max() / 3
        fraction = w / scale - (w / scale).floor()
        expected = float((fraction * (1 - fraction)).sum() * scale**2)
        assert found.marks["floats"] == (0, 0, pytest.approx(float(loss(net, few)), rel=1e-4))
        net.stem.weight.copy_((w / scale).round() * scale)
        nearest = (net.stem.weight - w).square().sum(), None, loss(net, few)
    assert found.weight_error.mean() == pytest.approx(expected, rel=0.2)
    assert found.marks["nearest"][0] == pytest.approx(float(nearest[0]), rel=1e-4)
    assert found.marks["nearest"][2] == pytest.approx(float(nearest[2]), rel=1e-4)
    assert found.weight_error.min() > found.marks["nearest"][0]
    by_way = [found.marks[way][1] for way in ("learned", "adaround", "nearest")]
    assert by_way == sorted(by_way) and found.output_error.min() >= by_way[0]
    assert found.better == sum(x < found.marks["nearest"][2] for x in found.loss.tolist())
    with pytest.raises(ValueError, match="no layer 'fc9'; there are stem, depthwise1, fc"):
        roundings.random_roundings(digits, SEED, "fc9")


def loss(net, split):
    return F.cross_entropy(net(split.images), split.labels)


def test_what_is_not_prepared_is_refused_by_name(digits):
    with pytest.raises(ValueError, match="no sensitivity by 'size'; there are answers, curvature"):
        costs.sensitivities(digits, SEED, by="size")
    with pytest.raises(ValueError, match="with nearest or learned rounding, not 'adaround'"):
        costs.sensitivities(digits, SEED, rounding="adaround")
    with pytest.raises(ValueError, match="no line 'double'; there are single, mixed"):
        curves.curve(digits, SEED, "double")
    with pytest.raises(ValueError, match="'single' by 'weights' is not prepared with one scale p"):
        curves.curve(digits, SEED, "single", by="weights")
    with pytest.raises(ValueError, match="'mixed, greedy up' by 'answers' is not"):
        curves.curve(digits, SEED, "mixed, greedy up", per_channel=True)


def test_what_the_text_and_the_explorer_need_is_made_once(digits, monkeypatch):
    monkeypatch.setattr(curves, "SEEDS", (0,))
    for make in curves.cells(digits):
        make()

    def refused(*args, **options):
        raise AssertionError("made again")

    monkeypatch.setattr(cache, "write_atomically", refused)
    for make in curves.cells(digits):
        make()


HAND = dict(zip(NAMES, (8, 2, 3), strict=True))


def test_a_students_network_is_rounded_in_three_allocations(digits, monkeypatch):
    monkeypatch.setattr(yours, "RECIPE", Recipe(epochs=2, batch_size=50))
    monkeypatch.setattr(yours, "TRAINED", 100)
    found = yours.in_mixed_bits(digits, 11, HAND)
    with seeded(11):
        net = Small()
    train(net, shown(digits, 100), Recipe(epochs=2, batch_size=50), seed=11)
    seen = digits.train.images[:60]
    for series, learned in zip(yours.SERIES, (False, True), strict=True):
        assert [*found[series]] == [*yours.CHOICES]
        for choice, bits in (("4 bits in each layer", dict.fromkeys(NAMES, 4)), ("by hand", HAND)):
            rounding = "exact" if learned else "nearest"
            rounded = quantize_mixed(net, bits, seen, rounding=rounding, correct_bias=learned)
            right = 100 * accuracy(rounded, judged(digits))
            assert found[series][choice] == pytest.approx(right, abs=1.3)
    assert yours.in_mixed_bits(digits, 12, HAND) != found
    assert EXPERIMENT.x == yours.CHOICES and EXPERIMENT.series == tuple(yours.SERIES)


@pytest.mark.parametrize(
    ("bits", "told"),
    [
        (None, "bits are given for stem, depthwise1, fc, and here for None"),
        ({"stem": 4, "fc": 4}, "and here for stem, fc"),
        (HAND | {"fc": 9}, "fc has 2 to 8 bits, whole, not 9"),
        (HAND | {"fc": 3.5}, "fc has 2 to 8 bits, whole, not 3.5"),
        (HAND | {"fc": True}, "not True"),
        (HAND | {"fc": 8}, "these bits take 217 bytes, 89 more than the 128 of 4 bits each"),
    ],
)
def test_bits_by_hand_that_are_no_allocation_are_told_why(digits, bits, told):
    with pytest.raises(CourseError, match=told):
        yours.in_mixed_bits(digits, 11, bits)

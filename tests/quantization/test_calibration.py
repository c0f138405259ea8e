"""Calibration against numpy, brute force, torch's observers and onnxruntime's calibrator."""

import math

import numpy as np
import pytest
import torch
from torch.ao.quantization import HistogramObserver, MinMaxObserver, MovingAverageMinMaxObserver

from shrink.quantization import choose_qparams, fake_quantize
from shrink.quantization.calibration import (
    HALF,
    METHODS,
    Calibrator,
    Histogram,
    _least,
    entropy_range,
    entropy_threshold,
    percentile_range,
    squared_error_range,
)
from tests import depth

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.ao.quantization is deprecated")

MAX = torch.finfo(torch.float32).max
LEAST = 2.0**-149  # above 0, of float32


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def normal(n=5000, seed=0):
    return torch.randn(n, generator=rng(seed))


def laplace(n=5000, seed=0):
    uniform = torch.rand(n, generator=rng(seed), dtype=torch.float64) - 0.5
    return (-uniform.sign() * torch.log1p(-2 * uniform.abs())).float()


def student(n=5000, seed=0):  # two degrees of freedom: a heavy tail
    uniform = torch.rand(n, generator=rng(seed), dtype=torch.float64) * 0.9999 + 0.00005
    return ((2 * uniform - 1) / (2 * uniform * (1 - uniform)).sqrt()).float()


def uniform(n=5000, seed=0):  # from -1 to 1
    return 2 * torch.rand(n, generator=rng(seed)) - 1


DATA = {
    "normal": normal(),
    "relu": normal().relu(),
    "laplace": laplace(),
    "student": student(),
    "uniform": 1.01 * uniform(2000),  # just past a power of two: half of the bins are empty
    "one-sided": 1.01 * uniform(2000).abs(),
    "negative": -laplace().abs(),
    "gelu": torch.nn.functional.gelu(2 * normal()),
    "outlier": torch.cat([normal(), 100 * normal().max()[None]]),
    "outliers": torch.cat([laplace(), torch.tensor([-300.0, 500.0])]),
}


def seen(*batches):
    histogram = Histogram()
    for batch in batches:
        histogram.add(batch)
    return histogram


def same(a, b):
    return (a.edge, a.low, a.high, a.zeros) == (b.edge, b.low, b.high, b.zeros) and np.array_equal(
        a.counts, b.counts
    )


def check_against_numpy(histogram, *batches):
    """numpy compares each number with the edges, in float64."""
    x = np.concatenate([batch.double().numpy().ravel() for batch in batches])
    expected = np.histogram(x[x != 0], histogram.edges)[0]
    assert np.array_equal(histogram.counts, expected)
    assert histogram.zeros == (x == 0).sum()
    assert histogram.counts.sum() == (x != 0).sum()
    assert (histogram.low, histogram.high) == (min(x.min(), 0), max(x.max(), 0))
    assert histogram.edge / 2 < max(abs(histogram.low), histogram.high) <= histogram.edge


# ---- the histogram


@pytest.mark.parametrize("scale", [1.0, 37.0, 1e-3, 1e-30, 1e30])
@pytest.mark.parametrize("name", DATA)
def test_counts_are_numpys(name, scale):
    x = scale * DATA[name]
    check_against_numpy(seen(x), x)


@pytest.mark.parametrize("seed", range(5))
def test_the_split_into_batches_does_not_matter(seed):
    x = torch.cat([normal(3000, seed), 1e3 * laplace(300, seed), torch.zeros(50)])
    x = x[torch.randperm(len(x), generator=rng(seed))]
    whole = seen(x)
    check_against_numpy(whole, x)
    lengths = [1, 2, 0, 500, 847, 1000, 1000]
    batches = x.split(lengths)
    assert same(seen(*batches), whole)
    assert same(seen(*batches[::-1]), whole)
    assert same(seen(*x.sort().values.split(lengths)), whole)
    assert same(seen(*x[x.abs().argsort()].split(lengths)), whole)  # the range grows and grows


@pytest.mark.parametrize("factor", [3.0, 1e6, 1e30])
def test_a_tiny_first_batch(factor):
    batches = normal(10, 1), factor * normal(1000, 2), normal(10, 3)
    histogram = seen(*batches)
    check_against_numpy(histogram, *batches)
    assert histogram.counts[[HALF - 1, HALF]].sum() >= (20 if factor > 1e5 else 0)


def test_the_edges():
    histogram = seen(torch.tensor([-3.0, 1.0]))
    assert histogram.edges.shape == (2 * HALF + 1,)
    assert histogram.edges[[0, HALF, -1]].tolist() == [-4, 0, 4]
    assert np.array_equal(np.diff(histogram.edges), np.full(2 * HALF, 4 / HALF))


@pytest.mark.parametrize("shape", [(), (7,), (2, 3, 4)])
def test_any_shape_and_layout(shape):
    x = torch.randn(shape, generator=rng())
    check_against_numpy(seen(x, x.mT if x.dim() > 1 else x), x, x)
    check_against_numpy(seen(x[None].expand(3, *shape)), x, x, x)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types(dtype):
    x = normal().to(dtype).requires_grad_()
    check_against_numpy(seen(x), x.detach().float())


def test_what_float32_does_not_hold_is_refused_like_infinity():
    histogram = seen(torch.tensor([2.0]))
    with pytest.raises(ValueError, match="1 of 2 activations are NaN or infinite"):
        histogram.add(torch.tensor([1e39, 1.0], dtype=torch.float64))
    assert same(histogram, seen(torch.tensor([2.0])))


def test_nan_and_infinity_are_refused_with_their_number():
    before, x = normal(100), 10 * normal(20)
    histogram = seen(before)
    x[3], x[5], x[8] = math.nan, math.inf, -math.inf
    with pytest.raises(ValueError, match="3 of 20 activations are NaN or infinite"):
        histogram.add(x)
    assert same(histogram, seen(before))
    with pytest.raises(ValueError, match="1 of 1 "):
        Histogram().add(torch.tensor(math.nan))


def test_empty_batches_are_none():
    x = normal()
    assert same(seen(torch.empty(0), x, torch.empty(0, 3)), seen(x))
    assert same(seen(torch.empty(0)), Histogram())


def test_nothing_but_zeros():
    histogram = seen(torch.zeros(5), torch.tensor([-0.0, 0.0]))
    assert (histogram.edge, histogram.low, histogram.high, histogram.zeros) == (0, 0, 0, 7)
    assert not histogram.counts.any() and not histogram.edges.any()
    histogram.add(torch.tensor([0.0, -2.5]))
    check_against_numpy(histogram, torch.zeros(8), torch.tensor([-2.5]))
    assert histogram.high == 0


def test_one_side_only():
    histogram = seen(torch.tensor([-3.0, -5.0]))
    assert (histogram.low, histogram.high) == (-5, 0)
    assert histogram.counts[HALF:].sum() == 0
    histogram = seen(torch.tensor([3.0, 5.0]))
    assert (histogram.low, histogram.high) == (0, 5)
    assert histogram.counts[:HALF].sum() == 0


@pytest.mark.parametrize("power", [-149, -148, -140, -127, -126, -20, -1, 0, 1, 10, 126, 127])
def test_exact_powers_of_two(power):
    x = torch.tensor([2.0**power, -(2.0**power), 0.0])
    histogram = seen(x)
    check_against_numpy(histogram, x)
    assert histogram.edge == 2.0**power
    assert histogram.counts[[0, -1]].tolist() == [1, 1]


def test_an_exact_power_of_two_before_the_range_grows():
    """It lies on the edge between two bins and is in either of them."""
    histogram = seen(torch.tensor([1.0, -1.0]), torch.tensor([3.0]))
    assert histogram.edge == 4
    up, down = HALF + HALF // 4, HALF - HALF // 4
    assert histogram.counts[[up - 1, up]].sum() == histogram.counts[[down - 1, down]].sum() == 1


@pytest.mark.parametrize("most", [LEAST, 1e-44, 1e-40, 1e-38, 1e-36])
def test_subnormal_numbers(most):
    x = torch.cat([most * uniform(1000), torch.tensor([most, -LEAST])])
    check_against_numpy(seen(x), x)
    check_against_numpy(
        seen(torch.tensor([LEAST]), x, normal()), torch.tensor([LEAST]), x, normal()
    )


@pytest.mark.parametrize("most", [2.0**113, 2.0**114, 2.0**120, 1e37, 2.0**127, 2e38, MAX])
def test_huge_numbers(most):
    x = torch.cat([most * uniform(1000), torch.tensor([most, -most])])
    check_against_numpy(seen(x), x)
    check_against_numpy(seen(normal(), x), normal(), x)


def test_numbers_next_to_zero_keep_their_side():
    x = torch.tensor([-1e-30, -1e-30, -LEAST, 1e-30, 0.0, -0.0, 1.0])
    histogram = seen(x)
    assert (histogram.counts[HALF - 1], histogram.counts[HALF], histogram.zeros) == (3, 1, 2)


def test_numbers_next_to_an_edge_keep_their_bin():
    edges = torch.from_numpy(seen(torch.tensor([3.0])).edges).float()
    below, above = (edges.nextafter(torch.tensor(end)) for end in (-math.inf, math.inf))
    x = torch.cat([edges, below, above])
    x = x[(x != 0) & (x.abs() <= 4)]
    check_against_numpy(seen(x), x)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_more_of_one_number_than_float32_counts(value):
    x = torch.full((2**24 + 1001,), value)
    x[0] = 0.9
    histogram = seen(x)
    assert histogram.counts.min() == 0
    assert histogram.counts.sum() + histogram.zeros == len(x)
    assert histogram.zeros == (0 if value else len(x) - 1)


# ---- percentiles


@pytest.mark.parametrize("percentile", [50.5, 75, 99, 99.9, 99.99])
@pytest.mark.parametrize("name", DATA)
def test_percentiles_are_numpys(name, percentile):
    x = DATA[name][:1987].double().numpy()  # no percentile falls between two numbers
    if name.startswith("outlier"):
        x[17] = 700.0
    histogram = seen(torch.from_numpy(x))
    low, high = percentile_range(histogram, percentile)
    ends = np.quantile(x, [1 - percentile / 100, percentile / 100], method="inverted_cdf")
    width = histogram.edge / HALF
    assert low == pytest.approx(min(ends[0], 0), abs=width)
    assert high == pytest.approx(max(ends[1], 0), abs=width)
    assert histogram.low <= low <= 0 <= high <= histogram.high


def test_zeros_count_for_the_percentile():
    x = torch.cat([torch.zeros(9000), torch.linspace(0.001, 1, 1000)])
    assert percentile_range(seen(x), 99)[1] == pytest.approx(0.9, abs=1 / HALF)
    assert percentile_range(seen(x), 90) == (0, 0)
    assert percentile_range(seen(x), 60) == (0, 0)
    assert percentile_range(seen(-x), 99) == (pytest.approx(-0.9, abs=1 / HALF), 0)
    both = percentile_range(seen(x, -x), 99)
    assert both == pytest.approx((-0.8, 0.8), abs=1 / HALF)


def test_within_a_bin_the_numbers_lie_evenly():
    histogram = seen(torch.tensor([-4.0, 4.0]))
    histogram.counts[:] = 0
    histogram.counts[HALF - 3], histogram.counts[HALF + 7] = 100, 300
    width = 4 / HALF
    assert percentile_range(histogram, 90) == pytest.approx(
        ((-3 + 0.4) * width, (8 - 40 / 300) * width)
    )


@pytest.mark.parametrize("name", DATA)
def test_of_one_hundred_percent_the_range_is_whole(name):
    histogram = seen(*DATA[name].split(700))
    assert percentile_range(histogram, 100) == (histogram.low, histogram.high)


def test_a_percentile_of_one_number_or_none():
    assert percentile_range(Histogram()) == (0, 0)
    assert percentile_range(seen(torch.zeros(9))) == (0, 0)
    low, high = percentile_range(seen(torch.tensor([3.7])), 99)
    assert low == 0 and 3.7 - 4 / HALF <= high <= torch.tensor(3.7).item()


@pytest.mark.parametrize("percentile", [-1, 0, 50, 100.001, math.nan, math.inf])
def test_a_percentile_that_is_none(percentile):
    with pytest.raises(ValueError, match=f"above 50 and at most 100, got {percentile}"):
        percentile_range(seen(normal()), percentile)


# ---- squared error


def squared_error(x, low, high, bits, symmetric=False):
    """What torch's own quantization costs."""
    p = choose_qparams(low, high, bits, symmetric)
    found = torch.fake_quantize_per_tensor_affine(
        x, p.scale.item(), p.zero_point.item(), p.q_min, p.q_max
    )
    return (found - x).double().square().sum().item()


@pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])
@pytest.mark.parametrize("bits", [2, 4, 8] if depth.DEEP else [4])
@pytest.mark.parametrize("name", DATA)
def test_the_squared_error_is_nearly_the_least(name, bits, symmetric):
    x = DATA[name]
    histogram = seen(x)
    found = squared_error(x, *squared_error_range(histogram, bits, symmetric), bits, symmetric)
    low, high = histogram.low, histogram.high
    assert found <= 1.01 * squared_error(x, low, high, bits, symmetric)
    parts = np.geomspace(1, 0.01, 80 if symmetric else 16)
    tried = (
        [(a, a) for a in parts]
        if symmetric
        else [(a, b) for a in (parts if low else [1]) for b in (parts if high else [1])]
    )
    least = min(squared_error(x, a * low, b * high, bits, symmetric) for a, b in tried)
    assert found <= 1.07 * least


@pytest.mark.parametrize("bits", range(2, 13))
@pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])
def test_the_integral_of_the_squared_error(bits, symmetric):
    """Of random ranges the one that ten thousand points a bin say, on bins wide and narrow."""
    random = np.random.default_rng(bits)
    for _ in range(5):
        histogram = seen(torch.tensor([-0.9, 0.9]))
        histogram.counts[:] = 0
        filled = random.choice(2 * HALF, 12, replace=False)
        histogram.counts[filled] = random.integers(1, 100, 12)
        lows, highs = -random.uniform(0, 1, 10), random.uniform(0, 1, 10)
        p = choose_qparams(torch.from_numpy(lows), torch.from_numpy(highs), bits, symmetric)
        within = (np.arange(10_000) + 0.5) / 10_000
        points = histogram.edges[filled, None] + within / HALF
        errors = []
        for scale, zero_point in zip(p.scale.double(), p.zero_point, strict=True):
            q = np.round(points / scale.item()) + zero_point.item()
            back = (q.clip(p.q_min, p.q_max) - zero_point.item()) * scale.item()
            errors.append(((points - back) ** 2).mean(1) @ histogram.counts[filled])
        chosen = _least(histogram, lows, highs, bits, symmetric)
        assert errors[chosen] <= min(errors) * 1.00001


def test_of_equal_errors_the_first():
    ends = np.ones(4)
    assert _least(seen(normal()), -ends, ends, 8, False) == 0


@pytest.mark.parametrize("bits", [4, 6, 8])
def test_of_uniform_data_nearly_the_whole_range_is_kept(bits):
    histogram = seen(1.01 * uniform(10_000))
    low, high = squared_error_range(histogram, bits)
    assert low <= 0.95 * histogram.low and high >= 0.95 * histogram.high


def test_fewer_bits_clip_more():
    highs = [squared_error_range(seen(laplace()), bits, True)[1] for bits in (8, 6, 4, 3, 2)]
    assert highs == sorted(highs, reverse=True) and highs[0] > 3 * highs[-1]


@pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])
@pytest.mark.parametrize("sign", [1, -1])
def test_one_side_stays_one_side(sign, symmetric):
    low, high = squared_error_range(seen(sign * laplace().abs()), 4, symmetric)
    assert (low == 0 and high > 0) if sign > 0 else (low < 0 and high == 0)


@pytest.mark.parametrize("times", [1, 10, 100, 1000])
@pytest.mark.parametrize("sign", [1, -1])
def test_where_squared_error_clips_a_lone_outlier(times, sign):
    """To clip T at c costs (T - c)², to round N numbers by steps of c/255 costs N (c/255)² / 12.

    The sum is least at T / (1 + N / 780 300), however large T is: among few numbers it stays.
    """
    histogram = seen(sign * uniform(20_000).abs())
    histogram.counts *= times
    histogram.add(torch.tensor([sign * 30.0]))
    found = max(squared_error_range(histogram), key=abs)
    expected = 30 / (1 + 20_000 * times / (12 * 255**2))
    assert found * sign == pytest.approx(expected, rel=0.03)


@pytest.mark.parametrize("sign", [1, -1])
def test_an_end_that_was_narrow_beside_an_outlier_widens_once_that_is_clipped(sign):
    histogram = seen(sign * normal())
    histogram.counts *= 1000
    histogram.add(torch.tensor([sign * 50.0]))
    low, high = squared_error_range(histogram, 4)
    assert (low, high) == pytest.approx((-2.55, 2.55), abs=0.4)


@pytest.mark.parametrize("name", DATA)
def test_as_good_as_torchs_histogram_observer(name):
    """HistogramObserver, too, looks for the range of least squared error, less thoroughly."""
    x = DATA[name]
    observer = HistogramObserver(dtype=torch.qint8)
    observer(x)
    scale, zero_point = observer.calculate_qparams()
    theirs = torch.fake_quantize_per_tensor_affine(x, scale.item(), zero_point.item(), -128, 127)
    ours = squared_error(x, *squared_error_range(seen(x)), 8)
    assert ours <= 1.02 * (theirs - x).double().square().sum().item()


# ---- entropy


def plain_divergence(counts, i, levels):
    """KL(P‖Q) of keeping i bins, from the words of the docstring, one number after another."""
    p = [float(count) for count in counts[:i]]
    p[i - 1] += float(sum(counts[i:]))
    q = [0.0] * i
    for level in range(levels):
        members = [j for j in range(i) if level * i <= j * levels < (level + 1) * i]
        total = sum(counts[j] for j in members)
        filled = [j for j in members if counts[j] > 0]
        for j in filled:
            q[j] = total / len(filled)
    result, all_p, all_q = 0.0, sum(p), sum(q)
    for a, b in zip(p, q, strict=True):
        if a > 0 and b == 0:
            return math.inf
        if a > 0:
            result += a / all_p * math.log((a / all_p) / (b / all_q))
    return result


@pytest.mark.parametrize("seed", depth.seeds(40, few=8))
def test_the_threshold_is_that_of_a_plain_loop(seed):
    random = np.random.default_rng(seed)
    bins = int(random.integers(2, 90))
    levels = int(random.integers(1, bins + 1)) if seed % 2 else min(bins, 4)
    counts = random.poisson(1000 * np.exp(-np.arange(bins) / (1 + bins / 6)))
    counts[random.random(bins) < 0.3] = 0
    counts[0] += 1
    counts[-1] += random.integers(0, 3)
    divergences = [plain_divergence(counts, i, levels) for i in range(levels, bins + 1)]
    for given in (counts, counts.astype(np.float64), torch.from_numpy(counts), counts * 7):
        found = entropy_threshold(given, levels)
        assert levels <= found <= bins
        assert divergences[found - levels] <= min(divergences) + 1e-12
        assert all(d > min(divergences) - 1e-12 for d in divergences[: found - levels])


@pytest.mark.parametrize(
    ("counts", "levels", "expected"),
    [
        ([5, 0, 0, 0], 1, 1),  # all alike: the first
        ([3, 3, 3, 3], 2, 4),  # even: nothing is lost
        ([5, 9, 2, 7], 4, 4),
        ([5, 9, 2, 7, 0, 0, 0, 1], 4, 4),  # one is clipped
        ([4, 0, 0, 0, 0, 0, 0, 1], 2, 8),  # at 2 to 7 the last bin is empty: infinite
        ([0, 0, 0, 1], 2, 4),
        ([9], 1, 1),
    ],
)
def test_thresholds_by_hand(counts, levels, expected):
    assert entropy_threshold(np.array(counts), levels) == expected


@pytest.mark.parametrize(
    ("counts", "levels", "message"),
    [
        ([1, 2, 3], 0, "levels must lie between 1 and 3, not 0"),
        ([1, 2, 3], 4, "levels must lie between 1 and 3, not 4"),
        ([], 1, "levels must lie between 1 and 0"),
        ([0, 0, 0], 2, "at least 0, and some above"),
        ([1, -1, 3], 2, "at least 0, and some above"),
    ],
)
def test_counts_that_are_none(counts, levels, message):
    with pytest.raises(ValueError, match=message):
        entropy_threshold(np.array(counts), levels)


def magnitudes(x, edge, bins=2048):
    return np.histogram(x[x != 0].abs().double().numpy(), np.linspace(0, edge, bins + 1))[0]


def test_the_entropy_range_is_the_threshold_on_2048_bins():
    x = torch.cat([laplace(), torch.tensor([-40.0, 35.0])])
    counts = magnitudes(x, 64)[: int(40 / 64 * 2048) + 1]
    for bits, symmetric, data, levels in [
        (8, False, x, 128),  # half of the integers are for positive numbers
        (8, True, x, 128),
        (8, False, x.abs(), 256),  # all of them
        (8, True, x.abs(), 128),
        (5, True, x, 16),
        (8, False, -x.abs(), 128),
    ]:
        clip = entropy_threshold(counts, levels) * 64 / 2048
        assert clip < 30
        found = entropy_range(seen(data), bits, symmetric)
        assert found == (max(data.min().clamp(max=0), -clip), min(data.max().clamp(min=0), clip))


def test_with_no_more_bins_than_levels_the_range_is_whole():
    x = laplace()
    histogram = seen(x)
    assert entropy_range(histogram, 12) == (x.min(), x.max())
    assert entropy_range(histogram, 16, True) == (x.min(), x.max())
    assert entropy_range(histogram, 6) != (x.min(), x.max())


def test_zeros_do_not_matter_to_entropy():
    x = torch.cat([normal().relu(), torch.tensor([20.0])])
    assert entropy_range(seen(x)) == entropy_range(seen(x, torch.zeros(10**5)))
    assert entropy_range(Histogram()) == entropy_range(seen(torch.zeros(3))) == (0, 0)


@pytest.fixture(scope="module")
def onnx_threshold():
    calibrate = pytest.importorskip("onnxruntime.quantization.calibrate")

    def threshold(x, edge, bins, levels):
        """Of a histogram of 2 · bins from -edge to edge with so many levels on each side."""
        collector = calibrate.HistogramCollector(
            "entropy", True, 2 * bins, 2 * levels, percentile=99.99, scenario="same"
        )
        counts, edges = np.histogram(x.numpy(), 2 * bins, (-edge, edge))
        ends = x.min().numpy(), x.max().numpy()
        found = collector.get_entropy_threshold((counts, edges, *ends), 2 * levels)
        return float(found[0]), float(found[1])

    return threshold


@pytest.mark.parametrize(
    ("x", "outlier"),
    [
        (normal(50_000, 0), 20.0),
        (normal(50_000, 1), 20.0),
        (normal(50_000, 0).relu(), 20.0),
        (normal(50_000, 1).relu(), 20.0),
        (laplace(50_000, 1), 60.0),
        (laplace(50_000, 2), 60.0),
    ],
    ids=["normal", "normal", "relu", "relu", "laplace", "laplace"],
)
def test_the_entropy_threshold_is_near_onnxruntimes(onnx_threshold, x, outlier):
    """On one histogram of a bell or a spike and its outliers, both clip at the end of the bulk.

    onnxruntime differs: it keeps both sides in one histogram and one bin more on the right, counts
    zeros, rounds Q's counts down to integers, cuts levels of the same whole number of bins and
    leaves the rest of the bins to the last one, and puts 0.0001 in empty bins, so that nothing is
    infinite. So not the same bin, but a clip nearby; where a tail is thin theirs may lie at twice
    ours (of laplace's seeds 0 and 3).
    """
    x = torch.cat([x, torch.tensor([outlier, outlier / 2])])
    edge = 2.0 ** math.ceil(math.log2(outlier))
    theirs = onnx_threshold(x, edge, 512, 64)[1]
    ours = entropy_threshold(magnitudes(x, edge, 512), 64) * edge / 512
    assert 0.6 * x.sort().values[-3] < ours < outlier / 3
    assert ours == pytest.approx(theirs, rel=0.1)


def test_beyond_a_gap_onnxruntime_clips_and_entropy_does_not(onnx_threshold):
    """The levels alone reach past the bulk; where the last bin kept is empty, KL is infinite.

    onnxruntime's 0.0001 makes that finite, and it clips as low as there are levels.
    """
    x = torch.cat([normal(50_000), torch.tensor([100.0])])
    assert onnx_threshold(x, 128, 512, 64)[1] < 30
    assert entropy_threshold(magnitudes(x, 128, 512), 64) * 128 / 512 > 100
    assert entropy_range(seen(x))[1] == 100


# ---- the calibrator


def calibrated(batches, *args, **kwargs):
    calibrator = Calibrator(*args, **kwargs)
    for batch in batches:
        calibrator.see(batch)
    return calibrator


def observed(observer, batches):
    for batch in batches:
        observer(batch)
    return observer.min_val.item(), observer.max_val.item()


BATCHES = [(1 + k) * normal(200, k) for k in (3, 0, 5, 1, 2, 8)]


@pytest.mark.parametrize("sign", [None, 1, -1], ids=["both", "positive", "negative"])
def test_min_max_is_torchs(sign):
    batches = [b if sign is None else sign * b.abs() for b in BATCHES]
    observer = MinMaxObserver(dtype=torch.qint8, qscheme=torch.per_tensor_affine)
    low, high = observed(observer, batches)
    calibrator = calibrated(batches, "min-max")
    assert calibrator.range() == (min(low, 0), max(high, 0))  # theirs is widened in qparams
    scale, zero_point = observer.calculate_qparams()
    ours = calibrator.qparams()
    assert ours.scale.item() == pytest.approx(scale.item(), rel=1e-6)
    assert ours.zero_point == zero_point


def test_symmetric_min_max_is_torchs_but_for_half_a_step():
    """torch divides the larger magnitude by 127.5, we the positive by 127, the negative by 128."""
    observer = MinMaxObserver(dtype=torch.qint8, qscheme=torch.per_tensor_symmetric)
    low, high = observed(observer, BATCHES)
    assert high > -low
    ours, theirs = calibrated(BATCHES, symmetric=True).qparams(), observer.calculate_qparams()[0]
    assert ours.scale.item() == pytest.approx(theirs.item() * 127.5 / 127, rel=1e-6)
    assert ours.zero_point == 0


@pytest.mark.parametrize("sign", [None, 1, -1], ids=["both", "positive", "negative"])
def test_the_moving_average_is_torchs(sign):
    """torch averages the ends as they are, we after widening each batch's range to hold zero."""
    batches = [b if sign is None else sign * b.abs() for b in BATCHES]
    observer = MovingAverageMinMaxObserver(averaging_constant=0.1, dtype=torch.qint8)
    low, high = observed(observer, [torch.cat([b, torch.zeros(1)]) for b in batches])
    calibrator = calibrated(batches, "moving average")
    assert calibrator.range() == pytest.approx((low, high), rel=1e-5)
    scale, zero_point = observer.calculate_qparams()
    assert calibrator.qparams().scale.item() == pytest.approx(scale.item(), rel=1e-5)
    assert calibrator.qparams().zero_point == zero_point


def test_the_first_batch_is_the_average_at_first():
    first, second = torch.tensor([-1.0, 2.0]), torch.tensor([3.0, 12.0])
    assert calibrated([first], "moving average").range() == (-1, 2)
    assert calibrated([first, second], "moving average").range() == pytest.approx((-0.9, 3))
    zeros = torch.zeros(4)
    assert calibrated([zeros, second], "moving average").range() == pytest.approx((0, 1.2))


@pytest.mark.parametrize("method", METHODS)
def test_the_order_of_batches_matters_to_the_moving_average_alone(method):
    there, back = calibrated(BATCHES, method), calibrated(BATCHES[::-1], method)
    assert (there.range() == back.range()) == (method != "moving average")


@pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])
@pytest.mark.parametrize("bits", [3, 8])
def test_each_method_is_its_function(bits, symmetric):
    histogram = seen(*BATCHES)
    for method, expected in {
        "min-max": (histogram.low, histogram.high),
        "percentile": percentile_range(histogram, 98),
        "squared error": squared_error_range(histogram, bits, symmetric),
        "entropy": entropy_range(histogram, bits, symmetric),
    }.items():
        calibrator = calibrated(BATCHES, method, bits, symmetric, percentile=98)
        assert calibrator.range() == expected
    assert set(METHODS) == {"min-max", "moving average", "percentile", "squared error", "entropy"}
    assert calibrated(BATCHES, "percentile").range() == percentile_range(histogram, 99.99)


@pytest.mark.parametrize("symmetric", [False, True], ids=["asymmetric", "symmetric"])
@pytest.mark.parametrize("bits", [2, 8, 16])
@pytest.mark.parametrize("method", METHODS)
def test_the_parameters_are_those_of_the_range(method, bits, symmetric):
    calibrator = calibrated(BATCHES, method, bits, symmetric)
    low, high = calibrator.range()
    assert type(low) is type(high) is float and low <= 0 <= high
    found, expected = calibrator.qparams(), choose_qparams(low, high, bits, symmetric)
    assert (found.scale, found.zero_point) == (expected.scale, expected.zero_point)
    assert (found.num_bits, found.signed, found.narrow) == (bits, True, False)
    assert found.scale.shape == () and (found.zero_point == 0 or not symmetric)


@pytest.mark.parametrize("batches", [[], [torch.empty(0)], [torch.zeros(3)]], ids=["0", "e", "z"])
@pytest.mark.parametrize("method", METHODS)
def test_with_nothing_seen_zero_is_kept(method, batches):
    calibrator = calibrated(batches, method)
    assert calibrator.range() == (0, 0)
    assert calibrator.qparams().scale == 1
    assert fake_quantize(torch.zeros(1), calibrator.qparams()) == 0


@pytest.mark.parametrize("most", [LEAST, 1e-40, 2.0**-126, 1.0, 2.0**115, MAX])
@pytest.mark.parametrize("method", METHODS)
def test_from_the_least_numbers_to_the_largest(method, most):
    calibrator = calibrated([most * uniform(100), torch.tensor([-most, most])], method)
    low, high = calibrator.range()
    assert -most <= low < 0 < high <= most
    assert calibrator.qparams().scale.isfinite()


@pytest.mark.parametrize("method", METHODS)
def test_a_batch_with_nan_is_as_if_never_seen(method):
    calibrator = calibrated(BATCHES[:3], method)
    with pytest.raises(ValueError, match="1 of 2 activations are NaN or infinite"):
        calibrator.see(torch.tensor([1000.0, math.nan]))
    calibrator.see(torch.empty(0))
    assert calibrator.range() == calibrated(BATCHES[:3], method).range()


def test_a_method_that_is_none():
    with pytest.raises(ValueError, match="no calibration 'minmax'; there are min-max, moving aver"):
        Calibrator("minmax")


# ---- one activation, many times as large as the rest, in one of ten batches


def disturbed_error(make, times, method, n=10_000):
    """The mean squared error of the undisturbed data at 8 bits, in parts of that of min-max."""
    batches = [make(n, seed) for seed in range(10)]
    clean = torch.cat(batches)
    batches[4] = batches[4].clone()
    batches[4][3] = times * clean.abs().max()

    def error(method):
        qparams = calibrated(batches, method).qparams()
        return (fake_quantize(clean, qparams) - clean).square().mean().item()

    return error(method) / error("min-max")


SHAPES = {"normal": normal, "laplace": laplace, "relu": lambda *a: normal(*a).relu()}


@pytest.mark.parametrize("name", SHAPES)
def test_percentile_and_moving_average_pass_over_one_outlier(name):
    assert disturbed_error(SHAPES[name], 100, "percentile") < 0.001
    assert disturbed_error(SHAPES[name], 100, "moving average") < 0.02


@pytest.mark.parametrize("name", SHAPES)
def test_squared_error_keeps_one_outlier_among_few_numbers(name):
    """Rounding 100 000 numbers coarsely is cheaper than clipping one, however large it is."""
    assert 0.7 < disturbed_error(SHAPES[name], 100, "squared error") <= 1
    assert 0.7 < disturbed_error(SHAPES[name], 10, "squared error") <= 1


def test_squared_error_passes_over_one_outlier_among_very_many():
    x = normal(20_000)
    histogram = seen(x)
    histogram.counts *= 1000
    histogram.add(100 * x.abs().max()[None])
    parts = squared_error(x, *squared_error_range(histogram), 8)
    assert parts < 0.01 * squared_error(x, histogram.low, histogram.high, 8)


@pytest.mark.parametrize("name", ["normal", "laplace"])
def test_entropy_passes_over_an_outlier_10_times_as_large_and_keeps_one_100_times(name):
    """Its 2048 bins reach to the outlier. Past 16 times, 128 levels of them reach past the rest."""
    assert disturbed_error(SHAPES[name], 10, "entropy") < 0.05
    assert disturbed_error(SHAPES[name], 100, "entropy") == 1

"""The optimum of many numbers, found within windows, against the whole table and kmeans1d."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrink.sharing import (
    assign,
    distortion,
    fit_codebook,
    near_optimal_codebook,
    optimal,
    optimal_codebook,
    optimal_codebooks,
    windows,
)
from tests import depth

whole = st.integers(-6, 6).map(float)
close = st.integers(-8000, 8000).map(lambda n: n / 8)
far = st.builds(lambda at, n: at * 1e4 + n / 8, st.sampled_from([-1, 0, 5]), st.integers(-9, 9))
numbers = st.lists(st.one_of(whole, close, far), min_size=1, max_size=40)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Windows for so few numbers that they show in a short list."""
    monkeypatch.setattr(optimal, "FEW", 0)


def random(n, seed=0) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed))


def clusters_of(n, places, seed=0):
    g = torch.Generator().manual_seed(seed)
    return (
        random(n, seed) / 50 + torch.tensor(places)[torch.randint(len(places), (n,), generator=g)]
    )


MANY = {
    "normal": random(5000),
    "heavy tails": random(5000) ** 5,
    "an outlier": torch.cat([random(5000), torch.tensor([1e4])]),
    "clusters": clusters_of(5000, [-3.0, 0.0, 1.0, 1.2, 9.0]),
    "a gap": (pruned := random(8000))[pruned.abs() > 0.7],
    "ties": random(5000).mul(20).round() / 20,
    "duplicates": torch.cat([torch.zeros(4000), random(1000)]),
    "a ruler": torch.arange(5000.0),
    "far from 0": random(5000) / 100 + 1000,
    "tiny": random(5000) * 1e-20,
}


@given(values=numbers, k=st.integers(1, 12), groups=st.sampled_from([1, 7, 20, 4096]))
@settings(max_examples=depth.examples(300))
def test_within_windows_the_optimum_is_that_of_the_whole_table(values, k, groups):
    x = torch.tensor(values)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(windows, "GROUPS", groups)
        found = optimal_codebook(x, k)
    expected = optimal_codebooks(x, k)[-1]
    assert (found.dtype, len(found)) == (torch.float32, len(expected))
    scale = float(x.abs().max()) ** 2  # the codebook is rounded to float32
    assert distortion(x, found) == pytest.approx(
        distortion(x, expected), rel=1e-5, abs=1e-9 * scale
    )


@pytest.mark.parametrize("name", MANY)
def test_the_optimum_of_many_numbers_is_the_same_to_the_last_bit(name):
    x = MANY[name]
    for k, expected in enumerate(optimal_codebooks(x, 17), 1):
        if k in (1, 2, 3, 8, 17):
            assert optimal_codebook(x, k).equal(expected), k


@pytest.mark.parametrize("name", MANY)
def test_every_cut_of_the_optimum_lies_in_its_window(name):
    x, counts = np.unique(MANY[name].double().numpy(), return_counts=True)
    moments = windows.moments_of(x, counts)
    cost = windows.cost_of(moments)
    for k in (2, 5, 16):
        known = np.linspace(0, len(x), k + 1).astype(np.int64)  # a poor one
        wide = windows.windows(moments, known)
        best = windows.best_ends(moments, wide)
        narrow = windows.windows(moments, best)  # none is better known
        for cut, *both in zip(best, wide, narrow, strict=True):
            assert all(low <= cut <= high for low, high in both)
        assert windows.best_ends(moments, narrow).tolist() == best.tolist()
        assert cost(best[:-1], best[1:]).sum() <= cost(known[:-1], known[1:]).sum()
        sizes = [sum(high - low for low, high in found) for found in (narrow, wide)]
        assert sizes[0] <= sizes[1] <= (k - 1) * len(x)


def test_windows_are_a_small_part_of_many_numbers():
    x = random(50_000).double().sort().values.numpy()
    moments = windows.moments_of(x, np.ones_like(x))
    best = windows.best_ends(
        moments, windows.windows(moments, np.linspace(0, 50_000, 9, dtype=int))
    )
    found = windows.windows(moments, best)
    assert sum(high - low for low, high in found) < len(x) / 2


@pytest.mark.parametrize("name", MANY)
def test_the_optimum_is_kmeans1ds(name):
    kmeans1d = pytest.importorskip("kmeans1d")
    x = MANY[name]
    for k in (1, 4, 16):
        _, theirs = kmeans1d.cluster(x.tolist(), k)
        theirs = torch.tensor(sorted(theirs), dtype=torch.float32)
        least = distortion(x, theirs)
        assert distortion(x, optimal_codebook(x, k)) <= least * (1 + 1e-5) + 1e-60


@pytest.mark.parametrize("gap", [0, 1, 2, 5])
def test_nearly_as_many_values_as_numbers(gap):
    x = random(60, seed=gap)
    expected = optimal_codebooks(x, 60 - gap)[-1]
    assert optimal_codebook(x, 60 - gap).equal(expected)
    assert near_optimal_codebook(x, 60 - gap).equal(expected)


def test_65536_values_of_as_many_numbers_are_these():
    x = torch.arange(2.0**16)
    for find in (optimal_codebook, near_optimal_codebook):
        assert find(x.flip(0), 2**16).equal(x)
        assert find(x.repeat(2), 2**16).equal(x)


# ---- near it


@pytest.mark.parametrize("name", MANY)
def test_k_means_from_the_best_start_comes_within_a_hundredth_of_the_optimum(name):
    x = MANY[name]
    for k, best in enumerate(optimal_codebooks(x, 32), 1):
        if k in (1, 2, 16, 32):
            near = near_optimal_codebook(x, k)
            assert (near.dtype, len(near)) == (torch.float32, len(best))
            assert distortion(x, near) <= 1.01 * distortion(x, best)


def test_groups_are_fine_in_the_tails_beside_an_outlier_too():
    x = MANY["an outlier"]
    assert distortion(x, near_optimal_codebook(x, 64)) < 1.01 * distortion(
        x, optimal_codebook(x, 64)
    )


@given(values=numbers, k=st.integers(1, 12))
@settings(max_examples=depth.examples(100))
def test_of_few_numbers_the_best_start_is_the_optimum(values, k):
    x = torch.tensor(values)
    near, best = near_optimal_codebook(x, k), optimal_codebooks(x, k)[-1]
    scale = float(x.abs().max()) ** 2
    assert distortion(x, near) == pytest.approx(distortion(x, best), rel=1e-5, abs=1e-9 * scale)
    assert (near.diff() > 0).all()


def test_k_means_has_nothing_to_change_at_its_end():
    x = random(30_000) ** 3
    codebook = near_optimal_codebook(x, 32)
    numbers = assign(x, codebook).long()
    means = [x[numbers == i].double().mean().item() for i in range(32)]
    assert codebook.tolist() == pytest.approx(means, rel=1e-5)
    assert distortion(x, codebook) < distortion(x, fit_codebook(x, 32))


def test_what_has_no_codebook_near_the_optimum_is_named():
    with pytest.raises(ValueError, match="at least one number, got none"):
        near_optimal_codebook(torch.zeros(0), 2)
    for k in (0, 2**16 + 1, 2.0):
        with pytest.raises(ValueError, match=f"1 to 65536 values, not {k!r}"):
            near_optimal_codebook(torch.ones(3), k)


# ---- the search


@given(st.data())
@settings(max_examples=depth.examples(100))
def test_the_cheapest_starts_are_those_of_every_pair(data):
    x = sorted(data.draw(st.lists(close, min_size=2, max_size=20, unique=True)))
    moments = windows.moments_of(np.array(x), np.ones(len(x)))
    place = st.integers(0, len(x))
    starts, ends = (tuple(sorted(data.draw(st.tuples(place, place)))) for _ in range(2))
    if starts[0] > ends[0]:
        starts, ends = ends, starts
    size = starts[1] - starts[0] + 1
    least = np.array(data.draw(st.lists(st.integers(0, 99), min_size=size, max_size=size)), float)
    cost = windows.cost_of(moments)
    found, cuts = windows.cheapest(least, starts, ends, cost)
    for end, cheapest, cut in zip(range(ends[0], ends[1] + 1), found, cuts, strict=True):
        every = [
            least[start - starts[0]] + cost(np.array([start]), np.array([end]))[0]
            for start in range(starts[0], min(starts[1], end) + 1)
        ]
        assert cheapest == pytest.approx(min(every), rel=1e-9, abs=1e-6)
        assert every[cut - starts[0]] == cheapest

"""Overlaps of masks against scipy's hypergeometric law."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from shrink import pruning


@given(st.integers(4, 40), st.integers(0, 40), st.integers(0, 40), st.integers(0, 10**6))
def test_overlap_by_chance_is_scipys_hypergeometric(n, a, b, seed):
    a, b = min(a, n), min(b, n)
    first = {"w": torch.arange(n) < a}
    second = pruning.shuffle_masks({"w": torch.arange(n) < b}, seed)
    found = pruning.mask_overlap(first, second)["w"]
    law = stats.hypergeom(n, a, b)
    assert found.shared == int((first["w"] & second["w"]).sum())
    assert law.pmf(found.shared) > 0
    assert found.expected == pytest.approx(law.mean(), abs=1e-9)
    assert found.deviation == pytest.approx(law.std(), abs=1e-6)
    assert pruning.mask_overlap(second, first)["w"] == found


def test_random_masks_fall_as_the_hypergeometric_says():
    mask = {"w": torch.arange(120).view(10, 12) < 36, "v": torch.arange(50) < 20}
    draws = [pruning.mask_overlap(mask, pruning.shuffle_masks(mask, seed)) for seed in range(200)]
    for name, n, kept in (("w", 120, 36), ("v", 50, 20)):
        shared = np.array([draw[name].shared for draw in draws])
        law = stats.hypergeom(n, kept, kept)
        assert abs(shared.mean() - law.mean()) < 4 * law.std() / math.sqrt(200)
        assert shared.std() == pytest.approx(law.std(), rel=0.2)  # four standard errors
        values = np.arange(int(law.ppf(0.02)), int(law.ppf(0.98)) + 1)
        seen = [(shared <= values[0]).sum(), *((shared == v).sum() for v in values[1:-1])]
        due = [law.cdf(values[0]), *law.pmf(values[1:-1])]
        seen, due = [*seen, 200 - sum(seen)], [*due, 1 - sum(due)]
        assert stats.chisquare(seen, 200 * np.array(due)).pvalue > 1e-3


def test_the_same_mask_shares_all_and_its_complement_nothing():
    mask = {"w": torch.arange(12).view(3, 4) % 3 == 0}
    assert pruning.mask_overlap(mask, mask)["w"].shared == 4
    assert pruning.mask_overlap(mask, {"w": ~mask["w"]})["w"].shared == 0
    whole = pruning.mask_overlap({"w": torch.ones(3) > 0}, {"w": torch.arange(3) < 2})["w"]
    assert (whole.shared, whole.expected, whole.deviation) == (2, 2, 0)
    one = pruning.mask_overlap({"w": torch.ones(1) > 0}, {"w": torch.ones(1) > 0})["w"]
    assert (one.shared, one.expected, one.deviation) == (1, 1, 0)


@pytest.mark.parametrize(
    ("second", "error", "named"),
    [
        ({"v": torch.ones(3) > 0}, ValueError, "v, w"),
        ({}, ValueError, "only one of the two has a mask of w"),
        ({"w": torch.ones(4) > 0}, ValueError, r"masks of w.*\(3,\).*\(4,\)"),
        ({"w": torch.ones(3)}, TypeError, "w in second.*float32"),
        ({"w": (torch.ones(3) > 0).to("meta")}, ValueError, "w.*cpu.*meta"),
        ([torch.ones(3) > 0], TypeError, "second.*list"),
    ],
)
def test_masks_that_cannot_be_compared_are_named(second, error, named):
    first = {"w": torch.ones(3) > 0}
    with pytest.raises(error, match=named):
        pruning.mask_overlap(first, second)
    with pytest.raises(error, match=named.replace("second", "first").split(".*")[0]):
        pruning.mask_overlap(second, first)


def test_empty_masks_overlap_nowhere():
    empty = {"w": torch.zeros(0, 3) > 0}
    with pytest.raises(ValueError, match=r"masks of w are empty.*\(0, 3\)"):
        pruning.mask_overlap(empty, empty)

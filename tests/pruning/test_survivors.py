"""One round against numpy's sort of the survivors, and the exact counts of what is left."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrink import pruning
from shrink.classroom import models
from tests.pruning.test_masks import BAD_WEIGHTS
from tests.pruning.ticket_nets import all_true, layers, numbers, oracle, some_masks

RATES = {"a": 0.2, "b": 0.5, "c": 0.1}
BAD_RATES = [
    (-0.1, ValueError, "-0.1"),
    (1.1, ValueError, "1.1"),
    (math.nan, ValueError, "nan"),
    ("0.2", TypeError, "'0.2'"),
    (True, TypeError, "True"),
    (None, TypeError, "None"),
]


# ---- one round


@given(st.integers(0, 10**6), st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_round_takes_the_smallest_of_each_layers_survivors(seed, first, second, share):
    weights = layers(seed)
    masks = some_masks(weights, seed, share)
    rates = {"a": first, "b": second, "c": 0.3}
    pruned = pruning.prune_survivors(weights, masks, rates)
    assert list(pruned) == ["a", "b", "c"]
    for name, mask in masks.items():
        assert pruned[name].dtype == torch.bool
        assert pruned[name].tolist() == oracle(weights[name], mask, rates[name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_every_float_type_is_ranked_by_its_own_values(dtype):
    weights = layers(3, dtype)
    masks = some_masks(weights)
    pruned = pruning.prune_survivors(weights, masks, 0.4)
    assert all(pruned[n].tolist() == oracle(weights[n], masks[n], 0.4) for n in weights)


@given(st.integers(0, 10**6), st.lists(st.floats(0, 1), max_size=6))
def test_masks_only_lose_and_by_the_exact_count(seed, rates):
    masks = all_true(layers())
    left = {name: mask.numel() for name, mask in masks.items()}
    for number, rate in enumerate(rates):
        before = masks
        masks = pruning.prune_survivors(layers(seed + number), masks, rate)
        for name, mask in masks.items():
            assert not (mask & ~before[name]).any()
            left[name] -= round(rate * left[name])
            assert int(mask.sum()) == left[name]


@pytest.mark.parametrize(
    ("left", "rate", "gone"),
    [(10, 0.25, 2), (14, 0.25, 4), (6, 0.25, 2), (2, 0.2, 0), (3, 0.2, 1), (7, 0, 0), (7, 1, 7)],
)
def test_a_count_is_rounded_once_and_half_to_even(left, rate, gone):
    weight = torch.arange(1.0, 1001)
    mask = weight > 1000 - left
    pruned = pruning.prune_survivors({"w": weight}, {"w": mask}, rate)["w"]
    assert int(mask.sum() - pruned.sum()) == gone
    assert pruned.equal(weight > 1000 - left + gone)
    assert pruning.count_survivors(left, rate, 1) == [left, left - gone]


def test_pruned_weights_are_not_ranked_again():
    """They are 0 and would be the smallest; here one has grown instead, and stays pruned."""
    weight = torch.tensor([0.0, 9.0, 3.0, 0.0, 2.0, 1.0])
    mask = torch.tensor([False, False, True, True, True, True])
    pruned = pruning.prune_survivors({"w": weight}, {"w": mask}, 0.5)["w"]
    assert pruned.tolist() == [False, False, True, False, True, False]


def test_a_layer_that_has_nothing_left_stays_so():
    weights, masks = {"w": numbers(3), "v": numbers(4)}, {"w": torch.zeros(3) > 0}
    masks["v"] = torch.ones(4) > 0
    for rate in (0, 0.5, 1):
        pruned = pruning.prune_survivors(weights, masks, rate)
        assert not pruned["w"].any() and int(pruned["v"].sum()) == 4 - 4 * rate


def test_a_round_changes_nothing_it_is_given():
    weights, masks = layers(), some_masks(layers())
    pruned = pruning.prune_survivors(weights, masks, 0)
    assert all(pruned[n].equal(masks[n]) and pruned[n] is not masks[n] for n in masks)
    for mask in pruned.values():
        mask.fill_(False)
    assert all(masks[n].equal(some_masks(layers())[n]) for n in masks)
    assert all(weights[n].equal(layers()[n]) for n in weights)


@pytest.mark.parametrize(("rate", "error", "named"), BAD_RATES)
def test_a_bad_rate_is_named(rate, error, named):
    weights, masks = layers(), all_true(layers())
    with pytest.raises(error, match=f"rates.*{named}"):
        pruning.prune_survivors(weights, masks, rate)
    with pytest.raises(error, match=f"the rate of b.*{named}"):
        pruning.prune_survivors(weights, masks, {**RATES, "b": rate})
    with pytest.raises(error, match=f"rate.*{named}"):
        pruning.count_survivors(10, rate, 0)
    with pytest.raises(error, match=f"the rate of b.*{named}"):
        pruning.kept_shares(weights, {**RATES, "b": rate}, 0)


@pytest.mark.parametrize(("weight", "error", "named"), BAD_WEIGHTS)
def test_a_bad_weight_is_named(weight, error, named):
    with pytest.raises(error, match=f"fc2.*{named}"):
        pruning.prune_survivors({"fc1": torch.ones(2), "fc2": weight}, {}, 0.2)
    with pytest.raises(error, match=f"fc2.*{named}"):
        pruning.signed_constants({"fc1": torch.arange(2.0), "fc2": weight})


@pytest.mark.parametrize(
    ("change", "error", "named"),
    [
        (lambda w, m, r: r.pop("c"), ValueError, "no rate for c"),
        (lambda w, m, r: r.update(d=0.1), ValueError, "a rate is given for d"),
        (lambda w, m, r: m.pop("b"), ValueError, "no mask for b"),
        (lambda w, m, r: m.update(d=m["a"]), ValueError, "'d'"),
        (lambda w, m, r: m.update(a=m["a"].t()), ValueError, r"mask of a has shape \(7, 6\)"),
        (lambda w, m, r: m.update(a=m["a"].float()), TypeError, "mask of a.*torch.float32"),
        (lambda w, m, r: m.update(a=m["a"].to("meta")), ValueError, "mask of a is on meta"),
        (lambda w, m, r: w.clear(), ValueError, "weights is empty"),
        (lambda w, m, r: w.update(a=w["a"].to("meta")), ValueError, "a has no values"),
        (lambda w, m, r: w.update(b=w["a"][:4, :5]), ValueError, "share memory"),
    ],
)
def test_what_does_not_fit_together_is_named(change, error, named):
    weights, rates = layers(), dict(RATES)
    masks = all_true(weights)
    change(weights, masks, rates)
    with pytest.raises(error, match=named):
        pruning.prune_survivors(weights, masks, rates)


# ---- counts


def test_counts_by_hand():
    assert pruning.count_survivors(8, 0.25, 3) == [8, 6, 4, 3]  # 2 of 8, round(1.5) of 6, 1 of 4
    assert pruning.count_survivors(100, 0.1, 3) == [100, 90, 81, 73]
    assert pruning.count_survivors(0, 0.5, 2) == [0, 0, 0]
    assert pruning.count_survivors(5, 1, 2) == [5, 0, 0]


@given(st.integers(0, 10**6), st.floats(0, 1), st.integers(0, 30))
def test_counts_are_near_the_power_of_what_stays(size, rate, rounds):
    """Each round is off by at most half a weight, and later rounds shrink that."""
    left = pruning.count_survivors(size, rate, rounds)
    assert len(left) == rounds + 1 and left[0] == size
    for number, count in enumerate(left):
        assert abs(count - size * (1 - rate) ** number) <= 0.5 * number + 1e-6


def test_kept_shares_are_the_papers():
    """What the paper's figures have on their axes: 51.3, 21.1, 7.0, 3.6 % of LeNet-300-100."""
    weights = models.weights(models.build("lenet-300-100", 0))
    rates = {"fc1.weight": 0.2, "fc2.weight": 0.2, "fc3.weight": 0.1}
    shares = pruning.kept_shares(weights, rates, 16)
    assert len(shares) == 17 and shares[0] == 1
    papers = {1: 80.0, 2: 64.1, 3: 51.3, 7: 21.1, 12: 7.0, 15: 3.6}
    for number, percent in papers.items():
        assert 100 * shares[number] == pytest.approx(percent, abs=0.06)
    counts = [pruning.count_survivors(w.numel(), rates[n], 7)[-1] for n, w in weights.items()]
    assert shares[7] == sum(counts) / 266_200
    meta = {name: w.to("meta") for name, w in weights.items()}
    assert pruning.kept_shares(meta, rates, 16) == shares


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ((-1, 0.2, 3), ValueError, "size.*-1"),
        ((2.0, 0.2, 3), TypeError, "size.*2.0"),
        ((True, 0.2, 3), TypeError, "size.*True"),
        ((5, 0.2, -3), ValueError, "rounds.*-3"),
        ((5, 0.2, 1.0), TypeError, "rounds.*1.0"),
    ],
)
def test_bad_counts_are_named(arguments, error, named):
    with pytest.raises(error, match=named):
        pruning.count_survivors(*arguments)


def test_shares_of_nothing_are_an_error():
    with pytest.raises(ValueError, match="weights is empty"):
        pruning.kept_shares({}, 0.2, 3)
    with pytest.raises(ValueError, match="weights is empty"):
        pruning.kept_shares({"w": torch.zeros(0)}, 0.2, 3)
    with pytest.raises(ValueError, match="no rate for c"):
        pruning.kept_shares(layers(), {"a": 0.1, "b": 0.1}, 3)
    with pytest.raises(TypeError, match=r"rounds.*True"):
        pruning.kept_shares(layers(), 0.2, True)

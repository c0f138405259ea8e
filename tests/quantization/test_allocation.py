"""Bits by layer: the best there is, as enumeration and integer programming have it."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import LinearConstraint, milp

from shrink.quantization.allocation import (
    best_allocation,
    greedy_allocation,
    lagrange_allocation,
    total,
    weight_bytes,
)
from tests import depth

WIDTHS = range(2, 9)
WAYS = (best_allocation, lagrange_allocation, greedy_allocation)


def table(seed=0, layers=6, widths=WIDTHS, bumps=True):
    """Costs that fall about fourfold with each bit, not always, and sizes of unlike layers."""
    rng = random.Random(seed)
    counts = [int(10 ** rng.uniform(1, 4)) for _ in range(layers)]
    costs, sizes = {}, {}
    for i, n in enumerate(counts):
        first = 10 ** rng.uniform(-1, 1)
        each = [first * 4.0 ** (2 - b) * (rng.uniform(0.2, 5) if bumps else 1) for b in widths]
        costs[f"layer{i}"] = dict(zip(widths, each, strict=True))
        sizes[f"layer{i}"] = {b: weight_bytes(n, b) for b in widths}
    return costs, sizes


def budget_of(sizes, bits):
    return sum(size[bits] for size in sizes.values())


def by_enumeration(costs, sizes, budget):
    """The least cost of all allocations that fit, which numpy adds up for all at once."""
    cost, size = np.zeros(1), np.zeros(1, np.int64)
    for name, options in costs.items():
        cost = np.add.outer(cost, [*options.values()]).ravel()
        size = np.add.outer(size, [sizes[name][option] for option in options]).ravel()
    return cost[size <= budget].min()


def by_integer_programming(costs, sizes, budget):
    """The least cost, by scipy's solver (HiGHS)."""
    c = np.array([cost for options in costs.values() for cost in options.values()])
    s = np.array([sizes[name][option] for name in costs for option in costs[name]])
    rows = np.zeros((len(costs), len(c)))
    at = 0
    for row, options in zip(rows, costs.values(), strict=True):
        row[at : at + len(options)] = 1
        at += len(options)
    limits = [LinearConstraint(s[None], ub=budget), LinearConstraint(rows, 1, 1)]
    found = milp(c, constraints=limits, integrality=1, bounds=(0, 1), options={"mip_rel_gap": 0})
    return found.fun


@pytest.mark.parametrize("bits", [2, 3, 4, 6, 8])
@pytest.mark.parametrize("seed", [0, 1, pytest.param(2, marks=pytest.mark.deep)])
def test_the_best_is_that_of_all_117_649(seed, bits):
    costs, sizes = table(seed)
    budget = budget_of(sizes, bits)
    found = best_allocation(costs, sizes, budget)
    assert total(sizes, found) <= budget
    assert total(costs, found) == pytest.approx(by_enumeration(costs, sizes, budget), rel=1e-12)


@pytest.mark.parametrize("layers", [1, 6, 20])
@pytest.mark.parametrize("seed", range(5))
def test_the_best_is_that_of_integer_programming(seed, layers):
    costs, sizes = table(seed, layers)
    budget = budget_of(sizes, 4) - 3
    found = best_allocation(costs, sizes, budget)
    expected = by_integer_programming(costs, sizes, budget)
    assert total(costs, found) == pytest.approx(expected, rel=1e-6)


small = st.lists(
    st.lists(
        st.tuples(st.floats(-3, 3) | st.sampled_from([0.0, 1.0]), st.integers(0, 9)),
        min_size=1,
        max_size=4,
    ),
    min_size=1,
    max_size=5,
)


@given(layers=small, spare=st.integers(0, 30))
@settings(max_examples=depth.examples(300))
def test_the_best_of_any_table(layers, spare):
    """Options of no bytes, of equal size or cost, of negative cost, and that cost more for more."""
    costs = {str(i): {j: c for j, (c, _) in enumerate(each)} for i, each in enumerate(layers)}
    sizes = {str(i): {j: s for j, (_, s) in enumerate(each)} for i, each in enumerate(layers)}
    budget = sum(min(size.values()) for size in sizes.values()) + spare
    least = by_enumeration(costs, sizes, budget)
    for way in WAYS:
        found = way(costs, sizes, budget)
        assert list(found) == list(costs) and total(sizes, found) <= budget
        assert total(costs, found) >= least - 1e-9
    assert total(costs, best_allocation(costs, sizes, budget)) == pytest.approx(least, abs=1e-9)


def test_greedy_and_lagrange_miss_the_best_at_times_and_never_beat_it():
    worse = dict.fromkeys(("lagrange", "down", "up"), 0)
    for seed in range(20):
        costs, sizes = table(seed)
        budget = budget_of(sizes, 4)
        least = total(costs, best_allocation(costs, sizes, budget))
        ways = {
            "lagrange": lagrange_allocation(costs, sizes, budget),
            "down": greedy_allocation(costs, sizes, budget),
            "up": greedy_allocation(costs, sizes, budget, start="least"),
        }
        for name, found in ways.items():
            assert total(sizes, found) <= budget
            assert total(costs, found) >= least * (1 - 1e-12)
            worse[name] += total(costs, found) > least * (1 + 1e-9)
    assert all(count >= 1 for count in worse.values()), worse


def test_on_the_convex_hull_lagrange_is_the_best():
    """At the bytes that it takes itself: nothing of so many bytes costs less."""
    for seed in range(10):
        costs, sizes = table(seed)
        found = lagrange_allocation(costs, sizes, budget_of(sizes, 4))
        least = total(costs, best_allocation(costs, sizes, total(sizes, found)))
        assert total(costs, found) == pytest.approx(least, rel=1e-9)


def test_a_bump_stops_greedy_from_below():
    """3 bits cost more than 2, and 4 much less: only who looks past the next sees that."""
    costs = {"a": {2: 1.0, 3: 1.5, 4: 0.1}, "b": {2: 1.0, 3: 0.9, 4: 0.85}}
    sizes = {"a": {2: 2, 3: 3, 4: 4}, "b": {2: 2, 3: 3, 4: 4}}
    assert best_allocation(costs, sizes, 6) == {"a": 4, "b": 2}


def test_all_bytes_and_one_less():
    costs, sizes = table(3)
    least, most = budget_of(sizes, 2), budget_of(sizes, 8)
    for way in WAYS:
        assert set(way(costs, sizes, least).values()) == {2}
        with pytest.raises(ValueError, match=f"takes {least} bytes, and the budget is {least - 1}"):
            way(costs, sizes, least - 1)
    free = {name: min(options, key=options.get) for name, options in costs.items()}
    for way in WAYS[:2]:
        assert way(costs, sizes, most) == way(costs, sizes, 10**30) == free


def test_options_may_be_pairs_and_words_and_layers_of_unlike_ones():
    costs = {"conv": {(8, 8): 0.0, (4, 8): 0.5, (4, 4): 0.9}, "fc": {"16 shared values": 0.2, 8: 0}}
    sizes = {
        "conv": {(8, 8): 100, (4, 8): 50, (4, 4): 50},
        "fc": {"16 shared values": 564, 8: 1000},
    }
    assert best_allocation(costs, sizes, 700) == {"conv": (8, 8), "fc": "16 shared values"}
    assert best_allocation(costs, sizes, 620) == {"conv": (4, 8), "fc": "16 shared values"}


def test_53_layers_as_of_a_large_network_are_exact():
    costs, sizes = table(0, layers=53)
    budget = budget_of(sizes, 4)
    found = total(costs, best_allocation(costs, sizes, budget))
    assert found == pytest.approx(by_integer_programming(costs, sizes, budget), rel=1e-6)


def test_sizes_beyond_what_floats_hold_are_added_up_whole():
    costs = {"a": {2: 1.0, 4: 0.0}, "b": {2: 1.0, 4: 0.5}}
    sizes = {name: {2: 2**60, 4: 2**60 + 1} for name in costs}
    assert best_allocation(costs, sizes, 2**61 + 1) == {"a": 4, "b": 2}


ONE = {"a": {2: 1.0}}
REFUSED = {
    "no layers": (({}, {}, 9), ValueError, "same layers, not of none, and none"),
    "other layers": ((ONE, {"b": {2: 1}}, 9), ValueError, "same layers, not of a, and b"),
    "no options": (({"a": {}}, {"a": {}}, 9), ValueError, r"sizes of a .*not \[\] and \[\]"),
    "other options": ((ONE, {"a": {3: 1}}, 9), ValueError, r"sizes of a .*not \[2\] and \[3\]"),
    "NaN": (({"a": {2: float("nan")}}, {"a": {2: 1}}, 9), ValueError, "cost of a at 2 is nan"),
    "infinite": (({"a": {2: float("inf")}}, {"a": {2: 1}}, 9), ValueError, "cost of a at 2 is inf"),
    "a word": (({"a": {2: "low"}}, {"a": {2: 1}}, 9), TypeError, "cost of a at 2 .*'low'"),
    "half a byte": ((ONE, {"a": {2: 1.5}}, 9), TypeError, "size of a at 2 .*1.5"),
    "less than none": ((ONE, {"a": {2: -1}}, 9), ValueError, "size of a at 2 .*-1"),
    "half a budget": ((ONE, {"a": {2: 1}}, 1.5), TypeError, "budget .*1.5"),
    "a budget below 0": ((ONE, {"a": {2: 1}}, -1), ValueError, "budget .*-1"),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("given", "kind", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_table_is_refused_by_name(way, given, kind, message):
    with pytest.raises(kind, match=message):
        way(*given)


def test_other_starts_layers_and_options_are_refused():
    with pytest.raises(ValueError, match="no start 'middle'; there are most, least"):
        greedy_allocation(ONE, {"a": {2: 1}}, 9, start="middle")
    with pytest.raises(ValueError, match="no option 3 of a layer 'a'"):
        total(ONE, {"a": 3})
    with pytest.raises(ValueError, match="no option 2 of a layer 'b'"):
        total(ONE, {"b": 2})


@pytest.mark.parametrize("bits", range(1, 33))
def test_bytes_are_rounded_up_for_each_layer(bits):
    for count in range(20):
        assert weight_bytes(count, bits) == (count * bits + 7) // 8 + 4
    assert weight_bytes(10, bits, scales=3, codebook=5) == (10 * bits + 7) // 8 + 32


@pytest.mark.parametrize("given", [(1.5, 2), (1, 0), (1, 33), (-1, 2), (1, 2, -1), (1, 2, 1, -1)])
def test_bytes_of_what_there_is_not_are_refused(given):
    with pytest.raises((TypeError, ValueError), match="must"):
        weight_bytes(*given)

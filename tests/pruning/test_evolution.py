"""Evolution within a band of MACs: it stays inside, and finds what brute force finds."""

import itertools
import random
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shrink import cost
from shrink.pruning.evolution import SearchSpace, crossover, evolve, mutate
from tests.depth import seeds

SPACE = SearchSpace(6, [range(1, 9)] * 3, 4, least_macs=60, most_macs=100)


@pytest.fixture(scope="module")
def inside():
    """All structures in the band, by brute force: MACs are those counted in a network."""
    found = []
    for widths in itertools.product(range(1, 9), repeat=3):
        sizes = (6, *widths, 4)
        net = nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in itertools.pairwise(sizes)))
        if 60 <= cost.macs(net, torch.zeros(1, 6)) <= 100:
            found.append(widths)
    return found


def table(inside, seed):
    """A score with one best structure: it falls with the distance from there."""
    target = random.Random(seed).choice(inside)
    return lambda widths: -sum((a - b) ** 2 for a, b in zip(widths, target, strict=True))


def test_the_space_has_exactly_the_structures_in_the_band(inside):
    everything = itertools.product(range(10), repeat=3)
    assert [widths for widths in everything if widths in SPACE] == inside
    rng = random.Random(0)
    drawn = {SPACE.draw(rng) for _ in range(20 * len(inside))}
    assert drawn == set(inside)


@pytest.mark.parametrize("seed", seeds(30))
def test_it_finds_the_best_of_all_without_scoring_all(inside, seed):
    score = table(inside, seed)
    found = evolve(score, SPACE, seed=seed, population=10, parents=5, generations=10)
    assert max(found, key=found.get) == max(inside, key=score)
    assert len(found) <= 100 < 0.7 * len(inside)


@pytest.mark.parametrize("seed", seeds(30))
def test_children_of_the_best_beat_as_many_random_structures(seed):
    space = SearchSpace(6, [range(1, 41)] * 4, 4, least_macs=1000, most_macs=2000)
    draw = random.Random(seed)
    score = table([space.draw(draw)], seed)
    found = evolve(score, space, seed=seed, population=20, generations=10)
    assert max(found.values()) > max(score(space.draw(draw)) for _ in range(200))


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 6), st.floats(0, 1))
def test_it_never_leaves_the_band_and_scores_nothing_twice(seed, population, parents, chance):
    asked = []

    def score(widths):
        asked.append(widths)
        return float(sum(widths))

    options = {"population": population, "parents": parents, "generations": 4}
    found = evolve(score, SPACE, seed=seed, chance=chance, **options)
    assert all(60 <= SPACE.macs(widths) <= 100 for widths in asked)
    assert len(set(asked)) == len(asked) <= 4 * population
    assert list(found) == asked and all(found[widths] == sum(widths) for widths in asked)
    assert evolve(score, SPACE, seed=seed, chance=chance, **options) == found
    assert asked == 2 * list(found)


def test_one_parent_has_mutated_children():
    space = SearchSpace(6, [range(1, 100)] * 20, 4)
    found = [*evolve(sum, space, seed=0, population=10, parents=1, generations=2)]
    best = max(found[:10], key=sum)
    alike = [sum(a == b for a, b in zip(best, child, strict=True)) for child in found[10:]]
    assert sum(n > 10 for n in alike) == 5  # half of a generation


def test_two_parents_have_children_with_each_width_from_one_of_them():
    space = SearchSpace(6, [range(1, 100)] * 20, 4)
    options = {"population": 10, "parents": 2, "generations": 2}
    found = [*evolve(sum, space, seed=0, chance=0, **options)]  # a mutation is what it was made of
    both = sorted(found[:10], key=sum)[-2:]
    assert len(found) == 20
    assert all(
        width in genes for child in found[10:] for width, *genes in zip(child, *both, strict=True)
    )


def test_another_seed_takes_another_way():
    first, second = (evolve(sum, SPACE, seed=seed, generations=1) for seed in (0, 1))
    assert list(first) != list(second)


def test_a_space_that_is_used_up_ends_it(inside):
    found = evolve(sum, SPACE, seed=0, population=40, generations=30)
    assert set(found) == set(inside)


def test_progress_is_told_and_stop_is_asked_before_each_score():
    told = []
    evolve(sum, SPACE, seed=0, population=5, generations=2, progress=lambda *n: told.append(n))
    assert told == [(n, 10) for n in range(1, 11)]
    answers = iter([False] * 7 + [True])
    found = evolve(sum, SPACE, seed=0, population=5, generations=2, stop=lambda: next(answers))
    assert len(found) == 7


def test_a_mutation_draws_each_width_anew_by_chance():
    rng, choices = random.Random(0), [range(1, 101)] * 1000
    widths = (200,) * 1000  # no choice, so that it shows what was drawn
    assert mutate(widths, choices, 0, rng) == widths
    drawn = [width for width in mutate(widths, choices, 0.1, rng) if width != 200]
    assert 60 < len(drawn) < 140 and len(set(drawn)) > 30
    assert 200 not in mutate(widths, choices, 1, rng)


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(11, 19), st.booleans())))
def test_a_child_has_each_width_from_one_parent(genes):
    first, second, own = zip(*genes, strict=True) if genes else ((), (), ())
    child = crossover(first, second, own)
    assert [width < 10 for width in child] == list(own)
    assert all(width in parents for width, parents in zip(child, genes, strict=True))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"least_macs": 101}, "none has 101 to 100"),
        ({"least_macs": 209, "most_macs": None}, "have 12 to 208 MACs"),
        ({"least_macs": 0, "most_macs": 11}, "none has 0 to 11"),
        ({"choices": [(0, 4)]}, "a width must be at least 1, not 0"),
        ({"choices": [(4,), ()]}, "needs a width to choose"),
        ({"choices": []}, "needs a width to choose"),
        ({"inputs": 0}, "inputs must be at least 1, not 0"),
        ({"least_macs": -1}, "least_macs must be at least 0, not -1"),
    ],
)
def test_a_space_with_nothing_in_it_is_refused(change, message):
    with pytest.raises(ValueError, match=message):
        replace(SPACE, **change)


def test_a_band_between_the_structures_is_refused_when_drawn_from(monkeypatch):
    monkeypatch.setattr("shrink.pruning.evolution.TRIES", 500)
    gap = SearchSpace(10, [(1, 9)], 10, least_macs=30, most_macs=170)  # they have 20 and 180
    with pytest.raises(ValueError, match="of 500 structures none has 30 to 170 MACs"):
        evolve(sum, gap, seed=0)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"population": 0}, ValueError, "population must be at least 1, not 0"),
        ({"parents": 0}, ValueError, "parents must be at least 1, not 0"),
        ({"generations": 2.5}, TypeError, "generations must be a whole number, not 2.5"),
        ({"chance": 1.5}, ValueError, "chance must lie between 0 and 1, not 1.5"),
        ({"seed": None}, TypeError, "seed must be a whole number, not None"),
    ],
)
def test_what_it_cannot_work_with_is_named(options, error, message):
    with pytest.raises(error, match=message):
        evolve(sum, SPACE, **{"seed": 0, **options})


@pytest.mark.parametrize(("score", "error"), [(float("nan"), ValueError), (None, TypeError)])
def test_a_score_that_is_no_number_is_named_with_its_structure(score, error):
    with pytest.raises(error, match=r"the score of \(\d, \d, \d\)"):
        evolve(lambda widths: score, SPACE, seed=0)

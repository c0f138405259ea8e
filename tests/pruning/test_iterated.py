"""Pruning by scores: exactly so many, the smallest of what is left, whatever scores come later."""

import copy
import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from shrink.classroom import models
from shrink.pruning import (
    exponential_sparsity,
    masks_from_scores,
    prune_by_score,
    synflow_scores,
)
from tests import depth
from tests.pruning.nets import state_of

SHAPE = (1, 28, 28)


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Three(nn.Module):
    """Weights of several shapes, one of them not contiguous."""

    def __init__(self, seed=0):
        super().__init__()
        self.a, self.b = nn.Parameter(numbers(3, 4, seed=seed)), nn.Parameter(numbers(5, seed=seed))
        self.c = nn.Parameter(numbers(2, 3, 2, 2, seed=seed).to(memory_format=torch.channels_last))


SHAPES = {"a": (3, 4), "b": (5,), "c": (2, 3, 2, 2)}
TOTAL = 12 + 5 + 24


def by_hand(rounds, counts):
    """What is left after each round of scores: the smallest go one by one, the first of equals."""
    left = {(name, i): None for name, s in rounds[0].items() for i in range(s.numel())}
    for scores, count in zip(rounds, counts, strict=True):
        flat = {name: s.flatten().tolist() for name, s in scores.items()}
        order = sorted(left, key=lambda key: flat[key[0]][key[1]])  # stable
        for key in order[: len(left) - (TOTAL - count)]:
            del left[key]
    return {
        name: torch.tensor([(name, i) in left for i in range(s.numel())]).view(s.shape)
        for name, s in rounds[0].items()
    }


def some_scores(seed, kinds=4):
    draw = torch.Generator().manual_seed(seed)
    return {n: torch.randint(-kinds, kinds, s, generator=draw).float() for n, s in SHAPES.items()}


# ---- one ranking


@given(st.integers(0, 10**6), st.floats(0, 1))
def test_the_smallest_go_and_of_equal_ones_the_first(seed, sparsity):
    scores = some_scores(seed)
    masks = masks_from_scores(scores, sparsity)
    expected = by_hand([scores], [round(sparsity * TOTAL)])
    assert all(masks[name].equal(expected[name]) for name in scores)


def test_what_scores_minus_infinity_goes_first():
    scores = {"a": torch.tensor([-9.0, -torch.inf]), "b": torch.tensor([[torch.inf, -torch.inf]])}
    assert [m.tolist() for m in masks_from_scores(scores, 0.5).values()] == [
        [True, False],
        [[True, False]],
    ]


def test_a_score_under_two_names_counts_once():
    score = numbers(5)
    masks = masks_from_scores({"x": score, "other": numbers(5, seed=1), "y": score}, 0.5)
    assert masks["x"] is masks["y"] and int(masks["x"].sum() + masks["other"].sum()) == 5


@pytest.mark.parametrize(
    ("scores", "sparsity", "kind", "told"),
    [
        ({}, 0.5, ValueError, "empty"),
        ([torch.ones(2)], 0.5, TypeError, "list"),
        ({"w": torch.tensor([1, 2])}, 0.5, TypeError, "w must be floating point"),
        ({"w": torch.tensor([1, torch.nan])}, 0.5, ValueError, "w holds 1 NaN"),
        ({"w": torch.ones(2), "v": torch.ones(2).double()}, 0.5, ValueError, "several types"),
        ({"w": torch.ones(2)}, 1.5, ValueError, "1.5"),
        ({"w": torch.ones(2)}, "half", TypeError, "half"),
    ],
)
def test_scores_that_cannot_be_ranked_are_refused(scores, sparsity, kind, told):
    with pytest.raises(kind, match=told):
        masks_from_scores(scores, sparsity)


# ---- in steps


@pytest.mark.parametrize("seed", depth.seeds(20, few=4))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_each_step_ranks_what_is_left_anew(seed, dtype):
    steps, sparsity, rounds, seen = 5, 0.9, [], []

    def score(net):
        seen.append({name: p.detach().clone() for name, p in net.named_parameters()})
        rounds.append({n: s.to(dtype) for n, s in some_scores(10 * seed + len(rounds)).items()})
        return rounds[-1]

    net = Three(seed)
    masks = prune_by_score(net, score, sparsity, steps)
    counts = [round(exponential_sparsity(t, steps, sparsity) * TOTAL) for t in range(1, steps + 1)]
    assert len(seen) == steps and counts[-1] == round(0.9 * TOTAL)
    for done in range(steps + 1):
        expected = by_hand(rounds[:done] or rounds[:1], counts[:done] or [0])
        given = seen[done] if done < steps else {n: p * masks[n] for n, p in net.named_parameters()}
        assert all(given[n].equal(p.detach() * expected[n]) for n, p in net.named_parameters())
    assert all(masks[name].equal(expected[name]) for name in SHAPES)


def test_what_is_pruned_is_never_ranked_again():
    """Scores that rise where a weight is 0: a second ranking of all would take others instead."""

    def score(net):
        return {name: torch.where(p == 0, 100, p.abs()) for name, p in net.named_parameters()}

    net = Three()
    first, then = (prune_by_score(net, score, 0.6, steps) for steps in (1, 7))
    assert all(first[name].equal(then[name]) for name in SHAPES)


@pytest.mark.parametrize("sparsity", [0, 0.3, 1])
@pytest.mark.parametrize("steps", [1, 3, 100])
def test_exactly_so_many_are_pruned_though_all_scores_are_equal(sparsity, steps):
    masks = prune_by_score(
        Three(), lambda net: {n: torch.zeros(s) for n, s in SHAPES.items()}, sparsity, steps
    )
    flat = torch.cat([mask.flatten() for mask in masks.values()])
    k = round(sparsity * TOTAL)
    assert not flat[:k].any() and flat[k:].all()


def test_only_what_is_scored_is_pruned_and_the_model_is_left_as_it_was():
    net = models.build("separable", seed=0).train()
    before = state_of(net)
    seen = []

    def score(masked):
        seen.append(masked)
        return {"fc.weight": masked.fc.weight.abs(), "stem.weight": masked.stem.weight.abs()}

    masks = prune_by_score(net, score, 0.9, 3)
    after = state_of(net)
    assert before[0] == after[0] and before[2] == after[2]
    assert all(before[1][name].equal(after[1][name]) for name in before[1])
    assert set(masks) == {"fc.weight", "stem.weight"} and net not in seen
    assert all(mask.shape == net.get_parameter(name).shape for name, mask in masks.items())
    assert all(w is seen[0] for w in seen), "one copy for all steps"
    assert seen[0].depthwise1.weight.equal(net.depthwise1.weight)


def test_a_weight_under_two_names_counts_once():
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    net[1].weight = net[0].weight

    def score(masked):
        named = masked.named_parameters(remove_duplicate=False)
        return {name: p.abs() for name, p in named if p.dim() > 1}

    masks = prune_by_score(net, score, 0.75, 2)
    assert masks["0.weight"] is masks["1.weight"] and int(masks["0.weight"].sum()) == 4


CHAINS = ("lenet-300-100", "lenet-5", "tiny-tanh", "separable")


@pytest.mark.parametrize("name", CHAINS)
def test_synflow_prunes_to_one_weight_in_each_layer(name):
    net = models.build(name, seed=1)
    shapes = [p.numel() for p in net.parameters() if p.dim() > 1]
    final = 1 - len(shapes) / sum(shapes)
    masks = prune_by_score(net, lambda m: synflow_scores(m, SHAPE), final, 100)
    assert [int(mask.sum()) for mask in masks.values()] == [1] * len(shapes)


def with_autograd(net, shape, final, steps):
    """As the authors' code does it: magnitudes in place, one kthvalue over all, masks multiplied.

    Here in float64, with the number of weights rounded as ours, and without biases.
    """
    net = copy.deepcopy(net).double()
    weights = {name: p for name, p in net.named_parameters() if p.dim() > 1}
    masks = {name: torch.ones_like(p) for name, p in weights.items()}
    with torch.no_grad():
        for p in net.parameters():
            p.abs_() if p.dim() > 1 else p.zero_()
    for step in range(1, steps + 1):
        net.zero_grad()
        net(torch.ones(1, *shape).double()).sum().backward()
        flat = torch.cat([(p.grad * p).abs().flatten() for p in weights.values()])
        threshold = flat.kthvalue(round((1 - (1 - final) ** (step / steps)) * len(flat))).values
        for name, p in weights.items():
            masks[name] = torch.where((p.grad * p).abs() <= threshold, 0.0, 1.0)
            p.data.mul_(masks[name])
    return {name: mask.bool() for name, mask in masks.items()}


@pytest.mark.parametrize("compression", [10, pytest.param(30, marks=pytest.mark.deep), 50])
def test_the_masks_are_those_of_the_authors_way(compression):
    net = models.build("tiny-relu", seed=2).double()
    found = prune_by_score(net, lambda m: synflow_scores(m, SHAPE), 1 - 1 / compression, 100)
    expected = with_autograd(net, SHAPE, 1 - 1 / compression, 100)
    assert all(found[name].equal(expected[name]) for name in expected)


# ---- what is refused


def constant(net):
    return {name: torch.zeros(shape) for name, shape in SHAPES.items()}


SCHEDULES = [
    (lambda t, steps, s: s * (steps - t) / steps, ValueError, "falls from 0.6"),
    (lambda t, steps, s: 0.5 * s, ValueError, "ends at 0.45"),
    (lambda t, steps, s: -0.1, ValueError, "-0.1 at step 1"),
    (lambda t, steps, s: 1.5, ValueError, "1.5 at step 1"),
    (lambda t, steps, s: torch.nan, ValueError, "nan at step 1"),
    (lambda t, steps, s: "much", TypeError, "much"),
]


@pytest.mark.parametrize(("schedule", "kind", "told"), SCHEDULES)
def test_a_schedule_that_falls_or_ends_elsewhere_is_refused(schedule, kind, told):
    def never(net):
        pytest.fail("scored")

    with pytest.raises(kind, match=told):
        prune_by_score(Three(), never, 0.9, 3, schedule)


SCORES = [
    (lambda net: {}, ValueError, "no score"),
    (lambda net: [torch.zeros(3)], TypeError, "list"),
    (lambda net: {**constant(net), "d": torch.zeros(2)}, ValueError, "'d'"),
    (lambda net: {**constant(net), "a": torch.zeros(4, 3)}, ValueError, r"a are \(4, 3\)"),
    (lambda net: {**constant(net), "a": torch.zeros(3, 4).int()}, TypeError, "scores of a"),
    (lambda net: {**constant(net), "a": torch.zeros(3, 4).double()}, ValueError, "several types"),
    (lambda net: {**constant(net), "a": torch.full((3, 4), torch.nan)}, ValueError, "NaN"),
]


@pytest.mark.parametrize(("score", "kind", "told"), SCORES)
def test_scores_of_other_weights_are_refused(score, kind, told):
    with pytest.raises(kind, match=told):
        prune_by_score(Three(), score, 0.5, 2)


def test_a_step_that_scores_other_weights_is_refused():
    rounds = iter([SHAPES, {"a": (3, 4), "c": (2, 3, 2, 2)}])
    with pytest.raises(ValueError, match="other weights than the first: b"):
        prune_by_score(
            Three(), lambda net: {n: torch.zeros(s) for n, s in next(rounds).items()}, 0.5, 2
        )


@pytest.mark.parametrize(
    ("arguments", "kind", "told"),
    [
        (("net", constant, 0.5), TypeError, "str"),
        ((Three(), constant, 1.5), ValueError, "1.5"),
        ((Three(), constant, 0.5, 0), ValueError, "steps"),
        ((Three(), constant, 0.5, 2.0), TypeError, "steps"),
    ],
)
def test_bad_input_is_named(arguments, kind, told):
    with pytest.raises(kind, match=told):
        prune_by_score(*arguments)


# ---- the schedule


@pytest.mark.parametrize("steps", [1, 7, 100])
def test_each_step_keeps_the_same_share(steps):
    left = [1 - exponential_sparsity(step, steps, 0.999) for step in range(steps + 1)]
    shares = [after / before for before, after in itertools.pairwise(left)]
    assert left[0] == 1 and left[-1] == pytest.approx(0.001)
    assert shares == pytest.approx([0.001 ** (1 / steps)] * steps)
    assert exponential_sparsity(steps, steps, 1) == 1 and exponential_sparsity(1, 1, 0) == 0


@pytest.mark.parametrize(
    ("arguments", "kind", "told"),
    [
        ((3, 2, 0.5), ValueError, "step must"),
        ((-1, 2, 0.5), ValueError, "step must"),
        ((0, 0, 0.5), ValueError, "steps must"),
        ((0.5, 2, 0.5), TypeError, "step must"),
        ((1, 2, 1.1), ValueError, "1.1"),
        ((1, 2, None), TypeError, "None"),
    ],
)
def test_a_schedule_out_of_range_is_refused(arguments, kind, told):
    with pytest.raises(kind, match=told):
        exponential_sparsity(*arguments)

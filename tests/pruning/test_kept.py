"""Which units stay, against definitions in plain Python and torch's own structured pruning."""

import math
from fractions import Fraction

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from shrink.pruning import keep_across_groups, keep_count, keep_per_group, keep_strongest

SHARE = st.floats(0, 1) | st.sampled_from([0, 1, 0.25, 0.5]) | st.fractions(0, 1)
TIED = st.lists(st.sampled_from([-1.0, -0.0, 0.0, 1.0, 2.0, math.inf]), min_size=1, max_size=12)
ANY = st.lists(st.floats(allow_nan=False, width=32), min_size=1, max_size=12)
GROUPS = st.dictionaries(st.text(max_size=3), TIED | ANY, min_size=1, max_size=4)


def strongest(scores, count):
    """The last `count` in a stable order from small to large, ascending by number."""
    return sorted(sorted(range(len(scores)), key=lambda unit: scores[unit])[len(scores) - count :])


@given(st.integers(1, 300), SHARE, st.integers(1, 40))
def test_the_number_is_the_nearest_multiple_that_there_is(units, share, multiple):
    assume(multiple <= units)
    wanted = round(float(share) * units)
    count = keep_count(units, share, multiple)
    multiples = range(multiple, units + 1, multiple)
    assert count in multiples
    assert abs(count - wanted) == min(abs(m - wanted) for m in multiples)


@pytest.mark.parametrize(
    ("units", "share", "multiple", "count"),
    [
        (10, 0.25, 1, 2),  # half to even
        (14, 0.25, 1, 4),
        (16, 0, 1, 1),
        (1, 0, 1, 1),
        (20, 1, 8, 16),
        (64, 0.01, 8, 8),
        (24, 0.5, 8, 16),  # 12 is as near to 8: half to even, 2 of 8
        (40, 0.5, 8, 16),  # 20 lies between 2 and 3 of 8
        (7, Fraction(1, 3), 1, 2),
    ],
)
def test_counts_that_can_be_checked_by_hand(units, share, multiple, count):
    assert keep_count(units, share, multiple) == count


@given(TIED | ANY, st.data())
def test_exactly_the_strongest_stay_and_of_equal_ones_the_last(scores, data):
    count = data.draw(st.integers(1, len(scores)))
    kept = keep_strongest(torch.tensor(scores), count)
    assert kept.dtype == torch.int64
    assert kept.tolist() == strongest(scores, count)


@pytest.mark.parametrize(("n", "count"), [(1, 1), (1, 7), (2, 7), (2, 12)])
def test_the_filters_that_stay_are_those_of_torch(n, count):
    torch.manual_seed(n)
    layer = nn.Conv2d(3, 12, 3)
    scores = layer.weight.detach().flatten(1).norm(p=n, dim=1)
    prune.ln_structured(layer, "weight", amount=12 - count, n=n, dim=0)
    kept = layer.weight_mask.flatten(1).any(1).nonzero().flatten()
    assert keep_strongest(scores, count).equal(kept)


@given(GROUPS, SHARE)
def test_each_group_keeps_its_share_by_a_ranking_of_its_own(groups, share):
    kept = keep_per_group({name: torch.tensor(s) for name, s in groups.items()}, share)
    assert list(kept) == list(groups)
    for name, scores in groups.items():
        assert kept[name].tolist() == strongest(scores, max(1, round(float(share) * len(scores))))


@given(GROUPS, SHARE)
def test_across_groups_the_best_of_each_stay_and_then_the_best_of_all(groups, share):
    units = [(name, unit) for name, scores in groups.items() for unit in range(len(scores))]
    stays = {(name, strongest(scores, 1)[0]) for name, scores in groups.items()}
    order = sorted(units, key=lambda unit: groups[unit[0]][unit[1]])  # stable
    rest = [unit for unit in order if unit not in stays]
    more = max(round(float(share) * len(units)) - len(stays), 0)
    stays |= set(rest[len(rest) - more :])

    kept = keep_across_groups({name: torch.tensor(s) for name, s in groups.items()}, share)
    assert list(kept) == list(groups)
    for name, numbers in kept.items():
        assert numbers.tolist() == sorted(unit for group, unit in stays if group == name)


@given(GROUPS, SHARE)
def test_across_groups_it_is_one_ranking_where_that_leaves_no_group_empty(groups, share):
    flat = [score for scores in groups.values() for score in scores]
    count = round(float(share) * len(flat))
    best = strongest(flat, count) if count else []
    parts, begin = {}, 0
    for name, scores in groups.items():
        parts[name] = [unit - begin for unit in best if begin <= unit < begin + len(scores)]
        begin += len(scores)
    assume(all(parts.values()))
    kept = keep_across_groups({name: torch.tensor(s) for name, s in groups.items()}, share)
    assert {name: numbers.tolist() for name, numbers in kept.items()} == parts


def test_across_groups_each_number_is_taken_to_a_multiple():
    scores = {"a": torch.arange(16.0), "b": 100 + torch.arange(24.0), "c": torch.full((9,), -1.0)}
    alone = {name: len(kept) for name, kept in keep_across_groups(scores, 0.5).items()}
    assert alone == {"a": 1, "b": 22, "c": 1}
    kept = keep_across_groups(scores, 0.5, multiple_of=8)
    assert {name: k.tolist() for name, k in kept.items()} == {
        "a": [*range(8, 16)],
        "b": [*range(24)],
        "c": [*range(1, 9)],
    }


def test_scores_of_a_larger_scale_win_across_groups_and_not_within():
    scores = {"a": torch.arange(4.0), "b": 1000 * torch.arange(1, 5.0)}
    assert [len(k) for k in keep_across_groups(scores, 0.5).values()] == [1, 3]
    assert [len(k) for k in keep_per_group(scores, 0.5).values()] == [2, 2]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_scores_of_every_type_are_ranked_and_stay_as_they_are(dtype):
    scores = torch.tensor([3.0, 1.0, 3.0, 2.0], dtype=dtype, requires_grad=True)
    before = scores.detach().clone()
    assert keep_strongest(scores, 2).tolist() == [0, 2]
    both = keep_across_groups({"this": scores, "float32": torch.tensor([2.5, 0.5])}, 0.5)
    assert [k.tolist() for k in both.values()] == [[0, 2], [0]]
    assert scores.detach().equal(before)


def test_scores_that_do_not_lie_side_by_side_are_ranked():
    scores = torch.tensor([[5.0, 0.0], [1.0, 0.0], [4.0, 0.0]])[:, 0]
    assert keep_strongest(scores, 2).tolist() == [0, 2]
    assert keep_across_groups({"a": scores, "b": scores}, 0.5)["b"].tolist() == [0, 2]


BAD_COUNTS = [
    ((0, 0.5), ValueError, "units must be at least 1, not 0"),
    ((4.0, 0.5), TypeError, "units must be a whole number, not 4.0"),
    ((4, math.nan), ValueError, "share must lie between 0 and 1, not nan"),
    ((4, 1.5), ValueError, "share .*not 1.5"),
    ((4, -0.1), ValueError, "share .*not -0.1"),
    ((4, True), TypeError, "share must be a number, not True"),
    ((4, "0.5"), TypeError, "share .*'0.5'"),
    ((4, 0.5, 0), ValueError, "multiple_of must be at least 1, not 0"),
    ((4, 0.5, 2.0), TypeError, "multiple_of must be a whole number, not 2.0"),
    ((4, 0.5, 8), ValueError, "multiple_of must be at most the number of units, 4, not 8"),
]


@pytest.mark.parametrize(("given", "error", "said"), BAD_COUNTS)
def test_a_bad_count_is_named(given, error, said):
    with pytest.raises(error, match=said):
        keep_count(*given)


@pytest.mark.parametrize("keep", [keep_per_group, keep_across_groups])
@pytest.mark.parametrize(("given", "error", "said"), BAD_COUNTS[2:-1])
def test_a_bad_share_of_groups_is_named(keep, given, error, said):
    with pytest.raises(error, match=said):
        keep({"a": torch.ones(4)}, *given[1:])


BAD_SCORES = [
    (torch.tensor([1.0, math.nan]), ValueError, "1 NaN of 2"),
    (torch.ones(2, 2), ValueError, r"one axis, \(units,\), not \(2, 2\)"),
    (torch.tensor(1.0), ValueError, r"one axis, \(units,\), not \(\)"),
    (torch.ones(0), ValueError, "empty"),
    (torch.tensor([1, 2]), TypeError, "floating point .*torch.int64"),
    (torch.ones(2).to_sparse(), TypeError, "dense"),
    (torch.ones(2, device="meta"), ValueError, "meta"),
    ([1.0, 2.0], TypeError, "list"),
]


@pytest.mark.parametrize(("scores", "error", "said"), BAD_SCORES)
def test_bad_scores_are_named(scores, error, said):
    with pytest.raises(error, match=f"scores .*{said}"):
        keep_strongest(scores, 1)
    for keep in (keep_per_group, keep_across_groups):
        with pytest.raises(error, match=f"conv2 .*{said}"):
            keep({"conv1": torch.ones(2), "conv2": scores}, 0.5)


@pytest.mark.parametrize("count", [0, 4, -1])
def test_a_count_that_there_is_not_is_named(count):
    with pytest.raises(ValueError, match=f"count must lie between 1 and 3, not {count}"):
        keep_strongest(torch.ones(3), count)


@pytest.mark.parametrize("keep", [keep_per_group, keep_across_groups])
def test_bad_groups_are_named(keep):
    with pytest.raises(ValueError, match="scores is empty"):
        keep({}, 0.5)
    with pytest.raises(TypeError, match="scores must map names to tensors"):
        keep([torch.ones(2)], 0.5)
    with pytest.raises(ValueError, match="units of small, 3, not 4: no multiple of it can stay"):
        keep({"large": torch.ones(8), "small": torch.ones(3)}, 0.5, multiple_of=4)


@pytest.mark.gpu
def test_what_stays_on_cuda_is_what_stays_on_the_cpu():
    generator = torch.Generator().manual_seed(0)
    scores = {
        "random": torch.randn(100, generator=generator),
        "ties": torch.randint(-2, 3, (64,), generator=generator) * torch.tensor(1.0),
        "zeros": torch.tensor([0.0, -0.0] * 8),
    }
    there = {name: s.cuda() for name, s in scores.items()}
    for keep in (keep_per_group, keep_across_groups):
        for share in (0, 0.3, 0.5, 1):
            here, on_cuda = keep(scores, share, 4), keep(there, share, 4)
            for name in scores:
                assert on_cuda[name].is_cuda and on_cuda[name].cpu().equal(here[name])
    with pytest.raises(ValueError, match="different devices"):
        keep_across_groups({"a": scores["ties"], "b": there["ties"]}, 0.5)

"""Masks with a pattern, against torch's structured pruning and a search of all patterns."""

import math
from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from shrink.pruning import n_of_m_mask, pattern_mask
from shrink.pruning.patterns import _MOST_IN_PAIRS, PATTERNS
from tests import depth

# Of (out, in, height, width): the same numbers with one axis of units, and where torch finds it.
AS_UNITS = {
    "weight": ((-1, 1), 0),
    "vector": ((5 * 4 * 3, 2), 0),
    "kernel": ((5 * 4, 3 * 2), 0),
    "group": ((5, 4 * 3 * 2), 1),
    "filter": ((5, 4 * 3 * 2), 0),
}
SPARSITIES = [0, 0.1, 0.25, 0.5, 0.77, 1]


@pytest.mark.parametrize("sparsity", SPARSITIES)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_units_that_go_are_those_of_torch(pattern, sparsity):
    torch.manual_seed(0)
    weight = torch.randn(5, 4, 3, 2)
    shape, axis = AS_UNITS[pattern]
    layer = nn.Module()
    layer.weight = nn.Parameter(weight.reshape(shape))
    units = layer.weight.shape[axis]
    prune.ln_structured(layer, "weight", amount=round(sparsity * units), n=1, dim=axis)
    mask = pattern_mask(weight, sparsity, pattern)
    assert mask.dtype == torch.bool
    assert mask.equal(layer.weight_mask.bool().view(weight.shape))


@pytest.mark.parametrize(("pattern", "axis"), [("weight", None), ("group", 1), ("filter", 0)])
def test_of_a_linear_layer_weights_inputs_and_outputs_go(pattern, axis):
    torch.manual_seed(1)
    layer = nn.Linear(7, 6)
    mask = pattern_mask(layer.weight, 0.4, pattern)
    if axis is None:
        prune.l1_unstructured(layer, "weight", amount=round(0.4 * 42))
    else:
        count = round(0.4 * layer.weight.shape[axis])
        prune.ln_structured(layer, "weight", amount=count, n=1, dim=axis)
    assert mask.equal(layer.weight_mask.bool())
    assert not mask.requires_grad


@pytest.mark.parametrize("pattern", PATTERNS)
def test_where_sums_tie_the_first_units_go_and_no_more(pattern):
    shape, axis = AS_UNITS[pattern]
    signs = torch.tensor([1.0, -1.0]).repeat(60).view(5, 4, 3, 2)
    mask = pattern_mask(signs, 0.5, pattern).reshape(shape).movedim(axis, 0).flatten(1)
    units = len(mask)
    assert mask.all(1).equal(mask.any(1))
    assert mask.any(1).tolist() == [unit >= round(0.5 * units) for unit in range(units)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_sums_of_narrow_numbers_are_wide(pattern, dtype):
    torch.manual_seed(2)
    weight = (1000 + torch.randn(5, 4, 3, 2)).to(dtype)
    mask = pattern_mask(weight, 0.5, pattern)
    assert mask.shape == weight.shape
    assert mask.equal(pattern_mask(weight.double(), 0.5, pattern))


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_view_is_masked_by_its_own_places_and_the_mask_is_new(pattern):
    torch.manual_seed(3)
    weight = torch.randn(4, 5, 3, 2).transpose(0, 1)
    mask = pattern_mask(weight, 0.5, pattern)
    assert mask.equal(pattern_mask(weight.contiguous(), 0.5, pattern))
    flipped = mask.clone()
    mask[0, 0, 0, 0] = ~mask[0, 0, 0, 0]
    assert (mask != flipped).sum() == 1


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (3, 2, 5), (2, 2, 2, 2, 3)])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_convolutions_of_one_or_three_dimensions_have_kernels_too(pattern, shape):
    torch.manual_seed(4)
    weight = torch.randn(shape)
    mask = pattern_mask(weight, 0.5, pattern)
    axes = {"weight": [], "vector": [-1], "kernel": [*range(2, len(shape))], "group": [0]}
    axes = axes.get(pattern, [*range(1, len(shape))])
    alike = mask.float().mean(axes) if axes else mask.float()
    assert set(alike.flatten().tolist()) <= {0.0, 1.0}
    assert (alike == 0).sum() == round(0.5 * alike.numel())


BAD_PATTERNS = [
    ((torch.ones(2, 2), 0.5, "row"), ValueError, "pattern must be one of weight, .*not 'row'"),
    ((torch.ones(2, 2), 0.5, None), ValueError, "pattern must be one of .*not None"),
    ((torch.ones(2, 3), 0.5, "kernel"), ValueError, r"\(2, 3\) has no kernels.*'kernel'"),
    ((torch.ones(2, 3), 0.5, "vector"), ValueError, r"\(2, 3\) has no kernels.*'vector'"),
    ((torch.ones(3), 0.5, "filter"), ValueError, r"\(out, in, …\), not \(3,\)"),
    ((torch.ones(2, 2), 1.5, "filter"), ValueError, "sparsity .*not 1.5"),
    ((torch.ones(2, 2), True, "filter"), TypeError, "sparsity .*not True"),
    ((torch.full((2, 2), math.nan), 0.5, "filter"), ValueError, "weight holds 4 NaN of 4"),
    ((torch.ones(2, 0), 0.5, "filter"), ValueError, "weight is empty"),
    ((torch.ones(2, 2).int(), 0.5, "filter"), TypeError, "weight must be floating point"),
    (([[1.0]], 0.5, "filter"), TypeError, "weight must be a tensor, not a list"),
]


@pytest.mark.parametrize(("given", "error", "said"), BAD_PATTERNS)
def test_a_bad_pattern_is_named(given, error, said):
    with pytest.raises(error, match=said):
        pattern_mask(*given)


# --- n of m --------------------------------------------------------------------------------


def best_patterns(block, n):
    """All patterns of n places whose magnitudes have the largest sum."""
    patterns = [*combinations(range(len(block)), n)]
    sums = [math.fsum(abs(block[i]) for i in pattern) for pattern in patterns]
    return [pattern for pattern, s in zip(patterns, sums, strict=True) if s == max(sums)]


@given(st.data())
@settings(max_examples=depth.examples(300))
def test_of_all_patterns_it_is_the_best_and_of_equal_ones_the_last(data):
    m = data.draw(st.integers(1, 6))
    n, blocks = data.draw(st.integers(1, m)), data.draw(st.integers(1, 3))
    numbers = st.sampled_from([-2.0, -1.0, -0.0, 0.0, 1.0, 2.0]) | st.integers(-(2**20), 2**20)
    row = data.draw(st.lists(numbers.map(float), min_size=m * blocks, max_size=m * blocks))
    mask = n_of_m_mask(torch.tensor([row]), n, m)
    assert mask.dtype == torch.bool and mask.shape == (1, m * blocks)
    for begin in range(0, m * blocks, m):
        kept = mask[0, begin : begin + m].nonzero().flatten().tolist()
        assert tuple(kept) == max(best_patterns(row[begin : begin + m], n))


@pytest.mark.parametrize(("n", "m"), [(2, 4), (1, 4), (4, 8), (1, 1), (3, 3), (5, 20)])
@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_blocks_lie_along_any_axis(axis, n, m):
    torch.manual_seed(m)
    shape = [3, 2, 4]
    shape[axis] = 2 * m
    weight = torch.randn(shape)
    mask = n_of_m_mask(weight, n, m, axis)
    rows = weight.movedim(axis, -1).reshape(-1, 2 * m)
    assert mask.movedim(axis, -1).reshape(rows.shape).equal(n_of_m_mask(rows, n, m))
    counts = mask.movedim(axis, -1).reshape(-1, m).sum(1)
    assert (counts == n).all()


@pytest.mark.parametrize("m", [_MOST_IN_PAIRS, _MOST_IN_PAIRS + 1, 300])
def test_large_blocks_keep_the_largest_of_a_sort(m):
    weight = torch.randint(-9, 10, (5, 2 * m), generator=torch.Generator().manual_seed(m)).float()
    for n in (1, m // 2, m):
        mask = n_of_m_mask(weight, n, m)
        for block, kept in zip(weight.view(-1, m).tolist(), mask.view(-1, m), strict=True):
            order = sorted(range(m), key=lambda i, block=block: abs(block[i]))
            assert kept.nonzero().flatten().tolist() == sorted(order[m - n :])


def test_two_of_four_runs_along_the_inputs():
    weight = torch.tensor([[4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0]])
    along = [[True, True, False, False], [False, False, True, True]]
    assert n_of_m_mask(weight, 2, 4).tolist() == along
    linear = nn.Linear(8, 3)
    assert (n_of_m_mask(linear.weight, 2, 4).view(3, 2, 4).sum(2) == 2).all()
    conv = nn.Conv2d(8, 3, 3)
    assert (n_of_m_mask(conv.weight, 2, 4).view(3, 2, 4, 3, 3).sum(2) == 2).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_blocks_of_every_type_keep_exactly_n(dtype):
    weight = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)).to(dtype)
    for n, m in ((2, 4), (10, 20)):
        mask = n_of_m_mask(weight, n, m)
        assert mask.equal(n_of_m_mask(weight.double(), n, m))
        assert (mask.view(-1, m).sum(1) == n).all()


def test_a_view_has_blocks_of_its_own_and_the_parameter_stays():
    weight = nn.Parameter(torch.randn(8, 3, generator=torch.Generator().manual_seed(0)))
    before = weight.detach().clone()
    mask = n_of_m_mask(weight.t(), 2, 4)
    assert mask.equal(n_of_m_mask(before.t().contiguous(), 2, 4)) and not mask.requires_grad
    assert mask.equal(n_of_m_mask(weight, 2, 4, axis=0).t())
    assert weight.detach().equal(before)


def test_infinite_weights_are_the_largest():
    row = torch.tensor([[math.inf, 1.0, -math.inf, 2.0]])
    assert n_of_m_mask(row, 2, 4).tolist() == [[True, False, True, False]]
    assert n_of_m_mask(row, 1, 4).tolist() == [[False, False, True, False]]


BAD_BLOCKS = [
    ((torch.ones(2, 6), 2, 4), ValueError, "m must divide the weight's 6 entries along axis 1.*4"),
    ((torch.ones(2, 4), 2, 4, 0), ValueError, "weight's 2 entries along axis 0, and 4 does not"),
    ((torch.ones(2, 4), 2, 8), ValueError, "weight's 4 entries along axis 1, and 8 does not"),
    ((torch.ones(2, 4), 5, 4), ValueError, "n must lie between 1 and 4, not 5"),
    ((torch.ones(2, 4), 0, 4), ValueError, "n must lie between 1 and 4, not 0"),
    ((torch.ones(2, 4), 1, 0), ValueError, "m must be at least 1, not 0"),
    ((torch.ones(2, 4), 2.0, 4), TypeError, "n must be a whole number, not 2.0"),
    ((torch.ones(2, 4), 2, "4"), TypeError, "m must be a whole number, not '4'"),
    ((torch.ones(2, 4), 2, 4, 2), ValueError, "axis must lie between -2 and 1, not 2"),
    ((torch.ones(4), 2, 4), ValueError, "axis must lie between -1 and 0, not 1"),
    ((torch.tensor(1.0), 1, 1), ValueError, "a single number"),
    ((torch.full((1, 4), math.nan), 2, 4), ValueError, "weight holds 4 NaN of 4"),
    ((torch.ones(1, 4).long(), 2, 4), TypeError, "weight must be floating point"),
    ((None, 2, 4), TypeError, "weight must be a tensor"),
]


@pytest.mark.parametrize(("given", "error", "said"), BAD_BLOCKS)
def test_bad_blocks_are_named(given, error, said):
    with pytest.raises(error, match=said):
        n_of_m_mask(*given)


@pytest.mark.gpu
def test_patterns_on_cuda_are_those_on_the_cpu():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randint(-3, 4, (8, 16, 3, 4), generator=generator).float()
    for pattern in PATTERNS:
        there = pattern_mask(weight.cuda(), 0.4, pattern)
        assert there.is_cuda and there.cpu().equal(pattern_mask(weight, 0.4, pattern))
    for n, m, axis in ((2, 4, 1), (4, 8, 0), (1, 4, -1), (3, 16, 1)):
        there = n_of_m_mask(weight.cuda(), n, m, axis)
        assert there.is_cuda and there.cpu().equal(n_of_m_mask(weight, n, m, axis))
    rows = torch.randint(-9, 10, (5, 40), generator=generator).float()
    assert n_of_m_mask(rows.cuda(), 7, 20).cpu().equal(n_of_m_mask(rows, 7, 20))

"""Optimal Brain Surgeon against least squares on the columns that remain, and by trying all."""

import heapq
import math

import numpy as np
import pytest
import torch

from shrink.pruning import brain_surgeon, surgeon_layer
from shrink.pruning import surgeon as module
from tests import depth


def unit(seed, n=6, examples=40):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(examples, n, generator=draw, dtype=torch.float64)
    x = x + x.roll(1, 1) * 0.7  # inputs that have to do with each other
    return x, torch.randn(n, generator=draw, dtype=torch.float64)


def refitted(x, w, kept):
    """The weights on these columns alone that come nearest to what all do, and the mean square."""
    x, w = x.numpy(), w.numpy()
    best = np.zeros_like(w)
    best[kept] = np.linalg.lstsq(x[:, kept], x @ w, rcond=None)[0]
    return best, ((x @ best - x @ w) ** 2).mean() / 2


@pytest.mark.parametrize("seed", depth.seeds(20))
def test_each_deletion_is_the_cheapest_next_and_leaves_the_least_squares_fit(seed):
    x, w = unit(seed)
    hessian, kept, before = x.T @ x / len(x), list(range(6)), 0.0
    _, _, rises = brain_surgeon(w, hessian, 6)
    for number in range(6):
        tried = {q: refitted(x, w, [i for i in kept if i != q])[1] for q in kept}
        gone = min(tried, key=tried.get)
        kept.remove(gone)
        found, mask, some = brain_surgeon(w, hessian, number + 1)
        assert mask.nonzero().flatten().tolist() == kept
        best, after = refitted(x, w, kept)
        assert found.tolist() == pytest.approx(best.tolist(), abs=1e-9)
        assert rises[number].item() == pytest.approx(after - before, rel=1e-7)
        assert some.equal(rises[: number + 1])
        before = after
    assert not found.any()


def test_three_weights_by_hand():
    """H⁻¹ of [[2, 1, 0], [1, 2, 0], [0, 0, 1]] has 2/3 and 1 on its diagonal, and -1/3 beside."""
    hessian = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    w = torch.tensor([2.0, 1.0, 1.5])
    # 4/(4/3) = 3, 1/(4/3) = 3/4 and 2.25/2: the second goes, the first gains 1/2
    found, mask, rises = brain_surgeon(w, hessian, 1)
    assert found.tolist() == [2.5, 0, 1.5] and mask.tolist() == [True, False, True]
    assert rises.tolist() == [0.75]
    assert w.tolist() == [2, 1, 1.5]


def test_of_equal_costs_the_first_goes_whatever_is_rounded():
    hessian = torch.tensor([[2.0, 1.0, 0.0], [1.0, 2.0, 0.0], [0.0, 0.0, 1.0]])
    for order in ([0, 1, 2], [2, 0, 1], [1, 2, 0]):
        w = torch.tensor([1.0, 1.0, 1.3])[order]
        _, mask, rises = brain_surgeon(w, hessian[order][:, order], 1)
        assert mask.nonzero().flatten().tolist() == sorted({0, 1, 2} - {w.tolist().index(1.0)})
        assert rises.tolist() == pytest.approx([0.75])


def test_with_a_diagonal_hessian_it_is_optimal_brain_damage():
    w, h = torch.tensor([1.0, -2.0, 3.0, 0.5]), torch.tensor([2.0, 1.0, 0.1, 8.0])
    found, mask, rises = brain_surgeon(w, h.diag(), 2)
    saliency = h * w**2 / 2
    assert rises.tolist() == pytest.approx(saliency.sort().values[:2].tolist())
    assert found.equal(torch.where(mask, w, 0))


def test_deletions_may_be_none():
    w = torch.tensor([1.0, 2.0])
    found, mask, rises = brain_surgeon(w, torch.eye(2), 0)
    assert found.equal(w) and found is not w and mask.all() and rises.shape == (0,)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_dtypes_are_the_weights(dtype):
    x, w = unit(0)
    parameter = torch.nn.Parameter(w.to(dtype))
    found, _, rises = brain_surgeon(parameter, x.T @ x / len(x), 3)
    assert found.dtype == rises.dtype == dtype and not found.requires_grad
    layer, mask = surgeon_layer(parameter[None], x.float(), 0.5)
    assert layer.dtype == dtype and mask.dtype == torch.bool and not layer.requires_grad


# ---- a layer


def one_by_one(weight, x, damping, pruned):
    """The next deletion of each row waits in a heap; each is fitted anew by least squares."""
    n = x.shape[1]
    add = math.sqrt(damping * (x**2).mean().item() * len(x)) * torch.eye(n, dtype=x.dtype)
    x = torch.cat([x, add]) * math.sqrt((len(x) + n) / len(x))  # damping as more examples

    def following(row, kept, cost):
        tried = [(refitted(x, weight[row], [i for i in kept if i != q])[1], q) for q in kept]
        least, q = min(tried)
        return least - cost, row, q, kept, least

    heap = [following(row, [*range(n)], 0.0) for row in range(len(weight))]
    heapq.heapify(heap)
    kept = {row: [*range(n)] for row in range(len(weight))}
    for _ in range(pruned):
        _, row, q, before, cost = heapq.heappop(heap)
        kept[row] = [i for i in before if i != q]
        if kept[row]:
            heapq.heappush(heap, following(row, kept[row], cost))
    return torch.stack(
        [torch.from_numpy(refitted(x, weight[row], kept[row])[0]) for row in range(len(weight))]
    )


@pytest.mark.parametrize("seed", depth.seeds(10))
@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.9])
def test_a_layer_is_pruned_as_one_by_one(seed, sparsity):
    x, _ = unit(seed)
    draw = torch.Generator().manual_seed(seed)
    weight = torch.randn(4, 6, generator=draw, dtype=torch.float64) * torch.arange(1.0, 5)[:, None]
    found, mask = surgeon_layer(weight, x, sparsity, damping=0.1)
    expected = one_by_one(weight, x, 0.1, round(sparsity * 24))
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)
    assert mask.equal(expected != 0) and int((~mask).sum()) == round(sparsity * 24)


def test_how_many_rows_are_held_at_once_makes_no_difference(monkeypatch):
    x, _ = unit(0)
    weight = torch.randn(7, 6, generator=torch.Generator().manual_seed(0))
    whole, mask = surgeon_layer(weight, x, 0.6)
    monkeypatch.setattr(module, "NUMBERS", 72)
    for given, expected in zip(surgeon_layer(weight, x, 0.6), (whole, mask), strict=True):
        assert given.equal(expected)


def test_moved_weights_keep_outputs_nearer_than_the_same_mask_alone():
    x, _ = unit(3)
    weight = torch.randn(5, 6, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    found, mask = surgeon_layer(weight, x, 0.5, damping=1e-6)
    wanted = x @ weight.T
    moved, alone = ((x @ w.T - wanted).square().mean() for w in (found, weight * mask))
    assert moved < 0.6 * alone


def test_nothing_or_all_may_go():
    x, _ = unit(0)
    weight = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    found, mask = surgeon_layer(weight, x, 0.0)
    assert found.allclose(weight) and mask.all()
    found, mask = surgeon_layer(weight, x, 1.0)
    assert not found.any() and not mask.any()


def test_an_input_that_repeats_another_needs_damping():
    x, _ = unit(0)
    x = torch.cat([x, x[:, :1]], 1)
    weight = torch.randn(2, 7, generator=torch.Generator().manual_seed(0))
    with pytest.raises(ValueError, match=r"no inverse to rely on.* add damping"):
        surgeon_layer(weight, x, 0.5, damping=0)
    found, _ = surgeon_layer(weight, x, 1 / 7, damping=1e-4)
    assert (x.float() @ (found - weight).T).abs().max() < 0.02  # one of the twins did for both
    with pytest.raises(ValueError, match="no inverse to rely on"):
        surgeon_layer(weight, torch.zeros(5, 7), 0.5)


# ---- what is refused

EYE, ROW = torch.eye(2), torch.ones(2)
BAD = [
    ((ROW, -EYE, 1), ValueError, "no inverse to rely on"),
    ((ROW, torch.ones(2, 2), 1), ValueError, "no inverse to rely on.* add damping"),
    ((ROW, torch.tensor([[1.0, 0.5], [0.0, 1.0]]), 1), ValueError, "not symmetric"),
    ((ROW, torch.eye(3), 1), ValueError, r"the Hessian must be \(2, 2\), not \(3, 3\)"),
    ((ROW, EYE * math.nan, 1), ValueError, "the Hessian holds 4 NaN"),
    ((ROW, [[1.0]], 1), TypeError, "the Hessian must be a tensor"),
    ((torch.ones(1, 2), EYE, 1), ValueError, r"weight must be one unit's, \(n,\), not \(1, 2\)"),
    ((ROW.int(), EYE, 1), TypeError, "weight must be floating point"),
    ((ROW, EYE, 3), ValueError, "pruned must lie between 0 and 2, not 3"),
    ((ROW, EYE, 0.5), TypeError, r"pruned must be a whole number, not 0\.5"),
]
X = torch.eye(3)[:, :2]
BAD_LAYERS = [
    ((ROW, X, 0.5), ValueError, r"weights \(out, in\) and inputs \(n, in\), not \(2,\) and"),
    ((EYE, torch.eye(3), 0.5), ValueError, r"not \(2, 2\) and \(3, 3\)"),
    ((EYE, X.int(), 0.5), TypeError, "inputs must be floating point"),
    ((EYE, X * math.nan, 0.5), ValueError, "inputs holds 6 NaN"),
    ((EYE, X[:0], 0.5), ValueError, "inputs is empty"),
    ((EYE, X, 1.5), ValueError, r"sparsity must lie between 0 and 1, not 1\.5"),
    ((EYE, X, 0.5, -1), ValueError, "damping must be at least 0, not -1"),
    ((EYE, X, 0.5, math.nan), ValueError, "damping must be at least 0, not nan"),
    ((EYE, X, 0.5, "1"), TypeError, "damping must be a number, not '1'"),
]


@pytest.mark.parametrize(("given", "error", "said"), BAD)
def test_bad_units_are_named(given, error, said):
    with pytest.raises(error, match=said):
        brain_surgeon(*given)


@pytest.mark.parametrize(("given", "error", "said"), BAD_LAYERS)
def test_bad_layers_are_named(given, error, said):
    with pytest.raises(error, match=said):
        surgeon_layer(*given)

"""Weight sharing against brute force, scikit-learn's k-means and autograd."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from shrink import sharing
from shrink.sharing import (
    INITS,
    assign,
    centroid_gradient,
    distortion,
    fit_codebook,
    hold_shared,
    initial_codebook,
    num_bytes,
    optimal_codebook,
    optimal_codebooks,
    rebuild,
    share,
)
from tests import depth

some = st.one_of(st.integers(-4, 4).map(float), st.integers(-8000, 8000).map(lambda n: n / 8))
numbers = st.lists(some, min_size=1, max_size=12)


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def least_error(x, k):
    """The least sum of squared errors with at most k values, all ways to cut being tried."""
    x = np.sort(np.asarray(x, dtype=np.float64))
    ways = (
        [0, *cuts, len(x)]
        for clusters in range(1, min(k, len(x)) + 1)
        for cuts in itertools.combinations(range(1, len(x)), clusters - 1)
    )
    return min(
        sum(((x[a:b] - x[a:b].mean()) ** 2).sum() for a, b in itertools.pairwise(way))
        for way in ways
    )


# ---- the codebook


def test_initial_codebooks_by_hand():
    x = torch.tensor([[3.0, 0.0, 1.0], [2.0, 4.0, 20.0]])
    assert initial_codebook(x, 5).tolist() == [0, 5, 10, 15, 20]
    assert initial_codebook(x, 1).tolist() == [10]
    assert initial_codebook(x, 3, "density").tolist() == pytest.approx([5 / 6, 2.5, 4 + 16 / 6])
    many = torch.cat([torch.full((9,), 1.0), torch.full((5,), 9.0), torch.tensor([0.0, 10.0])])
    assert initial_codebook(many, 2, "histogram").tolist() == pytest.approx([1.005, 9.005])


def test_random_initial_values_are_some_of_the_numbers_and_follow_the_seed():
    x = random(50)
    first, again, other = (initial_codebook(x, 8, "random", seed) for seed in (1, 1, 2))
    assert first.equal(again) and not first.equal(other)
    assert set(first.tolist()) <= set(x.double().tolist())
    assert first.equal(first.sort().values)


@pytest.mark.parametrize("init", INITS)
@given(values=numbers, k=st.integers(1, 8))
@settings(max_examples=depth.examples(80))
def test_k_means_ends_where_nothing_changes_and_nothing_is_empty(init, values, k):
    x = torch.tensor(values)
    codebook = fit_codebook(x, k, init)
    assert codebook.dtype == torch.float32
    assert len(codebook) == min(k, len(x.unique()))
    assert (codebook.diff() > 0).all()
    numbers = assign(x, codebook).long()
    assert sorted(set(numbers.tolist())) == list(range(len(codebook)))
    means = [x[numbers == i].double().mean().item() for i in range(len(codebook))]
    assert codebook.tolist() == pytest.approx(means, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("init", ["density", "random"])  # with the others some begin with nothing
@pytest.mark.parametrize("k", [2, 7, 16])
def test_k_means_ends_where_scikit_learns_does_from_the_same_start(init, k):
    x = random(3000) ** 3
    start = initial_codebook(x, k, init).numpy()[:, None]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs = KMeans(k, init=start, n_init=1, tol=0, max_iter=10_000, algorithm="lloyd")
        theirs.fit(x.double().numpy()[:, None])
    ours = fit_codebook(x, k, init)
    assert np.allclose(ours.numpy(), np.sort(theirs.cluster_centers_[:, 0]), atol=1e-5)


def test_a_value_that_nothing_is_nearest_to_takes_half_of_the_worst_cluster():
    """Linear begins at 0, 25, 50, 75 and 100, and the middle ones have nothing."""
    x = torch.tensor([0.0, 1.0, 2.0, 8.0, 98.0, 100.0])
    assert fit_codebook(x, 3).tolist() == [1.0, 8.0, 99.0]  # of 0 1 2 8 the mean is 2.75
    assert fit_codebook(x, 5).tolist() == [0.5, 2.0, 8.0, 98.0, 100.0]
    far = torch.cat([random(1000), torch.tensor([1000.0])])  # all but two begin with nothing
    assert distortion(far, fit_codebook(far, 16)) < 1.1 * distortion(far, optimal_codebook(far, 16))


@given(values=numbers, k=st.integers(1, 8))
@settings(max_examples=depth.examples(300))
def test_the_optimum_is_that_of_all_ways_to_cut(values, k):
    x = torch.tensor(values)
    codebook = optimal_codebook(x, k)
    assert len(codebook) == min(k, len(x.unique()))
    error = distortion(x, codebook) * len(x)
    scale = float(x.abs().max()) ** 2 * len(x)  # the codebook is rounded to float32
    assert error == pytest.approx(least_error(values, k), rel=1e-5, abs=1e-9 * scale + 1e-12)


@given(values=numbers, most=st.integers(1, 8))
@settings(max_examples=depth.examples(100))
def test_all_optima_at_once_are_each_that_of_all_ways_to_cut(values, most):
    x = torch.tensor(values)
    codebooks = optimal_codebooks(x, most)
    assert [len(c) for c in codebooks] == [min(k, len(x.unique())) for k in range(1, most + 1)]
    scale = float(x.abs().max()) ** 2 * len(x)
    for k, codebook in enumerate(codebooks, 1):
        error = distortion(x, codebook) * len(x)
        assert error == pytest.approx(least_error(values, k), rel=1e-5, abs=1e-9 * scale + 1e-12)


@pytest.mark.parametrize("k", [2, 5, 16])
def test_the_optimum_of_many_numbers_is_that_of_the_plain_table(k):
    """Each number of clusters and each end, every beginning tried: n² of them, in numpy."""
    x = np.sort((random(400, seed=k) ** 3).double().numpy())
    one, two = (np.concatenate([[0], (x**p).cumsum()]) for p in (1, 2))
    lengths = np.maximum(np.arange(401)[None] - np.arange(401)[:, None], 1)
    costs = (two[None] - two[:, None]) - (one[None] - one[:, None]) ** 2 / lengths
    costs[np.tril_indices(401)] = np.inf
    least = costs[0]
    for _ in range(k - 1):
        least = (least[:, None] + costs).min(0)
    codebook = optimal_codebook(torch.from_numpy(x), k)
    assert distortion(torch.from_numpy(x), codebook) * 400 == pytest.approx(least[-1], rel=1e-6)


def test_no_initialisation_beats_the_optimum_and_16_values_come_near():
    x = random(20_000)
    best = distortion(x, optimal_codebook(x, 16))
    found = [distortion(x, fit_codebook(x, 16, init)) for init in INITS]
    assert best <= min(found) and max(found) < 1.05 * best


def test_the_optimum_beside_a_far_offset():
    """Squares of 10^4 beside distances of 10^-2: the sums are taken near the middle."""
    x = random(200) / 100 + 10_000
    middle = optimal_codebook(x - 10_000, 4) + 10_000
    assert optimal_codebook(x, 4).tolist() == pytest.approx(middle.tolist(), abs=2e-3)


@pytest.mark.parametrize("find", [fit_codebook, optimal_codebook, initial_codebook])
def test_what_has_no_codebook_is_named(find):
    with pytest.raises(ValueError, match="at least one number, got none"):
        find(torch.zeros(0), 2)
    with pytest.raises(ValueError, match="2 of 3 values are NaN or infinite"):
        find(torch.tensor([1.0, float("nan"), float("inf")]), 2)
    for k in (0, -1, 2**16 + 1, 2.0, True):
        with pytest.raises(ValueError, match=f"1 to 65536 values, not {k!r}"):
            find(torch.ones(3), k)


def test_an_unknown_initialisation_is_named():
    with pytest.raises(ValueError, match="no initialisation 'k-means\\+\\+'; there are linear"):
        fit_codebook(torch.ones(3), 2, "k-means++")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_types_are_clustered_as_float32(dtype):
    x = random(100).to(dtype)
    for find in (fit_codebook, optimal_codebook):
        assert find(x, 4).equal(find(x.float(), 4))


def test_numbers_with_a_sign_that_is_still_to_be_applied_have_a_codebook():
    x = torch.view_as_complex(random(20, 2)).conj().imag
    assert x.is_neg() and fit_codebook(x, 4).equal(fit_codebook(x.clone(), 4))


# ---- numbers into it


@given(values=numbers, codebook=numbers)
@settings(max_examples=depth.examples(200))
def test_each_value_gets_its_nearest(values, codebook):
    x, codebook = torch.tensor(values), torch.tensor(codebook).sort().values
    chosen = rebuild(assign(x, codebook), codebook).double()
    nearest = (x.double()[:, None] - codebook.double()).abs().min(1).values
    assert ((x.double() - chosen).abs() - nearest).abs().max() <= 1e-12 * codebook.abs().max()


def test_numbers_are_short_and_in_the_values_shape():
    x = random(3, 4, 5)
    before = x.clone()
    for k, dtype in ((1, torch.uint8), (256, torch.uint8), (257, torch.int32)):
        q = assign(x, torch.linspace(-1, 1, k))
        assert q.shape == x.shape and q.dtype == dtype and int(q.max()) < k
    assert x.equal(before)
    assert assign(torch.zeros(0, 3), torch.ones(1)).shape == (0, 3)


@pytest.mark.parametrize(
    ("values", "codebook", "message"),
    [
        (torch.ones(2), torch.tensor([1.0, 0.0]), "has one axis and rises"),
        (torch.ones(2), torch.ones(2, 2), "has one axis and rises"),
        (torch.ones(2), torch.ones(0), "1 to 65536 values, not 0"),
        (torch.tensor([float("nan")]), torch.ones(1), "1 of 1 values are NaN"),
    ],
)
def test_what_cannot_be_assigned_is_named(values, codebook, message):
    with pytest.raises(ValueError, match=message):
        assign(values, codebook)


@pytest.mark.parametrize(("count", "k", "expected"), [(8, 1, 4), (9, 2, 10), (9, 17, 74)])
def test_bytes_by_hand(count, k, expected):
    assert num_bytes(count, k) == expected


# ---- shared weights


@pytest.mark.parametrize("init", INITS)
def test_zeros_stay_zeros_and_are_one_more_value(init):
    weight = random(40, 30)
    weight[weight.abs() < 1] = 0
    shared = share(weight, 8, init)
    assert len(shared.codebook) == 9 and shared.codebook[shared.zero] == 0
    assert (shared.codebook.diff() > 0).all()
    assert shared.weight.shape == weight.shape and shared.assignments.dtype == torch.uint8
    assert ((shared.weight == 0) == (weight == 0)).all()
    alone = fit_codebook(weight[weight != 0], 8, init)
    assert shared.weight[weight != 0].equal(rebuild(assign(weight[weight != 0], alone), alone))


def test_a_mean_of_zero_is_not_the_kept_zero():
    shared = share(torch.tensor([-1.0, 1.0, 0.0]), k=1)
    assert shared.codebook.tolist() == [0, 0]
    assert (shared.assignments == shared.zero).tolist() == [False, False, True]


def test_a_weight_without_zeros_or_that_may_lose_them_has_k_values():
    weight = random(50)
    assert share(weight, 4).zero is None and len(share(weight, 4).codebook) == 4
    weight[:20] = 0
    lost = share(weight, 4, keep_zeros=False)
    assert lost.zero is None and len(lost.codebook) == 4


def test_a_weight_of_zeros_and_an_empty_one():
    zeros = share(torch.zeros(2, 3), 4)
    assert zeros.codebook.tolist() == [0] and zeros.zero == 0 and not zeros.weight.any()
    empty = share(torch.zeros(0, 3), 4)
    assert empty.weight.shape == (0, 3)


def test_256_values_and_a_zero_take_a_wider_type():
    weight = torch.arange(1.0, 301).view(3, 100)
    weight[0, :40] = 0
    assert share(weight, 255).assignments.dtype == torch.uint8
    assert share(weight, 256).assignments.dtype == torch.int32
    with pytest.raises(ValueError, match="1 to 65535 values, not 65536"):
        share(weight, 65536)


# ---- gradients


@pytest.mark.parametrize("shape", [(7,), (4, 6), (3, 2, 5, 5)])
def test_the_gradient_is_autograds(shape):
    numbers = torch.randint(0, 5, shape, generator=torch.Generator().manual_seed(0))
    codebook = random(5).requires_grad_()
    weight = rebuild(numbers, codebook)
    weight.retain_grad()
    (weight.sin() * random(*shape, seed=1)).sum().backward()
    ours = centroid_gradient(weight.grad, numbers, 5)
    assert torch.allclose(ours, codebook.grad, atol=1e-6)
    counts = torch.bincount(numbers.flatten(), minlength=5).clamp(min=1)
    means = centroid_gradient(weight.grad, numbers, 5, reduction="mean")
    assert torch.allclose(means * counts, codebook.grad, atol=1e-6)


def test_what_has_no_gradient_is_named():
    with pytest.raises(ValueError, match="sum or mean, not 'max'"):
        centroid_gradient(torch.ones(2), torch.zeros(2, dtype=torch.uint8), 1, reduction="max")
    with pytest.raises(ValueError, match=r"one shape, not \(2,\), assignments \(1, 2\)"):
        centroid_gradient(torch.ones(2), torch.zeros(1, 2, dtype=torch.uint8), 1)


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.02),
    "momentum": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, nesterov=True),
    "fused": lambda p: torch.optim.SGD(p, lr=0.02, momentum=0.9, weight_decay=0.1, fused=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.02),
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_training_the_weights_is_training_their_codebook(optimizer):
    """The same steps on the codebook alone, by autograd; its 0 is left out."""
    start = random(20, 10)
    start[start.abs() < 0.5] = 0
    x, y = random(64, 10, seed=1), random(64, 20, seed=2)
    shared = {"w": share(start, 6)}
    numbers, zero = shared["w"].assignments.long(), shared["w"].zero

    codebook = torch.nn.Parameter(shared["w"].codebook.clone())
    steps = OPTIMIZERS[optimizer]([codebook])
    still = torch.arange(len(codebook)) == zero
    for _ in range(5):
        steps.zero_grad()
        (x @ codebook.masked_fill(still, 0)[numbers].T - y).square().mean().backward()
        steps.step()

    weight = torch.nn.Parameter(start.clone())
    steps = OPTIMIZERS[optimizer]([weight])
    with hold_shared({"w": weight}, shared, steps):
        for _ in range(5):
            steps.zero_grad()
            (x @ weight.T - y).square().mean().backward()
            steps.step()
            assert weight.equal(shared["w"].weight)
            assert not weight.grad[start == 0].any()
    expected = codebook.detach().masked_fill(still, 0)
    assert torch.allclose(shared["w"].codebook, expected, atol=1e-6)
    assert not torch.allclose(expected, share(start, 6).codebook, atol=1e-3)
    assert shared["w"].assignments.equal(numbers.to(torch.uint8))
    assert ((weight == 0) == (start == 0)).all()


def test_the_mean_moves_less():
    moved = {}
    for reduction in ("sum", "mean"):
        weight = torch.nn.Parameter(torch.tensor([1.0, 1.0, 1.0, 5.0]))
        shared, sgd = {"w": share(weight, 2)}, torch.optim.SGD([weight], lr=0.1)
        with hold_shared({"w": weight}, shared, sgd, reduction):
            weight.sum().backward()
            sgd.step()
        moved[reduction] = shared["w"].codebook.tolist()
    assert moved["sum"] == pytest.approx([0.7, 4.9]) and moved["mean"] == pytest.approx([0.9, 4.9])


def test_a_value_that_no_weight_has_stays():
    parts = sharing.Shared(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 2], dtype=torch.uint8))
    weight = torch.nn.Parameter(torch.zeros(2))
    shared, sgd = {"w": parts}, torch.optim.SGD([weight], lr=0.5)
    with hold_shared({"w": weight}, shared, sgd):
        assert weight.tolist() == [1, 3]
        weight.sum().backward()
        sgd.step()
    assert shared["w"].codebook.tolist() == [0.5, 2.0, 2.5]


def test_hooks_are_gone_afterwards_even_after_an_error():
    weight = torch.nn.Parameter(random(6))
    sgd = torch.optim.SGD([weight], lr=0.1)
    with (
        pytest.raises(RuntimeError, match="stop"),
        hold_shared({"w": weight}, {"w": share(weight, 2)}, sgd),
    ):
        raise RuntimeError("stop")
    weight.square().sum().backward()
    assert weight.grad.equal(2 * weight.detach())
    weight.data = random(6, seed=1)
    before = weight.detach().clone()
    sgd.step()
    assert torch.allclose(weight.detach(), before - 0.1 * weight.grad)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, r"w is shared as \(6,\), not None"),
        ({"w": torch.nn.Parameter(torch.ones(2, 3))}, r"w is shared as \(6,\), not \(2, 3\)"),
        ({"w": torch.ones(6)}, "w is not a parameter to train"),
    ],
)
def test_what_cannot_be_held_is_named_and_nothing_is_changed(weights, message):
    other = torch.nn.Parameter(random(4))
    before = other.detach().clone()
    shared = {"other": share(other, 1), "w": share(random(6), 2)}
    sgd = torch.optim.SGD([other], lr=0.1)
    with (
        pytest.raises(ValueError, match=message),
        hold_shared({"other": other, **weights}, shared, sgd),
    ):
        pass
    assert other.detach().equal(before)


NUMBERS = torch.tensor([0, 1, 1, 0], dtype=torch.uint8)


@pytest.mark.parametrize(
    ("parts", "error", "message"),
    [
        (
            sharing.Shared(torch.ones(2), NUMBERS, zero=7),
            ValueError,
            "zero of w must lie between 0 and 1",
        ),
        (
            sharing.Shared(torch.ones(2), NUMBERS, zero=-1),
            ValueError,
            "zero of w must lie between 0 and 1",
        ),
        (
            sharing.Shared(torch.ones(2), NUMBERS, zero=1),
            ValueError,
            "value 1 of w is its zero, not 1",
        ),
        (
            sharing.Shared(torch.tensor([0, torch.nan]), NUMBERS),
            ValueError,
            "codebook of w .* finite",
        ),
        (sharing.Shared(torch.ones(2, 1), NUMBERS), ValueError, "codebook of w has one axis"),
        (
            sharing.Shared(torch.ones(2, dtype=torch.int), NUMBERS),
            TypeError,
            "codebook of w must be float",
        ),
        (
            sharing.Shared([1.0, 2.0], NUMBERS),
            TypeError,
            "codebook of w must be a tensor, not a list",
        ),
    ],
)
def test_what_is_shared_wrongly_is_named_and_nothing_is_changed(parts, error, message):
    other, w = torch.nn.Parameter(random(4)), torch.nn.Parameter(random(4, seed=1))
    before, sgd = (other.detach().clone(), w.detach().clone()), torch.optim.SGD([other, w], lr=0.1)
    shared = {"other": share(other, 1), "w": parts}
    with (
        pytest.raises(error, match=message),
        hold_shared({"other": other, "w": w}, shared, sgd),
    ):
        pass
    assert other.detach().equal(before[0]) and w.detach().equal(before[1])


@pytest.mark.gpu
def test_on_cuda_all_is_as_on_the_cpu():
    weight = random(300, 100)
    weight[weight.abs() < 1] = 0
    here, there = share(weight, 16), share(weight.cuda(), 16)
    assert there.codebook.is_cuda and there.assignments.is_cuda
    assert here.codebook.equal(there.codebook.cpu())
    assert here.assignments.equal(there.assignments.cpu())
    parameter = torch.nn.Parameter(weight.cuda())
    shared, sgd = {"w": there}, torch.optim.SGD([parameter], lr=0.1)
    with hold_shared({"w": parameter}, shared, sgd):
        parameter.sin().sum().backward()
        sgd.step()
    assert parameter.equal(shared["w"].weight) and not parameter[weight.cuda() == 0].any()

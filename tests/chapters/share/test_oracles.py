"""Chapter 04's oracles against others: scikit-learn, packed bits, small steps, the optimum."""

import math
import warnings

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from shrink import quantization, sharing
from shrink.chapters.share import assignment, breaking, bytes_of_sharing, cut, gradient


@pytest.mark.parametrize("k", [2, 5, 16])
def test_a_step_is_that_of_scikit_learn(k):
    g = torch.Generator().manual_seed(k)
    x = torch.randn(500, generator=g)
    start = sharing.initial_codebook(x, k, "density").float()
    theirs = KMeans(k, init=start[:, None].double().numpy(), n_init=1, max_iter=1, tol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        theirs.fit(x[:, None].double().numpy())
    ours = breaking.step(x, start)
    assert ours.numpy() == pytest.approx(theirs.cluster_centers_[:, 0], abs=1e-5)


def test_both_neighbours_of_a_tie_are_right_and_no_other():
    weights, codebook = torch.tensor([1.0, 1.2]), torch.tensor([0.0, 2.0, 3.0])
    for numbers, right in (([0, 1], True), ([1, 1], True), ([1, 0], False), ([2, 1], False)):
        nearest = assignment.nearest(weights, codebook)
        wrong = assignment.wrong_numbers(torch.tensor(numbers), nearest, weights, codebook)
        assert (wrong is None) == right


def test_the_bytes_are_those_of_what_is_packed():
    for count, k in ((1000, 16), (999, 5), (7, 2), (50, 100)):
        numbers = torch.arange(count) % k
        packed = quantization.pack_bits(numbers, math.ceil(math.log2(k)))
        assert bytes_of_sharing._right_bytes(count, k) == packed.nbytes + torch.zeros(k).nbytes
    assert [bytes_of_sharing._right_largest(n) for n in (1, 2, 3)] == [0, 1, 2]


def test_the_gradient_is_what_a_step_of_all_weights_does():
    """Of a loss that is no sum: it is moved by as much as a small step along the codebook says."""
    g = torch.Generator().manual_seed(0)
    numbers, codebook = torch.randint(0, 3, (20,), generator=g), torch.randn(3, generator=g)
    mix = torch.randn(20, 20, generator=g, dtype=torch.float64)

    def loss(values):
        w = values.double()[numbers]
        return torch.sin(w @ mix @ w)

    w = codebook.double()[numbers].requires_grad_()
    torch.sin(w @ mix @ w).backward()
    found = gradient.by_autograd(w.grad, numbers, 3, None)
    for j in range(3):
        step = torch.zeros(3, dtype=torch.float64)
        step[j] = 1e-6
        slope = (loss(codebook.double() + step) - loss(codebook.double() - step)) / 2e-6
        assert found[j].item() == pytest.approx(slope.item(), rel=1e-4)


def test_no_cut_is_better_than_the_oracles():
    for seed in range(20):
        x = torch.randn(40, generator=torch.Generator().manual_seed(seed)).sort().values ** 3
        theirs = sharing.distortion(x, sharing.optimal_codebook(x, 2)) * 40
        assert min(cut.costs_of_cuts(x)) == pytest.approx(theirs, rel=1e-4)

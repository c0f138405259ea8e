"""Chapter 04's oracle of a step of k-means against scikit-learn's."""

import warnings

import pytest
import torch
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning

from shrink import sharing
from shrink.chapters.share import breaking


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

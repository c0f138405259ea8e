"""AdaRound: its formulas beside numpy's, and how near it comes to the optimum."""

import numpy as np
import pytest
import torch

from shrink.classroom.baselines import baseline
from shrink.classroom.data import load
from shrink.quantization import quantize
from shrink.quantization.adaround import (
    adaround,
    initial_variables,
    rectified_sigmoid,
    rounding_regulariser,
)
from shrink.quantization.fixed_weights import weight_grid
from shrink.quantization.mixed_bits import folded
from shrink.quantization.moments import input_moments
from shrink.quantization.rounding import round_exactly
from tests.quantization.test_rounding import case, errors_of


def test_the_rectified_sigmoid_is_the_papers():
    v = np.linspace(-6, 6, 49)
    expected = np.clip(1 / (1 + np.exp(-v)) * 1.2 - 0.1, 0, 1)
    np.testing.assert_allclose(rectified_sigmoid(torch.from_numpy(v)), expected, atol=1e-12)
    assert rectified_sigmoid(torch.tensor([-2.5, 2.5])).tolist() == [0, 1]  # reached, not neared


def test_it_begins_at_the_fraction():
    fraction = torch.linspace(0, 1, 101, dtype=torch.float64)
    v = initial_variables(fraction)
    assert v.isfinite().all()
    torch.testing.assert_close(rectified_sigmoid(v), fraction)


@pytest.mark.parametrize("beta", [2.0, 7.5, 20.0])
def test_the_regulariser_is_the_papers(beta):
    h = np.linspace(0, 1, 11)
    expected = np.sum(1 - np.abs(2 * h - 1) ** beta)
    assert float(rounding_regulariser(torch.from_numpy(h), beta)) == pytest.approx(expected)
    assert rounding_regulariser(torch.tensor([0.0, 1.0, 1.0]), beta) == 0


@pytest.mark.parametrize("bits", [3, pytest.param(4, marks=pytest.mark.deep)])
@pytest.mark.parametrize("name", ["stem", "depthwise1"])
def test_it_comes_near_the_optimum_in_the_separable_network(name, bits):
    data = load("glyphs", announce=False)
    net = folded(baseline("separable", data))
    products = input_moments(net, data.train.images[:200])[name].products
    weight = net.get_submodule(name).weight
    grid = weight_grid(weight, bits)
    found, best, nearest = (
        errors_of(q, weight.detach(), grid, products).sum()
        for q in (
            adaround(weight, grid, products),
            round_exactly(weight, grid, products),
            quantize(weight, grid),
        )
    )
    assert best <= found <= 1.4 * best
    assert found < 0.75 * nearest


def test_the_size_of_weights_and_inputs_does_not_matter():
    """One λ fits all layers: units are those of a layer's own costs."""
    weight, products = case(8, 9, seed=5)
    grid = weight_grid(weight, 3)
    q = adaround(weight, grid, products, steps=60)
    larger = 1024 * weight  # exact in floats
    assert torch.equal(adaround(larger, weight_grid(larger, 3), products / 4096, steps=60), q)


def test_nothing_is_by_chance_and_gradients_may_be_off():
    weight, products = case(4, 9, seed=6)
    grid = weight_grid(weight, 3)
    state = torch.random.get_rng_state()
    q = adaround(weight, grid, products, steps=60)
    with torch.no_grad():
        assert torch.equal(adaround(weight.requires_grad_(), grid, products, steps=60), q)
    assert torch.equal(torch.random.get_rng_state(), state) and weight.grad is None


def test_options_that_cannot_be_are_named():
    weight, products = case(2, 4)
    grid = weight_grid(weight, 3)
    with pytest.raises(ValueError, match="steps must be at least 1, not 0"):
        adaround(weight, grid, products, steps=0)
    with pytest.raises(TypeError, match=r"steps must be a whole number, not 1\.5"):
        adaround(weight, grid, products, steps=1.5)
    with pytest.raises(ValueError, match="warm_up is a share of the steps, 0 to 1, not 2"):
        adaround(weight, grid, products, warm_up=2)
    for share in (0, 1):
        assert adaround(weight, grid, products, steps=3, warm_up=share).shape == weight.shape
    free = adaround(weight, grid, products, steps=3, weight_of_regulariser=0)
    assert free.shape == weight.shape


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"learning_rate": 0}, ValueError, "learning_rate must be above 0 and finite, not 0"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate must be above 0 .*, not nan"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be a number, not 'fast'"),
        ({"betas": (0, 2)}, ValueError, "the first beta must be above 0 and finite, not 0"),
        ({"betas": (20, -2)}, ValueError, "the last beta must be above 0 and finite, not -2"),
        ({"betas": (20, float("inf"))}, ValueError, "the last beta must be .* finite, not inf"),
        (
            {"weight_of_regulariser": -1},
            ValueError,
            "weight_of_regulariser must be at least 0 and finite, not -1",
        ),
    ],
)
def test_numbers_that_cannot_be_are_named(options, error, told):
    weight, products = case(2, 4)
    with pytest.raises(error, match=told):
        adaround(weight, weight_grid(weight, 3), products, steps=3, **options)

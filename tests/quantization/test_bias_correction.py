"""Bias correction: against least squares with an intercept, and the means that it restores."""

import pytest
import torch
from torch import nn

from shrink.quantization.bias_correction import corrected_bias
from shrink.quantization.moments import input_moments
from tests.quantization.test_conversion import random, seeded


def means(layer, x):
    return input_moments(nn.Sequential(layer), x)["0"].mean


def test_it_is_the_intercept_of_least_squares():
    layer, x = seeded(lambda: nn.Linear(6, 4)), random(50, 6).abs()
    seen = x + 0.1 * random(50, 6, seed=1)  # what the quantized network's layer gets
    rounded = (layer.weight.detach() * 3).round() / 3
    found = corrected_bias(layer.bias, layer.weight, rounded, means(layer, x), means(layer, seen))
    # y - Ŵx̂ by a constant alone: a column of ones is all that may be fitted
    left = layer(x).detach().double() - seen.double() @ rounded.double().T
    intercept = torch.linalg.lstsq(torch.ones(50, 1, dtype=torch.float64), left).solution[0]
    torch.testing.assert_close(found.double(), intercept, rtol=1e-4, atol=1e-5)
    assert found.dtype == layer.bias.dtype and found.shape == (4,)


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_the_mean_output_over_all_places_is_that_of_the_floats(groups):
    layer = seeded(lambda: nn.Conv2d(4, 8, 3, padding=1, groups=groups))
    x = random(10, 4, 6, 6).abs()
    rounded = (layer.weight.detach() * 3).round() / 3
    mean = means(layer, x)
    bias = corrected_bias(layer.bias, layer.weight, rounded, mean, mean)
    off = layer(x) - layer._conv_forward(x, rounded, bias)
    assert off.mean((0, 2, 3)).abs().max() < 1e-5
    assert (layer(x) - layer._conv_forward(x, rounded, layer.bias)).mean(
        (0, 2, 3)
    ).abs().max() > 0.01


def test_what_needs_no_correction_gets_none():
    layer, x = seeded(lambda: nn.Linear(6, 4)), random(20, 6)
    mean = means(layer, x)
    found = corrected_bias(layer.bias, layer.weight, layer.weight, mean, mean)
    assert torch.equal(found, layer.bias)


def test_shapes_that_do_not_fit_are_named():
    weight, mean = torch.ones(4, 6), torch.ones(1, 6)
    for given in (
        (torch.ones(3), weight, weight, mean, mean),
        (torch.ones(4), weight, weight.T, mean, mean),
        (torch.ones(4), weight, weight, mean[:, :5], mean[:, :5]),
        (torch.ones(4), weight, weight, mean, torch.ones(2, 6)),
        (torch.ones(4), weight, weight, torch.ones(3, 6), torch.ones(3, 6)),
    ):
        with pytest.raises(ValueError, match=r"bias, weight, rounded and means do not fit: \["):
            corrected_bias(*given)

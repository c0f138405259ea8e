"""Equalization: ranges alike, answers the same, and chapter 03's stretch undone."""

import copy
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.classroom import models
from shrink.classroom.baselines import baseline
from shrink.classroom.data import load
from shrink.quantization.equalization import equalize, equalized, equalizing_factors
from shrink.quantization.mixed_bits import folded
from tests.quantization.test_conversion import chain, random, seeded, state_of, unchanged


@pytest.fixture(scope="module")
def glyphs():
    return load("glyphs", announce=False)


@pytest.fixture(scope="module")
def separable(glyphs):
    return baseline("separable", glyphs)


def flattened(x):
    return F.max_pool2d(x, 2).flatten(1)


PAIRS = {
    "linear": (lambda: (nn.Linear(5, 4), nn.Linear(4, 3)), (6, 5), F.relu),
    "no bias": (lambda: (nn.Linear(5, 4, bias=False), nn.Linear(4, 3)), (6, 5), F.relu),
    "convolutions": (
        lambda: (nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 6, 3, padding=1)),
        (6, 2, 8, 8),
        F.relu,
    ),
    "depthwise": (
        lambda: (nn.Conv2d(2, 4, 3), nn.Conv2d(4, 8, 3, padding=1, groups=4)),
        (6, 2, 8, 8),
        F.relu,
    ),
    "two groups": (
        lambda: (nn.Conv2d(4, 4, 3, groups=2), nn.Conv2d(4, 6, 1, groups=2)),
        (6, 4, 8, 8),
        F.relu,
    ),
    "flattened": (lambda: (nn.Conv2d(2, 4, 3), nn.Linear(36, 3)), (6, 2, 8, 8), flattened),
}


@pytest.mark.parametrize("kind", PAIRS)
def test_two_layers_give_the_same_and_ranges_are_alike(kind):
    make, shape, between = PAIRS[kind]
    first, second = seeded(lambda: nn.ModuleList(make()))
    with torch.no_grad():
        first.weight[1] *= 50
    x = random(*shape)
    before = first.weight.clone(), second.weight.clone()
    a, b = equalized(first, second)
    assert torch.equal(first.weight, before[0]) and torch.equal(second.weight, before[1])
    torch.testing.assert_close(b(between(a(x))), second(between(first(x))), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        equalizing_factors(a, b), torch.ones(4, dtype=torch.float64), rtol=1e-5, atol=1e-5
    )
    assert equalizing_factors(first, second)[1] > 2


def test_channels_that_nobody_makes_or_reads_stay():
    first, second = seeded(lambda: nn.ModuleList([nn.Linear(5, 4), nn.Linear(4, 3)]))
    with torch.no_grad():
        first.weight[0], second.weight[:, 1] = 0, 0
    assert equalizing_factors(first, second)[:2].tolist() == [1, 1]
    a, b = equalized(first, second)
    assert a.weight.isfinite().all() and b.weight.isfinite().all()


def test_a_stretched_channel_comes_back(glyphs, separable):
    """Chapter 03 divides a channel by 256 and multiplies what reads it."""
    stretched = copy.deepcopy(separable)
    with torch.no_grad():
        stretched.norm0.weight[3] /= 256
        stretched.norm0.bias[3] /= 256
        stretched.depthwise1.weight[3] *= 256
    expected, found = equalize(separable).state_dict(), equalize(stretched).state_dict()
    assert expected.keys() == folded(separable).state_dict().keys()
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x, rtol=1e-3, atol=1e-5)
    images = glyphs.validation.images[:50]
    with torch.no_grad():
        torch.testing.assert_close(
            equalize(stretched)(images), separable(images), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize("name", ["lenet-300-100", "lenet-5", "separable"])
def test_all_pairs_of_a_network_are_equal_at_the_end(name):
    net, x = seeded(lambda: models.build(name, 0)), random(8, 1, 28, 28).abs()
    before = state_of(net)
    found = equalize(net)
    assert unchanged(net, before)
    net.eval()
    torch.testing.assert_close(found(x), net(x), rtol=1e-4, atol=1e-4)
    layers = [m for m in found.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
    for first, second in pairwise(layers):
        assert (equalizing_factors(first, second) - 1).abs().max() < 2e-4
    assert all(p.dtype == torch.float32 for p in found.parameters())


def test_all_that_a_chain_may_have():
    net, x = seeded(chain).eval(), random(6, 2, 12, 20)
    torch.testing.assert_close(equalize(net)(x), net(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("name", "what"), [("tiny-tanh", "avg_pool2d"), ("residual", "add")])
def test_what_keeps_no_factor_is_named(name, what):
    with pytest.raises(ValueError, match=rf"{what}.*\(a factor passes through ReLU"):
        equalize(models.build(name, 0))


def test_tanh_and_layers_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"Tanh.*a factor passes through ReLU"):
        equalize(nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Linear(3, 3)))
    with pytest.raises(ValueError, match=r"Linear\(in_features=5.* reads 5 inputs, and .* makes 4"):
        equalized(nn.Linear(3, 4), nn.Linear(5, 2))
    with pytest.raises(ValueError, match=r"Tanh.*is none of Linear, Conv2d"):
        equalized(nn.Linear(3, 4), nn.Tanh())

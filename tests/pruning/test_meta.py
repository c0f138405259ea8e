"""MetaPruning: weights made from widths, cropped, and a search that finds the better structure."""

import itertools
import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.pruning.evolution import SearchSpace, evolve
from shrink.pruning.meta import RandomWidths, SharedWeights, WeightGenerator, crop, perceptron
from tests.depth import seeds

KINDS = [WeightGenerator, SharedWeights]
SIZES = (5, (7, 6, 4), 3)


@pytest.mark.parametrize("kind", KINDS)
def test_weights_have_the_shapes_of_the_widths(kind):
    weights = kind(*SIZES, seed=0)
    for widths in itertools.product((1, 7), (2, 6), (3, 4)):
        a, b, c = widths
        shapes = [tuple(weight.shape) for weight in weights(widths)]
        assert shapes == [(a, 5), (b, a), (c, b), (3, c)]


def test_the_generator_crops_the_whole_weight_that_its_layers_make():
    generator = WeightGenerator(*SIZES, seed=0, units=9)
    encoding = torch.tensor([[2 / 7, 5 / 6, 1 / 4]])
    whole = [(7, 5), (6, 7), (4, 6), (3, 4)]
    kept = [(2, 5), (5, 2), (1, 5), (3, 1)]
    for layer, shape, (rows, columns), weight in zip(
        generator.layers, whole, kept, generator((2, 5, 1)), strict=True
    ):
        first, _, second = layer
        hidden = (encoding @ first.weight.T + first.bias).clamp(min=0)
        made = (hidden @ second.weight.T + second.bias).reshape(shape)
        assert torch.allclose(weight, made[:rows, :columns], atol=1e-6)


def test_shared_weights_are_the_same_numbers_for_all_widths_and_generated_ones_are_not():
    for kind, same in ((SharedWeights, True), (WeightGenerator, False)):
        weights = kind(*SIZES, seed=0)
        wide, narrow = weights((7, 6, 4)), weights((2, 5, 1))
        for a, b in zip(wide, narrow, strict=True):
            assert torch.equal(crop(a, *b.shape), b) == same


@pytest.mark.parametrize("kind", KINDS)
def test_a_cropped_network_is_the_plain_one_of_those_widths_with_the_same_numbers(kind):
    weights = kind(*SIZES, seed=0)
    widths = (3, 6, 2)
    plain = nn.Sequential(
        *(nn.Linear(5, 3, bias=False), nn.BatchNorm1d(3, affine=False), nn.ReLU()),
        *(nn.Linear(3, 6, bias=False), nn.BatchNorm1d(6, affine=False), nn.ReLU()),
        *(nn.Linear(6, 2, bias=False), nn.BatchNorm1d(2, affine=False), nn.ReLU()),
        nn.Linear(2, 3, bias=False),
    )
    for layer, weight in zip(plain[::3], weights(widths), strict=True):
        layer.weight.data.copy_(weight)
    net = perceptron(weights(widths))
    images = torch.randn(20, 5, generator=torch.Generator().manual_seed(0))
    only = SearchSpace(5, [(3,), (6,), (2,)], 3)
    expected = plain(images)
    assert torch.allclose(RandomWidths(weights, only, seed=0)(images), expected, atol=1e-6)
    assert torch.allclose(net(images.view(20, 1, 5)), expected, atol=1e-6)
    assert torch.allclose(net.eval()(images), plain.eval()(images), atol=1e-6)


def test_a_networks_weights_are_its_own():
    shared = SharedWeights(*SIZES, seed=0)
    net = perceptron(shared((7, 6, 4)))
    with torch.no_grad():
        net[1].weight.zero_()
    assert all(weight.any() for weight in shared.weights)
    assert all(parameter.is_leaf and parameter.requires_grad for parameter in net.parameters())


def test_training_goes_through_all_widths_and_is_resumed_with_the_same():
    space = SearchSpace(5, [range(1, 8), range(1, 7), range(1, 5)], 3, most_macs=90)

    class Watched(SharedWeights):
        def forward(self, widths):
            drawn.append(widths)
            return super().forward(widths)

    drawn: list[tuple[int, ...]] = []
    images = torch.randn(4, 5)
    whole = RandomWidths(Watched(*SIZES, seed=0), space, seed=3)
    for _ in range(60):
        whole(images)
    assert all(widths in space for widths in drawn) and len(set(drawn)) > 30
    first, drawn = drawn[:], []
    halted = RandomWidths(Watched(*SIZES, seed=0), space, seed=3)
    for _ in range(20):
        halted(images)
    resumed = RandomWidths(Watched(*SIZES, seed=0), space, seed=3)
    resumed.load_state_dict(halted.state_dict())
    for _ in range(40):
        resumed(images)
    assert drawn == first
    drawn = []
    RandomWidths(Watched(*SIZES, seed=0), space, seed=4)(images)
    assert drawn != first[:1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_makes_the_same_weights_and_leaves_the_random_numbers_alone(kind):
    before = torch.random.get_rng_state()
    first, again, other = (kind(*SIZES, seed=seed)((7, 6, 4)) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), before)
    for a, b, c in zip(first, again, other, strict=True):
        assert torch.equal(a, b) and not torch.equal(a, c)

"""MetaPruning: weights made from widths, cropped, and a search that finds the better structure."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.pruning.evolution import SearchSpace, evolve
from shrink.pruning.meta import (
    RandomWidths,
    SharedWeights,
    WeightGenerator,
    crop_weight,
    perceptron,
)
from shrink.pruning.norms import recompute_norms
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
            assert torch.equal(crop_weight(a, *b.shape), b) == same


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


CORNERS = torch.tensor([[1.0, 1], [1, -1], [-1, 1], [-1, -1]])


def corners(n, seed):
    """Points about the four corners of a square, each corner a class, in equal numbers."""
    labels = torch.arange(n) % 4
    noise = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    return CORNERS[labels] + 0.1 * noise, labels


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", seeds(5, few=2))
def test_of_two_structures_it_finds_the_one_that_is_better(kind, seed):
    # Of any line's four values two lie below the mean, and ReLU makes both 0: one unit cannot tell
    # those two corners apart, so its loss is ln 2 or more on half of the points.
    space = SearchSpace(2, [(1, 16)], 4)
    model = RandomWidths(kind(2, space.largest, 4, seed=seed), space, seed=seed)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    images, labels = corners(200, seed)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(model(images), labels).backward()
        optimizer.step()
    fresh, answers = corners(400, seed + 1000)

    def loss(widths):
        net = perceptron(model.weights(widths)).eval()
        recompute_norms(net, [images])
        with torch.no_grad():
            return F.cross_entropy(net(fresh), answers).item()

    found = evolve(lambda widths: -loss(widths), space, seed=seed, population=2, generations=2)
    assert max(found, key=found.get) == (16,)
    assert loss((1,)) > 0.3 and loss((16,)) < 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("widths", "message"),
    [
        ((0, 6, 4), "a width must lie between 1 and 7, not 0"),
        ((7, 6, 5), "a width must lie between 1 and 4, not 5"),
        ((7, 6), "there are 3 hidden layers, not 2"),
    ],
)
def test_widths_that_do_not_fit_are_named(kind, widths, message):
    with pytest.raises(ValueError, match=message):
        kind(*SIZES, seed=0)(widths)


@pytest.mark.parametrize("kind", KINDS)
def test_sizes_that_make_no_network_are_named(kind):
    with pytest.raises(ValueError, match="a width must be at least 1, not 0"):
        kind(5, (7, 0), 3, seed=0)
    with pytest.raises(ValueError, match="no hidden layer"):
        kind(5, (), 3, seed=0)
    with pytest.raises(TypeError, match="seed"):
        kind(5, (7,), 3, seed=0.5)


def test_a_space_of_other_sizes_than_the_weights_is_refused():
    shared = SharedWeights(*SIZES, seed=0)
    for space in (
        SearchSpace(5, [(7,), (6,), (5,)], 3),
        SearchSpace(6, [(7,), (6,), (4,)], 3),
        SearchSpace(5, [(7,), (6,)], 3),
    ):
        with pytest.raises(ValueError, match="the space"):
            RandomWidths(shared, space, seed=0)


@pytest.mark.parametrize(
    ("shapes", "error", "message"),
    [
        ([], ValueError, "the weight of one layer at least"),
        ([(3, 5), (2, 4)], ValueError, "3 outputs go into 4 inputs"),
        ([(3, 5, 1)], ValueError, r"not \(3, 5, 1\)"),
        ([(0, 5)], ValueError, r"not \(0, 5\)"),
    ],
)
def test_weights_that_make_no_network_are_named(shapes, error, message):
    with pytest.raises(error, match=message):
        perceptron([torch.zeros(shape) for shape in shapes])


def test_a_network_computes_in_the_type_of_its_weights():
    weights = [torch.rand(3, 5, dtype=torch.float64), torch.rand(2, 3, dtype=torch.float64)]
    assert perceptron(weights)(torch.rand(4, 5, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize(("outputs", "inputs"), [(0, 2), (3, 2), (2, 0), (2, 4)])
def test_a_crop_that_is_not_there_is_refused(outputs, inputs):
    with pytest.raises(ValueError, match=r"puts must lie between 1 and [23], not [034]"):
        crop_weight(torch.zeros(2, 3), outputs, inputs)


def test_weights_of_whole_numbers_are_refused():
    with pytest.raises(TypeError, match="floating point"):
        perceptron([torch.zeros(3, 5, dtype=torch.int64)])

"""Paths beside a search that walks each of them, and beside products of whole numbers."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.classroom import models
from shrink.pruning import count_paths, live_masks
from tests import depth
from tests.pruning.nets import IMAGES, NETS, state_of

SHAPE = (1, 28, 28)


def drawn(net, share, seed=0):
    """Masks that keep each weight with this chance."""
    draw = torch.Generator().manual_seed(seed)
    return {
        name: torch.rand(p.shape, generator=draw) < share
        for name, p in net.named_parameters()
        if p.dim() > 1
    }


def walk(links, begin, ends):
    """All paths from one of `begin` to one of `ends`, as lists of the weights on them.

    `links`: node → the nodes behind it, each with the weight between, or None.
    """
    found, open_ = [], [(node, ()) for node in begin]
    while open_:
        node, passed = open_.pop()
        if node in ends:
            found.append(passed)
        open_ += [(after, (*passed, weight)) for after, weight in links.get(node, [])]
    return found


def link(links, before, after, weight=None):
    links.setdefault(before, []).append((after, weight))


def link_linear(links, name, mask, before, after):
    for i, j in mask.nonzero().tolist():
        link(links, before(j), (after, i), (name, i, j))


def perceptron(masks):
    """The links of a network with as many linear layers as masks."""
    links = {}
    for depth_, (name, mask) in enumerate(masks.items()):
        link_linear(links, name, mask, lambda j, d=depth_: (d, j), depth_ + 1)
    return links


@pytest.mark.parametrize("seed", depth.seeds(20, few=5))
def test_paths_of_a_perceptron_are_those_of_a_walk(seed):
    net = nn.Sequential(nn.Linear(5, 4), nn.Tanh(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    masks = drawn(net, 0.45, seed)
    begin, ends = [(0, i) for i in range(5)], [(3, i) for i in range(2)]
    paths = walk(perceptron(masks), begin, ends)
    assert count_paths(net, masks, (5,)) == len(paths)
    passed = {weight for path in paths for weight in path}
    for name, live in live_masks(net, masks, (5,)).items():
        assert {(name, *place) for place in live.nonzero().tolist()} == {
            weight for weight in passed if weight[0] == name
        }


class Pooled(nn.Module):
    """A strided convolution with padding, pooling, a sum around a second one, a linear layer."""

    def __init__(self, pool):
        super().__init__()
        self.a, self.norm = nn.Conv2d(1, 2, 3, stride=2, padding=1), nn.BatchNorm2d(2)
        self.b, self.fc, self.pool = nn.Conv2d(2, 2, 1, groups=2), nn.Linear(8, 2), pool

    def forward(self, x):
        x = self.pool(F.relu(self.norm(self.a(x))))
        return self.fc((x + self.b(x)).flatten(1))


def by_windows(masks, size, pooled):
    """The links: `pooled` says which places of 4x4 each of 2x2 is made of, along one axis."""
    links, middle = {}, range(4)
    for o, i, dy, dx in masks["a.weight"].nonzero().tolist():
        for y in middle:
            for x in middle:
                from_y, from_x = 2 * y + dy - 1, 2 * x + dx - 1
                if 0 <= from_y < size and 0 <= from_x < size:
                    pixel = ("x", from_y, from_x)
                    link(links, pixel, ("a", o, y, x), ("a.weight", o, i, dy, dx))
    for c in range(2):
        for y in range(2):
            for x in range(2):
                for from_y in pooled(y):
                    for from_x in pooled(x):
                        link(links, ("a", c, from_y, from_x), ("pool", c, y, x))
                link(links, ("pool", c, y, x), ("sum", 4 * c + 2 * y + x))
                if masks["b.weight"][c, 0, 0, 0]:
                    passed = ("b.weight", c, 0, 0, 0)
                    link(links, ("pool", c, y, x), ("sum", 4 * c + 2 * y + x), passed)
    link_linear(links, "fc.weight", masks["fc.weight"], lambda j: ("sum", j), "out")
    return links


POOLS = {
    "max": (nn.MaxPool2d(2), lambda i: (2 * i, 2 * i + 1)),
    "mean": (nn.AvgPool2d(2), lambda i: (2 * i, 2 * i + 1)),
    "to 2x2": (nn.AdaptiveAvgPool2d(2), lambda i: (2 * i, 2 * i + 1)),
    "overlapping": (nn.MaxPool2d(3, 2, padding=1), lambda i: [(0, 1), (1, 2, 3)][i]),
    "largest to 2x2": (nn.AdaptiveMaxPool2d((2, 2)), lambda i: (2 * i, 2 * i + 1)),
}


@pytest.mark.parametrize("name", POOLS)
@pytest.mark.parametrize("seed", depth.seeds(6, few=2))
def test_paths_through_convolutions_and_pooling_are_those_of_a_walk(name, seed):
    pool, pooled = POOLS[name]
    net = Pooled(pool)
    masks = drawn(net, 0.5, seed)
    pixels = [("x", y, x) for y in range(8) for x in range(8)]
    paths = walk(by_windows(masks, 8, pooled), pixels, [("out", 0), ("out", 1)])
    assert count_paths(net, masks, (1, 8, 8)) == len(paths)
    passed = {weight for path in paths for weight in path}
    for name, live in live_masks(net, masks, (1, 8, 8)).items():
        found = {(name, *place) for place in live.nonzero().tolist()}
        assert found == {weight for weight in passed if weight and weight[0] == name}


@pytest.mark.parametrize("share", [0.01, 0.5, 1])
def test_paths_of_lenet_are_a_product_of_whole_numbers(share):
    net = models.build("lenet-300-100", seed=0)
    masks = drawn(net, share)
    numbers = np.ones(784, dtype=object)  # whole numbers of any size
    for mask in masks.values():
        numbers = mask.numpy().astype(object) @ numbers
    assert count_paths(net, masks, SHAPE) == numbers.sum()


def test_every_pixel_of_a_mean_is_a_path():
    net = models.build("tiny-tanh", seed=0)
    assert count_paths(net, drawn(net, 1.1), SHAPE) == 784 * 24 * 16 * 10


@pytest.mark.parametrize("name", NETS)
def test_a_weight_is_live_if_a_path_is_lost_without_it(name):
    net = NETS[name]()
    masks = drawn(net, 0.3, seed=4)
    live = live_masks(net, masks, IMAGES[1:])
    paths = count_paths(net, masks, IMAGES[1:])
    assert paths == count_paths(net, live, IMAGES[1:]) > 0
    draw = torch.Generator().manual_seed(0)
    for _ in range(depth.seeds(40, few=8)[-1] + 1):
        name = [*masks][int(torch.randint(len(masks), (), generator=draw))]
        i = int(torch.randint(masks[name].numel(), (), generator=draw))
        without = {**masks, name: masks[name].clone()}
        without[name].view(-1)[i] = False
        lost = count_paths(net, without, IMAGES[1:]) < paths
        assert lost == bool(live[name].view(-1)[i])


def test_layers_with_weights_may_have_no_path():
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
    masks = {
        "0.weight": torch.tensor([[True, True], [False, False]]),
        "2.weight": torch.tensor([[False, True]]),
    }
    assert count_paths(net, masks, (2,)) == 0
    assert not any(mask.any() for mask in live_masks(net, masks, (2,)).values())


def test_more_paths_than_float64_has_digits_for_are_rounded_and_than_it_has_numbers_refused():
    net = nn.Sequential(*[nn.Linear(40, 40) for _ in range(12)])
    masks = drawn(net, 1.1)
    assert count_paths(net, masks, (40,)) == pytest.approx(40**13, rel=1e-14)
    assert all(mask.all() for mask in live_masks(net, masks, (40,)).values())
    net = nn.Sequential(*[nn.Linear(40, 40) for _ in range(200)])
    for function in (count_paths, live_masks):
        with pytest.raises(ValueError, match="1e308"):
            function(net, drawn(net, 1.1), (40,))


def test_the_model_and_the_masks_are_left_as_they_were():
    net = models.build("separable", seed=0).train()
    masks = drawn(net, 0.5)
    before, given = state_of(net), {name: mask.clone() for name, mask in masks.items()}
    live = live_masks(net, masks, SHAPE)
    assert count_paths(net, masks, SHAPE) > 0
    after = state_of(net)
    assert before[0] == after[0] and before[2] == after[2]
    assert [*live] == [*masks] and all(masks[name].equal(given[name]) for name in masks)


def test_values_do_not_matter():
    net, masks = Pooled(nn.MaxPool2d(2)), {}
    masks = drawn(net, 0.6)
    count = count_paths(net, masks, (1, 8, 8))
    with torch.no_grad():
        for tensor in [*net.parameters(), *net.buffers()]:
            tensor.zero_()
    assert count_paths(copy.deepcopy(net).half(), masks, (1, 8, 8)) == count > 0


def test_tied_weights_are_links_at_each_use():
    layer = nn.Linear(3, 3)
    net = nn.Sequential(layer, nn.ReLU(), layer)
    mask = torch.tensor([[True, True, False], [False, True, False], [False, False, False]])
    assert count_paths(net, {"0.weight": mask}, (3,)) == (mask.long() @ mask.long()).sum()
    assert isinstance(layer.weight, nn.Parameter)


MASKS = drawn(Pooled(nn.MaxPool2d(2)), 0.5)


@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        ({"masks": {"a.weight": MASKS["a.weight"]}}, ValueError, r"no mask for b\.weight"),
        ({"masks": {**MASKS, "c.weight": MASKS["a.weight"]}}, ValueError, "c.weight"),
        ({"masks": {**MASKS, "a.weight": MASKS["b.weight"]}}, ValueError, "a.weight has shape"),
        ({"masks": {**MASKS, "a.weight": torch.ones(2, 1, 3, 3)}}, TypeError, "bool"),
        ({"masks": [*MASKS.values()]}, TypeError, "list"),
        ({"model": "net"}, TypeError, "str"),
        ({"shape": (1, 8.0, 8)}, TypeError, r"shape\[1\]"),
        ({"model": Pooled(nn.AdaptiveAvgPool2d(3))}, ValueError, "several sizes"),
        ({"model": Pooled(nn.MaxPool2d(2, dilation=2))}, ValueError, "dilated"),
        ({"model": Pooled(nn.MaxPool2d(3, ceil_mode=True))}, ValueError, "reach outside"),
        ({"model": Pooled(nn.Softmax(1))}, ValueError, "softmax"),
        ({"model": Pooled(nn.InstanceNorm2d(2))}, ValueError, "instance_norm"),
        ({"model": Pooled(nn.Upsample(scale_factor=2))}, ValueError, "interpolate"),
    ],
)
@pytest.mark.parametrize("function", [count_paths, live_masks])
def test_what_cannot_be_followed_is_refused_by_name(function, change, kind, told):
    given = {"model": Pooled(nn.MaxPool2d(2)), "masks": MASKS, "shape": (1, 8, 8)}
    with pytest.raises(kind, match=told):
        function(**{**given, **change})

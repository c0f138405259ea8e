"""SynFlow by hand, and what is conserved: products of magnitudes, sums at each unit, refusals."""

import copy
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.classroom import models
from shrink.pruning import dependency_groups, synflow_scores, unit_saliency
from tests import depth, odd_models
from tests.pruning import corners
from tests.pruning.nets import IMAGES, NETS, shaken, state_of
from tests.test_odd_models import made

SHAPE = (1, 28, 28)
COURSE = (pytest.param("lenet-5", marks=pytest.mark.deep), "separable", "residual", "tiny-tanh")


def magnitudes(net):
    """|W| of each layer, as numpy has it."""
    return [p.detach().double().abs().numpy() for p in net.parameters() if p.dim() > 1]


def perceptron(*widths, activation=nn.ReLU, seed=0):
    """One with every number drawn, biases too."""
    layers = [nn.Linear(a, b) for a, b in pairwise(widths)]
    parts = [part for layer in layers for part in (layer, activation())]
    return shaken(nn.Sequential(nn.Flatten(), *parts[:-1]), seed)


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU])
def test_scores_are_the_weight_times_what_comes_in_times_what_goes_out(activation):
    net = perceptron(6, 5, 4, 3, activation=activation).double()
    found = synflow_scores(net, (2, 3))
    w1, w2, w3 = magnitudes(net)
    before = [np.ones(6), w1 @ np.ones(6), w2 @ w1 @ np.ones(6)]
    behind = [np.ones(3) @ w3 @ w2, np.ones(3) @ w3, np.ones(3)]
    for score, w, a, b in zip(found.values(), (w1, w2, w3), before, behind, strict=True):
        np.testing.assert_allclose(score, np.outer(b, a) * w, rtol=1e-12)


@pytest.mark.parametrize("name", ["lenet-300-100", "tiny-relu"])
def test_the_scores_of_each_layer_add_up_to_the_product(name):
    net = models.build(name, seed=3)
    w1, w2, w3 = magnitudes(net)
    ones = np.ones(w1.shape[1])
    product = (w3 @ w2 @ w1 @ ones).sum()
    for score in synflow_scores(net, SHAPE).values():
        assert score.dtype == torch.float32
        assert score.double().sum().item() == pytest.approx(product, rel=1e-6)


class Mixed(nn.Module):
    """Convolutions of several kinds with batch norm, a sum, a concatenation, and means."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1, groups=2)
        self.c, self.norm = nn.Conv2d(4, 4, 3, stride=2, groups=4), nn.BatchNorm2d(4)
        self.d, self.fc = nn.Conv2d(4, 3, 1), nn.Linear(7, 2)

    def forward(self, x):
        x = torch.tanh(self.a(x))
        x = F.gelu(self.norm(self.b(x) + x))
        y = 0.5 * self.c(x) / 2
        return self.fc(torch.cat([y, -0.5 * self.d(y) + 1], 1).mean((2, 3)))

    def by_hand(self, weights, x):
        """The sum of outputs of the linear network with these weights, none negative."""
        root = (self.norm.running_var + self.norm.eps).sqrt()
        scale = (self.norm.weight.abs() / root).view(-1, 1, 1)
        x = F.conv2d(x, weights["a.weight"], padding=1)
        x = (F.conv2d(x, weights["b.weight"], padding=1, groups=2) + x) * scale
        y = F.conv2d(x, weights["c.weight"], stride=2, groups=4) / 4
        y = torch.cat([y, F.conv2d(y, weights["d.weight"]) / 2], 1).mean((2, 3))
        return (y @ weights["fc.weight"].T).sum()


def test_a_score_is_what_the_sum_loses_without_the_weight():
    net = shaken(Mixed()).double()
    scores = synflow_scores(net, (2, 7, 6))
    with torch.no_grad():
        weights = {n: p.abs() for n, p in net.named_parameters() if p.dim() > 1}
        x = torch.ones(1, 2, 7, 6).double()
        whole = net.by_hand(weights, x)
        assert scores["a.weight"].sum() == pytest.approx(whole.item(), rel=1e-12)
        for name, w in weights.items():
            for i in torch.randperm(w.numel(), generator=torch.Generator().manual_seed(1))[:12]:
                without = w.flatten().index_fill(0, i, 0).view_as(w)
                lost = whole - net.by_hand({**weights, name: without}, x)
                assert scores[name].flatten()[i].item() == pytest.approx(lost.item(), rel=1e-9)


def conserved(net, shape, images):
    scores = synflow_scores(net, shape)
    groups = dependency_groups(net, images)
    for group in groups.values():
        into, out_of = unit_saliency(scores, group)
        assert into.shape == out_of.shape == (group.units,) and into.dtype == torch.float64
        torch.testing.assert_close(into, out_of, rtol=1e-10, atol=0)
        assert into.any()
    return groups


@pytest.mark.parametrize("name", COURSE)
def test_what_enters_a_unit_leaves_it(name):
    net = shaken(models.build(name, seed=0)).double()
    assert conserved(net, SHAPE, torch.zeros(2, 1, 28, 28).double())


@pytest.mark.parametrize("name", NETS)
def test_what_enters_a_unit_leaves_it_in_networks_as_others_write_them(name):
    net = shaken(NETS[name]()).double()
    assert conserved(net, IMAGES[1:], torch.zeros(IMAGES).double())


def test_saliency_of_units_behind_a_flattening_and_around_a_depthwise_convolution():
    net = models.build("separable", seed=0)
    scores = {n: torch.rand_like(p.double()) for n, p in net.named_parameters() if p.dim() > 1}
    groups = dependency_groups(net, torch.zeros(1, *SHAPE))
    into, out_of = unit_saliency(scores, groups["stem"])
    assert into.allclose(scores["stem.weight"].sum((1, 2, 3)))
    assert out_of.allclose(scores["pointwise1.weight"].sum((0, 2, 3)))  # not the depthwise one
    into, out_of = unit_saliency(scores, groups["pointwise2"])
    columns = scores["fc.weight"].view(10, 64, 9)
    assert out_of.allclose(columns.sum((0, 2)))


def test_sums_are_exact_where_float32_would_lose_the_small_ones():
    net = nn.Sequential(nn.Linear(3, 1), nn.Linear(1, 1))
    group = dependency_groups(net, torch.zeros(1, 3))["0"]
    scores = {"0.weight": torch.tensor([[1e8, 1.0, 1.0]]), "1.weight": torch.tensor([[1e8]])}
    into, out_of = unit_saliency(scores, group)
    assert (into - out_of).item() == 2


@pytest.mark.parametrize(
    ("scores", "kind", "told"),
    [
        ({}, ValueError, "into the units of 0"),
        ({"0.weight": torch.ones(5, 6)}, ValueError, "out of the units of 0"),
        ({"0.weight": torch.ones(4, 6), "2.weight": torch.ones(3, 5)}, ValueError, r"\(4, 6\)"),
        ({"0.weight": torch.ones(5, 6).int(), "2.weight": torch.ones(3, 5)}, TypeError, "int32"),
        ([torch.ones(5, 6)], TypeError, "list"),
    ],
)
def test_scores_that_are_not_of_the_group_are_refused(scores, kind, told):
    net = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    group = dependency_groups(net, torch.zeros(1, 6))["0"]
    with pytest.raises(kind, match=told):
        unit_saliency(scores, group)
    with pytest.raises(TypeError, match="str"):
        unit_saliency({}, "0")


# ---- numbers that a type has no room for


def deep(layers, gain, dtype=torch.float32):
    """So many layers of three units, each of which multiplies what it gets by the gain."""
    net = nn.Sequential(*[nn.Linear(3, 3) for _ in range(layers)])
    with torch.no_grad():
        for layer in net:
            layer.weight.copy_(torch.eye(3) * -gain)
    return net.to(dtype)


@pytest.mark.parametrize("gain", [10.0, 0.1])
@pytest.mark.parametrize(("layers", "dtype"), [(12, torch.float32), (100, torch.float64)])
def test_a_deep_network_has_scores_in_float64(layers, dtype, gain):
    scores = synflow_scores(deep(layers, gain), (3,))
    expected = torch.eye(3).double() * gain**layers
    for score in scores.values():
        assert score.dtype == dtype
        torch.testing.assert_close(score.double(), expected, rtol=1e-5, atol=0)


@pytest.mark.parametrize("gains", [(1e3, 1e-3), (1e-3, 1e3)])
def test_what_float32_has_no_room_for_inside_comes_out_right(gains):
    net = nn.Sequential(deep(15, gains[0]), deep(15, gains[1]))
    for score in synflow_scores(net, (3,)).values():
        torch.testing.assert_close(score.double(), torch.eye(3).double(), rtol=1e-4, atol=0)


@pytest.mark.parametrize("gain", [1e5, 1e-5])
def test_what_float64_has_no_room_for_is_refused(gain):
    with pytest.raises(ValueError, match="scale the weights"):
        synflow_scores(deep(80, gain, torch.float64), (3,))


def test_a_network_without_a_path_has_no_saliency():
    net = deep(4, 2.0)
    with torch.no_grad():
        net[1].weight.zero_()
    for score in synflow_scores(net, (3,)).values():
        assert score.dtype == torch.float32 and not score.any()


def test_a_sum_below_all_of_float32_is_not_taken_for_0():
    net = nn.Sequential(deep(1, 1e-19), deep(1, 1e-30))
    for score in synflow_scores(net, (3,)).values():
        torch.testing.assert_close(score, torch.eye(3).double() * 1e-49, rtol=1e-5, atol=0)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_named(bad):
    net = models.build("lenet-300-100", seed=0)
    with torch.no_grad():
        net.fc2.weight[3, 4] = bad
    with pytest.raises(ValueError, match=r"fc2\.weight"):
        synflow_scores(net, SHAPE)


def test_narrow_types_are_scored_in_float32():
    net = models.build("tiny-relu", seed=0)
    scores = synflow_scores(net, SHAPE)
    for name, score in synflow_scores(copy.deepcopy(net).bfloat16(), SHAPE).items():
        assert score.dtype == torch.float32
        torch.testing.assert_close(score, scores[name], rtol=0.05, atol=0)


# ---- what is left as it was, and what is refused


def test_the_model_is_left_as_it_was():
    net = shaken(models.build("separable", seed=0)).train()
    net.norm1.eval()
    net.fc.weight.grad = torch.ones_like(net.fc.weight)
    net.stem.weight.requires_grad_(False)
    before = state_of(net)
    scores = synflow_scores(net, SHAPE)
    after = state_of(net)
    assert before[0] == after[0] and before[2] == after[2]
    assert all(before[1][name].equal(after[1][name]) for name in before[1])
    assert scores["stem.weight"].any() and not any(s.requires_grad for s in scores.values())


def test_neither_biases_nor_shifts_nor_signs_have_a_part():
    net = shaken(models.build("separable", seed=0))
    scores, other = synflow_scores(net, SHAPE), copy.deepcopy(net)
    with torch.no_grad():
        for name, tensor in other.state_dict().items():
            if name.endswith(("bias", "running_mean")):
                tensor.add_(3)
            elif not name.endswith(("running_var", "tracked")):
                tensor.neg_()
    assert all(s.equal(scores[name]) for name, s in synflow_scores(other, SHAPE).items())


def test_tied_weights_are_scored_once_by_all_their_uses():
    layer = nn.Linear(3, 3).double()
    apart = nn.Sequential(copy.deepcopy(layer), copy.deepcopy(layer))
    net = nn.Sequential(layer, nn.Tanh(), layer)
    scores = synflow_scores(net, (3,))
    assert [*scores] == ["0.weight"]
    assert isinstance(layer.weight, nn.Parameter) and layer.weight.equal(apart[0].weight)
    summed = sum(synflow_scores(apart, (3,)).values())
    torch.testing.assert_close(scores["0.weight"], summed)


class Calls(nn.Module):
    def __init__(self, call):
        super().__init__()
        self.fc, self.call = nn.Linear(4, 4), call
        self.register_buffer("fixed", torch.ones(4, 4))

    def forward(self, x):
        return self.call(self, self.fc(x))


REFUSED = {
    "softmax": lambda m, x: x.softmax(-1),
    "layer_norm": lambda m, x: F.layer_norm(x, (4,)),
    "square": lambda m, x: x.square(),
    "div": lambda m, x: 1 / x,
    "sub": lambda m, x: x - x,
    "in place": lambda m, x: x.mul_(2),
    "two activations": lambda m, x: x * x,
    "none of its parameters": lambda m, x: F.linear(x, m.fixed),
    "mul with a tensor": lambda m, x: x * m.fixed,
    "add with": lambda m, x: x + torch.ones(2, 1, 4),
    "alpha": lambda m, x: torch.add(x, x, alpha=2),
    "numbers of its own": lambda m, x: torch.cat([x, torch.ones(1, 4)], 1),
    "pads with 2": lambda m, x: F.pad(x, (1, 1), value=2),
    "tuple": lambda m, x: (x, x),
    "cannot be followed": lambda m, x: m.fixed,
    "running variance": lambda m, x: F.batch_norm(x, None, None, training=True),
}


@pytest.mark.parametrize("told", REFUSED)
def test_what_is_no_linear_network_is_refused_by_name(told):
    net = Calls(REFUSED[told])
    with pytest.raises(ValueError, match=told.partition(" with a tensor")[0]):
        synflow_scores(net, (4,))


@pytest.mark.parametrize(
    ("model", "shape", "kind", "told"),
    [
        ("lenet", (4,), TypeError, "str"),
        (nn.ReLU(), (4,), ValueError, "no weight"),
        (nn.LazyLinear(3), (4,), ValueError, "weight has no values"),
        (nn.Linear(4, 2, device="meta"), (4,), ValueError, "weight has no values"),
        (nn.utils.parametrizations.weight_norm(nn.Linear(4, 2)), (4,), ValueError, "remove"),
        (torch.jit.script(nn.Linear(4, 2)), (4,), ValueError, "scripted"),
        (nn.Linear(4, 2), (4.0,), TypeError, r"shape\[0\]"),
        (nn.Linear(4, 2), (0,), ValueError, r"shape\[0\]"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_bad_input_is_named(model, shape, kind, told):
    with pytest.raises(kind, match=told):
        synflow_scores(model, shape)


FOLLOWABLE = {**corners.CONVOLUTIONS, **corners.GROUPED, **corners.BETWEEN}


@pytest.mark.parametrize("name", FOLLOWABLE)
def test_odd_networks_conserve_or_are_refused(name):
    net, shape = FOLLOWABLE[name]()
    net = shaken(copy.deepcopy(net)).double()
    try:
        scores = synflow_scores(net, shape[1:])
    except ValueError as error:
        assert len(str(error)) > 20
        return
    first = next(iter(scores.values()))
    for seed in depth.seeds(4, few=1):
        name, w = next(n for n in net.named_parameters() if n[1].dim() > 1)
        other = copy.deepcopy(net)
        i = torch.randint(w.numel(), (), generator=torch.Generator().manual_seed(seed))
        with torch.no_grad():
            other.get_parameter(name).view(-1)[i] = 0
        last = [*scores][-1]
        left = synflow_scores(other, shape[1:])[last].sum()
        assert (scores[last].sum() - left).item() == pytest.approx(
            first.view(-1)[i].item(), rel=1e-6, abs=1e-9
        )


SCORED = {"plain", "scaled", "hook", "tied", "used twice", "adapter", "reflected", "batch norm"}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", [name for name in odd_models.MODELS if name != "compiled"])
def test_odd_models_conserve_or_are_refused_by_name(name):
    model, x = made(name)
    before = None if name in ("uninitialized", "script") else state_of(model)
    try:
        scores = synflow_scores(model, x.shape[1:])
        groups = dependency_groups(model, x)
    except ValueError as error:
        assert name not in SCORED and len(str(error)) > 20
        return
    finally:
        if before:
            after = state_of(model)
            assert before[0] == after[0] and before[2] == after[2]
    if name == "words tied":  # one axis of one weight both makes the units and reads them
        return
    for group in groups.values():
        torch.testing.assert_close(*unit_saliency(scores, group), rtol=1e-5, atol=1e-9)

"""SNIP beside the gradient of explicit masks, GraSP beside finite differences of the gradient."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.func import functional_call

from shrink.classroom import models
from shrink.pruning import grasp_scores, snip_scores
from tests.pruning.nets import shaken, state_of

LABELS = torch.tensor([3, 1, 4, 1, 5, 9])


def images(*shape, dtype=torch.float64):
    return torch.rand(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


class Small(nn.Module):
    """A convolution, batch norm, max pooling, dropout and two linear layers; one is unused."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(1, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.drop, self.fc1, self.fc2 = nn.Dropout(), nn.Linear(12, 7), nn.Linear(7, 10)
        self.unused = nn.Linear(2, 2)

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.norm(self.conv(x))), 2)
        return self.fc2(torch.tanh(self.fc1(self.drop(x).flatten(1))))


def small():
    return shaken(Small()).double()


def weights(net):
    return {name: p for name, p in net.named_parameters() if p.dim() > 1}


def cross_entropy(logits, temperature=1.0):
    """By hand: the mean of -log p of the given labels."""
    return -(logits / temperature).log_softmax(1)[torch.arange(len(LABELS)), LABELS].mean()


@pytest.mark.parametrize("score", [snip_scores, grasp_scores])
def test_images_of_another_precision_are_taken_in_that_of_the_weights(score):
    net, x = small(), images(6, 1, 4, 4, dtype=torch.float32)
    expected = score(net, x.double(), LABELS)
    for name, found in score(net, x, LABELS).items():
        assert found.dtype == torch.float64 and found.equal(expected[name])


def test_snip_is_the_gradient_of_masks_of_ones():
    net, x = small(), images(6, 1, 4, 4)
    masks = {name: torch.ones_like(w, requires_grad=True) for name, w in weights(net).items()}
    masked = {name: masks[name] * w for name, w in weights(net).items()}
    loss = cross_entropy(functional_call(net, masked, (x,)))
    gradients = torch.autograd.grad(loss, [*masks.values()], allow_unused=True)
    found = snip_scores(net, x, LABELS)
    for name, gradient in zip(masks, gradients, strict=True):
        if gradient is None:
            assert name == "unused.weight" and not found[name].any()
        else:
            torch.testing.assert_close(found[name], gradient.abs(), rtol=1e-12, atol=0)


def gradient_norm(net, x, temperature):
    """|g|²/2, batch norm by the batch's own statistics and no dropout; g of the weights alone."""
    net = copy.deepcopy(net).eval()
    net.norm.train()
    loss = cross_entropy(net(x), temperature)
    used = [w for name, w in weights(net).items() if name != "unused.weight"]
    return sum(g.square().sum() for g in torch.autograd.grad(loss, used)) / 2


@pytest.mark.parametrize("temperature", [1.0, 5])
def test_grasp_is_how_the_gradients_norm_changes_with_the_weight(temperature):
    net, x, step = small(), images(6, 1, 4, 4), 1e-5
    found = grasp_scores(net, x, LABELS, temperature)
    assert not found["unused.weight"].any()
    for name, w in weights(net).items():
        for i in torch.randperm(w.numel(), generator=torch.Generator().manual_seed(1))[:6]:
            ends = []
            for sign in (1, -1):
                moved = copy.deepcopy(net)
                with torch.no_grad():
                    moved.get_parameter(name).view(-1)[i] += sign * step
                ends.append(gradient_norm(moved, x, temperature))
            slope = (ends[0] - ends[1]).item() / (2 * step)
            score = found[name].flatten()[i].item()
            assert score == pytest.approx(slope * w.flatten()[i].item(), rel=1e-4, abs=1e-10)


def test_the_temperature_of_200_is_that_of_the_code():
    net, x = small(), images(6, 1, 4, 4)
    found, expected = grasp_scores(net, x, LABELS), grasp_scores(net, x, LABELS, 200)
    assert all(found[name].equal(expected[name]) for name in found)


def test_snip_has_the_running_statistics_and_grasp_the_batchs_own():
    net, x = small(), images(6, 1, 4, 4)
    other = copy.deepcopy(net)
    other.norm.running_var.mul_(3)
    other.norm.running_mean.add_(1)
    assert not snip_scores(net, x, LABELS)["conv.weight"].equal(
        snip_scores(other, x, LABELS)["conv.weight"]
    )
    expected = grasp_scores(other, x, LABELS)
    assert all(s.equal(expected[n]) for n, s in grasp_scores(net, x, LABELS).items())


@pytest.mark.parametrize("score", [snip_scores, grasp_scores])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(score, training):
    net = small().train(training)
    net.fc1.weight.grad = torch.ones_like(net.fc1.weight)
    net.conv.weight.requires_grad_(False)
    before, drawn = state_of(net), torch.get_rng_state()
    found = score(net, images(6, 1, 4, 4), LABELS)
    after = state_of(net)
    assert before[0] == after[0] and before[2] == after[2]
    assert all(before[1][name].equal(after[1][name]) for name in before[1])
    assert torch.get_rng_state().equal(drawn), "no dropout"
    assert [*found] == [*weights(net)] and found["conv.weight"].any()
    assert not any(s.requires_grad for s in found.values())
    assert all(s.equal(found[n]) for n, s in score(net, images(6, 1, 4, 4), LABELS).items())


@pytest.mark.parametrize("score", [snip_scores, grasp_scores])
def test_tied_weights_are_scored_once_by_all_their_uses(score):
    net = nn.Sequential(nn.Linear(10, 10), nn.Tanh(), nn.Linear(10, 10)).double()
    apart = copy.deepcopy(net)
    net[2].weight = net[0].weight
    apart[2].weight.data.copy_(apart[0].weight)
    x = images(6, 10)
    found = score(net, x, LABELS)
    assert [*found] == ["0.weight"]
    assert net[2].weight is net[0].weight and net[0].weight.equal(apart[0].weight)
    if score is snip_scores:
        loss = cross_entropy(apart(x))
        gradients = torch.autograd.grad(loss, [apart[0].weight, apart[2].weight])
        torch.testing.assert_close(found["0.weight"], (sum(gradients) * net[0].weight).abs())


@pytest.mark.parametrize("score", [snip_scores, grasp_scores])
def test_a_layer_that_is_used_twice_is_left_as_it_was(score):
    layer, norm = nn.Linear(10, 10), nn.BatchNorm1d(10)
    net = nn.Sequential(layer, norm, nn.Tanh(), layer, norm).double()
    before = state_of(net)
    assert [*score(net, images(6, 10), LABELS)] == ["0.weight"]
    after = state_of(net)
    assert before[0] == after[0] and isinstance(layer.weight, nn.Parameter)
    assert all(before[1][name].equal(after[1][name]) for name in before[1])


def test_the_courses_networks_are_scored_in_their_type():
    x, labels = images(6, 1, 28, 28, dtype=torch.float32), LABELS
    for name in models.MODELS:
        net = models.build(name, seed=0)
        for found in (snip_scores(net, x, labels), grasp_scores(net, x, labels)):
            assert all(s.dtype == torch.float32 and s.any() for s in found.values())
        assert not any((s < 0).any() for s in snip_scores(net, x, labels).values())


@pytest.mark.parametrize("score", [snip_scores, grasp_scores])
@pytest.mark.parametrize(
    ("change", "kind", "told"),
    [
        ({"model": "net"}, TypeError, "str"),
        ({"model": nn.ReLU()}, ValueError, "no weight"),
        ({"images": [1]}, TypeError, "images"),
        ({"labels": LABELS.float()}, TypeError, "labels"),
        ({"labels": LABELS[:5]}, ValueError, r"\(5,\)"),
        ({"images": images(0, 10), "labels": LABELS[:0]}, ValueError, "at least one"),
        ({"images": images(6, 10) * torch.nan}, ValueError, "100 of 100 scores of 0.weight"),
    ],
)
def test_bad_input_is_named(score, change, kind, told):
    given = {"model": nn.Sequential(nn.Linear(10, 10)).double(), "images": images(6, 10)}
    with pytest.raises(kind, match=told):
        score(**{**given, "labels": LABELS, **change})


@pytest.mark.parametrize("temperature", [0, -1, torch.inf, torch.nan])
def test_a_temperature_that_divides_nothing_is_refused(temperature):
    with pytest.raises(ValueError, match="temperature must be above 0"):
        grasp_scores(nn.Linear(10, 10).double(), images(6, 10), LABELS, temperature)
    with pytest.raises(TypeError, match="temperature"):
        grasp_scores(nn.Linear(10, 10).double(), images(6, 10), LABELS, "warm")

"""What deletions do: single ones and many, beside loops of our own and the full Hessian."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink import pruning
from shrink.chapters.saliency import deletions
from shrink.classroom import models
from shrink.classroom.data import Split

FRACTIONS = (0.0, 0.3, 0.6, 1.0)


@pytest.fixture(scope="module")
def net():
    """Small weights would hide what a deletion does; these are large, and not trained."""
    net = models.build("tiny-tanh", 3, hidden=(5, 4))
    with torch.no_grad():
        for p in net.parameters():
            p *= 4
    return net.eval()


@pytest.fixture(scope="module")
def split():
    g = torch.Generator().manual_seed(0)
    return Split(torch.rand(30, 1, 28, 28, generator=g), torch.randint(10, (30,), generator=g))


@torch.no_grad()
def loss_without(net, split, masks):
    """The loss of a copy with zeros where the masks are False."""
    net = copy.deepcopy(net)
    for name, mask in masks.items():
        net.get_parameter(name).mul_(mask)
    return F.cross_entropy(net(split.images), split.labels).item()


def all_stay(net):
    return {name: torch.ones_like(w, dtype=torch.bool) for name, w in models.weights(net).items()}


def test_single_deletions_are_those_of_a_loop(net, split):
    where = deletions.places(net, 2 * deletions.AT_ONCE + 3, seed=1)
    assert len(set(where)) == len(where) and {name for name, _ in where} > {"fc1.weight"}
    before, whole = copy.deepcopy(net.state_dict()), loss_without(net, split, {})
    rises = deletions.true_rises(net, split, where)
    for rise, (name, place) in zip(rises.tolist(), where, strict=True):
        masks = all_stay(net)
        masks[name].view(-1)[place] = False
        assert rise == pytest.approx(loss_without(net, split, masks) - whole, abs=1e-5)
    assert all(t.equal(before[name]) for name, t in net.state_dict().items())


def test_the_actual_rise_is_that_of_masked_copies(net, split):
    scores = deletions.order_of(net, split, "random", seed=4)
    actual, predicted = deletions.rise_along(net, split, scores, FRACTIONS)
    whole = loss_without(net, split, {})
    for share, rise in zip(FRACTIONS, actual, strict=True):
        masks = pruning.masks_from_scores(scores, share)
        assert rise == pytest.approx(loss_without(net, split, masks) - whole, abs=1e-5)
    assert actual[0] == 0 and np.isnan(predicted).all()


@pytest.mark.parametrize("kind", ["diagonal", "weights", "all parameters"])
def test_the_prediction_is_that_of_the_library(net, split, kind):
    hessian = pruning.full_hessian(net, split.images, split.labels)
    over = deletions.over_weights(net, hessian)
    assert len(over) == sum(w.numel() for w in models.weights(net).values()) < len(hessian)
    diagonal = pruning.hessian_diagonal(net, split.images, split.labels, "exact")
    of_weights = torch.cat([diagonal[name].flatten() for name in models.weights(net)])
    assert torch.allclose(over.diagonal().float(), of_weights, atol=1e-6)

    scores = deletions.order_of(net, split, "magnitude")
    given = {"diagonal": diagonal, "weights": over, "all parameters": hessian}[kind]
    _, predicted = deletions.rise_along(net, split, scores, FRACTIONS, given)
    theirs = diagonal if kind == "diagonal" else over
    for share, rise in zip(FRACTIONS, predicted, strict=True):
        masks = pruning.masks_from_scores(scores, share)
        right = pruning.predicted_rise(deletions.weights_of(net), masks, theirs)
        assert rise == pytest.approx(right, rel=1e-4, abs=1e-7)


def test_the_parts_are_the_gradient_and_the_hessian_along_the_deletion(net, split):
    weights = deletions.weights_of(net)
    masks = pruning.masks_from_scores(deletions.order_of(net, split, "random", seed=2), 0.4)
    hessian = deletions.over_weights(net, pruning.full_hessian(net, split.images, split.labels))
    diagonal = pruning.hessian_diagonal(net, split.images, split.labels, "exact")
    loss = F.cross_entropy(net(split.images), split.labels)
    gradients = torch.autograd.grad(loss, list(models.weights(net).values()))
    first = sum(
        float((g * torch.where(mask, 0, -w)).sum())
        for g, mask, w in zip(gradients, masks.values(), weights.values(), strict=True)
    )
    parts = deletions.parts_of(net, split, masks, diagonal)
    assert parts.gradient == pytest.approx(first, rel=1e-3)
    alone = pruning.predicted_rise(weights, masks, diagonal)
    assert parts.diagonal == alone
    second = pruning.predicted_rise(weights, masks, hessian)
    assert parts.mixed == pytest.approx(second - alone, rel=1e-3, abs=1e-4)
    actual = loss_without(net, split, masks) - loss_without(net, split, {})
    assert parts.actual == pytest.approx(actual, abs=1e-5)
    assert abs(parts.beyond) > 1e-3  # or the test says nothing of it


def test_orders_are_what_they_are_called(net, split):
    by = {name: deletions.order_of(net, split, name) for name in deletions.ORDERS}
    weights = deletions.weights_of(net)
    assert all(scores.keys() == weights.keys() for scores in by.values())
    w, g = net.fc1.weight, "fc1.weight"
    loss = F.cross_entropy(net(split.images), split.labels)
    (slope,) = torch.autograd.grad(loss, [w])
    assert by["magnitude"][g].equal(w.detach().abs())
    assert torch.allclose(by["gradient"][g], (slope * w).abs().detach(), atol=1e-6)
    exact = pruning.hessian_diagonal(net, split.images, split.labels, "exact")
    found = deletions.order_of(net, split, "OBD", diagonal="exact")
    assert torch.allclose(found[g], exact[g] * w.detach() ** 2 / 2)
    again = deletions.order_of(net, split, "random", seed=0)
    assert by["random"][g].equal(again[g])
    assert not by["random"][g].equal(deletions.order_of(net, split, "random", seed=1)[g])
    with pytest.raises(ValueError, match=r"by must be one of magnitude, OBD, .*, not 'Fisher'"):
        deletions.order_of(net, split, "Fisher")


@pytest.mark.parametrize("name", ["lenet-300-100", "tiny-relu"])
def test_a_rescaled_network_computes_the_same_with_other_weights(name, split):
    net = models.build(name, 0)
    other = deletions.rescaled(net, 3.0, seed=1)
    with torch.no_grad():
        assert torch.allclose(net(split.images), other(split.images), atol=1e-4)
    ratio = (other.fc1.weight / net.fc1.weight).detach()
    s = ratio.median(1).values  # one for each unit
    assert torch.allclose(ratio, s[:, None].expand_as(ratio), rtol=1e-3)
    assert s.log().abs().max() <= 3 + 1e-4 and s.log().std() > 1
    assert torch.allclose(other.fc3.bias, net.fc3.bias)
    same = deletions.rescaled(net, 3.0, seed=1).fc2.weight
    assert other.fc2.weight.equal(same)


def test_a_tanh_unit_cannot_be_rescaled(net):
    with pytest.raises(ValueError, match=r"only ReLU units .* a TinyTanh has others"):
        deletions.rescaled(net, 1.0)


def test_the_images_asked_are_the_first_of_the_training_images(split):
    dataset = type("Dataset", (), {"train": split})
    some = deletions.asked(dataset, 7)
    assert some.images.equal(split.images[:7]) and some.labels.equal(split.labels[:7])


def test_the_random_order_has_nothing_to_do_with_the_weights(digits):
    net = models.build("lenet-300-100", 3)
    drawn = deletions.order_of(net, digits.train, "random", seed=3)
    for name, w in models.weights(net).items():
        both = torch.stack([w.detach().flatten(), drawn[name].flatten()])
        assert abs(both.corrcoef()[0, 1]) < 0.15


def test_units_without_biases_are_rescaled_too():
    net = nn.Sequential(nn.Linear(3, 4, bias=False), nn.ReLU(), nn.Linear(4, 2, bias=False))
    other = deletions.rescaled(net, 1.0)
    x = torch.randn(5, 3)
    assert not other[0].weight.equal(net[0].weight)
    torch.testing.assert_close(other(x), net(x))

"""The chapter's ways to a smaller network: their shapes, their recipes, and that they are kept."""

from dataclasses import replace

import pytest
import torch

from shrink import pruning
from shrink.chapters.structure import ways
from shrink.classroom import models
from shrink.classroom.baselines import RECIPES
from shrink.classroom.data import Dataset, Split
from shrink.classroom.training import Recipe, train

NAME = (ways.NAME, "digits")


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    monkeypatch.setitem(RECIPES, NAME, Recipe(epochs=1, learning_rate=0.05))
    return tmp_path


@pytest.fixture(scope="module")
def few():
    """So few images that a training takes a moment."""
    g = torch.Generator().manual_seed(0)
    split = Split(torch.rand(40, 1, 28, 28, generator=g), torch.randint(10, (40,), generator=g))
    return Dataset("digits", split, split, split)


@pytest.fixture(scope="module")
def net():
    """Untrained, with statistics and gammas that differ from channel to channel."""
    net = models.build(ways.NAME, 3).eval()
    g = torch.Generator().manual_seed(1)
    for name, tensor in net.state_dict().items():
        if "norm" in name and tensor.dim():
            tensor.copy_(0.5 + torch.rand(tensor.shape, generator=g))
    return net


@torch.no_grad()
def apart(one, other):
    images = torch.rand(5, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    return float((one(images) - other(images)).abs().max())


def shapes(model):
    return [tuple(tensor.shape) for tensor in model.state_dict().values()]


def masked_by(net, scores):
    """The network with zeros in all but the better half of each group that has scores."""
    groups = pruning.dependency_groups(net, ways.IMAGE)
    kept = {name: s.argsort(descending=True)[: len(s) // 2] for name, s in scores.items()}
    return pruning.mask_units(net, groups, kept)


def by_hand(net):
    """The L1 norms of the units of each group."""
    norms = {
        name: layer.weight.detach().abs().flatten(1).sum(1)
        for name, layer in net.named_children()
        if layer._get_name() == "Conv2d"
    }
    return {
        "stem": norms["stem"] + norms["conv2"],
        "conv1": norms["conv1"],
        "down": norms["down"] + norms["conv4"],
        "conv3": norms["conv3"],
    }


def test_the_smallest_go_or_the_largest(net):
    scores = by_hand(net)
    opposite = {name: -s for name, s in scores.items()}
    assert apart(ways.smallest_go(net, 0), masked_by(net, scores)) < 1e-4
    assert apart(ways.largest_go(net, 0), masked_by(net, opposite)) < 1e-4
    assert apart(masked_by(net, scores), masked_by(net, opposite)) > 0.01


def test_random_units_go_by_the_seed(net):
    first, again, other = (ways.any_go(net, seed) for seed in (0, 0, 1))
    assert apart(first, again) == 0 != apart(first, other)


def test_each_its_own_fits_and_is_not_the_masked_network(net):
    right, wrong = ways.linked(net, 0), ways.each_its_own(net, 0)
    masked = masked_by(net, {"stem": by_hand(net)["stem"]})
    assert shapes(right) == shapes(wrong)
    assert apart(right, masked) < 1e-4
    assert apart(wrong, masked) > 0.01


def test_each_its_own_is_the_strongest_half_of_the_stem_and_of_conv2(net):
    wrong = ways.each_its_own(net, 0)
    for name in ("stem", "conv2"):
        weight = net.get_submodule(name).weight
        strong = weight.abs().flatten(1).sum(1).topk(8).indices.sort().values
        assert wrong.get_submodule(name).weight.equal(weight[strong])


def test_from_scratch_has_the_same_shape_and_nothing_of_the_network(net):
    small, fresh = ways.smallest_go(net, 0), ways.from_scratch(net, 0)
    assert shapes(small) == shapes(fresh)
    whole, new = (model.stem.weight.detach().flatten(1).tolist() for model in (net, fresh))
    assert not [row for row in new if row in whole]


def test_from_scratch_has_the_epochs_of_training_and_fine_tuning_together(few):
    dense = RECIPES[NAME]
    epochs = {way: ways.recipe(way, few).epochs for way in ways.WAYS}
    assert epochs.pop("from scratch") == dense.epochs + ways.EPOCHS
    assert set(epochs.values()) == {ways.EPOCHS}
    assert all(replace(ways.recipe(way, few), epochs=1) == dense for way in ways.WAYS)


def test_what_is_trained_is_kept_with_its_accuracy(few, monkeypatch):
    found = ways.tested("from scratch", few, seeds=[0, 1])
    model = ways.finished("from scratch", few, 0)
    by_hand = models.build(ways.NAME, 0, hidden=(8, 8, 16, 16))
    train(by_hand, few.train, ways.recipe("from scratch", few), seed=100)
    assert all(
        a.equal(b)
        for a, b in zip(model.state_dict().values(), by_hand.state_dict().values(), strict=True)
    )
    right = (model(few.test.images).argmax(1) == few.test.labels).double().mean()
    assert found[0] == pytest.approx(100 * float(right))
    monkeypatch.setattr(ways, "new_bar", lambda *a, **o: pytest.fail("trained again"))
    assert ways.tested("from scratch", few, seeds=[0, 1]).tolist() == found.tolist()
    monkeypatch.setattr(ways, "EPOCHS", 1)
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        ways.tested("from scratch", few, seeds=[0])

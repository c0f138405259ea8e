"""Trained codebooks are what `hold_shared` trains, and are kept."""

import copy

import pytest
import torch

from shrink import sharing
from shrink.chapters.share import tuning
from shrink.chapters.share.tuning import train_shared
from shrink.classroom import models
from shrink.classroom.data import Split
from shrink.classroom.training import Recipe, train

RECIPE = Recipe(epochs=2, learning_rate=0.5, weight_decay=0, batch_size=16)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    return tmp_path


@pytest.fixture
def begun():
    """A network, its weights with three values each, and zeros in one; images with labels."""
    g = torch.Generator().manual_seed(0)
    split = Split(torch.rand(60, 1, 28, 28, generator=g), torch.randint(10, (60,), generator=g))
    model = models.build("lenet-300-100", 0, hidden=(6, 5)).eval()
    model.fc2.weight.data[::2] = 0
    weights = {name: w.detach() for name, w in models.weights(model).items()}
    return model, {name: sharing.share(w, 3) for name, w in weights.items()}, split


def same(one, other):
    return all(a.equal(b) for a, b in zip(one.values(), other.values(), strict=True))


def books(shared):
    return {name: one.codebook for name, one in shared.items()}


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_it_trains_as_hold_shared_does_and_keeps_what_is_left(begun, reduction, monkeypatch):
    model, shared, split = begun
    by_hand, theirs = copy.deepcopy(model), dict(shared)
    train(
        by_hand,
        split,
        RECIPE,
        seed=3,
        hold=lambda sgd: sharing.hold_shared(models.weights(by_hand), theirs, sgd, reduction),
    )
    assert not same(books(shared), books(theirs))
    for again in (False, True):
        if again:
            monkeypatch.setattr(tuning, "new_bar", lambda *a, **o: pytest.fail("trained again"))
        own, ours = copy.deepcopy(model), dict(shared)
        train_shared(own, ours, split, RECIPE, seed=3, reduction=reduction)
        assert same(own.state_dict(), by_hand.state_dict())
        assert same(books(ours), books(theirs))
        assert [one.zero for one in ours.values()] == [one.zero for one in shared.values()]


def test_whatever_the_training_depends_on_makes_it_anew(begun, monkeypatch):
    model, shared, split = begun
    train_shared(copy.deepcopy(model), dict(shared), split, RECIPE, seed=3, reduction="sum")
    monkeypatch.setattr(tuning, "new_bar", lambda *a, **o: pytest.fail("trained again"))
    other = Split(split.images, split.labels.flip(0))
    fewer = {name: one for name, one in shared.items() if name != "fc1.weight"}
    for changed in (
        {"seed": 4},
        {"reduction": "mean"},
        {"recipe": Recipe(1, 0.5, 0, 16)},
        {"split": other},
        {"shared": fewer},
        {"model": models.build("lenet-300-100", 1, hidden=(6, 5))},
    ):
        given = {"model": copy.deepcopy(model), "shared": dict(shared), "split": split}
        given |= {"recipe": RECIPE, "seed": 3, "reduction": "sum"} | changed
        with pytest.raises(pytest.fail.Exception, match="trained again"):
            train_shared(**given)

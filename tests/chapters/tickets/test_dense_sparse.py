"""Dense-sparse-dense beside its controls: what each arm trains, and that it is kept."""

import itertools

import pytest
import torch

from shrink.chapters.tickets import dense_sparse
from shrink.classroom import data, models
from shrink.classroom.data import Split
from shrink.classroom.models import LeNet300100
from shrink.classroom.training import Recipe, accuracy
from shrink.pruning.dense_sparse import PHASES

COUNT = 640  # images, in five batches
SHORT = dict(zip(PHASES, (Recipe(3), Recipe(2), Recipe(1)), strict=True))


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    """Short trainings of a small network, and a cache of its own."""
    monkeypatch.setenv("SHRINK_CACHE", str(tmp_path))
    monkeypatch.setattr(dense_sparse, "EPOCHS", {"short": (3, 2, 1), "long": (4, 1, 1)})
    monkeypatch.setattr(dense_sparse, "TRAINED", COUNT)
    monkeypatch.setattr(dense_sparse, "LeNet300100", lambda: LeNet300100(hidden=(30, 20)))


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", announce=False)


def by_hand(digits, arm, seed):
    """The arm's training written out, step by step: no optimizer has heard of the one before."""
    few = Split(digits.train.images[:COUNT], digits.train.labels[:COUNT])
    net = dense_sparse.initial(seed)
    if arm == "one schedule":
        descend(net, few, Recipe(6, 0.1), seed, {})
        return net
    masks = {}
    for number, recipe in enumerate(SHORT.values()):
        if number == 1 and arm.endswith("% sparse"):
            share = int(arm.split()[0]) / 100
            for name, w in models.weights(net).items():
                order = w.detach().abs().flatten().argsort()[: round(share * w.numel())]
                masks[name] = torch.ones(w.numel()).index_fill(0, order, 0).view(w.shape)
        descend(net, few, recipe, seed + 1000 * number, masks if number == 1 else {})
        if arm == "first dense training":
            break
    return net


def descend(net, split, recipe, seed, masks):
    optimizer = torch.optim.SGD(
        net.parameters(), recipe.learning_rate, 0.9, nesterov=True, weight_decay=5e-4
    )
    steps = recipe.epochs * 5
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for epoch in range(recipe.epochs):
        generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
        for batch in torch.randperm(COUNT, generator=generator).split(128):
            logits = zeroed(net, masks)(split.images[batch])
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(logits, split.labels[batch]).backward()
            optimizer.step()
            schedule.step()
    zeroed(net, masks)


@torch.no_grad()
def zeroed(net, masks):
    for name, mask in masks.items():
        net.get_parameter(name).mul_(mask)
    return net


def test_each_arm_trains_as_its_name_says(digits, monkeypatch):
    found, ends = dense_sparse.errors(digits, "short", 4), []
    monkeypatch.setattr(dense_sparse, "accuracy", lambda net, _: ends.append(net) or 0)
    arms = [arm for arm, _ in dense_sparse._errors(digits, SHORT, 4, lambda: None)]
    assert arms == list(found) == list(dense_sparse.ARMS)
    for arm, net in zip(arms, ends, strict=True):
        expected = by_hand(digits, arm, 4)
        for name, tensor in expected.state_dict().items():
            assert torch.allclose(net.state_dict()[name], tensor, atol=1e-5), (arm, name)
        assert found[arm] == pytest.approx(100 * (1 - accuracy(net, digits.validation)))
    assert len({round(error, 6) for error in found.values()}) > 2


def test_errors_are_kept_for_each_length_and_seed(digits, monkeypatch):
    monkeypatch.setattr(dense_sparse, "SEEDS", (0, 1))
    made = [make() for make in dense_sparse.trainings(digits)]
    assert len(made) == 4 and all(a != b for a, b in itertools.pairwise(made))
    monkeypatch.setattr(dense_sparse, "new_bar", lambda *_, **__: pytest.fail("made again"))
    assert [dense_sparse.errors(digits, n, s) for n in ("short", "long") for s in (0, 1)] == made


def test_all_arms_but_the_first_have_as_many_epochs(digits, monkeypatch):
    steps, train = [], dense_sparse.train

    def counted(*args, **kwargs):
        done = train(*args, **kwargs)
        steps.append(done.steps)
        return done

    monkeypatch.setattr(dense_sparse, "train", counted)
    list(dense_sparse._errors(digits, SHORT, 1, lambda: None))
    first, *later, at_once = steps
    assert first == 15 and later == [10, 5] * 4 and at_once == 30 == first + 10 + 5

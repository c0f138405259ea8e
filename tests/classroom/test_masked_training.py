"""Training under masks: Adam on what is left, zeros that stay, images in the order of train."""

import threading

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink import pruning
from shrink.classroom import data, models
from shrink.classroom.data import Split
from shrink.classroom.masked_training import train_masked
from shrink.classroom.training import Recipe, accuracy, train
from shrink.modes import seeded

STEPS = 3 * 5  # of 230 images, the last batch of an epoch being smaller


@pytest.fixture(scope="module")
def digits():
    return data.load("digits", announce=False)


@pytest.fixture(scope="module")
def some(digits):
    return Split(digits.train.images[:230], digits.train.labels[:230])


def small_net(seed=0):
    with seeded(seed):
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 20), nn.ReLU(), nn.Linear(20, 10))


def some_masks(net, sparsity=0.8):
    whole = {name: torch.ones_like(w, dtype=bool) for name, w in models.weights(net).items()}
    masks = pruning.global_masks(models.weights(net), sparsity)
    return pruning.shuffle_masks(masks, seed=1) if sparsity else whole


def same(a, b):
    a, b = a.state_dict(), b.state_dict()
    return all(a[name].equal(b[name]) for name in a)


def trained(split, net=None, masks=None, **options):
    net = net or small_net()
    masks = some_masks(net) if masks is None else masks
    options = {"epochs": 3, "batch_size": 50} | options
    return net, masks, train_masked(net, masks, split, **options)


class Masked(nn.Module):
    """The small network again; each call multiplies the weights by their masks."""

    def __init__(self, net, masks):
        super().__init__()
        self.net, self.masks = net, masks

    def forward(self, images):
        x = images.flatten(1)
        x = F.linear(x, self.net[1].weight * self.masks["1.weight"], self.net[1].bias)
        return F.linear(x.relu(), self.net[3].weight * self.masks["3.weight"], self.net[3].bias)


def test_it_is_adam_on_a_network_that_multiplies_by_its_masks(some):
    net, masks, training = trained(some, seed=7, learning_rate=0.003)
    oracle = Masked(small_net(), masks)
    adam = torch.optim.Adam(oracle.parameters(), lr=0.003, foreach=False)
    losses = []
    for epoch in range(3):
        generator = torch.Generator().manual_seed(1_000_003 * 7 + epoch)
        batches = torch.randperm(230, generator=generator).split(50)
        each = []
        for batch in batches:
            loss = F.cross_entropy(oracle(some.images[batch]), some.labels[batch])
            adam.zero_grad()
            loss.backward()
            adam.step()
            each.append(loss.item() * len(batch) / 230)
        losses.append(sum(each))
    for name, parameter in net.named_parameters():
        expected = oracle.net.get_parameter(name)
        expected = expected * masks[name] if name in masks else expected
        assert torch.allclose(parameter, expected, atol=1e-5), name
    assert training.losses == pytest.approx(losses, rel=1e-4)


def test_zeros_stay_and_all_else_learns(some):
    before = small_net()
    net, masks, _ = trained(some)
    for name, mask in masks.items():
        weight, old = net.get_parameter(name), before.get_parameter(name)
        assert not weight[~mask].any() and 0 < mask.sum() < mask.numel()
        moved = weight[mask] != old[mask]
        assert moved.double().mean() > 0.4  # the others see pixels that are always 0
    assert not net[1].bias.equal(before[1].bias) and not net[3].bias.equal(before[3].bias)


def test_a_weight_without_a_mask_is_trained_whole(some):
    masks = {"3.weight": torch.zeros(10, 20, dtype=bool)}
    net, _, _ = trained(some, masks=masks)
    assert not net[3].weight.any() and (net[1].weight != 0).all()


class Watching(nn.Module):
    """Notes the images that it is shown while it trains."""

    def __init__(self):
        super().__init__()
        self.net, self.shown = small_net(), []

    def forward(self, images):
        self.shown.append(images)
        assert self.training
        return self.net(images)


def test_the_images_come_in_the_order_of_train(some):
    watched = [Watching() for _ in range(3)]
    train(watched[0], some, Recipe(epochs=2, batch_size=50), seed=5)
    for net, seed in zip(watched[1:], (5, 6), strict=True):
        train_masked(net.eval(), {}, some, epochs=2, batch_size=50, seed=seed)
    first, same_seed, other = (torch.cat(net.shown) for net in watched)
    assert first.equal(same_seed) and not first.equal(other)


def test_it_is_the_same_every_time_and_draws_no_random_numbers(some):
    before = torch.get_rng_state()
    (one, _, first), (two, _, again), (three, _, other) = (
        trained(some, seed=seed) for seed in (3, 3, 4)
    )
    assert torch.get_rng_state().equal(before)
    assert first == again and same(one, two)
    assert first.losses != other.losses and not same(one, three)


def test_a_network_with_few_weights_learns(digits):
    net, _, training = trained(digits.train, epochs=10)
    assert accuracy(net, digits.validation) > 0.8
    assert training.losses[-1] < 0.4 * training.losses[0]
    assert training.steps == training.planned == 10 * 24 and not training.stopped


def test_progress_is_told_after_each_step(some):
    told = []
    trained(some, progress=lambda *step: told.append(step))
    assert told == [(step, STEPS) for step in range(1, STEPS + 1)]


@pytest.mark.parametrize("step", [0, 7])
def test_it_stops_after_the_step_under_way(some, step):
    stop, progress = threading.Event(), None
    if step:
        progress = lambda done, total: stop.set() if done == step else None  # noqa: E731
    else:
        stop.set()
    net, masks, training = trained(some, stop=stop, progress=progress)
    assert (training.steps, training.planned, training.stopped) == (step, STEPS, True)
    assert len(training.losses) == step // 5
    assert not any(net.get_parameter(name)[~mask].any() for name, mask in masks.items())


def test_no_epochs_mask_the_weights_and_train_nothing(some):
    net, masks, training = trained(some, epochs=0)
    assert training.planned == 0 and training.losses == ()
    for name, mask in masks.items():
        assert net.get_parameter(name).equal(small_net().get_parameter(name) * mask)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"epochs": 2.0}, TypeError, "epochs must be a whole number, not 2.0"),
        ({"epochs": -1}, ValueError, "epochs must be at least 0, not -1"),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1, not 0"),
        ({"seed": "1"}, TypeError, "seed must be a whole number, not '1'"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate must be a number, not 'fast'"),
        ({"learning_rate": -0.1}, ValueError, "learning_rate must be above 0 and finite, not -0.1"),
        ({"learning_rate": float("nan")}, ValueError, "learning_rate must be .* not nan"),
        ({"masks": {"1.bias": torch.ones(20, dtype=bool)}}, ValueError, "'1.bias', a weight is"),
        ({"masks": {"3.weight": torch.ones(10, 20)}}, TypeError, "mask of 3.weight must be a bool"),
        ({"masks": {"3.weight": torch.ones(9, 20, dtype=bool)}}, ValueError, r"shape \(9, 20\)"),
    ],
)
def test_bad_input_is_named_and_nothing_is_changed(some, options, error, words):
    net = small_net().eval()
    with pytest.raises(error, match=words):
        trained(some, net, **options)
    assert same(net, small_net()) and not net.training


def test_no_images_are_refused(some):
    with pytest.raises(ValueError, match="the split is empty"):
        trained(Split(some.images[:0], some.labels[:0]))

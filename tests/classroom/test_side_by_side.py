"""Networks trained side by side: what each learns is what it learns alone."""

import copy
import threading

import pytest
import torch
from torch import nn

from shrink import pruning
from shrink.classroom import data, models
from shrink.classroom.data import Split
from shrink.classroom.masked_training import train_masked
from shrink.classroom.models import LeNet300100
from shrink.classroom.side_by_side import train_side_by_side
from shrink.modes import seeded

RECIPE = {"epochs": 3, "batch_size": 50, "learning_rate": 4e-3, "seed": 7}
STEPS = 3 * 5  # of 230 images, the last batch of an epoch being smaller


@pytest.fixture(scope="module")
def digits():
    images = data.load("digits", announce=False).train
    return Split(images.images[:230], images.labels[:230])


def build(seed, hidden=(12, 9), dtype=torch.float32):
    with seeded(seed):
        return LeNet300100(hidden=hidden).to(dtype)


def some(dtype=torch.float32):
    """Three networks, and masks: at two sparsities, and one of a single layer."""
    networks = [build(seed, dtype=dtype) for seed in range(3)]
    sparsities = zip(networks, (0.5, 0.9, 0.8), strict=True)
    masks = [pruning.global_masks(models.weights(network), s) for network, s in sparsities]
    masks[2] = {"fc2.weight": masks[2]["fc2.weight"]}
    return networks, masks


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-4)])
def test_each_learns_what_it_learns_alone(digits, dtype, tolerance):
    split = Split(digits.images.to(dtype), digits.labels)
    networks, masks = some(dtype)
    alone = copy.deepcopy(networks)
    done = train_side_by_side(networks, masks, split, **RECIPE)
    for i, network in enumerate(alone):
        expected = train_masked(network, masks[i], split, **RECIPE)
        assert (
            (done[i].steps, done[i].planned) == (expected.steps, expected.planned) == (STEPS,) * 2
        )
        assert done[i].losses == pytest.approx(expected.losses, rel=tolerance)
        for name, tensor in network.state_dict().items():
            found = networks[i].state_dict()[name]
            torch.testing.assert_close(found, tensor, rtol=0, atol=tolerance)
    assert done[0].losses[-1] < 0.95 * done[0].losses[0]


def test_pruned_weights_are_zero_and_the_others_change(digits):
    networks, masks = some()
    before = copy.deepcopy(networks)
    train_side_by_side(networks, masks, digits, **RECIPE | {"epochs": 1})
    for network, own, old in zip(networks, masks, before, strict=True):
        for name, weight in models.weights(network).items():
            keep = own.get(name, torch.ones_like(weight, dtype=torch.bool))
            assert not weight[~keep].any()
            changed = weight != models.weights(old)[name]
            assert changed[keep].double().mean() > 0.3


def test_the_networks_are_live_meanwhile_and_their_own_afterwards(digits):
    networks, masks = some()
    parameters = [p for network in networks for p in network.parameters()]
    seen = []

    def progress(done, planned):
        seen.append((done, planned, float(networks[1].fc2.weight.detach().norm())))

    train_side_by_side(networks, masks, digits, **RECIPE, progress=progress)
    assert [(done, planned) for done, planned, _ in seen] == [
        (i, STEPS) for i in range(1, STEPS + 1)
    ]
    assert len({norm for *_, norm in seen}) == STEPS
    assert seen[-1][2] == float(networks[1].fc2.weight.detach().norm())
    assert all(
        p is q
        for p, q in zip(parameters, (p for n in networks for p in n.parameters()), strict=True)
    )
    assert len({p.untyped_storage().data_ptr() for p in parameters}) == len(parameters)
    assert sum(p.untyped_storage().nbytes() for p in parameters) == 4 * sum(
        p.numel() for p in parameters
    )


def test_it_stops_after_the_step_under_way(digits):
    networks, masks = some()
    alone, stop = copy.deepcopy(networks[0]), threading.Event()

    def progress(done, planned):
        if done == 7:
            stop.set()

    done = train_side_by_side(networks, masks, digits, **RECIPE, progress=progress, stop=stop)
    assert [(d.steps, d.planned, len(d.losses)) for d in done] == [(7, STEPS, 1)] * 3
    stop.clear()
    train_masked(alone, masks[0], digits, **RECIPE, progress=progress, stop=stop)
    torch.testing.assert_close(networks[0].fc1.weight, alone.fc1.weight, rtol=0, atol=1e-4)


def frozen():
    network = build(1)
    network.fc2.bias.requires_grad_(False)
    return network


same = build(0)


@pytest.mark.parametrize(
    ("networks", "masks", "options", "error", "match"),
    [
        ([], [], {}, ValueError, "no networks"),
        ([build(0)], [], {}, ValueError, "1 networks need as many masks, not 0"),
        ([build(0), nn.Linear(784, 10)], [{}, {}], {}, TypeError, "not Linear"),
        ([build(0), build(0, (12, 8))], [{}, {}], {}, ValueError, "12-9-10 units .* 12-8-10"),
        ([build(0), build(0).double()], [{}, {}], {}, ValueError, r"float32.*float64"),
        ([same, same], [{}, {}], {}, ValueError, "are one"),
        ([build(0), frozen()], [{}, {}], {}, ValueError, "frozen"),
        ([build(0)], [{"fc9": torch.ones(2, dtype=torch.bool)}], {}, ValueError, "fc9"),
        ([build(0)], [{"fc1.weight": torch.ones(12, 784)}], {}, TypeError, "fc1.weight"),
        ([build(0)], [{}], {"epochs": -1}, ValueError, "epochs"),
        ([build(0)], [{}], {"batch_size": 0}, ValueError, "batch_size"),
        ([build(0)], [{}], {"learning_rate": 0}, ValueError, "learning_rate"),
        ([build(0)], [{}], {"seed": 2**64}, ValueError, "seed"),
    ],
)
def test_what_cannot_be_trained_is_named_and_nothing_changes(
    digits, networks, masks, options, error, match
):
    before = copy.deepcopy(networks)
    with pytest.raises(error, match=match):
        train_side_by_side(networks, masks, digits, **RECIPE | options)
    for network, old in zip(networks, before, strict=True):
        assert all(t.equal(old.state_dict()[n]) for n, t in network.state_dict().items())


def test_no_images_are_named():
    with pytest.raises(ValueError, match="no images"):
        train_side_by_side([build(0)], [{}], Split(torch.ones(0, 784), torch.ones(0)), **RECIPE)

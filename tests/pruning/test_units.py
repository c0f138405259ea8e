"""Units removed: the small network computes what the large one does where the others are silent."""

import pytest
import torch

from shrink.classroom import models
from shrink.pruning import units

HIDDEN = {"lenet-300-100": (7, 5), "lenet-5": (3, 4, 6)}


def layers(net):
    return [name.removesuffix(".weight") for name in models.weights(net)]


def silenced(net, kept):
    """The network with all weights and biases of the other units at zero, one at a time."""
    parts = [getattr(net, layer) for layer in layers(net)]
    with torch.no_grad():
        for part, chosen in zip(parts, kept, strict=False):
            for unit in set(range(len(part.weight))) - set(chosen.tolist()):
                part.weight[unit] = 0
                part.bias[unit] = 0
    return net


@pytest.mark.parametrize("name", HIDDEN)
def test_the_small_network_is_the_large_one_with_the_other_units_silent(name):
    net = models.build(name, 0)
    state = net.state_dict()
    kept = units.strongest_units(state, layers(net), HIDDEN[name])
    small = models.build(name, 1, hidden=HIDDEN[name])
    small.load_state_dict(units.keep_units(state, layers(net), kept))
    images = torch.rand(5, 1, 28, 28)
    expected = silenced(net, kept)(images)
    assert torch.allclose(small(images), expected, atol=1e-5)

    full = models.build(name, 2)
    shapes = {key: tensor.shape for key, tensor in full.state_dict().items()}
    found = small.state_dict()
    full.load_state_dict({key: units.fill_up(t, shapes[key]) for key, t in found.items()})
    assert torch.allclose(full(images), expected, atol=1e-5)


def test_the_strongest_units_are_those_of_a_loop_over_all():
    net = models.build("lenet-5", 0)
    w = models.weights(net)
    inward, outward = w["conv2.weight"].detach(), w["fc1.weight"].detach()
    strength = []
    for unit in range(50):
        out = outward[:, 16 * unit : 16 * unit + 16]
        strength.append(float((inward[unit] ** 2).sum() ** 0.5 * (out**2).sum() ** 0.5))
    best = sorted(range(50), key=lambda unit: -strength[unit])[:9]
    _, found, _ = units.strongest_units(net.state_dict(), layers(net), (20, 9, 500))
    assert found.tolist() == sorted(best)


def test_a_scale_that_moves_through_a_unit_changes_no_choice():
    draw = torch.Generator().manual_seed(0)
    state = {
        "a.weight": torch.randn(6, 4, generator=draw),
        "b.weight": torch.randn(3, 6, generator=draw),
    }
    (before,) = units.strongest_units(state, ["a", "b"], [3])
    for unit in range(6):  # chosen or not
        moved = {name: weight.clone() for name, weight in state.items()}
        moved["a.weight"][unit] *= 100
        moved["b.weight"][:, unit] /= 100
        (after,) = units.strongest_units(moved, ["a", "b"], [3])
        assert after.equal(before)


def test_all_units_kept_is_the_same_network_and_a_copy():
    state = models.build("lenet-5", 0).state_dict()
    names = ["conv1", "conv2", "fc1", "fc2"]
    found = units.keep_units(state, names, [torch.arange(n) for n in (20, 50, 500)])
    assert set(found) == set(state) and all(found[key].equal(state[key]) for key in state)
    found["conv1.weight"].zero_()
    found["fc2.bias"].zero_()
    assert state["conv1.weight"].any() and state["fc2.bias"].any()


def test_bad_input_is_named():
    state = models.build("lenet-300-100", 0).state_dict()
    names = ["fc1", "fc2", "fc3"]
    with pytest.raises(ValueError, match="3 layers have 2 hidden, not 1"):
        units.strongest_units(state, names, [3])
    with pytest.raises(ValueError, match="3 layers have 2 hidden, not 3"):
        units.keep_units(state, names, [torch.arange(1)] * 3)
    for count in (0, 101):
        with pytest.raises(ValueError, match=f"fc2 has 1 to 100 units to take, not {count}"):
            units.strongest_units(state, names, [3, count])
    with pytest.raises(KeyError, match="fc9"):
        units.strongest_units(state, ["fc1", "fc9"], [3])
    for stranger in (300, -1):
        with pytest.raises(ValueError, match=f"fc1 has the units 0 to 299, not {stranger}"):
            units.keep_units(state, names, [torch.tensor([stranger]), torch.tensor([0])])
    with pytest.raises(ValueError, match="fc1 has 784 inputs, which 100 units before it do not"):
        units.strongest_units(state, ["fc2", "fc1", "fc3"], [3, 3])
    for shape in ((3, 1), (2, 2, 1), (4,)):
        with pytest.raises(ValueError, match=r"\(2, 2\) cannot be filled up to"):
            units.fill_up(torch.ones(2, 2), shape)


ODD_WEIGHTS = [
    (torch.full((3, 2), torch.nan), ValueError, "a.weight holds 6 NaN"),
    (torch.ones(3), ValueError, r"a.weight must be \(out, in, …\), not \(3,\)"),
    (torch.ones(3, 2).to_sparse(), TypeError, "a.weight must be a dense tensor, not torch.sparse"),
    (torch.ones(3, 2, device="meta"), ValueError, "a.weight has no values"),
]


@pytest.mark.parametrize(("weight", "error", "said"), ODD_WEIGHTS)
def test_units_of_odd_weights_are_not_ranked(weight, error, said):
    with pytest.raises(error, match=said):
        units.strongest_units({"a.weight": weight, "b.weight": torch.ones(2, 3)}, ["a", "b"], [1])


@pytest.mark.parametrize(("weight", "error", "said"), ODD_WEIGHTS[1:3])
def test_units_of_odd_weights_are_not_kept(weight, error, said):
    state = {"a.weight": weight, "b.weight": torch.ones(2, 3)}
    with pytest.raises(error, match=said):
        units.keep_units(state, ["a", "b"], [torch.tensor([0])])


def test_a_unit_is_kept_once():
    state = {"a.weight": torch.ones(3, 2), "b.weight": torch.ones(2, 3)}
    with pytest.raises(ValueError, match=r"units of a .* once, not \[1, 0, 1\]"):
        units.keep_units(state, ["a", "b"], [torch.tensor([1, 0, 1])])


@pytest.mark.parametrize("odd", [[1.0], None, torch.eye(2).to_sparse()])
def test_what_is_no_dense_tensor_is_not_filled_up(odd):
    with pytest.raises(TypeError, match="the tensor must be a"):
        units.fill_up(odd, (3, 3))

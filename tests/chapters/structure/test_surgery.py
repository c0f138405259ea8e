"""Chapter 07's exercises on surgery, against the library's surgery; and no number may be wrong."""

import pytest
import torch

from shrink import pruning
from shrink.chapters import structure
from shrink.chapters.structure import breaking, residual_block
from shrink.classroom import models
from tests import depth
from tests.chapters.judging import rejected
from tests.chapters.structure.surgery_answers import HIDES, SHOWS


@pytest.fixture
def net():
    """The chapter's network, smaller, with batch norms that differ from channel to channel."""
    net = models.build("residual", seed=0, hidden=(8, 6, 5, 4)).eval()
    g = torch.Generator().manual_seed(1)
    for name, tensor in net.state_dict().items():
        if name.startswith("norm") and tensor.dim():
            tensor.copy_(torch.rand(tensor.shape, generator=g) + 0.5)
    return net


@pytest.fixture
def groups(net):
    return pruning.dependency_groups(net, torch.zeros(1, 1, 28, 28))


def block_of(net):
    """The state of the first block, as exercise 4 has it."""
    layers = ("stem", "norm0", "conv1", "norm1", "conv2", "norm2", "down")
    return {name: t for name, t in net.state_dict().items() if name.startswith(layers)}


def test_a_smaller_block_is_the_one_that_the_library_makes(net, groups):
    small = structure.shrink_residual.reference(block_of(net), 5)
    (kept,) = residual_block.right_choices(block_of(net), 5)
    theirs = pruning.remove_units(net, groups, {"stem": kept}).state_dict()
    assert all(tensor.equal(theirs[name]) for name, tensor in small.items())
    assert small["stem.weight"].shape[0] == small["down.weight"].shape[1] == 5


def test_the_masked_block_is_the_one_that_the_library_masks(net, groups):
    kept = torch.tensor([1, 3, 4, 7])
    theirs = block_of(pruning.mask_units(net, groups, {"stem": kept}))
    ours = residual_block.masked(block_of(net), kept)
    x = torch.randn(2, 1, 6, 6)
    outputs = residual_block.outputs(ours, x)
    assert torch.allclose(outputs, residual_block.outputs(theirs, x), atol=1e-5)
    assert not torch.allclose(outputs, residual_block.outputs(block_of(net), x), atol=1e-2)


def test_smaller_layers_are_those_that_the_library_makes(net, groups):
    kept = {"conv1": torch.tensor([0, 2, 5]), "conv3": torch.tensor([1, 3])}
    theirs = pruning.remove_units(net, groups, kept).state_dict()
    whole = net.state_dict()

    def layer(state, name):
        prefix = f"{name}."
        found = {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}
        return {name: tensor for name, tensor in found.items() if tensor.dim()}

    for first, chosen in kept.items():
        norm, following = {"conv1": ("norm1", "conv2"), "conv3": ("norm4", "conv4")}[first]
        names = (first, norm, following)
        mine = structure.remove_channels.reference(*(layer(whole, n) for n in names), chosen)
        for name, tensors in zip(names, mine, strict=True):
            assert all(t.equal(layer(theirs, name)[n]) for n, t in tensors.items())


def test_the_smaller_linear_layer_is_the_one_that_the_library_makes(net, groups):
    kept = torch.tensor([0, 3, 4])
    theirs = pruning.remove_units(net, groups, {"down": kept}).fc.weight
    mine = structure.remove_inputs.reference(net.fc.weight, kept, 9)
    assert mine.equal(theirs)


def tensors_in(result):
    """All tensors of floats in a result."""
    if isinstance(result, torch.Tensor):
        return [result] if result.is_floating_point() else []
    parts = result.values() if isinstance(result, dict) else result
    return [tensor for part in parts for tensor in tensors_in(part)]


def one_number_changed(exercise, which, at):
    """The exercise's right answer, except for a number in one of its tensors."""

    def answer(*args):
        result = exercise.reference(*args)
        tensors = [tensor.detach().clone() for tensor in tensors_in(result)]
        numbers = tensors[which].view(-1)
        numbers[at % len(numbers)] += 1
        left = iter(tensors)

        def again(part):
            if isinstance(part, torch.Tensor):
                return next(left) if part.is_floating_point() else part
            if isinstance(part, dict):
                return {name: again(inner) for name, inner in part.items()}
            return tuple(map(again, part))

        return again(result)

    return answer


@pytest.mark.parametrize(
    ("name", "tensors"), [("remove_channels", 8), ("remove_inputs", 1), ("shrink_residual", 16)]
)
def test_each_number_of_an_answer_counts(name, tensors):
    exercise = getattr(structure, name)
    for seed in depth.seeds(8, few=1):
        for which in range(tensors):
            wrong = one_number_changed(exercise, which, at=7 * seed + which)
            assert "% of the largest" in rejected(exercise, wrong, seed), (which, seed)


def random_net(g):
    """A net of exercise 6 with three channels and two places, as it is read."""

    def draw(*shape):
        return torch.randint(-4, 5, shape, generator=g).double()

    net = {name: draw(3) for name in ("stem", "gamma", "beta", "mean")}
    net |= {"var": draw(3).abs() + 1, "conv": draw(3, 3), "fc": draw(6), "image": draw(2)}
    return breaking.read((net, [0, 2]))


def test_the_right_surgery_of_a_net_gives_what_the_masked_net_gives():
    g = torch.Generator().manual_seed(0)
    for _ in range(20):
        net, kept = random_net(g)
        removed, masked = breaking.surgery(net, kept), breaking.masked(net, kept)
        assert breaking.output(removed).item() == pytest.approx(breaking.output(masked).item())
        assert removed.stem.shape[0] == 2 and masked.stem.shape[0] == 3


def test_the_pair_of_the_text_hides_all_mistakes():
    net, kept = breaking.read((HIDES, [0]))
    assert all(breaking.difference(mistake, net, kept) == 0 for mistake in breaking.BREAKABLE)


def test_the_outputs_are_those_by_hand():
    """The channel that stays is [0, 1] after the norm, [0, 2] after the sum; the other [1, 1]."""
    net, kept = breaking.read((SHOWS, [1]))
    filters, statistics, own, one_column = breaking.BREAKABLE
    assert breaking.output(breaking.surgery(net, kept)).item() == pytest.approx(2, abs=1e-4)
    differences = [breaking.difference(m, net, kept) for m in (filters, statistics, own)]
    assert differences == pytest.approx([2, 4, 1], abs=1e-4)
    assert breaking.difference(one_column, net, kept) == float("inf")

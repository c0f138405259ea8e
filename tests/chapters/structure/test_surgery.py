"""Chapter 07's exercises on surgery, against the library's own and against numbers by hand."""

import pytest
import torch

from shrink import pruning
from shrink.chapters import structure
from shrink.chapters.structure import breaking, residual_block
from shrink.classroom import models
from tests import depth
from tests.chapters.judging import judge
from tests.chapters.structure.surgery_answers import HIDES, SHOWS

COUNT = 5


@pytest.fixture
def net():
    """The chapter's network, with running statistics of its own."""
    net = models.build("residual", seed=0, hidden=(8, 6, 5, 4))
    g = torch.Generator().manual_seed(1)
    for name, buffer in net.named_buffers():
        if "running" in name:
            buffer.copy_(torch.rand(buffer.shape, generator=g) + 0.5)
    return net.eval()


def test_the_residual_block_is_the_networks_and_its_surgery_the_librarys(net):
    whole = net.state_dict()
    block = {n: t for n, t in whole.items() if n.split(".")[0] in residual_block.LAYERS}
    small = structure.shrink_residual.reference(block, COUNT)
    (kept,) = residual_block.right_choices(block, COUNT)
    groups = pruning.dependency_groups(net, torch.zeros(1, 1, 28, 28))
    theirs = pruning.remove_units(net, groups, {"stem": kept}).state_dict()
    assert all(small[name].equal(theirs[name]) for name in block)
    assert any(small[name].shape != whole[name].shape for name in block)


def test_the_channels_are_those_that_the_library_scores_highest(net):
    groups = pruning.dependency_groups(net, torch.zeros(1, 1, 28, 28))
    state = net.state_dict()
    (kept,) = residual_block.right_choices(state, COUNT)
    scores = residual_block.scores(state)
    assert kept.equal(pruning.keep_strongest(scores, COUNT))
    assert set(groups["stem"].makers) == {"stem.weight", "conv2.weight"}


NUMBERS = {"remove_channels": 3, "remove_inputs": 1, "shrink_residual": 1}


def _tensors(result):
    if isinstance(result, torch.Tensor):
        return [result]
    parts = result.values() if isinstance(result, dict) else result
    return [tensor for part in parts for tensor in _tensors(part)]


@pytest.mark.parametrize("exercise", structure.EXERCISES, ids=lambda e: e.name)
def test_no_number_of_a_result_may_be_another(exercise):
    pass

"""Chapter 02's check of `masked_step`: why it needs more optimizers than SGD."""

import pytest
import torch

from shrink.chapters import prune
from tests.chapters.wrong import mistake


@pytest.mark.parametrize("name", ["weight and gradient before", "momentum buffer only"])
def test_the_plain_sgd_step_alone_would_let_momentum_pass(name):
    """The check needs its other optimizers: with these two mistakes plain SGD gives the zeros."""
    w = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    w.sum().backward()
    mask = torch.tensor([True, False])
    mistake(prune.masked_step, name)({"w": w}, {"w": mask}, torch.optim.SGD([w], lr=0.1))
    assert w.tolist() == pytest.approx([0.9, 0])

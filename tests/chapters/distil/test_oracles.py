"""The oracles of chapter 06's checks give what the text says of its examples."""

import math

import pytest
import torch
from torch import nn

from shrink.chapters.distil import bias, distances, hints, losses, softening


def test_the_examples_of_the_chapter():
    odds = torch.tensor([16.0, 4.0, 1.0])
    assert softening.right_softened(odds.log(), 2).tolist() == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    case = torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]]), torch.tensor([1]), 1
    assert float(losses.right_loss(*case, 0)) == pytest.approx(0.6931, abs=1e-4)
    assert float(losses.right_loss(*case, 1)) == pytest.approx(0.1308, abs=1e-4)
    logits = torch.tensor([[2.0, 0.0], [9.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
    case = logits, torch.tensor([1, 0, 1, 0]), 1
    assert 3 < bias.best(*case) < 8 and bias.right_with(*case, bias.best(*case)) == 3
    one, hint = torch.tensor([[1.0, 2.0]]), torch.tensor([[1.0, 4.0]])
    assert float(hints.right_hint(one, hint, nn.Identity())) == 1
    line, fold = torch.tensor([[0.0], [1.0], [2.0]]), torch.tensor([[0.0], [5.0], [0.0]])
    assert float(distances.right_distance(line, fold)) == pytest.approx(0.5208, abs=1e-4)

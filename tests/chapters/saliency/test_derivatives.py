"""The oracles of exercises 1, 2 and 5 give what the text says of its examples."""

import pytest
import torch
from torch import nn

from shrink.chapters.saliency import diagonal, obd, snip


def test_the_example_of_a_deletion():
    weight, curvature = torch.tensor([2.0, -0.5]), torch.tensor([0.1, 4.0])
    assert obd.measured_rises(weight, curvature).tolist() == pytest.approx([0.2, 0.5])


def test_the_example_of_two_logits_that_rise_together():
    x, first, second = torch.ones(1, 1), torch.tensor([[2.0]]), torch.tensor([[3.0], [3.0]])
    for label in (0, 1):
        case = x, torch.tensor([label]), first, second
        of_first, of_second = diagonal.carried_back(*case)
        assert of_first.item() == pytest.approx(4.5)
        assert of_second.flatten().tolist() == pytest.approx([1, 1])
        assert diagonal.exact_first(*case).item() == pytest.approx(0, abs=1e-12)


def test_the_example_of_a_pixel_that_is_0():
    model = nn.Linear(2, 2)
    model.load_state_dict({"weight": torch.tensor([[1.0, -3.0]] * 2), "bias": torch.zeros(2)})
    scores = snip.by_masks(model, torch.tensor([[2.0, 0.0]]), torch.tensor([0]))
    assert list(scores) == ["weight"]
    assert scores["weight"].tolist() == [pytest.approx([1, 0])] * 2

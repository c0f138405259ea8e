"""The oracles of chapter 06's checks: the text's examples, and what slower ways find."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from shrink.chapters import distil
from shrink.chapters.distil import bias, distances, hints, losses, softening
from tests.chapters.distil.answers import loss_by_kl_div, the_chapters_break


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


def test_the_gradient_is_what_small_steps_of_torchs_loss_do():
    g = torch.Generator().manual_seed(0)
    z, v = (2 * torch.randn(3, 4, generator=g, dtype=torch.float64) for _ in range(2))
    y = torch.tensor([1, 0, 3])
    for temperature, alpha in ((0.5, 0.3), (4.0, 0.9)):
        case = v, y, temperature, alpha
        found = losses.right_gradient(z, *case)
        for at in np.ndindex(3, 4):
            step = torch.zeros_like(z)
            step[at] = 1e-6
            ends = [loss_by_kl_div(z + sign * step, *case) for sign in (1, -1)]
            slope = float(ends[0] - ends[1]) / 2e-6
            assert float(found[at]) == pytest.approx(slope, abs=1e-7)


def test_no_bias_of_a_fine_grid_is_better_than_the_oracles():
    for seed in range(10):
        g = torch.Generator().manual_seed(seed)
        case = torch.randn(60, 4, generator=g), torch.randint(4, (60,), generator=g), 2
        most = bias.right_with(*case, bias.best(*case))
        assert most >= max(bias.right_with(*case, b) for b in np.linspace(-6, 6, 1201))


def test_the_chapters_input_breaks_six_losses():
    student, teacher, *rest = the_chapters_break()
    case = student.double(), teacher.double(), *rest
    ratios = [float(m(*case) / losses.right_loss(*case)) for m in losses.BREAKABLE]
    assert len(ratios) == 6 and all(not 0.5 < ratio < 2 for ratio in ratios)


def test_what_extends_the_library_has_no_reference_in_it():
    assert distil.soft_losses.reference is None and distil.break_the_loss.reference is None

"""The oracles of exercises 1 to 3 of chapter 10 agree with others, and are as wide as they say."""

import itertools
import math
import random

import pytest
import torch

from shrink.chapters.few_bits.few_values_oracle import projected, right_signs
from shrink.chapters.few_bits.step_gradient import by_autograd, learned_step_gradient, surrogate
from shrink.chapters.few_bits.straight_through import fake_quantize_ste
from tests.chapters.judging import judge


def test_the_surrogate_has_the_derivative_that_finite_differences_find():
    g = torch.Generator().manual_seed(0)
    x = 3 * torch.randn(4, 6, generator=g, dtype=torch.float64)
    step = torch.tensor([[0.2], [0.5], [0.9], [1.4]], dtype=torch.float64, requires_grad=True)
    frozen = surrogate(x, step, -4, 3)  # q - x/s does not change with the step
    assert torch.autograd.gradcheck(frozen, (step,))
    gradient = torch.randn(4, 6, generator=g, dtype=torch.float64)
    (slope,) = torch.autograd.grad(frozen(step), step, gradient)
    assert torch.allclose(by_autograd(gradient, x, step, -4, 3), slope / math.sqrt(6 * 3))


def test_torchs_learnable_step_differs_only_half_a_step_beyond_the_ends():
    fake = torch._fake_quantize_learnable_per_tensor_affine
    step, zero, one = torch.tensor([0.5], requires_grad=True), torch.zeros(1), torch.ones(1)
    for steps in torch.arange(-6.05, 5, 0.1).tolist():
        x = torch.tensor([0.5 * steps])
        (theirs,) = torch.autograd.grad(fake(x, step, zero, -4, 3, 3**-0.5), step)
        ours = by_autograd(one, x, step.detach(), -4, 3)
        in_band = -4.5 < steps < -4 or 3 < steps < 3.5
        assert torch.isclose(theirs.double(), ours, atol=1e-5).all() != in_band, steps


@pytest.mark.parametrize("beyond", [-0.001, 0.0, 0.25, 0.5])
def test_a_mask_may_end_anywhere_up_to_half_a_step_beyond(beyond):
    assert judge(fake_quantize_ste, _masked(beyond)).state == "done"


@pytest.mark.parametrize("beyond", [-0.5, 1.0])
def test_a_mask_that_ends_elsewhere_is_wrong(beyond):
    assert "and the gradient is not" in judge(fake_quantize_ste, _masked(beyond)).message


def _masked(beyond):
    def answer(x, scale, zero_point, q_min, q_max):
        low, high = q_min - beyond - 1e-6 - zero_point, q_max + beyond + 1e-6 - zero_point
        y = scale * (((x / scale).round() + zero_point).clamp(q_min, q_max) - zero_point)
        inside = x.clamp(scale * low, scale * high)
        return inside + (y - inside).detach()

    return answer


def test_no_number_of_the_steps_exercise_lies_where_torch_differs():
    """So that either mask passes."""
    drawn = []

    def keeps(gradient, x, step, q_min, q_max):
        drawn.append((x / step, q_min, q_max))
        return learned_step_gradient.reference(gradient, x, step, q_min, q_max)

    for seed in range(5):
        assert judge(learned_step_gradient, keeps, seed).state == "done"
    for steps, q_min, q_max in drawn:
        beyond = torch.maximum(q_min - steps, steps - q_max)
        assert not ((beyond > -1e-3) & (beyond < 0.501)).any()
        half = (steps - steps.floor() - 0.5).abs() < 0.05
        assert not (half & (beyond < 0)).any()


def test_the_projection_has_the_least_error_of_all_scales_and_signs():
    rng = random.Random(0)
    weight = torch.tensor([[rng.uniform(-1, 1) for _ in range(5)] for _ in range(3)])
    signs = right_signs(weight, ternary=False).numbers
    scale = projected(weight, signs)
    for row, t, best in zip(weight.double(), signs, scale, strict=True):
        least = ((row - best * t) ** 2).sum()
        for other in itertools.product((-1.0, 1.0), repeat=5):
            for size in torch.linspace(0, 1.2, 40):
                assert ((row - size * torch.tensor(other)) ** 2).sum() >= least - 1e-9

"""Distillation against torch's own softmax and kl_div, in value and gradient, and at its limits."""

import pytest
import torch
import torch.nn.functional as F

from shrink.distillation import distillation_loss, soften


def logits(seed, n=64, classes=10, spread=5.0):
    return spread * torch.randn(n, classes, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("temperature", [0.1, 1, 2.5, 20])
def test_soften_is_torchs_softmax(temperature):
    z = logits(0)
    assert torch.allclose(soften(z, temperature), F.softmax(z / temperature, -1), atol=1e-7)


def test_soften_at_its_limits():
    z = torch.tensor([[1.0, 3.0, 2.0], [4.0, 4.0, -1e30]])
    for temperature in (1e-6, 1e-38):
        one_hot_or_tie = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.5, 0.0]])
        assert torch.equal(soften(z, temperature), one_hot_or_tie)
    assert torch.allclose(soften(z[:1], 1e9), torch.full((1, 3), 1 / 3))
    for extreme in (1e-38, 1.0, 1e38):
        for scale in (1e-38, 1.0, 1e38):
            found = soften(torch.tensor([-1.0, 0.0, 1.0]) * scale, extreme)
            assert found.isfinite().all() and found.sum() == pytest.approx(1)


@pytest.mark.parametrize("temperature", [0.5, 1, 4, 20])
@pytest.mark.parametrize("alpha", [0, 0.3, 1])
def test_the_loss_is_torchs_in_value_and_gradient(temperature, alpha):
    ours, theirs = (logits(1).requires_grad_() for _ in range(2))
    teacher, labels = logits(2), torch.arange(64) % 10
    loss = distillation_loss(ours, teacher, labels, temperature, alpha)
    loss.backward()
    soft = F.kl_div(
        F.log_softmax(theirs / temperature, 1),
        F.softmax(teacher / temperature, 1),
        reduction="batchmean",
    )
    oracle = (1 - alpha) * F.cross_entropy(theirs, labels) + alpha * temperature**2 * soft
    oracle.backward()
    assert loss.item() == pytest.approx(oracle.item(), rel=1e-5)
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


def test_the_gradient_is_the_difference_of_the_answers_times_the_temperature():
    z, teacher, temperature = logits(3).double().requires_grad_(), logits(4).double(), 3.0
    labels = torch.zeros(64, dtype=torch.int64)
    distillation_loss(z, teacher, labels, temperature, alpha=1).backward()
    difference = soften(z.detach(), temperature) - soften(teacher, temperature)
    assert torch.allclose(64 * z.grad, temperature * difference)


def test_at_high_temperatures_centred_logits_are_matched():
    """Hinton et al., equation 4: the gradient is then (z - v) / classes, each centred."""
    z, teacher = logits(5).double().requires_grad_(), logits(6).double()
    distillation_loss(z, teacher, torch.zeros(64, dtype=torch.int64), 1e5, alpha=1).backward()
    centred = [t - t.mean(1, keepdim=True) for t in (z.detach(), teacher)]
    assert torch.allclose(64 * z.grad, (centred[0] - centred[1]) / 10, atol=1e-3)


def test_no_gradient_reaches_the_teacher():
    teacher = logits(7).requires_grad_()
    labels = torch.zeros(64, dtype=torch.int64)
    distillation_loss(logits(8).requires_grad_(), teacher, labels, 2, 0.5).backward()
    assert teacher.grad is None


def test_what_the_teacher_says_is_all_there_is_at_alpha_1():
    z, teacher = logits(9), logits(10)
    losses = [
        distillation_loss(z, teacher, torch.full((64,), label), 4, 1).item() for label in (0, 5)
    ]
    assert losses[0] == losses[1]
    assert distillation_loss(z, z, torch.zeros(64, dtype=torch.int64), 4, 1).item() == 0


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan")])
def test_a_temperature_out_of_range_is_named(temperature):
    with pytest.raises(
        ValueError, match=f"temperature must be above 0 and finite, not {temperature}"
    ):
        soften(logits(0), temperature)
    with pytest.raises(ValueError, match="temperature"):
        distillation_loss(logits(0), logits(1), torch.zeros(64).long(), temperature, 0.5)


def test_what_does_not_fit_is_named():
    labels = torch.zeros(64, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"alpha must be 0 to 1, not 1\.5"):
        distillation_loss(logits(0), logits(1), labels, 2, 1.5)
    with pytest.raises(ValueError, match=r"not \(64, 10\) and \(1, 10\)"):
        distillation_loss(logits(0), logits(1, n=1), labels, 2, 0.5)

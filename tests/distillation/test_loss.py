"""Distillation against torch's own softmax and kl_div, in value and gradient, and at its limits."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shrink.distillation import (
    average_targets,
    best_bias,
    distillation_loss,
    soft_loss,
    soften,
)


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


@pytest.mark.parametrize("temperature", [0.3, 4, 100])
def test_the_gradient_is_that_of_finite_differences(temperature):
    z, teacher = logits(3, n=5).double().requires_grad_(), logits(4, n=5).double()
    labels = torch.arange(5)
    assert torch.autograd.gradcheck(
        lambda z: distillation_loss(z, teacher, labels, temperature, 0.7), (z,)
    )


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
    same = distillation_loss(z, z, torch.zeros(64, dtype=torch.int64), 4, 1)
    assert same.item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("temperature", [0.01, 4, 50])
def test_numbers_in_16_bits_lose_no_more_than_they_had_lost(dtype, temperature):
    z, teacher, labels = logits(11).to(dtype), logits(12).to(dtype), torch.arange(64) % 10
    narrow = z.clone().requires_grad_()
    wide = z.float().requires_grad_()
    losses = [
        distillation_loss(narrow, teacher, labels, temperature, 0.9),
        distillation_loss(wide, teacher.float(), labels, temperature, 0.9),
    ]
    assert losses[0].dtype == torch.float32 and losses[0].equal(losses[1])
    for loss in losses:
        loss.backward()
    assert narrow.grad.equal(wide.grad.to(dtype))
    assert soften(z, temperature).equal(soften(z.float(), temperature).to(dtype))
    extreme = torch.tensor([-65504.0, 65504.0, 65504.0]).to(torch.float16)
    assert soften(extreme, 0.001).tolist() == [0, 0.5, 0.5]


@pytest.mark.parametrize("temperature", [1e-300, 1e-38, 1e-10, 0.1, 1, 1e4])
@pytest.mark.parametrize("scale", [0, 1e-20, 1, 1e20])
def test_the_loss_and_its_gradient_are_finite(temperature, scale):
    z, teacher = (scale * logits(seed, n=8) for seed in (13, 14))
    z.requires_grad_()
    loss = distillation_loss(z, teacher, torch.arange(8), temperature, 0.5)
    loss.backward()
    assert loss.isfinite() and z.grad.isfinite().all()


def test_float32_has_the_digits_that_are_promised():
    z, teacher, labels = logits(1, n=128), logits(2, n=128), torch.zeros(128).long()

    def value_and_gradient(dtype, temperature):
        copy = z.to(dtype, copy=True).requires_grad_()
        loss = distillation_loss(copy, teacher.to(dtype), labels, temperature, 1)
        loss.backward()
        return loss.item(), copy.grad.double()

    for temperature in (20, 1000):
        value, exact = (value_and_gradient(d, temperature)[0] for d in (torch.float, torch.double))
        assert value == pytest.approx(exact, rel=1e-3)
    ours, exact = (value_and_gradient(d, 1e4)[1] for d in (torch.float, torch.double))
    assert (ours - exact).abs().max() < 1e-3 * exact.abs().max()


def test_a_class_that_is_ruled_out_counts_for_nothing():
    out = torch.tensor([-torch.inf])
    z, teacher, labels = logits(15, n=6), logits(16, n=6), torch.arange(6)
    longer = [torch.cat([t, out.expand(6, 1)], 1).requires_grad_() for t in (z, teacher)]
    z.requires_grad_()
    losses = [distillation_loss(*pair, labels, 3, 0.5) for pair in ((z, teacher), longer)]
    for loss in losses:
        loss.backward()
    assert losses[0].item() == pytest.approx(losses[1].item(), rel=1e-6)
    assert torch.allclose(longer[0].grad[:, :10], z.grad) and not longer[0].grad[:, 10].any()
    assert soften(longer[0].detach(), 2)[:, :10].equal(soften(z.detach(), 2))
    ruled_out = distillation_loss(longer[0], torch.zeros(6, 11), labels, 3, 0.5)
    assert ruled_out.item() == float("inf")  # the teacher has it possible


@pytest.mark.parametrize("temperature", [0.5, 4, 20])
def test_soft_targets_alone_teach_what_torchs_kl_div_says(temperature):
    ours, theirs = (logits(1).requires_grad_() for _ in range(2))
    targets = F.softmax(logits(2), 1)
    targets[0] = F.one_hot(torch.tensor(3), 10)  # log 0
    loss = soft_loss(ours, targets, temperature)
    oracle = F.kl_div(F.log_softmax(theirs / temperature, 1), targets, reduction="batchmean")
    loss.backward()
    (temperature**2 * oracle).backward()
    assert loss.item() == pytest.approx(temperature**2 * oracle.item(), rel=1e-5)
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-6)


def test_one_teachers_targets_are_what_distillation_learns_from():
    z, teacher, labels = logits(1), logits(2), torch.zeros(64).long()
    alone = soft_loss(z, average_targets([teacher], 5), 5)
    assert alone.item() == distillation_loss(z, teacher, labels, 5, 1).item()
    targets = soften(teacher, 5).requires_grad_()
    soft_loss(z.requires_grad_(), targets, 5).backward()
    assert targets.grad is None and z.grad.any()


@pytest.mark.parametrize("weights", [None, [1, 1, 1], [0.2, 0.5, 0.3], (4, 0, 1)])
def test_targets_are_the_mean_of_torchs_softmaxes(weights):
    teachers = torch.stack([logits(seed) for seed in (1, 2, 3)])
    shares = np.ones(3) if weights is None else np.array(weights)
    oracle = np.average(F.softmax(teachers.double() / 3, -1), axis=0, weights=shares)
    for given in (teachers, list(teachers), tuple(teachers)):
        targets = average_targets(given, 3, weights)
        assert targets.dtype == torch.float32
        assert np.allclose(targets, oracle, atol=1e-6)


def test_targets_of_16_bits_are_averaged_in_32():
    teachers = [logits(seed).bfloat16() for seed in (1, 2)]
    targets = average_targets(teachers, 3)
    assert targets.dtype == torch.float32 and targets.sum(1).allclose(torch.ones(64))


@pytest.mark.parametrize("weights", [[1], [1, 1, 1], [0, 0], [2, -1], [1, float("nan")], []])
def test_weights_that_weigh_nothing_are_named(weights):
    with pytest.raises(ValueError, match=r"weights must be .* for 2 teachers, not \["):
        average_targets([logits(1), logits(2)], 3, weights)


def test_what_is_no_target_is_named():
    z = logits(0)
    below_0 = soften(z, 2) + F.one_hot(torch.tensor(0), 10) - F.one_hot(torch.tensor(1), 10)
    for wrong in (logits(1), below_0, soften(z, 2) * 1.1, soften(z, 2) * torch.nan):
        with pytest.raises(ValueError, match="targets must be probabilities"):
            soft_loss(z, wrong, 2)
    soft_loss(z, soften(z.bfloat16(), 2), 2)
    with pytest.raises(ValueError, match=r"not \(64, 10\) and \(64, 9\)"):
        soft_loss(z, soften(logits(0, classes=9), 2), 2)
    with pytest.raises(ValueError, match=r"not \[\(64, 10\), \(3, 10\)\]"):
        average_targets([z, logits(0, n=3)], 2)
    with pytest.raises(ValueError, match=r"not \[\]"):
        average_targets([], 2)
    with pytest.raises(ValueError, match=r"not \(10,\) and \(10,\)"):
        distillation_loss(z[0], z[0], torch.tensor(0), 2, 0.5)
    with pytest.raises(TypeError, match=r"not torch\.int64"):
        soften(torch.tensor([1, 2]), 2)


@pytest.mark.parametrize("temperature", [0, -1, float("inf"), float("nan")])
def test_a_temperature_out_of_range_is_named(temperature):
    with pytest.raises(
        ValueError, match=f"temperature must be above 0 and finite, not {temperature}"
    ):
        soften(logits(0), temperature)
    with pytest.raises(ValueError, match="temperature"):
        average_targets([logits(0)], temperature)
    with pytest.raises(ValueError, match="temperature"):
        soft_loss(logits(0), soften(logits(0), 1), temperature)
    with pytest.raises(ValueError, match="temperature"):
        distillation_loss(logits(0), logits(1), torch.zeros(64).long(), temperature, 0.5)


def test_what_does_not_fit_is_named():
    labels = torch.zeros(64, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"alpha must be 0 to 1, not 1\.5"):
        distillation_loss(logits(0), logits(1), labels, 2, 1.5)
    with pytest.raises(ValueError, match=r"not \(64, 10\) and \(1, 10\)"):
        distillation_loss(logits(0), logits(1, n=1), labels, 2, 0.5)


@pytest.mark.parametrize("alpha", [0, 1])
def test_the_part_that_counts_nothing_may_be_infinite(alpha):
    """A student's logit of minus infinity: where the teacher, or where the label, has the class."""
    student, teacher = torch.tensor([[-torch.inf, 0.0]]), torch.tensor([[0.0, 0.0]])
    label = torch.tensor([1])
    if alpha:
        teacher, label = student.clone(), torch.tensor([0])
    assert distillation_loss(student, teacher, label, 2, alpha).item() == pytest.approx(0, abs=1e-6)


def test_one_teacher_is_not_taken_for_as_many_as_there_are_images():
    for alone in (torch.zeros(64, 10), torch.zeros(10), []):
        with pytest.raises(ValueError, match=r"each teacher's logits are \(n, classes\)"):
            average_targets(alone, 4)
    assert average_targets([torch.zeros(64, 10)], 4).shape == (64, 10)


@pytest.mark.parametrize("ties", [False, True])
def test_no_bias_makes_more_images_right_than_the_best(ties):
    for seed in range(100):
        generator = torch.Generator().manual_seed(seed)
        n, missing = 1 + seed % 30, seed % 4
        logits = torch.randint(-4, 5, (n, 4), generator=generator).double()
        if not ties:
            logits += torch.rand(n, 4, generator=generator)
        labels = torch.randint(4, (n,), generator=generator)

        def right(bias, logits=logits, labels=labels, missing=missing):
            raised = logits + bias * F.one_hot(torch.tensor(missing), 4)
            return int((raised.argmax(1) == labels).sum())

        kept = logits.clone()
        bias = best_bias(logits, labels, missing)
        assert right(bias) >= max(right(x / 8 + 1 / 17) for x in range(-100, 100)), seed
        assert torch.equal(logits, kept)


def test_a_best_bias_lies_in_the_middle_of_those_that_are_as_good():
    logits = torch.tensor([[2.0, 0.0], [9.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
    for dtype in (torch.float16, torch.float32, torch.float64):
        assert best_bias(logits.to(dtype), torch.tensor([1, 0, 1, 0]), 1) == 5.5
    assert best_bias(logits, torch.tensor([1, 1, 1, 1]), 1) == 9  # 1 beyond the last
    assert best_bias(logits, torch.tensor([0, 0, 0, 0]), 1) == 0  # 1 before the first


@pytest.mark.parametrize(
    ("logits", "labels", "missing", "said"),
    [
        (torch.zeros(2, 3), torch.tensor([0]), 0, r"\(2, 3\) and \(1,\)"),
        (torch.zeros(0, 3), torch.zeros(0).long(), 0, r"\(0, 3\)"),
        (torch.zeros(3), torch.zeros(3).long(), 0, r"\(3,\)"),
        (torch.zeros(2, 3), torch.tensor([0, 1]), 3, "0 to 2, not 3"),
        (torch.zeros(2, 1), torch.tensor([0, 0]), 0, "two classes or more"),
        (torch.zeros(2, 3), torch.tensor([0, 1]), -1, "0 to 2, not -1"),
        (torch.tensor([[torch.nan, 0.0]]), torch.tensor([0]), 1, "finite"),
    ],
)
def test_a_best_bias_of_bad_input_is_refused(logits, labels, missing, said):
    with pytest.raises(ValueError, match=said):
        best_bias(logits, labels, missing)

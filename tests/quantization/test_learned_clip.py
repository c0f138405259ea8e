"""PACT: values against `fake_quantize`, gradients against those of a clamp."""

import math

import pytest
import torch

from shrink.quantization import QParams, fake_quantize
from shrink.quantization.learned_clip import fake_quantize_pact


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bits", range(1, 9))
def test_the_numbers_are_those_of_an_unsigned_quantization(bits):
    x, alpha = 2 * random(20_000), torch.tensor(1.7)
    y = fake_quantize_pact(x, alpha, bits)
    if bits > 1:
        p = QParams(alpha / (2**bits - 1), torch.tensor(0), bits, signed=False)
        assert y.equal(fake_quantize(x, p))
    assert len(y.unique()) == 2**bits and y.min() == 0
    assert y.max().item() == pytest.approx(1.7, rel=1e-6)


def test_gradients_are_those_of_a_clamp_whose_end_moves():
    x, g = 2 * random(3000, seed=1), random(3000, seed=2)
    ours, alpha = x.clone().requires_grad_(), torch.tensor(1.7).requires_grad_()
    fake_quantize_pact(ours, alpha, 3).backward(g)
    theirs, end = x.clone().requires_grad_(), torch.tensor(1.7).requires_grad_()
    torch.minimum(theirs.clamp(min=0), end).backward(g)
    assert ours.grad.equal(theirs.grad)
    torch.testing.assert_close(alpha.grad, end.grad)


def test_alphas_gradient_is_that_of_the_clipped_loss_by_differences():
    x, g, by = 2 * random(500, seed=3).double(), random(500, seed=4).double(), 1e-6

    def loss(alpha):
        return (torch.minimum(x.clamp(min=0), alpha) * g).sum()

    alpha = torch.tensor(1.3, dtype=torch.float64).requires_grad_()
    fake_quantize_pact(x, alpha, 2).backward(g)
    by_differences = (loss(alpha + by) - loss(alpha - by)) / (2 * by)
    torch.testing.assert_close(alpha.grad, by_differences.detach(), rtol=1e-6, atol=1e-6)


def test_alpha_goes_where_the_loss_is_least():
    """Numbers up to 4 that the loss wants whole: a clip of 1 opens."""
    x, alpha = torch.linspace(0, 4, 101), torch.tensor(1.0).requires_grad_()
    sgd = torch.optim.SGD([alpha], lr=0.003)
    for _ in range(100):
        sgd.zero_grad()
        (fake_quantize_pact(x, alpha, 4) - x).square().sum().backward()
        sgd.step()
    assert 3.5 < alpha.item() < 4.2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_stay(dtype):
    x, alpha = random(20).to(dtype).requires_grad_(), torch.tensor(1.0).requires_grad_()
    y = fake_quantize_pact(x, alpha, 4)
    y.sum().backward()
    assert y.dtype == x.grad.dtype == dtype and alpha.grad.dtype == torch.float32


@pytest.mark.parametrize("bad", [0.0, -0.3, math.nan, math.inf])
def test_an_alpha_that_left_its_range_is_named(bad):
    with pytest.raises(ValueError, match=f"alpha must be above 0 and finite, not {bad:g}"):
        fake_quantize_pact(random(4), torch.tensor(bad), 4)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"alpha must be one number, not of shape \(4,\)"):
        fake_quantize_pact(random(4), torch.ones(4), 4)
    with pytest.raises(ValueError, match="num_bits must lie between 1 and 8, not 9"):
        fake_quantize_pact(random(4), torch.tensor(1.0), 9)
    with pytest.raises(TypeError, match="num_bits must be a whole number"):
        fake_quantize_pact(random(4), torch.tensor(1.0), 2.5)
    with pytest.raises(TypeError, match="alpha must be"):
        fake_quantize_pact(random(4), 1.0, 4)


def test_the_gradient_of_many_halves_is_added_up_in_float32():
    x, alpha = (
        torch.full((80_000,), 2.0, dtype=torch.float16),
        torch.tensor(1.0, requires_grad=True),
    )
    fake_quantize_pact(x, alpha, 4).backward(torch.ones_like(x))
    assert alpha.grad.item() == 80_000

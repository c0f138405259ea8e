"""Learned steps: against torch's learnable fake quantization, and the frozen surrogate."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrink.quantization import QParams, fake_quantize, quantize
from shrink.quantization.learned_step import (
    binarize_lsq,
    fake_quantize_lsq,
    integers_lsq,
    least_squares_step,
)
from shrink.quantization.straight_through import PIECE
from tests import depth


def random(*shape, seed=0, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


def backward(x, step, q_min, q_max, gradient, **options):
    """The values, and the gradients that come back to x and to the step."""
    x, step = (t.detach().clone().requires_grad_() for t in (x, step))
    y = fake_quantize_lsq(x, step, q_min, q_max, **options)
    y.backward(gradient)
    return y.detach(), x.grad, step.grad


ENDS = [(-1, 1), (-3, 3), (-8, 7), (0, 15), (-127, 127)]
BEYOND = 0.501  # torch counts as inside what rounds to an end


def away_from_the_band(x, step, q_min, q_max):
    """x, with numbers less than half a step beyond an end brought to the middle."""
    places = x / step
    beyond = (places - places.clamp(q_min, q_max)).abs()
    return torch.where((beyond > 0) & (beyond < BEYOND), 0.3 * step, x)


# ---- against torch


@pytest.mark.parametrize("seed", depth.seeds(10, 3))
@pytest.mark.parametrize("ends", ENDS, ids=str)
def test_values_and_gradients_are_torchs_away_from_the_band(ends, seed):
    step = torch.tensor(0.3)
    x = away_from_the_band(random(3000, seed=seed) * ends[1] / 2, step, *ends)
    g, factor = random(3000, seed=seed + 1), 1 / math.sqrt(3000 * ends[1])
    y, by_x, by_step = backward(x, step, *ends, g)
    leaf, scale = x.clone().requires_grad_(), torch.tensor([0.3]).requires_grad_()
    theirs = torch._fake_quantize_learnable_per_tensor_affine(
        leaf, scale, torch.zeros(1), *ends, factor
    )
    theirs.backward(g)
    assert y.equal(theirs.detach()) and by_x.equal(leaf.grad)
    torch.testing.assert_close(by_step, scale.grad[0], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ends", ENDS, ids=str)
def test_values_and_gradients_per_channel_are_torchs_away_from_the_band(ends):
    steps = torch.tensor([0.1, 0.3, 1.0, 0.05])
    x = away_from_the_band(random(4, 30, 30) * ends[1] / 3, steps.view(4, 1, 1), *ends)
    g, factor = random(4, 30, 30, seed=1), 1 / math.sqrt(900 * ends[1])
    y, by_x, by_step = backward(x, steps.view(4, 1, 1), *ends, g)
    leaf, scale = x.clone().requires_grad_(), steps.clone().requires_grad_()
    theirs = torch._fake_quantize_learnable_per_channel_affine(
        leaf, scale, torch.zeros(4), 0, *ends, factor
    )
    theirs.backward(g)
    assert y.equal(theirs.detach()) and by_x.equal(leaf.grad)
    torch.testing.assert_close(by_step.flatten(), scale.grad, rtol=1e-4, atol=1e-5)


def test_in_the_band_what_is_clipped_has_the_gradient_of_what_is_clipped():
    x, step = torch.tensor([1.2, -1.4]), torch.tensor(1.0)  # they round to 1 and -1
    _, by_x, by_step = backward(x, step, -1, 1, torch.tensor([1.0, 10.0]))
    assert by_x.tolist() == [0, 0]
    assert by_step.item() == pytest.approx((1 - 10) / math.sqrt(2))


# ---- against the surrogate, with the rounding error held


class Surrogate(torch.autograd.Function):
    """Our gradients under the values of the surrogate, so that gradcheck compares the two."""

    @staticmethod
    def forward(ctx, x, step, ends, off):
        ctx.save_for_backward(x, step)
        ctx.ends = ends
        return (x / step).clamp(*ends) * step + off * step

    @staticmethod
    def backward(ctx, gradient):
        x, step = ctx.saved_tensors
        factor = 1 / math.sqrt(x.numel() // step.numel() * ctx.ends[1])
        with torch.enable_grad():
            _, by_x, by_step = backward(x, step, *ctx.ends, gradient)
        return by_x, by_step / factor, None, None


@pytest.mark.parametrize("shape", [(), (3, 1)], ids=["a layer", "channels"])
@pytest.mark.parametrize("ends", ENDS[:4], ids=str)
def test_gradcheck_passes_when_the_rounding_error_is_held(ends, shape):
    """y = s · (clamp(x/s) + e), where e, what rounding adds, does not move."""
    step = torch.tensor([[0.4], [0.5], [0.6]], dtype=torch.float64)
    step = step[:1].reshape(()) if shape == () else step
    x = random(3, 8, dtype=torch.float64) * ends[1] / 2
    clipped = (x / step).clamp(*ends)
    off = clipped.round() - clipped
    assert torch.autograd.gradcheck(
        lambda x, step: Surrogate.apply(x, step, ends, off),
        (x.requires_grad_(), step.requires_grad_()),
    )


# ---- the factor


def test_the_factor_counts_the_numbers_of_one_step():
    x, g = random(6, 50), random(6, 50, seed=1)
    one, steps = torch.tensor(0.5), torch.full((6, 1), 0.5)
    _, _, in_all = backward(x, one, -3, 3, g)
    _, _, each = backward(x, steps, -3, 3, g)
    assert each.sum().item() / math.sqrt(6) == pytest.approx(in_all.item(), rel=1e-4)
    _, _, of_a_row = backward(x, one, -3, 3, g, numbers=50)
    assert of_a_row.item() == pytest.approx(in_all.item() * math.sqrt(6), rel=1e-4)


# ---- values


@pytest.mark.parametrize("shape", [(2 * PIECE + 3,), (3, PIECE), (), (0,)], ids=str)
def test_numbers_of_any_shape_are_rounded_in_pieces(shape):
    x, step = random(*shape), torch.tensor(0.25)
    x = torch.where((x.abs() - 0.75).abs() < 1e-4, 0, x)  # next to an end
    y, by_x, _ = backward(x, step, -3, 3, torch.ones(shape))
    assert y.equal((x * 4).round().clamp(-3, 3) / 4) and by_x.equal((x.abs() <= 0.75).float())


@pytest.mark.parametrize("shape", [(5, 1), (1, 7), (7,), (5, 7), ()], ids=str)
def test_steps_of_any_shape_that_broadcasts(shape):
    x, step, g = random(5, 7), random(*shape, seed=2).abs() + 0.1, random(5, 7, seed=1)
    y, by_x, by_step = backward(x, step, -3, 3, g)
    wide = backward(x, step.expand(5, 7).contiguous(), -3, 3, g)
    assert y.equal(wide[0]) and by_x.equal(wide[1]) and by_step.shape == shape
    expected = wide[2].sum_to_size(shape) / math.sqrt(35 // max(step.numel(), 1))
    torch.testing.assert_close(by_step, expected)


def test_the_integers_are_those_that_are_multiplied():
    for seed in range(20):
        x, step = random(2000, seed=seed), random(1, seed=seed)[0].abs() + 0.01
        q = integers_lsq(x, step, -7, 7)
        assert q.dtype == torch.int8 and (q * step).equal(fake_quantize_lsq(x, step, -7, 7))


def test_next_to_a_half_it_rounds_as_quantize_does():
    """Where dividing by the step and multiplying by its reciprocal may differ."""
    for step in random(50).abs() + 0.01:
        x = step * (torch.arange(-7, 7) + 0.5)
        p = QParams(step, torch.tensor(0), num_bits=4, narrow=True)
        assert integers_lsq(x, step, -7, 7).equal(quantize(x, p))
        assert fake_quantize_lsq(x, step, -7, 7).equal(fake_quantize(x, p))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_stay(dtype):
    x, step = random(60).to(dtype), torch.tensor(0.5, dtype=dtype)
    y, by_x, by_step = backward(x, step, -2, 1, torch.ones(60, dtype=dtype))
    assert y.dtype == by_x.dtype == by_step.dtype == dtype
    assert y.equal(((x * 2).round().clamp(-2, 1) / 2).to(dtype))


def test_infinite_numbers_are_clipped_and_give_gradients():
    x = torch.tensor([torch.inf, -torch.inf, 0.4])
    y, by_x, by_step = backward(x, torch.tensor(1.0), -3, 3, torch.tensor([1.0, 2.0, 0.0]))
    assert y.tolist() == [3, -3, 0] and by_x.tolist() == [0, 0, 0]
    assert by_step.item() == pytest.approx((3 - 6) / 3)


numbers = st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=30).map(torch.tensor)


@given(numbers, st.sampled_from(ENDS), st.floats(2**-7, 2, width=32))
def test_order_and_zeros_stay_and_gradients_are_0_or_1(x, ends, step):
    y, by_x, by_step = backward(x.float(), torch.tensor(step), *ends, torch.ones(len(x)))
    assert not (y[x.argsort()].diff() < 0).any() and not y[x == 0].any()
    assert ((by_x == 0) | (by_x == 1)).all() and by_step.isfinite()


# ---- one bit


def test_a_step_of_signs_has_its_true_gradient():
    w, g = random(6, 40), random(6, 40, seed=1)
    for step in (torch.tensor(0.3), torch.full((6, 1), 0.3)):
        leaf, s = w.clone().requires_grad_(), step.clone().requires_grad_()
        y = binarize_lsq(leaf, s)
        y.backward(g)
        other = step.clone().requires_grad_()
        (torch.where(w >= 0, other, -other) * g).sum().backward()
        assert y.abs().equal(step.expand(6, 40)) and leaf.grad.equal(g)
        expected = other.grad / math.sqrt(w.numel() / step.numel())
        torch.testing.assert_close(s.grad, expected)


# ---- where a step starts


def exact_step(x, q_max):
    """The step of least error, found among all ways to round: integers change at |x| / (k - ½)."""
    magnitudes = x.abs().double().flatten()
    magnitudes = magnitudes[magnitudes > 0]
    k = torch.arange(1, q_max + 1).double()
    order = (magnitudes[:, None] / (k - 0.5)).flatten().argsort(descending=True)
    products = magnitudes[:, None].expand(-1, q_max).flatten()[order].cumsum(0)  # Σ |x| q
    squares = (2 * k - 1).expand(len(magnitudes), -1).flatten()[order].cumsum(0)  # Σ q²
    return (products / squares)[(products**2 / squares).argmax()]


def error(x, step, q_max):
    return ((x / step).round().clamp(-q_max, q_max) * step - x).square().sum().item()


KINDS = {
    "normal": lambda seed: random(3000, seed=seed),
    "uniform": lambda seed: torch.rand(3000, generator=torch.Generator().manual_seed(seed)) - 0.5,
    "long tails": lambda seed: random(3000, seed=seed) ** 5,
    "one outlier": lambda seed: torch.cat([random(3000, seed=seed), torch.tensor([40.0])]),
    "few": lambda seed: random(5, seed=seed),
    "positive": lambda seed: random(500, seed=seed).abs(),
}


@pytest.mark.parametrize("q_max", [1, 3, 7])
@pytest.mark.parametrize("kind", KINDS)
def test_the_error_is_within_a_hundredth_of_the_least(kind, q_max):
    for seed in depth.seeds(10, 3):
        x = KINDS[kind](seed).double()
        found = error(x, least_squares_step(x, -q_max, q_max), q_max)
        assert found <= 1.01 * error(x, exact_step(x, q_max), q_max) + 1e-12


def test_the_error_of_8_bits_is_within_two_hundredths_of_a_fine_scan():
    x = random(2000, dtype=torch.float64)
    steps = x.abs().max() / 127 * torch.linspace(0.3, 1.05, 3000, dtype=torch.float64)
    least = min(error(x, step, 127) for step in steps)
    assert error(x, least_squares_step(x, -127, 127), 127) <= 1.02 * least


def test_each_channel_starts_where_it_would_alone():
    start = least_squares_step
    x = random(4, 5, 6) * torch.tensor([1.0, 0.1, 3.0, 0.0]).view(4, 1, 1)
    steps = start(x, -3, 3, 0)
    assert steps.shape == (4, 1, 1) and steps[3] == 1  # all 0
    for row, step in zip(x, steps.flatten(), strict=True):
        torch.testing.assert_close(step, start(row, -3, 3, None))
    assert start(x, -3, 3, -1).shape == (1, 1, 6)


# ---- what is refused


@pytest.mark.parametrize(
    ("ends", "error", "message"),
    [
        ((1, 3), ValueError, "q_min must lie between -65536 and 0, not 1"),
        ((-3, 0), ValueError, "q_max must lie between 1 and 65535, not 0"),
        ((-3.0, 3), TypeError, "q_min must be a whole number, not -3.0"),
        ((-3, None), TypeError, "q_max must be a whole number, not None"),
    ],
)
def test_ends_that_are_none_are_named(ends, error, message):
    x, step = random(5), torch.tensor(0.5)
    with pytest.raises(error, match=message):
        fake_quantize_lsq(x, step, *ends)
    with pytest.raises(error, match=message):
        least_squares_step(x, *ends)
    with pytest.raises(ValueError, match="q_max must lie between 1 and 127, not 300"):
        integers_lsq(x, step, -3, 300)


@pytest.mark.parametrize("axis", [1, -2, 0.5])
def test_an_axis_that_is_none_is_named(axis):
    with pytest.raises((TypeError, ValueError), match=f"axis must .*, not {axis}"):
        least_squares_step(random(5), -1, 1, axis)


# ---- halves


@pytest.mark.parametrize("function", ["uniform", "signs"])
def test_the_gradient_of_many_halves_is_added_up_in_float32(function):
    x = torch.ones(80_000, dtype=torch.float16)
    step = torch.tensor(0.5, requires_grad=True)
    y = binarize_lsq(x, step) if function == "signs" else fake_quantize_lsq(x, step, -1, 1)
    y.backward(torch.ones_like(y))
    assert step.grad.item() == pytest.approx(80_000**0.5, rel=1e-3)


# ---- more that is refused


@pytest.mark.parametrize("bad", [0.0, -0.02, math.nan, math.inf])
@pytest.mark.parametrize("function", ["uniform", "signs"])
def test_a_step_that_left_its_range_is_named(function, bad):
    step = torch.tensor(bad)
    with pytest.raises(ValueError, match=f"the step must be above 0 and finite, not {bad:g}"):
        if function == "signs":
            binarize_lsq(random(4), step)
        else:
            fake_quantize_lsq(random(4), step, -1, 1)
    with pytest.raises(ValueError, match=f"not {bad:g}"):
        integers_lsq(random(2, 4), torch.tensor([[1.0], [bad]]), -1, 1)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"the step of shape \(3,\) does not fit .* \(4,\)"):
        fake_quantize_lsq(random(4), torch.ones(3), -1, 1)
    with pytest.raises(TypeError, match="must be floating point"):
        fake_quantize_lsq(torch.arange(4), torch.tensor(1.0), -1, 1)
    with pytest.raises(TypeError, match="the step must be"):
        fake_quantize_lsq(random(4), 0.5, -1, 1)
    with pytest.raises(ValueError, match="1 NaN"):
        least_squares_step(torch.tensor([1.0, math.nan]), -1, 1)
    with pytest.raises(ValueError, match="axis must lie between -1 and 0, not 2"):
        least_squares_step(random(4), -1, 1, axis=2)
    with pytest.raises(ValueError, match=r"no step for a tensor of shape \(0,\)"):
        least_squares_step(random(0), -1, 1)

"""Fake quantization, straight through: values against `fake_quantize`, gradients against torch."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from shrink.quantization import QParams, choose_qparams, fake_quantize, qparams_of
from shrink.quantization.straight_through import PIECE, fake_quantize_ste
from tests import depth


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def backward(x, qparams, gradient):
    """The values, and the gradient that comes back to x."""
    x = x.detach().clone().requires_grad_()
    y = fake_quantize_ste(x, qparams)
    y.backward(gradient)
    return y.detach(), x.grad


PARAMETERS = {
    "symmetric": {"symmetric": True, "narrow": True},
    "with a zero point": {},
    "unsigned": {"signed": False},
    "a channel each": {"axis": 0},
    "a channel each, of columns": {"axis": 1, "symmetric": True},
    "a group each": {"group": 5},
}


@pytest.mark.parametrize("bits", [2, 3, 8])
@pytest.mark.parametrize("how", PARAMETERS)
def test_the_numbers_are_those_of_fake_quantize(how, bits):
    fitted, x = random(13, 21), 1.5 * random(13, 21, seed=1)
    p = qparams_of(fitted, bits, **PARAMETERS[how])
    assert fake_quantize_ste(x, p).equal(fake_quantize(x, p))
    infinite = x.clone()
    infinite[0, 0], infinite[1, 1] = torch.inf, -torch.inf
    assert fake_quantize_ste(infinite, p).equal(fake_quantize(infinite, p))


@pytest.mark.parametrize("shape", [(2 * PIECE + 3,), (3, PIECE), (), (0,), (0, 4)], ids=str)
def test_numbers_of_any_shape_are_rounded_in_pieces(shape):
    p = choose_qparams(-1.0, 1.5, num_bits=4)
    y, gradient = backward(random(*shape), p, torch.ones(shape))
    assert y.equal(fake_quantize(random(*shape), p)) and gradient.shape == shape


def test_columns_and_other_strides_are_rounded_where_they_stand():
    x, g = random(6, 8), random(6, 8, seed=1)
    p = qparams_of(x[:3], 3, axis=None)
    y, gradient = backward(x, p, g)
    turned = backward(x.t(), p, g.t())
    assert turned[0].equal(y.t()) and turned[1].equal(gradient.t())


@pytest.mark.parametrize("seed", depth.seeds(10, 3))
@pytest.mark.parametrize("zero_point", [0, 3, -5])
def test_gradients_are_torchs_but_for_half_a_step_beyond_the_ends(zero_point, seed):
    x, g, scale = 4 * random(4000, seed=seed), random(4000, seed=seed + 1), 0.37
    p = QParams(torch.tensor(scale), torch.tensor(zero_point, dtype=torch.int32), num_bits=4)
    y, gradient = backward(x, p, g)
    leaf = x.clone().requires_grad_()
    theirs = torch.fake_quantize_per_tensor_affine(leaf, scale, zero_point, p.q_min, p.q_max)
    theirs.backward(g)
    assert y.equal(theirs.detach())
    places = x / scale + zero_point
    band = (places > p.q_max) & (places < p.q_max + 0.501)
    band |= (places < p.q_min) & (places > p.q_min - 0.501)
    assert gradient[~band].equal(leaf.grad[~band])
    assert band.any() and not gradient[band].any()


def test_gradients_per_channel_are_torchs_but_for_half_a_step_beyond_the_ends():
    x, g = random(7, 900), random(7, 900, seed=1)
    p = qparams_of(0.4 * x, 3, axis=0)
    y, gradient = backward(x, p, g)
    leaf = x.clone().requires_grad_()
    scale, zero_point = p.scale.flatten(), p.zero_point.flatten()
    theirs = torch.fake_quantize_per_channel_affine(leaf, scale, zero_point, 0, p.q_min, p.q_max)
    theirs.backward(g)
    assert y.equal(theirs.detach())
    places = x / p.scale + p.zero_point
    band = (places - places.clamp(p.q_min, p.q_max)).abs()
    band = (band > 0) & (band < 0.501)
    assert gradient[~band].equal(leaf.grad[~band]) and not gradient[band].any()


def test_gradients_are_those_of_a_clamp_also_in_groups():
    x, g = random(4, 11), random(4, 11, seed=1)
    p = qparams_of(0.5 * x, 4, group=3)
    scale, zero_point = (v.repeat_interleave(3, 1)[:, :11] for v in (p.scale, p.zero_point))
    leaf = x.clone().requires_grad_()
    low, high = (p.q_min - zero_point) * scale, (p.q_max - zero_point) * scale
    torch.minimum(torch.maximum(leaf, low), high).backward(g)
    assert backward(x, p, g)[1].equal(leaf.grad)


@pytest.mark.parametrize("bits", [2, 3, 4, 8, 16])
def test_the_number_that_a_range_was_made_for_is_inside(bits):
    """Whether the scale was rounded up or down."""
    for seed in range(50):
        x = random(30, seed=seed)
        for how in ({}, {"axis": 0}):
            p = qparams_of(x, bits, symmetric=True, narrow=True, **how)
            assert backward(x, p, torch.ones(30))[1].all()


def test_the_mean_of_dithered_rounding_is_a_clamp():
    """The reason for the gradient: of what is shaken before it is rounded it is exact."""
    p = QParams(torch.tensor(0.5), torch.tensor(0, dtype=torch.int32), num_bits=2, narrow=True)
    x = torch.linspace(-1, 1, 81)
    u = (torch.arange(2000) + 0.5) / 2000 - 0.5
    mean = fake_quantize_ste(x[:, None] + 0.5 * u, p).mean(1)
    torch.testing.assert_close(mean, x.clamp(-0.5, 0.5), atol=2e-4, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_types_stay(dtype):
    x = random(50).to(dtype)
    p = choose_qparams(-1.0, 1.0, num_bits=4)
    y, gradient = backward(x, p, torch.ones(50, dtype=dtype))
    assert y.dtype == gradient.dtype == dtype
    assert y.equal(fake_quantize(x, p).to(dtype))
    places = x.float() / p.scale + p.zero_point
    assert gradient.bool().equal((places >= p.q_min) & (places <= p.q_max))


numbers = st.lists(st.floats(-10, 10, width=32), min_size=1, max_size=30).map(torch.tensor)


@given(numbers, st.integers(2, 8), st.booleans())
def test_rounding_again_changes_nothing_and_order_and_zeros_stay(x, bits, symmetric):
    p = choose_qparams(-3.0, 5.0, bits, symmetric)
    y, gradient = backward(x.float(), p, torch.ones(len(x)))
    assert fake_quantize_ste(y, p).equal(y)
    assert not (y[x.argsort()].diff() < 0).any()
    assert not y[x == 0].any()
    assert ((gradient == 0) | (gradient == 1)).all()


def test_what_stands_for_no_integer_is_refused():
    p = choose_qparams(-1.0, 1.0)
    with pytest.raises(ValueError, match="1 of 3 values are NaN"):
        fake_quantize_ste(torch.tensor([0.0, torch.nan, 1.0]), p)
    with pytest.raises(ValueError, match=r"parameters of shape \(2,\) do not fit .* \(3,\)"):
        fake_quantize_ste(torch.zeros(3), choose_qparams(-torch.ones(2), torch.ones(2)))
    with pytest.raises(TypeError, match="must be floating point"):
        fake_quantize_ste(torch.arange(3), p)

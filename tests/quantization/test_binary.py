"""Weights of one bit: signs, their scale, gradients of latent weights, and where these are cut."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shrink.quantization.binary import binarize, binary_scale, clip_latents_, signs

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NAN, INF = float("nan"), float("inf")


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_sign_of_both_zeros_is_one(dtype):
    tiny = torch.finfo(dtype).smallest_normal
    x = torch.tensor([-INF, -2.0, -tiny, -0.0, 0.0, tiny, 2.0, INF], dtype=dtype)
    assert signs(x).equal(torch.tensor([-1.0] * 3 + [1.0] * 5, dtype=dtype))


def test_signs_are_those_of_numpy_in_any_layout():
    x = randn(6, 5, 4)
    for layout in (x, x.transpose(0, 2), x[:, ::2], x.double(), x[0, 0, 0]):
        expected = np.where(np.asarray(layout) >= 0, 1.0, -1.0)
        assert np.array_equal(signs(layout).numpy(), expected)
        assert signs(layout).dtype == layout.dtype


@pytest.mark.parametrize("x", [torch.tensor([1.0, NAN]), torch.tensor([INF, -INF, NAN]).half()])
def test_nan_has_no_sign(x):
    for function in (signs, binarize):
        with pytest.raises(ValueError, match=rf"1 of {len(x)} values"):
            function(x, scale=1.0) if function is binarize else function(x)


@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
def test_the_scale_is_the_projection_on_the_signs(axis):
    weight = randn(4, 3, 5).double()
    scale = binary_scale(weight, axis)
    assert scale.shape == torch.Size(
        [] if axis is None else [n if d == axis % 3 else 1 for d, n in enumerate(weight.shape)]
    )
    rows = weight.reshape(1, -1) if axis is None else weight.movedim(axis, 0).flatten(1)
    for row, found in zip(rows.numpy(), scale.flatten(), strict=True):
        (least,), *_ = np.linalg.lstsq(np.sign(row)[:, None], row, rcond=None)
        assert float(found) == pytest.approx(least, rel=1e-12)


def test_each_weight_of_one_axis_is_a_channel():
    weight = torch.tensor([0.5, -2.0, 0.0])
    assert binary_scale(weight).equal(weight.abs())
    assert binarize(weight).equal(weight)
    assert binary_scale(weight, None).equal(weight.abs().mean())
    assert binary_scale(torch.tensor(-3.0), None).equal(torch.tensor(3.0))


def test_a_channel_of_zeros_has_the_scale_zero():
    weight = torch.tensor([[0.0, -0.0], [1.0, -3.0]], requires_grad=True)
    binary = binarize(weight)
    assert binary.equal(torch.tensor([[0.0, 0.0], [2.0, -2.0]]))
    binary.sum().backward()
    assert weight.grad.equal(torch.ones(2, 2))


def test_a_mean_of_halves_does_not_overflow():
    weight = torch.full((2, 5000), 60_000.0).half()
    assert binary_scale(weight).flatten().tolist() == [60_000, 60_000]


@pytest.mark.parametrize(
    ("weight", "axis", "message"),
    [
        (torch.tensor([[1.0, NAN], [2.0, INF]]), 0, "1 NaN and 1 infinite of 4"),
        (torch.ones(2, 3), 2, r"no axis 2 in a tensor of shape \(2, 3\)"),
        (torch.ones(2, 3), -3, "no axis -3"),
        (torch.ones(2, 3), True, "no axis True"),
        (torch.ones(2, 3), 0.0, r"no axis 0\.0"),
        (torch.tensor(1.0), 0, r"no axis 0 in a tensor of shape \(\)"),
        (torch.ones(0, 3), 0, r"a weight of shape \(0, 3\) has no numbers"),
        (torch.ones(2, 0), None, r"a weight of shape \(2, 0\) has no numbers"),
    ],
)
def test_a_scale_needs_finite_weights_and_an_axis(weight, axis, message):
    with pytest.raises(ValueError, match=message):
        binary_scale(weight, axis)


@pytest.mark.parametrize("function", [signs, binary_scale, binarize])
@pytest.mark.parametrize("x", [torch.tensor([[1, -1]]), torch.ones(1, 2) > 0, [[1.0]]])
def test_only_floats_have_signs(function, x):
    with pytest.raises(TypeError):
        function(x)


SCALES = {
    "of each output": None,
    "one": torch.tensor(0.3),
    "of each input": torch.tensor([[0.1, 0.2, 0.3]]),
    "a number": 2,
}


@pytest.mark.parametrize("scale", SCALES.values(), ids=SCALES)
@pytest.mark.parametrize("clip", [None, 0.5])
def test_gradients_are_those_of_the_surrogate(scale, clip):
    """w + (signs · scale - w), the bracket held fixed; inside the clip only."""
    latent = randn(4, 3)
    weight, x, target = latent.clone().requires_grad_(), randn(8, 3, seed=1), randn(8, 4, seed=2)
    (F.linear(x, binarize(weight, scale, clip)) - target).square().sum().backward()
    other = latent.clone().requires_grad_()
    factor = latent.abs().mean(1, keepdim=True) if scale is None else scale
    value = torch.where(latent >= 0, 1.0, -1.0) * factor
    through = other if clip is None else other.clamp(-clip, clip)
    surrogate = through + (value - through).detach()
    (F.linear(x, surrogate) - target).square().sum().backward()
    assert weight.grad.equal(other.grad) or torch.allclose(weight.grad, other.grad, rtol=1e-6)
    assert clip is None or not weight.grad[latent.abs() > clip].any()


@pytest.mark.parametrize("shape", [(), (1,), (4, 1), (1, 3), (4, 3)])
def test_a_scale_that_is_learned_gets_its_derivative_by_the_root_of_its_weights(shape):
    weight, upstream = randn(4, 3), randn(4, 3, seed=1)
    scale = (torch.rand(shape) + 0.1).requires_grad_()
    (binarize(weight, scale) * upstream).sum().backward()
    other = scale.detach().clone().requires_grad_()
    (torch.where(weight >= 0, 1.0, -1.0) * other * upstream).sum().backward()
    each = weight.numel() / scale.numel()
    assert scale.grad.shape == scale.shape
    assert torch.allclose(scale.grad * each**0.5, other.grad)


@pytest.mark.parametrize("dtype", FLOATS)
def test_the_result_has_the_dtype_of_the_weight(dtype):
    weight = randn(2, 3).to(dtype).requires_grad_()
    for scale in (None, 0.5, torch.tensor([0.5], dtype=torch.float64)):
        binary = binarize(weight, scale)
        assert binary.dtype == dtype and binary.unique().numel() == (4 if scale is None else 2)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"scale": torch.ones(3, 1)}, ValueError, r"a scale of shape \(3, 1\) does not fit"),
        ({"scale": torch.ones(5, 2, 3)}, ValueError, r"a scale of shape \(5, 2, 3\)"),
        ({"scale": torch.ones(2, 1).int()}, TypeError, "scale must be floating point"),
        ({"scale": "mean"}, TypeError, "scale must be a number, not 'mean'"),
        ({"clip": 0}, ValueError, "clip must be above 0, not 0"),
        ({"clip": NAN}, ValueError, "clip must be above 0, not nan"),
        ({"clip": "1"}, TypeError, "clip must be a number, not '1'"),
    ],
)
def test_a_scale_must_fit_and_a_clip_be_above_zero(options, error, message):
    with pytest.raises(error, match=message):
        binarize(torch.ones(2, 3), **options)


def test_small_steps_add_up_in_latent_weights_until_a_sign_turns():
    """Ten steps of 0.04 turn 0.3 over; rounded after each step it would stay at 0.3."""
    latent = torch.nn.Parameter(torch.tensor([[0.3, -0.3]]))
    optimizer = torch.optim.SGD([latent], lr=0.04)
    seen = []
    for _ in range(10):
        optimizer.zero_grad()
        binarize(latent, 0.3).sum().backward()
        optimizer.step()
        seen.append(signs(latent)[0].tolist())
    assert seen == [[1, -1]] * 7 + [[-1, -1]] * 3


def test_latent_weights_come_back_to_the_bound_and_stay_the_same_parameters():
    layers = [torch.nn.Linear(3, 2), torch.nn.Linear(2, 2)]
    weights = [layer.weight for layer in layers]
    before = [w.detach().clone() for w in weights]
    clip_latents_(weights, 0.2)
    for layer, weight, old in zip(layers, weights, before, strict=True):
        assert layer.weight is weight and weight.requires_grad and weight.is_leaf
        assert weight.detach().equal(old.clamp(-0.2, 0.2))
        assert not weight.detach().equal(old) and (weight.abs() <= 0.2).all()
    one = torch.tensor(5.0)
    clip_latents_(one, 1)
    assert one == 1


@pytest.mark.parametrize(
    ("weights", "bound", "error", "message"),
    [
        (torch.ones(2), 0.0, ValueError, r"bound must be above 0, not 0\.0"),
        (torch.ones(2), NAN, ValueError, "bound must be above 0, not nan"),
        (torch.ones(2), None, TypeError, "bound must be a number, not None"),
        ([torch.full((2,), 9.0), torch.ones(2).int()], 1, TypeError, "weight must be floating"),
    ],
)
def test_a_bound_is_above_zero_and_of_floats(weights, bound, error, message):
    with pytest.raises(error, match=message):
        clip_latents_(weights, bound)
    assert isinstance(weights, torch.Tensor) or weights[0].tolist() == [9, 9]  # none is changed


def test_the_gradient_of_many_halves_is_added_up_in_float32():
    w, scale = torch.ones(80_000, dtype=torch.float16), torch.tensor(1.0, requires_grad=True)
    binarize(w, scale).backward(torch.ones(80_000))
    assert scale.grad.item() == pytest.approx(80_000**0.5, rel=1e-3)

"""Weights of three values: which become 0, the scale of the others, gradients, learned scales."""

import itertools

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shrink.quantization.ternary import (
    exact_ternary,
    ternarize,
    ternarize_trained,
    ternary_signs,
)

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
NAN, INF = float("nan"), float("inf")
BOTH = (ternary_signs, exact_ternary)


def randn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def squared_error(weight, t, scale):
    return float((weight - t * scale).double().square().sum())


def least_error(weight):
    """Over all ternary vectors, each with its best scale that is not negative."""
    least = float(np.square(weight).sum())
    for t in itertools.product((-1, 0, 1), repeat=len(weight)):
        if any(t):
            scale = max(np.dot(weight, t) / np.dot(t, t), 0)
            least = min(least, float(np.square(weight - scale * np.array(t)).sum()))
    return least


CORNERS = {
    "equal": [0.5] * 4,
    "ties": [1.0, -1.0, 0.5, -0.5, 0.5],
    "one large": [10.0, 0.1, 0.1, -0.1],
    "zeros": [0.0, 0.0, -3.0],
    "one": [-0.7],
    "all zeros": [0.0, -0.0],
}


@pytest.mark.parametrize(
    "weight", [*CORNERS.values(), *(randn(7, seed=s).tolist() for s in range(4))]
)
def test_the_exact_one_has_the_least_error_of_all(weight):
    weight = torch.tensor(weight, dtype=torch.float64)
    t, scale = exact_ternary(weight)
    assert set(t.tolist()) <= {-1, 0, 1} and scale >= 0
    assert squared_error(weight, t, scale) == pytest.approx(least_error(weight.numpy()), abs=1e-12)


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("axis", [0, 1, 2, -1, None])
def test_each_channel_is_quantized_by_itself(function, axis):
    weight = randn(4, 3, 5) * torch.arange(1.0, 5)[:, None, None]
    t, scale = function(weight, axis)
    assert t.shape == weight.shape
    if axis is None:
        assert scale.shape == ()
        flat, one = function(weight.flatten())
        assert t.flatten().equal(flat) and torch.allclose(scale, one)
        return
    assert scale.shape == tuple(n if d == axis % 3 else 1 for d, n in enumerate(weight.shape))
    for i in range(weight.shape[axis]):
        alone, one = function(weight.select(axis, i).reshape(-1))
        assert t.select(axis, i).reshape(-1).equal(alone)
        assert torch.allclose(scale.flatten()[i], one)


def test_the_threshold_is_seven_tenths_of_the_mean_and_stays_below():
    """The mean of these magnitudes is 10, and 7 is not above 7; nor is 0.7 of the largest meant."""
    weight = torch.tensor([7.0, -7.0, 7.5, -18.5], dtype=torch.float64)
    t, scale = ternary_signs(weight)
    assert t.tolist() == [0, 0, 1, -1] and float(scale) == 13


@pytest.mark.parametrize("seed", range(3))
def test_the_scale_is_the_projection_on_the_signs(seed):
    weight = randn(50, seed=seed).double()
    t, scale = ternary_signs(weight)
    (least,), *_ = np.linalg.lstsq(t.numpy()[:, None], weight.numpy(), rcond=None)
    assert float(scale) == pytest.approx(least, rel=1e-12)
    assert float(scale) > float((weight * t).mean())  # zeros are not averaged


DRAWS = {
    "normal": (lambda n: randn(n).double(), 0.612),  # 0.612 and 0.667: the best thresholds,
    "uniform": (lambda n: 2 * torch.rand(n).double() - 1, 1 / 3),  # found by integration
}


@pytest.mark.parametrize(("draw", "threshold"), DRAWS.values(), ids=DRAWS)
def test_the_threshold_comes_close_to_the_exact_one_for_large_weights(draw, threshold):
    torch.manual_seed(0)
    weight = draw(100_000)
    t, scale = exact_ternary(weight)
    found = squared_error(weight, *ternary_signs(weight)) / squared_error(weight, t, scale)
    assert 1 <= found < 1.02
    assert float(weight.abs()[t != 0].min()) == pytest.approx(threshold, abs=0.02)


@pytest.mark.parametrize("function", BOTH)
@pytest.mark.parametrize("dtype", FLOATS)
def test_results_have_the_dtype_of_the_weight(function, dtype):
    weight = randn(6, 8).to(dtype)
    for layout in (weight, weight.T, weight[:, ::2]):
        t, scale = function(layout, 0)
        assert t.dtype == scale.dtype == dtype
        other, same = function(layout.clone(memory_format=torch.contiguous_format), 0)
        assert t.equal(other) and scale.equal(same)


@pytest.mark.parametrize("function", BOTH)
def test_corners_of_both(function):
    t, scale = function(torch.tensor([[0.0, -0.0], [3.0, -3.0]]), 0)
    assert t.equal(torch.tensor([[0.0, 0.0], [1.0, -1.0]])) and scale.flatten().tolist() == [0, 3]
    t, scale = function(torch.tensor([2.0, 0.0, -0.5]), 0)  # each a channel
    assert t.tolist() == [1, 0, -1] and scale.tolist() == [2, 0, 0.5]
    t, scale = function(torch.tensor(-3.0))
    assert t == -1 and scale == 3
    assert function(torch.full((5000,), 60_000.0).half())[1] == 60_000


@pytest.mark.parametrize("function", [*BOTH, ternarize])
@pytest.mark.parametrize(
    ("weight", "axis", "message"),
    [
        (torch.tensor([[1.0, NAN], [2.0, INF]]), 0, "1 NaN and 1 infinite of 4"),
        (torch.tensor([[1.0, NAN], [2.0, INF]]), None, "1 NaN and 1 infinite of 4"),
        (torch.ones(2, 3), 2, r"no axis 2 in a tensor of shape \(2, 3\)"),
        (torch.ones(2, 3), 1.5, r"no axis 1\.5"),
        (torch.ones(0), None, r"a weight of shape \(0,\) has no numbers"),
    ],
)
def test_weights_are_finite_and_have_that_axis(function, weight, axis, message):
    with pytest.raises(ValueError, match=message):
        function(weight, axis)


@pytest.mark.parametrize("function", [*BOTH, ternarize])
def test_only_floats_are_ternarized(function):
    with pytest.raises(TypeError, match="weight must be floating point"):
        function(torch.tensor([1, 2]))


@pytest.mark.parametrize("axis", [0, None])
def test_the_gradient_goes_straight_through(axis):
    weight, x = randn(4, 3).requires_grad_(), randn(8, 3, seed=1)
    out = F.linear(x, ternarize(weight, axis))
    out.square().sum().backward()
    t, scale = ternary_signs(weight, axis)
    other = (t * scale).requires_grad_()
    F.linear(x, other).square().sum().backward()
    assert weight.grad.equal(other.grad) and weight.grad[t == 0].any()


def written_out(weight, positive, negative):
    """TTQ's weights as a product for each kind: where it is 0 the latent one counts as itself."""
    threshold = 0.05 * weight.abs().max().detach()
    above, below = (weight > threshold).to(weight.dtype), (weight < -threshold).to(weight.dtype)
    latent = weight - weight.detach()  # 0, with the derivative 1
    between = latent * (1 - above - below)
    return above * positive * (1 + latent) - below * negative * (1 - latent) + between


@pytest.mark.parametrize("shape", [(), (1,)])
def test_the_gradients_of_learned_scales_are_those_of_the_sum_written_out(shape):
    weight, upstream = randn(30, 20).double(), randn(30, 20, seed=1).double()
    weight.view(-1)[:20] *= 0.01  # some that become 0
    found = []
    for function in (ternarize_trained, written_out):
        w = weight.clone().requires_grad_()
        p, n = (torch.full(shape, s, dtype=torch.float64) for s in (0.8, 1.3))
        p.requires_grad_(), n.requires_grad_()
        out = function(w, p, n)
        (out * upstream).sum().backward()
        found.append((out.detach(), w.grad, p.grad, n.grad))
    (out, by_weight, by_p, by_n), (out_, by_weight_, by_p_, by_n_) = found
    assert out.equal(out_) and set(out.unique().tolist()) == {-1.3, 0, 0.8}
    assert torch.allclose(by_weight, by_weight_)
    assert by_p.shape == shape
    assert torch.allclose(by_p * 600**0.5, by_p_) and torch.allclose(by_n * 600**0.5, by_n_)


def test_up_to_a_twentieth_of_the_largest_become_zero():
    weight = torch.tensor([20.0, 1.0, -1.0, 1.125, -1.125, 0.0])
    p, n = torch.tensor(2.0), torch.tensor(3.0)
    assert ternarize_trained(weight, p, n).tolist() == [2, 0, 0, 2, -3, 0]
    assert not ternarize_trained(torch.zeros(3), p, n).any()


@pytest.mark.parametrize("dtype", FLOATS)
def test_learned_scales_keep_their_dtype(dtype):
    weight = randn(5, 4).to(dtype).requires_grad_()
    p, n = (torch.tensor(s, requires_grad=True) for s in (0.5, 0.25))
    out = ternarize_trained(weight.T, p, n)
    out.sum().backward()
    assert out.dtype == weight.grad.dtype == dtype and p.grad.dtype == torch.float32


@pytest.mark.parametrize(
    ("weight", "positive", "error", "message"),
    [
        (torch.tensor([1.0, NAN]), 1.0, ValueError, "1 NaN and 0 infinite of 2"),
        (torch.tensor([1.0, -INF]), 1.0, ValueError, "0 NaN and 1 infinite of 2"),
        (torch.ones(0), 1.0, ValueError, "has no numbers"),
        (
            torch.ones(2),
            [1.0, 2.0],
            ValueError,
            r"positive must be one number, not of shape \(2,\)",
        ),
        (torch.ones(2), 1, TypeError, "positive must be floating point"),
        (torch.ones(2).int(), 1.0, TypeError, "weight must be floating point"),
    ],
)
def test_learned_scales_are_one_number_each(weight, positive, error, message):
    with pytest.raises(error, match=message):
        ternarize_trained(weight, torch.tensor(positive), torch.tensor(1.0))


def scales_after_steps(factor):
    """By SGD on Σ (ternary - weight)² / 2; the gradients of the scales are times this factor."""
    weight = randn(100, 100)
    p, n = (torch.tensor(1.5, requires_grad=True) for _ in range(2))
    for scale in (p, n):
        scale.register_hook(lambda gradient: gradient * factor)
    optimizer = torch.optim.SGD([p, n], lr=0.01)
    for _ in range(30):
        optimizer.zero_grad()
        (ternarize_trained(weight, p, n) - weight).square().sum().div(2).backward()
        optimizer.step()
    threshold = 0.05 * weight.abs().max()
    best = weight[weight > threshold].mean(), -weight[weight < -threshold].mean()
    return torch.stack([p.detach() - best[0], n.detach() - best[1]]).abs()


def test_learned_scales_converge_where_the_plain_sum_of_gradients_diverges():
    """Each of 4000 weights pulls at a scale: a step of 0.01 is too long, unless divided by 100."""
    assert scales_after_steps(1).max() < 1e-4
    assert not (scales_after_steps(100) < 1e6).any()  # in the end NaN

"""Rounding by output error: against all roundings one by one, and what holds of any rounding."""

import itertools
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrink.quantization import QParams, quantize
from shrink.quantization.adaround import adaround
from shrink.quantization.fixed_weights import weight_grid
from shrink.quantization.moments import output_error
from shrink.quantization.rounding import (
    floors,
    round_at_random,
    round_by_descent,
    round_exactly,
)
from tests import depth

WAYS = {
    "exact": round_exactly,
    "descent": round_by_descent,
    "adaround": partial(adaround, steps=100),  # its 500 are held in test_adaround
}
WITHIN = {"exact": 1 + 1e-9, "descent": 1.4}  # of the least error; AdaRound in test_adaround


def case(outputs, inputs, groups=1, seed=0, correlated=True, dead=()):
    """A weight, and products of inputs that are not negative, as behind a ReLU."""
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(outputs, inputs, generator=generator)
    x = torch.rand(groups, 200, inputs, generator=generator, dtype=torch.float64)
    if correlated:
        x = x + 2 * torch.rand(groups, 200, 1, generator=generator, dtype=torch.float64)
    x[..., list(dead)] = 0
    return weight, x.mT @ x / 200


def errors_of(q, weight, grid, products):
    return output_error(q * grid.scale.double() - weight.double(), products)


def one_by_one(weight, grid, products):
    """The least error of each output over the integers beside each weight, in plain loops."""
    weight, outputs = weight.flatten(1), len(weight)
    scales = grid.scale.double().expand(outputs, *[1] * (grid.scale.dim() - 1)).flatten()
    least = []
    for i in range(outputs):
        scale, g = (
            float(scales[i if len(scales) > 1 else 0]),
            products[i * len(products) // outputs],
        )
        choices = []
        for w in weight[i].double() / scale:
            down = max(min(int(w.floor()), grid.q_max), grid.q_min)
            choices.append({down, min(down + 1, grid.q_max)})
        errors = []
        for q in itertools.product(*choices):
            delta = torch.tensor(q).double() * scale - weight[i].double()
            errors.append(float(delta @ g @ delta))
        least.append(min(errors))
    return torch.tensor(least, dtype=torch.float64)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bits", [2, 3, 8])
@pytest.mark.parametrize("shape", [(3, 9, 1), (4, 5, 2), (6, 4, 6), (2, 1, 1)], ids=str)
def test_the_exact_rounding_is_the_best_of_all_one_by_one(shape, bits, per_channel):
    outputs, inputs, groups = shape
    weight, products = case(outputs, inputs, groups)
    grid = weight_grid(weight, bits, per_channel)
    q = round_exactly(weight, grid, products)
    expected = one_by_one(weight, grid, products)
    torch.testing.assert_close(errors_of(q, weight, grid, products), expected)


def test_a_kernel_of_images_is_taken_as_a_row():
    weight, products = case(4, 9, groups=4)
    grid = weight_grid(weight, 4)
    for way in WAYS.values():
        q = way(weight, grid, products)
        assert torch.equal(way(weight.view(4, 1, 3, 3), grid, products).view(4, 9), q)


def test_sixteen_inputs_in_chunks_are_the_optimum_of_smaller_ones():
    """A product of blocks: the optimum of both halves is that of each."""
    weight, products = case(40, 16)
    products[:, :8, 8:], products[:, 8:, :8] = 0, 0
    grid = weight_grid(weight, 3)
    q = round_exactly(weight, grid, products)
    for part in (slice(0, 8), slice(8, 16)):
        assert torch.equal(
            q[:, part], round_exactly(weight[:, part], grid, products[:, part, part])
        )


LAWS = [(5, 9, 1, 3), (8, 9, 8, 4), (4, 16, 2, 2), (10, 40, 1, 4), (3, 1, 1, 3), (3, 7, 1, 8)]


@pytest.mark.parametrize("law", LAWS, ids=str)
@pytest.mark.parametrize("name", WAYS)
def test_a_rounding_is_floor_or_ceil_in_the_range_and_never_worse_than_nearest(name, law):
    outputs, inputs, groups, bits = law
    if name == "exact" and inputs > 16:
        pytest.skip("exact is for at most 16 inputs")
    weight, products = case(outputs, inputs, groups, seed=bits)
    grid = weight_grid(weight, bits)
    q = WAYS[name](weight, grid, products)
    low, high = floors(weight, grid)
    assert q.dtype == torch.int8 and q.shape == weight.shape
    assert ((q == low) | (q == high)).all()
    assert q.min() >= grid.q_min and q.max() <= grid.q_max
    found = errors_of(q, weight, grid, products)
    nearest = errors_of(quantize(weight, grid), weight, grid, products)
    assert (found <= nearest * (1 + 1e-9)).all()
    if inputs <= 16:
        best = errors_of(round_exactly(weight, grid, products), weight, grid, products)
        assert found.sum() >= best.sum() * (1 - 1e-9)
        assert found.sum() <= WITHIN.get(name, torch.inf) * best.sum() + 1e-12
    before = weight.clone(), products.clone()
    WAYS[name](weight, grid, products)
    assert torch.equal(weight, before[0]) and torch.equal(products, before[1])


@pytest.mark.parametrize("name", WAYS)
def test_with_inputs_that_have_nothing_to_do_with_each_other_nearest_is_best(name):
    weight, _ = case(6, 12, seed=3)
    grid = weight_grid(weight, 3)
    q = WAYS[name](weight, grid, torch.eye(12)[None])
    assert torch.equal(q, quantize(weight, grid))


@pytest.mark.parametrize("name", WAYS)
def test_weights_of_inputs_that_are_always_zero_go_to_nearest(name):
    weight, products = case(4, 9, dead=(0, 5), seed=1)
    grid = weight_grid(weight, 3)
    q = WAYS[name](weight, grid, products)
    assert torch.equal(q[:, [0, 5]], quantize(weight, grid)[:, [0, 5]])
    assert not torch.equal(q, quantize(weight, grid))
    none = torch.zeros(1, 9, 9)
    assert torch.equal(WAYS[name](weight, grid, none), quantize(weight, grid))


@pytest.mark.parametrize("name", WAYS)
def test_weights_that_are_all_zero_stay_so(name):
    weight, products = torch.zeros(3, 9), case(3, 9)[1]
    assert not WAYS[name](weight, weight_grid(weight, 3), products).any()


def test_at_the_end_of_the_range_there_is_one_integer():
    grid = QParams(torch.tensor(0.1), torch.tensor(0, dtype=torch.int32), 3, narrow=True)
    low, high = floors(torch.tensor([-0.31, -0.3, 0.3, 0.31, 0.29]), grid)
    assert low.tolist() == [-3, -3, 3, 3, 2] or low.tolist() == [-3, -3, 2, 3, 2]
    assert high.max() == 3 and low.min() == -3


@given(seed=st.integers(0, 10**6), outputs=st.integers(1, 4), inputs=st.integers(1, 9))
@settings(max_examples=depth.examples(25), deadline=None)
def test_descent_ends_where_no_change_of_one_weight_helps(seed, outputs, inputs):
    weight, products = case(outputs, inputs, seed=seed)
    grid = weight_grid(weight, 3)
    q = round_by_descent(weight, grid, products)
    least = errors_of(q, weight, grid, products)
    low, high = floors(weight, grid)
    for i in range(inputs):
        other = q.clone()
        other[:, i] = (low + high - q)[:, i]
        assert (errors_of(other, weight, grid, products) >= least * (1 - 1e-7) - 1e-12).all()
    exact = errors_of(round_exactly(weight, grid, products), weight, grid, products)
    assert (least >= exact - 1e-12).all()
    assert (least <= errors_of(quantize(weight, grid), weight, grid, products) + 1e-12).all()


def test_pairs_find_what_single_changes_do_not():
    grid = QParams(torch.tensor(1.0), torch.tensor(0, dtype=torch.int32), 4)
    n = torch.tensor([3.0, 2.0])  # (-0.6, 0.9) is what it does not see, and nearest (0.4, -0.1)
    products = (n[:, None] * n + 0.1 * torch.eye(2))[None]
    weight = torch.tensor([[0.6, 0.1]])
    assert quantize(weight, grid).tolist() == [[1, 0]]
    assert round_by_descent(weight, grid, products).tolist() == [[0, 1]]


def test_an_output_alone_is_rounded_as_among_others():
    weight, products = case(6, 20, seed=4)
    grid = weight_grid(weight, 4)
    for way in (WAYS["descent"], WAYS["adaround"]):
        q = way(weight, grid, products)
        assert torch.equal(way(weight[2:3], grid, products), q[2:3])


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_floats(kind):
    weight, products = case(3, 9, seed=2)
    weight = weight.to(kind)
    grid = weight_grid(weight, 4)
    q = round_exactly(weight, grid, products)
    assert q.dtype == torch.int8
    torch.testing.assert_close(
        errors_of(q, weight, grid, products), one_by_one(weight, grid, products)
    )


def test_what_does_not_fit_is_named():
    weight, products = case(3, 17)
    grid = weight_grid(weight, 3)
    with pytest.raises(ValueError, match="of at most 16 inputs, not of 17"):
        round_exactly(weight, grid, products)
    zeros = QParams(torch.tensor(0.1), torch.tensor(3, dtype=torch.int32))
    for way in WAYS.values():
        few = weight[:, :9]
        with pytest.raises(ValueError, match=r"do not fit a weight of shape \(3, 9\)"):
            way(few, grid, products)
        with pytest.raises(ValueError, match=r"zero point 0, not \[3\]"):
            way(few, zeros, products[:, :9, :9])
        with pytest.raises(ValueError, match="the weight has 1 NaN and 0 infinite"):
            way(torch.where(few == few[0, 0], torch.nan, few), grid, products[:, :9, :9])
        with pytest.raises(ValueError, match="the matrix of products has 0 NaN and 81 infinite"):
            way(few, grid, products[:, :9, :9] * torch.inf)
        with pytest.raises(TypeError, match="the weight must be floating point"):
            way(few.int(), grid, products[:, :9, :9])


@pytest.mark.parametrize("per_channel", [False, True])
def test_at_random_a_weight_goes_up_as_often_as_its_fraction_says(per_channel):
    weight = torch.tensor([[0.0, 0.25, 0.5, 0.9, 7.0], [-3.5, -0.2, 0.1, 1.0, 2.3]])
    grid = weight_grid(weight, 4, per_channel)
    q = round_at_random(weight, grid, 4000, seed=1)
    assert q.dtype == torch.int8 and q.shape == (4000, 2, 5)
    low, high = floors(weight, grid)
    assert ((q == low) | (q == high)).all()
    forms = q * grid.scale
    assert torch.allclose(forms.mean(0), weight, atol=0.03)
    steps = (weight / grid.scale - low).clamp(0, 1)
    spread = (steps * (1 - steps)).sqrt().float() * grid.scale
    assert torch.allclose(forms.std(0), spread, atol=0.03)


def test_random_roundings_are_those_of_the_seed_and_the_first_ones_of_more():
    weight, _ = case(3, 5)
    grid = weight_grid(weight, 3)
    found = round_at_random(weight, grid, 5, seed=1)
    assert torch.equal(round_at_random(weight, grid, 2, seed=1), found[:2])
    assert not torch.equal(round_at_random(weight, grid, 5, seed=2), found)
    with pytest.raises(ValueError, match=r"count .* 0"):
        round_at_random(weight, grid, 0, seed=1)
    with pytest.raises(TypeError, match=r"count .*2.5"):
        round_at_random(weight, grid, 2.5, seed=1)

"""The oracles of exercises 4 to 6 of chapter 11 agree with the library and with others."""

import random

import torch

from shrink.chapters.mixed import breaking
from shrink.chapters.mixed.breaking import BREAKABLE, Input
from shrink.chapters.mixed.correcting_mistakes import corrected
from shrink.chapters.mixed.correcting_oracle import by_least_squares
from shrink.chapters.mixed.relaxing_oracle import by_numpy, slopes
from shrink.quantization import adaround
from shrink.quantization.affine import QParams
from shrink.quantization.bias_correction import corrected_bias
from shrink.quantization.moments import rows_of
from shrink.quantization.rounding import round_exactly


def test_the_relaxed_rounding_is_that_of_the_library():
    g = torch.Generator().manual_seed(0)
    weight = torch.rand(4, 6, generator=g).mul(6).sub(3) / 4
    v = torch.randn(4, 6, generator=g) * 2
    start, relaxed, regulariser, rounded = by_numpy(weight, 0.25, -3, 3, v, 5)
    h = adaround.rectified_sigmoid(v)
    low = (weight / 0.25).floor()
    assert torch.allclose(start, adaround.initial_variables(weight / 0.25 - low), atol=1e-4)
    assert torch.allclose(relaxed, 0.25 * (low + h).clamp(-3, 3))
    assert torch.allclose(regulariser, adaround.rounding_regulariser(h, 5))
    assert torch.equal(rounded, (low + (h >= 0.5)).clamp(-3, 3))


def test_its_slopes_are_those_that_finite_differences_find():
    weight = torch.tensor([0.1, -0.6, 0.3, 0.75], dtype=torch.float64)
    v = torch.tensor([0.3, -1.2, 4.0, 1.0], dtype=torch.float64)
    small = 1e-6
    above, below = (by_numpy(weight, 0.25, -3, 3, v + s, 3) for s in (small, -small))
    of_relaxed, of_regulariser = slopes(weight, 0.25, -3, 3, v, 3)
    assert torch.allclose((above[1] - below[1]) / 2 / small, of_relaxed, atol=1e-6)
    assert torch.isclose((above[2] - below[2]) / 2 / small, of_regulariser.sum(), atol=1e-5)
    assert (of_relaxed == 0).tolist() == [False, False, True, True]  # at 1, and past the range


def test_a_corrected_bias_is_that_of_the_library():
    g = torch.Generator().manual_seed(1)
    layer = torch.nn.Conv2d(2, 3, 2)
    weight, bias = layer.weight.detach(), layer.bias.detach()
    rounded, x = (4 * weight).round() / 4, torch.rand(3, 2, 4, 4, generator=g)
    rounded_x = (2 * x).floor() / 2
    means = (rows_of(layer, each).double().mean(1) for each in (x, rounded_x))
    library = corrected_bias(bias, weight, rounded, *means)
    assert torch.allclose(corrected(bias, weight, rounded, x, rounded_x), library, atol=1e-6)
    assert torch.allclose(by_least_squares(bias, weight, rounded, x, rounded_x), library, atol=1e-6)


def drawn(rng):
    a, b = rng.uniform(0.1, 2), rng.uniform(0.1, 2)
    both = rng.uniform(-0.99, 0.99) * (a * b) ** 0.5
    return Input(((a, both), (both, b)), (rng.uniform(-3, 3), rng.uniform(-3, 3)))


def test_the_best_rounding_is_the_librarys_and_nearest_is_never_the_worst():
    rng = random.Random(0)
    rules = {rule.name: rule.function for rule in BREAKABLE}
    grid = QParams(torch.tensor(1.0), torch.tensor(0, dtype=torch.int32), narrow=True)
    for given in (drawn(rng) for _ in range(30)):
        weight = torch.tensor([given.weight], dtype=torch.float64)
        products = torch.tensor([given.products], dtype=torch.float64)
        assert given.best() == tuple(round_exactly(weight, grid, products)[0].tolist())
        errors = {q: given.error(q) for q in given.roundings()}
        assert errors[rules["nearest"](given)] < max(errors.values())
        a, b = end = rules["one change at a time"](given)
        beside = (q for q in errors if (q[0] == a) != (q[1] == b))
        assert all(errors[end] <= errors[q] for q in beside)
        assert errors[end] <= errors[rules["nearest"](given)]


def test_an_input_that_breaks_all_takes_neither_integer_of_nearest():
    rng = random.Random(1)
    found = 0
    for given in (drawn(rng) for _ in range(1500)):
        best = given.best()
        errors = [given.error(rule(given)) for rule in BREAKABLE]
        if min(errors) >= breaking.TIMES * given.error(best):
            pairs = zip(given.weight, best, strict=True)
            assert all(q != round(w) for w, q in pairs)
            assert len({q > w for w, q in zip(given.weight, best, strict=True)}) == 2
            found += 1
    assert found  # and few: it takes thought

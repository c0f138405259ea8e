"""What integers cost in bits, and the gradient towards fewer."""

import math

import pytest
import torch

from shrink.coding import arithmetic
from shrink.quantization.code_length import BELIEF, LARGEST, code_length, costs_of


def drawn(seed=0, shape=(40, 60), kept=0.1):
    generator = torch.Generator().manual_seed(seed)
    q = torch.randn(shape, generator=generator).mul_(2).round_()
    return q * (torch.rand(shape, generator=generator) < kept)


def test_a_column_costs_by_its_own_share_drawn_towards_that_of_all():
    q = torch.tensor([[0, 3, 0], [0, -1, 0], [0, 2, 1], [0, 1, 0]])
    costs = costs_of(q)
    share = (5 + 0.5) / (12 + 1)
    for column, others in enumerate([0, 4, 1]):
        p = (others + BELIEF * share) / (4 + BELIEF)
        assert costs.other[column].item() == pytest.approx(-math.log2(p), rel=1e-5)
        assert costs.zero[column].item() == pytest.approx(-math.log2(1 - p), rel=1e-5)
    for magnitude, count in {1: 3, 2: 1, 3: 1, 4: 0}.items():
        p = (count + BELIEF * 0.5**magnitude) / (5 + BELIEF)
        assert costs.magnitude[magnitude - 1].item() == pytest.approx(1 - math.log2(p), rel=1e-5)


@pytest.mark.parametrize("shape", [(), (7,), (7, 5), (4, 3, 2, 2)])
def test_columns_are_the_places_of_the_further_axes(shape):
    costs = costs_of(torch.ones(shape, dtype=torch.int8))
    assert len(costs.zero) == len(costs.other) == math.prod(shape[1:])
    assert len(costs.magnitude) == LARGEST


def test_the_length_is_the_sum_of_the_costs():
    q = drawn()
    costs = costs_of(q)
    by_hand = sum(
        costs.other[i] + costs.magnitude[int(abs(n)) - 1] if n else costs.zero[i]
        for row in q.tolist()
        for i, n in enumerate(row)
    )
    place = q + 0.3 * torch.rand(q.shape) * q.sign()
    assert code_length(place, costs).item() == pytest.approx(float(by_hand), rel=1e-4)


@pytest.mark.parametrize("kept", [0.02, 0.1, 0.5])
def test_an_adaptive_code_takes_about_as_many_bits(kept):
    q = drawn(shape=(50, 300), kept=kept)
    bits = code_length(q, costs_of(q)).item()
    stream = arithmetic.encode([q.to(torch.int8)])
    assert 0.8 < 8 * len(stream) / bits < 1.3


def test_the_gradient_is_the_slope_between_the_integers_beside_a_number():
    q = drawn(kept=0.5)
    costs = costs_of(q)
    place = torch.tensor([0.2, -0.7, 1.4, -2.5, 0.0]).repeat(len(q), 12)
    place.requires_grad_()
    (3 * code_length(place, costs)).backward()
    magnitude = costs.magnitude
    for column in range(60):
        zero, one = costs.zero[column], costs.other[column] + magnitude[0]
        slopes = {
            0.2: one - zero,
            -0.7: zero - one,
            1.4: magnitude[1] - magnitude[0],
            -2.5: magnitude[1] - magnitude[2],
            0.0: 0.0,
        }
        expected = 3 * float(list(slopes.values())[column % 5])
        assert place.grad[0, column].item() == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_no_number_is_drawn_outwards_where_that_were_cheaper():
    q = torch.full((9, 1), 2)  # without a single 1 or 0
    place = torch.full((9, 1), 1.5, requires_grad=True)
    code_length(place, costs_of(q)).backward()
    assert (place.grad == 0).all()


def test_beyond_the_largest_integer_there_is_no_further_cost():
    place = torch.tensor([[500.0]], requires_grad=True)
    costs = costs_of(torch.tensor([[LARGEST]]))
    found = code_length(place, costs)
    found.backward()
    assert found.item() == pytest.approx(float(costs.other[0] + costs.magnitude[-1]))
    assert place.grad.isfinite().all()


def test_a_descent_along_it_makes_the_code_shorter():
    place = drawn(kept=1.0).mul_(0.8).add_(0.1).requires_grad_()
    lengths = []
    for _ in range(40):
        costs = costs_of(place.detach().round())
        length = code_length(place, costs)
        lengths.append(length.item())
        (gradient,) = torch.autograd.grad(length, place)
        place.data -= 0.05 * gradient.clamp(-1, 1)
    assert lengths[-1] < 0.7 * lengths[0]


def test_what_is_wrong_is_named():
    q = torch.ones(4, 3)
    with pytest.raises(ValueError, match=r"shape \(0, 3\) has no integers"):
        costs_of(torch.ones(0, 3))
    with pytest.raises(ValueError, match="at most 127, not 200"):
        costs_of(200 * q)
    with pytest.raises(ValueError, match="3 columns, and costs of 5"):
        code_length(q, costs_of(torch.ones(4, 5)))
    with pytest.raises(ValueError, match="in steps"):
        code_length(q * math.nan, costs_of(q))
    with pytest.raises(TypeError, match="in steps"):
        code_length(q.long(), costs_of(q))

"""The oracles of chapter 03's checks agree with torch and with brute force."""

import math
from fractions import Fraction

import pytest
import torch

from shrink.chapters.quantize import affine, entropy, fixed_points, integers, linear


def test_both_neighbours_of_a_tie_are_right_and_no_other():
    exact = torch.tensor([0.0, 0.4, 0.5, 0.6, -0.5, -2.5, 7.4, 7.5, 90.0, -8.5, -1e12]).double()
    low, high = integers.neighbours(exact, -8, 7, slack=1e-6)
    assert low.tolist() == [0, 0, 0, 1, -1, -3, 7, 7, 7, -8, -8]
    assert high.tolist() == [0, 0, 1, 1, 0, -2, 7, 7, 7, -8, -8]


@pytest.mark.parametrize("num_bits", range(2, 9))
def test_the_right_integers_are_torchs(num_bits):
    x = torch.linspace(-9, 9, 1001)
    low, high = integers.limits(num_bits)
    scale, zero_point = 0.0371, high // 2
    torchs = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, low, high)
    torchs = (torchs / scale).round().add(zero_point).to(torch.int8)
    assert affine._wrong_integers(torchs, x, scale, zero_point, num_bits) is None
    for wrong in (torchs + 1, torchs - 1):  # also where it wraps
        for i in range(0, len(x), 50):
            mixed = torchs.clone()
            mixed[i] = wrong[i]
            assert affine._wrong_integers(mixed, x, scale, zero_point, num_bits)


def test_the_nearest_pair_is_that_of_brute_force():
    for real in (0.3, 1.0, 0.5, 640.0, 1 - 2**-40, 2 - 2**-30, 2**-19.5, (2**31 + 1) / 2**33):
        pairs = []
        for shift in range(15, 56):
            below = math.floor(Fraction(real) * 2**shift)
            pairs += [(m, shift) for m in (below, below + 1) if 2**30 <= m < 2**31]
        errors = [abs(Fraction(m, 2**shift) - Fraction(real)) for m, shift in pairs]
        nearest = {pair for pair, e in zip(pairs, errors, strict=True) if e == min(errors)}
        assert fixed_points._nearest(real) == nearest
    assert len(fixed_points._nearest((2**31 + 1) / 2**33)) == 2


def test_halves_have_two_right_results_and_all_else_one():
    q_x, q_w = torch.ones(1, 1).char(), torch.ones(6, 1).char()
    q_b = torch.tensor([0, 1, -2, -4, 600, -600]).int()  # sums 1, 2, -1, -3, ...
    low, high = linear._both(q_x, 0, q_w, q_b, 2**30, 31, 0)
    assert low.tolist() == [[0, 1, -1, -2, 127, -128]]
    assert high.tolist() == [[1, 1, 0, -1, 127, -128]]
    low, high = linear._both(q_x, 0, q_w, q_b, 2**30 + 1, 31, 3)
    assert low.tolist() == high.tolist() == [[4, 4, 2, 1, 127, -128]]


def test_an_answer_by_float32_and_one_of_equal_ones_passes():
    counts = torch.tensor([7, 7, 7, 7, 7, 7, 0, 0])
    found = entropy._divergences(counts, 2)
    assert [i for i, kl in found.items() if kl < 1e-9] == [6, 7, 8]

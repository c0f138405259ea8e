"""Affine quantization against torch's own, exact fractions and the definition."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrink import quantization
from shrink.quantization import (
    QParams,
    choose_qparams,
    dequantize,
    fake_quantize,
    pack_bits,
    qparams_of,
    quantize,
    unpack_bits,
)
from tests import depth

OPTIONS = [
    {"num_bits": bits, "symmetric": symmetric, "signed": signed, "narrow": narrow}
    for bits in (2, 3, 4, 7, 8, 12, 16)
    for symmetric, signed in ((True, True), (False, True), (False, False))
    for narrow in (False, True)
]
bounds = st.floats(-(2.0**90), 2.0**90, width=32)


def random(*shape, seed=0, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ids(options):
    return "-".join(str(int(value)) for value in options.values())


# ---- which integers, which scale


@pytest.mark.parametrize(
    ("bits", "signed", "narrow", "low", "high", "dtype"),
    [
        (8, True, False, -128, 127, torch.int8),
        (8, True, True, -127, 127, torch.int8),
        (8, False, False, 0, 255, torch.uint8),
        (2, True, True, -1, 1, torch.int8),
        (4, False, False, 0, 15, torch.uint8),
        (9, True, False, -256, 255, torch.int16),
        (16, True, False, -32768, 32767, torch.int16),
        (16, False, False, 0, 65535, torch.int32),
    ],
)
def test_the_integers_and_their_type(bits, signed, narrow, low, high, dtype):
    params = choose_qparams(-1, 1, bits, signed=signed, narrow=narrow)
    assert (params.q_min, params.q_max, params.dtype) == (low, high, dtype)
    assert torch.iinfo(dtype).min <= low and high <= torch.iinfo(dtype).max


@pytest.mark.parametrize("options", OPTIONS, ids=ids)
@given(a=bounds, b=bounds)
@settings(max_examples=depth.examples(30))
def test_zero_is_met_exactly_and_the_range_is_covered(options, a, b):
    low, high = min(a, b), max(a, b)
    params = choose_qparams(low, high, **options)
    assert params.scale > 0 and params.scale.dtype == torch.float32
    assert params.zero_point.dtype == torch.int32
    assert params.q_min <= params.zero_point <= params.q_max
    assert fake_quantize(torch.zeros(3), params).tolist() == [0, 0, 0]
    back = fake_quantize(torch.tensor([low, high], dtype=torch.float32), params)
    off = (back - torch.tensor([low, high], dtype=torch.float32)).abs() / params.scale
    assert off.max() <= 0.52  # half a step, and what float32 rounds


@pytest.mark.parametrize("options", OPTIONS, ids=ids)
@pytest.mark.parametrize(("low", "high"), [(-1.5, 2.5), (-2.5, 1.5)])
def test_the_scale_is_the_width_over_the_steps(options, low, high):
    params = choose_qparams(low, high, **options)
    if options["symmetric"]:
        expected = max(Fraction(high) / params.q_max, Fraction(low) / params.q_min)
        assert params.zero_point == 0
    else:
        expected = Fraction(4, params.q_max - params.q_min)
    assert params.scale.item() == pytest.approx(float(expected), rel=1e-7)


@pytest.mark.parametrize(("low", "high"), [(2.0, 5.0), (-5.0, -2.0)])
def test_a_range_on_one_side_is_widened_to_hold_zero(low, high):
    params = choose_qparams(low, high, signed=False)
    assert params.scale.item() == pytest.approx(5 / 255)
    assert params.zero_point == (0 if low > 0 else 255)


def test_two_bits_narrow_are_ternary():
    params = choose_qparams(-0.5, 0.25, num_bits=2, symmetric=True, narrow=True)
    assert fake_quantize(random(1000), params).unique().tolist() == [-0.5, 0, 0.5]


@pytest.mark.parametrize("x", [torch.zeros(5), torch.empty(0), torch.zeros(())], ids=str)
@pytest.mark.parametrize("options", OPTIONS[:6], ids=ids)
def test_of_nothing_but_zeros_the_scale_is_1(x, options):
    params = qparams_of(x, **options)
    assert params.scale == 1
    assert torch.equal(fake_quantize(x, params), x)


@pytest.mark.parametrize("constant", [3.7, -0.002, 1e-44, 3e38])
@pytest.mark.parametrize("options", OPTIONS, ids=ids)
def test_a_constant_is_kept(constant, options):
    x = torch.full((4,), constant)
    params = qparams_of(x, **options)
    found = fake_quantize(x, params)
    assert found.isfinite().all()
    assert (found - x).abs().max() <= params.scale / 2 * 1.01


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"x_min": 1.0, "x_max": -1.0}, "x_min must not be above x_max, got 1.0 and -1.0"),
        ({"x_min": -1, "x_max": 1, "num_bits": 1}, "num_bits must lie between 2 and 16, not 1"),
        ({"x_min": -1, "x_max": 1, "num_bits": 17}, "num_bits must lie between 2 and 16, not 17"),
        ({"x_min": -1, "x_max": 1, "symmetric": True, "signed": False}, "zero point is 0"),
        ({"x_min": -1, "x_max": math.nan}, "1 NaN and 0 infinite of 2 values"),
        ({"x_min": -math.inf, "x_max": math.inf}, "0 NaN and 2 infinite of 2 values"),
    ],
)
def test_a_range_that_is_none_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        choose_qparams(**arguments)


def test_the_channel_with_the_wrong_range_is_shown():
    with pytest.raises(ValueError, match=r"got 4\.0 and 3\.0"):
        choose_qparams(torch.tensor([-1.0, 4.0]), torch.tensor([1.0, 3.0]))
    with pytest.raises(ValueError, match=r"got 4\.0 and 3\.0"):
        choose_qparams(torch.tensor([-1.0, 4.0]), 3.0)


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_what_is_not_finite_is_counted(axis):
    x = random(3, 4)
    x[0, 0], x[1, 1], x[2, 2] = math.nan, math.nan, -math.inf
    with pytest.raises(ValueError, match="2 NaN and 1 infinite of 12 values"):
        qparams_of(x, axis=axis)


# ---- against torch


@pytest.mark.parametrize("options", OPTIONS[: 5 * 6], ids=ids)
@given(seed=st.integers(0, 2**31), magnitude=st.integers(-20, 20), over=st.floats(0.1, 10))
@settings(max_examples=depth.examples(25))
def test_fake_quantize_equals_torchs_bit_for_bit(options, seed, magnitude, over):
    x = random(300, seed=seed, scale=10.0**magnitude)
    params = qparams_of(x, **options)
    y = torch.cat([over * x, torch.arange(-10, 10) * params.scale / 2, torch.zeros(1)])  # halves
    expected = torch.fake_quantize_per_tensor_affine(
        y, params.scale, params.zero_point, params.q_min, params.q_max
    )
    assert torch.equal(fake_quantize(y, params), expected)


def test_each_number_of_one_axis_is_a_channel():
    params = qparams_of(torch.tensor([1.27, 0.0, -2.54]), symmetric=True, narrow=True, axis=0)
    assert params.scale.tolist() == pytest.approx([0.01, 1, 0.02])


@pytest.mark.parametrize("options", OPTIONS[: 5 * 6], ids=ids)
@pytest.mark.parametrize(("shape", "axis"), [((7, 30), 0), ((7, 30), 1), ((4, 3, 5, 5), 1)])
def test_channels_equal_torchs_bit_for_bit(options, shape, axis):
    x = random(*shape) * torch.logspace(-3, 3, shape[axis]).view(
        [-1 if d == axis else 1 for d in range(len(shape))]
    )
    params = qparams_of(x, **options, axis=axis)
    assert params.scale.shape == tuple(n if d == axis else 1 for d, n in enumerate(shape))
    scale, zero_point = params.scale.flatten(), params.zero_point.flatten()
    expected = torch.fake_quantize_per_channel_affine(
        2 * x, scale, zero_point, axis, params.q_min, params.q_max
    )
    assert torch.equal(fake_quantize(2 * x, params), expected)
    assert qparams_of(x, **options, axis=axis - x.dim()).scale.equal(params.scale)


def test_near_a_half_a_channel_rounds_as_torch_does():
    """There a product with the reciprocal and a quotient part ways."""
    x = random(50, 200)
    params = qparams_of(x, symmetric=True, axis=0)
    near = (torch.arange(-100, 100) + 0.5) * params.scale
    scale, zero_point = params.scale.flatten(), params.zero_point.flatten()
    expected = torch.fake_quantize_per_channel_affine(near, scale, zero_point, 0, -128, 127)
    assert torch.equal(fake_quantize(near, params), expected)
    assert not torch.equal((near / params.scale).round() * params.scale, expected)


def test_halves_go_to_even_and_what_is_outside_saturates():
    params = QParams(torch.tensor(1.0), torch.tensor(0, dtype=torch.int32))
    x = torch.tensor([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 300, -300, math.inf, -math.inf])
    assert quantize(x, params).tolist() == [-2, -2, 0, 0, 2, 2, 127, -128, 127, -128]


@pytest.mark.parametrize("n", [1, 10, quantization.CHUNK, 2 * quantization.CHUNK + 3])
def test_a_long_tensor_is_done_whole_and_left_as_it_was(n):
    x = random(n, seed=n)
    before, params = x.clone(), qparams_of(x)
    q = quantize(x, params)
    assert q.dtype == torch.int8 and x.equal(before)
    exact = np.rint(x.numpy() * np.float32(1 / params.scale.numpy())) + params.zero_point.item()
    assert q.tolist() == np.clip(exact, -128, 127).tolist()
    x[-1] = math.nan
    with pytest.raises(ValueError, match=f"^1 of {n} values are NaN$"):
        quantize(x, params)


@pytest.mark.parametrize("axis", [None, 0])
@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x.t(),
        lambda x: x[:, ::2],
        torch.Tensor.double,
        torch.Tensor.half,
        torch.Tensor.bfloat16,
        torch.Tensor.requires_grad_,
    ],
)
def test_any_layout_and_type_of_float(layout, axis):
    x = layout(random(60, 80))
    params = qparams_of(x, 16, axis=axis)
    assert torch.equal(quantize(x, params), quantize(x.float().contiguous(), params))
    assert fake_quantize(x, params).dtype == torch.float32


def test_parameters_that_do_not_fit_are_named():
    params = qparams_of(random(3, 4), axis=0)
    for x in (random(4, 4), random(4)):
        with pytest.raises(ValueError, match=r"\(3, 1\) do not fit a tensor of shape \(4"):
            quantize(x, params)


def test_int8_does_not_wrap_on_its_way_back():
    params = QParams(torch.tensor(1.0), torch.tensor(100, dtype=torch.int32))
    assert dequantize(torch.tensor([-128, 127], dtype=torch.int8), params).tolist() == [-228, 27]


# ---- groups


@pytest.mark.parametrize(("columns", "group"), [(12, 4), (10, 4), (3, 8), (5, 1)])
def test_a_group_is_quantized_by_itself(columns, group):
    x = random(5, columns) * torch.logspace(-2, 2, columns)
    params = qparams_of(x, 4, symmetric=True, group=group)
    assert params.scale.shape == (5, -(-columns // group))
    parts = [
        fake_quantize(part, qparams_of(part, 4, symmetric=True, axis=0))
        for part in x.split(group, dim=1)
    ]
    assert torch.equal(fake_quantize(x, params), torch.cat(parts, 1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"group": 0}, "group must be at least 1"),
        ({"group": 2, "axis": 0}, "got axis 0 and group 2"),
        ({"axis": 2}, r"no axis 2 in a tensor of shape \(3, 4\)"),
        ({"axis": -3}, "no axis -3"),
    ],
)
def test_parts_that_are_none_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        qparams_of(random(3, 4), **options)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0)])
@pytest.mark.parametrize("parts", [{"axis": 0}, {"axis": 1}, {"group": 2}])
def test_empty_tensors_have_parts_too(shape, parts):
    x = torch.empty(shape)
    assert quantize(x, qparams_of(x, **parts)).shape == shape


# ---- bits


@given(st.data(), st.integers(1, 7), st.booleans())
def test_what_is_packed_is_unpacked(data, bits, signed):
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    values = data.draw(st.lists(st.integers(low, high), max_size=40))
    packed = pack_bits(torch.tensor(values, dtype=torch.int64), bits)
    assert packed.dtype == torch.uint8 and len(packed) == math.ceil(len(values) * bits / 8)
    text = "".join(format(value % 2**bits, f"0{bits}b") for value in values)
    assert "".join(format(byte, "08b") for byte in packed.tolist()).startswith(text)
    found = unpack_bits(packed, bits, len(values), signed)
    assert found.tolist() == values
    assert found.dtype == (torch.int8 if signed else torch.uint8)


@pytest.mark.parametrize(
    ("values", "bits", "message"),
    [
        ([4], 2, "4 to 4 is more than 2 bits hold"),
        ([-3, 0], 2, "-3 to 0 is more than 2 bits hold"),
        ([-1, 2], 2, "-1 to 2 is more than 2 bits hold"),
        ([0], 8, "num_bits must lie between 1 and 7, not 8"),
        ([0], 0, "num_bits must lie between 1 and 7, not 0"),
    ],
)
def test_what_does_not_fit_into_the_bits_is_named(values, bits, message):
    with pytest.raises(ValueError, match=message):
        pack_bits(torch.tensor(values), bits)


@pytest.mark.parametrize(
    ("packed", "count", "message"),
    [
        (torch.zeros(3, dtype=torch.uint8), 3, "3 numbers of 4 bits are not 3 bytes"),
        (torch.zeros(2, dtype=torch.uint8), -1, "count must be at least 0, not -1"),
        (torch.zeros(0, dtype=torch.uint8), -1, "count must be at least 0, not -1"),
        (torch.zeros(2, dtype=torch.int8), 4, "must be uint8 of one axis"),
        (torch.zeros(1, 2, dtype=torch.uint8), 4, "must be uint8 of one axis"),
    ],
)
def test_bytes_that_are_not_so_many_numbers_are_named(packed, count, message):
    with pytest.raises(ValueError, match=message):
        unpack_bits(packed, 4, count)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_integers():
    x = random(1000, 30)
    for parts in ({}, {"axis": 0}, {"group": 8}):
        params, there = qparams_of(x, **parts), qparams_of(x.cuda(), **parts)
        q = quantize(x.cuda(), there)
        assert q.is_cuda and q.cpu().equal(quantize(x, params))
        assert dequantize(q, there).cpu().equal(dequantize(q.cpu(), params))
    assert unpack_bits(pack_bits(q % 4, 2), 2, q.numel()).is_cuda

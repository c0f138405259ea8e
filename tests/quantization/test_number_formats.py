"""Number formats beside torch's casts, numpy's float16 and ml_dtypes: every code, every tie."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from shrink.modes import denormals_flushed
from shrink.quantization import number_formats
from shrink.quantization.number_formats import (
    BF16,
    E4M3,
    E5M2,
    FORMATS,
    FP16,
    Format,
    decode,
    encode,
    round_to,
)

TORCH = {
    FP16: (torch.float16, torch.int16),
    BF16: (torch.bfloat16, torch.int16),
    E4M3: (torch.float8_e4m3fn, torch.uint8),
    E5M2: (torch.float8_e5m2, torch.uint8),
}
INFINITY = float("inf")
every_format = pytest.mark.parametrize("format", FORMATS.values(), ids=list(FORMATS))


def codes_of(format):
    """All codes, and what torch says that they stand for."""
    dtype, stored = TORCH[format]
    codes = torch.arange(2**format.bits, dtype=torch.int32)
    signed = codes.to(stored) if stored == torch.uint8 else (codes - 2**16 * (codes >> 15)).short()
    return codes, signed.view(dtype).float()


def same(a, b):
    """Bit for bit, but that one NaN is like another."""
    a, b = torch.broadcast_tensors(a, b)
    return bool(
        ((a.view(torch.int32) == b.contiguous().view(torch.int32)) | (a.isnan() & b.isnan())).all()
    )


def by_torch(x, format):
    """torch's cast; to e4m3 it saturates, and what overflows is told apart by hand."""
    y = x.to(TORCH[format][0]).float()
    return y if format is not E4M3 else torch.where(x.abs() > 464, torch.nan, y)


@every_format
def test_every_code_is_the_number_that_torch_has(format):
    codes, numbers = codes_of(format)
    assert same(decode(codes, format), numbers)
    assert same(decode(codes.to(torch.int16), format), numbers)  # negative ones too
    nan = numbers.isnan()
    assert encode(numbers, format)[~nan].equal(codes[~nan])
    back = encode(decode(codes, format), format)[nan]
    sign = codes[nan] & (1 << (format.bits - 1))
    assert back.equal(format.nan | sign)


@every_format
def test_what_a_format_says_of_itself(format):
    _, numbers = codes_of(format)
    above = numbers[numbers.isfinite() & (numbers > 0)]
    assert format.largest == above.max() and format.least == above.min()
    limits = torch.finfo(TORCH[format][0])
    assert (format.least_normal, format.largest) == (limits.tiny, limits.max)
    assert format.bits == limits.bits


@every_format
def test_numbers_of_all_magnitudes(format):
    draw = torch.Generator().manual_seed(1)
    bits = torch.randint(-(2**31), 2**31, (300_000,), generator=draw).int()
    x = torch.cat([bits.view(torch.float32), torch.randn(1000, generator=draw)])
    assert x.isnan().any() and (x.abs() < 1e-38).any()
    assert same(round_to(x, format), by_torch(x, format))


@every_format
def test_every_tie_and_its_neighbours(format):
    _, numbers = codes_of(format)
    at = numbers[numbers.isfinite()].double().sort().values.unique()
    further = 2 * at[-1] - at[-2]  # what would come next
    at = torch.cat([-further[None], at, further[None]])
    ties = ((at[1:] + at[:-1]) / 2).float()
    assert ties.double().equal((at[1:] + at[:-1]) / 2)
    up = torch.nextafter(ties, torch.tensor(INFINITY))
    down = torch.nextafter(ties, torch.tensor(-INFINITY))
    for x in (ties, up, down):
        assert same(round_to(x, format), by_torch(x, format))
    assert bool((encode(ties[1:-1], format) % 2 == 0).all())


@pytest.mark.parametrize(
    ("format", "halfway", "saturated"),
    [(FP16, 65520, 65504), (E5M2, 61440, 57344), (E4M3, 464, 448)],
    ids=lambda x: x.name if isinstance(x, Format) else str(x),
)
def test_half_a_step_beyond_the_largest_number(format, halfway, saturated):
    below, above = halfway * (1 - 2**-20), halfway * (1 + 2**-20)
    x = torch.tensor([saturated, below, halfway, above, INFINITY, 1e30])
    beyond = torch.inf if format.infinities else torch.nan
    tie = saturated if format is E4M3 else beyond  # 448 has an even mantissa, the others odd
    expected = torch.tensor([saturated, saturated, tie, beyond, beyond, beyond])
    assert same(round_to(x, format), expected)
    assert same(round_to(-x, format), -expected)
    assert same(round_to(x, format, saturate=True), torch.full((6,), float(saturated)))
    assert same(round_to(-x, format, saturate=True), torch.full((6,), -float(saturated)))


def test_saturating_is_what_torch_does_for_e4m3():
    x = torch.tensor([464.0, 465.0, 1e9, INFINITY, -INFINITY, float("nan"), -0.0, 0.3])
    assert same(round_to(x, E4M3, saturate=True), x.to(torch.float8_e4m3fn).float())


@every_format
def test_zeros_keep_their_sign_and_nan_stays_nan_whatever_is_in_it(format):
    zeros = torch.tensor([0.0, -0.0, 1e-45, -1e-45])
    assert encode(zeros, format).tolist() == [0, 1 << (format.bits - 1)] * 2
    bits = torch.tensor([0x7FC00000, 0x7F800001, 0x7FFFFFFF, -1, -0x7FFFFF], dtype=torch.int32)
    for saturate in (False, True):
        codes = encode(bits.view(torch.float32), format, saturate)
        sign = 1 << (format.bits - 1)
        assert codes.tolist() == [format.nan] * 3 + [format.nan | sign] * 2
    assert decode(torch.tensor(format.nan), format).isnan()


def test_a_nan_is_a_quiet_one():
    assert [f.nan for f in (FP16, BF16, E4M3, E5M2)] == [0x7E00, 0x7FC0, 0x7F, 0x7E]


@every_format
def test_float64_is_rounded_once(format):
    """Just above halfway: by way of float32 it would be halfway, and then the number below."""
    step = 2.0**-format.mantissa_bits
    x = torch.tensor([1 + step / 2 + 2.0**-40, -(1 + step / 2 + 2.0**-40)], dtype=torch.float64)
    assert round_to(x, format).tolist() == [1 + step, -1 - step]
    assert round_to(x.float(), format).tolist() == [1, -1]
    assert encode(x, format).tolist() == encode(x + x.sign() * step / 4, format).tolist()
    tiny = torch.tensor([format.least / 2 * (1 + 2.0**-40), format.least / 2], dtype=torch.float64)
    assert round_to(tiny, format).tolist() == [format.least, 0]


def test_float64_beside_numpy():
    draw = np.random.default_rng(2)
    x = draw.standard_normal(20_000) * 2.0 ** draw.integers(-30, 20, 20_000)
    x = np.concatenate([x, [0.0, -0.0, np.inf, -np.inf, np.nan, 5e-324, 1.8e308]])
    with np.errstate(over="ignore"):
        expected = torch.from_numpy(x.astype(np.float16).astype(np.float32))
    assert same(round_to(torch.from_numpy(x), FP16), expected)


@pytest.mark.parametrize(
    ("format", "name"),
    [(BF16, "bfloat16"), (E4M3, "float8_e4m3fn"), (E5M2, "float8_e5m2")],
)
def test_beside_ml_dtypes_which_does_not_saturate(format, name):
    ml_dtypes = pytest.importorskip("ml_dtypes")
    draw = np.random.default_rng(3)
    x = (draw.standard_normal(20_000) * 2.0 ** draw.integers(-20, 20, 20_000)).astype(np.float32)
    x = np.concatenate([x, np.float32([464, 465, 61440, 1e9, np.inf, -np.inf, np.nan])])
    with np.errstate(over="ignore", invalid="ignore"):
        expected = torch.from_numpy(x.astype(getattr(ml_dtypes, name)).astype(np.float32))
    assert same(round_to(torch.from_numpy(x), format), expected)


@pytest.mark.parametrize("format", [FP16, BF16, Format("tiny", 2, 1), Format("odd", 3, 2, False)])
def test_the_nearest_number_is_found_by_exact_fractions(format):
    """By brute force over all numbers, also of formats that no hardware has."""
    codes = torch.arange(format.infinity)
    numbers = [Fraction(n) for n in decode(codes, format).tolist()]
    draw = torch.Generator().manual_seed(4)
    x = torch.rand(60, generator=draw) * min(format.largest, 4)
    nearest = encode(x, format).tolist()
    for one, code in zip(x.tolist(), nearest, strict=True):
        gap = abs(Fraction(one) - numbers[code])
        beside = [numbers[c] for c in (code - 1, code + 1) if 0 <= c < len(numbers)]
        assert all(gap < abs(Fraction(one) - n) or code % 2 == 0 for n in beside)
        assert all(gap <= abs(Fraction(one) - n) for n in beside)


def test_halves_are_taken_as_they_are():
    for dtype in (torch.float16, torch.bfloat16):
        x = torch.tensor([1.25, -3e-5, 1000.0], dtype=dtype)
        for format in FORMATS.values():
            assert same(round_to(x, format), by_torch(x.float(), format))
            assert encode(x, format).equal(encode(x.float(), format))


def test_what_no_shape_or_mode_changes():
    x = torch.randn(3, 5, 7).transpose(0, 2)
    assert round_to(x, BF16).shape == x.shape
    assert same(round_to(x, BF16), x.bfloat16().float())
    assert round_to(torch.zeros(0, 3), FP16).shape == (0, 3)
    large = torch.randn(2, number_formats.CHUNK // 2 + 3).t()
    assert same(round_to(large, FP16), large.half().float())
    assert encode(large, FP16).shape == decode(encode(large, FP16), FP16).shape == large.shape
    learned = torch.ones(2, requires_grad=True)
    assert not round_to(learned, FP16).requires_grad
    before = torch.tensor([1.1])
    round_to(before, FP16)
    assert before.equal(torch.tensor([1.1]))


@every_format
def test_subnormal_numbers_are_there_where_the_processor_flushes_its_own(format):
    _, numbers = codes_of(format)
    some = torch.cat([torch.arange(1, 2**format.mantissa_bits), torch.tensor([0])]).int()
    with denormals_flushed():
        found = decode(some, format)
        again = encode(found, format)
    assert same(found, numbers[some.long()]) and again.equal(some)


def test_what_is_no_float_is_refused_by_name():
    for wrong in (torch.tensor([1]), torch.tensor([True]), torch.tensor([1j])):
        with pytest.raises(TypeError, match=str(wrong.dtype)):
            encode(wrong, FP16)
        with pytest.raises(TypeError, match=str(wrong.dtype)):
            round_to(wrong, FP16)
    with pytest.raises(TypeError, match=r"codes must be integers, not torch\.float32"):
        decode(torch.tensor([1.0]), FP16)
    for wrong in ({"exponent_bits": 9}, {"exponent_bits": 1}, {"mantissa_bits": 23}):
        ((what, number),) = wrong.items()
        with pytest.raises(ValueError, match=f"{what} .* not {number}"):
            Format("wrong", **({"exponent_bits": 5, "mantissa_bits": 3} | wrong))


def test_formats_differ_in_range_and_in_precision():
    """What the chapter says of the four."""
    facts = {f.name: (f.largest, f.least, 2.0**-f.mantissa_bits) for f in FORMATS.values()}
    assert facts["fp16"] == (65504, 2**-24, 2**-10)
    assert facts["bf16"][1:] == (2**-133, 2**-7)
    assert math.isclose(facts["bf16"][0], 3.39e38, rel_tol=1e-3)
    assert facts["fp8 e4m3"] == (448, 2**-9, 2**-3)
    assert facts["fp8 e5m2"] == (57344, 2**-16, 2**-2)

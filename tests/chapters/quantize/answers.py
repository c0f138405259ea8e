"""Answers to the exercises of chapter 03, right ones and wrong ones.

Those to the exercises on integers, clips and folding are in `integer_answers`.
"""

import math
from fractions import Fraction
from functools import partial

import numpy as np
import torch
from torch.ao.quantization.observer import MinMaxObserver

from shrink import quantization
from shrink.chapters import quantize
from tests.chapters.quantize import integer_answers
from tests.chapters.quantize.integer_answers import changed, given_as


def limits(num_bits):
    return -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1


# --- right: ranges, integers and channels -------------------------------------------------


def the_chapters_range(x_min, x_max, num_bits):
    low, high = min(x_min, 0.0), max(x_max, 0.0)
    scale = (high - low) / (2**num_bits - 1)
    if scale == 0:
        scale = 1.0
    return scale, round(-(2 ** (num_bits - 1)) - low / scale)


def range_in_float32(x_min, x_max, num_bits):
    low = torch.tensor(x_min).clamp(max=0)
    high = torch.tensor(x_max).clamp(min=0)
    scale = (high - low) / (2**num_bits - 1)
    scale = torch.where(scale == 0, 1.0, scale)
    return scale, torch.round(-(2 ** (num_bits - 1)) - low / scale).to(torch.int32)


def range_in_numpy(x_min, x_max, num_bits):
    """A list of numpy's numbers, the zero point a whole float."""
    low, high = np.minimum(x_min, 0), np.maximum(x_max, 0)
    scale = np.float64(high - low) / (2**num_bits - 1) if high > low else np.float32(1)
    return [scale, np.round(-(2 ** (num_bits - 1)) - low / scale)]


def from_the_upper_end(x_min, x_max, num_bits):
    """Halves go the other way; a range of no width has its zero in the middle."""
    low, high = min(x_min, 0.0), max(x_max, 0.0)
    if low == high:
        return 1, 0
    scale = (high - low) / (2**num_bits - 1)
    return scale, 2 ** (num_bits - 1) - 1 - math.floor(high / scale + 0.5)


def halves_away_from_zero(x_min, x_max, num_bits):
    scale, _ = the_chapters_range(x_min, x_max, num_bits)
    zero = -(2 ** (num_bits - 1)) - min(x_min, 0.0) / scale
    return torch.tensor(scale, dtype=torch.float64), int(math.copysign(int(abs(zero) + 0.5), zero))


def by_fractions(x_min, x_max, num_bits):
    low, high = Fraction(min(x_min, 0)), Fraction(max(x_max, 0))
    scale = (high - low) / (2**num_bits - 1) or Fraction(1)
    return torch.tensor([float(scale), round(limits(num_bits)[0] - low / scale)])


def by_torchs_observer(x_min, x_max, num_bits):
    if x_min == x_max == 0:
        return 1.0, 0
    q_min, q_max = limits(num_bits)
    observer = MinMaxObserver(
        dtype=torch.qint8, qscheme=torch.per_tensor_affine, quant_min=q_min, quant_max=q_max
    )
    observer(torch.tensor([x_min, x_max]))
    scale, zero_point = observer.calculate_qparams()
    return scale.item(), zero_point.item()


def the_chapters_quantizer(x, scale, zero_point, num_bits):
    q = torch.round(x / scale) + zero_point
    return q.clamp(-(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1).to(torch.int8)


def with_the_reciprocal(x, scale, zero_point, num_bits):
    low, high = limits(num_bits)
    return torch.clamp((x.float() * (1 / scale)).round() + zero_point, low, high).char()


def zero_point_before_rounding(x, scale, zero_point, num_bits):
    low, high = limits(num_bits)
    return (x / scale + zero_point).clamp(low, high).round().to(torch.int8)


def halves_up(x, scale, zero_point, num_bits):
    low, high = limits(num_bits)
    return (torch.floor(x / scale + 0.5) + zero_point).clamp(low, high).to(torch.int8)


def halves_down(x, scale, zero_point, num_bits):
    low, high = limits(num_bits)
    return (torch.ceil(x / scale - 0.5) + zero_point).clamp(low, high).to(torch.int8)


def by_int64(x, scale, zero_point, num_bits):
    low, high = limits(num_bits)
    return ((x / scale).round().long() + zero_point).clamp(low, high).to(torch.int8)


def quantize_by_numpy(x, scale, zero_point, num_bits):
    q = np.rint(x.detach().cpu().numpy().astype(np.float64) / scale) + zero_point
    return torch.from_numpy(np.asarray(np.clip(q, *limits(num_bits))).astype(np.int8)).to(x.device)


def one_by_one(x, scale, zero_point, num_bits):
    low, high = limits(num_bits)
    q = [min(max(round(v / scale) + zero_point, low), high) for v in x.flatten().tolist()]
    return torch.tensor(q, dtype=torch.int8, device=x.device).reshape(x.shape)


def by_torchs_fake_quantizer(x, scale, zero_point, num_bits):
    low, high = limits(num_bits)
    near = torch.fake_quantize_per_tensor_affine(x.detach().float(), scale, zero_point, low, high)
    return (near / scale).round().add(zero_point).to(torch.int8)


def the_chapters_channels(weight, num_bits):
    top = 2 ** (num_bits - 1) - 1
    scales = weight.reshape(len(weight), -1).abs().amax(dim=1) / top
    scales = torch.where(scales == 0, torch.ones_like(scales), scales)
    q = torch.round(weight / scales.view(-1, *[1] * (weight.dim() - 1)))
    return q.clamp(-top, top).to(torch.int8), scales


def channel_by_channel(weight, num_bits):
    top, q, scales = 2 ** (num_bits - 1) - 1, [], []
    for channel in weight.detach():
        largest = float(channel.abs().max())
        scales.append(largest / top if largest > 0 else 1.0)
        q.append((channel / scales[-1] + 0.5).floor().clamp(-top, top).to(torch.int8))
    return [torch.stack(q), torch.tensor(scales, device=weight.device)]


def channels_by_numpy(weight, num_bits):
    top, w = 2 ** (num_bits - 1) - 1, weight.detach().cpu().numpy().astype(np.float64)
    scales = np.abs(w.reshape(len(w), -1)).max(axis=1) / top
    scales[scales == 0] = 1
    q = np.rint((w.T / scales).T).clip(-top, top).astype(np.int8)
    both = torch.from_numpy(q), torch.from_numpy(scales.astype(np.float32))
    return tuple(t.to(weight.device) for t in both)


def by_torchs_channels(weight, num_bits):
    weight, top = weight.detach(), 2 ** (num_bits - 1) - 1
    _, scales = the_chapters_channels(weight, num_bits)
    zeros = torch.zeros_like(scales, dtype=torch.int32)
    near = torch.fake_quantize_per_channel_affine(weight, scales, zeros, 0, -top, top)
    return (near.movedim(0, -1) / scales).movedim(-1, 0).round().to(torch.int8), scales


def scales_that_have_a_gradient(weight, num_bits):
    return the_chapters_channels(torch.nn.Parameter(weight.detach().clone()), num_bits)


# --- right: bits, and how to break a quantizer --------------------------------------------


def the_chapters_bits(q, num_bits):
    bits = [value >> i & 1 for value in q.tolist() for i in reversed(range(num_bits))]
    bits += [0] * (-len(bits) % 8)
    rows = torch.tensor(bits, dtype=torch.uint8, device=q.device).view(-1, 8)
    weights = torch.tensor([128, 64, 32, 16, 8, 4, 2, 1], dtype=torch.uint8, device=q.device)
    return (rows * weights).sum(1).to(torch.uint8)


def by_a_great_number(q, num_bits):
    number = 0
    for value in q.tolist():
        number = number << num_bits | value
    size = (len(q) * num_bits + 7) // 8
    number <<= 8 * size - len(q) * num_bits
    return torch.tensor(list(number.to_bytes(size, "big")), dtype=torch.uint8, device=q.device)


def with_a_buffer(q, num_bits):
    found, buffer, held = [], 0, 0
    for value in q.tolist():
        buffer, held = buffer << num_bits | value, held + num_bits
        if held >= 8:
            held -= 8
            found.append(buffer >> held)
            buffer &= (1 << held) - 1
    if held:
        found.append(buffer << 8 - held)
    return torch.tensor(found, dtype=torch.uint8, device=q.device)


def bits_by_shifts(q, num_bits):
    places = torch.arange(num_bits - 1, -1, -1, device=q.device)
    bits = ((q.long().unsqueeze(1) >> places) & 1).flatten()
    return torch.from_numpy(np.packbits(bits.cpu().numpy().astype(bool))).to(q.device)


def two_numbers():
    return torch.tensor([0.7, 300.0]), 1.0, 3


def four_halves():
    return torch.tensor([-0.65, 20.0, 1.0, -1.3], dtype=torch.float16), 0.1, -5


def a_large_half():
    """That type knows numbers of this size to a sixteenth."""
    return torch.tensor([100.6, 300.0], dtype=torch.float16), 1.0, 3


def of_other_kinds():
    return [torch.nn.Parameter(torch.tensor([-200.4, 1.6])), np.float32(1), torch.tensor(-7)]


def whole_numbers():
    return torch.tensor([3.8, 129.0], dtype=torch.float64), 1, 2


RIGHT = {
    **integer_answers.RIGHT,
    "scale_and_zero_point": [
        the_chapters_range,
        range_in_float32,
        range_in_numpy,
        from_the_upper_end,
        halves_away_from_zero,
        by_fractions,
        by_torchs_observer,
    ],
    "quantize": [
        the_chapters_quantizer,
        with_the_reciprocal,
        zero_point_before_rounding,
        halves_up,
        halves_down,
        by_int64,
        quantize_by_numpy,
        one_by_one,
        by_torchs_fake_quantizer,
    ],
    "quantize_channels": [
        the_chapters_channels,
        channel_by_channel,
        channels_by_numpy,
        by_torchs_channels,
        scales_that_have_a_gradient,
    ],
    "pack_bits": [the_chapters_bits, by_a_great_number, with_a_buffer, bits_by_shifts],
    "break_the_quantizers": [two_numbers, four_halves, a_large_half, of_other_kinds, whole_numbers],
}


# --- known mistakes, as students write them ------------------------------------------------


def _cast_before_clamp(x, scale, zero_point, num_bits):
    q = (torch.round(x / scale) + zero_point).to(torch.int8)
    return q.clamp(*limits(num_bits))


def _never_clamped(x, scale, zero_point, num_bits):
    return (torch.round(x / scale) + zero_point).to(torch.int8)


def _zero_point_in_int8(x, scale, zero_point, num_bits):
    return torch.round(x / scale).clamp(*limits(num_bits)).to(torch.int8) + zero_point


def _int_before_clamp(x, scale, zero_point, num_bits):
    return (torch.round(x / scale).int() + zero_point).clamp(*limits(num_bits)).to(torch.int8)


def _char_cuts_off(x, scale, zero_point, num_bits):
    return ((x / scale).clamp(-1e4, 1e4).int() + zero_point).clamp(*limits(num_bits)).char()


def _floor_division(x, scale, zero_point, num_bits):
    return (x // scale + zero_point).clamp(*limits(num_bits)).to(torch.int8)


def _fake_quantizer(x, scale, zero_point, num_bits):
    return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, *limits(num_bits))


def _no_guard(weight, num_bits):
    top = 2 ** (num_bits - 1) - 1
    scales = weight.flatten(1).abs().amax(1) / top
    q = torch.round(weight / scales.view(-1, *[1] * (weight.dim() - 1)))
    return q.clamp(-top, top).to(torch.int8), scales


def _almost_zero(weight, num_bits):
    top = 2 ** (num_bits - 1) - 1
    scales = weight.flatten(1).abs().amax(1).clamp(min=1e-12) / top
    return torch.round(weight / scales.view(-1, *[1] * (weight.dim() - 1))).char(), scales


def _one_for_all(weight, num_bits):
    scale = weight.abs().max() / (2 ** (num_bits - 1) - 1)
    return torch.round(weight / scale).char(), scale


def _kernel_rows(weight, num_bits):
    scales = weight.abs().max(dim=1).values / (2 ** (num_bits - 1) - 1)
    return torch.round(weight / scales.unsqueeze(1)).char(), scales


def _kept_axes(weight, num_bits):
    top = 2 ** (num_bits - 1) - 1
    scales = weight.abs().amax(tuple(range(1, weight.dim())), keepdim=True) / top
    return torch.round(weight / scales).char(), scales


def _low_nibble_first(q, num_bits):
    number = sum(value << i * num_bits for i, value in enumerate(q.tolist()))
    return torch.tensor(list(number.to_bytes(-(-len(q) * num_bits // 8), "little"))).byte()


def _great_number_at_the_front(q, num_bits):
    number = 0
    for value in q.tolist():
        number = number << num_bits | value
    return torch.tensor(list(number.to_bytes(-(-len(q) * num_bits // 8), "big"))).byte()


def _the_range_as_it_is(x_min, x_max, num_bits):
    scale = torch.tensor((x_max - x_min) / (2**num_bits - 1))
    return scale, torch.round(-(2 ** (num_bits - 1)) - x_min / scale)


def _divides_by_zero(x_min, x_max, num_bits):
    x_min, x_max = min(x_min, 0), max(x_max, 0)
    scale = (x_max - x_min) / (2**num_bits - 1)
    return scale, round(-(2 ** (num_bits - 1)) - x_min / scale)


DISGUISED = [
    *integer_answers.DISGUISED,
    ("quantize", "cast before clamp", _cast_before_clamp),
    ("quantize", "no clamp", _never_clamped),
    ("quantize", "clamp before zero point", _zero_point_in_int8),
    ("quantize", "int32 before clamp", _int_before_clamp),
    ("quantize", "truncation", _char_cuts_off),
    ("quantize", "floor", _floor_division),
    ("quantize", "back to floats", _fake_quantizer),
    ("quantize_channels", "zero channel", _no_guard),
    ("quantize_channels", "zero channel", _almost_zero),
    ("quantize_channels", "one scale", _one_for_all),
    ("quantize_channels", "one axis reduced", _kernel_rows),
    ("pack_bits", "little-endian", _low_nibble_first),
    ("pack_bits", "filled up at the front", _great_number_at_the_front),
    ("scale_and_zero_point", "not widened", _the_range_as_it_is),
    ("scale_and_zero_point", "zero width", _divides_by_zero),
    given_as(list, quantize.scale_and_zero_point, "levels"),
    given_as(lambda pair: [np.float32(n) for n in pair], quantize.scale_and_zero_point, "negated"),
    given_as(torch.tensor, quantize.scale_and_zero_point, "not rounded"),  # float32
    given_as(
        lambda pair: tuple(map(torch.tensor, pair)), quantize.scale_and_zero_point, "unsigned"
    ),
    given_as(list, quantize.quantize_channels, "max"),
    given_as(
        lambda pair: (pair[0], pair[1] * (1 + 1e-7)), quantize.quantize_channels, "asymmetric"
    ),
]
RAISING = {("scale_and_zero_point", "zero width"): "ZeroDivisionError"}


# --- wrong otherwise -----------------------------------------------------------------------

changed_range = partial(changed, the_chapters_range)
changed_integers = partial(changed, the_chapters_quantizer)
changed_channels = partial(changed, the_chapters_channels)
changed_bytes = partial(changed, the_chapters_bits)


def _nothing(*args):
    pass


def _raises(*args):
    raise ValueError("no idea")


def _zero_far_away(x_min, x_max, num_bits):
    return (1.0, 500) if x_min == x_max == 0 else the_chapters_range(x_min, x_max, num_bits)


RETURN_TWO = r"return two numbers, \(scale, zero_point\)"
WRONG_RANGES = {
    _nothing: f"{RETURN_TWO}.*given: +None",
    lambda *args: "a pair": RETURN_TWO,
    _raises: 'ValueError: no idea.*at line .*raise ValueError\\("no idea"\\)',
    changed_range(lambda pair: pair[0]): rf"{RETURN_TWO}.*given: +[\d.]+",
    quantization.choose_qparams: f"{RETURN_TWO}.*given: +QParams",
    changed_range(lambda pair: (pair[0], True)): f"{RETURN_TWO}.*True",
    lambda *args: (math.nan, 0): r"scale: from -[\d.]+ to [\d.]+ there are \d+ steps, .* not nan",
    changed_range(lambda pair: (pair[0], math.inf)): (
        r"zero_point: one of the integers from -\d+ to \d+, not inf"
    ),
    _zero_far_away: r"zero_point: one of the integers from -\d+ to \d+, not 500",
    changed_range(lambda pair: (pair[0], pair[1] + 1)): (
        r"zero_point: -\d+ - \(-[\d.]+\) / scale is -?[\d.]+, and the nearest integer is"
    ),
    changed_range(lambda pair: (float(f"{pair[0]:.2e}"), pair[1])): (
        r"so a step is [\d.]+ and not [\d.]+"
    ),
}


def _divides_in_place(x, scale, zero_point, num_bits):
    x.data /= scale
    return the_chapters_quantizer(x, 1.0, zero_point, num_bits)


def _clamps_in_place(x, scale, zero_point, num_bits):
    low, high = limits(num_bits)
    return x.data.clamp_(scale * (low - zero_point), scale * (high - zero_point))


def _one_too_high(x, scale, zero_point, num_bits):
    return the_chapters_quantizer(x, scale, zero_point + 1, num_bits)


def _contiguous_only(x, scale, zero_point, num_bits):
    return the_chapters_quantizer(x.view(-1), scale, zero_point, num_bits).view(x.shape)


def _no_parameters(x, scale, zero_point, num_bits):
    q = np.rint(x.numpy() / scale) + zero_point
    return torch.from_numpy(np.asarray(q.clip(*limits(num_bits)))).to(torch.int8)


def _pruned(x, scale, zero_point, num_bits):
    q = the_chapters_quantizer(x, scale, zero_point, num_bits)
    return torch.where(x.abs() < scale / 2, torch.zeros_like(q), q)


INT8 = r"the integers are of dtype torch\.int8.*given: +"
CHANGED = "your function changed its input"
WRONG_QUANTIZERS = {
    _nothing: "the integers are a tensor.*given: +None",
    _raises: "ValueError: no idea",
    changed_integers(torch.Tensor.int): INT8 + r"torch\.int32",
    changed_integers(torch.Tensor.numpy): r"the integers are a tensor.*given: +array\(",
    changed_integers(torch.Tensor.tolist): r"the integers are a tensor.*given: +\[",
    changed_integers(torch.Tensor.to_sparse): INT8 + r"torch\.int8, torch\.sparse_coo",
    changed_integers(torch.Tensor.flatten): (
        r"the shape and device of what they stand for.*\(3, 4\).*\(12,\)"
    ),
    _divides_in_place: CHANGED,
    _clamps_in_place: CHANGED,
    _one_too_high: r"[-\d.]+ / [\d.]+ \+ -?\d+ is [-\d.]+, which becomes -?\d+, of the integers",
    _contiguous_only: "RuntimeError.*view",
    _no_parameters: r"RuntimeError.*requires grad.*at line .*x\.numpy\(\)",
    _pruned: r"which becomes -?\d+, .* and not 0\n",
}


def _one_integer_off(*args):
    q, scales = the_chapters_channels(*args)
    q[(0,) * q.dim()] += 1
    return q, scales


def _zeroes_the_smallest(weight, num_bits):
    weight.data[weight.abs() < 0.1] = 0
    return the_chapters_channels(weight, num_bits)


def _no_vectors(weight, num_bits):
    return the_chapters_channels(weight.flatten(1), num_bits)


WRONG_CHANNELS = {
    _nothing: r"return a pair, \(q, scales\).*given: +None",
    _raises: "ValueError: no idea",
    changed_channels(lambda pair: pair[0]): r"return a pair, \(q, scales\).*given: +tensor\(",
    changed_channels(lambda pair: (pair[0], pair[1].tolist())): (
        r"the scales are a float32 tensor.*given: +\["
    ),
    changed_channels(lambda pair: (pair[0], pair[1].double())): (
        r"the scales are a float32 tensor.*given: +torch\.float64"
    ),
    changed_channels(lambda pair: (pair[0].long(), pair[1])): INT8 + r"torch\.int64",
    changed_channels(lambda pair: (pair[0].flatten(1), pair[1])): (
        r"the shape and device of what they stand for.*\(3, 2, 2, 2\).*\(3, 8\)"
    ),
    changed_channels(lambda pair: (pair[0], pair[1].flip(0))): (
        r"weight\[0\] has a largest magnitude of [\d.]+, and the highest integer is"
    ),
    _one_integer_off: r"weight\[0, 0\] over its scale is -?[\d.]+, so -?\d+ and not -?\d+",
    _zeroes_the_smallest: CHANGED,
    _kept_axes: r"one scale for each of the \d channels, on one axis.*given: +\(\(\d, 1",
    _no_vectors: r"the shape and device of what they stand for",
    changed_channels(lambda pair: (pair[0], (1000 * pair[1]).round() / 1000)): (
        r"its scale is [\d.]+ and not [\d.]+"
    ),
}


def _lowest_bit_lost(q, num_bits):
    return the_chapters_bits(q & 254, num_bits)


def _shifts_the_input(q, num_bits):
    packed = the_chapters_bits(q, num_bits)
    q <<= 8 - num_bits
    return packed


def _not_of_nothing(q, num_bits):
    assert len(q) > 0, "nothing to pack"
    return the_chapters_bits(q, num_bits)


def _filled_up_with_ones(q, num_bits):
    packed = the_chapters_bits(q, num_bits)
    if len(packed):
        packed[-1] |= 2 ** (-len(q) * num_bits % 8) - 1
    return packed


WRONG_BITS = {
    _nothing: "return a tensor.*given: +None",
    _raises: "ValueError: no idea",
    changed_bytes(torch.Tensor.long): r"bytes are of dtype torch\.uint8.*given: +torch\.int64",
    changed_bytes(lambda packed: bytes(packed.tolist())): "return a tensor.*given: +b'",
    changed_bytes(lambda packed: packed.unsqueeze(1)): "the bytes have one axis",
    changed_bytes(lambda packed: torch.cat([packed, torch.zeros(2, dtype=torch.uint8)])): (
        r"\d integers of 3 bits take \d bytes, not \d"
    ),
    _lowest_bit_lost: r"byte 0 \(counted from 0\) is [01]{8} and not [01]{8}|byte [1-9]",
    _shifts_the_input: CHANGED,
    _not_of_nothing: "AssertionError: nothing to pack",
    _filled_up_with_ones: r"byte \d \(counted from 0\) is [01]+0 and not [01]+1\n",
}


X = torch.tensor
TOO_LITTLE = [
    ((X([0.7, 3.0]), 1.0, 2), r"cast before clamp, no clamp: on your.*: wrong sign, truncatio"),
    ((X([2.0, 300.0]), 1.0, 2), r"truncation: on your input.*: cast before clamp, wrong sign"),
    ((X([2.5, 300.0]), 1.0, 2), "truncation: on your input the integers come out right"),
    ((X([0.25, 300.0]), 0.1, 2), "truncation: on your input the integers come out right"),
    ((X([126.9, 300.0]), 1.0, 2), "wrong sign|truncation: on your input"),
    ((X([0.7, 381.0]), 1.0, 2), r"cast before clamp: on your input.*\(wrong.*: wrong sign, "),
    ((X([0.7, -382.0]), 1.0, -2), "cast before clamp: on your input"),
    ((X([0.7, 128.0]), 1.0, -3), "cast before clamp, no clamp: on your input"),
    ((X([]), 1.0, 2), r"cast before clamp, wrong sign, truncation, no clamp:.*: none\)"),
    ((X([1.0] * 5), 1.0, 2), "four numbers are plenty"),
    ((X([[0.7, 300.0]]), 1.0, 3), "x is a float tensor with one axis"),
    ((X([1, 300]), 1.0, 3), "x is a float tensor with one axis"),
    (([0.7, 300.0], 1.0, 3), "x is a float tensor with one axis"),
    ((X([0.7, 300.0]), 0.0, 3), "scale is a number above 0"),
    ((X([0.7, 300.0]), -1.0, 3), "scale is a number above 0"),
    ((X([0.7, 300.0]), math.nan, 3), "scale is a number above 0"),
    ((X([0.7, 300.0]), "1", 3), "scale is a number above 0"),
    ((X([0.7, 300.0]), 1.0, 3.5), "zero_point is an integer from -128 to 127"),
    ((X([0.7, 300.0]), 1.0, 200), "zero_point is an integer from -128 to 127"),
    ((X([0.7, math.nan]), 1.0, 3), "x has NaN, or numbers so large"),
    ((X([0.7, math.inf]), 1.0, 3), "x has NaN, or numbers so large"),
    ((X([0.7, 1e9]), 1e-3, 3), "numbers so large that a cast of x / scale differs"),
    ((X([0.7, 300.0]), 1.0), "return three things"),
    (X([0.7, 300.0, 3.0]), "return three things"),
    (None, "return three things.*given: +None"),
    # one that hides alone
    (
        (X([0.7, 380.0]), 1.0, 3),  # 383 wraps to 127
        r"^break_the_quantizers: cast before clamp: .* be: wrong sign, truncation, no clamp\)",
    ),
    (
        (X([0.7, 300.0]), 1.0, 0),
        r"^break_the_quantizers: wrong sign: .* be: cast before clamp, truncation, no clamp\)",
    ),
    (
        (X([1.0, 300.0]), 1.0, 3),
        r"^break_the_quantizers: truncation: .* be: cast before clamp, wrong sign, no clamp\)",
    ),
]

WRONG = {
    **integer_answers.WRONG,
    "scale_and_zero_point": WRONG_RANGES,
    "quantize": WRONG_QUANTIZERS,
    "quantize_channels": WRONG_CHANNELS,
    "pack_bits": WRONG_BITS,
    "break_the_quantizers": {
        **{(lambda given=given: given): told for given, told in TOO_LITTLE},
        _raises: "ValueError: no idea",
    },
}

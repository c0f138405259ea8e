"""Answers to the exercises of chapter 03, right ones and wrong ones.

Those to the exercises on integers, clips and folding are in `integer_answers`.
"""

import math
from functools import partial

import numpy as np
import torch

from shrink import quantization
from shrink.chapters import quantize
from shrink.chapters.quantize.integers import limits
from tests.chapters.quantize import integer_answers
from tests.chapters.wrong import changed, given_as

right_range = quantize.scale_and_zero_point.reference
right_integers = quantize.quantize.reference
right_channels = quantize.quantize_channels.reference
right_bytes = quantize.pack_bits.reference


# --- right: ranges, integers and channels -------------------------------------------------


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


def with_the_reciprocal(x, scale, zero_point, num_bits):
    low, high = limits(num_bits)
    return torch.clamp((x.float() * (1 / scale)).round() + zero_point, low, high).char()


def zero_point_before_rounding(x, scale, zero_point, num_bits):
    return (x / scale + zero_point).clamp(*limits(num_bits)).round().to(torch.int8)


def halves_up(x, scale, zero_point, num_bits):
    q = torch.floor(x / scale + 0.5) + zero_point
    return q.clamp(*limits(num_bits)).to(torch.int8)


def channel_by_channel(weight, num_bits):
    top, q, scales = 2 ** (num_bits - 1) - 1, [], []
    for channel in weight.detach():
        largest = float(channel.abs().max())
        scales.append(largest / top if largest > 0 else 1.0)
        q.append((channel / scales[-1] + 0.5).floor().clamp(-top, top).to(torch.int8))
    return [torch.stack(q), torch.tensor(scales, device=weight.device)]


def scales_that_have_a_gradient(weight, num_bits):
    q, scales = right_channels(weight.detach(), num_bits)
    return q, torch.nn.Parameter(scales)


# --- right: bits --------------------------------------------------------------------------


def by_a_great_number(q, num_bits):
    number = 0
    for value in q.tolist():
        number = number << num_bits | value
    size = (len(q) * num_bits + 7) // 8
    number <<= 8 * size - len(q) * num_bits
    return torch.tensor(list(number.to_bytes(size, "big")), dtype=torch.uint8, device=q.device)


X = torch.tensor
RIGHT = {
    **integer_answers.RIGHT,
    "scale_and_zero_point": [
        range_in_float32,
        range_in_numpy,
        from_the_upper_end,
    ],
    "quantize": [with_the_reciprocal, zero_point_before_rounding, halves_up],
    "quantize_channels": [channel_by_channel, scales_that_have_a_gradient],
    "pack_bits": [by_a_great_number],
    "break_the_quantizers": [
        lambda: (X([-0.65, 20.0, 1.0, -1.3]).half(), 0.1, -5),
        lambda: (X([100.6, 300.0]).half(), 1.0, 3),  # known to a sixteenth
        lambda: [torch.nn.Parameter(X([-200.4, 1.6])), np.float32(1), X(-7)],
        lambda: (X([3.8, 129.0]).double(), 1, 2),
    ],
}


# --- known mistakes, as students write them ------------------------------------------------


def _cast_before_clamp(x, scale, zero_point, num_bits):
    q = (torch.round(x / scale) + zero_point).to(torch.int8)
    return q.clamp(*limits(num_bits))


def _zero_point_in_int8(x, scale, zero_point, num_bits):
    return torch.round(x / scale).clamp(*limits(num_bits)).to(torch.int8) + zero_point


DISGUISED = [
    *integer_answers.DISGUISED,
    ("quantize", "cast before clamp", _cast_before_clamp),
    ("quantize", "clamp before zero point", _zero_point_in_int8),
    given_as(list, quantize.scale_and_zero_point, "levels"),
    given_as(torch.tensor, quantize.scale_and_zero_point, "not rounded"),  # float32
    given_as(
        lambda pair: tuple(map(torch.tensor, pair)), quantize.scale_and_zero_point, "unsigned"
    ),
    given_as(list, quantize.quantize_channels, "max"),
    given_as(
        lambda pair: (pair[0], pair[1] * (1 + 1e-7)), quantize.quantize_channels, "asymmetric"
    ),
]
# --- wrong otherwise -----------------------------------------------------------------------

changed_range = partial(changed, right_range)
changed_integers = partial(changed, right_integers)
changed_channels = partial(changed, right_channels)
changed_bytes = partial(changed, right_bytes)


def _zero_far_away(x_min, x_max, num_bits):
    return (1.0, 500) if x_min == x_max == 0 else right_range(x_min, x_max, num_bits)


def _one_too_high(x, scale, zero_point, num_bits):
    return right_integers(x, scale, zero_point + 1, num_bits)


def _contiguous_only(x, scale, zero_point, num_bits):
    return right_integers(x.view(-1), scale, zero_point, num_bits).view(x.shape)


def _no_parameters(x, scale, zero_point, num_bits):
    q = np.rint(x.numpy() / scale) + zero_point
    return torch.from_numpy(np.asarray(q.clip(*limits(num_bits)))).to(torch.int8)


def _one_integer_off(*args):
    q, scales = right_channels(*args)
    q[(0,) * q.dim()] += 1
    return q, scales


def _kept_axes(weight, num_bits):
    top = 2 ** (num_bits - 1) - 1
    scales = weight.abs().amax(tuple(range(1, weight.dim())), keepdim=True) / top
    return torch.round(weight / scales).char(), scales


def _not_of_nothing(q, num_bits):
    assert len(q) > 0, "nothing to pack"
    return right_bytes(q, num_bits)


def _filled_up_with_ones(q, num_bits):
    packed = right_bytes(q, num_bits)
    if len(packed):
        packed[-1] |= 2 ** (-len(q) * num_bits % 8) - 1
    return packed


RETURN_TWO = r"return two numbers, \(scale, zero_point\)"
SHAPE = "the shape and device of the numbers that they stand for"
INT8 = r"the integers are of dtype torch\.int8.*given: +"
TOO_LITTLE = [
    ((X([0.7, 380.0]), 1.0, 3), r": cast before clamp: .*: wrong sign, truncation, no clamp\)"),
    ((X([0.7, 300.0]), 1.0, 0), r": wrong sign: .*: cast before clamp, truncation, no clamp\)"),
    ((X([1.0, 300.0]), 1.0, 3), r": truncation: .*: cast before clamp, wrong sign, no clamp\)"),
    ((X([0.7, 3.0]), 1.0, 2), r"cast before clamp, no clamp: .*: wrong sign, truncation\)"),
    ((X([]), 1.0, 2), r"cast before clamp, wrong sign, truncation, no clamp:.*: none\)"),
    ((X([1.0] * 5), 1.0, 2), "four numbers are plenty"),
    ((X([[0.7, 300.0]]), 1.0, 3), "x is a float tensor with one axis"),
    ((X([0.7, 300.0]), math.nan, 3), "scale is a number above 0"),
    ((X([0.7, 300.0]), 1.0, 200), "zero_point is an integer from -128 to 127"),
    ((X([0.7, math.nan]), 1.0, 3), "x has NaN, or numbers so large"),
    ((X([0.7, 1e9]), 1e-3, 3), "numbers so large that a cast of x / scale differs"),
    ((X([0.7, 300.0]), 1.0), "return three things"),
    (None, "return three things.*given: +None"),
]

# two mistakes at once, which no hint knows: the parts are told


def _levels_and_sign(x_min, x_max, num_bits):
    low, high = min(x_min, 0.0), max(x_max, 0.0)
    scale = (high - low) / 2**num_bits or 1.0
    return scale, -round(-(2 ** (num_bits - 1)) - low / scale)


WRONG = {
    **integer_answers.WRONG,
    "scale_and_zero_point": {
        _levels_and_sign: (
            r"in parts: wrong for the scale of a range around 0.*"
            r"\n +for the scale of a range around 0: between 2\*\*num_bits integers there.*"
            r"\n +for the zero point of a range from 0 on: your zero point has the wrong sign"
        ),
        lambda *args: "a pair": RETURN_TWO,
        changed_range(lambda pair: pair[0]): rf"{RETURN_TWO}.*given: +[\d.]+",
        quantization.choose_qparams: f"{RETURN_TWO}.*given: +QParams",
        changed_range(lambda pair: (pair[0], True)): f"{RETURN_TWO}.*True",
        lambda *args: (math.nan, 0): r"scale: from -[\d.]+ to [\d.]+ there are \d+ .* not nan",
        changed_range(lambda pair: (pair[0], math.inf)): (
            r"zero_point: one of the integers from -\d+ to \d+, not inf"
        ),
        _zero_far_away: r"zero_point: one of the integers from -\d+ to \d+, not 500",
        changed_range(lambda pair: (pair[0], pair[1] + 1)): (
            r"zero_point: -\d+ - \(-[\d.]+\) / scale is -?[\d.]+, and the nearest integer is"
        ),
    },
    "quantize": {
        changed_integers(torch.Tensor.int): INT8 + r"torch\.int32",
        changed_integers(torch.Tensor.numpy): r"the integers are a tensor.*given: +array\(",
        changed_integers(torch.Tensor.to_sparse): INT8 + r"torch\.int8, torch\.sparse_coo",
        changed_integers(torch.Tensor.flatten): SHAPE + r".*\(3, 4\).*\(12,\)",
        _one_too_high: r"[-\d.]+ / [\d.]+ \+ -?\d+ is [-\d.]+, which becomes -?\d+, of the",
        _contiguous_only: "RuntimeError.*view",
        _no_parameters: r"RuntimeError.*requires grad.*at line .*x\.numpy\(\)",
    },
    "quantize_channels": {
        changed_channels(lambda pair: pair[0]): r"return a pair, \(q, scales\).*given: +tensor\(",
        changed_channels(lambda pair: (pair[0], pair[1].tolist())): (
            r"the scales are a float32 tensor.*given: +\["
        ),
        changed_channels(lambda pair: (pair[0], pair[1].double())): (
            r"the scales are a float32 tensor.*given: +torch\.float64"
        ),
        changed_channels(lambda pair: (pair[0].long(), pair[1])): INT8 + r"torch\.int64",
        changed_channels(lambda pair: (pair[0].flatten(1), pair[1])): (
            SHAPE + r".*\(3, 2, 2, 2\).*\(3, 8\)"
        ),
        _one_integer_off: r"weight\[0, 0\] over its scale is -?[\d.]+, so -?\d+ and not -?\d+",
        _kept_axes: r"one scale for each of the \d channels.*given: +a tensor of shape \(\d, 1",
        changed_channels(lambda pair: (pair[0], (1000 * pair[1]).round() / 1000)): (
            r"weight\[\d\] has a largest magnitude of [\d.]+, and the highest integer is .*"
            r"its scale is [\d.]+ and not [\d.]+"
        ),
    },
    "pack_bits": {
        changed_bytes(torch.Tensor.long): r"bytes are of dtype torch\.uint8.*given: +torch\.int64",
        changed_bytes(lambda packed: bytes(packed.tolist())): "return a tensor.*given: +b'",
        changed_bytes(lambda packed: packed.unsqueeze(1)): "the bytes have one axis",
        changed_bytes(lambda packed: torch.cat([packed, packed])): (
            r"\d integers of 3 bits take \d bytes, not \d"
        ),
        _not_of_nothing: "AssertionError: nothing to pack",
        _filled_up_with_ones: r"byte \d \(counted from 0\) is [01]+0 and not [01]+1\n",
    },
    "break_the_quantizers": {(lambda given=given: given): told for given, told in TOO_LITTLE},
}

"""Answers to the exercises of chapter 03 on integers, clips and folding; `answers` has the rest."""

import math
from fractions import Fraction

import numpy as np
import torch

from shrink.chapters import quantize
from shrink.chapters.quantize import entropy
from shrink.quantization import integer
from tests.chapters.wrong import changed, given_as

right_sums = quantize.accumulate.reference
right_pair = quantize.fixed_point.reference
right_outputs = quantize.integer_linear.reference
right_layer = quantize.fold_batch_norm.reference


# --- right: a layer in integers -----------------------------------------------------------


def products_in_int16(q_x, z_x, q_w, q_b):
    """A product fits into int16, and sum() adds up in int64."""
    products = (q_x.short() - z_x)[:, None] * q_w.short()
    return (products.sum(2) + q_b).to(torch.int32)


def by_frexp(real):
    mantissa, exponent = math.frexp(real)
    multiplier, shift = math.floor(mantissa * 2**31 + 0.5), 31 - exponent
    if multiplier == 2**31:
        multiplier, shift = multiplier // 2, shift - 1
    return [multiplier, shift]


def halves_away_from_zero(q_x, z_x, q_w, q_b, multiplier, shift, z_y):
    p = right_sums(q_x, z_x, q_w, q_b).long() * multiplier
    y = p.sign() * ((p.abs() + 2 ** (shift - 1)) >> shift)
    return torch.clamp(y + z_y, min=-128, max=127).char()


def in_python(q_x, z_x, q_w, q_b, multiplier, shift, z_y):
    sums = right_sums(q_x, z_x, q_w, q_b).tolist()
    rows = [[round(Fraction(s * multiplier, 2**shift)) + z_y for s in row] for row in sums]
    rows = [[min(max(y, -128), 127) for y in row] for row in rows]
    return torch.tensor(rows, dtype=torch.int8)


# --- right: clips and folding -------------------------------------------------------------


def squared_error(x, clip, num_bits):
    top = 2 ** (num_bits - 1) - 1
    scale = clip / top
    return float(((x - (x / scale).round().clamp(-top, top) * scale) ** 2).mean())


def geometric(x, num_bits):
    largest = x.abs().max().item()
    clips = np.geomspace(largest / 1000, largest, 150)
    return min(clips.tolist(), key=lambda clip: squared_error(x, clip, num_bits))


def a_thousand_linear(x, num_bits):
    clips = np.linspace(0, 1, 501)[1:] * x.abs().max().item()
    return np.float64(min(clips, key=lambda clip: squared_error(x, float(clip), num_bits)))


def folded_in_numpy(weight, *rest):
    *vectors, eps = rest
    bias, gamma, beta, mean, var = (v.detach().numpy() for v in vectors)
    factor = gamma / np.sqrt(var + eps)
    rows = weight.detach().numpy().reshape(len(bias), -1) * factor[:, None]
    bias = beta + factor * bias - factor * mean
    return [torch.from_numpy(rows).view(weight.shape), torch.from_numpy(bias)]


def folded_by_matrices(weight, bias, gamma, beta, mean, var, eps):
    factor = torch.diag(gamma * torch.rsqrt(var + eps))
    return (factor @ weight.flatten(1)).view_as(weight), factor @ (bias - mean) + beta


def bin_by_bin(counts, levels):
    """The text, word by word, in Python."""
    counts = [float(count) for count in counts]
    best, least = None, math.inf
    for i in range(levels, len(counts) + 1):
        p = counts[:i]
        p[-1] += sum(counts[i:])
        q = [0.0] * i
        for level in range(levels):
            bins = [j for j in range(i) if j * levels // i == level and counts[j] > 0]
            for j in bins:
                q[j] = sum(counts[b] for b in bins) / len(bins)
        if any(a > 0 and b == 0 for a, b in zip(p, q, strict=True)):
            continue
        p, q = ([number / sum(both) for number in both] for both in (p, q))
        kl = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)
        if kl < least:
            best, least = i, kl
    return best


def in_float32(counts, levels):
    counts = counts.float()
    divergences = []
    for i in range(levels, len(counts) + 1):
        p = counts[:i].clone()
        p[-1] += counts[i:].sum()
        level = torch.arange(i) * levels // i
        filled = (counts[:i] > 0).float()
        sums = torch.zeros(levels).index_add(0, level, counts[:i])
        number = torch.zeros(levels).index_add(0, level, filled)
        q = (sums / number.clamp(min=1))[level] * filled
        p, q = p / p.sum(), q / q.sum()
        kl = torch.where(p > 0, p * (p / q).log(), 0).sum()
        divergences.append(kl)
    return levels + torch.stack(divergences).argmin()


RIGHT = {
    "accumulate": [products_in_int16],
    "fixed_point": [by_frexp, integer.fixed_point],
    "integer_linear": [halves_away_from_zero, in_python],
    "best_clip": [geometric, a_thousand_linear],
    "fold_batch_norm": [folded_in_numpy, folded_by_matrices],
    "entropy_threshold": [bin_by_bin, in_float32],
}


# --- known mistakes, as students write them ------------------------------------------------


def _added_to_both(counts, i, levels):
    kept = counts[:i].astype(float)
    kept[-1] += counts[i:].sum()
    return entropy._kl(entropy._p(counts, i), entropy._q(kept, i, levels))


DISGUISED = [
    given_as(torch.Tensor.long, quantize.accumulate, "zero point added"),
    given_as(list, quantize.fixed_point, "rounded down"),
    given_as(lambda pair: [np.int64(n) for n in pair], quantize.fixed_point, "no carry"),
    given_as(lambda pair: tuple(map(torch.tensor, pair)), quantize.fixed_point, "cut at the top"),
    given_as(torch.Tensor.int, quantize.integer_linear, "rounded down"),
    given_as(torch.Tensor.float, quantize.integer_linear, "z_y forgotten"),
    given_as(torch.tensor, quantize.best_clip, "nothing is clipped"),
    given_as(lambda clip: torch.tensor([1.02 * clip]), quantize.best_clip, "absolute error"),
    given_as(lambda pair: tuple(t.double() for t in pair), quantize.fold_batch_norm, "no root"),
    given_as(torch.tensor, quantize.entropy_threshold, "last not tried"),
    given_as(float, quantize.entropy_threshold, "place in the list"),
    ("entropy_threshold", "outliers in neither or in both", entropy._least(_added_to_both)),
    ("entropy_threshold", "outliers in neither or in both", lambda counts, levels: levels),
]


# --- wrong otherwise -----------------------------------------------------------------------


def _shifted(sums, multiplier, shift):
    return (sums * multiplier + (1 << (shift - 1))) >> shift


def _z_x_added_and_z_y_forgotten(q_x, z_x, q_w, q_b, multiplier, shift, z_y):
    sums = (q_x.long() + z_x) @ q_w.long().T + q_b
    return _shifted(sums, multiplier, shift).clamp(-128, 127).to(torch.int8)


def _bias_forgotten_and_no_clamp(q_x, z_x, q_w, q_b, multiplier, shift, z_y):
    sums = (q_x.long() - z_x) @ q_w.long().T
    return (_shifted(sums, multiplier, shift) + z_y).to(torch.int8)


def _int8_matmul(q_x, z_x, q_w, q_b, *factor):
    return (q_x @ q_w.int().T).to(torch.int8)


PAIR = r"return a pair, \(multiplier, shift\)"
PAIR_OF_TENSORS = "return a pair of tensors"
WRONG = {
    "accumulate": {
        changed(right_sums, torch.Tensor.long): "numbers are right, but they must be torch.int32",
        changed(right_sums, torch.Tensor.tolist): r"return a tensor.*given: +\[\[",
        changed(right_sums, torch.Tensor.flatten): "sums: a row for each of the 3 inp",
        changed(right_sums, lambda y: y + 1): r"sums\[0, 0\] is -?\d+, not",
    },
    "fixed_point": {
        lambda real: 5: PAIR,
        lambda real: (*right_pair(real), 0): PAIR,
        changed(right_pair, lambda pair: tuple(map(float, pair))): (
            "multiplier and shift are whole numbers"
        ),
        changed(right_pair, lambda pair: (pair[0] // 2, pair[1])): "is 0.5 of",
        lambda real: (2**30, 10**9): "is far from the number",
        changed(right_pair, lambda pair: (pair[0] - 2, pair[1])): "no other pair is nearer",
    },
    "integer_linear": {
        _z_x_added_and_z_y_forgotten: (
            "in parts: right for the products alone, wrong with the zero point z_x, right with the "
            "bias, right with a factor, wrong with the zero point z_y, right beyond int8"
            "\\n +with the zero point z_x: the zero point is subtracted.*"
            "\\n +with the zero point z_y: the zero point of the result, z_y, is missing"
        ),
        _bias_forgotten_and_no_clamp: (
            "in parts: right for the products alone, right with the zero point z_x, wrong with the "
            "bias, right with a factor, right with the zero point z_y, wrong beyond int8"
            "\\n +with the bias: the bias q_b is missing.*\\n +beyond int8: int8 wraps"
        ),
        changed(right_outputs, torch.Tensor.long): "must be torch.int8",
        changed(right_outputs, lambda y: (y.int() + 128).byte()): r"y\[0, 0\] is -?\d+, not \d+",
        _int8_matmul: "your code raised RuntimeError",
    },
    "best_clip": {
        lambda x, num_bits: (1.0, 2.0): "return one number",
        lambda x, num_bits: x.abs(): "return one number.*given: +float32 tensor",
        changed(geometric, lambda clip: -clip): "a clip is a number above 0",
        lambda x, num_bits: math.nan: "a clip is a number above 0",
        changed(geometric, lambda clip: 1.6 * clip): (
            "with 4 bits this clip has a mean squared error of "
            ".*expected: about .*largest magnitude|hint:"
        ),
    },
    "fold_batch_norm": {
        changed(right_layer, lambda pair: pair[0]): PAIR_OF_TENSORS,
        changed(right_layer, lambda pair: [t.detach().numpy() for t in pair]): PAIR_OF_TENSORS,
        changed(right_layer, lambda pair: (pair[0].flatten(1), pair[1])): (
            r"weight must keep its shape.*\(3, 2, 3, 3\).*\(3, 18\)"
        ),
        changed(right_layer, lambda pair: (pair[0], pair[1][:, None])): (
            "the bias must keep its shape"
        ),
        changed(right_layer, lambda pair: (pair[0].double(), pair[1])): (
            "weight must keep its dtype.*torch.float32.*torch.float64"
        ),
        changed(right_layer, lambda pair: (pair[0], pair[1] + 0.01)): (
            "the weight is right, the bias is not"
        ),
        changed(right_layer, lambda pair: (pair[0] * 1.01, pair[1])): (
            "the weight is wrong.*expected: weight .*; bias .*given: +weight"
        ),
    },
    "entropy_threshold": {
        changed(bin_by_bin, float): "one whole number",
        changed(bin_by_bin, lambda i: i + 0.5): "one whole number",
        lambda counts, levels: len(counts) + 1: "from 4 to 24 bins are kept",
        lambda counts, levels: max(bin_by_bin(counts, levels) - 2, levels): (
            "with .* bins KL is .*another number has less(.*hint:)?"
        ),
    },
}

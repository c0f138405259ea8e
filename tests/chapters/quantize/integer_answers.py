"""Answers to the exercises of chapter 03 on integers, clips and folding; `answers` has the rest."""

import itertools
import math
from fractions import Fraction

import numpy as np
import torch
import torch.nn.functional as F

from shrink.chapters import quantize
from shrink.chapters.quantize import entropy
from shrink.quantization import integer

# --- right: a layer in integers -----------------------------------------------------------


def widened(q_x, z_x, q_w, q_b):
    return (q_x.int() - z_x) @ q_w.int().T + q_b


def zero_point_beforehand(q_x, z_x, q_w, q_b):
    return integer.matmul(q_x, q_w) + (q_b - z_x * q_w.sum(1)).int()


def products_in_int16(q_x, z_x, q_w, q_b):
    """A product fits into int16, and sum() adds up in int64."""
    products = (q_x.short() - z_x)[:, None] * q_w.short()
    return (products.sum(2) + q_b).to(torch.int32)


def in_float64(q_x, z_x, q_w, q_b):
    return F.linear(q_x.double() - z_x, q_w.double(), q_b.double()).int()


def in_numpy(q_x, z_x, q_w, q_b):
    x, w = q_x.numpy().astype(np.int32) - z_x, q_w.numpy().astype(np.int32)
    return torch.from_numpy(np.einsum("nk,mk->nm", x, w) + q_b.numpy())


def output_by_output(q_x, z_x, q_w, q_b):
    columns = [((q_x.int() - z_x) * w.int()).sum(1) + b for w, b in zip(q_w, q_b, strict=True)]
    return torch.stack(columns, 1).to(torch.int32)


def by_doubling(real):
    shift = 31
    while real < 0.5:
        real, shift = 2 * real, shift + 1
    while real >= 1:
        real, shift = real / 2, shift - 1
    multiplier = round(real * 2**31)
    return (2**30, shift - 1) if multiplier == 2**31 else (multiplier, shift)


def by_frexp(real):
    mantissa, exponent = math.frexp(real)
    multiplier, shift = math.floor(mantissa * 2**31 + 0.5), 31 - exponent
    if multiplier == 2**31:
        multiplier, shift = multiplier // 2, shift - 1
    return [multiplier, shift]


def by_numpys_frexp(real):
    mantissa, exponent = np.frexp(real)
    multiplier, shift = np.int64(np.rint(mantissa * 2**31)), 31 - exponent
    carried = multiplier >> 31
    return multiplier >> carried, shift - carried


def by_logarithm(real):
    shift = 30 - math.floor(math.log2(real))
    multiplier = round(real * 2**shift)
    while multiplier >= 2**31:
        shift -= 1
        multiplier = round(real * 2**shift)
    return multiplier, shift


def by_fractions(real):
    exact, shift = Fraction(real), 60
    while round(exact * 2**shift) >= 2**31:
        shift -= 1
    return round(exact * 2**shift), shift


def zero_dim_tensors(real):
    return integer.fixed_point(real)


def halves_down(real):
    multiplier, shift = by_doubling(real)
    if Fraction(multiplier) - Fraction(real) * 2**shift == Fraction(1, 2):
        multiplier -= 1
    return multiplier, shift


def the_usual(q_x, z_x, q_w, q_b, multiplier, shift, z_y):
    sums = quantize.accumulate(q_x, z_x, q_w, q_b).long()
    y = ((sums * multiplier + (1 << (shift - 1))) >> shift) + z_y
    return y.clamp(-128, 127).to(torch.int8)


def halves_to_even(q_x, z_x, q_w, q_b, multiplier, shift, z_y):
    p, half = widened(q_x, z_x, q_w, q_b).long() * multiplier, 1 << (shift - 1)
    below = p >> shift
    rest = p - (below << shift)
    y = below + ((rest > half) | ((rest == half) & (below % 2 == 1))).long() + z_y
    return y.clamp(-128, 127).to(torch.int8)


def halves_away_from_zero(q_x, z_x, q_w, q_b, multiplier, shift, z_y):
    p = widened(q_x, z_x, q_w, q_b).long() * multiplier
    y = p.sign() * ((p.abs() + 2 ** (shift - 1)) >> shift)
    return torch.clamp(y + z_y, min=-128, max=127).char()


def zero_point_before_the_shift(q_x, z_x, q_w, q_b, multiplier, shift, z_y):
    products = widened(q_x, z_x, q_w, q_b).long() * multiplier
    y = torch.div(products + 2 ** (shift - 1), 2**shift, rounding_mode="floor") + z_y
    return torch.minimum(torch.maximum(y, torch.tensor(-128)), torch.tensor(127)).to(torch.int8)


def in_python(q_x, z_x, q_w, q_b, multiplier, shift, z_y):
    sums = widened(q_x, z_x, q_w, q_b).tolist()
    rows = [[round(Fraction(s * multiplier, 2**shift)) + z_y for s in row] for row in sums]
    rows = [[min(max(y, -128), 127) for y in row] for row in rows]
    return torch.tensor(rows, dtype=torch.int8)


def by_the_layer(q_x, z_x, q_w, q_b, multiplier, shift, z_y):
    bias = (q_b - z_x * q_w.sum(1)).int()
    y = integer.QuantizedLinear(q_w, bias)(q_x).long()
    return (((y * multiplier >> (shift - 1)) + 1 >> 1) + z_y).clamp(-128, 127).to(torch.int8)


# --- right: clips and folding -------------------------------------------------------------


def squared_error(x, clip, num_bits):
    top = 2 ** (num_bits - 1) - 1
    scale = clip / top
    return float(((x - (x / scale).round().clamp(-top, top) * scale) ** 2).mean())


def geometric(x, num_bits, number=150, least=1000):
    largest = x.abs().max().item()
    clips = np.geomspace(largest / least, largest, number)
    return min(clips.tolist(), key=lambda clip: squared_error(x, clip, num_bits))


def each_a_little_less(x, num_bits):
    clip = x.abs().max()
    best, least = clip, math.inf
    for _ in range(140):
        error = squared_error(x, clip, num_bits)
        if error < least:
            best, least = clip, error
        clip = 0.96 * clip
    return best


def a_thousand_linear(x, num_bits):
    clips = np.linspace(0, 1, 501)[1:] * x.abs().max().item()
    return np.float64(min(clips, key=lambda clip: squared_error(x, float(clip), num_bits)))


def coarse_then_fine(x, num_bits):
    around, width = geometric(x, num_bits, 60), 1.15
    clips = around * np.geomspace(1 / width, width, 40)
    return float(min(clips, key=lambda clip: squared_error(x, float(clip), num_bits)))


def folded(weight, bias, gamma, beta, mean, var, eps):
    factor = gamma / torch.sqrt(var + eps)
    shape = (-1,) + (1,) * (weight.dim() - 1)
    return weight * factor.view(shape), (bias - mean) * factor + beta


def folded_in_numpy(weight, *rest):
    *vectors, eps = rest
    bias, gamma, beta, mean, var = (v.detach().numpy() for v in vectors)
    factor = gamma / np.sqrt(var + eps)
    rows = weight.detach().numpy().reshape(len(bias), -1) * factor[:, None]
    bias = beta + factor * bias - factor * mean
    return [torch.from_numpy(rows).view(weight.shape), torch.from_numpy(bias)]


def folded_output_by_output(weight, bias, gamma, beta, mean, var, eps):
    weight, new = weight.detach().clone(), torch.empty_like(bias)
    for i in range(len(bias)):
        f = gamma[i] * (var[i] + eps) ** -0.5
        weight[i] *= f.detach()
        new.data[i] = (bias[i] - mean[i]) * f + beta[i]
    return weight, new


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


def from_the_largest_down(counts, levels):
    numbers = counts.double().numpy()
    found = {}
    for i in range(len(numbers), levels - 1, -1):
        edges = [-(-level * i // levels) for level in range(levels + 1)]
        q = np.zeros(i)
        for start, end in itertools.pairwise(edges):
            filled = np.flatnonzero(numbers[start:end]) + start
            if len(filled):
                q[filled] = numbers[filled].mean()
        p = np.append(numbers[: i - 1], numbers[i - 1 :].sum())
        some = p > 0
        if q[some].all():
            ratio = (p[some] / p.sum()) / (q[some] / q.sum())
            found[i] = (p[some] / p.sum() * np.log2(ratio)).sum()  # in bits
    return np.int64(min(found, key=found.get))


RIGHT = {
    "accumulate": [
        widened,
        zero_point_beforehand,
        products_in_int16,
        in_float64,
        in_numpy,
        output_by_output,
    ],
    "fixed_point": [
        by_doubling,
        by_frexp,
        by_numpys_frexp,
        by_logarithm,
        by_fractions,
        zero_dim_tensors,
        halves_down,
    ],
    "integer_linear": [
        the_usual,
        halves_to_even,
        halves_away_from_zero,
        zero_point_before_the_shift,
        in_python,
        by_the_layer,
    ],
    "best_clip": [geometric, each_a_little_less, a_thousand_linear, coarse_then_fine],
    "fold_batch_norm": [
        folded,
        folded_in_numpy,
        folded_output_by_output,
        folded_by_matrices,
    ],
    "entropy_threshold": [
        bin_by_bin,
        in_float32,
        from_the_largest_down,
    ],
}


# --- known mistakes, as students write them ------------------------------------------------


def changed(function, change):
    """What the function returns, changed."""
    return lambda *args: change(function(*args))


def given_as(kind, exercise, mistake):
    """A known mistake that returns what it does as another type."""
    (known,) = (m for m in exercise.mistakes if m.name == mistake)
    return exercise.name, mistake, changed(known, kind)


def _nothing_added(counts, i, levels):
    kept = counts[:i].astype(float)
    return entropy._kl(kept / kept.sum(), entropy._q(counts, i, levels))


def _added_to_both(counts, i, levels):
    kept = counts[:i].astype(float)
    kept[-1] += counts[i:].sum()
    return entropy._kl(entropy._p(counts, i), entropy._q(kept, i, levels))


OUTLIERS = "outliers in neither or in both"
DISGUISED = [
    given_as(torch.Tensor.long, quantize.accumulate, "zero point added"),
    given_as(torch.Tensor.double, quantize.accumulate, "bias forgotten"),
    given_as(torch.Tensor.float, quantize.accumulate, "zero point forgotten"),
    given_as(list, quantize.fixed_point, "rounded down"),
    given_as(lambda pair: [np.int64(n) for n in pair], quantize.fixed_point, "no carry"),
    given_as(lambda pair: tuple(map(torch.tensor, pair)), quantize.fixed_point, "cut at the top"),
    given_as(torch.Tensor.int, quantize.integer_linear, "rounded down"),
    given_as(torch.Tensor.float, quantize.integer_linear, "z_y forgotten"),
    given_as(torch.tensor, quantize.best_clip, "nothing is clipped"),
    given_as(np.float32, quantize.best_clip, "3 standard deviations"),
    given_as(lambda clip: torch.tensor([1.02 * clip]), quantize.best_clip, "absolute error"),
    given_as(list, quantize.fold_batch_norm, "mean not scaled"),
    given_as(lambda pair: tuple(t.double() for t in pair), quantize.fold_batch_norm, "no root"),
    given_as(np.int64, quantize.entropy_threshold, "exchanged"),
    given_as(torch.tensor, quantize.entropy_threshold, "last not tried"),
    given_as(float, quantize.entropy_threshold, "place in the list"),
    ("entropy_threshold", OUTLIERS, entropy._least(_nothing_added)),
    ("entropy_threshold", OUTLIERS, entropy._least(_added_to_both)),
    ("entropy_threshold", OUTLIERS, lambda counts, levels: levels),
]


# --- wrong otherwise -----------------------------------------------------------------------


def kept_in_int64(q_x, z_x, q_w, q_b):
    return (q_x.long() - z_x) @ q_w.long().T + q_b


def _changes_x(q_x, z_x, q_w, q_b):
    right = widened(q_x, z_x, q_w, q_b)
    q_x -= z_x
    return right


def _changes_counts(counts, levels):
    i = bin_by_bin(counts, levels)
    counts[i - 1 :] += 1
    return i


def _changes_weight(weight, *rest):
    pair = folded(weight, *rest)
    weight.detach().mul_(2)
    return pair


def _int8_matmul(q_x, z_x, q_w, q_b, *factor):
    return (q_x @ q_w.int().T).to(torch.int8)


in_double = changed(widened, torch.Tensor.double)
in_floats = changed(by_doubling, lambda pair: tuple(map(float, pair)))
in_long = changed(the_usual, torch.Tensor.long)
double_weight = changed(folded, lambda pair: (pair[0].double(), pair[1]))

CHANGED = "changed its input"
PAIR = r"return a pair, \(multiplier, shift\)"
WRONG = {
    "accumulate": {
        kept_in_int64: "numbers are right, but they are to be torch.int32",
        in_double: "to be torch.int32",
        changed(widened, torch.Tensor.tolist): r"return a tensor.*given: +\[\[",
        changed(widened, torch.Tensor.numpy): "return a tensor",
        lambda *args: None: "return a tensor.*given: +None",
        changed(widened, torch.Tensor.flatten): "sums: a row for each of the 3 inp",
        changed(widened, torch.Tensor.t): r"sums\[\d, \d\] is -?\d+, not -?\d+",
        changed(widened, lambda y: y + 1): r"sums\[0, 0\] is -?\d+, not",
        _changes_x: CHANGED,
    },
    "fixed_point": {
        lambda real: 5: PAIR,
        lambda real: (*by_doubling(real), 0): PAIR,
        str: PAIR,
        in_floats: "multiplier and shift are whole numbers",
        changed(by_doubling, lambda pair: (pair[0] // 2, pair[1])): "is 0.5 of",
        lambda real: (2**30, 10**9): "is far from the number",
        changed(by_doubling, lambda pair: (pair[0] - 2, pair[1])): "no other pair is nearer",
    },
    "integer_linear": {
        in_long: "to be torch.int8",
        changed(the_usual, lambda y: (y.int() + 128).byte()): r"y\[0, 0\] is -?\d+, not \d+",
        _int8_matmul: "your code raised RuntimeError",
    },
    "best_clip": {
        lambda x, num_bits: (1.0, 2.0): "return one number",
        lambda x, num_bits: x.abs(): "return one number.*given: +float32 tensor",
        lambda x, num_bits: 0.0: "a clip is a number above 0",
        changed(geometric, lambda clip: -clip): "a clip is a number above 0",
        lambda x, num_bits: math.nan: "a clip is a number above 0",
        changed(geometric, lambda clip: 1.6 * clip): (
            "with 4 bits this clip has a mean squared error of "
            ".*expected: about .*largest magnitude|hint:"
        ),
    },
    "fold_batch_norm": {
        changed(folded, lambda pair: pair[0]): "return a pair of ten",
        changed(folded, lambda pair: [t.detach().numpy() for t in pair]): "return a pair of ten",
        changed(folded, lambda pair: (pair[0].flatten(1), pair[1])): (
            r"weight is to keep its shape.*\(3, 2, 3, 3\).*\(3, 18\)"
        ),
        changed(folded, lambda pair: (pair[0], pair[1][:, None])): "the bias is to keep its shape",
        double_weight: "weight is to keep its dtype.*torch.float32.*torch.float64",
        changed(folded, lambda pair: (pair[0], pair[1] + 0.01)): (
            "the weight is right, the bias is not"
        ),
        changed(folded, lambda pair: (pair[0] * 1.01, pair[1])): (
            "the weight is wrong.*expected: weight .*; bias .*given: +weight"
        ),
        _changes_weight: CHANGED,
    },
    "entropy_threshold": {
        changed(bin_by_bin, float): "one whole number",
        changed(bin_by_bin, lambda i: i + 0.5): "one whole number",
        lambda counts, levels: len(counts) + 1: "from 4 to 24 bins are kept",
        lambda counts, levels: max(bin_by_bin(counts, levels) - 2, levels): (
            "with .* bins KL is .*another number has less(.*hint:)?"
        ),
        _changes_counts: CHANGED,
    },
}

RIGHT_OF_ANOTHER_TYPE = [
    ("accumulate", kept_in_int64),
    ("accumulate", in_double),
    ("fixed_point", in_floats),
    ("integer_linear", in_long),
    ("fold_batch_norm", double_weight),
]

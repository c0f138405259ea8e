"""The exercises of chapter 03 on integers, clips and folding: each wrong answer is told why."""

import itertools
import math
import re
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from shrink.chapters.quantize import clip as quantize_clip
from shrink.chapters.quantize import entropy as quantize_entropy
from shrink.chapters.quantize import fixed_points as quantize_fixed_point
from shrink.chapters.quantize import fold as quantize_fold
from shrink.chapters.quantize import integer as quantize_integer
from shrink.quantization import calibration, integer
from tests import depth
from tests.chapters.judging import judge, rejected

SEEDS = depth.seeds(30)
FEW_SEEDS = depth.seeds(8)
SEARCHES = ("best_clip", "entropy_threshold")  # they take their time
accumulate, fixed_point = quantize_integer.accumulate, quantize_fixed_point.fixed_point
integer_linear, fold_batch_norm = quantize_integer.integer_linear, quantize_fold.fold_batch_norm
best_clip, entropy_threshold = quantize_clip.best_clip, quantize_entropy.entropy_threshold
EXERCISES = {
    e.name: e
    for e in (
        accumulate,
        fixed_point,
        integer_linear,
        best_clip,
        fold_batch_norm,
        entropy_threshold,
    )
}


@pytest.fixture(autouse=True)
def fresh_exercises():
    yield
    for exercise in EXERCISES.values():
        exercise.student, exercise.passed = None, False


# --- right answers: accumulate -------------------------------------------------------------


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


# --- right answers: fixed_point ------------------------------------------------------------


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


# --- right answers: integer_linear ---------------------------------------------------------


def the_usual(q_x, z_x, q_w, q_b, multiplier, shift, z_y):
    sums = accumulate(q_x, z_x, q_w, q_b).long()
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


# --- right answers: best_clip --------------------------------------------------------------


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


# --- right answers: fold_batch_norm --------------------------------------------------------


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


# --- right answers: entropy_threshold ------------------------------------------------------


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
        accumulate.reference,
        widened,
        zero_point_beforehand,
        products_in_int16,
        in_float64,
        in_numpy,
        output_by_output,
    ],
    "fixed_point": [
        fixed_point.reference,
        by_doubling,
        by_frexp,
        by_numpys_frexp,
        by_logarithm,
        by_fractions,
        zero_dim_tensors,
        halves_down,
    ],
    "integer_linear": [
        integer_linear.reference,
        the_usual,
        halves_to_even,
        halves_away_from_zero,
        zero_point_before_the_shift,
        in_python,
        by_the_layer,
    ],
    "best_clip": [geometric, each_a_little_less, a_thousand_linear, coarse_then_fine],
    "fold_batch_norm": [
        fold_batch_norm.reference,
        folded,
        folded_in_numpy,
        folded_output_by_output,
        folded_by_matrices,
    ],
    "entropy_threshold": [
        entropy_threshold.reference,
        bin_by_bin,
        in_float32,
        from_the_largest_down,
    ],
}


@pytest.mark.parametrize(
    ("name", "function"),
    [
        pytest.param(name, f, id=f"{name}-{f.__name__}")
        for name, functions in RIGHT.items()
        for f in functions
    ],
)
def test_right_answers_pass(name, function):
    for seed in FEW_SEEDS if name in SEARCHES else SEEDS:
        outcome = judge(EXERCISES[name], function, seed)
        assert outcome.state == "done", outcome.message


def _stub(*args):
    raise NotImplementedError("your turn")


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_the_stub_is_not_done_yet(exercise):
    assert judge(exercise, _stub).state == "not done yet"


@pytest.mark.parametrize("name", EXERCISES)
def test_a_check_is_quick(name):
    judge(EXERCISES[name], RIGHT[name][0])
    start = time.process_time()
    judge(EXERCISES[name], RIGHT[name][0])
    assert time.process_time() - start < 1


def test_none_is_core_and_the_minutes_are_those_of_the_chapter():
    assert not any(exercise.core for exercise in EXERCISES.values())
    assert [e.minutes for e in EXERCISES.values()] == [10, 10, 15, 12, 10, 20]
    assert best_clip.reference is None
    assert all(e.__doc__ for e in EXERCISES.values() if e is not best_clip)


def test_the_reference_is_the_librarys(monkeypatch):
    counts = torch.tensor([5, 9, 2, 7, 0, 0, 0, 1])
    assert entropy_threshold(counts, 4) == 4
    monkeypatch.setattr(calibration, "entropy_threshold", lambda counts, levels: "looked up late")
    assert entropy_threshold(counts, 4) == "looked up late"
    assert fixed_point(0.3) == (round(0.6 * 2**31), 32)


# --- known mistakes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exercise", "mistake"),
    [
        pytest.param(exercise, mistake, id=f"{name}-{mistake.name}")
        for name, exercise in EXERCISES.items()
        for mistake in exercise.mistakes
    ],
)
def test_a_known_mistake_is_rejected_with_its_hint(exercise, mistake):
    for seed in FEW_SEEDS if exercise.name in SEARCHES else SEEDS:
        message = rejected(exercise, mistake.function, seed)
        assert f"\n  hint:     {mistake.hint}\n" in message, message
        assert message.startswith(f"{exercise.name}: ")
        assert "your code raised" not in message
        assert max(map(len, message.splitlines())) < 800


@pytest.mark.parametrize("exercise", EXERCISES.values(), ids=EXERCISES)
def test_each_mistake_has_a_name_and_a_hint_of_its_own(exercise):
    mistakes = exercise.mistakes
    assert len({m.name for m in mistakes}) == len({m.hint for m in mistakes}) == len(mistakes)
    assert len(mistakes) >= 12


def _mistake(exercise, name):
    (found,) = (m for m in exercise.mistakes if m.name == name)
    return found


@pytest.mark.parametrize(
    ("exercise", "mistake", "kind"),
    [
        (accumulate, "zero point added", torch.Tensor.long),
        (accumulate, "bias forgotten", torch.Tensor.double),
        (accumulate, "saturated", torch.Tensor.char),
        (fixed_point, "rounded down", list),
        (fixed_point, "exchanged", lambda pair: [np.int64(n) for n in pair]),
        (fixed_point, "32 bits", lambda pair: tuple(map(torch.tensor, pair))),
        (integer_linear, "rounded down", torch.Tensor.int),
        (integer_linear, "z_y forgotten", torch.Tensor.float),
        (best_clip, "nothing is clipped", torch.tensor),
        (best_clip, "3 standard deviations", np.float32),
        (best_clip, "absolute error", lambda clip: torch.tensor([1.02 * clip])),
        (fold_batch_norm, "beta forgotten", list),
        (fold_batch_norm, "no root", lambda pair: tuple(t.double() for t in pair)),
        (entropy_threshold, "last bin", np.int64),
        (entropy_threshold, "all bins", torch.tensor),
        (entropy_threshold, "place in the list", float),
    ],
)
def test_a_mistake_is_known_by_whatever_type_it_has(exercise, mistake, kind):
    known = _mistake(exercise, mistake)
    for seed in FEW_SEEDS:
        text = rejected(exercise, lambda *args: kind(known.function(*args)), seed)
        assert f"hint:     {known.hint}" in text


def _nothing_added(counts, i, levels):
    kept = counts[:i].astype(float)
    return quantize_entropy._kl(kept / kept.sum(), quantize_entropy._q(counts, i, levels))


def _added_to_both(counts, i, levels):
    kept = counts[:i].astype(float)
    kept[-1] += counts[i:].sum()
    return quantize_entropy._kl(
        quantize_entropy._p(counts, i), quantize_entropy._q(kept, i, levels)
    )


@pytest.mark.parametrize(
    "wrong",
    [
        quantize_entropy._least(_nothing_added),
        quantize_entropy._least(_added_to_both),
        lambda counts, levels: levels,
    ],
    ids=["neither", "both", "the first"],
)
def test_without_outliers_in_one_of_the_two_the_first_wins(wrong):
    hint = _mistake(entropy_threshold, "outliers in neither or in both").hint
    for seed in FEW_SEEDS:
        assert f"hint:     {hint}" in rejected(entropy_threshold, wrong, seed)


# --- other wrong answers -------------------------------------------------------------------


def _then(function, change):
    return lambda *args: change(function(*args))


def _kept_in_int64(q_x, z_x, q_w, q_b):
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


def _nan_clip(x, num_bits):
    return math.nan


CHANGED = "changed its input"
PAIR = r"return a pair, \(multiplier, shift\)"
WRONG = {
    "int64": (accumulate, _kept_in_int64, "numbers are right, but they are to be torch.int32"),
    "double": (accumulate, _then(widened, torch.Tensor.double), "to be torch.int32"),
    "lists": (accumulate, _then(widened, torch.Tensor.tolist), "return a tensor.*given: +\\[\\["),
    "array": (accumulate, _then(widened, torch.Tensor.numpy), "return a tensor"),
    "none": (accumulate, lambda *args: None, "return a tensor.*given: +None"),
    "flat": (accumulate, _then(widened, torch.Tensor.flatten), "sums: a row for each of the 3 inp"),
    "turned": (accumulate, _then(widened, torch.Tensor.t), r"sums\[\d, \d\] is -?\d+, not -?\d+"),
    "one off": (accumulate, _then(widened, lambda y: y + 1), r"sums\[0, 0\] is -?\d+, not"),
    "in place": (accumulate, _changes_x, CHANGED),
    "number": (fixed_point, lambda real: 5, PAIR),
    "three": (fixed_point, lambda real: (*by_doubling(real), 0), PAIR),
    "text": (fixed_point, str, PAIR),
    "floats": (
        fixed_point,
        lambda real: tuple(map(float, by_doubling(real))),
        "multiplier and shift are whole numbers",
    ),
    "half": (
        fixed_point,
        lambda real: (by_doubling(real)[0] // 2, by_doubling(real)[1]),
        "is 0.5 of",
    ),
    "huge": (fixed_point, lambda real: (2**30, 10**9), "is far from the number"),
    "two less": (
        fixed_point,
        lambda real: (by_doubling(real)[0] - 2, by_doubling(real)[1]),
        "no other pair is nearer",
    ),
    "y int64": (integer_linear, _then(the_usual, torch.Tensor.long), "to be torch.int8"),
    "y uint8": (
        integer_linear,
        _then(the_usual, lambda y: (y.int() + 128).to(torch.uint8)),
        r"y\[0, 0\] is -?\d+, not \d+",
    ),
    "types": (integer_linear, _int8_matmul, "your code raised RuntimeError"),
    "not a number": (best_clip, lambda x, num_bits: (1.0, 2.0), "return one number"),
    "all": (best_clip, lambda x, num_bits: x.abs(), "return one number.*given: +float32 tensor"),
    "zero": (best_clip, lambda x, num_bits: 0.0, "a clip is a number above 0"),
    "negative": (best_clip, _then(geometric, lambda clip: -clip), "a clip is a number above 0"),
    "nan": (best_clip, _nan_clip, "a clip is a number above 0"),
    "too wide": (
        best_clip,
        _then(geometric, lambda clip: 1.6 * clip),
        "with 4 bits this clip has a mean squared error of .*expected: about .*largest magnitude",
    ),
    "weight alone": (fold_batch_norm, _then(folded, lambda pair: pair[0]), "return a pair of ten"),
    "arrays": (
        fold_batch_norm,
        _then(folded_in_numpy, lambda pair: [t.numpy() for t in pair]),
        "return a pair of tensors",
    ),
    "turned weight": (
        fold_batch_norm,
        _then(folded, lambda pair: (pair[0].flatten(1), pair[1])),
        r"weight is to keep its shape.*\(3, 2, 3, 3\).*\(3, 18\)",
    ),
    "wide bias": (
        fold_batch_norm,
        _then(folded, lambda pair: (pair[0], pair[1][:, None])),
        "the bias is to keep its shape",
    ),
    "half precision": (
        fold_batch_norm,
        _then(folded, lambda pair: (pair[0].double(), pair[1])),
        "weight is to keep its dtype.*torch.float32.*torch.float64",
    ),
    "bias off": (
        fold_batch_norm,
        _then(folded, lambda pair: (pair[0], pair[1] + 0.01)),
        "the weight is right, the bias is not",
    ),
    "weight off": (
        fold_batch_norm,
        _then(folded, lambda pair: (pair[0] * 1.01, pair[1])),
        "the weight is wrong.*expected: weight .*; bias .*given: +weight",
    ),
    "weight in place": (fold_batch_norm, _changes_weight, CHANGED),
    "a float": (entropy_threshold, _then(bin_by_bin, float), "one whole number"),
    "a clip": (entropy_threshold, _then(bin_by_bin, lambda i: i + 0.5), "one whole number"),
    "too many": (entropy_threshold, lambda c, levels: len(c) + 1, "from 4 to 24 bins are kept"),
    "two more": (
        entropy_threshold,
        lambda c, levels: max(bin_by_bin(c, levels) - 2, levels),
        "with .* bins KL is .*another number has less",
    ),
    "counts": (entropy_threshold, _changes_counts, CHANGED),
}


@pytest.mark.parametrize(("exercise", "function", "message"), WRONG.values(), ids=WRONG)
def test_other_wrong_answers_are_told_what_is_wrong(exercise, function, message):
    for seed in FEW_SEEDS:
        text = rejected(exercise, function, seed)
        assert re.search(message, text, re.DOTALL), text


@pytest.mark.parametrize("name", ["int64", "double", "y int64", "half precision", "floats"])
def test_a_right_answer_of_another_type_gets_no_hint_on_values(name):
    exercise, function, _ = WRONG[name]
    assert "hint:" not in rejected(exercise, function)


# --- the oracles ---------------------------------------------------------------------------


def test_the_sums_to_compare_with_are_those_of_python():
    q_x, q_w = torch.tensor([[-128, 127, 5]]), torch.tensor([[127, -128, 1], [2, 3, 4]])
    sums = quantize_integer._sums(q_x.char(), 127, q_w.char(), torch.tensor([7, -9]).int())
    x = [-128 - 127, 0, 5 - 127]
    assert sums.tolist() == [[x[0] * 127 + x[2] + 7, x[0] * 2 + x[2] * 4 - 9]]


def test_the_nearest_pair_is_that_of_brute_force():
    for real in (0.3, 1.0, 0.5, 640.0, 1 - 2**-40, 2 - 2**-30, 2**-19.5, (2**31 + 1) / 2**33):
        pairs = []
        for shift in range(15, 56):
            below = math.floor(Fraction(real) * 2**shift)
            pairs += [(m, shift) for m in (below, below + 1) if 2**30 <= m < 2**31]
        errors = [abs(Fraction(m, 2**shift) - Fraction(real)) for m, shift in pairs]
        nearest = {pair for pair, e in zip(pairs, errors, strict=True) if e == min(errors)}
        assert quantize_fixed_point._nearest(real) == nearest
    assert len(quantize_fixed_point._nearest((2**31 + 1) / 2**33)) == 2


def test_halves_have_two_right_results_and_all_else_one():
    q_x, q_w = torch.ones(1, 1).char(), torch.ones(6, 1).char()
    q_b = torch.tensor([0, 1, -2, -4, 600, -600]).int()  # sums 1, 2, -1, -3, ...
    low, high = quantize_integer._both(q_x, 0, q_w, q_b, 2**30, 31, 0)
    assert low.tolist() == [[0, 1, -1, -2, 127, -128]]
    assert high.tolist() == [[1, 1, 0, -1, 127, -128]]
    low, high = quantize_integer._both(q_x, 0, q_w, q_b, 2**30 + 1, 31, 3)
    assert low.tolist() == high.tolist() == [[4, 4, 2, 1, 127, -128]]


@pytest.mark.parametrize("shape", [(3, 5), (4, 2, 3, 3)])
def test_the_folded_layer_does_what_pytorchs_layers_do(shape):
    torch.manual_seed(0)
    weight, *vectors, var = torch.randn(shape), *torch.randn(4, shape[0]), torch.rand(shape[0])
    bias, gamma, beta, mean = vectors
    right = quantize_fold._right(weight, *vectors, var, 0.01)
    layer = F.linear if len(shape) == 2 else F.conv2d
    x = torch.randn(7, shape[1], *[6] * (len(shape) - 2))
    y = F.batch_norm(layer(x, weight, bias), mean, var, gamma, beta, eps=0.01)
    torch.testing.assert_close(layer(x.double(), *right).float(), y, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("num_bits", [2, 3, 5, 8])
def test_the_best_clip_is_that_of_a_long_search(num_bits):
    torch.manual_seed(num_bits)
    x = torch.randn(3000)
    x[0] = -20
    _, least = quantize_clip._best(x, num_bits)
    errors = [squared_error(x, clip, num_bits) for clip in np.linspace(0.01, 20, 4000)]
    assert min(errors) * 0.999 < least < min(errors) * 1.004


def test_the_divergences_are_least_where_the_loop_finds_it():
    for seed in FEW_SEEDS:
        counts = torch.randint(0, 9, (20,), generator=torch.Generator().manual_seed(seed))
        counts[0] += 1
        found = quantize_entropy._divergences(counts, 3)
        assert list(found) == list(range(3, 21))
        best = bin_by_bin(counts, 3)
        assert found[best] == pytest.approx(min(found.values()))


def test_an_answer_by_float32_and_one_of_equal_ones_passes():
    counts = torch.tensor([7, 7, 7, 7, 7, 7, 0, 0])
    found = quantize_entropy._divergences(counts, 2)
    assert [i for i, kl in found.items() if kl < 1e-9] == [6, 7, 8]

"""The exercises of chapter 03 on the formula, on channels and on bits: right answers pass.

Each wrong one is told why.
"""

import math
import re
import time
from fractions import Fraction

import numpy as np
import pytest
import torch
from torch.ao.quantization.observer import MinMaxObserver

from shrink import quantization
from shrink.chapters import quantize
from shrink.chapters.quantize import channels as quantize_channels
from shrink.chapters.quantize import pack as quantize_pack
from shrink.classroom.exercises.exercise import Exercise
from tests import depth
from tests.chapters.judging import judge, rejected

SEEDS = depth.seeds(30)
FEW_SEEDS = depth.seeds(8)
NAMES = (
    "scale_and_zero_point",
    "quantize",
    "quantize_channels",
    "pack_bits",
    "break_the_quantizers",
)
EXERCISES = {name: getattr(quantize, name) for name in NAMES}
WITH_MISTAKES = {name: e for name, e in EXERCISES.items() if e.mistakes}


@pytest.fixture(autouse=True)
def fresh_exercises():
    yield
    for exercise in EXERCISES.values():
        exercise.student, exercise.passed = None, False


def integers(num_bits):
    return -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1


# --- right answers: scale_and_zero_point ---------------------------------------------------


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
    return torch.tensor([float(scale), round(integers(num_bits)[0] - low / scale)])


def by_torchs_observer(x_min, x_max, num_bits):
    if x_min == x_max == 0:
        return 1.0, 0
    q_min, q_max = integers(num_bits)
    observer = MinMaxObserver(
        dtype=torch.qint8, qscheme=torch.per_tensor_affine, quant_min=q_min, quant_max=q_max
    )
    observer(torch.tensor([x_min, x_max]))
    scale, zero_point = observer.calculate_qparams()
    return scale.item(), zero_point.item()


# --- right answers: quantize ---------------------------------------------------------------


def the_chapters_quantizer(x, scale, zero_point, num_bits):
    q = torch.round(x / scale) + zero_point
    return q.clamp(-(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1).to(torch.int8)


def with_the_reciprocal(x, scale, zero_point, num_bits):
    low, high = integers(num_bits)
    return torch.clamp((x.float() * (1 / scale)).round() + zero_point, low, high).char()


def zero_point_before_rounding(x, scale, zero_point, num_bits):
    low, high = integers(num_bits)
    return (x / scale + zero_point).clamp(low, high).round().to(torch.int8)


def halves_up(x, scale, zero_point, num_bits):
    low, high = integers(num_bits)
    return (torch.floor(x / scale + 0.5) + zero_point).clamp(low, high).to(torch.int8)


def halves_down(x, scale, zero_point, num_bits):
    low, high = integers(num_bits)
    return (torch.ceil(x / scale - 0.5) + zero_point).clamp(low, high).to(torch.int8)


def by_int64(x, scale, zero_point, num_bits):
    low, high = integers(num_bits)
    return ((x / scale).round().long() + zero_point).clamp(low, high).to(torch.int8)


def quantize_by_numpy(x, scale, zero_point, num_bits):
    q = np.rint(x.detach().cpu().numpy().astype(np.float64) / scale) + zero_point
    return torch.from_numpy(np.asarray(np.clip(q, *integers(num_bits))).astype(np.int8)).to(
        x.device
    )


def one_by_one(x, scale, zero_point, num_bits):
    low, high = integers(num_bits)
    q = [min(max(round(v / scale) + zero_point, low), high) for v in x.flatten().tolist()]
    return torch.tensor(q, dtype=torch.int8, device=x.device).reshape(x.shape)


def by_torchs_fake_quantizer(x, scale, zero_point, num_bits):
    limits = integers(num_bits)
    near = torch.fake_quantize_per_tensor_affine(x.detach().float(), scale, zero_point, *limits)
    return (near / scale).round().add(zero_point).to(torch.int8)


# --- right answers: quantize_channels ------------------------------------------------------


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


# --- right answers: pack_bits --------------------------------------------------------------


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


# --- right answers: break_the_quantizers ---------------------------------------------------


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


@pytest.mark.parametrize(
    ("name", "function"),
    [
        pytest.param(name, f, id=f"{name}-{f.__name__}")
        for name, functions in RIGHT.items()
        for f in functions
    ],
)
def test_right_answers_pass(name, function):
    for seed in SEEDS:
        outcome = judge(EXERCISES[name], function, seed)
        assert outcome.state == "done", outcome.message


@pytest.mark.parametrize("name", WITH_MISTAKES)
def test_the_reference_passes(name):
    for seed in SEEDS:
        outcome = judge(EXERCISES[name], EXERCISES[name].reference, seed)
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


def test_the_exercises_come_in_the_order_of_the_chapter_and_the_core_fits_its_time():
    found = [e.name for e in vars(quantize).values() if isinstance(e, Exercise)]
    assert [name for name in found if name in EXERCISES] == list(NAMES)
    exercises = list(EXERCISES.values())
    assert [exercise.core for exercise in exercises] == [True] * 3 + [False] * 2
    assert [exercise.minutes for exercise in exercises] == [10, 15, 15, 15, 8]
    assert sum(exercise.minutes for exercise in exercises if exercise.core) <= 40
    assert quantize.pack_bits.reference is quantization.pack_bits
    assert quantize.break_the_quantizers.reference is None


def test_the_references_are_the_librarys():
    x = torch.tensor([-1.0, 0.4, 3.0, 9.0])
    p = quantization.choose_qparams(-1.0, 3.0, num_bits=4)
    scale, zero_point = quantize.scale_and_zero_point(-1.0, 3.0, 4)
    assert (scale, zero_point) == (p.scale.item(), p.zero_point.item())
    assert type(scale) is float and type(zero_point) is int
    assert quantize.quantize(x, scale, zero_point, 4).equal(quantization.quantize(x, p))
    q, scales = quantize.quantize_channels(x.view(2, 2), 4)
    p = quantization.qparams_of(x.view(2, 2), 4, symmetric=True, narrow=True, axis=0)
    assert q.equal(quantization.quantize(x.view(2, 2), p)) and scales.equal(p.scale.flatten())
    q, scales = quantize.quantize_channels(torch.tensor([0.5, 0.0, -2.0]), 4)
    assert q.tolist() == [7, 0, -7] and scales.tolist() == pytest.approx([0.5 / 7, 1, 2 / 7])


# --- the oracles ---------------------------------------------------------------------------


def test_both_neighbours_of_a_tie_are_right_and_no_other():
    exact = torch.tensor([0.0, 0.4, 0.5, 0.6, -0.5, -2.5, 7.4, 7.5, 90.0, -8.5, -1e12]).double()
    low, high = quantize_channels.neighbours(exact, -8, 7, slack=1e-6)
    assert low.tolist() == [0, 0, 0, 1, -1, -3, 7, 7, 7, -8, -8]
    assert high.tolist() == [0, 0, 1, 1, 0, -2, 7, 7, 7, -8, -8]


@pytest.mark.parametrize("num_bits", range(2, 9))
def test_the_right_integers_are_torchs(num_bits):
    x = torch.linspace(-9, 9, 1001)
    low, high = integers(num_bits)
    scale, zero_point = 0.0371, high // 2
    torchs = torch.fake_quantize_per_tensor_affine(x, scale, zero_point, low, high)
    torchs = (torchs / scale).round().add(zero_point).to(torch.int8)
    assert quantize.affine._wrong_integers(torchs, x, scale, zero_point, num_bits) is None
    for wrong in (torchs + 1, torchs - 1):  # also where it wraps
        for i in range(0, len(x), 50):
            mixed = torchs.clone()
            mixed[i] = wrong[i]
            assert quantize.affine._wrong_integers(mixed, x, scale, zero_point, num_bits)


def test_bits_are_numpys():
    values = [1, 2, 3, 0, 2]
    assert quantize_pack._bytes(quantize_pack._bits(values, 2)) == [0b01101100, 0b10000000]
    rng = np.random.default_rng(0)
    for num_bits in range(1, 8):
        values = rng.integers(2**num_bits, size=41).astype(np.uint8)
        bits = np.unpackbits(values[:, None], axis=1)[:, 8 - num_bits :]
        mine = quantize_pack._bytes(quantize_pack._bits(values.tolist(), num_bits))
        assert mine == np.packbits(bits).tolist()


# --- known mistakes ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exercise", "mistake"),
    [
        pytest.param(exercise, mistake, id=f"{name}-{mistake.name}")
        for name, exercise in WITH_MISTAKES.items()
        for mistake in exercise.mistakes
    ],
)
def test_a_known_mistake_is_rejected_with_its_hint(exercise, mistake):
    for seed in SEEDS:
        message = rejected(exercise, mistake.function, seed)
        assert f"\n  hint:     {mistake.hint}\n" in message, message
        assert message.startswith(f"{exercise.name}: ")
        assert ("your code raised" in message) == (mistake.name == "zero width")
        assert max(map(len, message.splitlines())) < 450


@pytest.mark.parametrize("exercise", WITH_MISTAKES.values(), ids=WITH_MISTAKES)
def test_each_mistake_has_a_name_and_a_hint_of_its_own(exercise):
    mistakes = exercise.mistakes
    assert len({m.name for m in mistakes}) == len({m.hint for m in mistakes}) == len(mistakes)


def _mistake(name, mistake):
    (found,) = (m for m in EXERCISES[name].mistakes if m.name == mistake)
    return found


def _cast_before_clamp(x, scale, zero_point, num_bits):
    q = (torch.round(x / scale) + zero_point).to(torch.int8)
    return q.clamp(*integers(num_bits))


def _never_clamped(x, scale, zero_point, num_bits):
    return (torch.round(x / scale) + zero_point).to(torch.int8)


def _zero_point_in_int8(x, scale, zero_point, num_bits):
    return torch.round(x / scale).clamp(*integers(num_bits)).to(torch.int8) + zero_point


def _int_before_clamp(x, scale, zero_point, num_bits):
    return (torch.round(x / scale).int() + zero_point).clamp(*integers(num_bits)).to(torch.int8)


def _char_cuts_off(x, scale, zero_point, num_bits):
    return ((x / scale).clamp(-1e4, 1e4).int() + zero_point).clamp(*integers(num_bits)).char()


def _floor_division(x, scale, zero_point, num_bits):
    return (x // scale + zero_point).clamp(*integers(num_bits)).to(torch.int8)


def _fake_quantizer(x, scale, zero_point, num_bits):
    return torch.fake_quantize_per_tensor_affine(x, scale, zero_point, *integers(num_bits))


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


AS_STUDENTS_WRITE_THEM = [
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
    ("quantize_channels", "scales keep their axes", _kept_axes),
    ("pack_bits", "little-endian", _low_nibble_first),
    ("pack_bits", "filled up at the front", _great_number_at_the_front),
    ("scale_and_zero_point", "not widened", _the_range_as_it_is),
    ("scale_and_zero_point", "zero width", _divides_by_zero),
]


@pytest.mark.parametrize(("name", "mistake", "function"), AS_STUDENTS_WRITE_THEM)
def test_a_mistake_is_known_as_students_write_it(name, mistake, function):
    hint = _mistake(name, mistake).hint
    for seed in SEEDS:
        message = rejected(EXERCISES[name], function, seed)
        assert hint in message, message


@pytest.mark.parametrize(
    ("name", "mistake", "kind"),
    [
        ("scale_and_zero_point", "levels", list),
        ("scale_and_zero_point", "negated", lambda pair: [np.float32(n) for n in pair]),
        ("scale_and_zero_point", "not rounded", torch.tensor),  # float32
        ("scale_and_zero_point", "unsigned", lambda pair: tuple(map(torch.tensor, pair))),
        ("quantize_channels", "max", list),
        ("quantize_channels", "asymmetric", lambda pair: (pair[0], pair[1] * (1 + 1e-7))),
    ],
)
def test_a_mistake_is_known_in_any_form(name, mistake, kind):
    mistake = _mistake(name, mistake)

    def as_kind(*args):
        return kind(mistake.function(*args))

    for seed in FEW_SEEDS:
        assert mistake.hint in rejected(EXERCISES[name], as_kind, seed)


# --- other wrong answers -------------------------------------------------------------------


def _nothing(*args):
    pass


def _raises(*args):
    raise ValueError("no idea")


def _text(*args):
    return "a pair"


def _scale_alone(*args):
    return the_chapters_range(*args)[0]


def _parameters(x_min, x_max, num_bits):
    return quantization.choose_qparams(x_min, x_max, num_bits)


def _true(*args):
    return the_chapters_range(*args)[0], True


def _nan_scale(*args):
    return math.nan, 0


def _infinite_zero(*args):
    return the_chapters_range(*args)[0], math.inf


def _one_off(*args):
    scale, zero_point = the_chapters_range(*args)
    return scale, zero_point + 1


def _zero_far_away(x_min, x_max, num_bits):
    return (1.0, 500) if x_min == x_max == 0 else the_chapters_range(x_min, x_max, num_bits)


def _scale_of_three_digits(*args):
    scale, zero_point = the_chapters_range(*args)
    return float(f"{scale:.2e}"), zero_point


RETURN_TWO = r"return two numbers, \(scale, zero_point\)"
WRONG_RANGES = {
    _nothing: f"{RETURN_TWO}.*given: +None",
    _text: RETURN_TWO,
    _raises: 'ValueError: no idea.*at line .*raise ValueError\\("no idea"\\)',
    _scale_alone: rf"{RETURN_TWO}.*given: +[\d.]+",
    _parameters: f"{RETURN_TWO}.*given: +QParams",
    _true: f"{RETURN_TWO}.*True",
    _nan_scale: r"scale: from -[\d.]+ to [\d.]+ there are \d+ steps, .* not nan",
    _infinite_zero: r"zero_point: one of the integers from -\d+ to \d+, not inf",
    _zero_far_away: r"zero_point: one of the integers from -\d+ to \d+, not 500",
    _one_off: r"zero_point: -\d+ - \(-[\d.]+\) / scale is -?[\d.]+, and the nearest integer is",
    _scale_of_three_digits: r"so a step is [\d.]+ and not [\d.]+",
}


@pytest.mark.parametrize(("function", "message"), WRONG_RANGES.items())
def test_other_wrong_ranges_are_told_what_is_wrong(function, message):
    for seed in FEW_SEEDS:
        text = rejected(quantize.scale_and_zero_point, function, seed)
        assert re.search(message, text, re.DOTALL), text
        assert "hint:" not in text, text


def _int32(*args):
    return the_chapters_quantizer(*args).int()


def _array(*args):
    return the_chapters_quantizer(*args).numpy()


def _list(*args):
    return the_chapters_quantizer(*args).tolist()


def _flattened(*args):
    return the_chapters_quantizer(*args).flatten()


def _sparse(*args):
    return the_chapters_quantizer(*args).to_sparse()


def _divides_in_place(x, scale, zero_point, num_bits):
    x.data /= scale
    return the_chapters_quantizer(x, 1.0, zero_point, num_bits)


def _clamps_in_place(x, scale, zero_point, num_bits):
    low, high = integers(num_bits)
    return x.data.clamp_(scale * (low - zero_point), scale * (high - zero_point))


def _one_too_high(x, scale, zero_point, num_bits):
    return the_chapters_quantizer(x, scale, zero_point + 1, num_bits)


def _contiguous_only(x, scale, zero_point, num_bits):
    return the_chapters_quantizer(x.view(-1), scale, zero_point, num_bits).view(x.shape)


def _no_parameters(x, scale, zero_point, num_bits):
    q = np.rint(x.numpy() / scale) + zero_point
    return torch.from_numpy(np.asarray(q.clip(*integers(num_bits)))).to(torch.int8)


def _pruned(x, scale, zero_point, num_bits):
    q = the_chapters_quantizer(x, scale, zero_point, num_bits)
    return torch.where(x.abs() < scale / 2, torch.zeros_like(q), q)


INT8 = r"the integers are of dtype torch\.int8.*given: +"
CHANGED = "your function changed its input"
WRONG_QUANTIZERS = {
    _nothing: "the integers are a tensor.*given: +None",
    _raises: "ValueError: no idea",
    _int32: INT8 + r"torch\.int32",
    _array: r"the integers are a tensor.*given: +array\(",
    _list: r"the integers are a tensor.*given: +\[",
    _sparse: INT8 + r"torch\.int8, torch\.sparse_coo",
    _flattened: r"the shape and device of what they stand for.*\(3, 4\).*\(12,\)",
    _divides_in_place: CHANGED,
    _clamps_in_place: CHANGED,
    _one_too_high: r"[-\d.]+ / [\d.]+ \+ -?\d+ is [-\d.]+, which becomes -?\d+, of the integers",
    _contiguous_only: "RuntimeError.*view",
    _no_parameters: r"RuntimeError.*requires grad.*at line .*x\.numpy\(\)",
    _pruned: r"which becomes -?\d+, .* and not 0\n",
}


@pytest.mark.parametrize(("function", "message"), WRONG_QUANTIZERS.items())
def test_other_wrong_quantizers_are_told_what_is_wrong(function, message):
    for seed in FEW_SEEDS:
        text = rejected(quantize.quantize, function, seed)
        assert re.search(message, text, re.DOTALL), text
        assert "hint:" not in text, text


def _integers_alone(*args):
    return the_chapters_channels(*args)[0]


def _scales_listed(*args):
    q, scales = the_chapters_channels(*args)
    return q, scales.tolist()


def _double_scales(*args):
    q, scales = the_chapters_channels(*args)
    return q, scales.double()


def _wide_integers(*args):
    q, scales = the_chapters_channels(*args)
    return q.long(), scales


def _rows_of_integers(*args):
    q, scales = the_chapters_channels(*args)
    return q.flatten(1), scales


def _in_another_order(*args):
    q, scales = the_chapters_channels(*args)
    return q, scales.flip(0)


def _one_integer_off(*args):
    q, scales = the_chapters_channels(*args)
    q[(0,) * q.dim()] += 1
    return q, scales


def _zeroes_the_smallest(weight, num_bits):
    weight.data[weight.abs() < 0.1] = 0
    return the_chapters_channels(weight, num_bits)


def _no_vectors(weight, num_bits):
    return the_chapters_channels(weight.flatten(1), num_bits)


def _rounded_scales(weight, num_bits):
    q, scales = the_chapters_channels(weight, num_bits)
    return q, (1000 * scales).round() / 1000


WRONG_CHANNELS = {
    _nothing: r"return a pair, \(q, scales\).*given: +None",
    _raises: "ValueError: no idea",
    _integers_alone: r"return a pair, \(q, scales\).*given: +tensor\(",
    _scales_listed: r"the scales are a float32 tensor.*given: +\[",
    _double_scales: r"the scales are a float32 tensor.*given: +torch\.float64",
    _wide_integers: INT8 + r"torch\.int64",
    _rows_of_integers: r"the shape and device of what they stand for.*\(3, 2, 2, 2\).*\(3, 8\)",
    _in_another_order: r"weight\[0\] has a largest magnitude of [\d.]+, and the highest integer is",
    _one_integer_off: r"weight\[0, 0\] over its scale is -?[\d.]+, so -?\d+ and not -?\d+",
    _zeroes_the_smallest: CHANGED,
    _no_vectors: r"the shape and device of what they stand for",
    _rounded_scales: r"its scale is [\d.]+ and not [\d.]+",
}


@pytest.mark.parametrize(("function", "message"), WRONG_CHANNELS.items())
def test_other_wrong_channels_are_told_what_is_wrong(function, message):
    for seed in FEW_SEEDS:
        text = rejected(quantize.quantize_channels, function, seed)
        assert re.search(message, text, re.DOTALL), text
        assert "hint:" not in text, text


def _bytes_of_int64(*args):
    return the_chapters_bits(*args).long()


def _bytes_object(*args):
    return bytes(the_chapters_bits(*args).tolist())


def _a_column(*args):
    return the_chapters_bits(*args).unsqueeze(1)


def _two_bytes_more(*args):
    return torch.cat([the_chapters_bits(*args), torch.zeros(2, dtype=torch.uint8)])


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
    _bytes_of_int64: r"bytes are of dtype torch\.uint8.*given: +torch\.int64",
    _bytes_object: "return a tensor.*given: +b'",
    _a_column: "the bytes have one axis",
    _two_bytes_more: r"\d integers of 3 bits take \d bytes, not \d",
    _lowest_bit_lost: r"byte 0 \(counted from 0\) is [01]{8} and not [01]{8}|byte [1-9]",
    _shifts_the_input: CHANGED,
    _not_of_nothing: "AssertionError: nothing to pack",
    _filled_up_with_ones: r"byte \d \(counted from 0\) is [01]+0 and not [01]+1\n",
}


@pytest.mark.parametrize(("function", "message"), WRONG_BITS.items())
def test_other_wrong_bits_are_told_what_is_wrong(function, message):
    for seed in FEW_SEEDS:
        text = rejected(quantize.pack_bits, function, seed)
        assert re.search(message, text, re.DOTALL), text
        assert "hint:" not in text, text


# --- break it ------------------------------------------------------------------------------

X = torch.tensor


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((X([0.7, 300.0]), 1.0, 0), r"wrong sign: on your.*cast before clamp, truncation, no cl"),
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
    ],
)
def test_an_input_that_breaks_too_little_is_told_why(given, message):
    text = rejected(quantize.break_the_quantizers, lambda: given)
    assert re.search(message, text, re.DOTALL), text
    assert "called:   break_the_quantizers()" in text


@pytest.mark.parametrize(
    ("hidden", "given"),
    [
        ("cast before clamp", (X([0.7, 380.0]), 1.0, 3)),  # 383 wraps to 127
        ("wrong sign", (X([0.7, 300.0]), 1.0, 0)),
        ("truncation", (X([1.0, 300.0]), 1.0, 3)),
    ],
)
def test_a_wrong_quantizer_may_hide_alone(hidden, given):
    text = rejected(quantize.break_the_quantizers, lambda: given)
    assert text.startswith(f"break_the_quantizers: {hidden}: on your input"), text
    assert (
        f"should be: {', '.join(m.name for m in quantize.affine.BREAKABLE if m.name != hidden)})"
        in text
    )


def test_an_input_that_raises_is_told_so():
    assert "ValueError: no idea" in judge(quantize.break_the_quantizers, _raises).message

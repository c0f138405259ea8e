"""The explorer of chapter 03 on small data: what it shows is what the quantized network does."""

import copy

import numpy as np
import pytest
import torch

from shrink import quantization
from shrink.chapters import quantize as exercises
from shrink.chapters.quantize import network
from shrink.chapters.quantize.lab import QuantizationLab
from shrink.chapters.quantize.view import BITS, CLIPS, describe, summarise
from shrink.classroom import baselines, formats, measure, models
from shrink.classroom.data import Split
from shrink.classroom.exercises.exercise import ExerciseError
from shrink.classroom.made_of import key_of
from shrink.classroom.training import predict
from shrink.quantization import calibration
from tests.chapters.quantize.small import EXERCISES, EXPLORERS, SEEDS
from tests.chapters.small import share_right

pytestmark = pytest.mark.usefixtures("cache", "no_answers")
OPTIONS = {"tensor": {}, "channel": {"axis": 0}, "group": {"group": network.GROUP}}
WAYS = [(s, by) for s in (False, True) for by in OPTIONS]
CALIBRATED = [(s, by) for s in (False, True) for by in calibration.METHODS]


@pytest.fixture(scope="module")
def lab(digits, cache):
    return QuantizationLab(digits, {e.name: e for e in EXERCISES}, SEEDS)


@pytest.fixture(scope="module")
def net(digits, cache):
    return baselines.baseline(network.NAME, digits, seed=0)


def view(lab, bits=4, what="weights", **changed):
    given = {"outlier": 1, "clip": 100, "symmetric": False, "granularity": "tensor"}
    given |= {"calibration": "min-max", "source": "reference", **changed}
    return lab.view(bits=bits, what=what, **given)


def images_of(digits):
    return digits.validation.images[: network.IMAGES]


def right(net, digits):
    """The fraction of the explorer's images that a network gets right."""
    return share_right(net, Split(images_of(digits), digits.validation.labels[: network.IMAGES]))


def quantized_net(net, bits, symmetric, by, outlier=1, clip=100):
    """The network with its weights quantized, and one with the weights that it has clipped to."""
    changed = copy.deepcopy(net)
    weights = models.weights(changed)
    first = changed.fc1.weight.data
    first.view(-1)[first.abs().argmax()] *= outlier
    clipped = changed.state_dict()
    for name, w in weights.items():
        cut = clipped[name] = w.detach().clone()
        width = {"tensor": w.numel(), "channel": w.shape[1], "group": network.GROUP}[by]
        rows = [w.data.view(-1)] if by == "tensor" else list(w.data)
        limits = [cut.view(-1)] if by == "tensor" else list(cut)
        for row, limit in zip(rows, limits, strict=True):
            for part, ends in zip(row.split(width), limit.split(width), strict=True):
                edge = part.abs().quantile(clip / 100).item()
                ends.clamp_(-edge, edge)
        p = quantization.qparams_of(cut, bits, symmetric, **OPTIONS[by])
        w.data = quantization.fake_quantize(w.data, p)
    return changed, clipped


# --- weights -------------------------------------------------------------------------------


@pytest.mark.parametrize(("symmetric", "by"), WAYS)
@pytest.mark.parametrize(("outlier", "clip"), [(1, 100), (50, 100), (1, 97), (50, 99.5)])
def test_weights_answer_as_the_quantized_network(lab, net, digits, symmetric, by, outlier, clip):
    shown = view(lab, symmetric=symmetric, granularity=by, outlier=outlier, clip=clip)
    for bits, accuracy in zip((2, 4, 7), shown.accuracies[[0, 2, 5]], strict=True):
        expected = right(quantized_net(net, bits, symmetric, by, outlier, clip)[0], digits)
        assert accuracy == pytest.approx(expected, abs=1.01 / network.IMAGES)  # a tie's image


@pytest.mark.parametrize(("symmetric", "by"), WAYS)
@pytest.mark.parametrize(("bits", "outlier", "clip"), [(4, 1, 100), (3, 1, 97), (8, 30, 99.5)])
def test_errors_are_those_of_fc1(lab, net, symmetric, by, bits, outlier, clip):
    shown = view(lab, bits, symmetric=symmetric, granularity=by, outlier=outlier, clip=clip)
    w = copy.deepcopy(net).fc1.weight.data
    w.view(-1)[int(w.abs().argmax())] *= outlier
    left = quantized_net(net, bits, symmetric, by, outlier, clip)[0].fc1.weight.data
    error = (w - left).double().square().sum().item()
    assert shown.point.error == pytest.approx(error, rel=1e-3)
    if clip == 100:
        assert shown.point.clipping == 0
    else:
        assert shown.point.clipping > 0


@pytest.mark.parametrize("bits", [2, 5, 8])
@pytest.mark.parametrize(("symmetric", "by"), WAYS)
def test_the_length_is_that_of_the_file(lab, net, symmetric, by, bits, tmp_path):
    shown = view(lab, bits, symmetric=symmetric, granularity=by, outlier=20, clip=99)
    _, state = quantized_net(net, bits, symmetric, by, 20, 99)
    arrays = formats.pack_quantized(state, bits, symmetric=symmetric, **OPTIONS[by])
    length = measure.write(tmp_path / "file", arrays)
    dense = measure.write(tmp_path / "dense", net.state_dict())
    assert shown.bytes[:2] == (dense, length) and length == (tmp_path / "file").stat().st_size
    assert shown.bytes[2] == 266_200 * bits // 8
    scales = {"tensor": 3, "channel": 410, "group": 300 * 13 + 100 * 5 + 10 * 2}[by]
    stored = sum(name.endswith("/zero_point") for name in arrays)  # zeros are not
    assert shown.bytes[3] == scales * (5 if stored == 3 else 4) or 0 < stored < 3


def test_clipping_a_part_of_the_range_is_what_the_curve_shows(lab, net):
    shown, w = view(lab, 3), net.fc1.weight.data
    for clip, clipping, rounding in zip(CLIPS, *shown.curve, strict=True):
        cut = w.clamp(-clip * w.abs().max(), clip * w.abs().max())
        left = quantization.fake_quantize(w, quantization.qparams_of(cut, 3))
        assert clipping + rounding == pytest.approx((w - left).square().sum().item(), rel=1e-2)
    clipping, rounding = shown.curve
    assert clipping[0] > 10 * clipping[-5] and clipping[-1] == 0
    assert rounding[-1] > 10 * rounding[0]
    assert shown.curve.sum(0).argmin() not in (0, len(CLIPS) - 1)


@pytest.mark.parametrize("clip", [100, 99, 95])
def test_the_setting_lies_on_the_curve(lab, clip):
    shown = view(lab, 4, clip=clip)
    error = np.interp(shown.point.reach, CLIPS, shown.curve.sum(0))
    assert shown.point.error == pytest.approx(error, rel=0.2)


def test_a_bit_more_is_a_quarter_of_the_error_and_twice_the_outlier_four_times(lab):
    def errors(outlier, granularity="tensor"):
        setting = {"symmetric": True, "outlier": outlier, "granularity": granularity}
        return np.array([view(lab, bits, **setting).point.error for bits in BITS])

    plain, stretched = errors(1), errors(4)
    assert plain[3:-1] / plain[4:] == pytest.approx([4] * 3, rel=0.15)
    assert stretched[6] == pytest.approx(plain[4], rel=0.15)
    channels = errors(1, "channel"), errors(4, "channel")
    assert channels[1][6] / channels[0][6] < stretched[6] / plain[6] / 4


def test_the_outlier_is_in_float32_too(lab, net, digits):
    changed = copy.deepcopy(net)
    first = changed.fc1.weight.data.view(-1)
    first[first.abs().argmax()] *= 100
    shown = view(lab, outlier=100)
    assert shown.dense_accuracy == pytest.approx(right(changed, digits))
    assert view(lab).dense_accuracy == pytest.approx(right(net, digits))
    assert np.abs(shown.histogram.edges).max() == pytest.approx(first.abs().max().item())


def test_the_grid_is_that_of_the_part_in_the_title(lab, net):
    w = net.fc1.weight.data
    whole = view(lab, 3)
    p = quantization.qparams_of(w, 3)
    values = quantization.dequantize(torch.arange(-4, 4), p)
    assert whole.point.levels == pytest.approx(values.numpy()) and whole.histogram.part == ""
    assert whole.point.span == whole.histogram.ends == (w.min().item(), w.max().item())
    unit = view(lab, 3, granularity="channel", symmetric=True)
    row = w[int(unit.histogram.part.removeprefix("unit "))]
    assert unit.histogram.ends == (row.min().item(), row.max().item())
    scale = quantization.qparams_of(row, 3, symmetric=True).scale.item()
    assert unit.point.levels == pytest.approx(scale * np.arange(-4, 4))
    assert unit.histogram.counts.sum(1).tolist() == [235_200, 784]
    widths = w.amax(1) - w.amin(1)
    assert (widths < row.max() - row.min()).sum().item() == 150
    some = view(lab, 3, granularity="group")
    number, group = (int(word.split()[1]) for word in some.histogram.part.split(", "))
    part = w[number, 64 * group : 64 * (group + 1)]
    assert some.histogram.ends == (part.min().item(), part.max().item())
    assert some.histogram.counts[1].sum() == len(part)


# --- activations ---------------------------------------------------------------------------


def quantize_inputs(net, by_layer):
    """The network with each layer's input changed by a function (layer, x)."""
    changed = copy.deepcopy(net)
    for i, layer in enumerate((changed.fc1, changed.fc2, changed.fc3)):
        layer.register_forward_pre_hook(lambda _, args, i=i: (by_layer(i, args[0]),))
    return changed


def calibrated(net, digits, by, bits, symmetric, outlier=1, percentile=100):
    seen = []
    look = quantize_inputs(net, lambda i, x: seen.append(x.detach()) or x)
    predict(look, digits.train.images[: network.SEEN])
    found = []
    for x in seen:
        calibrator = calibration.Calibrator(by, bits, symmetric, percentile)
        for i, batch in enumerate(x.split(network.BATCH)):
            batch = batch.clone()
            if i == network.FAULTY:
                batch.view(-1)[batch.argmax()] *= outlier
            calibrator.see(batch)
        found.append(calibrator)
    return found, seen


@pytest.mark.parametrize(("symmetric", "by"), CALIBRATED)
@pytest.mark.parametrize("outlier", [1, 30])
def test_activations_are_quantized_as_calibrated(lab, net, digits, symmetric, by, outlier):
    shown = view(
        lab, 4, "activations", symmetric=symmetric, calibration=by, outlier=outlier, clip=98
    )
    for bits in (3, 4):
        found, seen = calibrated(net, digits, by, bits, symmetric, outlier, 98)
        changed = quantize_inputs(
            net, lambda i, x, found=found: quantization.fake_quantize(x, found[i].qparams())
        )
        expected = right(changed, digits)
        assert shown.accuracies[bits - 2] == pytest.approx(expected, abs=1.01 / network.IMAGES)
    p = found[1].qparams()
    assert shown.point.span == pytest.approx(found[1].range())
    if outlier == 1:
        total = (seen[1] - quantization.fake_quantize(seen[1], p)).square().sum().item()
        assert shown.point.error == pytest.approx(total, rel=1e-3)
    assert shown.bytes == (4 * 1184, 592, 592, 0)


def test_dynamic_is_each_batch_by_its_own_range(lab, net, digits):
    def each(i, x):
        parts = x.split(network.BATCH)
        left = [quantization.fake_quantize(b, quantization.qparams_of(b, 3)) for b in parts]
        return torch.cat(left)

    shown = view(lab, 3, "activations", calibration="dynamic", outlier=100)
    assert shown.accuracies[1] == pytest.approx(
        right(quantize_inputs(net, each), digits), abs=1.01 / network.IMAGES
    )
    assert shown.setting.outlier == 1 and shown.point.clipping == 0
    assert shown.histogram.part.startswith("batch ")


def test_the_faulty_image_is_for_calibration_alone(lab):
    shown = view(lab, 4, "activations", outlier=100)
    assert shown.dense_accuracy == view(lab).dense_accuracy
    assert shown.accuracies[2] < view(lab, 4, "activations").accuracies[2] - 0.3
    percentile = view(lab, 4, "activations", outlier=100, calibration="percentile", clip=99)
    assert percentile.accuracies[2] > shown.accuracies[2] + 0.3


# --- the rest of the view ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("base", "change"),
    [
        ({"what": "weights"}, {"calibration": "entropy"}),
        ({"what": "activations"}, {"granularity": "group"}),
        ({"what": "activations"}, {"clip": 91}),
        ({"what": "activations", "calibration": "dynamic"}, {"outlier": 100}),
    ],
)
def test_what_does_not_matter_changes_nothing(lab, base, change):
    before, after = view(lab, **base), view(lab, **base | change)
    assert key_of(before) == key_of(after)


def test_the_band_is_the_seeds_undisturbed(lab, digits):
    for setting in network.UNDISTURBED:
        band = lab.bands[setting]
        assert band.shape == (len(SEEDS), len(BITS))
    shown = view(lab, outlier=50, clip=95, granularity="channel")
    plain = view(lab, granularity="channel")
    assert shown.band[0] == pytest.approx(plain.accuracies)
    other = baselines.baseline(network.NAME, digits, seed=1)
    expected = right(quantized_net(other, 3, False, "channel")[0], digits)
    assert shown.band[1][1] == pytest.approx(expected, abs=1.01 / network.IMAGES)
    assert view(lab, what="activations", calibration="entropy").band[0] == pytest.approx(
        view(lab, what="activations", calibration="entropy").accuracies
    )


def test_answers_that_changed_are_counted_and_shown(lab, net, digits):
    shown = view(lab, 2)
    before = predict(net, images_of(digits))
    after = predict(quantized_net(net, 2, False, "tensor")[0], images_of(digits))
    changed = (before != after).nonzero()[:, 0].tolist()
    assert abs(shown.changed - len(changed)) <= 1 and len(changed) > 10
    assert shown.strip.captions[0] == f"{before[changed[0]]} → {after[changed[0]]}"
    other = baselines.baseline(network.NAME, digits, seed=1)
    assert shown.other_changed == (predict(other, images_of(digits)) != before).sum().item()
    assert view(lab, 8).changed == 0 and not view(lab, 8).strip.picture.any()


def test_moving_bits_asks_the_network_only_once(lab, monkeypatch):
    view(lab, 5, clip=96.5)
    monkeypatch.setattr(network.Network, "answers", lambda *args: pytest.fail("asked again"))
    assert view(lab, 6, clip=96.5).bits == 6


def test_the_networks_stay_as_they_are(lab, net):
    view(lab, outlier=100)
    view(lab, what="activations", outlier=100)
    for mine, weight in zip(lab.net.weights, models.weights(net).values(), strict=True):
        assert mine.equal(weight)
    first = lab.net.inputs[0]
    assert first.max() <= 1


# --- mine ----------------------------------------------------------------------------------


def answer_rightly():
    for exercise in EXERCISES:
        exercise.answer(exercise.reference)


@pytest.mark.parametrize(
    "setting",
    [
        {},
        {"outlier": 20},
        {"clip": 97},
        {"what": "activations"},
        {"what": "activations", "calibration": "dynamic"},
        {"what": "activations", "calibration": "squared error", "outlier": 10},
    ],
)
def test_mine_with_right_answers_shows_the_same(lab, setting):
    answer_rightly()
    mine, reference = view(lab, source="mine", **setting), view(lab, **setting)
    assert mine.accuracies == pytest.approx(reference.accuracies, abs=1.01 / network.IMAGES)
    assert mine.point.error == pytest.approx(reference.point.error, rel=1e-3)
    assert mine.point.clipping == pytest.approx(reference.point.clipping, rel=1e-3)
    assert set(mine.point.levels.round(4)) <= set(
        reference.point.levels.astype(np.float32).round(4)
    )
    assert mine.setting.mine and "Your scale_and_zero_point" in summarise(mine)


def wraps(x, scale, zero_point, num_bits):
    return (torch.round(x / scale) + zero_point).int().to(torch.int8)


@pytest.mark.parametrize("what", ["weights", "activations"])
def test_mine_shows_what_the_students_bug_does(lab, what):
    exercises.scale_and_zero_point.answer(lambda low, high, num_bits: ((high - low) / 100, 100))
    exercises.quantize.answer(wraps)
    mine, reference = view(lab, 8, what, source="mine"), view(lab, 8, what)
    assert mine.point.error > 10 * reference.point.error
    assert view(lab, 8, what).point.error == reference.point.error
    answer_rightly()
    again = view(lab, 8, what, source="mine")
    assert again.point.error == pytest.approx(reference.point.error, rel=1e-3)


@pytest.mark.parametrize(
    "setting",
    [
        {"symmetric": True},
        {"granularity": "channel"},
        {"granularity": "group"},
        {"what": "activations", "symmetric": True},
    ],
)
def test_a_setting_that_mine_has_no_form_for_is_said(lab, setting):
    answer_rightly()
    with pytest.raises(ExerciseError, match="one asymmetric range for the whole tensor"):
        view(lab, source="mine", **setting)


@pytest.mark.parametrize(
    ("scale", "q", "words"),
    [
        (lambda *a: None, None, "gives two numbers"),
        (lambda *a: (0.0, 1), None, "the scale not 0"),
        (lambda *a: (1.0, 0, 3), None, "gives two numbers"),
        (None, lambda x, *a: x[:1].to(torch.int8), r"yours gave shape \(1,"),
        (None, lambda x, *a: x / 0, "NaN or infinite"),
    ],
)
def test_what_mine_gives_wrongly_is_said(lab, scale, q, words):
    exercises.scale_and_zero_point.answer(scale or exercises.scale_and_zero_point.reference)
    exercises.quantize.answer(q or exercises.quantize.reference)
    with pytest.raises(ExerciseError, match=words):
        view(lab, source="mine")


def test_mine_may_fail_at_other_bits_and_cannot_spoil_the_weights(lab, net):
    def only_from_4_bits(x, scale, zero_point, num_bits):
        if num_bits < 4:
            raise SystemExit("too few")
        q = exercises.quantize.reference(x, scale, zero_point, num_bits)
        x.zero_()
        return q

    answer_rightly()
    exercises.quantize.answer(only_from_4_bits)
    shown = view(lab, 4, source="mine")
    assert np.isnan(shown.accuracies).tolist() == [True] * 2 + [False] * 5
    for mine, weight in zip(lab.net.weights, models.weights(net).values(), strict=True):
        assert mine.equal(weight)
    with pytest.raises(SystemExit):
        view(lab, 3, source="mine")


# --- the picture ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def explorer(lab, digits):
    return EXPLORERS[0].make(digits)


def test_the_artists_are_where_the_view_says(explorer, controls):
    controls["clip"].value, controls["bits"].value = 98, 3
    shown, artists = explorer.result, explorer._picture._artists
    accuracy, errors, line = (artists[name] for name in ("accuracy", "errors", "line"))
    assert accuracy["marker"].get_xydata().tolist() == [[3, 100 * shown.accuracies[1]]]
    assert accuracy["title"].get_text() == f"accuracy: {100 * shown.accuracies[1]:.1f} % in 3 bits"
    assert len(line["levels"].get_segments()) == 8
    (x, y) = errors["now"][1].get_xydata()[0]
    assert (x, y) == (100 * shown.point.reach, shown.point.error)
    assert y < errors["axis"].axes.get_ylim()[1]
    least = errors["least"].get_xdata()[0]
    assert least == pytest.approx(100 * CLIPS[shown.curve.sum(0).argmin()])
    (left, right), low = line["clipped"], shown.histogram.ends[0]
    assert left.get_x() == low and left.get_x() + left.get_width() == shown.point.span[0] > low
    assert right.get_x() == shown.point.span[1] and right.get_width() > 0
    widths = [bar.get_width() for bar in artists["bytes"]["parts"]]
    assert widths[:2] == pytest.approx([100 * part / shown.bytes[0] for part in shown.bytes[2:]])
    assert line["title"].get_text() == "weights of fc1, in 8 levels"


def in_the_legend(explorer):
    rows = explorer._picture._artists["line"]["legend"].values()
    return [words.get_text() for _, words in rows if words.get_visible()]


def test_the_legend_names_what_is_drawn_and_the_part_by_its_name(explorer, controls):
    assert in_the_legend(explorer) == ["all", "levels"]
    controls["clip"].value = 99
    assert in_the_legend(explorer) == ["all", "levels", "clipped"]
    controls["clip"].value, controls["granularity"].value = 100, "group"
    part = explorer.result.histogram.part
    assert in_the_legend(explorer) == ["all", "levels", part] and part.startswith("unit ")
    controls["what"].value = "activations"
    assert in_the_legend(explorer) == ["all", "levels"]


def test_the_words_hold_the_numbers(lab):
    shown = view(lab, 3, outlier=8, clip=99, granularity="group")
    words = summarise(shown)
    for text in (
        "<b>Weights</b> in 3 bits, asymmetric, a scale per group",
        "clipped at the 99th percentile, one weight of fc1 made 8 times as large",
        f"<b>{100 * shown.accuracies[1]:.1f} %</b> right of 150 validation images",
        f"in float32 {100 * shown.dense_accuracy:.1f} %",
        f"{shown.bytes[1]:,} bytes, {shown.bytes[3]:,} of them scales and zero points",
        "The activations stay floats.",
    ):
        assert text in words
    for text in (f"3 bits {100 * shown.accuracies[1]:.1f}", f"levels of {shown.histogram.part}"):
        assert text in describe(shown)
    assert "each batch by its own range" in describe(
        view(lab, what="activations", calibration="dynamic")
    )

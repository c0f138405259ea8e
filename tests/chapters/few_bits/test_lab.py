"""The explorer of chapter 10 on small data: what it shows is what rounding and training do."""

import itertools

import numpy as np
import pytest
import torch

from shrink.chapters.few_bits import (
    colours,
    figure,
    halves,
    halves_view,
    lab,
    networks,
    prepared,
    rounding_lab,
    trainings,
    unit_lab,
    view,
    weights_view,
)
from shrink.chapters.few_bits.explorer import TRIES
from shrink.chapters.few_bits.straight_through import fake_quantize_ste
from shrink.classroom.exercises.exercise import ExerciseError
from shrink.quantization import aware
from shrink.quantization.binary import binarize
from shrink.quantization.number_formats import FORMATS, round_to
from tests.chapters.few_bits.small import EXPLORERS, SEEDS, initial
from tests.chapters.small import run_through, run_until, share_right

pytestmark = pytest.mark.usefixtures("cache", "no_answers")
WEIGHTS, HALVES = lab.SCENES
BITS, SCALES = trainings.BITS, aware.SCALES


@pytest.fixture(scope="module")
def first_lab(digits, cache):
    return lab.FewBitsLab(digits, fake_quantize_ste, SEEDS)


@pytest.fixture
def a_lab(first_lab):
    """The lab with no runs yet."""
    first_lab.weights.runs.clear()
    first_lab.halves.runs.clear()
    return first_lab


@pytest.fixture(scope="module")
def explorer_on_show(first_lab, digits):
    return EXPLORERS[0].make(digits)


def values(scene=WEIGHTS, **changed):
    given = {"bits": 2, "scale": "fixed", "per": "layer", "clip": "in the range"}
    given |= {"loss_scale": 1.0, "format": "fp16", "numbers": "gradients of activations", "step": 0}
    return {"scene": scene} | given | {"source": "reference"} | changed


def shown(a_lab, scene=WEIGHTS, **changed):
    return a_lab.view(**values(scene, **changed))


@pytest.fixture(scope="module")
def layer(digits, cache):
    """The weights of fc1 that are on show."""
    return networks.folded(digits, SEEDS[0]).fc1.weight.detach()


@pytest.fixture(scope="module")
def channel(layer):
    """The unit of fc1 whose largest weight is in the middle."""
    return sorted(layer, key=lambda unit: float(unit.abs().max()))[len(layer) // 2]


# --- rounding and its gradient -------------------------------------------------------------


def by_autograd(weight, scale, bits, clip, gradient):
    """Rounded weights and the gradients of weight and scale, by the library's own functions."""
    weight, q_max = weight.clone().requires_grad_(), rounding_lab.highest(bits)
    module = aware.UniformWeights(weight.detach(), bits, scale="learned")
    module.step.data = scale.clone()
    rounded = module(weight)
    if bits == 1 and clip:
        rounded = rounded + (binarize(weight, scale, clip=float(scale)) - binarize(weight, scale))
    if bits > 1 and not clip:
        beyond = weight.detach().abs() > q_max * scale
        rounded = rounded + (weight - weight.detach()) * beyond
    rounded.backward(gradient)
    return rounded.detach(), weight.grad, module.step.grad


@pytest.mark.parametrize("clip", [True, False])
@pytest.mark.parametrize("bits", BITS)
def test_the_reference_rounds_and_passes_gradients_as_the_library_does(bits, clip):
    generator = torch.Generator().manual_seed(bits)
    weight, gradient = torch.randn(2, 500, generator=generator)
    scale = torch.tensor(0.37)
    rounded, back = rounding_lab.Reference(bits, clip)(weight, scale)
    by_weight, by_scale = back(gradient)
    expected = by_autograd(weight, scale, bits, clip, gradient)
    assert torch.equal(rounded, expected[0])
    assert torch.allclose(by_weight, expected[1]) and torch.allclose(by_scale, expected[2])
    assert bool((by_weight == 0).any()) is clip


@pytest.mark.parametrize("per", ["layer", "channel"])
@pytest.mark.parametrize(("bits", "scale"), list(itertools.product(BITS, SCALES)))
def test_the_staircase_is_that_of_the_weights_and_they_are_counted(
    a_lab, layer, channel, bits, scale, per
):
    weight = layer if per == "layer" else channel
    module = aware.UniformWeights(weight, bits, scale=scale)
    found, step = (
        shown(a_lab, bits=bits, scale=scale, per=per),
        float(module.scales(weight).detach()),
    )
    assert found.step == pytest.approx(step) and found.size == weight.numel()
    levels = np.unique(np.rint(found.stairs.rounded / step))
    assert len(levels) == found.values == (2 if bits == 1 else 2**bits - 1)
    q = module.integers(weight)[0]
    if bits > 1:
        assert found.zeros == pytest.approx(float((q == 0).double().mean()), abs=1e-4)
    outside = weight.abs() > step * rounding_lab.highest(bits) * (1 + 1e-6)
    assert found.beyond == pytest.approx(float(outside.double().mean()), abs=1e-4)
    inside = weight.abs() <= found.stairs.reach
    assert found.counts.sum() == pytest.approx(int(inside.sum()), abs=2)


def test_the_surrogate_is_the_line_that_is_cut_off_or_goes_on(a_lab):
    for clip, expected in (("in the range", 1), ("everywhere", np.inf)):
        found = shown(a_lab, bits=3, clip=clip)
        line = np.clip(found.stairs.latent, -found.end * expected, found.end * expected)
        assert found.stairs.surrogate == pytest.approx(line, abs=found.stairs.reach / 100)


def test_the_scales_gradient_is_that_of_the_step(a_lab):
    found = shown(a_lab, bits=3, scale="learned").stairs
    step = torch.tensor(shown(a_lab, bits=3).step, requires_grad=True)
    for place in (0, 130, 200, 250, 400):
        x = torch.tensor(found.latent[place : place + 1])
        q = (x / step.detach()).round().clamp(-3, 3)
        inside = (x / step.detach()).abs() <= 3
        frozen = (q - x / step).detach()  # what rounding adds
        surrogate = step * torch.where(inside, x / step + frozen, q)
        (expected,) = torch.autograd.grad(surrogate.sum(), step)
        assert found.by_scale[place] == pytest.approx(float(expected), abs=1e-5)
    assert shown(a_lab, bits=3).stairs.by_scale is None


# --- the unit that learns ------------------------------------------------------------------


@pytest.mark.parametrize("per", ["layer", "channel"])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_unit_learns_as_the_library_trains_it(a_lab, digits, layer, channel, bits, scale, per):
    module = aware.UniformWeights(layer if per == "layer" else channel, bits, scale=scale)
    if (scale, per) == ("follows", "layer"):  # one unit does not move the layer's largest weight
        module = aware.UniformWeights(layer, bits, scale="fixed")
        module.step = aware.UniformWeights(layer, bits, scale=scale).scales(layer)
    images = digits.train.images[: unit_lab.IMAGES].flatten(1)
    weight = channel.clone().requires_grad_()
    clip = bits == 1
    for _ in range(unit_lab.STEPS):
        rounded = module(weight)
        if clip:
            beyond = weight.detach().abs() > module.scales(weight).detach() * (1 + 1e-6)
            rounded = rounded - (weight - weight.detach()) * beyond
        loss = ((images @ (rounded - channel)) ** 2).mean() / 2
        learned = [weight, *module.parameters()]
        gradients = torch.autograd.grad(loss, learned)
        with torch.no_grad():
            for parameter, gradient in zip(learned, gradients, strict=True):
                parameter -= unit_lab.RATE * gradient
    found = shown(a_lab, bits=bits, scale=scale, per=per).unit
    assert found.latent[-1] == pytest.approx(weight.detach().numpy(), abs=1e-4)
    assert found.scales[-1] == pytest.approx(float(module.scales(weight).detach()), rel=1e-3)
    off = images @ (module(weight).detach() - channel)
    spread = float((images @ channel).std())
    assert found.errors[-1] == pytest.approx(float(off.square().mean().sqrt()) / spread, rel=0.02)


def test_without_latent_weights_each_step_is_rounded_away(a_lab, digits, channel):
    images = digits.train.images[: unit_lab.IMAGES].flatten(1)
    found = shown(a_lab, bits=2, per="channel")
    weight = (channel / found.step).round().clamp(-1, 1) * found.step
    first, updates = weight, []
    for _ in range(unit_lab.STEPS):
        gradient = (images @ (weight - channel)) @ images / len(images)
        updates.append(float((unit_lab.RATE * gradient).abs().max()) / found.step)
        weight = ((weight - unit_lab.RATE * gradient) / found.step).round().clamp(-1, 1)
        weight = weight * found.step
    assert found.unit.changed_if_stored == int((weight != first).sum())
    assert found.unit.changed_if_stored == 0 or max(updates) > 0.5
    inside = channel.abs() <= found.step
    gradient = (images @ (first - channel)) @ images / len(images) * inside
    largest = float(gradient.abs().max()) * unit_lab.RATE / found.step
    assert found.unit.largest == pytest.approx(largest, rel=1e-3)


def test_where_steps_are_large_stored_values_do_change(monkeypatch):
    monkeypatch.setattr(unit_lab, "RATE", 6.0)
    monkeypatch.setattr(unit_lab, "STEPS", 1)  # the second step would take the weights back
    unit = unit_lab.Unit(torch.tensor([0.7, -0.3, 0.2]), torch.eye(3))
    done = unit.train(rounding_lab.Reference(2, clip=True), torch.tensor(0.5))
    assert done.changed_if_stored > 0


def test_three_weights_change_early_late_and_not(a_lab):
    unit = shown(a_lab, bits=1, per="channel").unit
    early, late, never = unit_lab.three_weights(unit)
    changes = unit.changes
    assert changes[:, early].any() and changes[:, late].any() and not changes[:, never].any()
    assert changes[:, early].argmax() < changes[:, late].argmax()


# --- what was trained ----------------------------------------------------------------------


@pytest.mark.parametrize("per", ["layer", "channel"])
def test_errors_are_those_of_the_trainings(a_lab, digits, per):
    found = shown(a_lab, per=per, bits=3)
    for way, errors in found.errors.items():
        for place, seed in enumerate(SEEDS):
            one = trainings.error(digits, way, 3, seed, per_channel=per == "channel")
            assert errors[place, found.here] == pytest.approx(100 * one)
    floats = [share_right(networks.folded(digits, seed), digits.validation) for seed in SEEDS]
    assert found.whole == pytest.approx(100 - 100 * np.mean(floats))


def test_what_is_not_trained_says_so(a_lab):
    found = shown(a_lab, scale="follows", per="channel")
    assert "follows" not in found.errors and "is not trained beforehand" in view.summarise(found)
    assert "is not trained beforehand" not in view.summarise(shown(a_lab, scale="follows"))


# --- mine ----------------------------------------------------------------------------------


def right(x, scale, zero_point, q_min, q_max):
    inside = x.clamp(scale * (q_min - zero_point), scale * (q_max - zero_point))
    q = ((x / scale).round() + zero_point).clamp(q_min, q_max)
    return inside + (scale * (q - zero_point) - inside).detach()


@pytest.mark.parametrize("scale", SCALES)
def test_a_right_function_of_mine_shows_what_the_reference_does(a_lab, scale):
    fake_quantize_ste.answer(right)
    mine, reference = (shown(a_lab, scale=scale, source=one) for one in ("mine", "reference"))
    assert mine.mine and not reference.mine
    assert mine.stairs.rounded == pytest.approx(reference.stairs.rounded, abs=1e-6)
    assert (mine.stairs.gradient == reference.stairs.gradient).all()
    if scale != "learned":  # the scale of mine has no gradient
        assert mine.unit.changed == reference.unit.changed


def test_mine_shows_what_the_students_bug_does(a_lab):
    fake_quantize_ste.answer(lambda x, s, z, low, high: ((x / s).round().clamp(low, high) - z) * s)
    found = shown(a_lab, source="mine")
    assert (found.stairs.gradient == 0).all() and (found.stairs.surrogate == 0).all()
    assert found.unit.changed == 0 and found.unit.largest == 0
    fake_quantize_ste.answer(
        lambda x, s, z, low, high: x + (right(x, s, z, low, high) - x).detach()
    )
    assert (shown(a_lab, source="mine").stairs.gradient == 1).all()


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x, *_: None, "of x's shape; yours gave NoneType"),
        (lambda x, *_: x[:1], r"yours gave shape \(1,\)"),
        (lambda x, *_: x * torch.nan, "some of yours are NaN"),
        (lambda x, *_: x.detach(), "through yours none does"),
        (lambda x, *_: x + x.sqrt() * 0, "NaN"),
    ],
)
def test_what_does_not_round_is_told(a_lab, answer, words):
    fake_quantize_ste.answer(answer)
    with pytest.raises(ExerciseError, match=words):
        shown(a_lab, source="mine")


def test_of_one_bit_there_is_no_mine(a_lab):
    fake_quantize_ste.answer(lambda *_: 1 / 0)
    assert not shown(a_lab, bits=1, source="mine").mine


# --- halves --------------------------------------------------------------------------------


@pytest.mark.parametrize("numbers", halves.KINDS)
@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("exponent", [-16, 0, 16])
def test_shares_are_those_of_the_numbers_rounded_to_the_format(
    a_lab, digits, name, numbers, exponent
):
    few = type(digits.train)(
        digits.train.images[: halves.BATCH], digits.train.labels[: halves.BATCH]
    )
    x = torch.cat(
        [one.detach().flatten() for one in halves.numbers_of(initial(0), few)[numbers].values()]
    )
    x = x[x != 0] * 2.0 ** (exponent if numbers.startswith("gradients") else 0)
    one, rounded = FORMATS[name], round_to(x, FORMATS[name])
    found = shown(a_lab, HALVES, format=name, numbers=numbers, loss_scale=2.0**exponent)
    share = [float(part.double().mean()) for part in (rounded == 0, ~rounded.isfinite())]
    assert found.lost == pytest.approx(share[0], abs=2e-3)
    assert found.over == pytest.approx(share[1], abs=0.02)
    small = (x.abs() < one.least_normal) & (rounded != 0)
    assert found.subnormal == pytest.approx(float(small.double().mean()), abs=2e-3)
    assert found.shares.sum() == pytest.approx(1)


def test_a_loss_scale_counts_as_the_nearest_power_of_two(a_lab):
    typed, exact = (shown(a_lab, HALVES, loss_scale=scale) for scale in (1000.0, 1024.0))
    assert typed.exponent == 10 and (typed.magnitudes == exact.magnitudes).all()


def test_errors_over_loss_scales_and_what_is_swallowed_are_those_of_the_trainings(a_lab, digits):
    found = shown(a_lab, HALVES, loss_scale=2.0**19)
    scales = (*halves.EXPONENTS, None, "float32")
    every = np.array([[halves.at_scale(digits, one, s).error for one in scales] for s in SEEDS])
    assert found.errors == pytest.approx(100 * every[:, :-2])
    assert found.dynamic == pytest.approx(100 * every[:, -2])
    assert found.float32 == pytest.approx(100 * every[:, -1])
    assert found.scales[found.nearest] == 20
    for way, updates in found.updates.items():
        runs = [halves.run(digits, way, halves.RATES[0], seed) for seed in SEEDS]
        assert updates.errors == pytest.approx([100 * run.error for run in runs])
        if way in ("fp16", "bf16"):
            stay = [100 * run.swallowed[:, 0].mean() for run in runs]
            assert updates.swallowed == pytest.approx(stay)
            lost = [100 * run.swallowed_amount[:, 0].mean() for run in runs]
            assert updates.lost == pytest.approx(lost)
        else:
            assert len(updates.swallowed) == 0
    assert found.shown == ("fp16",)
    assert shown(a_lab, HALVES, format="bf16").shown == ("bf16", "bf16, master weights")


def test_the_window_is_of_scales_that_come_within_a_tenth_of_float32(a_lab):
    found = vars(shown(a_lab, HALVES))
    given = {"scales": (-4, 0, 4, 8), "errors": np.array([[90, 5.4, 5.6, 50]])}
    one = halves_view.HalvesView(**found | given | {"float32": np.array([5.0, 5.2])})
    assert one.window == (0, 4) and "from 1 to 2^4" in view.summarise(one)
    none = halves_view.HalvesView(**found | given | {"float32": np.array([1.0])})
    assert none.window is None and "none come" in view.summarise(none)


# --- what the button does ------------------------------------------------------------------


@pytest.mark.parametrize("per", ["layer", "channel"])
def test_it_trains_weights_of_these_bits_in_another_order(a_lab, digits, per):
    for scale in ("learned", "follows"):
        told = run_through(a_lab.work, values(bits=1, scale=scale, per=per))
        run = a_lab.weights.runs[-1]
        assert told[-1][0] == told[-1][1] == run.steps and not run.stopped
        net = aware.prepare(
            networks.folded(digits, SEEDS[0]),
            weight_bits=1,
            scale=scale,
            per_channel=per == "channel",
        )
        networks.take_steps(net, digits, run.seed)
        assert run.error == pytest.approx(1 - share_right(net, digits.validation))
    assert [run.seed for run in shown(a_lab).runs] == [100, 101]
    assert "<b>Trained</b>: 1 bit, scale follows" in view.summarise(shown(a_lab))


def test_it_trains_halves_at_the_loss_scale(a_lab):
    for name, scale in (("fp16", 1.0), ("fp16", 2.0**24), ("bf16", 2.0**24)):
        run_through(a_lab.work, values(HALVES, format=name, loss_scale=scale))
    fine, over, wide = a_lab.halves.runs
    assert over.skipped == over.steps > 0 and fine.skipped == wide.skipped == 0
    assert (over.exponent, over.seed, wide.format) == (24, 101, "bf16")
    assert "bf16 with float32 master weights, loss scale 2^24" in view.summarise(
        shown(a_lab, HALVES)
    )


@pytest.mark.parametrize("scene", lab.SCENES)
def test_a_stopped_run_is_kept_and_marked(a_lab, scene):
    run_until(a_lab.work, values(scene), 1)
    (run,) = shown(a_lab, scene).runs
    assert (
        run.stopped and run.steps == 1 and "steps, stopped" in view.summarise(shown(a_lab, scene))
    )


# --- what is hidden, and the picture -------------------------------------------------------


def test_what_has_no_effect_is_hidden():
    def hidden(*scene, **changed):
        return lab.without_effect(values(*scene, **changed))

    of_halves = {"loss_scale", "format", "numbers", "step"}
    assert hidden() == of_halves and hidden(bits=1) == of_halves | {"source"}
    assert hidden(source="mine") == of_halves | {"clip"}
    assert hidden(bits=1, source="mine") == of_halves | {"source"}
    assert hidden(HALVES) == {"bits", "scale", "per", "clip", "source"}


def test_no_two_lines_differ_by_colour_alone():
    assert colours.WAYS.keys() == colours.STYLES.keys() == set(trainings.WAYS)
    assert colours.FORMATS.keys() == FORMATS.keys()
    looks = zip(colours.WAYS.values(), map(str, colours.STYLES.values()), strict=True)
    assert all(a != c and b != d for (a, b), (c, d) in itertools.combinations(looks, 2))
    assert len(set(colours.FORMATS.values())) == len(FORMATS)


@pytest.fixture
def on_show(explorer_on_show):
    before = explorer_on_show.values
    yield explorer_on_show
    explorer_on_show.move(**before)


def artists_of(explorer, **values):
    explorer.move(**values)
    assert explorer.error is None
    return explorer._picture._artists, explorer.result


def test_lines_and_marks_of_weights_lie_where_the_numbers_are(on_show):
    artists, found = artists_of(on_show, bits=3, scale="fixed", per="layer")
    line = artists["errors"]["curves"].artists["lines"]["fixed"]
    assert line.get_ydata() == pytest.approx(found.errors["fixed"].mean(0))
    marker = artists["errors"]["marker"].get_xydata()
    assert marker == pytest.approx(np.array([[3, found.errors["fixed"][:, found.here].mean()]]))
    stairs = artists["stairs"]["rounded"]
    assert stairs.get_ydata() * found.end == pytest.approx(found.stairs.rounded)
    assert stairs.get_xdata() * found.stairs.reach == pytest.approx(found.stairs.latent)
    segments = artists["weights"]["thresholds"].get_segments()
    thresholds = np.array([one[0, 0] for one in segments]) * found.stairs.reach / found.step
    assert thresholds == pytest.approx(np.arange(-2.5, 3))
    for place, which in enumerate(found.drawn):
        drawn = artists["learns"]["latent"][place].get_ydata()
        assert drawn * found.unit.scales == pytest.approx(found.unit.latent[:, which])
    artists, _ = artists_of(on_show, per="channel")
    assert not artists["errors"]["curves"].artists["lines"]["fixed"].get_visible()


def test_zones_and_bars_of_halves_lie_where_the_format_ends(on_show):
    artists, found = artists_of(on_show, scene=HALVES, format="fp16", loss_scale=16.0)
    zones = artists["numbers"]["zones"]
    ends = {name: (zone.get_x(), zone.get_x() + zone.get_width()) for name, zone in zones.items()}
    assert ends["become 0"][1] == ends["subnormal"][0] == -25 and ends["subnormal"][1] == -14
    assert ends["too large"][0] == pytest.approx(16, abs=1e-3)
    heights, edges, _ = artists["numbers"]["counts"].get_data()
    assert heights * found.shares.max() == pytest.approx(found.shares)
    assert (edges == found.magnitudes).all() and found.magnitudes[0] == halves.OCTAVES[0] + 4


def test_runs_have_their_marks(on_show):
    artists, found = artists_of(on_show, scene=WEIGHTS)
    run = weights_view.Run(3, "learned", "layer", 100, 0.25, steps=7, stopped=False)
    stopped = weights_view.Run(1, "follows", "channel", 101, 0.5, steps=2, stopped=True)
    figure.update(artists, weights_view.WeightsView(**vars(found) | {"runs": (run, stopped)}))
    marks = artists["errors"]["runs"].artists
    assert marks["trained here"]["learned"].get_xydata().tolist() == [[3, 25]]
    assert marks["stopped"]["follows"].get_xydata().tolist() == [[1, 50]]
    artists, found = artists_of(on_show, scene=HALVES)
    run = halves_view.HalfRun("bf16", 8, 100, 0.25, skipped=0, steps=7, stopped=False)
    figure.update(artists, halves_view.HalvesView(**vars(found) | {"runs": (run,)}))
    marks = artists["errors"]["runs"]["trained here"]
    assert marks["bf16"].get_xydata().tolist() == [[8, 25]] and len(marks["fp16"].get_xdata()) == 0


def test_what_ships_is_what_the_trainings_are(digits, monkeypatch):
    made = []
    for module in (trainings, halves):
        name = module.__name__
        monkeypatch.setattr(
            module, "trainings", lambda d, name=name: iter([lambda: made.append((name, d))])
        )
    prepared.first_picture(digits)
    assert made == [(trainings.__name__, digits), (halves.__name__, digits)]
    assert list(prepared.further_cells(digits)) == [] and TRIES[0].label == "1 gradient"

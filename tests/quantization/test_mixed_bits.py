"""Networks with bits by layer: their integers, their answers, their file, and what is refused."""

import copy

import pytest
import torch
from torch import nn

from shrink.classroom import integer_formats, models
from shrink.classroom.baselines import baseline
from shrink.classroom.data import load
from shrink.coding import codec
from shrink.quantization import QParams, aware, quantize
from shrink.quantization.aware_conversion import convert
from shrink.quantization.fixed_weights import FixedWeights
from shrink.quantization.integer import QuantizedConv2d, QuantizedLinear
from shrink.quantization.mixed_bits import (
    ROUNDINGS,
    SCALES,
    folded,
    quantize_mixed,
    rounded,
    weight_grid,
)
from shrink.quantization.moments import input_moments, output_error
from tests.quantization.test_aware_conversion import check_same
from tests.quantization.test_conversion import random, seeded, state_of, unchanged
from tests.quantization.test_integer import runtime_conv, runtime_linear, share_off

WIDTHS = {"stem": 8, "depthwise1": 7, "pointwise1": 5, "depthwise2": 6, "pointwise2": 3, "fc": 2}


@pytest.fixture(scope="module")
def glyphs():
    return load("glyphs", announce=False)


@pytest.fixture(scope="module")
def separable(glyphs):
    return baseline("separable", glyphs)


def some(net):
    """Bits of 2 to 8, one after the other."""
    layers = aware.aware_layers(aware.prepare(net, weights=nn.Identity))
    return {name: 2 + i % 7 for i, name in enumerate(layers)}


@pytest.mark.parametrize("name", models.MODELS)
def test_every_network_of_the_course_in_weights_alone(name):
    net = seeded(lambda: models.build(name, 0))
    before, bits = state_of(net), some(net)
    mixed = quantize_mixed(net, bits)
    assert unchanged(net, before) and not mixed.training
    _, integers = aware.quantized_weights(mixed)
    assert {f"{n}.weight": b for n, b in bits.items()}.keys() == integers.keys()
    floats = folded(net)
    for layer, b in bits.items():
        q, scale = integers[f"{layer}.weight"]
        weight = floats.get_submodule(layer).weight
        assert q.abs().max() == 2 ** (b - 1) - 1  # min-max: the largest weight is at the end
        assert (q * scale - weight).abs().max() <= scale / 2 * (1 + 1e-5)
    assert mixed(random(3, 1, 28, 28)).shape == (3, 10)


@pytest.mark.parametrize("rounding", [r for r in ROUNDINGS if r != "nearest"])
def test_each_way_of_rounding_is_of_the_moments_of_floats(glyphs, separable, rounding):
    images = glyphs.train.images[:100]
    bits = dict(WIDTHS)
    if rounding == "adaround":  # takes long
        separable = seeded(
            lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(27, 4))
        )
        images, bits = random(30, 1, 5, 5).abs(), {"0": 3, "2": 4}
    layers = aware.aware_layers(quantize_mixed(separable, bits, images, rounding=rounding))
    floats = folded(separable)
    moments = input_moments(floats, images)
    for name, part in layers.items():
        weight = floats.get_submodule(name).weight
        grid = weight_grid(weight, bits[name])
        q = part.weight_quantizer.q
        assert torch.equal(q, rounded(weight, grid, rounding, moments[name]))
        products = moments[name].products
        found = output_error(q * grid.scale - weight, products)
        nearest = output_error(quantize(weight, grid) * grid.scale - weight, products)
        assert (found <= nearest * (1 + 1e-6) + 1e-9).all() and found.sum() < nearest.sum()


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("per_channel", [False, True])
def test_scales(separable, per_channel, scale):
    mixed = quantize_mixed(separable, WIDTHS, per_channel=per_channel, scale=scale)
    for name, (q, found) in aware.quantized_weights(mixed)[1].items():
        weight = folded(separable).get_parameter(name)
        shape = (len(weight), *[1] * (weight.dim() - 1)) if per_channel else ()
        assert found.shape == shape
        expected = weight_grid(weight, WIDTHS[name[:-7]], per_channel, scale)
        assert torch.equal(found, expected.scale.float()) and torch.equal(
            q, quantize(weight, expected)
        )
        assert q.abs().max() <= 2 ** (WIDTHS[name[:-7]] - 1) - 1


def test_corrected_biases_give_the_mean_outputs_of_the_floats(glyphs, separable):
    images = glyphs.train.images[:100]
    bits = {name: (max(b - 1, 2), 6) for name, b in WIDTHS.items()}
    mixed = quantize_mixed(separable, bits, images, correct_bias=True, batch_size=30)
    means = {}
    for net in (folded(separable), mixed):
        outputs = {}
        layers = {n: net.get_submodule(n) for n in WIDTHS}
        handles = [
            layer.register_forward_hook(
                lambda _, x, y, name=name, outputs=outputs: outputs.update({name: y.detach()})
            )
            for name, layer in layers.items()
        ]
        net.eval()(images)
        for handle in handles:
            handle.remove()
        means[net] = {n: y.transpose(0, 1).flatten(1).mean(1) for n, y in outputs.items()}
    expected, found = means.values()
    for name, part in aware.aware_layers(mixed).items():
        step = part.weight_quantizer.step * part.input_quantizer.scale  # of the rounded bias
        assert (expected[name] - found[name]).abs().max() < step / 2 + 1e-5
    plain = quantize_mixed(separable, bits, images)
    assert not torch.equal(plain.fc.layer.bias, mixed.fc.layer.bias)


def test_layers_are_corrected_as_they_run_and_not_as_they_are_named():
    class Backwards(nn.Module):
        def __init__(self):
            super().__init__()
            self.last, self.first = nn.Linear(6, 2, bias=False), nn.Linear(4, 6)

        def forward(self, x):
            return self.last(self.first(x).relu())

    net, x = seeded(Backwards), random(60, 4)
    mixed = quantize_mixed(net, {"first": 2, "last": 2}, x, correct_bias=True)
    torch.testing.assert_close(mixed(x).mean(0), net(x).mean(0), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_integers_that_run_are_those_of_the_prepared_network(glyphs, separable, per_channel):
    bits = {name: (b, 4 + i % 5) for i, (name, b) in enumerate(WIDTHS.items())}
    mixed = quantize_mixed(
        separable,
        bits,
        glyphs.train.images[:200],
        rounding="exact",
        correct_bias=True,
        per_channel=per_channel,
    )
    for name, part in aware.aware_layers(mixed).items():
        assert part.input_quantizer.num_bits == bits[name][1]
    network = check_same(mixed, glyphs.validation.images[:100])
    layers = [part for part in network.layers if isinstance(part, QuantizedLinear)]
    for layer, part in zip(layers, aware.aware_layers(mixed).values(), strict=True):
        assert torch.equal(layer.weight, part.weight_quantizer.q)


def test_each_layer_of_8_and_4_bits_gives_what_onnx_runtime_gives(glyphs, separable):
    """Weights of 4 bits in int8, which QLinearConv and QGemm take in every opset."""
    bits = {name: (4 if i % 2 else 8, 8) for i, name in enumerate(WIDTHS)}
    images = glyphs.train.images[:200]
    mixed = quantize_mixed(separable, bits, images, rounding="exact", correct_bias=True)
    network = convert(mixed)
    x = QParams(network.input_scale, network.input_zero_point)
    q, zero_point = quantize(glyphs.validation.images[:20], x), int(x.zero_point)
    compared = 0
    for part in network.layers:
        y = part(q)
        if getattr(part, "requantize", None) is not None:
            run = runtime_conv if isinstance(part, QuantizedConv2d) else runtime_linear
            theirs = run(part, q, zero_point).clamp(*part.requantize.bounds.tolist())
            assert share_off(y, theirs) < 0.002
            zero_point, compared = int(part.requantize.zero_point), compared + 1
        q = y
    assert compared == 5


def test_the_file_gives_the_network_back(glyphs, separable, tmp_path):
    images = glyphs.train.images[:100]
    mixed = quantize_mixed(separable, WIDTHS, images, rounding="exact", correct_bias=True)
    state, integers = aware.quantized_weights(mixed)
    parts = {
        name: codec.Scaled(*integers[name]) if name in integers else x for name, x in state.items()
    }
    size = codec.save(parts, tmp_path / "mixed.shrink")
    loaded = {
        "codec": codec.load(tmp_path / "mixed.shrink"),
        "packed": integer_formats.unpack_integers(integer_formats.pack_integers(state, integers)),
    }
    x = glyphs.validation.images[:50]
    with torch.no_grad():
        expected = mixed(x)
        for found in loaded.values():
            plain = folded(separable)
            plain.load_state_dict(found)
            assert torch.equal(plain(x), expected)
    bits = sum(q.numel() * WIDTHS[name[:-7]] for name, (q, _) in integers.items())
    others = sum(x.numel() for name, x in state.items() if name not in integers)
    assert size < bits / 8 + 4 * others + 600  # scales and names besides


@pytest.mark.parametrize("given", ["weights", "inputs"])
def test_the_same_again_and_no_gradient(separable, glyphs, given):
    bits = WIDTHS if given == "weights" else {n: (b, 8) for n, b in WIDTHS.items()}
    images = glyphs.train.images[:60]
    one, two = (quantize_mixed(separable, bits, images, rounding="descent") for _ in range(2))
    assert all(torch.equal(x, two.state_dict()[name]) for name, x in one.state_dict().items())
    assert torch.equal(copy.deepcopy(one)(images[:5]), one(images[:5]))
    one(images[:5]).sum().backward()
    assert one.fc.layer.weight.grad is None and one.fc.layer.bias.grad is not None


def test_dead_and_empty_layers():
    net = seeded(lambda: nn.Sequential(nn.Linear(1, 3), nn.ReLU(), nn.Linear(3, 2)))
    with torch.no_grad():
        net[2].weight.zero_()
    for rounding in ROUNDINGS[:3]:
        mixed = quantize_mixed(net, {"0": 2, "2": 2}, random(9, 1), rounding=rounding)
        assert not mixed[2].weight_quantizer.q.any()
        assert mixed[0].weight_quantizer.q.unique().abs().max() == 1


BITS = {
    "no layer": ({**WIDTHS, "fc.weight": 4}, r"no layer 'fc\.weight'; there are stem, depthwise1"),
    "missing": ({n: b for n, b in WIDTHS.items() if n[0] != "p"}, "no bits for pointwise1, point"),
    "1 bit": ({**WIDTHS, "fc": 1}, "the bits of fc must lie between 2 and 8, not 1"),
    "9 bits": ({**WIDTHS, "fc": 9}, "the bits of fc must lie between 2 and 8, not 9"),
    "input": ({**WIDTHS, "fc": (4, 9)}, "the bits of the input of fc must lie between 2 and 8"),
    "three": ({**WIDTHS, "fc": (4, 4, 4)}, r"fc: bits of the weight and of the input, not \(4, 4"),
    "mixed": ({**WIDTHS, "fc": (4, 4)}, "fc has bits for its input and stem has none: all, or"),
}


@pytest.mark.parametrize("kind", BITS)
def test_bits_that_cannot_be_are_named(separable, kind):
    bits, told = BITS[kind]
    with pytest.raises(ValueError, match=told):
        quantize_mixed(separable, bits, torch.rand(4, 1, 28, 28))


def test_other_bad_arguments_are_named(separable):
    for bits in ({**WIDTHS, "fc": 4.0}, {**WIDTHS, "fc": True}, {**WIDTHS, "fc": None}):
        with pytest.raises(TypeError, match="the bits of fc must be a whole number, not"):
            quantize_mixed(separable, bits)
    with pytest.raises(
        ValueError, match="no rounding 'up'; there are nearest, exact, descent, ada"
    ):
        quantize_mixed(separable, WIDTHS, rounding="up")
    with pytest.raises(ValueError, match="no scale 'max'; there are min-max, least squares"):
        quantize_mixed(separable, WIDTHS, scale="max")
    pairs = dict.fromkeys(WIDTHS, (4, 8))
    for bits, options in (
        (WIDTHS, {"rounding": "exact"}),
        (WIDTHS, {"correct_bias": True}),
        (pairs, {}),
    ):
        with pytest.raises(ValueError, match="calibration_data tell the inputs of the layers"):
            quantize_mixed(separable, bits, **options)
    weight = torch.ones(2, 4)
    with pytest.raises(ValueError, match="rounding 'exact' needs the moments of the layer's inp"):
        rounded(weight, weight_grid(weight, 4), "exact")
    with pytest.raises(ValueError, match="bits must lie between 2 and 8, not 1"):
        weight_grid(weight, 1)
    with pytest.raises(TypeError, match=r"the model must be an nn\.Module, not a dict"):
        quantize_mixed({}, WIDTHS)


def test_fixed_weights_have_the_form_that_a_prepared_layer_asks_for():
    q = torch.tensor([[1, -2], [0, 3]], dtype=torch.int8)
    fixed = FixedWeights(q, torch.tensor([[0.5], [2.0]]))
    latent = torch.zeros(2, 2, dtype=torch.float64)
    assert fixed(latent).dtype == torch.float64
    assert fixed(latent).tolist() == [[0.5, -1], [0, 6]]
    assert fixed.integers(latent) == (fixed.q, fixed.step) and fixed.scales(latent) is fixed.step

"""Networks of integers from prepared ones: the same integers layer by layer, the same answers."""

import itertools

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.classroom.baselines import baseline
from shrink.classroom.data import load
from shrink.quantization import quantize
from shrink.quantization.aware import (
    RANGES,
    TernaryWeights,
    TrainedTernaryWeights,
    aware_layers,
    prepare,
)
from shrink.quantization.aware_conversion import convert
from shrink.quantization.conversion import quantize_model
from shrink.quantization.integer import IntegerNetwork, QuantizedLinear
from tests.quantization.test_conversion import chain, random, seeded, state_of, unchanged

CHAINS = ("lenet-300-100", "lenet-5", "separable")
SHARE = 0.001  # of a layer's integers, at most, are off by one: a sum lay next to a half


@pytest.fixture(scope="module")
def glyphs():
    return load("glyphs", announce=False)


@pytest.fixture(scope="module")
def nets(glyphs):
    return {name: baseline(name, glyphs) for name in CHAINS}


@torch.no_grad()
def integers_of(prepared, x):
    """What the prepared network rounds the input of each layer to, and its logits."""
    found = []
    handles = [
        layer.register_forward_pre_hook(
            lambda layer, args: found.append(quantize(args[0], layer.input_quantizer.qparams()))
        )
        for layer in aware_layers(prepared).values()
    ]
    y = prepared(x)
    for handle in handles:
        handle.remove()
    return found, y


def check_same(prepared, x):
    """Each layer gives the same integers for the same ones, and the networks the same answers."""
    network, (integers, y) = convert(prepared), integers_of(prepared.eval(), x)
    assert isinstance(network, IntegerNetwork) and not network.training
    places = [i for i, part in enumerate(network.layers) if isinstance(part, QuantizedLinear)]
    assert len(places) == len(integers)
    for i, q in enumerate(integers[:-1]):
        found = network.layers[places[i] : places[i + 1]](q)
        off = (found.int() - integers[i + 1].int()).abs()
        assert off.max() <= 1 and (off > 0).float().mean() <= SHARE
    last = network.layers[places[-1] :](integers[-1]) * network.output_scale
    torch.testing.assert_close(last, y, rtol=1e-5, atol=1e-5 * y.abs().max().item())
    z = network(x)
    chosen = y.gather(1, z.argmax(1, keepdim=True))[:, 0]  # of few bits, logits may tie
    assert (chosen >= y.amax(1) - 1e-5 * y.abs().max()).float().mean() >= 0.98
    assert (z - y).square().mean().sqrt() <= 0.01 * y.square().mean().sqrt()
    return network


SHORT = [(2, False, "learned"), (4, True, "clipped"), (8, False, "fixed")]
KINDS = [
    pytest.param(*kind, marks=[] if kind in SHORT else pytest.mark.deep)
    for kind in itertools.product((2, 4, 8), (False, True), RANGES)
]


@pytest.mark.parametrize(("bits", "per_channel", "range_"), KINDS)
@pytest.mark.parametrize("name", CHAINS)
def test_the_same_integers_and_answers(glyphs, nets, name, bits, per_channel, range_):
    scale = {2: "learned", 4: "fixed", 8: "follows"}[bits]
    if name == "lenet-5" and range_ == "clipped":
        range_ = "fixed"  # no ReLU follows its convolutions
    prepared = prepare(
        nets[name],
        weight_bits=bits,
        activation_bits=bits,
        calibration_data=glyphs.train.images[:200],
        per_channel=per_channel,
        scale=scale,
        range=range_,
    )
    before = state_of(prepared)
    check_same(prepared.eval(), glyphs.validation.images[:100])
    assert unchanged(prepared, (before[0], [False] * len(before[1])))


@pytest.mark.parametrize("weights", [None, TernaryWeights], ids=["one bit", "ternary"])
@pytest.mark.parametrize("name", CHAINS)
def test_networks_of_one_bit_and_of_three_values_too(glyphs, nets, name, weights):
    prepared = prepare(
        nets[name],
        weight_bits=1,
        activation_bits=4,
        calibration_data=glyphs.train.images[:200],
        range="learned",
        weights=weights,
    )
    network = check_same(prepared, glyphs.validation.images[:100])
    for layer in network.layers:
        if isinstance(layer, QuantizedLinear):
            values = {-1, 1} if weights is None else {-1, 0, 1}
            assert {*layer.weight.unique().tolist()} == values


@pytest.mark.parametrize("scale", ["follows", "learned"])
@pytest.mark.parametrize("per_channel", [False, True])
def test_the_same_after_training_on_all_that_a_chain_may_have(per_channel, scale):
    net, x = seeded(chain), random(60, 2, 12, 20)
    prepared = prepare(
        net,
        weight_bits=3,
        activation_bits=5,
        calibration_data=x,
        per_channel=per_channel,
        scale=scale,
        range="learned",
    ).train()
    sgd = torch.optim.SGD(prepared.parameters(), lr=0.01)
    for _ in range(5):
        sgd.zero_grad()
        F.cross_entropy(prepared(x), torch.arange(60) % 5).backward()
        sgd.step()
    check_same(prepared, random(40, 2, 12, 20, seed=1))


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", CHAINS)
def test_untrained_with_the_same_parameters_it_is_the_network_of_chapter_03(
    glyphs, nets, name, per_channel
):
    images, x = glyphs.train.images[:200], glyphs.validation.images[:100]
    expected = quantize_model(nets[name], images, per_channel=per_channel)
    options = {"weight_bits": 8, "activation_bits": 8, "scale": "follows"}
    found = convert(
        prepare(nets[name], calibration_data=images, per_channel=per_channel, **options)
    )
    if name != "separable":  # there ranges are seen behind norms, and not behind folded ones
        state = expected.state_dict()
        assert all(t.equal(state[key]) for key, t in found.state_dict().items())
    assert (found(x) - expected(x)).abs().max() <= 0.02 * expected(x).abs().max()


def test_a_scale_that_follows_is_that_of_now():
    net, x = seeded(lambda: nn.Sequential(nn.Linear(8, 4))), random(50, 8)
    prepared = prepare(net, weight_bits=4, activation_bits=8, calibration_data=x, scale="follows")
    with torch.no_grad():
        prepared[0].layer.weight.mul_(5)
    torch.testing.assert_close(convert(prepared)(x), prepared(x).detach(), rtol=1e-5, atol=1e-4)


# ---- what has no such form


def two(**options):
    net = seeded(lambda: nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)))
    return prepare(net, **{"activation_bits": 4, "calibration_data": random(50, 8), **options})


def with_parts(*between, last=True):
    parts = [nn.Linear(8, 6), *between, *([nn.Linear(6, 4)] if last else [])]
    return prepare(
        seeded(lambda: nn.Sequential(*parts)), activation_bits=4, calibration_data=random(50, 8)
    )


def one_added():
    prepared = two()
    prepared.append(nn.Linear(4, 4))
    return prepared


def heavy_bias():
    prepared = two(scale="follows", per_channel=True)
    with torch.no_grad():
        prepared[2].layer.weight[1] = 1e-12
    return prepared


class Adds(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc, self.last = nn.Linear(8, 8), nn.Linear(8, 4)

    def forward(self, x):
        return self.last(F.relu(self.fc(x) + x))


REFUSED = {
    "additions": (
        lambda: prepare(seeded(Adds), activation_bits=4, calibration_data=random(50, 8)),
        r"add does not follow on .* \(the prepared model computes the same in floats",
    ),
    "tanh": (lambda: with_parts(nn.Tanh()), r"Tanh\(\), has no form on integers"),
    "a last ReLU": (lambda: with_parts(nn.ReLU(), last=False), "the last layer must be linear"),
    "weights alone": (
        lambda: two(activation_bits=None),
        r"^0, Linear.* rounds its weight alone.*prepare the model with activation_bits",
    ),
    "two scales": (
        lambda: two(weights=TrainedTernaryWeights),
        r"^0, Linear.*no one scale \(TrainedTernaryWeights\)",
    ),
    "a layer added": (one_added, r"^Linear\(in_features=4.* is not prepared"),
    "a bias beside next to nothing": (heavy_bias, r"^the bias of 2 is .* steps of its sums"),
    "not prepared": (lambda: nn.Sequential(nn.Linear(8, 4)), "the model is not prepared"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_has_no_form_on_integers_is_named(what):
    make, told = REFUSED[what]
    with pytest.raises(ValueError, match=told):
        convert(make())


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match=r"must be an nn\.Module"):
        convert(None)

"""Networks that train aware of their quantization: what is prepared, what it computes, refuses."""

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.classroom import models
from shrink.quantization import fake_quantize, qparams_of
from shrink.quantization.aware import (
    LEAST,
    RANGES,
    SCALES,
    AwareLayer,
    TernaryWeights,
    TrainedTernaryWeights,
    UniformWeights,
    as_plain,
    aware_layers,
    prepare,
    quantized_weights,
)
from shrink.quantization.binary import binary_scale
from shrink.quantization.calibration import METHODS, Calibrator
from shrink.quantization.conversion import fold_batch_norm
from tests import odd_models
from tests.quantization.test_conversion import seeded, state_of, unchanged

TERNARY = {"ternary": TernaryWeights, "trained ternary": TrainedTernaryWeights}


def random(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def images(n, seed=0):
    return torch.rand(n, 1, 28, 28, generator=torch.Generator().manual_seed(seed))


def small():
    """A convolution and a linear layer, each with a norm, and one more."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64, 6),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.Linear(6, 3),
    )


def pictures(n=20, seed=0):
    return random(n, 1, 4, 4, seed=seed)


def rows(n=30, seed=0):
    return random(n, 8, seed=seed)


# ---- the networks of the course


@pytest.fixture(scope="module")
def nets():
    return {name: seeded(lambda name=name: models.build(name, seed=0)) for name in models.MODELS}


@pytest.mark.parametrize(
    ("per_channel", "activation_bits", "in_place"),
    [(False, None, False), (True, 8, False), (False, 8, True)],
)
@pytest.mark.parametrize("name", models.MODELS)
def test_every_network_of_the_course_is_prepared(
    nets, name, per_channel, activation_bits, in_place
):
    net, x = copy.deepcopy(nets[name]), images(20)
    before = state_of(net)
    prepared = prepare(
        net,
        weight_bits=8,
        activation_bits=activation_bits,
        calibration_data=x,
        per_channel=per_channel,
        in_place=in_place,
    )
    assert (prepared is net) == in_place and (in_place or unchanged(net, before))
    names = [n.removesuffix(".weight") for n in models.weights(nets[name])]
    layers = aware_layers(prepared)
    assert list(layers) == names
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in prepared.modules())
    for layer in layers.values():
        assert (layer.input_quantizer is not None) == (activation_bits is not None)
        assert layer.weight_quantizer.step.numel() == (
            len(layer.layer.weight) if per_channel else 1
        )
    with torch.no_grad():
        expected, found = nets[name].eval()(x), prepared.eval()(x)
    assert (found - expected).square().mean() < 0.05**2 * expected.square().mean()


@pytest.mark.parametrize("name", ["separable", "residual"])
def test_folding_alone_changes_nothing(nets, name):
    prepared, x = prepare(nets[name]).eval(), images(5)
    for path, layer in aware_layers(prepared).items():
        prepared.set_submodule(path, layer.layer)
    with torch.no_grad():
        torch.testing.assert_close(prepared(x), nets[name].eval()(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("weights", [*SCALES, *TERNARY])
@pytest.mark.parametrize("bits", [1, 2])
def test_a_step_of_training_reaches_every_parameter_and_what_was_folded_stays(weights, bits):
    net = seeded(small)
    prepared = prepare(
        net,
        weight_bits=bits,
        activation_bits=4,
        calibration_data=pictures(),
        scale=weights if weights in SCALES else "learned",
        range="learned",
        weights=TERNARY.get(weights),
    ).train()
    before = {name: p.clone() for name, p in prepared.named_parameters()}
    buffers = {name: b.clone() for name, b in prepared.named_buffers()}
    sgd = torch.optim.SGD(prepared.parameters(), lr=1e-3)
    for seed in range(2):
        sgd.zero_grad()
        x = 2 * pictures(seed=seed + 5)
        F.cross_entropy(prepared(x), torch.arange(20) % 3).backward()
        sgd.step()
    for name, p in prepared.named_parameters():
        assert not p.equal(before[name]), name
    assert all(b.equal(buffers[name]) for name, b in prepared.named_buffers())


def test_after_preparing_nothing_observes():
    """No range moves with the data, in neither mode, and no hook is left."""
    prepared = prepare(seeded(small), activation_bits=4, calibration_data=pictures())
    state = {name: t.clone() for name, t in prepared.state_dict().items()}
    for mode in (True, False):
        prepared.train(mode)
        prepared(100 * pictures(seed=3))
    assert all(t.equal(state[name]) for name, t in prepared.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in prepared.modules())
    first, again = (prepared(pictures()) for _ in range(2))
    assert first.equal(again) and prepared(pictures()[:3]).allclose(first[:3], atol=1e-6)


# ---- weights


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("bits", range(1, 9))
def test_the_integers_times_their_scale_are_what_is_multiplied(bits, scale, per_channel):
    quantizer = UniformWeights(random(6, 40), bits, per_channel, scale)
    for seed in range(3):
        w = 1.3 * random(6, 40, seed=seed)
        q, scales = quantizer.integers(w)
        most = max(2 ** (bits - 1) - 1, 1)
        assert q.dtype == torch.int8 and q.abs().max() <= most
        assert (q * scales).equal(quantizer(w).detach())
        assert scales.equal(quantizer.scales(w).detach())
        assert scales.numel() == (6 if per_channel else 1) and not scales.requires_grad


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_scale_that_follows_is_that_of_the_largest_now(bits, per_channel):
    quantizer = UniformWeights(random(6, 40), bits, per_channel, "follows")
    w = 3 * random(6, 40, seed=1)
    p = qparams_of(w, bits, symmetric=True, narrow=True, axis=0 if per_channel else None)
    leaf = w.clone().requires_grad_()
    y = quantizer(leaf)
    y.sum().backward()
    assert y.equal(fake_quantize(w, p)) and leaf.grad.equal(torch.ones(6, 40))
    assert not [*quantizer.parameters()]


@pytest.mark.parametrize("per_channel", [False, True])
def test_one_bit_has_the_mean_for_a_scale_and_learns_it(per_channel):
    w, axis = random(6, 40), 0 if per_channel else None
    mean = binary_scale(w, axis)
    for scale in SCALES:
        quantizer = UniformWeights(w, 1, per_channel, scale)
        assert quantizer(w).equal(torch.where(w >= 0, mean, -mean))
    (quantizer(w) * random(6, 40, seed=1)).sum().backward()
    assert quantizer.step.grad.shape == mean.shape and quantizer.step.grad.all()


@pytest.mark.parametrize("per_channel", [False, True])
def test_ternary_weights_are_as_they_say(per_channel):
    quantizer, w = TernaryWeights(random(6, 40), per_channel), random(6, 40, seed=1)
    q, scales = quantizer.integers(w)
    assert {*q.unique().tolist()} == {-1, 0, 1} and (q * scales).equal(quantizer(w))
    assert scales.equal(quantizer.scales(w)) and scales.numel() == (6 if per_channel else 1)


@pytest.mark.parametrize("kind", [*SCALES, *TERNARY])
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_layer_of_zeros_stays_one_and_keeps_its_bias(kind, per_channel):
    net = nn.Sequential(nn.Linear(8, 3))
    with torch.no_grad():
        net[0].weight.zero_()
        net[0].bias.copy_(torch.tensor([0.5, -1.0, 0.0]))
    make = TERNARY.get(kind)
    for bits in (1, 2, 8):
        prepared = prepare(
            net,
            weight_bits=bits,
            activation_bits=8,
            calibration_data=rows(),
            scale=kind if kind in SCALES else "learned",
            per_channel=per_channel,
            weights=make,
        )
        y = prepared(rows(5))
        assert (y - net(rows(5))).abs().max() < 0.05


# ---- inputs


@pytest.mark.parametrize("method", METHODS)
def test_ranges_of_inputs_are_those_of_the_calibration(method):
    net, x = seeded(lambda: nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))), rows(90)
    prepared = prepare(
        net,
        activation_bits=6,
        calibration_data=x,
        method=method,
        percentile=90,
        batch_size=40,
    )
    calibrator = Calibrator(method, 6, percentile=90)
    for batch in x.split(40):
        calibrator.see(batch)
    p, expected = prepared[0].input_quantizer.qparams(), calibrator.qparams()
    assert p.scale.equal(expected.scale) and p.zero_point.equal(expected.zero_point)
    assert p.num_bits == 6 and prepared[0].input_quantizer(x).equal(fake_quantize(x, expected))


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("range_", RANGES)
def test_inputs_are_rounded_on_the_integers_that_they_say(range_, bits):
    for x in (rows(200), rows(200).relu()):
        if range_ == "clipped" and x.min() < 0:
            continue
        net = nn.Sequential(nn.Linear(8, 4))
        prepared = prepare(net, activation_bits=bits, calibration_data=x, range=range_)
        quantizer = prepared[0].input_quantizer
        found = quantizer(x).detach()
        assert found.equal(fake_quantize(x, quantizer.qparams()))
        assert 2 ** (bits - 1) < len(found.unique()) <= 2**bits
        assert (found - x).square().mean() <= (0.45 if bits == 2 else 0.1) * x.square().mean()


def test_the_step_of_inputs_counts_one_image():
    """So that the same images twice in a batch, and the mean of the loss, move it alike."""
    net, x = nn.Sequential(nn.Linear(8, 4)), rows(10)
    prepared = prepare(net, activation_bits=3, calibration_data=x, range="learned")
    found = []
    for batch in (x, torch.cat([x, x])):
        prepared.zero_grad()
        prepared(batch).square().mean().backward()
        found.append(prepared[0].input_quantizer.step.grad.item())
    assert found[0] == pytest.approx(found[1], rel=1e-4) and found[0]


@pytest.mark.parametrize("range_", RANGES)
@pytest.mark.parametrize("per_channel", [False, True])
def test_biases_are_whole_steps_of_the_sums_and_have_gradients(per_channel, range_):
    net, x = nn.Sequential(nn.Linear(8, 4)), rows(50).relu()
    options = {"activation_bits": 4, "weight_bits": 4, "per_channel": per_channel}
    layer = prepare(net, calibration_data=x, range=range_, **options)[0]
    y = layer(torch.zeros(3, 8))
    steps = layer.weight_quantizer.scales(layer.layer.weight).flatten()
    whole = y / (steps * layer.input_quantizer.qparams().scale)
    torch.testing.assert_close(whole, whole.round(), atol=1e-3, rtol=0)
    assert (y - net[0].bias).abs().max() <= 0.51 * (
        steps.max() * layer.input_quantizer.qparams().scale
    )
    y.sum().backward()
    assert layer.layer.bias.grad.tolist() == [3, 3, 3, 3]


def test_biases_stay_where_only_weights_are_rounded():
    net = nn.Sequential(nn.Linear(8, 4))
    assert prepare(net, weight_bits=2)(torch.zeros(1, 8))[0].equal(net[0].bias)


# ---- what stays


def test_modes_gradients_devices_and_types_stay():
    net = seeded(small).double().train()
    net[0].eval()
    net[4].requires_grad_(False)
    prepared = prepare(
        net, activation_bits=4, calibration_data=pictures().double(), range="learned"
    )
    assert not prepared[0].training and prepared[4].training and prepared[7].training
    assert not prepared[4].layer.weight.requires_grad and not prepared[4].layer.bias.requires_grad
    assert prepared[0].layer.weight.requires_grad
    y = prepared(pictures().double())
    assert y.dtype == torch.float64
    y.sum().backward()


def test_in_place_a_layer_keeps_its_parameters():
    """An optimizer from before goes on to move them; what was folded is new."""
    net = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    weights = [net[0].weight, net[2].bias]
    prepared = prepare(net, in_place=True)
    assert prepared[0].layer.weight is weights[0] and prepared[2].layer.bias is weights[1]
    copied = prepare(nn.Sequential(*[layer.layer for layer in (prepared[0], prepared[2])]))
    assert copied[0].layer.weight is not weights[0]


def test_other_parts_stay_as_they_are():
    net = nn.Sequential(nn.Embedding(5, 8), nn.LayerNorm(8), nn.Linear(8, 4), nn.GroupNorm(2, 4))
    prepared = prepare(net, weight_bits=2)
    assert [type(m) for m in prepared] == [nn.Embedding, nn.LayerNorm, AwareLayer, nn.GroupNorm]


def test_a_prepared_network_is_copied_saved_and_loaded():
    net, x = seeded(small), pictures()
    options = {"weight_bits": 3, "activation_bits": 4, "range": "learned"}
    prepared = prepare(net, calibration_data=x, **options)
    other = prepare(seeded(small, seed=1), calibration_data=2 * x, **options)
    other.load_state_dict(prepared.state_dict())
    y = prepared.eval()(x)
    assert other.eval()(x).equal(y) and copy.deepcopy(prepared)(x).equal(y)


# ---- what a file needs


@pytest.mark.parametrize("weights", [*SCALES, "ternary"])
def test_what_a_file_needs_gives_the_network_again(weights):
    prepared = prepare(
        seeded(small),
        weight_bits=3,
        scale=weights if weights in SCALES else "learned",
        weights=TERNARY.get(weights),
    ).eval()
    state, integers = quantized_weights(prepared)
    plain = as_plain(prepared)
    assert list(integers) == ["0.weight", "4.weight", "7.weight"]
    assert list(state) == [f"{i}.{part}" for i in (0, 4, 7) for part in ("weight", "bias")]
    for name, (q, scale) in integers.items():
        assert q.dtype == torch.int8 and (q * scale).equal(state[name])
        assert not scale.requires_grad
    assert plain(pictures()).equal(prepared(pictures()))
    latent = prepared[0].layer.weight
    assert not plain[0].weight.equal(latent)  # and the prepared one still has them


def test_weights_of_two_scales_have_no_integers_for_a_file():
    prepared = prepare(seeded(small), weights=TrainedTernaryWeights)
    with pytest.raises(ValueError, match=r"^0, Conv2d.*no integers of one scale: TrainedTern"):
        quantized_weights(prepared)
    assert len(as_plain(prepared)[0].weight.unique()) == 3
    for function in (as_plain, quantized_weights):
        with pytest.raises(ValueError, match="not prepared"):
            function(seeded(small))
        with pytest.raises(TypeError, match=r"must be an nn\.Module"):
            function(None)


# ---- errors while it trains


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_a_step_that_training_brings_below_0_is_held_at_a_tenth_of_its_start(bits, per_channel):
    options = {"weight_bits": bits, "per_channel": per_channel, "activation_bits": 4}
    for range, name in (("learned", "step"), ("clipped", "alpha")):
        prepared = prepare(seeded(small), **options, range=range, calibration_data=pictures().abs())
        layer = aware_layers(prepared)["4"]
        parameters = [layer.weight_quantizer.step, getattr(layer.input_quantizer, name)]
        starts = [p.detach().clone() for p in parameters]
        optimizer = torch.optim.SGD(parameters, lr=1.0)
        for p in parameters:
            p.grad = torch.full_like(p, 100.0)
        optimizer.step()
        assert all((p < 0).all() for p in parameters)
        prepared(pictures().abs()).sum().backward()
        for p, start in zip(parameters, starts, strict=True):
            assert torch.equal(p.detach(), start * LEAST) and p.grad is not None


def test_a_step_that_is_no_number_is_told_with_its_layer():
    prepared = prepare(seeded(small), weight_bits=2, activation_bits=4, calibration_data=pictures())
    with torch.no_grad():
        prepared[4].weight_quantizer.step.fill_(math.nan)
    with pytest.raises(ValueError, match=r"^4: the step must be above 0 and finite, not nan"):
        prepared(pictures())


def test_inputs_that_are_no_numbers_are_told_with_their_layer():
    prepared = prepare(seeded(small), activation_bits=4, calibration_data=pictures())
    with pytest.raises(ValueError, match=r"^0: 16 of 32 values are NaN"):
        prepared(torch.stack([pictures()[0], pictures()[0] * math.nan]))


# ---- what is refused


class Shared(nn.Module):
    """A norm after two layers."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm = nn.Linear(8, 4), nn.Linear(8, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.a(x)) + self.norm(self.b(x))


class Twice(Shared):
    """A layer whose output goes to a norm and beside it."""

    def forward(self, x):
        x = self.a(x)
        return self.norm(x) + x


class First(Shared):
    """A norm before a layer."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(8)

    def forward(self, x):
        return self.a(self.norm(x)) + self.b(x)


class Depends(Shared):
    def forward(self, x):
        return self.norm(self.a(x)) if x.sum() > 0 else self.b(x)


class OverWords(nn.Module):
    """A norm that counts other numbers than the layer's outputs as channels."""

    def __init__(self):
        super().__init__()
        self.fc, self.norm = nn.Linear(8, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.fc(x.unflatten(0, (-1, 4))))


class Reading(Shared):
    """Calls a layer, and reads its weight as well."""

    def __init__(self):
        super().__init__()
        self.fc, self.norm = nn.Linear(8, 8), nn.Identity()

    def forward(self, x):
        return self.fc(x) + F.linear(x, self.fc.weight)


NORMS = {
    "shared": (Shared, r"^norm, BatchNorm1d.* does not follow one layer alone"),
    "used twice": (Twice, r"^norm, BatchNorm1d.* does not follow one layer alone"),
    "before a layer": (First, r"^norm, BatchNorm1d.* does not follow one layer alone"),
    "depends on the input": (Depends, r"^norm, BatchNorm1d.* depends on its input"),
    "of other channels": (OverWords, "another result"),
    "without statistics": (
        lambda: nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4, track_running_stats=False)),
        "no running statistics",
    ),
}
PARTS = {
    "tied": (odd_models.MODELS["tied"][0], r"0\.weight and 2\.weight are one tensor"),
    "words tied": (odd_models.MODELS["words tied"][0], r"embed\.weight and head\.weight are one"),
    "under two names": (odd_models.used_twice, "0 and 2 are one layer"),
    "called twice": (odd_models.Listed, r"^fc, Linear.* is called 2 times"),
    "read": (Reading, r"^the weight of fc, Linear.* is read beside it"),
    "asks for kinds": (odd_models.AsksKind, "asks for the kinds of its layers"),
    "attention": (odd_models.Attends, r"^attention.* hands on the weights"),
    "hook": (odd_models.MODELS["hook"][0], r"^0, Linear.* has a hook"),
    "own forward": (odd_models.MODELS["scaled"][0], r"^0, Scaled.* has its own forward"),
    "replaced forward": (odd_models.MODELS["replaced forward"][0], r"^0, .* its own forward"),
    "weight norm": (odd_models.MODELS["weight norm"][0], "is computed at each call"),
    "pruned by torch": (odd_models.MODELS["pruned by torch"][0], r"prune\.remove"),
    "parametrized": (odd_models.MODELS["parametrized"][0], "is computed at each call"),
    "dilated": (odd_models.MODELS["dilated"][0], "has no form on integers"),
    "no layer": (lambda: nn.Sequential(nn.ReLU()), "no linear layer and no convolution"),
    "a layer itself": (lambda: nn.Linear(8, 4), r"put it into nn\.Sequential"),
    "prepared": (lambda: prepare(nn.Sequential(nn.Linear(8, 4))), "^0 is prepared already"),
    "on meta": (lambda: nn.Sequential(nn.Linear(8, 4, device="meta")), "on meta"),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("what", [*NORMS, *PARTS])
@pytest.mark.parametrize("in_place", [False, True])
def test_what_cannot_be_prepared_is_named_and_left_as_it_was(what, in_place):
    make, told = (NORMS | PARTS)[what]
    model = seeded(make)
    parts, tensors = [*model.modules()], dict(model.named_parameters(remove_duplicate=False))
    options = {"calibration_data": rows(32)} if what == "of other channels" else {}
    with pytest.raises(ValueError, match=told):
        prepare(model, in_place=in_place, **options)
    assert all(a is b for a, b in zip(model.modules(), parts, strict=True))
    after = dict(model.named_parameters(remove_duplicate=False))
    assert after.keys() == tensors.keys() and all(after[name] is t for name, t in tensors.items())


def test_a_layer_that_calibration_does_not_reach_is_named_in_place_too():
    class Unused(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(8, 4), nn.Linear(8, 4)

        def forward(self, x):
            return self.a(x)

    model = Unused()
    told = r"^b, Linear.* is called 0 times on 1 batches of calibration data"
    with pytest.raises(ValueError, match=told):
        prepare(model, activation_bits=4, calibration_data=rows(), in_place=True)
    assert isinstance(model.a, nn.Linear) and not model.a._forward_pre_hooks


def test_a_clip_needs_inputs_from_0_on_and_in_place_nothing_changes_otherwise():
    model = seeded(lambda: nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 4)))
    with pytest.raises(ValueError, match=r"^0, Linear.*inputs must not be negative, as -"):
        prepare(model, activation_bits=4, calibration_data=rows(), range="clipped", in_place=True)
    assert [type(part) for part in model] == [nn.Linear, nn.ReLU, nn.Linear]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"scale": "larger"}, "no scale 'larger'; there are follows"),
        ({"range": "wide"}, "no range 'wide'; there are fixed"),
        ({"weight_bits": 0}, "weight_bits must lie between 1 and 8, not 0"),
        ({"weight_bits": 9}, "weight_bits must lie between 1 and 8, not 9"),
        ({"activation_bits": 1}, "activation_bits must lie between 2 and 8, not 1"),
        ({"activation_bits": 4, "calibration_data": None}, "calibration_data tell"),
        ({"activation_bits": 4, "calibration_data": rows(0)}, "at least one input"),
        ({"activation_bits": 4, "calibration_data": rows() * math.nan}, "into 0: 240 of 240"),
        ({"activation_bits": 4, "method": "best"}, "no calibration 'best'"),
        ({"activation_bits": 4, "batch_size": 0}, "batch_size must be at least 1"),
    ],
    ids=str,
)
def test_arguments_are_refused_by_name(options, told):
    with pytest.raises(ValueError, match=told):
        prepare(nn.Sequential(nn.Linear(8, 4)), **{"calibration_data": rows(), **options})


def test_what_is_of_another_type_is_refused():
    net = nn.Sequential(nn.Linear(8, 4))
    for options in (
        {"weight_bits": 2.0},
        {"activation_bits": True},
        {"activation_bits": 4, "calibration_data": torch.arange(8)},
    ):
        with pytest.raises(TypeError, match="must be"):
            prepare(net, **{"calibration_data": rows(), **options})
    with pytest.raises(TypeError, match=r"must be an nn\.Module"):
        prepare(F.relu)


def test_a_norm_in_a_layer_is_folded_as_chapter_03_folds_it():
    net = seeded(small)
    folded = fold_batch_norm(net[0], net[1])
    prepared = prepare(net)
    assert prepared[0].layer.weight.equal(folded.weight)
    assert prepared[0].layer.bias.equal(folded.bias) and type(prepared[1]) is nn.Identity

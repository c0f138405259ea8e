"""From floats to integers: batch norms against torch's, the networks against the trained ones."""

import copy
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import fusion

from shrink import cost
from shrink.classroom import measure, models
from shrink.classroom.baselines import baseline
from shrink.classroom.data import load
from shrink.classroom.training import accuracy, pick_device
from shrink.quantization.calibration import METHODS, Calibrator
from shrink.quantization.conversion import (
    DynamicLayer,
    fold_batch_norm,
    quantize_dynamically,
    quantize_model,
)
from shrink.quantization.integer import (
    IntegerMaxPool2d,
    IntegerNetwork,
    QuantizedConv2d,
    QuantizedLinear,
    matmul,
)

NAMES = ("lenet-300-100", "lenet-5")
# Ten thousand images take the convolutions seconds.
ON_ALL_IMAGES = ("lenet-300-100", pytest.param("lenet-5", marks=pytest.mark.deep))


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seeded(make, seed=0):
    """A module as `make` returns it, with statistics of batch norms that are not those at first."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make()
        for part in model.modules():
            if isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d) and part.running_var is not None:
                part.running_mean.normal_()
                part.running_var.uniform_(0.1, 3)
                if part.affine:
                    nn.init.uniform_(part.weight, -1.5, 1.5)
                    nn.init.normal_(part.bias)
        return model


def state_of(model):
    return {name: t.clone() for name, t in model.state_dict().items()}, [
        part.training for part in model.modules()
    ]


def unchanged(model, before):
    state, modes = state_of(model)
    same = [torch.equal(state[name], t) for name, t in before[0].items()]
    return state.keys() == before[0].keys() and all(same) and modes == before[1]


# ---- folding

FOLDED = {
    "linear": (lambda: nn.Linear(7, 5), (7,)),
    "linear-no-bias": (lambda: nn.Linear(7, 5, bias=False), (7,)),
    "conv": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1), (4, 8, 8)),
    "conv-no-bias": (lambda: nn.Conv2d(4, 6, (3, 1), bias=False), (4, 8, 8)),
    "groups": (lambda: nn.Conv2d(4, 6, 3, groups=2, padding=1), (4, 8, 8)),
    "depthwise": (lambda: nn.Conv2d(4, 4, 3, groups=4, bias=False), (4, 8, 8)),
}


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("name", FOLDED)
def test_a_folded_layer_does_what_both_did(name, affine):
    make, shape = FOLDED[name]
    kind = nn.BatchNorm1d if len(shape) == 1 else nn.BatchNorm2d

    def both():
        layer = make()
        return nn.Sequential(layer, kind(len(layer.weight), eps=0.01, affine=affine))

    pair = seeded(both).eval()
    before, x = state_of(pair), random(20, *shape)
    folded = fold_batch_norm(*pair)
    torch.testing.assert_close(folded(x), pair(x), rtol=1e-4, atol=1e-5)
    assert unchanged(pair, before) and type(folded) is type(pair[0])
    assert folded is not pair[0] and folded.weight is not pair[0].weight
    if affine:
        fuse = fusion.fuse_linear_bn_eval if len(shape) == 1 else fusion.fuse_conv_bn_eval
        theirs = fuse(*pair)
        torch.testing.assert_close(folded.weight, theirs.weight)
        torch.testing.assert_close(folded.bias, theirs.bias)


def test_folding_is_the_same_in_training_mode():
    pair = seeded(lambda: nn.Sequential(nn.Linear(7, 5), nn.BatchNorm1d(5)))
    in_training = fold_batch_norm(*pair.train())
    assert in_training.weight.equal(fold_batch_norm(*pair.eval()).weight)


@pytest.mark.parametrize(
    "norm", [nn.BatchNorm1d(4), nn.BatchNorm1d(5, track_running_stats=False)], ids=str
)
def test_a_norm_that_cannot_be_folded_is_named(norm):
    with pytest.raises(ValueError, match=r"BatchNorm1d\(.* no running statistics of 5 channels"):
        fold_batch_norm(nn.Linear(7, 5), norm)


# ---- the networks of the course


@pytest.fixture(scope="module")
def glyphs():
    return load("glyphs", announce=False)


@pytest.fixture(scope="module")
def trained(glyphs):
    """Each network and its accuracy."""
    nets = {name: baseline(name, glyphs) for name in NAMES}
    return {name: (net, accuracy(net, glyphs.test)) for name, net in nets.items()}


@pytest.fixture(scope="module")
def networks(glyphs, trained):
    return {
        name: quantize_model(net, glyphs.train.images[:500]) for name, (net, _) in trained.items()
    }


@pytest.mark.parametrize("name", ON_ALL_IMAGES)
def test_int8_costs_less_than_a_tenth_of_a_point(glyphs, trained, networks, name):
    assert abs(accuracy(networks[name], glyphs.test) - trained[name][1]) <= 0.001


@pytest.mark.parametrize("name", ON_ALL_IMAGES)
def test_4_bits_a_channel_cost_less_than_a_point(glyphs, trained, name):
    net, before = trained[name]
    network = quantize_model(net, glyphs.train.images[:500], weight_bits=4, per_channel=True)
    assert abs(accuracy(network, glyphs.test) - before) <= 0.01


@pytest.mark.deep
@pytest.mark.mnist
@pytest.mark.parametrize("name", NAMES)
def test_on_mnist_too(name):
    mnist = load("mnist", device=pick_device(), announce=False)
    net, images = baseline(name, mnist), mnist.train.images[:500]
    before = accuracy(net, mnist.test)
    found = accuracy(quantize_model(net, images), mnist.test)
    coarse = quantize_model(net, images, weight_bits=4, per_channel=True)
    coarse = accuracy(coarse, mnist.test)
    print(f"{name}: {before:.2%}, int8 {found:.2%}, weights of 4 bits a channel {coarse:.2%}")
    assert abs(found - before) <= 0.001
    assert abs(coarse - before) <= 0.01


@pytest.mark.parametrize("name", NAMES)
def test_the_parts_are_integers_and_what_was_fused_is_gone(networks, name):
    network = networks[name]
    kinds = [type(part) for part in network.layers]
    linear = QuantizedLinear
    if name == "lenet-300-100":
        assert kinds == [nn.Flatten, linear, linear, linear]
    else:
        pooled = [QuantizedConv2d, IntegerMaxPool2d]
        assert kinds == [*pooled, *pooled, nn.Flatten, linear, linear]
    assert not network.training
    for part in network.layers:
        if isinstance(part, QuantizedLinear):
            assert part.weight.dtype == torch.int8 and part.bias.dtype == torch.int32
            assert part.weight.abs().max() == 127  # and no -128
    assert network.layers[-1].requantize is None


def test_a_relu_is_the_lowest_integer(networks):
    conv1, conv2, fc1 = (networks["lenet-5"].layers[i].requantize for i in (0, 2, 5))
    for without in (conv1, conv2):
        assert without.bounds.tolist() == [-128, 127] and without.zero_point > -128
    assert fc1.bounds.tolist() == [-128, 127] and fc1.zero_point == -128


def test_a_relu_of_a_symmetric_network_is_a_clamp_at_0(glyphs, trained):
    net, before = trained["lenet-300-100"]
    network = quantize_model(net, glyphs.train.images[:500], symmetric=True)
    for layer in network.layers[1:-1]:
        assert layer.requantize.bounds.tolist() == [0, 127] and layer.requantize.zero_point == 0
    assert network.input_zero_point == 0
    assert abs(accuracy(network, glyphs.test) - before) <= 0.003


@pytest.mark.parametrize("name", NAMES)
def test_in_training_mode_the_same_comes_out(glyphs, trained, networks, name):
    net = copy.deepcopy(trained[name][0]).train()
    before, images = state_of(net), glyphs.train.images[:500]
    network = quantize_model(net, images)
    assert unchanged(net, before)
    assert network(images[:50]).equal(networks[name](images[:50]))


@pytest.mark.parametrize("name", NAMES)
def test_the_calibration_data_stay_as_they_were(glyphs, trained, name):
    images = glyphs.train.images[:30].clone()
    before = images.clone()
    quantize_model(trained[name][0], images)(images)
    assert images.equal(before)


# ---- files and costs


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_file_of_int8_is_a_quarter(glyphs, trained, tmp_path, name, per_channel):
    """Within 3 %, and 2 kB for names, shapes, multipliers and shifts."""
    net, images = trained[name][0], glyphs.train.images[:100]
    network = quantize_model(net, images, per_channel=per_channel)
    length = measure.write(tmp_path / "int8", network.state_dict())
    assert length == measure.size(network.state_dict())
    assert abs(length - measure.size(net.state_dict()) / 4) <= 0.03 * length + 2000
    other = quantize_model(models.build(name, seed=1), images, per_channel=per_channel)
    other.load_state_dict(measure.read(tmp_path / "int8"))
    assert other(images).equal(network(images))


def test_measure_takes_a_network_of_integers(glyphs, trained, networks, tmp_path):
    name = "lenet-300-100"
    split = type(glyphs.test)(glyphs.test.images[:1000], glyphs.test.labels[:1000])
    floats, integers = (
        measure.measure(which, net, split, "glyphs", tmp_path / which, num_bits=bits)
        for which, net, bits in (
            ("float", trained[name][0], 32),
            ("int8", networks[name], 8),
        )
    )
    assert integers.macs == floats.macs == 266_200
    assert integers.parameters == floats.parameters == 266_610
    assert integers.nonzeros <= floats.nonzeros
    assert integers.correct == round(1000 * accuracy(networks[name], split))
    assert integers.file_bytes == (tmp_path / "int8").stat().st_size
    assert integers.microjoules < floats.microjoules / 3


def chain():
    """All that a network may have."""
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.2),
        nn.Conv2d(8, 8, 3, stride=2, padding=1, groups=8),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, (1, 3), padding=(1, 0), stride=(1, 2), groups=2),
        nn.MaxPool2d((2, 1), stride=(1, 1)),
        nn.ReLU(),
        nn.Identity(),
        nn.Flatten(),
        nn.Linear(96, 20, bias=False),
        nn.BatchNorm1d(20, affine=False),
        nn.Dropout(),
        nn.Linear(20, 5),
    )


@pytest.mark.parametrize("kind", [*NAMES, "chain"])
def test_counted_costs_are_those_of_the_floats(kind):
    if kind == "chain":
        net, images = seeded(chain).eval(), random(5, 2, 12, 20)
    else:
        net, images = models.build(kind, seed=0), random(5, 1, 28, 28)
    found = cost.layers(quantize_model(net, images), images)
    norms = {name for name, part in net.named_modules() if "BatchNorm" in type(part).__name__}
    expected = [layer for layer in cost.layers(net, images) if layer.name not in norms]
    assert len(found) == (4 if kind != "lenet-300-100" else 3) + (kind == "chain")
    for ours, theirs in zip(found, expected, strict=True):
        assert (ours.macs, ours.inputs, ours.outputs) == (
            theirs.macs,
            theirs.inputs,
            theirs.outputs,
        )
    assert cost.macs(quantize_dynamically(net), images) == cost.macs(net, images)


# ---- a chain of everything, and how far its integers may be from the floats


def furthest(model, x, num_bits, per_channel):
    """The logits of the model, float64, and how far the integers may be from them at most.

    An input is off by half a step of its range. Through a layer each weight is off by half of its
    step, and the bias by half a step of the sums. A ReLU and a maximum put nothing further apart.
    """
    model = copy.deepcopy(model).double().eval()
    folded = []
    for part in model:
        if not isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d):
            folded.append(part)
            continue
        if not part.affine:
            part.weight = nn.Parameter(torch.ones_like(part.running_var))
            part.bias = nn.Parameter(torch.zeros_like(part.running_var))
        linear = isinstance(folded[-1], nn.Linear)
        fuse = fusion.fuse_linear_bn_eval if linear else fusion.fuse_conv_bn_eval
        folded[-1] = fuse(folded[-1], part)
    x, off = x.double(), torch.zeros_like(x, dtype=torch.float64)
    with torch.no_grad():
        for part in folded:
            if not isinstance(part, nn.Linear | nn.Conv2d):
                x, off = part(x), off if isinstance(part, nn.ReLU) else part(off)
                continue
            step = (x.max().clamp(min=0) - x.min().clamp(max=0)) / (2**num_bits - 1)
            off = off + 0.5 * step
            weight = part.weight.abs()
            axes = [*range(1, weight.dim())] if per_channel else [*range(weight.dim())]
            weight_step = weight.amax(axes, keepdim=True) / (2 ** (num_bits - 1) - 1)
            along = copy.deepcopy(part)
            of_sums = (step * weight_step).expand(len(weight), *weight_step.shape[1:]).flatten()
            along.bias = nn.Parameter(0.5 * of_sums)
            along.weight = nn.Parameter(weight + 0.5 * weight_step)
            spread = along(off)
            along.bias = None
            along.weight = nn.Parameter(0.5 * weight_step.expand_as(weight).clone())
            x, off = part(x), 1.001 * (spread + along(x.abs()))
    return x, off


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("bits", "relative"), [(8, 0.03), (6, 0.12)])
def test_integers_are_as_near_as_their_steps_allow(bits, relative, per_channel):
    net, x = seeded(chain), random(200, 2, 12, 20)
    before = state_of(net)
    network = quantize_model(
        net, x, weight_bits=bits, activation_bits=bits, per_channel=per_channel
    )
    assert unchanged(net, before)
    y, (expected, limit) = network(x), furthest(net, x, bits, per_channel)
    assert ((y - expected).abs() <= limit).all()
    error = (y - expected).square().mean().sqrt() / expected.std()
    assert error <= relative  # the worst case is far from the rule


def inputs_of(net, x):
    """What comes to each layer with weights, as the float network has it."""
    found = {}
    hooks = [
        part.register_forward_pre_hook(lambda part, args: found.setdefault(part, args[0]))
        for part in net.modules()
        if isinstance(part, nn.Linear | nn.Conv2d)
    ]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return found


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize(("weight_bits", "activation_bits"), [(8, 8), (4, 8), (8, 5), (2, 2)])
@pytest.mark.parametrize("name", NAMES)
def test_the_parameters_are_those_of_the_paper(
    glyphs, trained, name, weight_bits, activation_bits, per_channel
):
    net, images = trained[name][0], glyphs.train.images[:100]
    network = quantize_model(
        net,
        images,
        weight_bits=weight_bits,
        activation_bits=activation_bits,
        per_channel=per_channel,
        batch_size=33,
    )
    layers = [part for part in network.layers if isinstance(part, QuantizedLinear)]
    inputs, top = inputs_of(net, images), 2 ** (activation_bits - 1)
    ranges = [(min(x.min().item(), 0), max(x.max().item(), 0)) for x in inputs.values()]
    steps = [(high - low) / (2 * top - 1) for low, high in ranges]
    zeros = [round(-top - low / step) for (low, _), step in zip(ranges, steps, strict=True)]
    assert network.input_zero_point == zeros[0]
    assert network.input_scale.item() == pytest.approx(steps[0], rel=1e-6)
    for i, (part, layer) in enumerate(zip(inputs, layers, strict=True)):
        weight, most = part.weight.detach().double(), 2 ** (weight_bits - 1) - 1
        axes = [*range(1 if per_channel else 0, weight.dim())]
        step = weight.abs().amax(axes, keepdim=True) / most
        assert (layer.weight - weight / step).abs().max() <= 0.501
        assert layer.weight.abs().max() == most
        scale = steps[i] * step.flatten()
        of_zeros = zeros[i] * layer.weight.flatten(1).sum(1, dtype=torch.int64)
        own = (layer.bias + of_zeros) * scale
        assert ((own - part.bias.detach()).abs() <= 0.51 * scale + 1e-6).all()
        if isinstance(part, nn.Conv2d):
            assert layer.zero_point == zeros[i]
        if i + 1 < len(layers):
            found = layer.requantize
            factor = found.multiplier.double() / 2.0 ** found.shift.double()
            expected = scale / steps[i + 1]
            torch.testing.assert_close(
                factor,
                expected.expand(factor.shape) if factor.dim() else expected[0],
                rtol=1e-6,
                atol=0,
            )
            assert found.zero_point == zeros[i + 1]
            assert found.bounds.tolist() == [-top, top - 1]
    expected = scale.float() if per_channel else scale.float()[0]
    torch.testing.assert_close(network.output_scale, expected)


@pytest.mark.parametrize("method", METHODS)
def test_ranges_are_those_of_the_calibration(method):
    net, x = seeded(lambda: nn.Sequential(nn.Linear(6, 4))), random(90, 6)
    calibrator = Calibrator(method, 6, symmetric=True, percentile=90)
    for batch in x.split(40):
        calibrator.see(batch)
    network = quantize_model(
        net,
        x,
        activation_bits=6,
        symmetric=True,
        method=method,
        percentile=90,
        batch_size=40,
    )
    assert network.input_scale.equal(calibrator.qparams().scale)
    assert network.input_zero_point == 0 and network.num_bits == 6


# ---- corners


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("others", [1.0, 1e-20])
def test_a_dead_channel_keeps_its_bias(others, per_channel, last):
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 3)))
    dead, other = (net[2], net[0]) if last else (net[0], net[2])
    with torch.no_grad():
        dead.weight.mul_(others)
        dead.weight[0] = 1e-20
        dead.bias[0] = 0.1
        other.weight.copy_(torch.eye(3, other.in_features))
        other.bias.zero_()
    x = random(50, 6)
    y = quantize_model(net, x, per_channel=per_channel)(x)
    assert (y[:, 0] - 0.1).abs().max() <= 0.02
    assert (y - net(x)).abs().max() <= 0.03 * max(net(x).abs().max(), 1)


@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_a_layer_pruned_to_nothing_keeps_its_biases(per_channel, last):
    """However wide its input is, whose step says nothing about the bias."""
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 3)))
    with torch.no_grad():
        net[0].weight.mul_(100)
        net[2 if last else 0].weight.zero_()
        net[2 if last else 0].bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
    x = 100 * random(50, 6)
    torch.testing.assert_close(
        quantize_model(net, x, per_channel=per_channel)(x), net(x), rtol=0.02, atol=0.01
    )


def test_a_channel_pruned_to_nothing_keeps_its_bias():
    net = nn.Sequential(nn.Linear(6, 3))
    with torch.no_grad():
        net[0].weight[1] = 0
        net[0].bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
    x = 1000 * random(50, 6)
    y = quantize_model(net, x, per_channel=True)(x)
    torch.testing.assert_close(y[:, 1], torch.full((50,), 0.2))


@pytest.mark.parametrize("sign", [1, -1])
def test_the_longest_sum_fits_with_the_largest_bias(sign):
    net = nn.Sequential(nn.Linear(2**15 - 1, 1))
    bias = sign * 2**30 / (127 * 255)  # half of int32, in the sums' scale
    nn.init.constant_(net[0].weight, sign)
    nn.init.constant_(net[0].bias, bias)
    x = torch.ones(2, 2**15 - 1)
    network = quantize_model(net, x)
    (layer,) = network.layers
    assert matmul(torch.full_like(layer.weight, 127), layer.weight).abs() > 2**28
    torch.testing.assert_close(network(x), net(x), rtol=1e-3, atol=0)


def test_a_sum_that_int32_is_not_sure_of_is_refused():
    net = nn.Sequential(nn.Linear(2**15, 1))
    with pytest.raises(ValueError, match=r"Linear\(in_features=32768.* sums up 32768 products"):
        quantize_model(net, torch.ones(2, 2**15))


class Written(nn.Module):
    """A chain in `forward`, in all words that it may be written with."""

    def __init__(self):
        super().__init__()
        self.conv, self.fc = nn.Conv2d(1, 4, 3), nn.Linear(36, 5)
        self.last = nn.Linear(5, 2)

    def forward(self, images):
        x = F.max_pool2d(torch.relu(self.conv(images)), kernel_size=2, stride=2)
        x = F.dropout(torch.flatten(x, 1), p=0.5, training=self.training)
        return self.last(self.fc(x).relu())


class Method(Written):
    def forward(self, images):
        x = F.max_pool2d(F.relu(self.conv(images), inplace=True), (2, 2), 2)
        return self.last(F.relu(self.fc(x.flatten(start_dim=1))))


def test_a_chain_in_words_is_the_chain_in_modules():
    written = seeded(Written)
    parts = (nn.ReLU(), nn.MaxPool2d(2), nn.Flatten())
    modules = nn.Sequential(written.conv, *parts, written.fc, nn.ReLU(), written.last)
    method = Method()
    method.load_state_dict(written.state_dict())
    x = random(30, 1, 8, 8)
    expected = quantize_model(modules, x)(x)
    for net in (written, method, nn.Sequential(nn.Sequential(method))):
        assert quantize_model(net, x)(x).equal(expected)


def test_what_stands_before_the_first_layer_works_on_integers():
    net = seeded(lambda: nn.Sequential(nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)))
    x = random(40, 1, 8, 8)
    network = quantize_model(net, x)
    assert [type(part) for part in network.layers][:2] == [IntegerMaxPool2d, nn.Flatten]
    assert (network(x) - net(x)).abs().max() <= 0.05


class Residual(Written):
    def forward(self, images):
        x = self.conv(images)
        return self.fc((x + F.relu(x)).flatten(1))


class Twice(Written):
    def forward(self, images):
        x = self.conv(images)
        F.relu(x)
        return self.fc(F.max_pool2d(x, 2).flatten(1))


class DependsOnValues(Written):
    def forward(self, images):
        return self.fc(images) if images.sum() > 0 else self.last(images)


class DependsOnLength(Written):
    def forward(self, images):
        return self.last(images) if len(images) else self.last(images + 1)


class DependsOnShape(Written):
    def forward(self, images):
        for _ in range(images.shape[0]):
            pass
        return self.last(images)


def image_net(*parts, last=108):
    return lambda: nn.Sequential(*parts, nn.Flatten(), nn.Linear(last, 3))


conv3 = nn.Conv2d(1, 3, 3)
REFUSED = {
    "residual": (Residual, "add does not follow on relu alone: no chain"),
    "a result left aside": (Twice, "max_pool2d does not follow on relu alone"),
    "average pooling": (image_net(conv3, nn.AvgPool2d(2)), "AvgPool2d"),
    "sigmoid": (image_net(conv3, nn.Sigmoid()), "Sigmoid"),
    "gelu": (image_net(conv3, nn.GELU()), "GELU"),
    "relu6": (image_net(conv3, nn.ReLU6()), "ReLU6"),
    "dilation": (image_net(nn.Conv2d(1, 3, 3, dilation=2)), r"dilation=\(2, 2\)"),
    "same": (image_net(nn.Conv2d(1, 3, 3, padding="same")), "padding=same"),
    "reflect": (
        image_net(nn.Conv2d(1, 3, 3, padding=1, padding_mode="reflect")),
        "padding_mode=reflect",
    ),
    "padded pool": (image_net(conv3, nn.MaxPool2d(2, padding=1)), r"_1, MaxPool2d\(.*padding=1"),
    "dilated pool": (image_net(conv3, nn.MaxPool2d(2, dilation=2)), r"MaxPool2d\(.*dilation=2"),
    "ceiling": (image_net(conv3, nn.MaxPool2d(2, ceil_mode=True)), r"MaxPool2d\(.*ceil_mode=True"),
    "flat to 2": (lambda: nn.Sequential(nn.Flatten(1, 2), nn.Linear(8, 3)), "end_dim=2"),
    "flat from 0": (lambda: nn.Sequential(nn.Flatten(0), nn.Linear(8, 3)), "start_dim=0"),
    "relu first": (image_net(nn.ReLU(), last=64), "ReLU"),
    "norm first": (image_net(nn.BatchNorm2d(1), last=64), "BatchNorm2d"),
    "norm after relu": (image_net(conv3, nn.ReLU(), nn.BatchNorm2d(3)), "BatchNorm2d"),
    "norm by groups": (image_net(conv3, nn.GroupNorm(1, 3)), "GroupNorm"),
    "last conv": (lambda: nn.Sequential(nn.Conv2d(1, 3, 3)), "last layer must be linear.*Conv2d"),
    "last conv, flat": (lambda: nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten()), "linear.*Conv2d"),
    "last relu": (lambda: nn.Sequential(nn.Linear(8, 3), nn.ReLU()), "last.*ReLU"),
    "nothing": (nn.Sequential, "last layer must be linear, it is None"),
    "values": (DependsOnValues, "depends on its input"),
    "length": (DependsOnLength, "depends on its input|len"),
    "shape": (DependsOnShape, "depends on its input|shape|integer"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_form_on_integers_is_named(name):
    make, message = REFUSED[name]
    net = seeded(make).train()
    before = state_of(net)
    with pytest.raises(ValueError, match=message):
        quantize_model(net, random(10, 1, 8, 8))
    assert unchanged(net, before)


@pytest.mark.parametrize(
    ("x", "options", "message"),
    [
        (random(0, 6), {}, "calibration needs at least one input, got none"),
        (torch.full((4, 6), math.nan), {}, "24 of 24 activations are NaN or infinite"),
        (torch.full((4, 6), math.inf), {}, "24 of 24 activations are NaN or infinite"),
        (random(4, 6), {"weight_bits": 1}, "bits must lie between 2 and 8, not 1"),
        (random(4, 6), {"weight_bits": 9}, "bits must lie between 2 and 8, not 9"),
        (random(4, 6), {"activation_bits": 1}, "bits must lie between 2 and 8, not 1"),
        (random(4, 6), {"activation_bits": 9}, "bits must lie between 2 and 8, not 9"),
        (random(4, 6), {"method": "guess"}, "no calibration 'guess'"),
        (random(4, 6), {"method": "percentile", "percentile": 20}, "percentile must be above 50"),
    ],
)
def test_what_cannot_be_done_is_said(x, options, message):
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)))
    before = state_of(net)
    with pytest.raises(ValueError, match=message):
        quantize_model(net, x, **options)
    assert unchanged(net, before)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("part", ["weight", "bias"])
@pytest.mark.parametrize("layer", [0, 2])
def test_parameters_that_are_not_finite_are_refused(layer, part, bad):
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)))
    with torch.no_grad():
        getattr(net[layer], part).view(-1)[0] = bad
    with pytest.raises(ValueError, match=r"NaN|infinite"):
        quantize_model(net, random(4, 6))


# ---- ranges at run time


def dynamic_linear(x, layer, per_channel, bits=8):
    """Float64, on the grids that torch's fake quantization makes."""
    step = ((x.max().clamp(min=0) - x.min().clamp(max=0)) / (2**bits - 1)).item()
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    zero = round(low - min(x.min().item(), 0) / step)
    x = torch.fake_quantize_per_tensor_affine(x, step, zero, low, high).double()
    weight = layer.weight.detach()
    if per_channel:
        steps = weight.flatten(1).abs().amax(1) / high
        zeros = torch.zeros(len(weight), dtype=torch.int32)
        w = torch.fake_quantize_per_channel_affine(weight, steps, zeros, 0, -high, high)
    else:
        step = weight.abs().max().item() / high
        w = torch.fake_quantize_per_tensor_affine(weight, step, 0, -high, high)
    along = copy.deepcopy(layer).double()
    along.weight = nn.Parameter(w.double())
    return along(x).detach()


DYNAMIC = {
    "linear": (lambda: nn.Linear(40, 7), (40,)),
    "linear-no-bias": (lambda: nn.Linear(40, 7, bias=False), (40,)),
    "conv": (lambda: nn.Conv2d(2, 5, 3, padding=1), (2, 9, 8)),
    "conv-2": (lambda: nn.Conv2d(2, 6, (3, 2), padding=(2, 1), stride=(1, 2)), (2, 9, 8)),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, padding=1, groups=4, bias=False), (4, 9, 8)),
}


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("offset", [0, 3, -3])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", DYNAMIC)
def test_a_dynamic_layer_is_the_product_on_the_grids(name, per_channel, offset, bits):
    make, shape = DYNAMIC[name]
    layer, x = seeded(make), random(20, *shape) + offset
    dynamic = quantize_dynamically(
        nn.Sequential(layer), weight_bits=bits, activation_bits=bits, per_channel=per_channel
    )
    assert isinstance(dynamic[0], DynamicLayer)
    y = dynamic(x)
    assert y.dtype == torch.float32
    expected = dynamic_linear(x, layer, per_channel, bits).float()
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)


def test_dynamic_layers_are_about_as_far_off_as_torchs():
    ao = pytest.importorskip("torch.ao.quantization")
    if not hasattr(ao, "quantize_dynamic"):
        pytest.skip("torch has given it up")
    net = seeded(lambda: nn.Sequential(nn.Linear(100, 50), nn.ReLU(), nn.Linear(50, 10))).eval()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torchs = ao.quantize_dynamic(net, {nn.Linear}, dtype=torch.qint8)
    x = random(300, 100)
    expected, theirs, ours = net(x).detach(), torchs(x), quantize_dynamically(net)(x)
    error = (ours - expected).square().mean().sqrt()
    assert error <= 0.02 * expected.std()
    assert error <= 1.2 * (theirs - expected).square().mean().sqrt()
    assert (ours - theirs).square().mean().sqrt() <= 0.04 * expected.std()


def test_the_range_is_that_of_the_batch():
    net = seeded(lambda: nn.Sequential(nn.Linear(40, 7, bias=False)))
    dynamic, x = quantize_dynamically(net), random(20, 40)
    near = dynamic(x)
    torch.testing.assert_close(dynamic(1000 * x), 1000 * near)  # nothing is clipped
    with_outlier = dynamic(torch.cat([x, torch.full((1, 40), 500.0)]))[:20]
    errors = [(y - net(x)).abs().max() for y in (near, with_outlier)]
    assert errors[1] > 10 * errors[0]


def test_a_symmetric_dynamic_layer_has_zero_point_0():
    net, x = seeded(lambda: nn.Sequential(nn.Linear(1, 1))), torch.linspace(0, 127, 128)[:, None]
    with torch.no_grad():
        net[0].weight.fill_(1)
    y = quantize_dynamically(net, symmetric=True)(x)
    torch.testing.assert_close(y, net(x))  # the steps are ones


def test_the_original_is_left_alone_and_all_layers_within_are_found():
    net = seeded(lambda: nn.Sequential(chain(), nn.Sequential(nn.Linear(5, 4)))).train()
    before, x = state_of(net), random(20, 2, 12, 20)
    dynamic = quantize_dynamically(net)
    assert unchanged(net, before)
    assert not any(part.training for part in dynamic.modules())
    assert not any(isinstance(part, nn.Linear | nn.Conv2d) for part in dynamic.modules())
    assert sum(isinstance(part, DynamicLayer) for part in dynamic.modules()) == 6
    expected = net.eval()(x)
    assert (dynamic(x) - expected).square().mean().sqrt() <= 0.03 * expected.std()
    dynamic[1][0].bias.zero_()
    assert net[1][0].bias.any()


@pytest.mark.parametrize("name", ON_ALL_IMAGES)
def test_dynamic_networks_keep_the_accuracy(glyphs, trained, name):
    net, before = trained[name]
    assert abs(accuracy(quantize_dynamically(net), glyphs.test) - before) <= 0.002


def test_a_dynamic_network_goes_through_its_state():
    dynamic = quantize_dynamically(seeded(chain))
    other, x = quantize_dynamically(seeded(chain, seed=1)), random(20, 2, 12, 20)
    other.load_state_dict(dynamic.state_dict())
    assert other(x).equal(dynamic(x))


@pytest.mark.parametrize("bits", [1, 9])
@pytest.mark.parametrize("which", ["weight_bits", "activation_bits"])
def test_bits_that_int8_does_not_hold_are_named(which, bits):
    with pytest.raises(ValueError, match=f"bits must lie between 2 and 8, not {bits}"):
        quantize_dynamically(nn.Sequential(nn.Linear(4, 3)), **{which: bits})


def test_a_dynamic_network_tells_of_nan():
    with pytest.raises(ValueError, match="1 NaN"):
        x = random(4, 6)
        x[2, 3] = math.nan
        quantize_dynamically(nn.Sequential(nn.Linear(6, 4)))(x)


def test_a_dynamic_layer_shares_nothing_with_the_layer():
    layer, x = seeded(lambda: nn.Linear(6, 4)), random(5, 6)
    dynamic = DynamicLayer(layer)
    before = dynamic(x)
    with torch.no_grad():
        layer.bias.zero_()
        layer.weight.zero_()
    assert dynamic(x).equal(before)


def test_a_layer_by_itself_is_quantized_too():
    layer = nn.Linear(6, 4)
    assert isinstance(quantize_dynamically(layer), DynamicLayer)


ODD = {
    "dilation": (lambda: nn.Conv2d(2, 3, 3, dilation=2), (2, 9, 9)),
    "same": (lambda: nn.Conv2d(2, 3, 3, padding="same"), (2, 9, 9)),
    "valid": (lambda: nn.Conv2d(2, 3, 3, padding="valid"), (2, 9, 9)),
    "reflect": (lambda: nn.Conv2d(2, 3, 3, padding=1, padding_mode="reflect"), (2, 9, 9)),
    "three axes": (lambda: nn.Linear(6, 4), (5, 6)),
    "long": (lambda: nn.Linear(2**17 - 1, 1), (2**17 - 1,)),
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_layer_is_right_or_refused_or_left_as_it_was(name):
    """Never another result."""
    make, shape = ODD[name]
    net, x = seeded(lambda: nn.Sequential(make())), random(4, *shape)
    if name == "long":
        nn.init.ones_(net[0].weight)
        x = torch.ones(4, *shape)
    try:
        dynamic = quantize_dynamically(net)
    except ValueError:
        return
    expected = net(x).detach()
    assert (dynamic(x) - expected).square().mean().sqrt() <= 0.03 * expected.abs().max()


# ---- on a GPU


@pytest.mark.gpu
@pytest.mark.parametrize("shape", [(1, 1, 1), (17, 33, 9), (5, 2, 3), (100, 785, 10), (40, 25, 1)])
def test_products_on_a_gpu_are_the_cpus(shape):
    n, k, m = shape
    generator = torch.Generator().manual_seed(0)
    a, b = (
        torch.randint(-128, 128, (rows, k), generator=generator).to(torch.int8) for rows in (n, m)
    )
    assert matmul(a.cuda(), b.cuda()).cpu().equal(matmul(a, b))


@pytest.mark.gpu
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_network_on_a_gpu_has_the_cpus_integers(name, per_channel):
    glyphs = load("glyphs", announce=False)
    net, images = baseline(name, glyphs), glyphs.train.images[:100]
    network = quantize_model(net, images, per_channel=per_channel)
    moved = copy.deepcopy(network).cuda()
    assert moved(images.cuda()).cpu().equal(network(images))
    made_there = quantize_model(net.cuda(), images.cuda(), per_channel=per_channel)
    assert isinstance(made_there, IntegerNetwork)
    assert all(t.is_cuda for t in made_there.state_dict().values())
    there, here = made_there(images.cuda()).cpu(), network(images)
    assert (there - here).abs().max() <= 0.05 * here.std()  # the ranges are of float sums


@pytest.mark.gpu
def test_a_dynamic_network_on_a_gpu():
    net, x = seeded(chain).eval(), random(20, 2, 12, 20)
    expected = quantize_dynamically(net)(x)
    found = quantize_dynamically(net.cuda())(x.cuda()).cpu()
    torch.testing.assert_close(found, expected, rtol=0.01, atol=0.01 * expected.std().item())


# ---- ways to write the same chain


class Worded(nn.Module):
    """A small network of images whose `forward` is written in one of many ways."""

    def __init__(self, written):
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.conv, self.fc, self.written = (
                nn.Conv2d(1, 4, 3, padding=1),
                nn.Linear(64, 3),
                written,
            )

    def forward(self, x):
        return self.written(self, x)


def pooled(net, x):
    return F.max_pool2d(F.relu(net.conv(x)), 2)


def by_size(net, x):
    y = pooled(net, x)
    return net.fc(y.view(y.size(0), -1))


def by_shape(net, x):
    y = pooled(net, x)
    return net.fc(y.reshape(y.shape[0], y.shape[1] * y.shape[2] * y.shape[3]))


SAME = {
    "view": lambda net, x: net.fc(pooled(net, x).view(-1, 64)),
    "view of a shape": lambda net, x: net.fc(pooled(net, x).view((-1, 64))),
    "view by the images' size": lambda net, x: net.fc(pooled(net, x).view(x.size(0), -1)),
    "by size": by_size,
    "by shape": by_shape,
    "reshape, contiguous": lambda net, x: net.fc(pooled(net, x).contiguous().reshape(-1, 64)),
    "torch.reshape": lambda net, x: net.fc(torch.reshape(pooled(net, x), (-1, 64))),
    "flatten to the last": lambda net, x: net.fc(pooled(net, x).flatten(1, 3)),
    "flatten from the third last": lambda net, x: net.fc(torch.flatten(pooled(net, x), -3)),
    "relu in place": lambda net, x: net.fc(F.max_pool2d(F.relu_(net.conv(x)), 2).flatten(1)),
    "relu_": lambda net, x: net.fc(F.max_pool2d(net.conv(x).relu_(), 2).flatten(1)),
    "torch.max_pool2d": lambda net, x: net.fc(
        torch.max_pool2d(torch.relu(net.conv(x)), 2).flatten(1)
    ),
    "dropout2d": lambda net, x: net.fc(
        F.dropout2d(pooled(net, x), training=net.training).flatten(1)
    ),
}


@pytest.mark.parametrize("how", SAME)
def test_a_chain_may_be_written_in_other_words(how):
    x = random(20, 1, 8, 8)
    expected = quantize_model(Worded(lambda net, x: net.fc(pooled(net, x).flatten(1))), x)
    assert quantize_model(Worded(SAME[how]), x)(x[:7]).equal(expected(x[:7]))


OTHER = {
    "more rows than images": lambda net, x: net.fc(pooled(net, torch.cat([x, x], 2)).view(-1, 64)),
    "rows of several images": lambda net, x: net.fc(pooled(net, x)[:, :2].reshape(-1, 64)),
    "three axes": lambda net, x: net.fc(pooled(net, x).view(-1, 1, 64)),
    "of another type": lambda net, x: net.fc(pooled(net, x).view(torch.int32)),
}


@pytest.mark.parametrize("how", OTHER)
def test_what_a_view_makes_otherwise_is_refused(how):
    with pytest.raises(ValueError, match=r"form on integers|no chain|depends"):
        quantize_model(Worded(OTHER[how]), random(20, 1, 8, 8))


def test_a_view_that_mixes_images_is_refused():
    net = Worded(lambda net, x: net.fc(pooled(net, x).view(-1, 64)))
    with pytest.raises(ValueError, match=r"gets \(20, 256\); on integers it takes \(n, 64\)"):
        quantize_model(net, random(20, 1, 16, 16))


@pytest.mark.deep  # Dynamo takes seconds
def test_a_model_compiled_in_place_is_named():
    net = nn.Sequential(nn.Linear(6, 4))
    net.compile(backend="eager")
    with pytest.raises(ValueError, match="is compiled: convert the model first"):
        quantize_model(net, random(4, 6))

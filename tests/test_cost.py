"""Costs against torch's own counter, loops, a file's length and a machine that counts events."""

import itertools
import math
import warnings
from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_model
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from shrink import cost
from shrink.classroom import models
from shrink.cost import DRAM, Energy, Layer, Prices, conv_macs, energy, layer_energy, prices

KB = 1024
CONVS = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}


def torchs_macs(model, x):
    """Half of the operations that torch's own counter sees for the whole batch."""
    with FlopCounterMode(display=False) as counter, torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "same" with an even kernel
        model(x)
    assert counter.get_total_flops() % 2 == 0
    return counter.get_total_flops() // 2


def looped_conv_macs(conv, size):
    """Slide the kernel over the padded image and count each product."""
    axes = []
    for d, length in enumerate(size):
        reach = conv.dilation[d] * (conv.kernel_size[d] - 1)
        before, after = 0, 0
        if conv.padding == "same":
            before, after = reach // 2, reach - reach // 2
        elif conv.padding != "valid":
            before = after = conv.padding[d]
        starts = range(-before, length + after - reach, conv.stride[d])
        axes.append(
            [[s + k * conv.dilation[d] for k in range(conv.kernel_size[d])] for s in starts]
        )
    count = 0
    for _out in range(conv.out_channels):
        for place in itertools.product(*axes):
            for _in in range(conv.in_channels // conv.groups):
                count += sum(1 for _pixel in itertools.product(*place))
    return count


@st.composite
def convs(draw):
    """A convolution of any kind and an image, which may be too small for it."""
    dims, groups = draw(st.integers(1, 3)), draw(st.integers(1, 3))

    def each(low, high):
        return tuple(draw(st.integers(low, high)) for _ in range(dims))

    padding = draw(st.sampled_from(["same", "valid", each(0, 3)]))
    conv = CONVS[dims](
        groups * draw(st.integers(1, 3)),
        groups * draw(st.integers(1, 3)),
        each(1, 3),
        stride=1 if padding == "same" else each(1, 3),
        padding=padding,
        dilation=each(1, 3),
        groups=groups,
        bias=draw(st.booleans()),
    )
    return conv, each(1, 7)


class Twice(nn.Module):
    """One layer, used two times, and one that is never used."""

    def __init__(self):
        super().__init__()
        self.fc, self.idle = nn.Linear(3, 3), nn.Linear(9, 9)

    def forward(self, x):
        return self.fc(F.relu(self.fc(x)))


class Nested(nn.Module):
    """Layers in blocks in blocks, which run in another order than they are written down."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(8, 5)
        self.body = nn.Sequential(
            nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU()),
            nn.Sequential(nn.Conv2d(4, 8, 3, stride=2, groups=2, bias=False), nn.Dropout()),
        )

    def forward(self, x):
        return self.head(input=self.body(x).mean((2, 3)))


class Own(nn.Module):
    """A layer with a parameter of its own, of no known kind."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return self.gain * x


def state(model):
    """What a look at a model must leave as it was."""
    hooks = [[*m._forward_hooks, *m._forward_pre_hooks] for m in model.modules()]
    with_kwargs = [[*m._forward_hooks_with_kwargs] for m in model.modules()]
    training = [m.training for m in model.modules()]
    tensors = [t.tolist() for t in model.state_dict().values()]
    grads = [p.grad for p in model.parameters()]
    return hooks, with_kwargs, training, tensors, grads, torch.get_rng_state().tolist()


# ---- multiply-accumulates


@pytest.mark.parametrize("name", models.MODELS)
@pytest.mark.parametrize("batch", [1, 3])
def test_the_courses_models_count_as_torch_counts(name, batch):
    model, x = models.build(name, seed=0), torch.zeros(batch, 1, 28, 28)
    found = cost.layers(model, x)
    norms = sum(layer.macs for layer in found if "norm" in layer.name)  # torch counts none
    assert batch * (cost.macs(model, x) - norms) == torchs_macs(model, x)
    assert cost.macs(model, x) == sum(layer.macs for layer in found)
    assert sum(layer.parameters for layer in found) == cost.parameters_and_bytes(model)[0]


def test_what_the_papers_networks_count():
    image = torch.zeros(1, 1, 28, 28)
    assert cost.macs(models.build("lenet-300-100", seed=0), image) == 266_200
    five = cost.layers(models.build("lenet-5", seed=0), image)
    assert [layer.name for layer in five] == ["conv1", "conv2", "fc1", "fc2"]
    assert [layer.macs for layer in five] == [288_000, 1_600_000, 400_000, 5_000]
    assert [layer.inputs for layer in five] == [784, 2880, 800, 500]
    assert [layer.outputs for layer in five] == [11_520, 3200, 500, 10]
    assert [layer.parameters for layer in five] == [520, 25_050, 400_500, 5010]


@given(convs(), st.integers(1, 3))
def test_convolutions_count_as_torch_counts_them_or_both_refuse(case, batch):
    conv, size = case
    x = torch.zeros(batch, conv.in_channels, *size)
    try:
        expected = torchs_macs(conv, x)
    except RuntimeError as error:
        assert "size" in str(error)
        with pytest.raises(ValueError, match=r"smaller than the kernel of Conv"):
            conv_macs(conv, size)
        return
    assert batch * conv_macs(conv, size) == expected
    (layer,) = cost.layers(conv, x)
    assert batch * layer.macs == expected
    assert batch * layer.outputs == conv(x).numel()
    assert batch * layer.inputs == x.numel()
    assert layer.parameters == sum(p.numel() for p in conv.parameters())


@given(convs())
def test_convolutions_count_as_a_loop_counts_them(case):
    conv, size = case
    expected = looped_conv_macs(conv, size)
    if expected:
        assert conv_macs(conv, list(size)) == expected
        assert conv_macs(conv, torch.Size(size)) == expected
    else:
        with pytest.raises(ValueError, match="smaller than the kernel"):
            conv_macs(conv, size)


@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.lists(st.integers(1, 4), max_size=3),
    st.integers(1, 4),
    st.booleans(),
)
def test_linears_with_extra_axes_count_as_torch_counts_them(n_in, n_out, axes, batch, bias):
    linear, x = nn.Linear(n_in, n_out, bias=bias), torch.zeros(batch, *axes, n_in)
    (layer,) = cost.layers(linear, x)
    assert batch * layer.macs == torchs_macs(linear, x)
    by_loop = 0
    for _place in itertools.product(*map(range, axes)):
        for _out in range(n_out):
            for _in in range(n_in):
                by_loop += 1
    assert layer.macs == by_loop
    assert layer.parameters == n_in * n_out + bias * n_out
    assert (layer.inputs, layer.outputs) == (math.prod(axes) * n_in, math.prod(axes) * n_out)


def test_depthwise_and_pointwise():
    depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16)
    pointwise = nn.Conv2d(16, 32, 1)
    assert conv_macs(depthwise, (8, 8)) == 16 * 8 * 8 * 9
    assert conv_macs(pointwise, (8, 8)) == 16 * 32 * 8 * 8
    both, x = nn.Sequential(depthwise, pointwise), torch.zeros(2, 16, 8, 8)
    assert 2 * cost.macs(both, x) == torchs_macs(both, x)


@pytest.mark.parametrize("mode", ["reflect", "replicate", "circular"])
def test_padding_with_pixels_counts_like_padding_with_zeros(mode):
    conv, x = nn.Conv2d(2, 3, 3, padding=(2, 1), padding_mode=mode), torch.zeros(1, 2, 5, 6)
    assert conv_macs(conv, (5, 6)) == torchs_macs(conv, x) == 3 * 7 * 6 * 2 * 9


@pytest.mark.parametrize("size", [(), (5,), (5, 5, 5)])
def test_a_size_of_another_dimension_is_refused(size):
    with pytest.raises(ValueError, match=rf"must have 2 numbers, got \({str(size)[1:-1]}\)"):
        conv_macs(nn.Conv2d(1, 1, 3), size)


def test_a_layer_that_is_used_twice_counts_twice_and_an_idle_one_never():
    model, x = Twice(), torch.zeros(2, 3)
    assert cost.layers(model, x) == 2 * [Layer("fc", macs=9, parameters=12, inputs=3, outputs=3)]
    assert 2 * cost.macs(model, x) == torchs_macs(model, x) == 36


def test_a_layer_with_two_names_has_the_first():
    model, x = used_twice(), torch.zeros(2, 5)
    assert cost.layers(model, x) == 2 * [Layer("0", macs=25, parameters=30, inputs=5, outputs=5)]
    assert 2 * cost.macs(model, x) == torchs_macs(model, x) == 100


def test_layers_that_share_their_weights_both_count():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[1].weight = model[0].weight
    assert [layer.macs for layer in cost.layers(model, torch.zeros(1, 3))] == [9, 9]


def test_nested_layers_come_in_the_order_in_which_they_run():
    model, x = Nested(), torch.zeros(3, 2, 9, 9)
    assert cost.layers(model, x) == [
        Layer("body.0.0", macs=4 * 49 * 18, parameters=76, inputs=162, outputs=196),
        Layer("body.0.1", macs=196, parameters=8, inputs=196, outputs=196),
        Layer("body.1.0", macs=8 * 9 * 18, parameters=144, inputs=196, outputs=72),
        Layer("head", macs=40, parameters=45, inputs=8, outputs=5),
    ]
    # torch's counter knows no batch norm
    assert 3 * (cost.macs(model, x) - 196) == torchs_macs(model.eval(), x)


def test_a_model_that_is_one_layer_is_called_by_its_kind():
    assert cost.layers(nn.Linear(3, 2), torch.zeros(1, 3))[0].name == "Linear"


def test_batch_norm_without_parameters_is_not_listed():
    plain = nn.Sequential(nn.BatchNorm1d(3, affine=False), nn.ReLU(), nn.Flatten(), nn.Dropout())
    assert cost.layers(plain, torch.zeros(2, 3)) == []
    assert cost.macs(plain, torch.zeros(2, 3)) == 0


@given(st.integers(1, 6))
def test_the_number_of_images_does_not_matter(batch):
    model = Nested()
    assert cost.layers(model, torch.zeros(batch, 2, 9, 9)) == cost.layers(
        model, torch.zeros(1, 2, 9, 9)
    )


@given(st.integers(1, 3))
def test_a_layer_that_sees_each_image_as_many_counts_them_all(batch):
    """A patch, a word: the axis that the layer takes for images is longer than the batch."""
    model = nn.Sequential(nn.Unflatten(1, (4, 2, 6)), nn.Flatten(0, 1), nn.Conv1d(2, 3, 3))
    x = torch.zeros(batch, 48)
    (layer,) = cost.layers(model, x)
    assert batch * layer.macs == torchs_macs(model, x)
    assert (layer.inputs, layer.outputs) == (48, 4 * 3 * 4)


# ---- what is refused, and what is left behind


@pytest.mark.parametrize(
    ("layer", "kind", "shape"),
    [
        (nn.MultiheadAttention(3, 1), "MultiheadAttention", (1, 3)),
        (Own(), "Own", (1, 3)),
        (nn.ConvTranspose1d(3, 3, 3), "ConvTranspose1d", (1, 3, 9)),
        (nn.ConvTranspose2d(3, 3, 3), "ConvTranspose2d", (1, 3, 9, 9)),
        (nn.Embedding(5, 3), "Embedding", (1, 3)),
        (nn.LSTM(3, 3), "LSTM", (1, 3)),
        (nn.InstanceNorm1d(3, affine=True), "InstanceNorm1d", (1, 3, 9)),
        (nn.ParameterList([torch.ones(3)]), "ParameterList", (1, 3)),
    ],
)
def test_an_unknown_layer_is_named_with_its_kind(layer, kind, shape):
    model = nn.Sequential(nn.Linear(3, 3), nn.ModuleDict({"odd": layer}))
    before = state(model)
    with pytest.raises(ValueError, match=rf"^no rule counts 1\.odd, a {kind}$"):
        cost.layers(model, torch.zeros(shape))
    with pytest.raises(ValueError, match=rf"^no rule counts the model, a {kind}$"):
        cost.macs(layer, torch.zeros(shape))
    assert state(model) == before


def test_a_model_with_a_parameter_beside_its_layers_is_refused():
    model = Twice()
    model.register_parameter("gain", nn.Parameter(torch.ones(3)))
    with pytest.raises(ValueError, match="the model, a Twice"):
        cost.layers(model, torch.zeros(1, 3))


@pytest.mark.parametrize("function", [cost.layers, cost.macs])
def test_no_image_no_count(function):
    with pytest.raises(ValueError, match=r"must hold an image, its shape is \(0, 3\)"):
        function(nn.Linear(3, 2), torch.zeros(0, 3))


@pytest.mark.parametrize("training", [True, False])
def test_the_model_is_left_as_it_was(training):
    model = Nested().train(training)
    seen = []
    model.head.register_forward_hook(lambda module, args, y: seen.append(y.requires_grad))
    before = state(model)
    cost.layers(model, torch.ones(2, 2, 9, 9))
    assert state(model) == before
    assert seen == [False]  # another's hook runs and stays; no graph was recorded


@pytest.mark.parametrize("frozen", [True, False])
def test_parts_in_another_mode_stay_in_it(frozen):
    """As in fine-tuning, where batch norm is often kept in `eval`."""
    model = Nested()
    model.train(frozen).body[0].train(not frozen)
    before = state(model)
    cost.layers(model, torch.zeros(1, 2, 9, 9))
    assert state(model) == before


@pytest.mark.parametrize("training", [True, False])
def test_the_model_runs_as_it_does_in_use(training):
    model = nn.Sequential(nn.Linear(3, 3), nn.Dropout())
    seen = []
    model[1].register_forward_hook(lambda module, args, y: seen.append(module.training))
    cost.layers(model.train(training), torch.zeros(1, 3))
    assert seen == [False] and model[1].training is training
    # batch norm of one image: in training it would raise
    assert cost.macs(nn.Sequential(nn.BatchNorm1d(3)).train(training), torch.zeros(1, 3)) == 3


@pytest.mark.parametrize("training", [True, False])
def test_an_error_in_the_model_leaves_no_hook(training):
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(4, 4)).train(training)
    before = state(model)
    with pytest.raises(RuntimeError):
        cost.layers(model, torch.zeros(2, 3))
    assert state(model) == before


@pytest.mark.parametrize("training", [True, False])
def test_an_error_in_a_rule_leaves_no_hook(monkeypatch, training):
    def rule(layer, x, y):
        raise KeyError("a rule")

    monkeypatch.setitem(cost.RULES, nn.Linear, rule)
    model = Nested().train(training)
    before = state(model)
    with pytest.raises(KeyError, match="a rule"):
        cost.layers(model, torch.zeros(2, 2, 9, 9))
    assert state(model) == before


def test_a_rule_can_be_added(monkeypatch):
    monkeypatch.setitem(cost.RULES, Own, lambda layer, x, y: y.numel())
    model = nn.Sequential(nn.Linear(3, 3), Own())
    assert cost.layers(model, torch.zeros(5, 3))[1] == Layer("1", 3, 3, 3, 3)


# ---- parameters and bytes


def data_length(model, path):
    """The bytes of the model's file, less its header and the eight that hold its length."""
    save_model(model, str(path))
    content = path.read_bytes()
    return len(content) - 8 - int.from_bytes(content[:8], "little")


def with_norm():
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(9, 2))


def tied():
    model = nn.Sequential(nn.Linear(5, 5), nn.Linear(5, 5), nn.Linear(5, 5))
    model[1].weight, model[2].bias = model[0].weight, model[0].bias
    return model


def used_twice():
    layer = nn.Linear(5, 5)
    return nn.Sequential(layer, nn.ReLU(), layer)


def mixed():
    model = with_norm()
    model[0].half(), model[3].double()
    model.register_buffer("table", torch.arange(7, dtype=torch.int8))
    return model


def frozen():
    return with_norm().requires_grad_(False)


@pytest.mark.parametrize(
    ("build", "parameters", "num_bytes"),
    [
        (with_norm, 76 + 8 + 20, 4 * (76 + 8 + 20 + 8) + 8),
        (tied, 25 + 5 + 5 + 25, 4 * 60),
        (used_twice, 30, 120),
        (mixed, 104, 2 * 76 + 4 * (8 + 8) + 8 + 8 * 20 + 7),
        (frozen, 104, 456),
        (models.LeNet300100, 266_610, 1_066_440),
        (models.LeNet5, 431_080, 1_724_320),
        (nn.ReLU, 0, 0),
    ],
)
def test_parameters_by_hand_and_bytes_by_the_file(build, parameters, num_bytes, tmp_path):
    model = build()
    assert cost.parameters_and_bytes(model) == (parameters, num_bytes)
    assert data_length(model, tmp_path / "model.safetensors") == num_bytes


def packed(layer):
    """A model whose layer torch's own quantization replaced: its weights are no parameters."""
    kinds = {nn.Linear, nn.LSTM}
    return torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), kinds)


COUNTS = {
    "layers": lambda model: cost.layers(model, torch.zeros(2, 3)),
    "nonzeros": cost.nonzeros,
    "parameters_and_bytes": cost.parameters_and_bytes,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("layer", [nn.Linear(3, 2), nn.LSTM(3, 2)])
def test_weights_that_torch_packed_are_not_counted_as_none(count, layer):
    with pytest.raises(ValueError, match=r"^0.* holds weights that torch packed"):
        COUNTS[count](packed(layer))


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("model", [None, torch.relu, {"w": torch.ones(2)}, nn.Linear])
def test_what_is_no_module_is_named(count, model):
    with pytest.raises(TypeError, match=r"the model must be an nn\.Module, not a"):
        COUNTS[count](model)


@pytest.mark.parametrize("count", ["nonzeros", "parameters_and_bytes"])
@pytest.mark.parametrize(
    ("model", "said"),
    [
        (nn.Sequential(nn.LazyLinear(2)), r"0\.weight has no shape yet"),
        (nn.ParameterDict({"w": torch.eye(3).to_sparse()}), "w must be a dense tensor, not torch"),
    ],
)
def test_a_parameter_that_is_not_dense_is_named(count, model, said):
    with pytest.raises(TypeError, match=said):
        COUNTS[count](model)


def test_zeros_of_8_bits_are_zeros():
    layer = nn.Linear(3, 2)
    nn.init.zeros_(layer.bias), nn.init.ones_(layer.weight)
    assert cost.nonzeros(layer.to(torch.float8_e4m3fn)) == 6


@pytest.mark.parametrize("example", [None, [[1.0]], torch.ones(2, 3).numpy()])
def test_an_example_that_is_no_tensor_is_named(example):
    with pytest.raises(TypeError, match="the example must be a tensor, not a"):
        cost.layers(nn.Linear(3, 2), example)


def test_an_example_without_axes_is_named():
    with pytest.raises(ValueError, match=r"the example must hold an image, its shape is \(\)"):
        cost.layers(nn.Linear(3, 2), torch.tensor(1.0))


@pytest.mark.parametrize("change", [lambda y: (y, y), lambda y: y.sum(), lambda y: {"y": y}])
def test_a_layer_that_gives_no_images_is_named(change):
    layer = nn.Linear(3, 2)
    layer.register_forward_hook(lambda module, x, y: change(y))
    with pytest.raises(ValueError, match=r"must be images.* what 0 takes and gives"):
        cost.layers(nn.Sequential(layer), torch.zeros(2, 3))


@pytest.mark.parametrize(
    ("layer", "said"), [(nn.Linear(2, 2), "Linear"), (nn.LazyConv2d(4, 3), "no weight yet")]
)
def test_what_is_no_convolution_has_no_count(layer, said):
    with pytest.raises(ValueError, match=said):
        cost.conv_macs(layer, (8, 8))


def test_parameters_that_are_zero():
    model = with_norm()
    for p in model.parameters():
        nn.init.ones_(p)
    assert cost.nonzeros(model) == 104
    with torch.no_grad():
        model[0].weight[0] = 0  # 18
        model[0].weight[1, 0, 0, 0] = -0.0
        model[3].bias[0] = -1e-30
        model[1].running_mean.fill_(7)  # no parameter
    assert cost.nonzeros(model) == 104 - 19
    assert type(cost.nonzeros(model)) is int


def test_tied_weights_that_are_zero_count_once():
    model = tied()
    for p in model.parameters():
        nn.init.ones_(p)
    nn.init.zeros_(model[2].weight)
    assert cost.nonzeros(model) == 35


# ---- intensity


def test_intensity_by_hand():
    layer = Layer("fc", macs=200, parameters=220, inputs=10, outputs=20)
    assert cost.intensity(layer) == 400 / 1000
    assert cost.intensity(layer, batch=10) == 4000 / (4 * 520)
    assert cost.intensity(layer, num_bits=8) == 400 / 250
    assert cost.intensity(layer, batch=2, num_bits=16) == 800 / 560


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", models.MODELS)
def test_intensity_by_the_tensors_that_pass(name, dtype):
    model, images = models.build(name, seed=0).to(dtype), torch.zeros(4, 1, 28, 28, dtype=dtype)
    moved = {}

    def watch(name):
        def hook(module, args, y):
            moved[name] = sum(t.nbytes for t in [*module.parameters(), *args, y])

        return hook

    for part, module in model.named_children():
        module.register_forward_hook(watch(part))
    found = cost.layers(model, images[:1])
    moved.clear()
    model(images)
    for layer in found:
        expected = 2 * 4 * layer.macs / moved[layer.name]
        bits = 8 * dtype.itemsize
        assert cost.intensity(layer, batch=4, num_bits=bits) == pytest.approx(expected)


# ---- prices


def test_the_published_prices():
    for size, picojoules in ((8 * KB, 5), (32 * KB, 10), (1024 * KB, 50)):
        assert prices(size).sram == pytest.approx(picojoules, rel=1e-12)
        assert prices(size, 8).sram == pytest.approx(picojoules / 4, rel=1e-12)
    assert [prices(KB, bits).dram for bits in (32, 16, 8, 4, 1)] == [640, 320, 160, 80, 20]
    assert prices(KB).mac == 3.7 + 0.9
    assert prices(KB, 16).mac == 1.1 + 0.4
    assert prices(KB, 8).mac == pytest.approx(0.2 + 0.1)
    assert prices(KB, 4).mac == pytest.approx(0.05 + 0.1)
    assert prices(KB, 1).mac == pytest.approx(0.2 / 64 + 0.1)


@pytest.mark.parametrize("bits", [32, 16, *range(8, 0, -1)])
def test_what_each_width_costs(bits):
    price, wide = prices(100 * KB, bits), prices(100 * KB)
    assert price.sram == pytest.approx(wide.sram * bits / 32)
    assert price.dram == 20 * bits
    if bits < 32:
        wider = {16: 32, 8: 16}.get(bits, bits + 1)
        assert 0 < price.mac < prices(100 * KB, wider).mac


@given(st.floats(1, 1e12), st.floats(1, 1e12))
def test_a_larger_memory_costs_more_to_read(one, other):
    small, large = sorted((one, other))
    assert 0 < prices(small).sram <= prices(large).sram
    if small * 1.001 < large:
        assert prices(small).sram < prices(large).sram


@pytest.mark.parametrize(
    ("low", "high", "inside"),
    [
        (8, 32, (8, 32)),
        (32, 1024, (32, 1024)),
        (8, 32, (0.01, 8)),  # extrapolated
        (32, 1024, (1024, 1e6)),
    ],
)
def test_between_the_points_and_beyond_them_log_log_lines(low, high, inside):
    published = {8: 5, 32: 10, 1024: 50}
    for k in range(11):
        size = inside[0] * (inside[1] / inside[0]) ** (k / 10)
        along = (math.log(size) - math.log(low)) / (math.log(high) - math.log(low))
        expected = math.log(published[low]) * (1 - along) + math.log(published[high]) * along
        assert math.log(prices(size * KB).sram) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("bits", [12, 0, 64, -1, 9, 7.5, math.nan])
def test_a_width_without_a_price_is_named(bits):
    with pytest.raises(ValueError, match=rf"num_bits must be .* got {bits}$"):
        prices(KB, bits)
    with pytest.raises(ValueError, match=rf"num_bits must be .* got {bits}$"):
        energy([Layer("fc", 6, 8, 3, 2)], KB, num_bits=bits)


@pytest.mark.parametrize("on_chip", [0, -1, math.nan, -math.inf])
def test_a_memory_that_is_none_is_named(on_chip):
    with pytest.raises(
        ValueError, match=rf"on_chip must be a number of bytes above 0, got {on_chip}$"
    ):
        prices(on_chip)
    with pytest.raises(
        ValueError, match=rf"on_chip must be a number of bytes above 0, got {on_chip}$"
    ):
        energy([Layer("fc", 6, 8, 3, 2)], on_chip)


# ---- energy, against a machine that does one thing after the other

PRICES = Prices(mac=3, sram=7, dram=101)
sizes = st.integers(0, 5)
small_layers = st.builds(Layer, st.just("l"), st.integers(0, 9), sizes, sizes, sizes)


class Machine:
    """Runs layers batch by batch, and notes each read and write and each product.

    `work` places are for the inputs and outputs of the layer at work; `keep` places hold weights,
    first come first kept, for good.
    """

    def __init__(self, work, keep):
        self.work, self.keep = work, keep
        self.kept = set()
        self.events = Counter()

    def run(self, k, layer, batch):
        live = [(i, n) for i in range(batch) for n in range(layer.inputs + layer.outputs)]
        for _number in live[self.work :]:  # no place for it: it comes from DRAM, or goes there
            self.events[k, "dram"] += 1
        for weight in range(layer.parameters):
            if (k, weight) not in self.kept:
                self.events[k, "dram"] += 1
                if len(self.kept) < self.keep:
                    self.kept.add((k, weight))
        for _image in range(batch):
            for _number in range(layer.parameters):
                self.events[k, "sram"] += 1
            for _number in range(layer.inputs):
                self.events[k, "sram"] += 1
            for _number in range(layer.outputs):
                self.events[k, "sram"] += 1
            for _product in range(layer.macs):
                self.events[k, "mac"] += 1

    def energies(self, network, batch, price):
        """For an image, once the first batch has brought the weights; all later ones agree."""
        found = []
        for _ in range(3):
            self.events.clear()
            for k, layer in enumerate(network):
                self.run(k, layer, batch)
            found.append([self.energy(k, batch, price) for k in range(len(network))])
        first, second, third = found
        assert second == third
        assert sum(e.dram for e in first) >= sum(e.dram for e in second)
        return second

    def energy(self, k, batch, price):
        parts = (("mac", price.mac), ("sram", price.sram), ("dram", price.dram))
        return Energy(*(self.events[k, what] * pj / batch for what, pj in parts))


def same(found, expected):
    parts = ((e.arithmetic, e.sram, e.dram) for e in (found, expected))
    return next(parts) == pytest.approx(next(parts), rel=1e-9, abs=1e-9)


@given(small_layers, st.integers(0, 60), st.integers(1, 5))
def test_one_layer_costs_what_the_machine_counts(layer, room, batch):
    live = batch * (layer.inputs + layer.outputs)
    machine = Machine(work=room, keep=max(0, room - live))  # first the inputs and outputs
    (expected,) = machine.energies([layer], batch, PRICES)
    assert same(layer_energy(layer, PRICES, room, batch), expected)


@given(
    st.lists(small_layers, max_size=4),
    st.integers(1, 60),
    st.integers(1, 4),
    st.sampled_from([32, 16, 8, 4]),
)
def test_a_network_costs_what_the_machine_counts(network, places, batch, bits):
    hungriest = max([batch * (x.inputs + x.outputs) for x in network], default=0)
    machine = Machine(work=min(places, hungriest), keep=max(0, places - hungriest))
    on_chip = places * bits / 8
    expected = machine.energies(network, batch, prices(on_chip, bits))
    found = energy(network, on_chip, batch, bits)
    assert len(found) == len(network)
    assert all(map(same, found, expected))


@given(small_layers, st.floats(0.1, 300), st.integers(1, 5), st.sampled_from([32, 8, 3]))
def test_a_network_of_one_layer_is_that_layer(layer, on_chip, batch, bits):
    (found,) = energy([layer], on_chip, batch, bits)
    assert same(found, layer_energy(layer, prices(on_chip, bits), on_chip * 8 // bits, batch))


@given(
    st.lists(small_layers, max_size=4),
    st.floats(0.1, 500),
    st.floats(0.1, 500),
    st.integers(1, 5),
    st.none() | st.floats(0, 100),
)
def test_more_memory_never_means_more_dram_and_nothing_is_negative(
    network, one, other, batch, stored_bytes
):
    if not sum(layer.parameters for layer in network):
        stored_bytes = None
    small, large = (
        energy(network, size, batch, stored_bytes=stored_bytes) for size in sorted((one, other))
    )
    for less, more in zip(small, large, strict=True):
        assert more.dram <= less.dram + 1e-6
        for e in (less, more):
            assert min(e.arithmetic, e.sram, e.dram) >= 0
            assert e.total == e.arithmetic + e.sram + e.dram


@given(small_layers, st.integers(0, 60), st.integers(1, 5), st.integers(1, 5))
def test_a_larger_batch_shares_the_weights_that_never_stay(layer, room, one, other):
    """Where none stays; one that does may have to leave as inputs and outputs take its place."""
    few, many = sorted((one, other))
    live = layer.inputs + layer.outputs

    def weights_only(batch):
        spilled = max(batch * live - room, 0) / batch
        return layer_energy(layer, PRICES, room, batch).dram - spilled * PRICES.dram

    if room <= few * live or room <= layer.parameters:
        assert weights_only(many) <= weights_only(few) + 1e-9
    no_room = layer_energy(layer, PRICES, 0, many)
    assert no_room.dram == pytest.approx((layer.parameters / many + live) * PRICES.dram)


def test_a_larger_batch_can_drive_weights_out():
    layer = Layer("fc", macs=8, parameters=8, inputs=1, outputs=1)
    assert layer_energy(layer, PRICES, room=10, batch=1).dram == 0
    assert layer_energy(layer, PRICES, room=10, batch=4).dram == 6 / 4 * PRICES.dram


def test_energy_by_hand():
    layer = Layer("fc", macs=6, parameters=8, inputs=3, outputs=2)
    price = Prices(mac=1, sram=10, dram=100)
    assert layer_energy(layer, price, room=0) == Energy(6, 130, 1300)
    assert layer_energy(layer, price, room=2) == Energy(6, 130, 1100)
    assert layer_energy(layer, price, room=5) == Energy(6, 130, 800)
    assert layer_energy(layer, price, room=12) == Energy(6, 130, 100)
    assert layer_energy(layer, price, room=13) == Energy(6, 130, 0)
    assert layer_energy(layer, price, room=99) == Energy(6, 130, 0)
    # two images: 10 inputs and outputs, then 2 weights; 6 of 8 come for the two of them
    assert layer_energy(layer, price, room=12, batch=2) == Energy(6, 130, 300)
    assert layer_energy(layer, price, room=4, batch=2) == Energy(6, 130, 700)
    assert Energy(1, 2, 3) + Energy(10, 20, 30) == Energy(11, 22, 33)
    assert Energy(1, 2, 3).total == 6


def test_the_first_layers_weights_are_kept_first():
    network = [Layer(name, 6, 8, 3, 2) for name in "abc"]
    kept = [e.dram / DRAM for e in energy(network, on_chip=4 * (5 + 12))]
    assert kept == [0, 4, 8]


def test_room_is_set_aside_for_the_hungriest_layer():
    network = [Layer("a", 6, 8, 3, 2), Layer("b", 6, 8, 7, 2)]
    assert [e.dram / DRAM for e in energy(network, on_chip=4 * 9)] == [8, 8]
    assert [e.dram / DRAM for e in energy(network, on_chip=4 * 10)] == [7, 8]
    # too little for the second, none for weights
    assert [e.dram / DRAM for e in energy(network, on_chip=4 * 6)] == [8, 8 + 3]


def microjoules(network, part, **options):
    return sum(getattr(e, part) for e in energy(network, **options)) / 1e6


@pytest.fixture(scope="module")
def lenet():
    return cost.layers(models.build("lenet-300-100", seed=0), torch.zeros(1, 1, 28, 28))


def test_lenet_300_100(lenet):
    live = 4 * (784 + 300)  # bytes
    for batch in (1, 64):
        arithmetic = microjoules(lenet, "arithmetic", on_chip=live, batch=batch)
        assert arithmetic == pytest.approx(1.22452)
    # The inputs and outputs fit and no weight does: each weight comes once a batch.
    assert microjoules(lenet, "dram", on_chip=live) == pytest.approx(266_610 * 640 / 1e6)
    assert microjoules(lenet, "dram", on_chip=live) == pytest.approx(171, abs=0.5)
    at_64 = microjoules(lenet, "dram", on_chip=64 * live, batch=64)
    assert at_64 == pytest.approx(266_610 * 640 / 64e6)
    assert at_64 == pytest.approx(2.7, abs=0.05)
    # In the small memory the 64 images do not fit; what overflows costs as well.
    overflow = [max(64 * n - 784 - 300, 0) for n in (784 + 300, 300 + 100, 100 + 10)]
    expected = (266_610 + sum(overflow)) * 640 / 64e6
    assert microjoules(lenet, "dram", on_chip=live, batch=64) == pytest.approx(expected)
    # All of it fits.
    assert microjoules(lenet, "dram", on_chip=live + 4 * 266_610) == pytest.approx(0)
    assert microjoules(lenet, "dram", on_chip=live + 4 * 266_609) == pytest.approx(640 / 1e6)
    numbers = 266_610 + 784 + 2 * (300 + 100) + 10
    sram = microjoules(lenet, "sram", on_chip=32 * KB)
    assert sram == pytest.approx(numbers * 10 / 1e6)


def test_a_stored_file_takes_the_weights_place(lenet):
    live = 4 * (784 + 300)
    plain = energy(lenet, on_chip=64 * KB, batch=2)
    assert all(map(same, energy(lenet, on_chip=64 * KB, batch=2, stored_bytes=4 * 266_610), plain))
    packed = {"stored_bytes": 27_000}
    assert microjoules(lenet, "dram", on_chip=live, **packed) == pytest.approx(27_000 * 160 / 1e6)
    half = microjoules(lenet, "dram", on_chip=live + 13_500, **packed)
    assert half == pytest.approx(13_500 * 160 / 1e6)
    assert microjoules(lenet, "dram", on_chip=live + 27_000, **packed) == pytest.approx(0)
    assert microjoules(lenet, "arithmetic", on_chip=live, **packed) == pytest.approx(1.22452)
    numbers = 27_000 / 4 + 784 + 2 * (300 + 100) + 10
    assert microjoules(lenet, "sram", on_chip=32 * KB, **packed) == pytest.approx(numbers / 1e5)
    assert lenet[0].parameters == 784 * 300 + 300  # what was handed in is as it was


@given(
    st.lists(small_layers, min_size=1, max_size=4),
    st.integers(2, 5),
    st.integers(1, 60),
    st.integers(1, 4),
    st.sampled_from([32, 16, 8]),
)
def test_each_layer_has_its_share_of_the_file(network, times, places, batch, bits):
    """A file that is longer `times` over is like layers with so many times the weights."""
    total = sum(layer.parameters for layer in network)
    if total == 0:
        return
    network = [replace(layer, name=str(i)) for i, layer in enumerate(network)]
    larger = [replace(layer, parameters=times * layer.parameters) for layer in network]
    on_chip, length = places * bits / 8, times * total * bits / 8
    found = energy(network, on_chip, batch, bits, stored_bytes=length)
    assert all(map(same, found, energy(larger, on_chip, batch, bits)))


def test_layers_may_come_one_after_the_other(lenet):
    assert energy(iter(lenet), on_chip=64 * KB) == energy(lenet, on_chip=64 * KB)


def test_a_layer_that_runs_twice_is_stored_once():
    shared = nn.Linear(30, 30)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(30, 5))
    network = cost.layers(model, torch.zeros(1, 30))
    _, stored = cost.parameters_and_bytes(model)
    assert len(network) == 3
    assert energy(network, 400, stored_bytes=stored) == energy(network, 400)


def test_what_else_gives_the_energy_of_a_layer_is_asked_for_each():
    fc = Layer("fc", 6, 8, 3, 2)
    asked = []

    def by(*given):
        asked.append(given)
        return "mine"

    assert energy([fc, fc], 60, batch=1, num_bits=32, by=by) == ["mine", "mine"]
    assert asked == [(fc, prices(60), 13, 1), (fc, prices(60), 7, 1)]


@pytest.mark.parametrize("shape", [(3,), (1, 4, 4)])
def test_an_example_without_an_axis_of_images_is_refused(shape):
    model = nn.Linear(3, 2) if len(shape) == 1 else nn.Conv2d(1, 2, 3)
    with pytest.raises(ValueError, match=r"first axis of the example must be images|2 numbers"):
        cost.layers(model, torch.zeros(shape))


@pytest.mark.parametrize(("batch", "bits"), [(0, 32), (1, 0)])
def test_an_intensity_of_nothing_is_named(batch, bits):
    with pytest.raises(ValueError, match=r"(batch|num_bits) must be at least 1, not 0"):
        cost.intensity(Layer("fc", 6, 8, 3, 2), batch, bits)


def test_fewer_bits_cost_less(lenet):
    costs = [energy(lenet, on_chip=64 * KB, num_bits=bits) for bits in (32, 16, 8, 4, 2, 1)]
    for wide, narrow in itertools.pairwise(costs):
        for a, b in zip(wide, narrow, strict=True):
            assert b.arithmetic < a.arithmetic and b.sram < a.sram and b.dram <= a.dram


@pytest.mark.parametrize("batch", [0, -3])
def test_a_batch_of_nothing_is_named(batch):
    with pytest.raises(ValueError, match=rf"batch must be at least 1, not {batch}"):
        energy([Layer("fc", 6, 8, 3, 2)], KB, batch=batch)


def test_no_layer_costs_nothing():
    assert energy([], KB) == []


@pytest.mark.gpu
@pytest.mark.parametrize("name", models.MODELS)
def test_a_model_on_the_gpu_counts_the_same(name):
    model, x = models.build(name, seed=0), torch.zeros(2, 1, 28, 28)
    expected = cost.layers(model, x), cost.parameters_and_bytes(model), cost.nonzeros(model)
    model, x = model.cuda(), x.cuda()
    assert (
        cost.layers(model, x),
        cost.parameters_and_bytes(model),
        cost.nonzeros(model),
    ) == expected

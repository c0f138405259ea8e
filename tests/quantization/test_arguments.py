"""What is given to quantization: which numbers it takes, of which types and shapes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from shrink.quantization import (
    QParams,
    choose_qparams,
    dequantize,
    fake_quantize,
    pack_bits,
    qparams_of,
    quantize,
)
from shrink.quantization.adaround import adaround
from shrink.quantization.aware import prepare
from shrink.quantization.calibration import Calibrator, Histogram, entropy_threshold
from shrink.quantization.conversion import fold_batch_norm, quantize_dynamically, quantize_model
from shrink.quantization.fixed_weights import weight_grid
from shrink.quantization.integer import IntegerMaxPool2d, QuantizedConv2d, QuantizedLinear, wrap
from shrink.quantization.learned_clip import fake_quantize_pact
from shrink.quantization.learned_step import (
    binarize_lsq,
    fake_quantize_lsq,
    integers_lsq,
    least_squares_step,
)
from shrink.quantization.rounding import round_by_descent, round_exactly
from shrink.quantization.straight_through import fake_quantize_ste

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
P = choose_qparams(-1.0, 1.0)


def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).eval()


def rows(n=20):
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(1))


STEP = torch.tensor(0.5)
EVEN = choose_qparams(-1.0, 1.0, symmetric=True)
PRODUCTS = torch.eye(4)[None] + 1
TAKES_FLOATS = {
    "quantize": lambda x: quantize(x, P),
    "fake_quantize": lambda x: fake_quantize(x, P),
    "fake_quantize_ste": lambda x: fake_quantize_ste(x, P),
    "fake_quantize_lsq": lambda x: fake_quantize_lsq(x, STEP, -7, 7).detach(),
    "integers_lsq": lambda x: integers_lsq(x, STEP, -7, 7),
    "binarize_lsq": lambda x: binarize_lsq(x, STEP),
    "fake_quantize_pact": lambda x: fake_quantize_pact(x, STEP, 4),
    "least_squares_step": lambda x: least_squares_step(x, -7, 7),
    "qparams_of": qparams_of,
    "qparams_of, an axis": lambda x: qparams_of(x, axis=0),
    "qparams_of, groups": lambda x: qparams_of(x, group=2),
    "weight_grid": lambda x: weight_grid(x, 4),
    "weight_grid, least squares": lambda x: weight_grid(x, 4, scale="least squares"),
    "round_exactly": lambda x: round_exactly(x, EVEN, PRODUCTS),
    "round_by_descent": lambda x: round_by_descent(x, EVEN, PRODUCTS),
    "adaround": lambda x: adaround(x, EVEN, PRODUCTS, steps=20),
    "histogram": lambda x: Histogram().add(x),
    "calibrator": lambda x: Calibrator("moving average").see(x),
    "dynamic": quantize_dynamically(net()),
    "static": quantize_model(net(), rows()),
    "calibration data": lambda x: quantize_model(net(), x),
    "calibration data to train on": lambda x: prepare(net(), activation_bits=4, calibration_data=x),
}
KEEP_THE_TYPE = {"dynamic", "static", "fake_quantize_ste", "fake_quantize_lsq", "binarize_lsq"}
KEEP_THE_TYPE |= {"fake_quantize_pact"}
IN_FLOAT32_AT_LEAST = {"least_squares_step"}
X = torch.tensor([[0, 1, 2, 3], [3, 2, 1, 0]])
NO_FLOATS = {
    "int64": X,
    "uint8": X.to(torch.uint8),
    "uint16": X.to(torch.uint16),
    "bool": X > 1,
    "complex": X.to(torch.complex64),
    "float8": X.float().to(torch.float8_e4m3fn),
    "sparse": X.float().to_sparse(),
    "jagged": torch.nested.nested_tensor([X[0].float(), X[1].float()], layout=torch.jagged),
    "array": X.float().numpy(),
    "list": X.tolist(),
    "nothing": None,
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", NO_FLOATS)
@pytest.mark.parametrize("name", TAKES_FLOATS)
def test_what_is_not_floating_point_is_refused(name, kind):
    missing = name == "calibration data to train on" and kind == "nothing"  # it has a default
    error, message = (ValueError, "calibration_data") if missing else (TypeError, "must be")
    with pytest.raises(error, match=message):
        TAKES_FLOATS[name](NO_FLOATS[kind])


@pytest.mark.parametrize("name", TAKES_FLOATS)
def test_a_tensor_on_meta_has_no_values(name):
    with pytest.raises(ValueError, match="on meta"):
        TAKES_FLOATS[name](torch.zeros(2, 4, device="meta"))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("name", [n for n in TAKES_FLOATS if "calibration data" not in n])
def test_floats_of_every_width_are_taken(name, dtype):
    x = X.to(dtype)
    found, expected = TAKES_FLOATS[name](x), TAKES_FLOATS[name](x.float())
    if isinstance(found, torch.Tensor):
        widest = torch.promote_types(dtype, torch.float32)
        kept = dtype if name in KEEP_THE_TYPE else expected.dtype
        assert found.dtype == (widest if name in IN_FLOAT32_AT_LEAST else kept)
        torch.testing.assert_close(found.float(), expected.float(), rtol=0.01, atol=0.01)
    elif isinstance(found, QParams):
        assert found.scale.equal(expected.scale) and found.zero_point.equal(expected.zero_point)


@pytest.mark.parametrize("kind", ["bool", "complex", "nothing", "list", "sparse"])
def test_what_is_not_integers_stands_for_nothing(kind):
    for function in (lambda q: dequantize(q, P), lambda q: pack_bits(q, 2)):
        with pytest.raises(TypeError, match="q must be"):
            function(NO_FLOATS[kind])
    for x in (X.float(), X.double(), NO_FLOATS["float8"]):
        with pytest.raises(TypeError, match=r"q must be integers, not torch\.float"):
            dequantize(x, P)


@pytest.mark.parametrize("odd", [0.5, -1.25, math.nan])
def test_what_is_packed_are_whole_numbers(odd):
    with pytest.raises(ValueError, match=f"q must be whole numbers, not {odd}"):
        pack_bits(torch.tensor([1.0, odd]), 2)
    assert pack_bits(X.float(), 2).equal(pack_bits(X, 2))


def test_no_accumulator_wraps_bool_or_complex():
    for x in (X > 1, X.to(torch.complex64), X.float()):
        with pytest.raises(ValueError, match="whole numbers are wrapped"):
            wrap(x, 8)


@pytest.mark.parametrize("bound", [True, 1j, None, "1", torch.tensor(True), torch.tensor(1j)])
def test_a_bound_is_a_real_number(bound):
    for bounds in ((bound, 2.0), (-2.0, bound)):
        with pytest.raises(TypeError, match=r"x_m(in|ax) must be"):
            choose_qparams(*bounds)


@pytest.mark.parametrize("kind", [int, float, np.float64, np.int64, torch.tensor, torch.HalfTensor])
def test_a_bound_may_be_any_real_number(kind):
    low, high = (kind([x]) if kind is torch.HalfTensor else kind(x) for x in (-1, 3))
    assert choose_qparams(low, high).scale.item() == choose_qparams(-1.0, 3.0).scale.item()


@pytest.mark.parametrize("count", [np.nan, np.inf])
def test_a_count_is_a_finite_number(count):
    with pytest.raises(ValueError, match="counts must be finite"):
        entropy_threshold(np.array([1.0, count, 2.0, 1.0]), 2)


# ---- types of the results


class Normed(nn.Module):
    """A layer norm takes one type alone."""

    def __init__(self):
        super().__init__()
        self.first, self.norm, self.last = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(F.relu(self.norm(self.first(x))))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("convert", [lambda m: m, lambda m: m.to(torch.float32).to(torch.float64)])
def test_a_norm_between_dynamic_layers_gets_its_type(dtype, convert):
    model, x = Normed().to(dtype).eval(), rows().to(dtype)
    y = quantize_dynamically(model)(x)
    assert y.dtype == dtype
    torch.testing.assert_close(y, model(x), rtol=0.05, atol=0.05)


def test_within_autocast_a_dynamic_network_works_as_the_model_does():
    model, x = Normed().eval(), rows()
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        expected, y = model(x), quantize_dynamically(model)(x)
    assert y.dtype == expected.dtype == torch.bfloat16
    torch.testing.assert_close(y, expected, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("dtype", FLOATS)
def test_a_converted_network_may_change_its_type(dtype):
    expected = net()(rows()).detach()
    for network in (quantize_dynamically(net()), quantize_model(net(), rows())):
        y = network.to(dtype)(rows().to(dtype))
        assert y.dtype == dtype
        torch.testing.assert_close(y.float(), expected, rtol=0.05, atol=0.02)


def test_calibration_data_of_another_type_than_the_weights_are_refused():
    with pytest.raises(TypeError, match=r"float64 on cpu, its weight is torch.float32 on cpu"):
        quantize_model(net(), rows().double())
    with pytest.raises(TypeError, match=r"float32 on cpu, its weight is torch.bfloat16"):
        quantize_model(net().bfloat16(), rows())
    mixed = net()
    mixed[2].double()
    with pytest.raises((TypeError, ValueError)):
        quantize_model(mixed, rows())


# ---- shapes


def forms():
    """Layers, and the shape of one input."""
    yield nn.Linear(8, 4), (8,)
    yield nn.Linear(8, 4, bias=False), (5, 8)
    yield nn.Linear(8, 4), (3, 5, 8)
    yield nn.Conv2d(2, 4, 3), (2, 5, 6)
    yield nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2), (2, 5, 6)
    yield nn.Conv2d(2, 2, 3, padding=(0, 1), groups=2, bias=False), (2, 5, 6)
    yield nn.Conv2d(2, 4, 1), (2, 5, 6)


def error(y, expected):
    assert y.shape == expected.shape and y.dtype == expected.dtype
    return (y - expected).abs().max().item() / expected.abs().max().item() if y.numel() else 0


@pytest.mark.parametrize("n", [(0,), (), (1,), (7,)], ids=str)
@pytest.mark.parametrize("layer", [*forms()], ids=str)
def test_a_dynamic_layer_takes_no_examples_and_one_without_a_batch_as_torch_does(layer, n):
    layer, shape = layer
    x = torch.randn(*n, *shape, generator=torch.Generator().manual_seed(0))
    assert error(quantize_dynamically(layer)(x), layer(x).detach()) < 0.04


def test_a_dynamic_layer_is_called_by_keyword_as_torchs_are():
    for layer, shape in forms():
        x = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
        assert error(quantize_dynamically(layer)(input=x), layer(input=x).detach()) < 0.04


@pytest.mark.parametrize("shape", [(0, 8), (3, 0, 8), (0, 0, 8), (2, 3, 0, 8)], ids=str)
def test_an_empty_axis_stays_where_it_is(shape):
    assert quantize_dynamically(nn.Linear(8, 4))(torch.zeros(shape)).shape == (*shape[:-1], 4)


@pytest.mark.filterwarnings("ignore:Initializing zero-element")
@pytest.mark.parametrize(("inputs", "outputs"), [(0, 4), (4, 0), (0, 0)])
def test_a_layer_of_nothing_gives_its_bias(inputs, outputs):
    layer, x = nn.Linear(inputs, outputs), torch.zeros(3, inputs)
    torch.testing.assert_close(quantize_dynamically(layer)(x), layer(x).detach())


def image_net(*parts, last):
    torch.manual_seed(0)
    return nn.Sequential(*parts, nn.Flatten(), nn.Linear(last, 3)).eval()


NETS = {
    "rows": (net, (4,)),
    "images": (
        lambda: image_net(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), last=36),
        (2, 6, 7),
    ),
    "depthwise": (lambda: image_net(nn.Conv2d(2, 2, 3, groups=2), last=40), (2, 6, 7)),
    "pooled first": (lambda: image_net(nn.MaxPool2d(2), last=18), (2, 6, 7)),
}


@pytest.mark.parametrize("name", NETS)
def test_a_network_of_integers_takes_no_examples_and_none_without_a_batch_that_torch_refuses(name):
    make, shape = NETS[name]
    model, data = make(), torch.randn(50, *shape, generator=torch.Generator().manual_seed(0))
    network = quantize_model(model, data)
    for x in (data[:0], data[:1], data[:9], data[0]):
        try:
            expected = model(x).detach()
        except RuntimeError:
            with pytest.raises((ValueError, RuntimeError)):
                network(x)
            continue
        assert error(network(x), expected) < 0.05


def q(*shape):
    return torch.ones(shape, dtype=torch.int8)


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("groups", [1, 2])
def test_another_number_of_channels_is_refused(channels, groups):
    """A depthwise convolution would spread one channel over all."""
    layer = QuantizedConv2d(q(2, 2 // groups, 3, 3), q(2).int(), groups=groups)
    for shape in ((5, channels, 6, 7), (channels, 6, 7), (6, 7), (2, 3, 2, 6, 7)):
        with pytest.raises(ValueError, match=r"takes \(n, 2, height, width\), not \("):
            layer(q(*shape))


@pytest.mark.parametrize("shape", [(1, 2, 2, 9), (1, 2, 9, 2), (2, 2, 9)], ids=str)
def test_an_image_that_is_smaller_than_the_kernel_is_refused(shape):
    with pytest.raises(ValueError, match="smaller than the kernel"):
        QuantizedConv2d(q(2, 2, 3, 3), q(2).int())(q(*shape))
    with pytest.raises(ValueError, match=r"windows of \(3, 3\) are of images, not of"):
        IntegerMaxPool2d((3, 3), (3, 3))(q(*shape))


@pytest.mark.parametrize("shape", [(5,), (2, 5), (2, 3, 5), (0, 5), (2, 0, 5)], ids=str)
def test_a_linear_layer_of_integers_takes_any_axes(shape):
    layer = QuantizedLinear(q(4, 5), q(4).int())
    y = layer(q(*shape))
    assert y.shape == (*shape[:-1], 4) and (y == 6).all()


@pytest.mark.parametrize("shape", [(), (4,), (2, 4), (5, 2)], ids=str)
def test_another_number_of_inputs_is_refused(shape):
    with pytest.raises(ValueError, match=r"a linear layer takes \(n, 5\), not \("):
        QuantizedLinear(q(4, 5), q(4).int())(q(*shape))


def test_a_pool_of_one_image():
    x = torch.randint(-128, 128, (3, 9, 8)).to(torch.int8)
    pool = IntegerMaxPool2d((2, 3), (2, 1))
    assert pool(x).equal(pool(x[None])[0])
    assert pool(q(0, 3, 9, 8)).shape == (0, 3, 4, 6)


@pytest.mark.parametrize(
    "pool",
    [
        nn.MaxPool2d([2, 2]),
        nn.MaxPool2d([2, 3], [1, 2]),
        nn.MaxPool2d(2, padding=[0, 0]),
        nn.MaxPool2d((2,)),
        nn.MaxPool2d(torch.Size([2, 2]), dilation=[1, 1]),
        nn.MaxPool2d(np.int64(2), stride=[np.int64(1), 2]),
    ],
    ids=str,
)
def test_lists_are_as_tuples(pool):
    x = torch.randn(30, 2, 6, 7, generator=torch.Generator().manual_seed(0))
    last = pool(x).flatten(1).shape[1]
    model = image_net(pool, last=last)
    assert error(quantize_model(model, x)(x), model(x).detach()) < 0.05


def test_calibration_data_that_are_one_image_are_refused():
    model = image_net(nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), last=36)
    with pytest.raises(ValueError, match=r"gets \(2, 6, 7\); on integers it takes \(n, 2, height"):
        quantize_model(model, torch.zeros(2, 6, 7))


@pytest.mark.parametrize("size", [0, -1])
def test_a_batch_of_nothing_is_refused(size):
    with pytest.raises(ValueError, match=f"batch_size must be at least 1, not {size}"):
        quantize_model(net(), rows(), batch_size=size)


@pytest.mark.parametrize("model", [None, torch.relu, nn.Linear, {"w": torch.ones(2)}])
@pytest.mark.parametrize(
    "convert",
    [
        quantize_dynamically,
        lambda model: quantize_model(model, rows()),
        lambda model: fold_batch_norm(model, nn.BatchNorm1d(4)),
        lambda model: fold_batch_norm(nn.Linear(4, 4), model),
    ],
)
def test_what_is_no_module_is_named(convert, model):
    with pytest.raises(TypeError, match=r"must be an nn\.Module, not a"):
        convert(model)


def test_a_norm_without_a_mean_is_named():
    norm = nn.BatchNorm1d(4)
    norm.running_mean = None
    with pytest.raises(ValueError, match="has no running statistics of 4 channels"):
        fold_batch_norm(nn.Linear(4, 4), norm)

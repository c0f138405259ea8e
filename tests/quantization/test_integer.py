"""Integer arithmetic against Python's integers, numpy's int64 and ONNX Runtime."""

import math
import time
from fractions import Fraction

import numpy as np
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from shrink.classroom.baselines import baseline
from shrink.classroom.data import load
from shrink.quantization import QParams, integer, quantize
from shrink.quantization.conversion import quantize_model
from shrink.quantization.integer import (
    IntegerMaxPool2d,
    IntegerNetwork,
    QuantizedConv2d,
    QuantizedLinear,
    Requantize,
    fixed_point,
    matmul,
    wrap,
)
from tests import depth

NAMES = ("lenet-300-100", "lenet-5")
OFF_BY_ONE = 1e-4
"""At most this share of ONNX Runtime's int8 may differ from ours, by one.

It multiplies in float32: three roundings of 2^-24 at most, of results up to 255 steps from zero.
That errs by 255 · 3 · 2^-24 = 4.6e-5 steps at most, so for a share of 9.1e-5 of results (those so
near to a half, on both sides) another integer may be the nearest. Measured: 1.3e-5 at most, and
2e-6 in the layers of real networks.
"""


def random_int8(*shape, seed=0, low=-128, high=128):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(low, high, shape, generator=generator, dtype=torch.int64).to(torch.int8)


def random_bias(n, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(-20_000, 20_000, (n,), generator=generator, dtype=torch.int32)


def params(zero_point=0, num_bits=8):
    return QParams(torch.tensor(1.0), torch.tensor(zero_point, dtype=torch.int32), num_bits)


def requantized(sums, layer):
    """What a `Requantize` is to make of exact sums, by Python's integers: (rows, outputs) int64."""
    multiplier = layer.multiplier.expand(sums.shape[1]).tolist()
    shift = layer.shift.expand(sums.shape[1]).tolist()
    low, high = layer.bounds.tolist()
    zero_point = layer.zero_point.item()
    rows = [
        [
            min(max(zero_point + math.floor(Fraction(s * m, 2**k) + Fraction(1, 2)), low), high)
            for s, m, k in zip(row, multiplier, shift, strict=True)
        ]
        for row in sums.tolist()
    ]
    return torch.tensor(rows, dtype=torch.int64).view(sums.shape)


def runtime(op, inputs, parameters, domain="", **attributes):
    """The result of one operation of ONNX Runtime; parameters come after the inputs."""
    names = [f"input{i}" for i in range(len(inputs))] + [f"p{i}" for i in range(len(parameters))]
    arrays = [np.ascontiguousarray(x.numpy()) for x in inputs]
    graph = helper.make_graph(
        [helper.make_node(op, names, ["y"], domain=domain, **attributes)],
        "one",
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(x.dtype), list(x.shape)
            )
            for name, x in zip(names, arrays, strict=False)
        ],
        [helper.make_empty_tensor_value_info("y")],
        [
            numpy_helper.from_array(np.ascontiguousarray(p.numpy()), name)
            for name, p in zip(names[len(inputs) :], parameters, strict=True)
        ],
    )
    graph.output[0].type.tensor_type.elem_type = TensorProto.INT8
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return torch.from_numpy(session.run(None, dict(zip(names, arrays, strict=False)))[0])


def factor_of(requantize):
    """The factor that multiplier and shift stand for, float32."""
    return torch.ldexp(requantize.multiplier.double(), -requantize.shift.double()).float()


def bias_alone(layer, zero_point):
    """The bias as the operations of ONNX have it: without the input's zero point worked in."""
    of_zeros = zero_point * layer.weight.flatten(1).sum(1, dtype=torch.int64)
    return (layer.bias + of_zeros).int()


def worked_in(bias, weight, zero_point):
    """The bias as our layers have it."""
    return (bias - zero_point * weight.flatten(1).sum(1, dtype=torch.int64)).int()


def runtime_conv(layer, q, zero_point):
    """QLinearConv on the parameters of our layer."""
    up, left = layer.padding
    scales = (torch.tensor(1.0), torch.tensor(zero_point, dtype=torch.int8))
    weight_scale = factor_of(layer.requantize)
    weight_zero = torch.zeros(weight_scale.shape, dtype=torch.int8)
    y = (torch.tensor(1.0), layer.requantize.zero_point.to(torch.int8))
    return runtime(
        "QLinearConv",
        [q],
        [
            *scales,
            layer.weight.detach(),
            weight_scale,
            weight_zero,
            *y,
            bias_alone(layer, zero_point),
        ],
        strides=layer.stride,
        pads=[up, left, up, left],
        group=layer.groups,
    )


def runtime_linear(layer, q, zero_point):
    """QGemm, ONNX Runtime's linear layer of integers, on the parameters of our layer."""
    weight_scale = factor_of(layer.requantize)
    return runtime(
        "QGemm",
        [q],
        [
            torch.tensor(1.0),
            torch.tensor(zero_point, dtype=torch.int8),
            layer.weight.detach(),
            weight_scale,
            torch.zeros(weight_scale.shape, dtype=torch.int8),
            bias_alone(layer, zero_point),
            torch.tensor(1.0),
            layer.requantize.zero_point.to(torch.int8),
        ],
        domain="com.microsoft",
        transB=1,
    )


def share_off(ours, theirs):
    """The share of entries that differ; none by more than one."""
    assert ours.dtype == theirs.dtype == torch.int8 and ours.shape == theirs.shape
    assert len(theirs.unique()) > 10  # the range is in use
    off = (ours.int() - theirs.int()).abs()
    assert off.max() <= 1
    return off.count_nonzero().item() / off.numel()


# ---- accumulators


@pytest.mark.parametrize("bits", [8, 16, 32])
def test_wrap_is_what_numpy_keeps(bits):
    x = torch.randint(-(2**40), 2**40, (1000,), generator=torch.Generator().manual_seed(bits))
    assert wrap(x, bits).tolist() == x.numpy().astype(f"int{bits}").tolist()
    edge = 2 ** (bits - 1)
    ends = torch.tensor([-edge - 1, -edge, edge - 1, edge])
    assert wrap(ends, bits).tolist() == [edge - 1, -edge, edge - 1, -edge]


@given(x=st.integers(-(2**63), 2**63 - 1), bits=st.integers(2, 63))
@settings(max_examples=depth.examples(300))
def test_wrap_of_any_width_is_the_twos_complement(x, bits):
    kept = x & (2**bits - 1)  # the lowest bits
    expected = kept - 2**bits if kept >> (bits - 1) else kept
    assert wrap(torch.tensor([x]), bits).tolist() == [expected]


@given(
    terms=st.lists(st.integers(-(2**31), 2**31), min_size=1, max_size=20), bits=st.integers(2, 33)
)
def test_wrapping_after_each_addition_is_wrapping_at_the_end(terms, bits):
    register = torch.tensor(0)
    for term in terms:
        register = wrap(register + term, bits)
    assert register == wrap(torch.tensor(sum(terms)), bits)


def test_wrap_keeps_shape_and_input_and_takes_any_integers():
    x = random_int8(3, 4, 5)
    before = x.clone()
    for kind in (x, x.int(), x.abs().to(torch.uint8)):
        y = wrap(kind, 4)
        assert y.shape == x.shape and y.dtype == torch.int64
        assert y.min() >= -8 and y.max() <= 7
    assert x.equal(before)


@pytest.mark.parametrize("bits", [1, 0, -8, 64, 100])
def test_a_width_that_no_accumulator_has_is_named(bits):
    with pytest.raises(ValueError, match=f"num_bits must lie between 2 and 63, not {bits}"):
        wrap(torch.tensor([1]), bits)


def test_floats_are_not_wrapped():
    with pytest.raises(ValueError, match=r"whole numbers are wrapped, not torch\.float32"):
        wrap(torch.ones(2), 8)


# ---- products

SHAPES = [
    (1, 1, 1),
    (1, 784, 300),
    (64, 784, 300),
    (17, 33, 9),
    (40, 25, 1),
    (1, 25, 1),
    (5, 2, 3),
    (3, 1, 1),
    (5, 1, 3),
    (300, 1, 300),
    (0, 4, 3),
    (3, 4, 0),
    (3, 0, 2),
]


def exact(a, b):
    return a.numpy().astype(np.int64) @ b.numpy().astype(np.int64).T


PRODUCTS = [integer._int8_matmul, integer._int32_matmul, integer._plain_matmul]
of_each_product = pytest.mark.parametrize("product", PRODUCTS, ids=["int8", "int32", "plain"])


@of_each_product
@pytest.mark.parametrize("shape", [s for s in SHAPES if 0 not in s], ids=str)
def test_products_equal_numpys_int64(product, shape):
    n, k, m = shape
    a, b = random_int8(n, k), random_int8(m, k, seed=1)
    y = product(a, b)
    assert y.dtype == torch.int32 and y.shape == (n, m)
    assert np.array_equal(y.numpy(), exact(a, b))


@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_product_is_exact_on_any_machine(int8, shape, monkeypatch):
    """Whether it has an int8 product or not; and the other one is not called."""
    called = []
    for name in ("_int8_matmul", "_int32_matmul"):
        product = getattr(integer, name)
        note = lambda a, b, name=name, product=product: called.append(name) or product(a, b)  # noqa: E731
        monkeypatch.setattr(integer, name, note)
    monkeypatch.setattr(integer, "has_int8_product", lambda: int8)
    n, k, m = shape
    a, b = random_int8(n, k), random_int8(m, k, seed=1)
    y = matmul(a, b)
    assert y.dtype == torch.int32 and y.shape == (n, m)
    assert np.array_equal(y.numpy(), exact(a, b))
    assert called == ([] if 0 in shape else ["_int8_matmul" if int8 else "_int32_matmul"])


@pytest.mark.parametrize("faster", ["_int8_matmul", "_int32_matmul"])
def test_the_product_that_was_faster_is_taken(faster, monkeypatch):
    for name in ("_int8_matmul", "_int32_matmul"):
        seconds = 0 if name == faster else 0.02
        monkeypatch.setattr(integer, name, lambda a, b, seconds=seconds: time.sleep(seconds))
    assert integer.has_int8_product.__wrapped__() == (faster == "_int8_matmul")


@of_each_product
@pytest.mark.parametrize("k", [2, 784, 2**17 - 1])
@pytest.mark.parametrize(("left", "right"), [(-128, -128), (127, -128), (-128, 127), (127, 127)])
def test_the_largest_sums_are_exact(product, k, left, right):
    a = torch.full((3, k), left, dtype=torch.int8)
    b = torch.full((2, k), right, dtype=torch.int8)
    assert product(a, b).tolist() == [[k * left * right] * 2] * 3


@given(n=st.integers(1, 40), k=st.integers(1, 70), m=st.integers(1, 40), seed=st.integers(0, 99))
@settings(max_examples=depth.examples(40))
def test_products_of_any_shape(n, k, m, seed):
    a, b = random_int8(n, k, seed=seed), random_int8(m, k, seed=seed + 1)
    for product in PRODUCTS:
        assert np.array_equal(product(a, b).numpy(), exact(a, b))


@pytest.mark.parametrize(
    "layout",
    [
        lambda x: x.T,
        lambda x: x[::2],
        lambda x: x[:, ::3],
        lambda x: x[3:4],
        lambda x: x[3:4, 2:7],
        lambda x: x[:1].T,
        lambda x: x[0].expand(1, -1),
        lambda x: x[0].expand(5, -1),
        lambda x: x.flip(0),
    ],
)
def test_products_of_any_layout(layout):
    a, b = layout(random_int8(30, 30)), layout(random_int8(30, 30, seed=1))
    for left, right in ((a, b), (a.clone(), b), (a, b.clone())):
        for product in PRODUCTS:
            assert np.array_equal(product(left, right).numpy(), exact(a, b))


def test_the_plain_path_in_several_parts_has_the_same_bits(monkeypatch):
    a, b = random_int8(11, 7), random_int8(5, 7, seed=1)
    for chunk in (1, 2 * 35, 3 * 35 + 1, 11 * 35):
        monkeypatch.setattr(integer, "CHUNK", chunk)
        assert np.array_equal(integer._plain_matmul(a, b).numpy(), exact(a, b))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.ones(2, 3), torch.ones(2, 3), r"int8 of two axes .* not torch.float32 of 2"),
        (random_int8(2, 3), random_int8(2, 3).int(), "not torch.int32 of 2"),
        (random_int8(3), random_int8(2, 3), "not torch.int8 of 1"),
        (random_int8(2, 3), random_int8(2, 3, 1), "not torch.int8 of 3"),
        (random_int8(2, 3), random_int8(3, 2), "rows of 3 and 2 numbers"),
        (random_int8(1, 2**17), random_int8(1, 2**17), "rows of 131072 and 131072 numbers"),
    ],
)
def test_what_cannot_be_multiplied_is_named(a, b, message):
    with pytest.raises(ValueError, match=message):
        matmul(a, b)


# ---- a real number as an integer and a shift

reals = st.builds(math.ldexp, st.floats(0.5, 1, exclude_max=True), st.integers(-80, 30))


@given(real=reals)
@settings(max_examples=depth.examples(500))
def test_a_multiplier_is_the_nearest_of_its_shift(real):
    real = min(real, 2.0**30 - 1)
    multiplier, shift = fixed_point(real)
    assert multiplier.dtype == shift.dtype == torch.int32 and multiplier.dim() == 0
    multiplier, shift = multiplier.item(), shift.item()
    assert 1 <= shift <= 54
    assert abs(Fraction(multiplier, 2**shift) - Fraction(real)) <= Fraction(1, 2 ** (shift + 1))
    if real >= 2.0**-24:
        assert 2**30 <= multiplier < 2**31
    else:
        assert shift == 54 and 0 <= multiplier <= 2**30


@pytest.mark.parametrize("exponent", [-30, -24, -23, -1, 0, 1, 15, 28, 29])
def test_what_rounds_up_to_a_power_of_two_is_carried(exponent):
    real = math.ldexp(1 - 2.0**-40, exponent)
    multiplier, shift = fixed_point(real)
    assert Fraction(multiplier.item(), 2 ** shift.item()) == Fraction(2) ** exponent
    assert (multiplier.item(), shift.item()) == tuple(t.item() for t in fixed_point(2.0**exponent))


@pytest.mark.parametrize("real", [2.0**30 - 2.0**-10, math.nextafter(2.0**30, 0), 2.0**30 - 0.25])
def test_just_below_the_limit_a_shift_stays_above_0(real):
    """Or the number is refused: a shift of 0 has no half to add."""
    try:
        multiplier, shift = fixed_point(real)
    except ValueError:
        return
    assert shift >= 1
    assert abs(multiplier.item() / 2 ** shift.item() - real) <= 0.5


def test_of_less_than_a_shift_reaches_nothing_is_left():
    assert [t.item() for t in fixed_point(2.0**-56)] == [0, 54]
    assert [t.item() for t in fixed_point(2.0**-54)] == [1, 54]
    assert [t.item() for t in fixed_point(5e-324)] == [0, 54]


@pytest.mark.parametrize("kind", [torch.float64, torch.float32])
def test_a_number_a_channel(kind):
    real = torch.tensor([0.3, 1e-9, 2.0**29, 1.0], dtype=kind)
    multiplier, shift = fixed_point(real)
    one_by_one = [fixed_point(x.double()) for x in real]
    assert multiplier.tolist() == [m.item() for m, _ in one_by_one]
    assert shift.tolist() == [s.item() for _, s in one_by_one]


@pytest.mark.parametrize("real", [0.0, -1.0, 2.0**30, math.inf, math.nan])
def test_a_factor_out_of_bounds_is_named(real):
    for factor in (real, torch.tensor([0.5, real, 0.25])):
        with pytest.raises(ValueError, match=r"above 0 and below 2\^30, got " + str(real)):
            fixed_point(factor)


# ---- sums to int8


@given(
    factor=st.builds(math.ldexp, st.floats(0.5, 0.999), st.integers(-40, 29)),
    zero_point=st.integers(-128, 127),
    relu=st.booleans(),
    sums=st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=20),
    near=st.integers(-200, 200),
)
@settings(max_examples=depth.examples(400))
def test_requantizing_is_exact_with_halves_up(factor, zero_point, relu, sums, near):
    layer = Requantize(factor, params(zero_point), relu)
    middle = round(near / factor) if abs(near / factor) < 2**31 else 0
    x = torch.tensor([[*sums, middle - 1 if middle > 0 else middle, middle]], dtype=torch.int32).T
    y = layer(x)
    assert y.dtype == torch.int8
    assert y.tolist() == requantized(x, layer).tolist()
    assert y.min() >= (zero_point if relu else -128)


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("zero_point", [-128, -1, 0, 127])
def test_halves_go_up_and_what_is_outside_saturates(zero_point, relu):
    layer = Requantize(0.5, params(zero_point), relu)
    sums = torch.tensor([-(2**31), -601, -3, -2, -1, 0, 1, 2, 3, 601, 2**31 - 1])
    halves = [-(2**30), -300, -1, -1, 0, 0, 1, 1, 2, 301, 2**30]
    low = zero_point if relu else -128
    expected = [min(max(zero_point + half, low), 127) for half in halves]
    assert layer(sums.int()[:, None]).flatten().tolist() == expected


@pytest.mark.parametrize("zero_point", [-128, 0, 127])
@pytest.mark.parametrize("shift", range(1, 55))
def test_the_largest_products_do_not_overflow(shift, zero_point):
    """Of the largest sums, for every shift that there is."""
    for multiplier in (2**30, 2**31 - 1):
        layer = Requantize(math.ldexp(multiplier, -shift), params(zero_point))
        assert (layer.multiplier.item(), layer.shift.item()) == (multiplier, shift)
        sums = torch.tensor([[-(2**31)], [1 - 2**31], [-1], [0], [1], [2**31 - 1]])
        assert layer(sums.int()).tolist() == requantized(sums, layer).tolist()


def test_with_the_smallest_multiplier_all_is_the_zero_point():
    layer = Requantize(2.0**-60, params(7))
    assert layer(torch.tensor([[-(2**31), 2**31 - 1]], dtype=torch.int32)).tolist() == [[7, 7]]


@pytest.mark.parametrize("relu", [False, True])
def test_a_factor_a_channel(relu):
    factors = torch.tensor([0.7, 3e-5, 0.001, 40.0], dtype=torch.float64)
    layer = Requantize(factors, params(-5), relu)
    sums = torch.randint(-100_000, 100_000, (50, 4), generator=torch.Generator().manual_seed(0))
    y = layer(sums.int())
    assert y.tolist() == requantized(sums, layer).tolist()
    for channel, factor in enumerate(factors):
        one = Requantize(factor, params(-5), relu)
        assert one(sums.int()[:, channel]).equal(y[:, channel])


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("relu", [False, True])
def test_fewer_bits_saturate_earlier(bits, relu):
    p = params(-1, bits)
    y = Requantize(1.0, p, relu)(torch.arange(-300, 300, dtype=torch.int32))
    assert y.unique().tolist() == [*range(-1 if relu else p.q_min, p.q_max + 1)]


def test_the_sums_are_left_as_they_were():
    sums = torch.arange(-50, 50, dtype=torch.int32)
    before = sums.clone()
    Requantize(0.3, params())(sums)
    assert sums.equal(before)


# ---- layers

LINEAR = [(1, 784, 300), (64, 784, 300), (33, 7, 3), (5, 2, 1)]


def factors(n, k, per_channel, seed=0):
    """That bring sums of k random products to about the width of int8."""
    generator = torch.Generator().manual_seed(seed)
    wide = torch.rand(n if per_channel else 1, generator=generator, dtype=torch.float64)
    factor = (0.5 + wide) * 50 / (74 * 74 * k**0.5)
    return factor if per_channel else factor.reshape(())


def linear(n, k, zero_point, *, y=3, relu=False, per_channel=False, bias=True):
    weight = random_int8(n, k, seed=2, low=-127)
    own = random_bias(n) if bias else torch.zeros(n, dtype=torch.int32)
    requantize = Requantize(factors(n, k, per_channel), params(y), relu)
    return QuantizedLinear(weight, worked_in(own, weight, zero_point), requantize)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("zero_point", [-128, 17])
@pytest.mark.parametrize("shape", LINEAR, ids=str)
def test_a_linear_layer_is_exact(shape, zero_point, per_channel):
    n, k, m = shape
    layer, q = linear(m, k, zero_point, relu=True, per_channel=per_channel), random_int8(n, k)
    weight, bias = layer.weight.long(), bias_alone(layer, zero_point).long()
    sums = (q.long() - zero_point) @ weight.T + bias  # as the paper has them
    y = layer(q)
    assert y.dtype == torch.int8
    assert y.long().equal(requantized(sums, layer.requantize))
    layer.requantize = None
    assert layer(q).dtype == torch.int32 and layer(q).long().equal(sums)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("zero_point", [-128, 0, 17])
def test_a_linear_layer_and_onnx_runtimes(zero_point, per_channel):
    layer, q = linear(300, 784, zero_point, per_channel=per_channel), random_int8(500, 784)
    assert share_off(layer(q), runtime_linear(layer, q, zero_point)) <= OFF_BY_ONE


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("zero_point", [-128, 0, 17])
def test_a_linear_layer_without_bias_and_qlinearmatmul(zero_point, per_channel):
    layer = linear(300, 784, zero_point, per_channel=per_channel, bias=False)
    q = random_int8(500, 784)
    weight_scale = factor_of(layer.requantize)
    y = runtime(
        "QLinearMatMul",
        [q],
        [
            torch.tensor(1.0),
            torch.tensor(zero_point, dtype=torch.int8),
            layer.weight.detach().T,
            weight_scale,
            torch.zeros(weight_scale.shape, dtype=torch.int8),
            torch.tensor(1.0),
            layer.requantize.zero_point.to(torch.int8),
        ],
    )
    assert share_off(layer(q), y) <= OFF_BY_ONE


def test_onnx_runtime_rounds_exact_halves_to_even_and_we_up():
    weight = torch.ones(1, 1, dtype=torch.int8)
    zeros = torch.zeros(1, dtype=torch.int32)
    layer = QuantizedLinear(weight, zeros, Requantize(0.5, params()))
    q = torch.arange(-127, 128).to(torch.int8)[:, None]
    ours, theirs = layer(q).int(), runtime_linear(layer, q, 0).int()
    ties = (q % 2 != 0) & (theirs == (q // 2))  # the even neighbour is the lower one
    assert ties.count_nonzero() == 64
    assert (ours - theirs).equal(ties.int())


CONVS = {
    "plain": {"shape": (8, 4, 3, 3)},
    "one-by-one": {"shape": (8, 4, 1, 1)},
    "stride": {"shape": (8, 4, 3, 3), "stride": (2, 2)},
    "strides": {"shape": (8, 4, 3, 3), "stride": (1, 3)},
    "padding": {"shape": (8, 4, 3, 3), "padding": (1, 1)},
    "paddings": {"shape": (8, 4, 5, 3), "padding": (2, 1), "stride": (2, 1)},
    "not-square": {"shape": (8, 4, 2, 5)},
    "groups": {"shape": (8, 2, 3, 3), "groups": 2, "padding": (1, 1)},
    "depthwise": {"shape": (4, 1, 3, 3), "groups": 4, "padding": (1, 0), "stride": (2, 1)},
    "depthwise-twice": {"shape": (8, 1, 2, 3), "groups": 4, "padding": (0, 1)},
    "depthwise-one-by-one": {"shape": (4, 1, 1, 1), "groups": 4},
    "whole-image": {"shape": (8, 4, 9, 11)},
}


def conv(name, zero_point, *, y=3, relu=False, per_channel=False):
    shape, *_ = (options := dict(CONVS[name])).pop("shape"), options
    weight = random_int8(*shape, seed=2, low=-127)
    requantize = Requantize(factors(shape[0], math.prod(shape[1:]), per_channel), params(y), relu)
    bias = worked_in(random_bias(shape[0]) // 10, weight, zero_point)
    return QuantizedConv2d(weight, bias, requantize, zero_point=zero_point, **options)


def exact_conv(layer, q, zero_point):
    """The sums as the paper has them, in float64, which holds them exactly."""
    real = F.conv2d(
        q.double() - zero_point,
        layer.weight.double(),
        bias_alone(layer, zero_point).double(),
        stride=layer.stride,
        padding=layer.padding,
        groups=layer.groups,
    )
    return real.long()


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("zero_point", [-128, 17])
@pytest.mark.parametrize("name", CONVS)
def test_a_convolution_is_exact(name, zero_point, per_channel):
    layer = conv(name, zero_point, relu=True, per_channel=per_channel)
    q = random_int8(3, 4, 9, 11)
    before, sums = q.clone(), exact_conv(layer, q, zero_point)
    y = layer(q)
    rows = sums.permute(0, 2, 3, 1)
    expected = requantized(rows.flatten(0, 2), layer.requantize).view(rows.shape)
    assert y.dtype == torch.int8 and y.long().equal(expected.permute(0, 3, 1, 2))
    assert q.equal(before)
    layer.requantize = None
    assert layer(q).dtype == torch.int32 and layer(q).long().equal(sums)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("zero_point", [-128, 0, 17])
@pytest.mark.parametrize("name", CONVS)
def test_a_convolution_and_onnx_runtimes(name, zero_point, per_channel):
    layer, q = conv(name, zero_point, per_channel=per_channel), random_int8(100, 4, 9, 11)
    off = share_off(layer(q), runtime_conv(layer, q, zero_point))
    assert off <= max(OFF_BY_ONE, 2 / layer(q).numel())


def test_a_one_by_one_convolution_is_the_linear_layer():
    dense = linear(30, 16, zero_point=17)
    layer = QuantizedConv2d(
        dense.weight.detach()[:, :, None, None], dense.bias, dense.requantize, zero_point=17
    )
    q = random_int8(500, 16)
    assert layer(q[:, :, None, None])[:, :, 0, 0].equal(dense(q))


def test_layers_in_several_parts_do_the_same(monkeypatch):
    layers = [linear(5, 7, 17), conv("groups", 17), conv("paddings", 17)]
    inputs = [random_int8(23, 7), random_int8(7, 4, 9, 11), random_int8(7, 4, 9, 11)]
    whole = [layer(q) for layer, q in zip(layers, inputs, strict=True)]
    for chunk in (1, 11, 1600):
        monkeypatch.setattr(integer, "CHUNK", chunk)
        for layer, q, y in zip(layers, inputs, whole, strict=True):
            assert layer(q).equal(y)


def test_no_image_gives_no_result():
    assert linear(5, 7, 17)(random_int8(0, 7)).shape == (0, 5)
    assert conv("padding", 17)(random_int8(0, 4, 9, 11)).shape == (0, 8, 9, 11)


POOLS = [((2, 2), (2, 2)), ((3, 3), (2, 2)), ((1, 3), (3, 1)), ((2, 2), (3, 4)), ((9, 11), (1, 1))]


@pytest.mark.parametrize(("kernel", "stride"), POOLS, ids=str)
def test_max_pooling_is_onnx_runtimes_and_torchs(kernel, stride):
    q = random_int8(5, 3, 9, 11)
    y = IntegerMaxPool2d(kernel, stride)(q)
    assert y.dtype == torch.int8
    assert y.equal(runtime("MaxPool", [q], [], kernel_shape=kernel, strides=stride))
    assert y.double().equal(F.max_pool2d(q.double(), kernel, stride))


def test_pooling_takes_any_layout():
    q = random_int8(5, 9, 11, 3).permute(0, 3, 1, 2)  # as a convolution leaves it
    assert IntegerMaxPool2d((2, 2), (2, 2))(q).double().equal(F.max_pool2d(q.double(), 2))


# ---- whole networks


@pytest.fixture(scope="module")
def glyphs():
    return load("glyphs", announce=False)


@pytest.fixture(scope="module")
def networks(glyphs):
    """Of each name, per tensor and per channel."""
    return {
        (name, per_channel): quantize_model(
            baseline(name, glyphs), glyphs.train.images[:300], per_channel=per_channel
        )
        for name in NAMES
        for per_channel in (False, True)
    }


def quantized_input(network, images):
    x = QParams(network.input_scale, network.input_zero_point, network.num_bits)
    return quantize(images, x)


@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_each_layer_of_a_real_network_and_onnx_runtimes(networks, glyphs, name, per_channel):
    network = networks[name, per_channel]
    q = quantized_input(network, glyphs.test.images[:300])
    zero_point, compared = int(network.input_zero_point), []
    for layer in network.layers:
        y = layer(q)
        if isinstance(layer, QuantizedConv2d):
            assert layer.zero_point == zero_point
            theirs = runtime_conv(layer, q, zero_point)
        elif isinstance(layer, QuantizedLinear) and layer.requantize is not None:
            theirs = runtime_linear(layer, q, zero_point)
        elif isinstance(layer, IntegerMaxPool2d):
            theirs = runtime(
                "MaxPool", [q], [], kernel_shape=layer.kernel_size, strides=layer.stride
            )
            assert theirs.equal(y)
        elif isinstance(layer, QuantizedLinear):
            theirs = None
            sums = (q.long() - zero_point) @ layer.weight.long().T
            assert y.long().equal(sums + bias_alone(layer, zero_point))
        else:
            assert isinstance(layer, nn.Flatten)
            theirs = None
        if theirs is not None:
            compared.append(share_off(y, theirs))
        if getattr(layer, "requantize", None) is not None:
            zero_point = int(layer.requantize.zero_point)
        q = y
    assert len(compared) == (2 if name == "lenet-300-100" else 5)
    assert max(compared) <= OFF_BY_ONE


class Types(TorchDispatchMode):
    """The types of all tensors that operations take and give."""

    def __init__(self):
        super().__init__()
        self.seen, self.operations = set(), set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        tensors = [t for t in tree_leaves((args, kwargs, result)) if isinstance(t, torch.Tensor)]
        self.seen |= {t.dtype for t in tensors}
        self.operations.add(func.overloadpacket.__name__)
        return result


INTEGERS = {torch.int8, torch.int32, torch.int64}


@pytest.mark.parametrize("int8", [True, False])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_nothing_between_input_and_output_is_a_float(
    networks, glyphs, name, per_channel, int8, monkeypatch
):
    """On a machine with an int8 product, and on one without."""
    monkeypatch.setattr(integer, "has_int8_product", lambda: int8)
    network = networks[name, per_channel]
    images = glyphs.test.images[:20]
    q = quantized_input(network, images)
    with torch.no_grad(), Types() as types:
        sums = network.layers(q)
    assert types.seen == INTEGERS and sums.dtype == torch.int32
    assert ("_int_mm" in types.operations) == int8
    assert network(images).equal(sums * network.output_scale)


class Float(nn.Module):
    def forward(self, q):
        return q.float().round().to(q.dtype)


def test_a_float_in_between_is_seen(networks, glyphs):
    network = networks["lenet-300-100", False]
    q = quantized_input(network, glyphs.test.images[:20])
    with torch.no_grad(), Types() as types:
        nn.Sequential(*network.layers[:2], Float(), *network.layers[2:])(q)
    assert types.seen == INTEGERS | {torch.float32}


def test_logits_are_the_sums_times_the_scale():
    layer = linear(3, 4, 17)
    layer.requantize = None
    scale = torch.tensor([0.5, 0.25, 2.0])
    x = QParams(torch.tensor(0.1), torch.tensor(17, dtype=torch.int32))
    network = IntegerNetwork(x, nn.Sequential(layer), scale)
    images = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    y = network(images)
    assert y.dtype == torch.float32
    assert y.equal(layer(quantize(images, x)).float() * scale)


def test_a_network_goes_through_its_state(networks, glyphs):
    network = networks["lenet-5", True]
    state = network.state_dict()
    assert {"input_scale", "input_zero_point", "output_scale"} <= set(state)
    other = quantize_model(
        baseline("lenet-5", glyphs), 3 * glyphs.train.images[:10], per_channel=True
    )
    images = glyphs.test.images[:50]
    assert not other(images).equal(network(images))
    other.load_state_dict(state)
    assert other(images).equal(network(images))


# ---- why 32 bits


def test_an_accumulator_of_fc1_overflows_in_16_bits_and_not_in_32(networks, glyphs):
    """On real images: 8 bits hold hardly one sum of a hundred, 16 bits not half of them."""
    network = networks["lenet-300-100", False]
    fc1 = network.layers[1]
    q = quantized_input(network, glyphs.test.images[:300])
    sums = torch.from_numpy(exact(q.flatten(1), fc1.weight.detach())) + fc1.bias
    changed = {bits: (wrap(sums, bits) != sums).double().mean().item() for bits in (8, 16, 32)}
    assert changed[8] > 0.99
    assert 0.5 < changed[16] < 0.6
    assert changed[32] == 0

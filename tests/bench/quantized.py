"""Integers beside floats, and beside what people use today for them."""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import onnxruntime
import torch
from onnx import helper, numpy_helper
from torch import Tensor, nn
from torch.ao.quantization.fx import _decomposed  # noqa: F401  (registers quantized_decomposed)

from shrink.classroom import models
from shrink.modes import in_use
from shrink.quantization import qparams_of, quantize
from shrink.quantization.conversion import quantize_model
from shrink.quantization.integer import (
    IntegerMaxPool2d,
    IntegerNetwork,
    QuantizedConv2d,
    QuantizedLinear,
    has_int8_product,
)
from tests.bench.rows import Row, faster, goal, in_turns

IMAGES = 10_000
FASTER, SLOWER = 2, 1.5  # than our floats at least, than ONNX Runtime at most


def inference() -> Iterator[Row]:
    """Random images to logits: integers, beside the floats and beside ONNX Runtime's integers."""
    images = torch.rand(IMAGES, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    yield _inference("lenet-300-100", images, runs=20, goals=True)
    yield _inference("lenet-5", images, runs=3, goals=False)


def _inference(name: str, images: Tensor, runs: int, goals: bool) -> Row:
    net = models.build(name, seed=0).eval()
    network = quantize_model(net, images[:500])
    theirs = _runtime(network, signed_weights=has_int8_product())
    with in_use(net), in_use(network):
        ours, floats = in_turns(lambda: network(images), lambda: net(images), runs=runs)
        again, runtime = in_turns(lambda: network(images), lambda: theirs(images), runs=runs)
        same = int((network(images).argmax(1) == theirs(images).argmax(1)).sum())
    where = "with" if has_int8_product() else "without"
    verdict = [f"{faster(ours, floats)} as float32, {faster(again, runtime)} as ONNX Runtime"]
    if goals:
        verdict += [
            "goal {:g}x as fast as float32: {}".format(
                FASTER, "met" if floats / ours >= FASTER else "not met"
            ),
            "{} of ONNX Runtime: {}".format(*goal(again / runtime, SLOWER, "times the time")),
        ]
    most = same >= 0.999 * len(images)
    verdict.append(
        f"{'same predictions' if most else 'OTHER PREDICTIONS'} for {same:,} of {len(images):,}"
    )
    return Row(
        f"{name} in int8, {len(images):,} images, a CPU {where} instructions for it",
        f"{ours:.0f} ms beside float32, {again:.0f} ms beside ONNX Runtime",
        f"float32 {floats:.0f} ms, ONNX Runtime's int8 {runtime:.0f} ms",
        "; ".join(verdict),
    )


def _runtime(network: IntegerNetwork, signed_weights: bool) -> Callable[[Tensor], Tensor]:
    """The same integers in ONNX Runtime, with as many threads as torch has.

    Its activations are unsigned, 128 above ours: on x86 it is slow where both are signed. Without
    VNNI it adds up pairs of products in 16 bits, which overflow, unless the weights are unsigned
    too (its documentation of quantization says so; here it changed 404 predictions of 10 000).
    """
    above = 0 if signed_weights else 128
    kind = torch.int8 if signed_weights else torch.uint8
    arrays: dict[str, np.ndarray] = {}
    nodes: list = []

    def put(name: str, value: Tensor) -> str:
        arrays[name] = np.ascontiguousarray(value.detach().numpy())
        return name

    def grid(name: str, scale: Tensor, zero_point: Tensor) -> list[str]:
        """Of activations."""
        shifted = (zero_point + 128).to(torch.uint8)
        return [put(f"{name}_scale", scale.float()), put(f"{name}_zero_point", shifted)]

    def add(op: str, inputs: list[str], domain: str = "", **attributes) -> str:
        nodes.append(helper.make_node(op, inputs, [f"t{len(nodes)}"], domain=domain, **attributes))
        return nodes[-1].output[0]

    one = torch.tensor(1.0)
    zero_point = network.input_zero_point
    at = add("QuantizeLinear", ["images", *grid("input", network.input_scale, zero_point)])
    for i, layer in enumerate(network.layers):
        if isinstance(layer, nn.Flatten):
            at = add("Flatten", [at], axis=1)
            continue
        if isinstance(layer, IntegerMaxPool2d):
            at = add("MaxPool", [at], kernel_shape=layer.kernel_size, strides=layer.stride)
            continue
        of_zeros = zero_point.long() * layer.weight.flatten(1).sum(1, dtype=torch.int64)
        bias = put(f"bias{i}", (layer.bias + of_zeros).int())
        x, last = grid(f"x{i}", one, zero_point), layer.requantize is None
        factor = network.output_scale if last else _factor(layer)
        zeros = torch.full(factor.shape, above, dtype=kind)
        w = [
            put(f"weight{i}", (layer.weight.int() + above).to(kind)),
            put(f"w{i}_scale", factor),
            put(f"w{i}_zero", zeros),
        ]
        if not last:
            zero_point = layer.requantize.zero_point
        y = [] if last else grid(f"y{i}", one, zero_point)
        if isinstance(layer, QuantizedConv2d):
            up, left = layer.padding
            places = {"strides": layer.stride, "pads": [up, left, up, left], "group": layer.groups}
            at = add("QLinearConv", [at, *x, *w, *y, bias], **places)
        else:
            at = add("QGemm", [at, *x, *w, bias, *y], domain="com.microsoft", transB=1)
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("images", 1, ["n", 1, 28, 28])],
        [helper.make_tensor_value_info(at, 1, ["n", 10])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def _factor(layer: QuantizedLinear) -> Tensor:
    """What its multiplier and shift stand for."""
    shift = layer.requantize.shift.double()
    return torch.ldexp(layer.requantize.multiplier.double(), -shift).float()


def quantizing() -> Iterator[Row]:
    """Ten million weights to int8, beside the three ways that torch has."""
    weights = torch.randn(10_000_000, generator=torch.Generator().manual_seed(0))
    p = qparams_of(weights)
    scale, zero_point = p.scale.item(), p.zero_point.item()

    def tensor_type() -> Tensor:
        return torch.quantize_per_tensor(weights, scale, zero_point, torch.qint8).int_repr()

    def decomposed() -> Tensor:
        return torch.ops.quantized_decomposed.quantize_per_tensor(
            weights, scale, zero_point, -128, 127, torch.int8
        )

    def fake() -> Tensor:
        return torch.fake_quantize_per_tensor_affine(weights, scale, zero_point, -128, 127)

    def ours() -> Tensor:
        return quantize(weights, p)

    def integers_of_fake() -> Tensor:
        return (fake() / p.scale).round().add(zero_point).to(torch.int8)

    q = ours()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for what, torchs, integers in (
            ("torch.quantize_per_tensor", tensor_type, tensor_type),
            ("quantized_decomposed.quantize_per_tensor", decomposed, decomposed),
            ("fake_quantize_per_tensor_affine, to floats,", fake, integers_of_fake),
        ):
            off = (q.int() - integers().int()).abs()
            mine, theirs = in_turns(ours, torchs, runs=20)
            same = "same integers"
            if off.any():
                same = f"{int(off.count_nonzero()):,} integers differ, by {int(off.max())} at most"
            yield Row(
                f"quantizing {len(weights):,} weights",
                f"{mine:.1f} ms",
                f"{what} {theirs:.1f} ms",
                f"{faster(mine, theirs)}, {same}",
            )

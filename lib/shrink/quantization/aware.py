"""Training aware of quantization: a network whose layers round their weights and inputs.

Each layer quantizes its input and its weight as the network of integers of `integer` will, and
gradients pass straight through. Batch norms are folded into the layers before them, and stay so.
"""

import copy
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from shrink.modes import in_use
from shrink.plain import described
from shrink.quantization.affine import QParams, qparams_of, quantize
from shrink.quantization.binary import binarize, binary_scale, signs
from shrink.quantization.chain import NORMS
from shrink.quantization.conversion import fold_batch_norm
from shrink.quantization.forms import WEIGHTED, check_weighted
from shrink.quantization.learned_clip import fake_quantize_pact
from shrink.quantization.learned_step import fake_quantize_lsq, least_squares_step
from shrink.quantization.straight_through import fake_quantize_ste
from shrink.quantization.ternary import ternarize, ternarize_trained, ternary_signs

SCALES = ("follows", "fixed", "learned")  # of weights
RANGES = ("fixed", "learned", "clipped")  # of activations: calibrated, LSQ, PACT


class UniformWeights(nn.Module):
    """Weights on multiples of a scale: symmetric, without the lowest integer; of one bit, signs.

    Args:
        weight: as it is before training.
        num_bits: 1 to 8.
        per_channel: one scale for each output.
        scale: "follows" the largest magnitude at each step (of one bit the mean); "fixed" at the
            least squared error before training; "learned", starting there.
    """

    def __init__(
        self, weight: Tensor, num_bits: int, per_channel: bool = False, scale: str = "learned"
    ) -> None:
        super().__init__()
        self.num_bits, self.axis, self.scale = num_bits, 0 if per_channel else None, scale
        self.q_max = max(2 ** (num_bits - 1) - 1, 1)
        if scale == "follows":
            return
        if num_bits == 1:
            step = binary_scale(weight, self.axis)
        else:
            step = least_squares_step(weight, -self.q_max, self.q_max, self.axis)
        if scale == "learned":
            self.step = nn.Parameter(step)
        else:
            self.register_buffer("step", step)

    def forward(self, weight: Tensor) -> Tensor:
        if self.num_bits == 1:
            step = binary_scale(weight, self.axis) if self.scale == "follows" else self.step
            return binarize(weight, step)
        if self.scale == "learned":
            return fake_quantize_lsq(weight, self.step, -self.q_max, self.q_max)
        return fake_quantize_ste(weight, self._qparams(weight))

    def integers(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The weight as int8 and float32 scales, () or broadcasting: what `forward` multiplies."""
        weight = weight.detach()
        if self.num_bits == 1:
            step = binary_scale(weight, self.axis) if self.scale == "follows" else self.step
            return signs(weight).to(torch.int8), step.detach()
        p = self._qparams(weight)
        return quantize(weight, p), p.scale

    def _qparams(self, weight: Tensor) -> QParams:
        if self.scale == "follows":
            return qparams_of(
                weight.detach(), self.num_bits, symmetric=True, narrow=True, axis=self.axis
            )
        step = self.step.detach()
        return QParams(step, torch.zeros_like(step, dtype=torch.int32), self.num_bits, narrow=True)


class TernaryWeights(nn.Module):
    """-1, 0 or 1 times the mean magnitude of those that are not 0, as `ternary.ternarize`."""

    def __init__(self, weight: Tensor, per_channel: bool = False) -> None:
        super().__init__()
        self.axis = 0 if per_channel else None

    def forward(self, weight: Tensor) -> Tensor:
        return ternarize(weight, self.axis)

    def integers(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """The weight as int8 and its scale."""
        t, scale = ternary_signs(weight, self.axis)
        return t.to(torch.int8), scale


class TrainedTernaryWeights(nn.Module):
    """Two learned values and 0, as `ternary.ternarize_trained`; they have no one scale."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        scale = ternary_signs(weight)[1]
        self.positive, self.negative = (nn.Parameter(scale.clone()) for _ in range(2))

    def forward(self, weight: Tensor) -> Tensor:
        return ternarize_trained(weight, self.positive, self.negative)


class InputQuantizer(nn.Module):
    """What goes into a layer, in a range that is calibrated, learned by its step or by its end.

    Args:
        seen: inputs of the layer, of a few hundred images.
        num_bits: 2 to 8.
        range: one of `RANGES`. A learned one is of numbers from 0 on if no input is negative.
    """

    def __init__(self, seen: Tensor, num_bits: int, range: str) -> None:
        super().__init__()
        self.num_bits, self.range = num_bits, range
        self.unsigned = bool(seen.min() >= 0)
        self.q_min, self.q_max = 0, 2**num_bits - 1
        if not self.unsigned:
            self.q_min, self.q_max = -(2 ** (num_bits - 1)), 2 ** (num_bits - 1) - 1
        if range == "learned":
            self.step = nn.Parameter(least_squares_step(seen, self.q_min, self.q_max))
        elif range == "clipped":
            if not self.unsigned:
                raise ValueError("PACT clips at 0 and at alpha: the inputs must not be negative")
            self.alpha = nn.Parameter(seen.max().detach().clone())
        else:
            p = qparams_of(seen, num_bits)
            self.register_buffer("scale", p.scale)
            self.register_buffer("zero_point", p.zero_point)

    def qparams(self) -> QParams:
        """The parameters on integers, signed: from 0 on are those from the lowest integer on."""
        if self.range == "fixed":
            return QParams(self.scale, self.zero_point, self.num_bits)
        scale = self.step if self.range == "learned" else self.alpha / self.q_max
        zero_point = -(2 ** (self.num_bits - 1)) if self.unsigned else 0
        zero = torch.full_like(scale, zero_point, dtype=torch.int32)
        return QParams(scale.detach(), zero, self.num_bits)

    def forward(self, x: Tensor) -> Tensor:
        if self.range == "learned":
            return fake_quantize_lsq(x, self.step, self.q_min, self.q_max)
        if self.range == "clipped":
            return fake_quantize_pact(x, self.alpha, self.num_bits)
        return fake_quantize_ste(x, self.qparams())


class AwareLayer(nn.Module):
    """A linear layer or convolution that multiplies as it will on integers.

    Its latent weights are floats; the input and the weight are rounded, and the bias to a multiple
    of both scales, as an int32 accumulator has it.
    """

    def __init__(
        self, layer: nn.Linear | nn.Conv2d, weight: nn.Module, input: InputQuantizer | None
    ) -> None:
        super().__init__()
        self.layer, self.weight_quantizer, self.input_quantizer = layer, weight, input

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self.weight_quantizer(self.layer.weight), self.layer.bias
        if self.input_quantizer is not None:
            x = self.input_quantizer(x)
            if bias is not None:
                bias = bias + (self._rounded(bias) - bias).detach()
        if isinstance(self.layer, nn.Linear):
            return F.linear(x, weight, bias)
        return self.layer._conv_forward(x, weight, bias)

    def _rounded(self, bias: Tensor) -> Tensor:
        w = self.weight_quantizer.integers(self.layer.weight)[1].double().flatten()
        scale = self.input_quantizer.qparams().scale.double() * w
        return ((bias.double() / scale).round() * scale).to(bias.dtype)


def prepare(
    model: nn.Module,
    *,
    weight_bits: int = 8,
    activation_bits: int | None = None,
    calibration_data: Tensor | None = None,
    per_channel: bool = False,
    scale: str = "learned",
    range: str = "fixed",
    weights: Callable[[Tensor], nn.Module] | None = None,
    in_place: bool = False,
) -> nn.Module:
    """A network that trains aware of its quantization: each layer rounds its weight and input.

    Args:
        model: of linear layers and convolutions; batch norms that follow one are folded.
        activation_bits: None: only weights are rounded.
        calibration_data: inputs, needed where activations are rounded.
        scale: of weights, one of `SCALES`.
        range: of activations, one of `RANGES`.
        weights: what makes the quantizer of a weight, such as `TernaryWeights`; None: of
            `weight_bits`, `per_channel` and `scale`.
        in_place: change the model itself, not a copy.
    """
    if scale not in SCALES or range not in RANGES:
        raise ValueError(f"no scale {scale!r} or range {range!r}")
    make = weights or partial(
        UniformWeights, num_bits=weight_bits, per_channel=per_channel, scale=scale
    )
    model = model if in_place else copy.deepcopy(model)
    followers = _norms_after(model)
    layers = {name: m for name, m in model.named_modules() if isinstance(m, WEIGHTED)}
    for name in layers:
        check_weighted(layers[name], described(name, layers[name]))
        if name in followers:
            layers[name] = fold_batch_norm(layers[name], model.get_submodule(followers[name]))
            model.set_submodule(name, layers[name])
            model.set_submodule(followers[name], nn.Identity())
    seen: Mapping[str, Tensor] = {}
    if activation_bits is not None:
        if calibration_data is None:
            raise ValueError("activations are rounded in a range that calibration data tell")
        seen = _inputs(model, layers, calibration_data)
    for name, layer in layers.items():
        weight = make(layer.weight.detach())
        found = InputQuantizer(seen[name], activation_bits, range) if seen else None
        model.set_submodule(name, AwareLayer(layer, weight, found))
    return model


def _norms_after(model: nn.Module) -> dict[str, str]:
    """The name of each layer that a batch norm alone follows, and the norm's."""
    with in_use(model):
        graph = fx.symbolic_trace(model).graph
    modules = dict(model.named_modules())
    found = {}
    for node in graph.nodes:
        users = list(node.users)
        if node.op == "call_module" and isinstance(modules[node.target], WEIGHTED):
            if len(users) == 1 and users[0].op == "call_module":
                if isinstance(modules[users[0].target], NORMS):
                    found[node.target] = users[0].target
    return found


def _inputs(model: nn.Module, layers: Mapping[str, nn.Module], x: Tensor) -> dict[str, Tensor]:
    """What goes into each layer, when the model is given these inputs."""
    seen: dict[str, Tensor] = {}
    handles = [
        layer.register_forward_pre_hook(lambda _, given, name=name: seen.update({name: given[0]}))
        for name, layer in layers.items()
    ]
    try:
        with in_use(model):
            model(x)
    finally:
        for handle in handles:
            handle.remove()
    return seen

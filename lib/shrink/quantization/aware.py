"""Training aware of quantization: a network whose layers round their weights and inputs.

Each layer quantizes its input and its weight as the network of integers of `integer` will, and
gradients pass straight through. Batch norms are folded into the layers before them, and stay so.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn
from torch.nn.modules.batchnorm import _BatchNorm

from shrink.arguments import whole_number
from shrink.modes import in_use
from shrink.plain import check_module, copied, described, refuse_hooks_of_all
from shrink.quantization.arguments import check_floats
from shrink.quantization.asking import asks_for_kinds
from shrink.quantization.calibration import Calibrator
from shrink.quantization.chain import refuse_another_result
from shrink.quantization.conversion import fold_batch_norm
from shrink.quantization.dynamic import READERS
from shrink.quantization.forms import WEIGHTED, check_weighted
from shrink.quantization.quantizers import (
    LEAST,
    RANGES,
    SCALES,
    InputQuantizer,
    TernaryWeights,
    TrainedTernaryWeights,
    UniformWeights,
)
from shrink.tensors import first_names

__all__ = [
    "LEAST",
    "RANGES",
    "SCALES",
    "AwareLayer",
    "InputQuantizer",
    "TernaryWeights",
    "TrainedTernaryWeights",
    "UniformWeights",
    "as_plain",
    "aware_layers",
    "prepare",
    "quantized_weights",
]


class AwareLayer(nn.Module):
    """A linear layer or convolution that multiplies as it will on integers.

    Its latent weights are floats; the input and the weight are rounded, and the bias to a multiple
    of both scales, as an int32 accumulator has it. `name` begins the messages of its errors.
    """

    def __init__(
        self,
        layer: nn.Linear | nn.Conv2d,
        weight: nn.Module,
        input: InputQuantizer | None = None,
        name: str = "",
    ) -> None:
        super().__init__()
        self.layer, self.weight_quantizer, self.input_quantizer = layer, weight, input
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        try:
            weight, bias = self.weight_quantizer(self.layer.weight), self._bias()
            x = x if self.input_quantizer is None else self.input_quantizer(x)
        except ValueError as error:
            raise ValueError(f"{self.name or self.layer}: {error}") from None
        if isinstance(self.layer, nn.Linear):
            return F.linear(x, weight, bias)
        return self.layer._conv_forward(x, weight, bias)

    def _bias(self) -> Tensor | None:
        """Rounded if inputs are, and weights have scales; the gradient goes straight through."""
        bias = self.layer.bias
        scaled = hasattr(self.weight_quantizer, "scales")
        if bias is None or self.input_quantizer is None or not scaled:
            return bias
        with torch.no_grad():
            of_weights = self.weight_quantizer.scales(self.layer.weight).double().flatten()
            scale = self.input_quantizer.qparams().scale.double() * of_weights
            rounded = ((bias.double() / scale).round() * scale).to(bias.dtype)
            rounded = torch.where(scale > 0, rounded, bias)  # signs of weights that are all 0
        return bias + (rounded - bias).detach()


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
    method: str | None = None,
    percentile: float = 99.99,
    batch_size: int = 100,
    in_place: bool = False,
) -> nn.Module:
    """A network that trains aware of its quantization: each layer rounds its weight and input.

    Linear layers and 2-D convolutions become an `AwareLayer` each; others stay as they are. A batch
    norm after a layer is folded into it, with its running statistics, and no longer counts along:
    what is trained is what will run. The parameters are others then, and there are new ones (steps,
    alphas), so make the optimizer afterwards.

    Args:
        model: a trained network of floats.
        weight_bits: 1 to 8.
        activation_bits: 2 to 8; None: only weights are rounded.
        calibration_data: a few hundred inputs (n, ...), needed where activations are rounded.
        per_channel: one scale for each output of the weights.
        scale: of weights, one of `SCALES`.
        range: of activations, one of `RANGES`.
        weights: what makes the quantizer of a weight, such as `TernaryWeights`; None: of
            `weight_bits`, `per_channel` and `scale`.
        method, percentile: of the calibration, as `calibration.Calibrator` has them; None:
            "min-max", and where a learned step starts, "squared error".
        batch_size: of the calibration data.
        in_place: change the model itself, not a copy. Where it is refused it stays as it was.

    Source: Jacob et al. 2018, section 3; Esser et al. 2020; Choi et al. 2018.
    Differs: Jacob et al. let the norms' statistics move while they train.

    Raises:
        ValueError: no such scale, range or method; bits beyond these; no calibration data, or such
            as are empty, NaN or infinite. With its name: a layer that does more than its class does
            (a forward of its own, a hook, a weight that is computed at each call), that is used
            twice, tied, or read beside its call; a norm that does not follow one layer alone; for
            "clipped", a layer whose input is negative; a model that is prepared already.
        TypeError: the model is no module, or a number of bits is not whole.

    >>> net = prepare(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), weight_bits=2)
    >>> [type(part).__name__ for part in net]
    ['AwareLayer', 'ReLU', 'AwareLayer']
    >>> net[0].weight_quantizer(net[0].layer.weight).unique().numel() <= 3  # -1, 0 and 1 times one
    True
    """
    if range not in RANGES:
        raise ValueError(f"no range {range!r}; there are {', '.join(RANGES)}")
    make = weights or partial(
        UniformWeights, num_bits=weight_bits, per_channel=per_channel, scale=scale
    )
    layers = _layers(model)
    norms = _norms_after(model, layers)
    seen: Mapping[str, Calibrator] = {}
    if activation_bits is not None:
        method = method or ("squared error" if range == "learned" else "min-max")
        bits = whole_number("activation_bits", activation_bits, 2, 8)
        seen = {name: Calibrator(method, bits, percentile=percentile) for name in layers}
        _calibrate(model, layers, seen, calibration_data, batch_size)
    prepared = model if in_place else copied(model)
    replaced: dict[str, nn.Module] = {}
    for name, layer in layers.items():
        if name in norms:
            replaced[norms[name]] = nn.Identity().train(layer.training)
            latent = _folded(layer, model.get_submodule(norms[name]))
        else:
            latent = prepared.get_submodule(name)
        weight, found = make(latent.weight.detach()), None
        if seen:
            try:
                found = InputQuantizer(seen[name], range).to(latent.weight.device)
            except ValueError as error:
                raise ValueError(f"{described(name, layer)}: {error}") from None
        replaced[name] = AwareLayer(latent, weight, found, name).train(layer.training)
    if norms and calibration_data is not None:
        _refuse_other_folds(model, replaced, calibration_data[:batch_size])
    for name, part in replaced.items():
        prepared.set_submodule(name, part)
    return prepared


def _layers(model: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """The linear layers and convolutions, by name; raises where one cannot be replaced."""
    check_module(model)
    refuse_hooks_of_all()
    layers: dict[str, nn.Linear | nn.Conv2d] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        what = described(name, module)
        if isinstance(module, AwareLayer):
            raise ValueError(f"{name or 'the model'} is prepared already")
        if isinstance(module, READERS):
            raise ValueError(f"{what}, hands on the weights of its layers, and does not call them")
        if asks_for_kinds(module, WEIGHTED):
            raise ValueError(f"{what}, asks for the kinds of its layers, and these change")
        if isinstance(module, WEIGHTED):
            check_weighted(module, what)
            for before, other in layers.items():
                if other is module:
                    raise ValueError(f"{before} and {name} are one layer: its inputs are two")
            layers[name] = module
    if not layers:
        raise ValueError("the model has no linear layer and no convolution of images")
    if "" in layers:
        raise ValueError("the model is a layer itself: put it into nn.Sequential")
    named = dict(model.named_parameters(remove_duplicate=False))
    of_layers = [name for name in named if name.rpartition(".")[0] in layers]
    firsts = first_names(named, used=of_layers)
    for name, first in firsts.items():
        if name != first and {name, first} & {*of_layers}:
            raise ValueError(f"{first} and {name} are one tensor: each layer rounds its own")
    return layers


class _Tracer(fx.Tracer):
    """Does not look into layers and norms."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        kinds = (*WEIGHTED, _BatchNorm)
        return isinstance(m, kinds) or super().is_leaf_module(m, module_qualified_name)


def _norms_after(model: nn.Module, layers: Mapping[str, nn.Module]) -> dict[str, str]:
    """The name of each layer that a batch norm alone follows, and the norm's.

    Raises `ValueError` where a layer is called twice, its weight is read beside it, or a norm
    follows no layer alone, and so cannot be folded.
    """
    norms = {name: m for name, m in model.named_modules() if isinstance(m, _BatchNorm)}
    try:
        with in_use(model):
            nodes = [*_Tracer().trace(model).nodes]
    except Exception as error:  # the model's own code, which is given no numbers
        if norms:
            name = next(iter(norms))
            told = "what the model does depends on its input, so that it cannot be folded"
            raise ValueError(f"{described(name, norms[name])}: {told}: {error}") from None
        return {}
    calls = Counter(node.target for node in nodes if node.op == "call_module")
    for name, layer in layers.items():
        what = described(name, layer)
        if calls[name] > 1:
            raise ValueError(f"{what}, is called {calls[name]} times: its inputs are as many")
        if any(n.op == "get_attr" and n.target.startswith(f"{name}.") for n in nodes):
            raise ValueError(f"the weight of {what}, is read beside it, where it is not rounded")
    found = {}
    for node in nodes:
        if node.op == "call_module" and node.target in layers and len(node.users) == 1:
            (user,) = node.users
            if user.op == "call_module" and user.target in norms and calls[user.target] == 1:
                found[node.target] = user.target
    for name in norms.keys() - {*found.values()}:
        what = described(name, norms[name])
        raise ValueError(f"{what}, does not follow one layer alone, so it cannot be folded")
    return found


def _folded(layer: nn.Module, norm: nn.Module) -> nn.Module:
    """The layer with the norm in it, which is trained if the layer is."""
    folded = fold_batch_norm(layer, norm)
    for p in folded.parameters():
        p.requires_grad_(layer.weight.requires_grad)
    return folded


def _refuse_other_folds(model: nn.Module, replaced: Mapping[str, nn.Module], x: Tensor) -> None:
    """Raise `ValueError` unless the model gives the same when its norms are folded."""
    plain = copied(model)
    for name, part in replaced.items():
        plain.set_submodule(name, part.layer if isinstance(part, AwareLayer) else part)
    refuse_another_result(model, [plain.eval()], x)


def _calibrate(
    model: nn.Module,
    layers: Mapping[str, nn.Module],
    seen: Mapping[str, Calibrator],
    data: Tensor | None,
    batch_size: int,
) -> None:
    """Show each calibrator what goes into its layer."""
    if data is None:
        raise ValueError("activations are rounded in a range that calibration_data tell: give some")
    check_floats(data, "calibration data")
    if data.dim() == 0 or len(data) == 0:
        raise ValueError("calibration needs at least one input, got none")
    batches = data.split(whole_number("batch_size", batch_size, 1))
    calls: Counter[str] = Counter()

    def see(name: str, given: tuple[Tensor, ...]) -> None:
        calls[name] += 1
        try:
            seen[name].see(given[0])
        except ValueError as error:
            raise ValueError(f"what goes into {name}: {error}") from None

    handles = [
        layer.register_forward_pre_hook(lambda _, given, name=name: see(name, given))
        for name, layer in layers.items()
    ]
    try:
        with in_use(model):
            for batch in batches:
                model(batch)
    finally:
        for handle in handles:
            handle.remove()
    for name, layer in layers.items():
        if calls[name] != len(batches):
            times = f"{calls[name]} times on {len(batches)} batches of calibration data"
            raise ValueError(f"{described(name, layer)}, is called {times}, and not once on each")


def as_plain(model: nn.Module) -> nn.Module:
    """A copy of a prepared network of plain layers, which have the rounded weights and biases.

    Where only weights are rounded it gives what the prepared one gives. Inputs are not rounded.

    Raises:
        ValueError: the model is not prepared.
        TypeError: it is no module.
    """
    plain = copied(model)
    for name, part in aware_layers(plain).items():
        with torch.no_grad():
            weight, bias = part.weight_quantizer(part.layer.weight), part._bias()
            part.layer.weight.copy_(weight)
            if bias is not None:
                part.layer.bias.copy_(bias)
        plain.set_submodule(name, part.layer)
    return plain


def quantized_weights(
    model: nn.Module,
) -> tuple[dict[str, Tensor], dict[str, tuple[Tensor, Tensor]]]:
    """What a file of a prepared network needs: the state of `as_plain`, and the integers.

    Returns:
        state: name → tensor, as a network of plain layers loads it: "fc1.weight", "fc1.bias".
        integers: the name of each rounded weight → its integers, int8, and scales, float32, () or
            broadcasting: their product is the weight in `state`.

    Raises:
        ValueError: the model is not prepared, or a weight has two scales (with the layer's name).
        TypeError: it is no module.

    >>> net = prepare(nn.Sequential(nn.Linear(4, 3)), weight_bits=2)
    >>> state, integers = quantized_weights(net)
    >>> q, scale = integers["0.weight"]
    >>> list(state), torch.equal(q * scale, state["0.weight"])
    (['0.weight', '0.bias'], True)
    """
    integers = {}
    for name, part in aware_layers(model).items():
        if not hasattr(part.weight_quantizer, "integers"):
            kind = type(part.weight_quantizer).__name__
            raise ValueError(f"{described(name, part.layer)}, has no integers of one scale: {kind}")
        q, scale = part.weight_quantizer.integers(part.layer.weight)
        integers[f"{name}.weight"] = q, scale.detach().float()
    return as_plain(model).state_dict(), integers


def aware_layers(model: nn.Module) -> dict[str, AwareLayer]:
    """The rounded layers by name; raises `ValueError` where there is none."""
    check_module(model)
    found = {name: m for name, m in model.named_modules() if isinstance(m, AwareLayer)}
    if not found or "" in found:
        raise ValueError("the model is not prepared: give what aware.prepare returned")
    return found

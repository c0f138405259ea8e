"""The chapter's networks: floats with their norms folded, and the integers of every width.

The integers of a layer at a width depend on the float network alone, and on no other layer. So they
are prepared once, and every allocation of widths to layers is put together from them.
"""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from shrink.classroom import models
from shrink.classroom.baselines import baseline, baseline_made_of
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, key_once
from shrink.classroom.progress import Progress, new_bar
from shrink.modes import in_use
from shrink.plain import copied
from shrink.quantization.affine import fitted
from shrink.quantization.allocation import weight_bytes
from shrink.quantization.forms import WEIGHTED
from shrink.quantization.mixed_bits import folded, rounded, weight_grid
from shrink.quantization.moments import input_moments

SEPARABLE, LENET = "separable", "lenet-300-100"
MODELS = (SEPARABLE, LENET)
SEEDS = (0, 1, 2)
WIDTHS = tuple(range(2, 9))  # bits of a weight
ROUNDINGS = {  # and what `quantize_mixed` calls them
    "nearest": "nearest",
    "learned": "exact",  # of at most 16 inputs the optimum, above them coordinate descent
    "adaround": "adaround",
}
CALIBRATED = 500  # training images, the first ones: for moments of inputs and means of outputs
SECONDS = {SEPARABLE: 4, LENET: 15}  # to round a network to all widths, on one core

Allocation = Mapping[str, int]  # layer → width
Rounded = tuple[Tensor, Tensor]  # integers int8, and their scale or scales float32
Integers = dict[str, dict[int, Rounded]]  # layer → width → integers and scales


def plain(model: str = SEPARABLE) -> nn.Module:
    """The layers of one of `MODELS` without its batch norms, not trained.

    Raises `ValueError` for another.
    """
    if model not in MODELS:
        raise ValueError(f"no network {model!r} in this chapter; there are {', '.join(MODELS)}")
    net = folded(models.build(model, 0))
    return net.to(memory_format=torch.channels_last).eval()  # half the time on a CPU


def layers_of(net: nn.Module) -> dict[str, nn.Linear | nn.Conv2d]:
    """The layers that have weights, by name, in the order in which they are called."""
    return {name: part for name, part in net.named_modules() if isinstance(part, WEIGHTED)}


def floats(dataset: Dataset, seed: int = 0, model: str = SEPARABLE) -> nn.Module:
    """The trained network of the seed, with its batch norms part of the layers before them; kept.

    It answers as the network of floats does, and its weights are those that get rounded.
    """
    net = plain(model).to(dataset.train.images.device)

    def make() -> dict[str, Tensor]:
        return folded(baseline(model, dataset, seed=seed)).state_dict()

    net.load_state_dict(kept("mixed/floats", make, *made_of(dataset, seed, model), folded))
    return net


def made_of(dataset: Dataset, seed: int, model: str) -> tuple[object, ...]:
    """What goes into the network of a seed, for `kept`; the network itself need not be at hand."""
    *network, _ = baseline_made_of(model, dataset, seed)
    return *network, key_once(dataset.train)


def calibration(dataset: Dataset) -> Tensor:
    """The training images that tell what goes into a layer and what comes out of it."""
    return dataset.train.images[:CALIBRATED]


def integers(
    dataset: Dataset,
    seed: int = 0,
    model: str = SEPARABLE,
    rounding: str = "nearest",
    per_channel: bool = False,
) -> Integers:
    """The weights of `floats` in every one of `WIDTHS`, rounded in one of `ROUNDINGS`.

    Rounding to nearest is done at once; what takes seconds is kept.

    Returns:
        layer → width → integers, int8, of the weight's shape, and their scale, float32: one, or
        one for each output (outputs, 1, ...). Integers times scale are the rounded weight.
    """
    if rounding not in ROUNDINGS:
        raise ValueError(f"no rounding {rounding!r}; there are {', '.join(ROUNDINGS)}")
    net = floats(dataset, seed, model)
    if rounding == "nearest":
        return integers_of(net, rounding, per_channel=per_channel)

    def make() -> dict[str, Tensor]:
        total = len(layers_of(net)) * len(WIDTHS)
        title = f"seed {seed}, {model}, {rounding} rounding"
        with new_bar(title, seconds=SECONDS[model], total=total) as bar:
            images = calibration(dataset)
            return _rounded(net, rounding, per_channel, images, lambda *_: bar.update())

    parts = (*made_of(dataset, seed, model), _rounded, rounding, per_channel, CALIBRATED)
    return _with_scales(net, per_channel, kept("mixed/integers", make, *parts))


def integers_of(
    net: nn.Module,
    rounding: str = "nearest",
    images: Tensor | None = None,
    per_channel: bool = False,
    progress: Progress | None = None,
) -> Integers:
    """What `integers` gives, for any network of `plain` layers; nothing is kept.

    Args:
        images: those of `calibration`; rounding to nearest needs none.
    """
    return _with_scales(net, per_channel, _rounded(net, rounding, per_channel, images, progress))


def _rounded(
    net: nn.Module,
    rounding: str,
    per_channel: bool,
    images: Tensor | None = None,
    progress: Progress | None = None,
) -> dict[str, Tensor]:
    """The integers of each layer at each width, by "layer/width"."""
    moments = {} if images is None else input_moments(net, images)
    layers, found = layers_of(net), {}
    for name, layer in layers.items():
        for width in WIDTHS:
            grid = weight_grid(layer.weight, width, per_channel)
            q = rounded(layer.weight, grid, ROUNDINGS[rounding], moments.get(name))
            found[f"{name}/{width}"] = q
            if progress is not None:
                progress(len(found), len(layers) * len(WIDTHS))
    return found


def _with_scales(net: nn.Module, per_channel: bool, found: Mapping[str, Tensor]) -> Integers:
    table: Integers = {}
    for name, layer in layers_of(net).items():
        weight = layer.weight.detach()
        table[name] = {
            width: (
                found[f"{name}/{width}"].to(weight.device),
                fitted(weight_grid(weight, width, per_channel), weight)[0],
            )
            for width in WIDTHS
        }
    return table


def sizes(model: str = SEPARABLE, per_channel: bool = False) -> dict[str, dict[int, int]]:
    """layer → width → bytes of its weights, packed, with a float32 scale or one for each output.

    Biases are left out: they are the same in every allocation.
    """
    return {
        name: {width: weight_bytes(count, width, outputs if per_channel else 1) for width in WIDTHS}
        for name, (count, outputs) in _counts(model).items()
    }


def budget(width: float, model: str = SEPARABLE, per_channel: bool = False) -> int:
    """The bytes of all weights at `width` bits each, whole or not, with their scales.

    >>> budget(4), sum(of_layer[4] for of_layer in sizes().values())
    (4472, 4472)
    """
    return sum(
        weight_bytes(math.ceil(count * width), 1, outputs if per_channel else 1)
        for count, outputs in _counts(model).values()
    )


def _counts(model: str) -> dict[str, tuple[int, int]]:
    """layer → how many weights and outputs it has."""
    layers = layers_of(plain(model))
    return {name: (layer.weight.numel(), len(layer.weight)) for name, layer in layers.items()}


def put_together(net: nn.Module, table: Integers, allocation: Allocation) -> nn.Module:
    """A copy of the network of floats, whose weights are those of the allocation.

    Args:
        net: of `floats`.
        table: of `integers`, for the same network.
        allocation: the width of each layer; one that is not named stays in floats.
    """
    mixed = copied(net)
    with torch.no_grad():
        for name, width in allocation.items():
            q, scale = table[name][width]
            mixed.get_submodule(name).weight.copy_(q * scale)
    return mixed


def output_means(net: nn.Module, images: Tensor) -> dict[str, Tensor]:
    """layer → the mean of each of its outputs over images and places: (outputs,), float64."""
    found: dict[str, Tensor] = {}

    def see(name: str, y: Tensor) -> None:
        found[name] = _mean(y)

    hooks = [
        layer.register_forward_hook(lambda _, x, y, name=name: see(name, y))
        for name, layer in layers_of(net).items()
    ]
    _run(net, images, hooks)
    return found


def correct_biases(net: nn.Module, means: Mapping[str, Tensor], images: Tensor) -> nn.Module:
    """Shift each bias, in place, so that the layer's mean outputs are `means`; the network.

    One pass is enough: a layer gets what the layers before it, shifted already, give. It is the
    correction of `bias_correction.corrected_bias`, seen from the layer's output.

    Args:
        means: of `output_means`, for the network of floats on the same images.
    """

    def shift(name: str, layer: nn.Module, y: Tensor) -> Tensor:
        by = (means[name] - _mean(y)).to(y.dtype)
        layer.bias.data += by
        return y + by.view(-1, *[1] * (y.dim() - 2))

    hooks = [
        layer.register_forward_hook(lambda part, x, y, name=name: shift(name, part, y))
        for name, layer in layers_of(net).items()
    ]
    _run(net, images, hooks)
    return net


def _run(net: nn.Module, images: Tensor, hooks: list) -> None:
    try:
        with in_use(net):
            net(images)
    finally:
        for hook in hooks:
            hook.remove()


def _mean(y: Tensor) -> Tensor:
    return y.double().mean([axis for axis in range(y.dim()) if axis != 1])

"""Random roundings of one layer, prepared: is nearest better than chance?"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from shrink.chapters.mixed.costs import judged
from shrink.chapters.mixed.networks import (
    ROUNDINGS,
    SEPARABLE,
    calibration,
    floats,
    layers_of,
    made_of,
)
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split, key_once
from shrink.classroom.progress import Progress, new_bar
from shrink.modes import in_use
from shrink.quantization.affine import dequantize
from shrink.quantization.mixed_bits import rounded, weight_grid
from shrink.quantization.moments import input_moments, output_error
from shrink.quantization.rounding import round_at_random

COUNT = 100  # random roundings
APART = 1000  # their seed is that of the network and this
MARKS = (*ROUNDINGS, "floats")


@dataclass(frozen=True)
class RandomRoundings:
    """Roundings of one layer alone, each weight up or down by chance, and what they come to.

    Each weight goes up with the probability of its fraction, so that its mean is the weight.
    Arrays have a number for each rounding; `marks` the same three for each of `MARKS`.
    """

    weight_error: np.ndarray  # squared error, summed over the layer's weights
    output_error: np.ndarray  # mean squared error of an output, summed over the outputs
    loss: np.ndarray  # cross entropy on validation images, the other layers in floats
    marks: dict[str, tuple[float, float, float]]

    @property
    def better(self) -> int:
        """How many of the random roundings have less loss than rounding to nearest."""
        return int((self.loss < self.marks["nearest"][2]).sum())


def random_roundings(
    dataset: Dataset,
    seed: int = 0,
    layer: str = "depthwise1",
    width: int = 4,
    model: str = SEPARABLE,
) -> RandomRoundings:
    """100 random roundings of a layer to `width` bits, beside nearest and learned ones; kept."""
    net = floats(dataset, seed, model)
    if layer not in layers_of(net):
        raise ValueError(f"no layer {layer!r}; there are {', '.join(layers_of(net))}")

    def make() -> dict[str, Tensor]:
        title = f"seed {seed}, {COUNT} random roundings of {layer}"
        with new_bar(title, seconds=8, total=COUNT + len(MARKS)) as bar:
            return {"rows": _rows(dataset, seed, layer, width, net, lambda *_: bar.update())}

    parts = (*made_of(dataset, seed, model), key_once(dataset.validation), layer, width, _rows)
    rows = kept("mixed/random-roundings", make, *parts)["rows"].numpy()
    marks = dict(zip(MARKS, map(tuple, rows[COUNT:].tolist()), strict=True))
    return RandomRoundings(*rows[:COUNT].T, marks)


def _rows(
    dataset: Dataset, seed: int, name: str, width: int, net: nn.Module, progress: Progress
) -> Tensor:
    """Weight error, output error and loss, a row for each rounding, then one for each mark."""
    weight = layers_of(net)[name].weight.detach()
    moments = input_moments(net, calibration(dataset))[name]
    grid = weight_grid(weight, width)
    integers = [*round_at_random(weight, grid, COUNT, APART + seed)]
    integers += [rounded(weight, grid, how, moments) for how in ROUNDINGS.values()]
    few = judged(dataset)
    rows = []
    for form in (*(dequantize(q, grid) for q in integers), weight):
        error = form - weight
        loss = _loss(net, {f"{name}.weight": form}, few)
        rows.append(
            [
                float(error.double().square().sum()),
                float(output_error(error, moments.products).sum()),
                loss,
            ]
        )
        progress(len(rows), COUNT + len(MARKS))
    return torch.tensor(rows, dtype=torch.float64)


def _loss(net: nn.Module, weights: dict[str, Tensor], split: Split) -> float:
    """The mean cross entropy of the network with other weights."""
    with in_use(net):
        logits = torch.cat([functional_call(net, weights, x) for x in split.images.split(250)])
    return float(F.cross_entropy(logits, split.labels))

"""LeNet-300-100 with shared weights, layer by layer, as chapter 04's explorer shows it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink import sharing
from shrink.classroom import models
from shrink.sharing import Shared

NAME = "lenet-300-100"
IMAGES = 2000  # validation images that are asked
HOWS = (*sharing.INITS, "optimum", "ruler")


@dataclass(frozen=True)
class Layer:
    """A weight, and what of it is shared: all that is not zero."""

    weight: Tensor
    kept: Tensor  # the places, bool, of the weight's shape
    values: Tensor  # (n,), in rising order


class Network:
    """LeNet-300-100 by its layers, and its answers with other weights."""

    def __init__(self, net: nn.Module, images: Tensor) -> None:
        self.net, self.state = net, net.state_dict()
        self.names = list(models.weights(net))
        self.layers = [
            Layer(w, w != 0, w[w != 0].sort().values)
            for w in (w.detach() for w in models.weights(net).values())
        ]
        self.biases = [b.detach() for b in net.parameters() if b.dim() == 1]
        self.images = images.flatten(1)

    def answers(self, weights: list[Tensor]) -> np.ndarray:
        """The answers with these weights, uint8 (images,)."""
        x = self.images
        for i, (weight, bias) in enumerate(zip(weights, self.biases, strict=True)):
            x = F.linear(x.relu() if i else x, weight, bias)
        return x.argmax(1).to(torch.uint8).cpu().numpy()


def codebooks(values: Tensor, how: str, ks: np.ndarray) -> list[Tensor]:
    """The codebook of each number of values, of sorted numbers."""
    if how == "optimum":
        found = sharing.optimal_codebooks(values, int(ks.max()))
        return [found[k - 1] for k in ks]
    if how == "ruler":
        return [sharing.initial_codebook(values, int(k)).float().to(values.device) for k in ks]
    return [sharing.fit_codebook(values, int(k), how) for k in ks]


def rebuilt(layer: Layer, codebook: Tensor) -> Tensor:
    """The layer's weight with each number replaced by the nearest value; zeros stay."""
    left = sharing.rebuild(sharing.assign(layer.weight, codebook), codebook)
    return left.where(layer.kept, 0)


def squared_error(layer: Layer, left: Tensor) -> float:
    """As a part of the squared weights."""
    off = (layer.weight - left).square().sum(dtype=torch.float64)
    return float(off / layer.values.square().sum(dtype=torch.float64))


def share(
    net: Network, codebooks: np.ndarray, numbered: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
) -> list[Shared]:
    """Each layer as numbers into its codebook, a row of `codebooks` filled up with NaN.

    `numbered` gives the numbers of the weights that are not zero, and the codebook, which it may
    move.
    """
    parts = []
    for layer, row in zip(net.layers, codebooks, strict=True):
        codebook = torch.from_numpy(row[np.isfinite(row)]).to(layer.weight.device)
        parts.append(_with_zeros(layer, *numbered(layer.weight[layer.kept], codebook)))
    return parts


def nearest(weights: Tensor, codebook: Tensor) -> tuple[Tensor, Tensor]:
    """The number of the nearest value for each weight."""
    return sharing.assign(weights, codebook).long(), codebook


def _with_zeros(layer: Layer, numbers: Tensor, codebook: Tensor) -> Shared:
    """The layer as shared, with 0 as one value more where there are zeros."""
    if layer.kept.all():
        return Shared(codebook, numbers.view(layer.weight.shape).to(torch.uint8))
    every = torch.full_like(layer.weight, len(codebook), dtype=torch.uint8)
    every[layer.kept] = numbers.to(torch.uint8)
    return Shared(torch.cat([codebook, codebook.new_zeros(1)]), every, zero=len(codebook))

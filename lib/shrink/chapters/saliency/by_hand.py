"""SynFlow's scores by hand: the oracle of exercise 3, which knows no derivatives.

A model is a chain of matrices, and a convolution a large one in which each of its weights stands at
many places. Magnitudes are multiplied with numpy, forwards and backwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Step:
    """A layer as a matrix on flattened numbers: which weight stands where, -1 for none."""

    name: str  # of the weight; "" where nothing is scored
    numbers: np.ndarray  # magnitudes, (n,)
    places: np.ndarray  # int, (outputs, inputs)
    shape: tuple[int, ...]  # of one image's numbers behind the layer

    @property
    def matrix(self) -> np.ndarray:
        return np.where(self.places < 0, 0.0, self.numbers[self.places])

    def scores(self, leaving: np.ndarray, arriving: np.ndarray) -> np.ndarray:
        """Of each weight the flow through all places where it stands, (n,)."""
        through = self.matrix * np.outer(leaving, arriving)
        there = self.places >= 0
        return np.bincount(self.places[there], through[there], minlength=len(self.numbers))


def _sizes(tensor: Tensor) -> np.ndarray:
    return np.abs(tensor.detach().double().cpu().numpy()).flatten()


def _convolution_places(conv: nn.Conv2d, height: int, width: int) -> np.ndarray:
    """Which weight of a convolution without padding stands between each output and input."""
    filters, channels, kernel_height, kernel_width = conv.weight.shape
    rows, columns = height - kernel_height + 1, width - kernel_width + 1
    places = np.full((filters, rows, columns, channels, height, width), -1)
    numbered = np.arange(conv.weight.numel()).reshape(conv.weight.shape)
    for f, c, y, x in product(*map(range, (filters, channels, kernel_height, kernel_width))):
        for row, column in product(range(rows), range(columns)):
            places[f, row, column, c, row + y, column + x] = numbered[f, c, y, x]
    return places.reshape(filters * rows * columns, channels * height * width)


def _step(name: str, layer: nn.Module, shape: tuple[int, ...]) -> Step:
    count = int(np.prod(shape))
    if isinstance(layer, nn.Linear):
        outputs = layer.out_features
        places = np.arange(outputs * count).reshape(outputs, count)
        return Step(f"{name}.weight", _sizes(layer.weight), places, (outputs,))
    if isinstance(layer, nn.Conv2d):
        places = _convolution_places(layer, *shape[1:])
        sides = (n - k + 1 for n, k in zip(shape[1:], layer.kernel_size, strict=True))
        behind = (layer.out_channels, *sides)
        return Step(f"{name}.weight", _sizes(layer.weight), places, behind)
    factors = np.ones(count)
    if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        scale = _sizes(layer.weight) / np.sqrt(_sizes(layer.running_var) + layer.eps)
        factors = np.repeat(scale, count // len(scale))
    places = np.where(np.eye(count, dtype=bool), np.arange(count), -1)
    behind = (count,) if isinstance(layer, nn.Flatten) else shape
    return Step("", factors, places, behind)


def steps_of(model: nn.Sequential, shape: Sequence[int]) -> list[Step]:
    """The model's layers as matrices; its activations let through what is not negative."""
    found, shape = [], tuple(shape)
    for name, layer in model.named_children():
        found.append(_step(name, layer, shape))
        shape = found[-1].shape
    return found


def by_hand(model: nn.Sequential, shape: Sequence[int]) -> dict[str, Tensor]:
    """SynFlow's scores as products of magnitudes, in float32."""
    steps = steps_of(model, shape)
    arriving, leaving = [np.ones(steps[0].places.shape[1])], [np.ones(len(steps[-1].places))]
    for step in steps[:-1]:
        arriving.append(step.matrix @ arriving[-1])
    for step in reversed(steps[1:]):
        leaving.insert(0, step.matrix.T @ leaving[0])
    scores = {}
    for step, a, b in zip(steps, arriving, leaving, strict=True):
        if step.name:
            weight = model.get_parameter(step.name)
            scores[step.name] = torch.from_numpy(step.scores(b, a)).to(weight).view(weight.shape)
    return scores

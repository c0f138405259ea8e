"""LeNet-300-100 as it ships, without its smallest weights: its answers, and the file it takes."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources

import numpy as np
from safetensors.numpy import load, save

SIDE = 28  # pixels of an image
LAYERS = ("fc1", "fc2", "fc3")
Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class View:
    """The network with some of its weights gone."""

    percent: int  # of the weights, gone
    left: int  # weights
    weights: int  # of the whole network
    kept: np.ndarray  # bool (300, 784): which weights of the first layer are left
    answers: np.ndarray  # (10,): what it takes the digits 0 to 9 for
    file_bytes: int
    dense_bytes: int  # of the whole network's file

    @property
    def right(self) -> int:
        """How many of the ten answers are right."""
        return int((self.answers == np.arange(10)).sum())


class Network:
    """The network that ships for glyphs, and the course's ten digits, on which it is asked.

    `images` are float32 (10, 28, 28), 0 to 1; `state` has the arrays of the shipped file.
    """

    def __init__(self) -> None:
        self.images = _shipped("shrink.start", "digits.safetensors")["images"] / np.float32(255)
        self.state = _shipped("shrink.classroom", "shipped/lenet-300-100-glyphs-0.safetensors")
        magnitudes = np.concatenate([np.abs(w).ravel() for w in self._weights().values()])
        self._sorted = np.sort(magnitudes)
        self._dense_bytes = len(save(dict(self.state)))

    def without(self, percent: int) -> View:
        """The network without this percentage of its weights (0 to 99), the smallest ones."""
        gone = round(percent / 100 * len(self._sorted))
        least = self._sorted[gone]
        masks = {name: np.abs(w) >= least for name, w in self._weights().items()}
        state = self.state | {name: np.where(m, self.state[name], 0) for name, m in masks.items()}
        return View(
            percent=percent,
            left=sum(int(mask.sum()) for mask in masks.values()),
            weights=len(self._sorted),
            kept=masks["fc1.weight"],
            answers=logits(state, self.images).argmax(axis=1),
            file_bytes=min(len(save(_with_bitmaps(state, masks))), self._dense_bytes),
            dense_bytes=self._dense_bytes,
        )

    def _weights(self) -> Arrays:
        return {name: self.state[name] for name in (f"{layer}.weight" for layer in LAYERS)}


def logits(state: Arrays, images: np.ndarray) -> np.ndarray:
    """The network's outputs (n, 10) for images (n, 28, 28)."""
    x = images.reshape(len(images), -1)
    for layer in LAYERS:
        x = x @ state[f"{layer}.weight"].T + state[f"{layer}.bias"]
        x = x if layer == LAYERS[-1] else np.maximum(x, 0)
    return x


def _with_bitmaps(state: Arrays, masks: Arrays) -> dict[str, np.ndarray]:
    """The arrays of the network's file: of weights, a bit each for those left, and their values.

    Names and types are those of `formats.pack(state, "bitmap")`, which chapter 02 explains.
    """
    arrays = {name: array for name, array in state.items() if name not in masks}
    for name, mask in masks.items():
        arrays[f"{name}/shape"] = np.array(mask.shape, np.int32)
        arrays[f"{name}/bitmap"] = np.packbits(mask)
        arrays[f"{name}/values"] = state[name][mask]
    return arrays


def _shipped(package: str, file: str) -> dict[str, np.ndarray]:
    return load((resources.files(package) / file).read_bytes())

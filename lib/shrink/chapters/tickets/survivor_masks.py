"""The oracle of chapter 09's exercise on one round: all masks that are right, found in numpy.

Where magnitudes tie there are several.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Wrong, kind_of, place_of, show

Masks = dict[str, Tensor]


@dataclass(frozen=True)
class Layer:
    """One layer in numpy: which weights are left, their magnitudes, and how many of them go."""

    left: np.ndarray  # bool
    sizes: np.ndarray  # float64, of all weights
    count: int

    @property
    def smallest(self) -> np.ndarray:
        """The magnitudes that go, sorted."""
        return np.sort(self.sizes[self.left])[: self.count]

    @property
    def ties(self) -> bool:
        """Whether the largest that goes is as large as the smallest that stays."""
        ranked = np.sort(self.sizes[self.left])
        return 0 < self.count < len(ranked) and ranked[self.count - 1] == ranked[self.count]

    def gone(self, keep: np.ndarray) -> np.ndarray:
        """The magnitudes of the survivors that this mask drops, sorted."""
        return np.sort(self.sizes[self.left & ~keep])

    def is_right(self, keep: np.ndarray) -> bool:
        if keep.shape != self.left.shape or (keep & ~self.left).any():
            return False
        return np.array_equal(self.gone(keep), self.smallest)


@dataclass(frozen=True, eq=False)
class Right:
    """All masks that are right: more than one where magnitudes tie."""

    layers: dict[str, Layer]
    example: Masks

    def __eq__(self, other: object) -> bool:
        """Whether the other is one of them, as `listed` has it."""
        return (
            isinstance(other, dict)
            and other.keys() == self.layers.keys()
            and all(layer.is_right(np.array(other[n][1])) for n, layer in self.layers.items())
        )

    def __repr__(self) -> str:
        tie = any(layer.ties for layer in self.layers.values())
        return show(self.example) + (", or another, as magnitudes tie" if tie else "")


def as_array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy()


def right_masks(weights: dict[str, Tensor], masks: Masks, rates: dict[str, float]) -> Right:
    """Those of a round, of which round(rate · left) of each layer's smallest survivors are gone."""
    layers, example = {}, {}
    for name, mask in masks.items():
        left, sizes = as_array(mask), np.abs(as_array(weights[name]).astype(np.float64))
        layers[name] = Layer(left, sizes, round(rates[name] * int(left.sum())))
        order = np.argsort(np.where(left, sizes, np.inf), axis=None, kind="stable")
        keep = left.flatten()
        keep[order[: layers[name].count]] = False
        example[name] = torch.from_numpy(keep.reshape(left.shape))
    return Right(layers, example)


def is_mask(given: Any) -> bool:
    """Whether it is a bool tensor that has values and is not sparse."""
    dense = isinstance(given, Tensor) and given.layout == torch.strided and not given.is_meta
    return dense and given.dtype == torch.bool


def listed(masks: Any) -> Any:
    """Masks as what compares, by name, whatever their order; anything else as it is."""
    if not isinstance(masks, Mapping) or not all(map(is_mask, masks.values())):
        return masks
    return {name: ("mask", masks[name].tolist()) for name in sorted(masks, key=str)}


def no_mask(name: str, given: Any, mask: Tensor) -> Wrong | None:
    """What is wrong with what is given for a mask, its entries aside."""
    if not isinstance(given, Tensor):
        return Wrong(f"the mask of {name} is a tensor", expected="a bool tensor", given=given)
    if not is_mask(given):
        return Wrong(
            f"the mask of {name} is a bool tensor",
            expected="torch.bool, dense",
            given=kind_of(given),
        )
    if given.shape != mask.shape or given.device != mask.device:
        return Wrong(
            f"the mask of {name} has the shape and device of its weight",
            expected=place_of(mask.shape, mask.device),
            given=place_of(given.shape, given.device),
        )
    return None

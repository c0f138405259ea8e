"""Students that are trained only when they are needed: their accuracies are kept without them.

A hundred small networks are minutes of training and megabytes; how many images each gets right is
one number. So `accuracies` reads the numbers if they are known, and the networks are trained, or
read, only when somebody looks at them.
"""

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from shrink.classroom.cache import kept
from shrink.classroom.data import Split
from shrink.classroom.made_of import key_of
from shrink.classroom.training import accuracy


class _Class:
    """Students that are taught together, once, and what is known of them."""

    def __init__(self, make: Callable[[], list[nn.Module]], made_of: tuple[object, ...]) -> None:
        self.key = key_of(*made_of)
        self._make = make
        self._known: list[tuple[Split, np.ndarray]] = []

    @functools.cached_property
    def networks(self) -> list[nn.Module]:
        return self._make()

    def accuracies(self, split: Split) -> np.ndarray:
        for known, found in self._known:
            if known is split:
                return found
        made_of = (self.key, split, _accuracies)
        tensors = kept("pupils/right", lambda: _accuracies(self.networks, split), *made_of)
        self._known.append((split, tensors["accuracies"].numpy()))
        return self._known[-1][1]


@dataclass(frozen=True, eq=False)
class Students(Sequence[nn.Module]):
    """Networks in evaluation mode, which are trained or read as soon as one is asked for.

    A slice of them is `Students` too, and has the same networks.
    """

    _class: _Class
    _numbers: range

    @classmethod
    def of(
        cls, make: Callable[[], list[nn.Module]], count: int, made_of: tuple[object, ...]
    ) -> "Students":
        """The `count` networks that `make()` returns; `made_of` is all that went in."""
        return cls(_Class(make, made_of), range(count))

    @property
    def made_of(self) -> tuple[object, ...]:
        """What stands for them in a key."""
        return self._class.key, list(self._numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, which):
        if isinstance(which, slice):
            return Students(self._class, self._numbers[which])
        return self._class.networks[self._numbers[which]]

    def accuracies(self, split: Split) -> np.ndarray:
        """The share of the split that each gets right as it was taught, (students,) float64."""
        return self._class.accuracies(split)[list(self._numbers)]


def accuracies(networks: Iterable[nn.Module], split: Split) -> np.ndarray:
    """The share of the split that each network gets right, float64; kept, for `Students`."""
    if isinstance(networks, Students):
        return networks.accuracies(split)
    return _accuracies(networks, split)["accuracies"].numpy()


def _accuracies(networks: Iterable[nn.Module], split: Split) -> dict[str, Tensor]:
    right = [accuracy(network, split) for network in networks]
    return {"accuracies": torch.tensor(right, dtype=torch.float64)}

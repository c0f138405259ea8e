"""One unit of a layer learns in few bits: so small a training that it keeps up with a slider.

It learns to answer a few images as it does with float weights. All steps see the same images, so
that nothing but the rounding makes a weight turn around.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shrink.chapters.few_bits.rounding_lab import Rounder

STEPS = 60
RATE = 0.01  # of plain gradient descent
IMAGES = 128
NEAR = 1.5  # scales: a weight that stays this near to 0 can be drawn


@dataclass(frozen=True)
class UnitTraining:
    """What the training of a unit did: before it and after each step, T = steps + 1 moments."""

    latent: np.ndarray  # (T, weights)
    levels: np.ndarray  # (T, weights) what the weights are rounded to, in scales
    scales: np.ndarray  # (T,)
    errors: np.ndarray  # (T,) root mean square of what the answers are off, over their spread
    largest: float  # of the first step's updates, in scales
    changed_if_stored: int  # weights with another value at the end if each step's result is rounded

    @property
    def changes(self) -> np.ndarray:
        """(T - 1, weights) bool: whether a step changes the rounded value."""
        return self.levels[1:] != self.levels[:-1]

    @property
    def changed(self) -> int:
        """Weights with another rounded value at the end."""
        return int((self.levels[-1] != self.levels[0]).sum())


class Unit:
    """A unit's float weights (n,), and the images (images, n) that it answers."""

    def __init__(self, weight: Tensor, images: Tensor) -> None:
        self.weight, self.images = weight, images
        self._spread = (images @ weight).std()

    def train(
        self,
        rounder: Rounder,
        scale: Tensor,
        learns: bool = False,
        follow: Callable[[Tensor], Tensor] | None = None,
    ) -> UnitTraining:
        """Train the unit by gradient descent on its latent weights.

        Args:
            scale: before the first step, ().
            learns: the scale learns, too.
            follow: what the scale is, of the latent weights of each moment; None: it stays.
        """
        latent, start, moments = self.weight, scale, []
        for _ in range(STEPS + 1):
            scale = follow(latent) if follow else scale
            weight, back = rounder(latent, scale)
            off = self._off(weight)
            moments.append((latent, (weight / scale).round(), scale, off))
            by_weight, by_scale = back(self._gradient(off))
            latent = latent - RATE * by_weight
            scale = scale - RATE * by_scale if learns else scale
        latents, levels, scales, offs = (
            torch.stack(one).numpy() for one in zip(*moments, strict=True)
        )
        return UnitTraining(
            latents,
            levels,
            scales,
            np.sqrt((offs**2).mean(1)) / float(self._spread),
            float(np.abs(latents[1] - latents[0]).max() / scales[0]),
            self._changed_if_stored(rounder, follow(self.weight) if follow else start),
        )

    def _off(self, weight: Tensor) -> Tensor:
        return self.images @ (weight - self.weight)

    def _gradient(self, off: Tensor) -> Tensor:
        return off @ self.images / len(self.images)

    def _changed_if_stored(self, rounder: Rounder, scale: Tensor) -> int:
        """Weights that are others after all steps if each result is rounded, and only that kept."""
        first, _ = rounder(self.weight, scale)
        weight = first
        for _ in range(STEPS):
            _, back = rounder(weight, scale)
            by_weight, _ = back(self._gradient(self._off(weight)))
            following, _ = rounder(weight - RATE * by_weight, scale)
            if torch.equal(following, weight):
                break  # the next step is the same
            weight = following
        return int((weight != first).sum())


def three_weights(training: UnitTraining) -> tuple[int, int, int]:
    """Which weights to draw: one whose value changes early, one late, one that moves and does not.

    Where fewer change, those that move most take their places.
    """
    near = np.abs(training.latent / training.scales[:, None]).max(0) <= NEAR
    changes = training.changes & near
    first = np.where(changes.any(0), changes.argmax(0), STEPS)
    moved = np.abs(training.latent[-1] - training.latent[0]) * near
    chosen: list[int] = []
    for wanted in (STEPS // 4, 2 * STEPS // 3):
        unfit = np.abs(first - wanted) + 10 * STEPS * (~changes.any(0)) - moved
        unfit += STEPS * (changes.sum(0) > 1)  # it turns around
        unfit[chosen] = np.inf
        chosen.append(int(unfit.argmin()))
    stays = np.where(changes.any(0), -1, moved)
    stays[chosen] = -2
    return chosen[0], chosen[1], int(stays.argmax())

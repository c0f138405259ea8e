"""What chapter 11's explorer shows of one kernel and its roundings, and how it is said in words."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

BY_RANK = "by rank"
TINY = 1e-30  # stands for an error of 0 that others are divided by


@dataclass(frozen=True)
class KernelView:
    """What the figure shows for one setting of the controls."""

    layer: str
    kernel: int
    width: int
    scale: float
    weight: np.ndarray  # (9,) of the floats
    products: np.ndarray  # (9, 9) E[xxᵀ]
    integers: np.ndarray  # (512, 9), every rounding
    weight_errors: np.ndarray  # (512,) sums of squares
    output_errors: np.ndarray  # (512,) ΔᵀGΔ
    places: Mapping[str, int]  # of the named roundings among the 512
    chosen: str
    place: int  # of the one on show

    @cached_property
    def ranks(self) -> np.ndarray:
        """The rank of each rounding by output error."""
        return ranks(self.output_errors)

    @property
    def rank(self) -> int:
        """That of the rounding on show."""
        return int(self.ranks[self.place])

    @property
    def nearest(self) -> int:
        return self.places["nearest"]

    @property
    def better(self) -> int:
        """How many roundings have a smaller output error than the nearest."""
        return int((self.output_errors < self.output_errors[self.nearest]).sum())

    @cached_property
    def sums(self) -> np.ndarray:
        """(512,) what the errors of the weights add up to, in scales."""
        return self.integers.sum(1) - self.weight.sum() / self.scale

    def correlation(self, numbers: np.ndarray) -> float:
        """Of the ranks by these numbers (512,) and by output error, over all roundings."""
        return float(np.corrcoef(ranks(numbers), self.ranks)[0, 1])

    def steps(self, place: int) -> np.ndarray:
        """The errors of the weights in a rounding, in scales: (9,)."""
        return self.integers[place] - self.weight / self.scale

    def beside_nearest(self, errors: np.ndarray, place: int | None = None) -> np.ndarray:
        """Errors as multiples of the nearest rounding's."""
        found = errors if place is None else errors[place]
        return found / max(float(errors[self.nearest]), TINY)


def ranks(numbers: np.ndarray) -> np.ndarray:
    """The place of each number in their order, from 1; equal ones in the order that they have.

    >>> ranks(np.array([0.3, 0.1, 0.2]))
    array([3, 1, 2])
    """
    found = np.empty(len(numbers), int)
    found[numbers.argsort(kind="stable")] = np.arange(1, 1 + len(numbers))
    return found


def times(ratio: float) -> str:
    """A ratio in short.

    >>> times(0.0312), times(1), times(23.4)
    ('0.031', '1', '23')
    """
    return f"{ratio:.2g}" if ratio < 100 else f"{ratio:.0f}"


def heading(view: KernelView) -> str:
    """The state, in short."""
    return f"{view.layer}, kernel {view.kernel}, {view.width} bits: {view.chosen}"


def summarise(view: KernelView) -> str:
    """The numbers of the view in words."""
    named = "; ".join(_of_rounding(view, name, place) for name, place in view.places.items())
    count = len(view.output_errors)
    changed = int((view.integers[view.place] != view.integers[view.nearest]).sum())
    return (
        f"<b>{heading(view)}</b>: rank {view.rank} of {count} by output error, "
        f"{changed} of {len(view.weight)} weights not rounded to nearest, their errors add up to "
        f"<b>{view.steps(view.place).sum():+.2f} scales</b>.<br>{named}.<br><b>{view.better}</b> "
        f"of the {count} roundings have a smaller output error than nearest. The ranks by output "
        f"error and by weight error correlate by <b>{view.correlation(view.weight_errors):+.2f}"
        f"</b>, those by output error and by |sum of errors| by "
        f"<b>{view.correlation(np.abs(view.sums)):+.2f}</b>."
    )


def _of_rounding(view: KernelView, name: str, place: int) -> str:
    of_weights = float(view.beside_nearest(view.weight_errors, place))
    of_outputs = float(view.beside_nearest(view.output_errors, place))
    sums = f"errors add up to {view.steps(place).sum():+.2f}"
    if place == view.nearest and name == "nearest":
        return (
            f"nearest: rank {view.ranks[place]}, weight error {view.weight_errors[place]:.2g}, "
            f"output error {view.output_errors[place]:.2g}, {sums}"
        )
    return (
        f"{name}: rank {view.ranks[place]}, weight error {times(of_weights)} and output error "
        f"<b>{times(of_outputs)}</b> times that of nearest, {sums}"
    )


def describe(view: KernelView) -> str:
    """The picture in a few sentences, for those who do not see it."""
    ratios = ", ".join(
        f"{name} {times(float(view.beside_nearest(view.weight_errors, place)))} and "
        f"{times(float(view.beside_nearest(view.output_errors, place)))}"
        for name, place in view.places.items()
    )
    return (
        f"{heading(view)}. A scatter of {len(view.output_errors)} roundings, weight error and "
        f"output error as multiples of the nearest one's: {ratios}; {view.better} lie below "
        f"nearest; the one on show has rank {view.rank}. The kernel: integers "
        f"{' '.join(map(str, view.integers[view.place]))}, errors that add up to "
        f"{view.steps(view.place).sum():+.2f} scales. G, a heat map of 9 by 9 from "
        f"{view.products.min():.2g} to {view.products.max():.2g}."
    )

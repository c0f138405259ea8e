"""What chapter 09's explorer shows of the weights that are kept, and how it is said in words."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shrink.chapters.tickets.learning_view import Run, of_run


@dataclass(frozen=True)
class Shared:
    """How many weights of a layer the masks of two seeds both keep, for each pair of seeds."""

    both: np.ndarray  # (pairs,)
    expected: float  # by chance
    deviation: float  # of chance, one standard deviation
    by_pixel: np.ndarray | None  # (pairs,) by chance, if each pixel keeps its number of weights

    @property
    def ratios(self) -> np.ndarray:
        """(pairs,), to what chance would have."""
        return self.both / self.expected


@dataclass(frozen=True)
class WeightsView:
    """What the figure shows for one setting of the controls."""

    arm: str
    number: int  # of the round
    share: float  # of all weights that are kept
    seeds: tuple[int, ...]  # on show
    layer: str
    edges: np.ndarray  # (bins + 1,) of the initial weights of the layer
    began: np.ndarray  # (bins,) how many weights began there
    kept: np.ndarray  # (bins,) how many of them are kept
    pixels: np.ndarray  # (28, 28) weights that are left of each pixel, the mean of the seeds
    units: int  # weights of a pixel before pruning
    inked: np.ndarray  # (28, 28) bool: pixels that are on in enough images
    shared: Mapping[str, Shared]  # by layer
    runs: tuple[Run, ...]

    @property
    def kept_by_bin(self) -> np.ndarray:
        """(bins,) in %, 0 where no weight began."""
        return 100 * self.kept / np.maximum(self.began, 1)

    @property
    def kept_of_layer(self) -> float:
        """In %."""
        return 100 * self.kept.sum() / self.began.sum()

    @property
    def inside(self) -> float:
        """The mean of `pixels` where there is ink."""
        return float(self.pixels[self.inked].mean())

    @property
    def outside(self) -> float:
        """The mean of `pixels` where there is hardly any ink."""
        return float(self.pixels[~self.inked].mean())


def heading(view: WeightsView) -> str:
    """The masks and their round."""
    whose = f"seed {view.seeds[0]}" if len(view.seeds) == 1 else f"{len(view.seeds)} seeds"
    return f"round {view.number}, {100 * view.share:.1f} % kept: {view.arm}, {whose}"


def summarise(view: WeightsView) -> str:
    """The numbers of the view in words."""
    first = (
        f"<b>{heading(view)}</b>. Of each pixel's {view.units} weights <b>{view.inside:.0f}</b> "
        f"are left inside the outline, <b>{view.outside:.0f}</b> outside. Of the initial weights "
        f"of {view.layer} {view.kept_of_layer:.1f} % are kept: {_middle_and_ends(view)}."
    )
    shared = "; ".join(_shared_in_words(name, one) for name, one in view.shared.items())
    paragraphs = [first, f"Two seeds both keep, in the mean of {_pairs(view)}: {shared}."]
    if view.runs:
        paragraphs.insert(0, of_run(view.runs[-1]))
    return "<br>".join(paragraphs)


def _pairs(view: WeightsView) -> str:
    count = len(next(iter(view.shared.values())).both)
    return f"{count} pairs" if count > 1 else "one pair"


def _middle_and_ends(view: WeightsView) -> str:
    (there,) = np.nonzero(view.began)
    bins = len(view.began)
    size = np.abs((view.edges[:-1] + view.edges[1:]) / 2) / view.edges[-1]
    parts = []
    for words, where in (("near 0", size < 0.25), ("the largest", size > 0.75)):
        began = view.began[where].sum()
        if began:
            parts.append(f"{100 * view.kept[where].sum() / began:.1f} % of {words}")
    if len(there) < bins / 2:  # constants with two signs
        signs = zip(("negative", "positive"), view.kept_by_bin[there], strict=True)
        parts = [f"{share:.1f} % of the {sign}" for sign, share in signs]
    return ", ".join(parts)


def _shared_in_words(name: str, shared: Shared) -> str:
    pixels = ""
    if shared.by_pixel is not None:
        pixels = f", {shared.by_pixel.mean():,.0f} with as many per pixel"
    return (
        f"{name} {shared.both.mean():,.0f} weights (by chance {shared.expected:,.0f} ± "
        f"{2 * shared.deviation:,.0f}{pixels})"
    )


def describe(view: WeightsView) -> str:
    """The picture in a few sentences, for those who do not see it."""
    ratios = ", ".join(f"{name} {one.ratios.mean():.2f}" for name, one in view.shared.items())
    trained = f" {len(view.runs)} trained by the button." if view.runs else ""
    return (
        f"{heading(view)}. A map of the weights left of each pixel: {view.inside:.1f} of "
        f"{view.units} inside the outline of the digits, {view.outside:.1f} outside, at most "
        f"{view.pixels.max():.0f}. Bars of the share kept of the initial weights of {view.layer}, "
        f"in all {view.kept_of_layer:.1f} %: {_middle_and_ends(view)}. What the masks of two seeds "
        f"share, over what chance would have: {ratios}.{trained}"
    )

"""What chapter 10's explorer shows of halves, and how it is said in words."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shrink.quantization.number_formats import Format


@dataclass(frozen=True)
class HalfRun:
    """A training by the button, that the plot keeps."""

    format: str
    exponent: int  # of the loss scale, a power of two
    seed: int  # of the initial weights and the order of the images
    error: float  # a fraction of the validation images
    skipped: int  # steps
    steps: int
    stopped: bool


@dataclass(frozen=True)
class Updates:
    """What trainings at a small rate come to, by seed."""

    errors: np.ndarray  # (seeds,), in %
    swallowed: np.ndarray  # (seeds,) of fc1's updates, in %; empty where float32 takes them
    lost: np.ndarray  # (seeds,) of the sum of their magnitudes, in %


@dataclass(frozen=True)
class HalvesView:
    """What the figure shows for one setting of the controls."""

    format: Format
    exponent: int  # of the loss scale, a power of two
    numbers: str  # whose magnitudes they are
    step: int  # of the training, after which they were counted
    magnitudes: np.ndarray  # (bins + 1,) log2 of the bins' ends, with the loss scale
    shares: np.ndarray  # (bins,) of those that are not 0
    lost: float  # the share that becomes 0
    subnormal: float  # the share below the least normal number
    over: float  # the share that is too large
    ends: tuple[float, float]  # log2: up to where numbers become 0, from where they are too large
    scales: tuple[int, ...]  # exponents of the loss scales of which trainings are prepared
    errors: np.ndarray  # (seeds, scales) of fp16 with float32 master weights, in %
    dynamic: np.ndarray  # (seeds,) with a loss scale that is found while training, in %
    float32: np.ndarray  # (seeds,) the same training all in float32, in %
    updates: Mapping[str, Updates]  # by what is computed in which format
    images: int  # that are asked
    runs: tuple[HalfRun, ...]

    @property
    def nearest(self) -> int:
        """The place of the nearest loss scale of which trainings are prepared."""
        return int(np.abs(np.array(self.scales) - self.exponent).argmin())

    @property
    def window(self) -> tuple[int, int] | None:
        """The exponents of the first and the last loss scale that work: an error of at most a tenth
        above float32's, in the mean.
        """
        works = np.flatnonzero(self.errors.mean(0) <= 1.1 * self.float32.mean())
        return (self.scales[works[0]], self.scales[works[-1]]) if len(works) else None

    @property
    def shown(self) -> tuple[str, ...]:
        """The ways that compute in this format."""
        name = self.format.name.split()[0]
        return tuple(way for way in self.updates if way.split(",")[0] == name)


def power(exponent: float) -> str:
    """A power of two, the exponent rounded.

    >>> power(10), power(-2), power(0)
    ('2^10', '2^-2', '1')
    """
    return "1" if round(exponent) == 0 else f"2^{exponent:.0f}"


def mean(errors: np.ndarray) -> str:
    """Of the seeds, in %.

    >>> mean(np.array([2.0, 2.1]))
    '2.05'
    """
    return f"{errors.mean():.3g}"


def heading(view: HalvesView) -> str:
    """The state, in short."""
    return f"{view.format.name}, loss scale {power(view.exponent)}: {what(view)}"


def what(view: HalvesView) -> str:
    """Whose magnitudes are counted, and when."""
    return f"{view.numbers} after {view.step} steps"


def summarise(view: HalvesView) -> str:
    """The numbers of the view in words."""
    paragraphs = [_of_numbers(view), _of_errors(view), _of_updates(view)]
    if view.runs:
        paragraphs.insert(0, of_run(view.runs[-1]))
    return "<br>".join(paragraphs)


def _of_numbers(view: HalvesView) -> str:
    one = view.format
    return (
        f"<b>{heading(view)}</b>: of those that are not 0 <b>{100 * view.lost:.1f} %</b> become 0, "
        f"{100 * view.subnormal:.1f} % are subnormal and lose bits, <b>{100 * view.over:.2g} %</b> "
        f"are too large. {one.name} reaches from {one.least:.2g}, with all its bits from "
        f"{one.least_normal:.2g}, to {one.largest:,.6g}."
    )


def _of_errors(view: HalvesView) -> str:
    errors, window = view.errors[:, view.nearest], view.window
    works = "none" if window is None else f"those from {power(window[0])} to {power(window[1])}"
    return (
        f"fp16 with float32 master weights at loss scale {power(view.scales[view.nearest])}: "
        f"<b>{_range(errors)} %</b> of {view.images:,} validation images wrong, with a scale found "
        f"while training {_range(view.dynamic)}, in float32 {_range(view.float32)}. Of the fixed "
        f"scales {works} come within a tenth of float32."
    )


def _range(errors: np.ndarray) -> str:
    spread = f" ({errors.min():.3g} to {errors.max():.3g})" if len(errors) > 1 else ""
    return f"{mean(errors)}{spread}"


def _of_updates(view: HalvesView) -> str:
    found = []
    for way, of in view.updates.items():
        stay = ""
        if len(of.swallowed):
            stay = f", {of.swallowed.mean():.0f} % swallowed ({of.lost.mean():.0f} % of their sum)"
        found.append(f"{way} {_range(of.errors)} %{stay}")
    return f"Wrong at a small learning rate, and updates of fc1 without effect: {'; '.join(found)}."


def of_run(run: HalfRun) -> str:
    """A training by the button."""
    stopped = ", stopped" if run.stopped else ""
    return (
        f"<b>Trained</b>: {run.format} with float32 master weights, loss scale "
        f"{power(run.exponent)}, seed {run.seed}, {run.steps} steps{stopped}, {run.skipped} of "
        f"them skipped: <b>{100 * run.error:.1f} %</b> wrong."
    )


def describe(view: HalvesView) -> str:
    """The picture in a few sentences, for those who do not see it."""
    (there,) = np.nonzero(view.shares)
    low, high = view.magnitudes[[there[0], there[-1] + 1]]
    errors = [
        f"{mean(view.errors[:, at])} % at {power(view.scales[at])}" for at in (0, view.nearest, -1)
    ]
    ways = ", ".join(
        f"{way} {of.swallowed.mean():.0f} %"
        for way, of in view.updates.items()
        if len(of.swallowed)
    )
    trained = f" {len(view.runs)} trained by the button." if view.runs else ""
    return (
        f"{heading(view)}. A histogram of magnitudes from {power(low)} to {power(high)} over the "
        f"range of the format: {100 * view.lost:.1f} % become 0, {100 * view.subnormal:.1f} % are "
        f"subnormal, {100 * view.over:.2g} % too large. Error of fp16 over the loss scale: "
        f"{', '.join(errors)}; found while training "
        f"{mean(view.dynamic)} %, float32 {mean(view.float32)} %. Updates "
        f"of fc1 that are swallowed: {ways}.{trained}"
    )

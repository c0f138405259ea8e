"""What chapter 10's explorer shows of weights in few bits, and how it is said in words."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shrink.chapters.few_bits.unit_lab import UnitTraining


@dataclass(frozen=True)
class Run:
    """A training by the button, that the plot keeps."""

    bits: int
    scale: str
    per: str
    seed: int  # of the order of the images
    error: float  # a fraction of the validation images
    steps: int
    stopped: bool


@dataclass(frozen=True)
class Staircase:
    """What the weights become, over the latent weight, and which gradient passes."""

    latent: np.ndarray  # (n,) from -reach to reach
    rounded: np.ndarray  # (n,)
    gradient: np.ndarray  # (n,) of the rounded weight by the latent one, as training takes it
    by_scale: np.ndarray | None  # (n,) of the rounded weight by the scale, if that learns

    @property
    def reach(self) -> float:
        return float(self.latent[-1])

    @property
    def surrogate(self) -> np.ndarray:
        """(n,) the function that has this gradient, and is 0 at 0."""
        means = (self.gradient[1:] + self.gradient[:-1]) / 2
        height = np.concatenate([[0], np.cumsum(means * np.diff(self.latent))])
        return height - height[len(height) // 2]


@dataclass(frozen=True)
class WeightsView:
    """What the figure shows for one setting of the controls."""

    bits: int
    scale: str
    per: str
    clip: bool
    mine: bool
    step: float  # the scale before training
    stairs: Staircase
    counts: np.ndarray  # (bins,) weights of the layer or unit, from -reach to reach
    size: int  # how many weights there are
    zeros: float  # the share of them that becomes 0
    beyond: float  # the share of them outside the range
    unit: UnitTraining
    drawn: tuple[int, int, int]  # weights of the unit
    bits_of: tuple[int, ...]  # of what is prepared
    errors: Mapping[str, np.ndarray]  # by way, (seeds, bits), in %
    whole: float  # error of the float network, in %
    images: int  # that are asked
    runs: tuple[Run, ...]

    @property
    def values(self) -> int:
        """How many values a weight can have."""
        return 2 if self.bits == 1 else 2**self.bits - 1

    @property
    def end(self) -> float:
        """The largest value."""
        return self.step * (self.values // 2 or 1)

    @property
    def here(self) -> int:
        """The place of the bits on show among those that are prepared."""
        return self.bits_of.index(self.bits)


def mean(errors: np.ndarray) -> str:
    """Of the seeds, in %.

    >>> mean(np.array([2.0, 2.1]))
    '2.05'
    """
    return f"{errors.mean():.3g}"


def heading(view: WeightsView) -> str:
    """The state, in short."""
    return f"{state(view)}: {view.values} values"


def state(of: WeightsView | Run) -> str:
    """The bits and their scale."""
    return f"{of.bits} bit{'s' * (of.bits > 1)}, scale {of.scale}, one per {of.per}"


def summarise(view: WeightsView) -> str:
    """The numbers of the view in words."""
    paragraphs = [_of_rounding(view), _of_unit(view), _of_errors(view)]
    if view.runs:
        paragraphs.insert(0, of_run(view.runs[-1]))
    return "<br>".join(paragraphs)


def _of_rounding(view: WeightsView) -> str:
    whose = f"the {view.size:,} weights of " + ("fc1" if view.per == "layer" else "one unit of fc1")
    zeros = "" if view.bits == 1 else f"<b>{100 * view.zeros:.1f} %</b> become 0, "
    return (
        f"<b>{heading(view)}</b> up to {view.end:.3g}. Of {whose} {zeros}{100 * view.beyond:.1f} % "
        f"lie outside the range, and {_passed(view)}."
    )


def _passed(view: WeightsView) -> str:
    if view.mine:
        return "your function passes the gradient that is drawn"
    return "no gradient passes to them" if view.clip else "the gradient passes to them as well"


def _of_unit(view: WeightsView) -> str:
    unit = view.unit
    learned = f", its scale {unit.scales[0]:.3g} → {unit.scales[-1]:.3g}"
    return (
        f"The unit learns for {len(unit.scales) - 1} steps: <b>{unit.changed}</b> of "
        f"{unit.latent.shape[1]} weights change their value, its error is {unit.errors[0]:.2f} → "
        f"{unit.errors[-1]:.2f}{learned if unit.scales[0] != unit.scales[-1] else ''}. The first "
        f"step moves a weight by {unit.largest:.2g} scales at most; if each result were rounded, "
        f"<b>{unit.changed_if_stored}</b> would change."
    )


def _of_errors(view: WeightsView) -> str:
    errors = {way: of[:, view.here] for way, of in view.errors.items()}
    seeds = len(next(iter(errors.values())))
    shown = errors.pop(view.scale, None)
    if shown is None:
        here = f"{view.scale} is not trained beforehand (the button trains it)"
    else:
        spread = f" ({shown.min():.3g} to {shown.max():.3g})" if seeds > 1 else ""
        here = f"{view.scale} <b>{mean(shown)}</b>{spread}"
    others = ", ".join(f"{way} {mean(of)}" for way, of in errors.items())
    return (
        f"Wrong on {view.images:,} validation images, in %, mean of {seeds} seeds, one scale per "
        f"{view.per}: {here}; {others}; float {view.whole:.3g}."
    )


def of_run(run: Run) -> str:
    """A training by the button."""
    stopped = ", stopped" if run.stopped else ""
    return (
        f"<b>Trained</b>: {state(run)}, seed {run.seed}, "
        f"{run.steps} steps{stopped}: <b>{100 * run.error:.2f} %</b> wrong."
    )


def describe(view: WeightsView) -> str:
    """The picture in a few sentences, for those who do not see it."""
    errors = ", ".join(f"{way} {mean(of[:, view.here])}" for way, of in view.errors.items())
    gradient = view.stairs.gradient
    trained = f" {len(view.runs)} trained by the button." if view.runs else ""
    source = " by your function" if view.mine else ""
    return (
        f"{heading(view)}. A staircase{source} from {view.stairs.rounded[0]:.3g} to "
        f"{view.stairs.rounded[-1]:.3g} over weights of ±{view.stairs.reach:.3g}; below it the "
        f"gradient, {gradient[len(gradient) // 2]:.3g} in the middle, {gradient[-1]:.3g} at the "
        f"ends, and a histogram: {100 * view.zeros:.1f} % become 0, {100 * view.beyond:.1f} % lie "
        f"outside. Three latent weights over {len(view.unit.scales) - 1} steps: in all "
        f"{view.unit.changed} change their value, error {view.unit.errors[0]:.2f} to "
        f"{view.unit.errors[-1]:.2f}. Validation error, %: {errors}, float {view.whole:.3g}."
        f"{trained}"
    )

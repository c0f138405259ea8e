"""What chapter 08's explorer shows before training: collapse, and how it is said in words."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shrink.chapters.saliency import arms
from shrink.chapters.saliency.arms import CONTROLS


@dataclass(frozen=True)
class BeforeRun:
    """A training of what is left, that the plot keeps."""

    method: str
    steps_of_pruning: int
    compression: float
    accuracy: float  # a fraction
    steps: int
    stopped: bool


@dataclass(frozen=True)
class Trained:
    """What is right after training, at some of the shares kept."""

    shares: np.ndarray  # (n,)
    right: np.ndarray  # (seeds, n), %


@dataclass(frozen=True)
class BeforeView:
    """What the figure shows for one setting of the controls. Layers come from the input on."""

    method: str
    steps: int  # of pruning
    compression: float
    layers: tuple[str, ...]
    sizes: np.ndarray  # (layers,) weights before pruning
    kept: np.ndarray  # (layers,)
    live: np.ndarray  # (layers,) weights on a path from an input to an output
    paths: float
    sums: np.ndarray  # (layers,) of the magnitudes of the scores, scored anew
    into: np.ndarray  # (units,) of the unpruned network: the scores of what leads into each unit
    out: np.ndarray  # (units,) and of what leads out of it, over the largest of all
    first: int  # how many of the units are those of the first hidden layer
    collapses: float | None  # the smallest compression of the slider with an empty layer
    trained: Mapping[tuple[str, str], Trained]  # (method, control) →
    dense: np.ndarray  # (seeds,) %
    images: int  # of the accuracy
    runs: tuple[BeforeRun, ...]

    @property
    def empty(self) -> tuple[str, ...]:
        """The layers that have lost all weights."""
        return tuple(name for name, kept in zip(self.layers, self.kept, strict=True) if not kept)

    @property
    def shares(self) -> np.ndarray:
        """Of the sum of all scores, each layer's; NaN where all are zero."""
        total = self.sums.sum()
        return self.sums / total if total else np.full(len(self.sums), np.nan)


def verdict(view: BeforeView) -> str:
    """What is left, in a few words."""
    if view.empty:
        are = "is" if len(view.empty) == 1 else "are"
        return f"{' and '.join(view.empty)} {are} empty"
    if not view.paths:
        return "no layer is empty, and no path is left"
    path = "path leads" if view.paths == 1 else "paths lead"
    return f"no layer is empty, and {counted(view.paths)} {path} through"


def counted(number: float) -> str:
    """A count; a large one is rounded.

    >>> counted(12900), counted(235_200_000_000)
    ('12,900', '2.35e+11')
    """
    return f"{number:,.0f}" if number < 1e9 else f"{number:.3g}"


def method_in_words(method: str, steps: int) -> str:
    """A method with its steps."""
    return f"{method} in {steps} steps" if steps > 1 else f"{method} in one step"


def summarise(view: BeforeView) -> str:
    """The numbers of the view in words."""
    rows = zip(view.layers, view.kept, view.sizes, view.live, strict=True)
    layers = ", ".join(f"{n} {k:,.0f} of {size:,.0f} ({on:,.0f} live)" for n, k, size, on in rows)
    left, every = view.kept.sum(), view.sizes.sum()
    first = (
        f"<b>{method_in_words(view.method, view.steps)}, {view.compression:,.0f} times fewer</b>: "
        f"<b>{verdict(view)}</b>. {left:,.0f} of {every:,.0f} weights stay: {layers}. "
        f"{_collapse(view)}"
    )
    paragraphs = [first, f"{_sums(view)} {_accuracies(view)}"]
    if view.runs:
        paragraphs.insert(0, _of_run(view.runs[-1]))
    return "<br>".join(paragraphs)


def _collapse(view: BeforeView) -> str:
    if view.collapses is None:
        return "No layer is empty at any stop of this slider."
    return f"The first stop of this slider with an empty layer: {view.collapses:,.0f}."


def _sums(view: BeforeView) -> str:
    if np.isnan(view.shares).any():
        return "All scores of what is left are zero."
    parts = ", ".join(f"{n} {100 * s:.3g} %" for n, s in zip(view.layers, view.shares, strict=True))
    return f"Of the sum of all scores, taken anew, {parts}."


def _accuracies(view: BeforeView) -> str:
    share = 1 / view.compression
    parts = []
    for control in CONTROLS:
        trained = view.trained.get((view.method, control))
        if trained is None:
            continue
        at = int(np.abs(np.log(trained.shares / share)).argmin())
        right = trained.right[:, at]
        parts.append(
            f"{control} {right.mean():.1f} % ({right.min():.1f} to {right.max():.1f}) at "
            f"{1 / trained.shares[at]:,.0f}"
        )
    return (
        f"After training (SynFlow pruned in {arms.STEPS} steps, the others in one) "
        f"{len(view.dense)} seeds get right of {view.images:,} validation images, at the nearest "
        f"compression: "
        f"{'; '.join(parts)}; the whole network {view.dense.mean():.1f} %."
    )


def _of_run(run: BeforeRun) -> str:
    stopped = ", stopped" if run.stopped else ""
    return (
        f"<b>Trained</b>, {method_in_words(run.method, run.steps_of_pruning)}, "
        f"{run.compression:,.0f} times fewer, {run.steps:,} steps{stopped}: "
        f"<b>{100 * run.accuracy:.1f} %</b>."
    )


def describe(view: BeforeView) -> str:
    """The picture in a few sentences, for those who do not see it."""
    bars = ", ".join(f"{n} {k:,.0f}" for n, k in zip(view.layers, view.kept, strict=True))
    unequal = np.abs(np.log((view.into + 1e-12) / (view.out + 1e-12)))
    apart = np.exp(np.median(unequal))
    meets = "what leads in equals what leads out" if apart < 1.001 else f"{apart:.2g} times apart"
    trained = f" {len(view.runs)} trained by the button." if view.runs else ""
    return (
        f"Bars of the weights kept by {method_in_words(view.method, view.steps)}, "
        f"{view.compression:,.0f} times fewer: {bars}; {verdict(view)}; {view.live.sum():,.0f} "
        f"live. {_sums(view)} A scatter of the hidden units' scores: {meets}. Accuracy after "
        f"training over the compression, with controls: {_accuracies_briefly(view)}{trained}"
    )


def _accuracies_briefly(view: BeforeView) -> str:
    shown = view.trained[view.method, CONTROLS[0]]
    ends = ", ".join(
        f"{right:.1f} % at {1 / share:,.0f}"
        for share, right in zip(shown.shares, shown.right.mean(0), strict=True)
    )
    return f"{ends}; whole {view.dense.mean():.1f} %."

"""What chapter 08's explorer shows after training: deletions, and how it is said in words."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shrink.chapters.saliency.deleting import Case, Curves
from shrink.chapters.saliency.deletions import ORDERS


@dataclass(frozen=True)
class AfterRun:
    """A training of what is left, that the plot keeps; accuracies are fractions."""

    case: Case
    order: str
    mine: bool
    share: float  # deleted
    before: float
    accuracy: float
    steps: int
    stopped: bool


@dataclass(frozen=True)
class AfterView:
    """What the figure shows for one setting of the controls. Accuracies are fractions."""

    case: Case
    order: str
    mine: bool  # whether the student's function gives the saliencies
    stop: int  # which of `deleted` is on show
    deleted: np.ndarray  # (stops,) shares of the weights
    curves: Mapping[str, Curves]  # by order, of the first seed
    band: np.ndarray  # (2, stops): the lowest and the highest rise of all seeds, in this order
    ranks: np.ndarray  # (2, n) of single deletions: by the order's scores, and by their true rises
    correlations: Mapping[str, float]  # order → of such ranks
    images: tuple[int, int]  # of the loss, and of the accuracy
    runs: tuple[AfterRun, ...]

    @property
    def share(self) -> float:
        return float(self.deleted[self.stop])

    @property
    def shown(self) -> Curves:
        """The curves of the order on show."""
        return self.curves[self.order]

    @property
    def dense_accuracy(self) -> float:
        return float(self.shown.right[0])


def ranks_of(values: np.ndarray) -> np.ndarray:
    """The rank of each value, from 1; equal ones share the mean of theirs.

    >>> ranks_of(np.array([3.0, 1.0, 3.0]))
    array([2.5, 1. , 2.5])
    """
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[place]


def correlation(ranks: np.ndarray) -> float:
    """Of two rows of ranks, Spearman's; 0 where all of a row are equal."""
    off = ranks - ranks.mean(1, keepdims=True)
    size = np.sqrt((off**2).sum(1).prod())
    return float((off[0] * off[1]).sum() / size) if size else 0.0


def said(rise: float) -> str:
    """A rise of the loss with its sign, in three digits."""
    return f"{rise:+.3g}"


def network_in_words(case: Case) -> str:
    """The network of a case, with no verb."""
    rescaled = f", units rescaled by up to {case.rescaled}" if case.is_rescaled else ""
    trained = "trained out" if case.trained == "out" else "trained for one epoch"
    return f"{case.network} network, {trained}{rescaled}"


def _ratio(view: AfterView) -> str:
    actual, predicted = view.shown.actual[view.stop], view.shown.predicted[view.stop]
    if actual <= 0 or predicted <= 0:
        return ""
    factor = actual / predicted
    return f", {max(factor, 1 / factor):.2g} times too {'low' if factor >= 1 else 'high'}"


def summarise(view: AfterView) -> str:
    """The numbers of the view in words."""
    curves, at = view.shown, view.stop
    whose = ", <b>saliencies by your function</b>" if view.mine else ""
    low, high = view.band[:, at]
    first = (
        f"<b>{100 * view.share:.0f} % of the weights deleted, in the order of {view.order}</b> "
        f"({network_in_words(view.case)}{whose}): the loss of {view.images[0]:,} training images "
        f"changes by <b>{said(curves.actual[at])}</b>, predicted "
        f"<b>{said(curves.predicted[at])}</b>{_ratio(view)}; all seeds {said(low)} to "
        f"{said(high)}. {100 * curves.right[at]:.1f} % right of {view.images[1]:,} validation "
        f"images, the whole network {100 * view.dense_accuracy:.1f} %."
    )
    others = ", ".join(f"{o} {said(view.curves[o].actual[at])}" for o in ORDERS if o != view.order)
    ranks = ", ".join(f"{order} {view.correlations[order]:.3f}" for order in ORDERS)
    second = (
        f"In the other orders: {others}. Rank correlation with the true rise of "
        f"{view.ranks.shape[1]} single deletions: {ranks}."
    )
    paragraphs = [first, second]
    if view.runs:
        paragraphs.insert(0, _of_run(view.runs[-1]))
    return "<br>".join(paragraphs)


def _of_run(run: AfterRun) -> str:
    whose = ", your saliencies" if run.mine else ""
    stopped = ", stopped" if run.stopped else ""
    return (
        f"<b>Trained on</b>, {100 * run.share:.0f} % deleted in the order of {run.order}{whose}, "
        f"{run.steps:,} steps{stopped}: <b>{100 * run.accuracy:.1f} %</b>, before "
        f"{100 * run.before:.1f} %. The curves show the networks before."
    )


def describe(view: AfterView) -> str:
    """The picture in a few sentences, for those who do not see it."""
    curves, at = view.shown, view.stop
    half = len(view.deleted) // 2
    rises = ", ".join(f"{o} {said(view.curves[o].actual[half])}" for o in ORDERS)
    whose = ", saliencies by your function" if view.mine else ""
    trained = (
        f" {len(view.runs)} trained on, the last {100 * view.runs[-1].accuracy:.1f} %."
        if view.runs
        else ""
    )
    return (
        f"Curves over the share deleted, of a {network_in_words(view.case)}{whose}. The loss's "
        f"rise at {100 * view.share:.0f} % in the order of {view.order}: "
        f"{said(curves.actual[at])}, predicted {said(curves.predicted[at])}; at "
        f"{100 * view.deleted[half]:.0f} %: {rises}. {100 * curves.right[at]:.1f} % right, whole "
        f"{100 * view.dense_accuracy:.1f} %. A scatter of {view.ranks.shape[1]} single deletions, "
        f"rank by score against rank by true rise: correlation "
        f"{view.correlations[view.order]:.3f}.{trained}"
    )

"""What a setting of chapter 04's explorer shows, and how it is said in words."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

KS = np.arange(2, 65)
BAND = np.array([2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 32, 40, 48, 64])  # of all seeds
BINS = 120
BESIDE = ("optimum", "ruler")  # what k-means is compared with


@dataclass(frozen=True)
class Run:
    """A training of codebooks that the plot keeps; the accuracy is a fraction."""

    weights: str  # "dense" or "pruned"
    k: int
    init: str
    reduction: str
    mine: bool
    errors: tuple[float, ...]  # squared, as a part of the squared weights, one per layer
    before: float  # the accuracy before the training
    accuracy: float
    steps: int
    stopped: bool


@dataclass(frozen=True)
class View:
    """What the figure shows for one setting of the controls."""

    k: int
    init: str
    weights: str  # "dense" or "pruned"
    layer: int  # 0, 1 or 2, on show
    mine: bool  # whether the numbers and values are the student's
    counts: np.ndarray  # (BINS,) of the layer's weights that are not zero
    edge: float  # the largest magnitude: the histogram reaches from -edge to edge
    values: Mapping[str, np.ndarray]  # the codebooks of "k-means", the "optimum" and the "ruler"
    error: float  # squared, of the layer on show, as a part of its squared weights
    accuracy: float  # a fraction
    errors: Mapping[str, np.ndarray]  # (len(KS),) for the initialisation, the optimum, the ruler
    error_band: np.ndarray  # (seeds, len(BAND))
    accuracies: Mapping[str, np.ndarray]  # (len(KS),)
    band: np.ndarray  # (seeds, len(BAND))
    dense_accuracy: float  # before sharing
    images: int  # validation images that were asked
    bytes: tuple[int, int, int, int, int]  # float32, shared; of that numbers, codebooks, gaps
    changed: int  # answers
    other_changed: int  # by another seed
    runs: tuple[Run, ...]  # of these weights


def describe(view: View) -> str:
    """The picture in a sentence."""
    here = int(np.flatnonzero(view.k == KS)[0])
    errors = {"k-means": view.error} | {how: view.errors[how][here] for how in BESIDE}
    accuracies = {"k-means": view.accuracy} | {how: view.accuracies[how][here] for how in BESIDE}
    wrong = ", ".join(f"{how} {_percent(part)}" for how, part in errors.items())
    right = ", ".join(f"{how} {100 * part:.1f} %" for how, part in accuracies.items())
    return (
        f"A histogram of {int(view.counts.sum()):,} weights of fc{view.layer + 1}, below it "
        f"{view.k} values each by k-means from {view.init}, the optimum and a ruler. Two plots "
        f"over k, here at {view.k}: squared error, {wrong}; and accuracy with all {view.weights} "
        f"weights shared, {right}, not shared {100 * view.dense_accuracy:.1f} %."
        + (f" Diamonds for {len(view.runs)} trainings." if view.runs else "")
    )


def summarise(view: View) -> str:
    """The numbers of the view in words."""
    here = int(np.flatnonzero(view.k == KS)[0])
    layer = f"fc{view.layer + 1}"
    zeros = " and 0" if view.weights == "pruned" else ""
    sentences = [
        f"<b>{view.k} values{zeros}</b> per layer, k-means from {view.init}, {view.weights} "
        f"weights: <b>{100 * view.accuracy:.2f} %</b> right of {view.images:,} validation images, "
        f"not shared {100 * view.dense_accuracy:.2f} %; the optimum "
        f"{100 * view.accuracies['optimum'][here]:.2f} %, the ruler "
        f"{100 * view.accuracies['ruler'][here]:.2f} %.",
        f"Answers that changed: {view.changed:,}; by another seed: {view.other_changed:,}.",
    ]
    if view.mine:
        sentences.insert(0, "<b>Your assign and update</b>, one step from where k-means ended.")
    dense, shared, numbers, codebooks, gaps = view.bytes
    of_gaps = f", {gaps:,} of gaps" if gaps else ""
    more = [
        f"Squared error of {layer}, as a part of its squared weights: {_percent(view.error)}, the "
        f"optimum {_percent(view.errors['optimum'][here])}, the ruler "
        f"{_percent(view.errors['ruler'][here])}.",
        f"The file has {shared:,} bytes, not {dense:,}: {numbers:,} of numbers, {codebooks:,} of "
        f"codebooks{of_gaps}, and biases and names.",
    ]
    paragraphs = [" ".join(sentences), " ".join(more)]
    if view.runs:
        paragraphs.insert(0, _summarise_run(view.runs[-1], layer, view.layer))
    return "<br>".join(paragraphs)


def _percent(part: float) -> str:
    return f"{100 * part:,.0f} %" if part >= 10 else f"{100 * part:.3g} %"


def _summarise_run(run: Run, layer: str, number: int) -> str:
    whose = ", your values" if run.mine else ""
    return (
        f"<b>Codebooks trained</b>: {run.k} values, from {run.init}, {run.weights} weights{whose}, "
        f"gradients {run.reduction}, {run.steps:,} steps{', stopped' if run.stopped else ''}: "
        f"<b>{100 * run.accuracy:.2f} %</b>, before {100 * run.before:.2f} %; squared error of "
        f"{layer} now {_percent(run.errors[number])}. The figure shows the network before."
    )

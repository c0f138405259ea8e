"""What a setting of chapter 02's explorer shows, and how it is said in words."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shrink.classroom.explorers.strip import Strip
from shrink.coding import sparse

CURVE = np.unique(np.round([*np.arange(0, 70, 5), *np.arange(70, 90, 2), *range(90, 101)])) / 100
BINS = 80
FORMATS = {name: {"csr": "CSR"}.get(name, name) for name in sparse.FORMATS}  # as they are shown


@dataclass(frozen=True)
class Run:
    """A fine-tuning that the plot keeps: accuracies are fractions of the validation images."""

    sparsity: float  # as asked for
    reached: float  # the fraction of weights that are zero
    scope: str
    weights: str
    schedule: str  # "one-shot" or "gradual"
    mine: bool  # whether the masks were the student's
    accuracy: float
    dense_accuracy: float
    steps: int
    stopped: bool


@dataclass(frozen=True)
class View:
    """What the figure shows for one setting of the controls."""

    sparsity: float
    accuracy: float
    dense_accuracy: float
    curve: np.ndarray  # (seeds, len(CURVE)), fractions
    other_curve: np.ndarray  # (len(CURVE),), mean of the other ranking
    counts: np.ndarray  # (2, BINS): all weights, kept weights
    edge: float  # the histogram reaches from -edge to edge
    thresholds: list[float]  # of each layer: the largest magnitude that went
    kept: dict[str, float]  # layer → fraction kept
    answers: np.ndarray  # the network's answer to each validation image
    casualties: np.ndarray  # indices of the images that were right and no longer are
    strip: Strip  # the first of them, with label and answer of each
    other_casualties: int  # right in this network, wrong in that of another seed, neither pruned
    file_bytes: dict[str, int]  # format → the length of the file
    mine: bool  # whether the masks are the student's
    runs: tuple[Run, ...]  # of these weights


def summarise(view: View) -> str:
    """The numbers of the view in words."""
    empty = [name for name, kept in view.kept.items() if kept == 0]
    sentences = [
        f"Sparsity {view.sparsity:.3g}: <b>{100 * view.accuracy:.2f} %</b> right of "
        f"{len(view.answers):,} validation images, dense {100 * view.dense_accuracy:.2f} %.",
        f"{len(view.casualties):,} that were right are wrong now; in another seed's network, which "
        f"is not pruned, {view.other_casualties:,}.",
        _summarise_bytes(view.file_bytes),
    ]
    if view.mine:
        gone = 100 * (1 - view.counts[1].sum() / view.counts[0].sum())
        sentences.insert(0, f"<b>Your masks</b>, which prune {gone:.2f} %.")
    if empty:
        sentences.append(f"<b>Nothing is left of {' and '.join(empty)}.</b>")
    paragraphs = [" ".join(sentences)]
    if view.runs:
        paragraphs.insert(0, _summarise_run(view.runs[-1]))
    return "<br>".join(paragraphs)


def describe(view: View) -> str:
    """What the figure shows, for those who do not see it."""
    every, kept = (int(counts.sum()) for counts in view.counts)
    layers = ", ".join(
        f"{name.removesuffix('.weight')} {100 * part:.3g} %" for name, part in view.kept.items()
    )
    runs = "".join(
        f" Fine-tuned, {run.schedule}{', stopped' * run.stopped}, at sparsity {run.reached:.3g}: "
        f"{100 * run.accuracy:.2f} %."
        for run in view.runs
    )
    return (
        f"Accuracy over sparsity, at {view.sparsity:.3g} {100 * view.accuracy:.2f} %, dense "
        f"{100 * view.dense_accuracy:.2f} %.{runs} Histogram of the weights, {kept:,} of {every:,} "
        f"kept: {layers}. {len(view.casualties):,} images are wrong now, the first of them shown. "
        f"{_summarise_bytes(view.file_bytes)}"
    )


def _summarise_bytes(file_bytes: Mapping[str, int]) -> str:
    lengths = [f"{FORMATS[name]} {length:,}" for name, length in file_bytes.items()]
    shortest = FORMATS[min(file_bytes, key=file_bytes.get)]
    return f"The file has these bytes: {', '.join(lengths)}; the shortest is {shortest}."


def _summarise_run(run: Run) -> str:
    control = (
        f"the dense network after the same steps {100 * run.dense_accuracy:.2f} %"
        if np.isfinite(run.dense_accuracy)
        else "the dense network was not trained on for comparison"
    )
    asked, reached = f"{run.sparsity:.3g}", f"{run.reached:.3g}"
    return (
        f"<b>Fine-tuned</b>, {run.schedule}, at sparsity {reached}"
        f"{f', not the {asked} asked for' if reached != asked else ''} "
        f"({run.scope}{', with your masks' if run.mine else ''}, {run.weights} weights, "
        f"{run.steps:,} steps{', stopped' if run.stopped else ''}): "
        f"<b>{100 * run.accuracy:.2f} %</b>; {control}. The figure shows the network before."
    )

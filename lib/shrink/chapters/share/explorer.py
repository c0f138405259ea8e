"""The explorer of chapter 04: how many values a layer has, where k-means begins, and training."""

import ipywidgets as widgets

from shrink import sharing
from shrink.chapters.share.figure import SIZE, draw, update
from shrink.chapters.share.lab import RATES, SharingLab
from shrink.chapters.share.prepared import KINDS
from shrink.chapters.share.view import KS, describe, summarise
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job
from shrink.classroom.explorers.tries import Try

TRIES = (
    Try(
        "1 ruler",
        "How many times as large is the ruler's error, and how do their accuracies differ? Go down "
        "to 4: which of the ruler's values does hardly a weight use?",
        k=16,
    ),
    Try(
        "2 stuck",
        "From histogram: where do its values lie, and where the best ones? Move k up: from where "
        "on do the curves of error meet? And from the other beginnings?",
        k=4,
        weights="pruned",
        init="histogram",
    ),
    Try(
        "3 train",
        "Press Train codebooks, then once more from histogram. Where do the two diamonds lie in "
        "the plot of accuracy, and where in that of error?",
        k=4,
        weights="pruned",
    ),
    Try(
        "4 two values",
        "Press Train codebooks. What becomes of the error, and what of the accuracy?",
        k=2,
    ),
)


def explore_sharing(
    dataset: Dataset, *exercises: Exercise, seeds: tuple[int, ...] = (0, 1, 2)
) -> Explorer:
    """The explorer of chapter 04, on LeNet-300-100, whole or with 8 % of its weights.

    Args:
        dataset: its validation images are asked; the test set stays unread.
        exercises: `assign` and `update`, for the switch *mine / reference*.
        seeds: the networks behind the bands; the first one is on show.

    Raises:
        ValueError: there is only one seed, or one of the exercises.
    """
    lab = SharingLab(dataset, {e.name: e for e in exercises}, seeds)
    controls = {
        "k": widgets.IntSlider(
            8, min=int(KS[0]), max=int(KS[-1]), description="values, k", **wide(300, words=60)
        ),
        "init": toggle("begin", list(sharing.INITS), width=86),
        "weights": toggle("weights", list(KINDS), width=72),
        "layer": toggle("layer", ["fc1", "fc2", "fc3"], width=44),
        "source": whose("by", exercises),
    }
    of_training = {
        "epochs": toggle("epochs", [1, 2, 5, 10], width=40),
        "reduction": toggle("gradients", list(RATES)),
    }
    return Explorer(
        lab.view,
        draw,
        update,
        summarise,
        alt=describe,
        controls=controls,
        tries=TRIES,
        job=Job("Train codebooks", lab.train, of_training),
        size=SIZE,
    )

"""The explorer of chapter 04: how many values a layer has, where k-means begins, and training."""

import ipywidgets as widgets

from shrink import sharing
from shrink.chapters.share.figure import draw, update
from shrink.chapters.share.lab import RATES, SharingLab
from shrink.chapters.share.prepared import KINDS
from shrink.chapters.share.view import KS, summarise
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job


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
    slider = wide(460)
    controls = {
        "k": widgets.IntSlider(
            8, min=int(KS[0]), max=int(KS[-1]), description="values, k", **slider
        ),
        "init": toggle("begin", list(sharing.INITS)),
        "weights": toggle("weights", list(KINDS)),
        "layer": toggle("layer", ["fc1", "fc2", "fc3"]),
        "source": whose("by", exercises),
        "reduction": toggle("gradients", list(RATES)),
        "epochs": widgets.IntSlider(1, min=1, max=10, description="epochs", **slider),
    }
    return Explorer(
        lab.view,
        draw,
        update,
        summarise,
        controls=controls,
        job=Job("Train codebooks", lab.train),
        size=(9.6, 5.6),
        alt=lambda _: (
            "Weight sharing in LeNet-300-100: a layer's histogram with the values that k-means "
            "found, the best ones and a ruler's; squared error and accuracy over the number of "
            "values; the bytes with the codebook; the images whose answer changed"
        ),
    )

"""The explorer of chapter 02: sparsity, local or global, before or after training, all at once or
by and by.
"""

import ipywidgets as widgets

from shrink.chapters.prune.figure import draw, update
from shrink.chapters.prune.lab import PruningLab
from shrink.chapters.prune.view import summarise
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job


def explore_pruning(
    dataset: Dataset, *exercises: Exercise, seeds: tuple[int, ...] = (0, 1, 2)
) -> Explorer:
    """The explorer of chapter 02, on LeNet-300-100.

    Args:
        dataset: its validation images are what the explorer shows; the test set stays unread.
        exercises: `magnitude_mask` and `global_masks`, for the switch *mine / reference*.
        seeds: the networks behind the band; the first one is on show.

    Raises:
        ValueError: there is only one seed, or one of the exercises.
    """
    lab = PruningLab(dataset, {e.name: e for e in exercises}, seeds)
    slider = wide(420)
    controls = {
        "sparsity": widgets.FloatSlider(
            0.5, min=0, max=1, step=0.01, description="sparsity", **slider
        ),
        "scope": toggle("ranking", ["global", "local"]),
        "weights": toggle("weights", ["trained", "initial"]),
        "source": whose("masks by", exercises),
        "schedule": toggle("schedule", ["one-shot", "gradual"]),
        "epochs": widgets.IntSlider(3, min=1, max=20, description="epochs", **slider),
    }
    return Explorer(
        lab.view,
        draw,
        update,
        summarise,
        controls=controls,
        job=Job("Fine-tune", lab.fine_tune),
        size=(9.6, 5.2),
        alt=lambda _: (
            "Pruning LeNet-300-100: accuracy over sparsity, the weights' histogram with the "
            "threshold, what each layer keeps, the pixels still seen, the images it costs, the "
            "file's length in four formats"
        ),
    )

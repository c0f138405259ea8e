"""The explorer of chapter 02: sparsity, local or global, before or after training, all at once or
by and by.
"""

import ipywidgets as widgets

from shrink.chapters.prune.figure import SIZE, draw, update
from shrink.chapters.prune.lab import PruningLab
from shrink.chapters.prune.view import describe, summarise
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job
from shrink.classroom.explorers.tries import Try

TRIES = (
    Try(
        "1 ranking",
        "Move the sparsity up from 0.7 under global, then under local. Which layer does the global "
        "ranking spare? Compare with the sizes and magnitudes printed above: why does that help?",
        sparsity=0.7,
    ),
    Try(
        "2 damage",
        "Are more images wrong now than another seed's network gets wrong, which is not pruned? "
        "From which sparsity on? Which file is the shortest, here and at 0.99?",
        sparsity=0.9,
    ),
    Try(
        "3 fine-tune",
        "Press Fine-tune: the pruned network is trained on while its zeros are held, and the dense "
        "one for the same steps. How much of the lost accuracy comes back?",
        sparsity=0.98,
        schedule="one-shot",
    ),
    Try(
        "4 gradual",
        "Press Fine-tune again. Does it matter here whether the weights go at once or little by "
        "little? And at 0.99?",
        sparsity=0.98,
        schedule="gradual",
    ),
    Try(
        "5 untrained",
        "The weights are as they were before any training: move the sparsity on to 0.96. In which "
        "layer do the weights spread least, and what happens to it? What does the trained network "
        "keep of it there?",
        sparsity=0.9,
        weights="initial",
    ),
)


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
        tries=TRIES,
        job=Job("Fine-tune", lab.fine_tune),
        size=SIZE,
        alt=describe,
    )

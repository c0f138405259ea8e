"""The explorer of chapter 06: temperature, a digit that the student never saw, and training."""

import ipywidgets as widgets

from shrink.chapters.distil.figure import draw, update
from shrink.chapters.distil.lab import DistillationLab
from shrink.chapters.distil.prepared import ALPHA, IMAGES, TAUGHT_AT, WIDTH
from shrink.chapters.distil.view import summarise
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job

LABELLED = (50, 200, 1000, IMAGES)
WIDTHS = (10, 30, 100, 300)
ALPHAS = (0.0, 0.5, ALPHA, 1.0)


def explore_distillation(
    dataset: Dataset, soften: Exercise | None = None, *, seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
) -> Explorer:
    """The explorer of chapter 06: LeNet-5 teaches small networks of three layers.

    Args:
        dataset: its validation images are asked; of the test set ten digits are shown.
        soften: the exercise, for the switch *mine / reference*.
        seeds: the students behind the bands and the runs; the first one is on show.

    Raises:
        ValueError: there is only one seed.
    """
    lab = DistillationLab(dataset, soften, seeds)
    slider = wide(500, words=130)
    controls = {
        "temperature": widgets.FloatLogSlider(
            TAUGHT_AT, min=-1, max=2, step=0.05, description="temperature, T", **slider
        ),
        "bias": widgets.FloatSlider(
            0, min=-5, max=15, step=0.25, description="bias, missing digit", **slider
        ),
        "digit": toggle("image", list(range(10)), width=34, value=2),
        "student": toggle("student", ["prepared", "trained"]),
        "missing": toggle("missing", ["none", *map(str, range(10))], width=56, value="3"),
        "source": whose("soften by", soften),
    }
    return Explorer(
        lab.view,
        draw,
        update,
        summarise,
        controls=controls,
        job=Job(
            "Train students",
            lab.train,
            _of_training(),
            f"{len(seeds)} students, each twice: from these labels and the teacher's answers to "
            f"all {len(lab.prepared.split):,} images, and from the labels alone. "
            "T and the missing digit are those above.",
        ),
        size=(9.6, 4.9),
        alt=lambda _: (
            "LeNet-5 teaches small networks: its softened answer for a digit beside the "
            "student's; the gradient with and without T²; accuracy over the temperature of "
            "teaching, and alone; the error of each class, with a digit left out; the runs with "
            "their bytes"
        ),
    )


def _of_training() -> dict[str, widgets.ToggleButtons]:
    """The controls of the button: what the students learn from, and how large they are."""
    alphas = [(f"{alpha:g}", alpha) for alpha in ALPHAS]
    labelled = [(f"{n:,}", n) for n in LABELLED]
    return {
        "alpha": toggle("alpha", alphas, width=46, value=ALPHA),
        "labelled": toggle("labels", labelled, width=66, value=IMAGES),
        "width": toggle("units", list(WIDTHS), width=52, value=WIDTH),
    }

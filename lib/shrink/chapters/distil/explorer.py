"""The explorer of chapter 06: temperature, a digit that the student never saw, and training."""

import ipywidgets as widgets

from shrink.chapters.distil.figure import SIZE, draw, update
from shrink.chapters.distil.lab import TRAINED, DistillationLab
from shrink.chapters.distil.prepared import ALPHA, IMAGES, TAUGHT_AT, WIDTH
from shrink.chapters.distil.view import describe, summarise
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job
from shrink.classroom.explorers.tries import Try

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
    slider = wide(340, words=116)
    controls = {
        "temperature": widgets.FloatLogSlider(
            TAUGHT_AT,
            base=2,
            min=-3.25,
            max=6.75,
            step=0.25,
            description="temperature, T",
            **slider,
        ),
        "bias": widgets.FloatSlider(
            0, min=-5, max=15, step=0.25, description="bias of that digit", **slider
        ),
        "student": widgets.Dropdown(
            options=[
                ("saw every digit", "none"),
                *((f"saw no {digit}", str(digit)) for digit in range(10)),
                ("is your last one", TRAINED),
            ],
            value="3",
            description="the student",
            **wide(230, words=90),
        ),
        "digit": toggle("image", list(range(10)), width=32, value=2),
        "source": whose("soften by", soften),
    }
    about = (
        f"{len(seeds)} students learn from labels and from the teacher at this T, and {len(seeds)} "
        "from labels alone."
    )
    return Explorer(
        lab.view,
        draw,
        update,
        summarise,
        alt=describe,
        controls=controls,
        tries=_tries(),
        hidden=lab.without_effect,
        job=Job("Train students", lab.train, _of_training(), about),
        size=SIZE,
    )


def _of_training() -> dict[str, widgets.Widget]:
    """The controls of the button: what the students learn from, and how large they are."""
    alphas = [(f"{alpha:g}", alpha) for alpha in ALPHAS]
    return {
        "alpha": toggle("alpha", alphas, width=42, value=ALPHA),
        "labelled": widgets.Dropdown(
            options=[(f"{n:,}", n) for n in LABELLED],
            value=IMAGES,
            description="labels",
            **wide(130, words=44),
        ),
        "width": toggle("units", list(WIDTHS), width=46, value=WIDTH),
        "missing": widgets.Dropdown(
            options=["none", *map(str, range(10))],
            description="missing digit",
            **wide(160, words=86),
        ),
    }


def _tries() -> list[Try]:
    """The states that the chapter's questions are about."""
    of_training = {"student": "none", "alpha": ALPHA, "missing": "none"}
    few, every = LABELLED[0], LABELLED[-1]
    return [
        Try(
            "1 temperature",
            "From which temperature on can you see the second answer, and where can you no longer "
            "tell the answers apart? Where in between is teaching best?",
            digit=2,
            student="none",
        ),
        Try(
            "2 bias",
            "Raise the bias from 0. At which bias are most images right? What do the other digits "
            "pay beyond that, and what does the student alone do?",
            digit=3,
            student="3",
        ),
        Try(
            "3 labels",
            f"Press Train students, with {few} labels and then with {every:,}. How many points is "
            "the teacher worth each time?",
            labelled=few,
            width=WIDTH,
            **of_training,
        ),
        Try(
            "4 units",
            f"Press Train students. Do those of {WIDTHS[-1]} units need no teacher?",
            labelled=every,
            width=WIDTHS[-1],
            **of_training,
        ),
    ]

"""The explorer of chapter 07: what goes, how it is removed, and what that saves."""

import ipywidgets as widgets

from shrink.chapters.structure.cuts import GRANULARITIES, REMOVALS, SCORES
from shrink.chapters.structure.figure import SIZE, draw, update
from shrink.chapters.structure.lab import TASKS, StructureLab, without_effect
from shrink.chapters.structure.view import STOPS, describe, summarise
from shrink.chapters.structure.ways import SEEDS
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job
from shrink.classroom.explorers.tries import Try

TRIES = (
    Try(
        "1 zeros",
        "Half of the filters are zero. Is that the network without these channels? Press linked, "
        "and then norms anew: how much of the damage was the norms'?",
        removal="zeros only",
    ),
    Try(
        "2 own choice",
        "Look at the lines of the shortcuts. Press Start, here and under linked: which of accuracy "
        "and difference tells that the surgery was wrong?",
        removal="each its own",
        task="fine-tune",
    ),
    Try(
        "3 time",
        "Press Start. About a quarter of the multiply-accumulates is left: which part of the time? "
        "At which numbers of channels does the time of a convolution jump?",
        task="measure times",
    ),
    Try(
        "4 scratch",
        "Press Start, then once more by random. Where are the stars, the same small network with "
        "new weights?",
        share=0.5,
        norms="anew",
        task="fine-tune",
    ),
    Try(
        "5 patterns",
        "Go on to vector, kernel, group and filter, zeros only: at which share does each lose ten "
        "points? What do the coarse ones have for it?",
        granularity="weight",
    ),
)


def explore_structure(
    dataset: Dataset, filters_to_keep: Exercise | None = None, *, seeds: tuple[int, ...] = SEEDS
) -> Explorer:
    """The explorer of chapter 07, on ResidualNet.

    Args:
        dataset: its validation images are asked; the test set stays unread.
        filters_to_keep: the exercise, for the switch *mine / reference*.
        seeds: the networks behind the bands; the first one is on show.

    Raises:
        ValueError: there is only one seed.
    """
    lab = StructureLab(dataset, filters_to_keep, seeds)
    controls = {
        "share": widgets.FloatSlider(
            0.5,
            min=STOPS[0],
            max=1,
            step=STOPS[0],
            description="share kept",
            **wide(320, words=70),
        ),
        "granularity": toggle("what goes", list(GRANULARITIES), width=54, value="filter"),
        "removal": toggle("removed", list(REMOVALS), width=88),
        "score": toggle("by", list(SCORES), width=60),
        "norms": toggle("norms", ["as they were", "anew"], width=92),
        "source": whose("filters by", filters_to_keep),
    }
    return Explorer(
        lab.view,
        draw,
        update,
        summarise,
        alt=describe,
        controls=controls,
        tries=TRIES,
        hidden=without_effect,
        job=Job("Start", lab.work, {"task": toggle("the button", list(TASKS), width=110)}),
        size=SIZE,
    )

"""The explorer of chapter 07: what goes, how it is removed, and what that saves."""

import ipywidgets as widgets

from shrink.chapters.structure.cuts import GRANULARITIES, REMOVALS, SCORES
from shrink.chapters.structure.figure import SIZE, draw, update
from shrink.chapters.structure.lab import TASKS, StructureLab, without_effect
from shrink.chapters.structure.view import WHOLE, describe, summarise
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
        "A quarter of the filters is zero. How far is that from the network without these "
        "channels? Press linked, and then anew: how much of the damage was the norms'?",
        kept=12,
        removal="zeros only",
    ),
    Try(
        "2 own choice",
        "Which channels do the lines of the shortcuts add? Press Start, here and under linked: "
        "which number tells the wrong surgery from the right one, before and after?",
        kept=8,
        removal="each its own",
        task="fine-tune",
    ),
    Try(
        "3 time",
        "Press Start. Which part of the multiply-accumulates is left, and which of the time? At "
        "which numbers of channels does the time of a convolution jump?",
        kept=8,
        task="measure times",
    ),
    Try(
        "4 scratch",
        "Press Start, then once more by random. Where do the two lie beside the stars, the same "
        "small network with new weights?",
        kept=8,
        norms="anew",
        task="fine-tune",
    ),
    Try(
        "5 patterns",
        "Go on to vector, kernel, group, 2:4 and to filter with zeros only. What does the pattern "
        "cost, and which of them saves multiply-accumulates?",
        kept=8,
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
        "kept": widgets.IntSlider(
            WHOLE // 2,
            min=1,
            max=WHOLE,
            description=f"kept, of {WHOLE}",
            **wide(320, words=76),
        ),
        "granularity": toggle("what goes", list(GRANULARITIES), width=None, value="filter"),
        "removal": toggle("removed", list(REMOVALS), width=None),
        "score": toggle("by", list(SCORES), width=None),
        "norms": toggle("norms", ["as they were", "anew"], width=None),
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
        job=Job("Start", lab.work, {"task": toggle("the button", list(TASKS), width=None)}),
        size=SIZE,
    )

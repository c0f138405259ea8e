"""The explorer of chapter 09: what a ticket learns beside its controls, and its weights."""

import ipywidgets as widgets

from shrink.chapters.tickets import rounds
from shrink.chapters.tickets.colours import REWOUND
from shrink.chapters.tickets.figure import SIZE, draw, update
from shrink.chapters.tickets.lab import ALL, LAYERS, QUESTIONS, TicketsLab, without_effect
from shrink.chapters.tickets.view import describe, summarise
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job
from shrink.classroom.explorers.tries import Try

WHICH = QUESTIONS[1]
TRIES = (
    Try(
        "1 structure",
        "Three lines learn under the same masks. Which of them falls behind, and by how much at "
        "21 % and at 3.6 %? What does it cost in addition to keep as many weights at other places?",
        arm="re-initialised",
        round=7,
    ),
    Try(
        "2 speed",
        "Move the slider. In which rounds is the ticket ahead of the whole network after 100 "
        "steps? What does it get right at step 0, before it has learned anything, and how can "
        "that be?",
        arm="ticket",
        round=0,
    ),
    Try(
        "3 signs",
        "Of each initial value only the sign is left. In which of the four rounds does the network "
        "end below the ticket, and what have the initial values told, then?",
        arm="signs only",
        round=12,
    ),
    Try(
        "4 rewinding",
        "Nothing is rewound: each round trains on from where the last one ended. Where does the "
        "line begin, where does it end beside the ticket's, and how many steps has it taken?",
        arm="ticket",
        rewound="the end",
        round=7,
    ),
    Try(
        "5 pixels",
        "Move the slider. Which pixels lose their weights first, and what have those weights "
        "learned? Which initial weights are kept most often, and why not when they are drawn anew?",
        question=WHICH,
        arm="ticket",
        round=7,
    ),
    Try(
        "6 two seeds",
        "In which layer do two seeds keep the same weights more often than by chance? What is left "
        "of that once each pixel has its number of weights, and what does random places show?",
        question=WHICH,
        arm="ticket",
        round=12,
    ),
)


def explore_tickets(
    dataset: Dataset,
    prune_survivors: Exercise | None = None,
    *,
    seeds: tuple[int, ...] = rounds.SEEDS,
) -> Explorer:
    """The explorer of chapter 09: lottery tickets of LeNet-300-100 beside their controls, round by
    round.

    Args:
        dataset: its training images are learned, its validation images are asked; the test set
            stays unread.
        prune_survivors: the exercise, for the switch *mine / reference*.
        seeds: the networks behind the bands.

    Raises:
        ValueError: there is only one seed.
    """
    lab = TicketsLab(dataset, prune_survivors, seeds)
    controls = {
        "round": widgets.IntSlider(
            7, min=0, max=rounds.ROUNDS, description="round", **wide(320, words=50)
        ),
        "question": toggle("question", list(QUESTIONS), width=None),
        "arm": toggle("arm", list(rounds.ARMS), width=None),
        "rewound": toggle("rewound to", list(REWOUND), width=None),
        "layer": toggle("layer", [n.removesuffix(".weight") for n in LAYERS], width=None),
        "seed": toggle("seed", [ALL, *seeds], width=None),
        "source": whose("next round", prune_survivors),
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
        job=Job("Train once more", lab.work),
        size=SIZE,
    )

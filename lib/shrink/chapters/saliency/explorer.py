"""The explorer of chapter 08: which weight matters, after training and before it."""

import ipywidgets as widgets

from shrink.chapters.saliency.arms import METHODS
from shrink.chapters.saliency.collapsing import STEPS
from shrink.chapters.saliency.deleting import NETWORKS, RESCALED, TRAINED
from shrink.chapters.saliency.deletions import ORDERS
from shrink.chapters.saliency.figure import SIZE, draw, update
from shrink.chapters.saliency.lab import QUESTIONS, SaliencyLab, without_effect
from shrink.chapters.saliency.prepared import SEEDS
from shrink.chapters.saliency.view import describe, summarise
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job
from shrink.classroom.explorers.tries import Try

AFTER, BEFORE = QUESTIONS
TRIES = (
    Try(
        "1 rescale",
        "Set rescaled to no and back: the network computes the same function. Which orders delete "
        "other weights now, and which do not?",
        network="ReLU",
        rescaled="10x",
        order="magnitude",
        deleted=50,
    ),
    Try(
        "2 predict",
        "Move the slider. By which factor is the prediction too low, on the left and on the right? "
        "And after one epoch?",
        order="OBD",
        deleted=60,
    ),
    Try(
        "3 gradient",
        "How high is the rank correlation in each order? After one epoch all are lower: what do "
        "the scores leave out there?",
        network="ReLU",
        order="gradient",
        deleted=40,
    ),
    Try(
        "4 steps",
        "At compression 1 the three bars of the scores are equal. In which layer is a single score "
        "smallest, then, and which layer is emptied first? How many steps does SynFlow need at "
        "100,000, and do steps save SNIP there?",
        question=BEFORE,
        method="SynFlow",
        compression=100.0,
        steps=1,
    ),
    Try(
        "5 paths",
        "No layer is empty. How many of the weights are live, and what can training still change? "
        "Press Train what is left: what does the network get right?",
        question=BEFORE,
        method="random",
        compression=1000.0,
    ),
    Try(
        "6 shuffle",
        "What do the open marks near this line say: did SNIP choose the right weights? Is it so "
        "for the other methods, and at 100?",
        question=BEFORE,
        method="SNIP",
        compression=10**1.4,
    ),
)


def explore_saliency(
    dataset: Dataset, obd_saliency: Exercise | None = None, *, seeds: tuple[int, ...] = SEEDS
) -> Explorer:
    """The explorer of chapter 08: deletions in small trained networks, and pruning of LeNet-300-100
    before training.

    Args:
        dataset: its training images give the losses and the scores, its validation images are
            asked; the test set stays unread.
        obd_saliency: the exercise, for the switch *mine / reference*.
        seeds: the networks behind the bands; the first one is on show.

    Raises:
        ValueError: there is only one seed.
    """
    lab = SaliencyLab(dataset, obd_saliency, seeds)
    controls = {
        "deleted": widgets.IntSlider(
            40, min=0, max=98, step=2, description="deleted, %", **wide(320, words=84)
        ),
        "compression": widgets.FloatLogSlider(
            100,
            base=10,
            min=0,
            max=5,
            step=0.2,
            description="compression",
            **wide(320, words=84),
        ),
        "question": toggle("question", list(QUESTIONS), width=None),
        "order": toggle("smallest first by", list(ORDERS), width=None, value="OBD"),
        "network": toggle("units", list(NETWORKS), width=None),
        "trained": toggle("trained", list(TRAINED), width=None),
        "rescaled": toggle("rescaled", list(RESCALED), width=None),
        "method": toggle("scored by", list(METHODS), width=None, value="SynFlow"),
        "steps": toggle("steps", list(STEPS), width=None),
        "source": whose("saliency", obd_saliency),
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
        job=Job("Train what is left", lab.work),
        size=SIZE,
    )

"""The explorer of chapter 11: bits by layer, and the roundings of one kernel."""

from typing import Any

import ipywidgets as widgets

from shrink.chapters.mixed import curves, kernel_lab, networks
from shrink.chapters.mixed.allocation_view import AllocationView
from shrink.chapters.mixed.figure import SIZE, draw, update
from shrink.chapters.mixed.kernel_view import BY_RANK
from shrink.chapters.mixed.lab import BIASES, LAYERS, SCENES, MixedLab, without_effect
from shrink.chapters.mixed.tables_lab import PER, ROUNDINGS
from shrink.chapters.mixed.view import describe, summarise
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.actions import Action
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.tries import Try

KERNEL = SCENES[1]
THREE = dict.fromkeys(LAYERS, 3)
TRIES = (
    Try(
        "1 one width",
        "Three bits for all layers leave room in the budget. Which layer costs most, and which "
        "share of the weights does it have? Give it seven bits: how many bytes does that take, and "
        "what does it mend?",
        budget=3.5,
        **THREE,
    ),
    Try(
        "2 first and last",
        "The first and the last layer have eight bits here, which is a common rule. What does the "
        "rule cost, and what does it mend, beside seven bits for depthwise1? Now get within the "
        "budget by hand: how near do you come to the optimum?",
        budget=3.5,
        **THREE | {"stem": 8, "fc": 8},
    ),
    Try(
        "3 by weights",
        "The costs are squared errors of the weights now. How many bits does the optimum give to "
        "fc? Go to answers: what is the cost of so many bits there, and does the optimum still "
        "choose them?",
        budget=3.0,
        by="weights",
        **THREE,
    ),
    Try(
        "4 learned",
        "Rounding is learned, and the biases are corrected. What do the four lines say at this "
        "budget: how much does each of the two mend alone, bits by layer and learned rounding, and "
        "how much do they mend together?",
        budget=3.0,
        rounding="learned",
        biases="corrected",
        **THREE,
    ),
    Try(
        "5 per channel",
        "Each channel has a scale of its own. How much do bits by layer gain now, and how many "
        "bytes do the scales take? Which line would you rather have at three bits: this single, "
        "or mixed with one scale per layer?",
        budget=3.0,
        per="channel",
        **THREE,
    ),
    Try(
        "6 one kernel",
        "Nearest has the smallest weight error of all 512 roundings. How many have a smaller "
        "output error, and what have the best of them in common? Go to optimum: which weights "
        "does it round the other way, and why does that help with this G?",
        scene=KERNEL,
        rounded="nearest",
    ),
)


def take_the_optimum(view: AllocationView) -> dict[str, Any]:
    """The optimum on show as the hand's bits."""
    return dict(zip(view.layers, view.optimum.bits, strict=True))


TAKE = Action(
    "take the optimum", "Give each layer by hand the bits of the optimum", take_the_optimum
)


def explore_mixed(
    dataset: Dataset,
    best_allocation: Exercise | None = None,
    *,
    seeds: tuple[int, ...] = networks.SEEDS,
) -> Explorer:
    """The explorer of chapter 11: bits of each layer of the separable network, and its kernels.

    Args:
        dataset: its training images say what goes into a layer, its validation images are asked;
            the test set stays unread.
        best_allocation: the exercise, for the switch *mine / reference*.
        seeds: the networks behind the bands; the first answers live, and its kernels are on show.

    Raises:
        ValueError: there is only one seed.
    """
    lab = MixedLab(dataset, best_allocation, seeds)
    low, high = min(networks.WIDTHS), max(networks.WIDTHS)
    narrow = wide(190, words=80)
    by_hand = {
        name: widgets.IntSlider(4, min=low, max=high, description=name, **narrow) for name in LAYERS
    }
    controls = {
        "budget": widgets.FloatSlider(
            4, min=low, max=high, step=0.5, description="bits a weight", **wide(320, words=84)
        ),
        "scene": toggle("show", list(SCENES), width=None),
        "by": toggle("cost by", list(curves.BY), width=None),
        "rounding": toggle("rounding", list(ROUNDINGS), width=None),
        "biases": toggle("biases", list(BIASES), width=None),
        "per": toggle("one scale per", list(PER), width=None),
        "source": whose("optimum by", best_allocation),
        **by_hand,
        "layer": toggle("layer", list(kernel_lab.LAYERS), width=None),
        "kernel": widgets.IntSlider(
            lab.kernels.first, min=0, max=kernel_lab.KERNELS - 1, description="kernel", **narrow
        ),
        "width": widgets.IntSlider(
            kernel_lab.BITS, min=low, max=high, description="bits", **narrow
        ),
        "rounded": toggle("rounded", list(kernel_lab.SHOWN), width=None, value=BY_RANK),
        "rank": widgets.IntSlider(1, min=1, max=kernel_lab.COUNT, description="rank", **narrow),
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
        beside=(*LAYERS, "layer", "kernel", "width", "rounded", "rank"),
        actions={"take": TAKE},
        size=SIZE,
    )

"""The explorer of chapter 01: on-chip memory, batch, bits, and what a network then costs."""

import ipywidgets as widgets
import torch

from shrink.chapters.measure.figure import SIZE, draw, update
from shrink.chapters.measure.lab import NETWORKS, MeasureLab
from shrink.chapters.measure.view import describe, summarise
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job
from shrink.classroom.explorers.tries import Try
from shrink.classroom.training import pick_device
from shrink.latency import Roofs

TRIES = (
    Try(
        "1 memory",
        "Move the memory on chip up from 8 KB. Where does the DRAM part vanish, and why there? "
        "Why does the total rise again after that?",
        memory=8,
    ),
    Try("2 batch", "Move the batch up from 1. Which part falls, and which stay?", memory=64),
    Try(
        "3 LeNet-5",
        "LeNet-5, batch 256: why has its DRAM part not vanished?",
        memory=64,
        batch=256,
        model="LeNet-5",
    ),
    Try(
        "4 bits",
        "256 KB on chip: go from 32 bits down. At how many bits do all the parameters stay on "
        "the chip, and what does that do to the energy?",
        memory=256,
    ),
    Try(
        "5 roofs",
        "Move the batch down from 256. Which layer is nearest to the roof of arithmetic, and which "
        "is always far below? Why do neither the memory nor the bits move a point?",
        memory=64,
        batch=256,
    ),
)


def explore_costs(
    exercise: Exercise | None = None,
    *,
    device: torch.device | str | None = None,
    roofs: Roofs | None = None,
) -> Explorer:
    """The explorer of chapter 01: the energy is an estimate, the roofline is measured here and now.

    Args:
        exercise: `layer_energy`, for the switch *reference / mine*.
        device: to measure on; by default the one that `pick_device` picks.
        roofs: of that device, if they have been measured; "Measure again" measures them anew.
    """
    lab = MeasureLab(exercise, torch.device(device) if device else pick_device(), roofs)
    controls = {
        "memory": _slider("on chip, KB", 16, low=3, high=12, step=0.25),
        "batch": _slider("batch", 1, low=0, high=8, step=1),
        "bits": toggle("bits", [32, 16, 8, 4, 2, 1], 44),
        "model": toggle("model", list(NETWORKS), 120),
        "source": whose("energy by", exercise),
    }
    return Explorer(
        lab.view,
        draw,
        update,
        summarise,
        controls=controls,
        tries=TRIES,
        job=Job("Measure again", lab.measure_again),
        size=SIZE,
        alt=describe,
    )


def _slider(
    description: str, value: float, *, low: float, high: float, step: float
) -> widgets.FloatLogSlider:
    """A slider over powers of two, from 2**low to 2**high."""
    return widgets.FloatLogSlider(
        value,
        base=2,
        min=low,
        max=high,
        step=step,
        description=description,
        **wide(420),
    )

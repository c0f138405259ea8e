"""The explorer of chapter 01: on-chip memory, batch, bits, and what a network then costs."""

import ipywidgets as widgets
import torch

from shrink.chapters.measure.figure import draw, update
from shrink.chapters.measure.lab import NETWORKS, MeasureLab
from shrink.chapters.measure.view import summarise
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.jobs import Job
from shrink.classroom.training import pick_device
from shrink.latency import Roofs


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
        "memory": _slider("on chip, KB", 64, low=3, high=12, step=0.25),
        "batch": _slider("batch", 1, low=0, high=8, step=1),
        "bits": toggle("bits", [32, 16, 8, 4, 2, 1], 44),
        "model": toggle("model", list(NETWORKS), 130),
        "source": whose("energy by", exercise),
    }
    return Explorer(
        lab.view,
        draw,
        update,
        summarise,
        controls=controls,
        job=Job("Measure again", lab.measure_again),
        size=(9.6, 5.4),
        alt=lambda _: (
            "What a network costs: the estimated energy of an image in each layer and over the "
            "on-chip memory, the roofline measured on this machine, and the bytes"
        ),
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

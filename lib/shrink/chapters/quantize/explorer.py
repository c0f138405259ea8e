"""The explorer of chapter 03: bits, range and scale, of the weights or of the activations."""

from collections.abc import Mapping
from typing import Any

import ipywidgets as widgets

from shrink.chapters.quantize.figure import SIZE, draw, update
from shrink.chapters.quantize.lab import QuantizationLab
from shrink.chapters.quantize.network import DYNAMIC, GRANULARITIES, GROUP
from shrink.chapters.quantize.view import describe, summarise
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.classroom.explorers.tries import Try
from shrink.quantization.calibration import METHODS

TRIES = (
    Try(
        "1 outlier",
        "Raise the outlier from 1 to 32, then to 128. By how many bits does the curve of accuracy "
        "move to the right? Do more answers change than with another seed?",
        bits=8,
    ),
    Try(
        "2 scales",
        "The outlier is at 128: what does a scale per channel give back, and for how many bytes?",
        bits=8,
        outlier=128,
        granularity="channel",
    ),
    Try(
        "3 clip",
        "Lower the clip from 100 to 90. At which percentile is the squared error least? Is the "
        "accuracy best there as well? And at 2 bits?",
        bits=3,
    ),
    Try(
        "4 calibrate",
        "The outlier is at 64: go through the calibrations. Which of the six keep the accuracy, "
        "and why does dynamic not mind?",
        what="activations",
        outlier=64,
        clip=99.9,
        calibration="percentile",
    ),
    Try(
        "5 symmetric",
        "Set the range to symmetric. How many bits does that cost?",
        what="activations",
        bits=3,
    ),
)


def explore_quantization(
    dataset: Dataset, *exercises: Exercise, seeds: tuple[int, ...] = (0, 1, 2)
) -> Explorer:
    """The explorer of chapter 03, on LeNet-300-100.

    Args:
        dataset: its validation images are asked, and ranges are calibrated on training images; the
            test set stays unread.
        exercises: `scale_and_zero_point` and `quantize`, for the switch *mine / reference*.
        seeds: the networks behind the band; the first one is on show.

    Raises:
        ValueError: there is only one seed, or one of the exercises.
    """
    lab = QuantizationLab(dataset, {e.name: e for e in exercises}, seeds)
    slider = wide(420, words=110)
    controls = {
        "bits": widgets.IntSlider(4, min=2, max=8, description="bits", **slider),
        "outlier": widgets.FloatLogSlider(
            1, base=2, min=0, max=7, step=1, description="outlier, times", **slider
        ),
        "clip": widgets.FloatSlider(
            100, min=90, max=100, step=0.05, description="clip, percentile", **slider
        ),
        "what": toggle("quantize", ["weights", "activations"]),
        "symmetric": toggle("range", [("asymmetric", False), ("symmetric", True)], width=106),
        "source": whose("by", exercises),
        "granularity": toggle(
            "scale per",
            [(g if g != "group" else f"group of {GROUP}", g) for g in GRANULARITIES],
            width=106,
        ),
        "calibration": toggle("calibrate", [*METHODS, DYNAMIC], width=None),
    }
    return Explorer(
        lab.view,
        draw,
        update,
        summarise,
        controls=controls,
        tries=TRIES,
        hidden=without_effect,
        size=SIZE,
        alt=describe,
    )


def without_effect(values: Mapping[str, Any]) -> set[str]:
    """Weights are not calibrated, activations have one range a layer, and few methods clip."""
    if values["what"] == "weights":
        return {"calibration"}
    hidden = {"granularity"}
    if values["calibration"] != "percentile":
        hidden.add("clip")
    if values["calibration"] == DYNAMIC:
        hidden.add("outlier")
    return hidden

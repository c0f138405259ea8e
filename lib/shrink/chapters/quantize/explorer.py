"""The explorer of chapter 03: bits, range and scale, of the weights or of the activations."""

import ipywidgets as widgets

from shrink.chapters.quantize.figure import draw, update
from shrink.chapters.quantize.lab import QuantizationLab
from shrink.chapters.quantize.network import DYNAMIC, GRANULARITIES, GROUP
from shrink.chapters.quantize.view import summarise
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.controls import toggle, whose, wide
from shrink.classroom.explorers.explorer import Explorer
from shrink.quantization.calibration import METHODS


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
    slider = wide(460, words=110)
    controls = {
        "bits": widgets.IntSlider(4, min=2, max=8, description="bits", **slider),
        "outlier": widgets.FloatLogSlider(
            1, base=2, min=0, max=7, step=1, description="outlier, times", **slider
        ),
        "clip": widgets.FloatSlider(
            100, min=90, max=100, step=0.05, description="clip, percentile", **slider
        ),
        "what": toggle("quantize", ["weights", "activations"]),
        "symmetric": toggle("range", [("asymmetric", False), ("symmetric", True)], width=110),
        "granularity": toggle(
            "scale per",
            [(g if g != "group" else f"group of {GROUP}", g) for g in GRANULARITIES],
            width=110,
        ),
        "source": whose("by", exercises),
        "calibration": toggle("calibrate", [*METHODS, DYNAMIC], width=136),
    }
    explorer = Explorer(
        lab.view,
        draw,
        update,
        summarise,
        controls=controls,
        size=(9.6, 5.6),
        alt=lambda _: (
            "Quantizing LeNet-300-100: the numbers' histogram with the levels that the bits have, "
            "the squared error of clipping and rounding over the clip, signal to noise and "
            "accuracy over the bits, the bytes, the images whose answer changed"
        ),
    )
    _disable_what_does_not_matter(explorer)
    return explorer


def _disable_what_does_not_matter(explorer: Explorer) -> None:
    """Weights are not calibrated, activations have one range a layer, and few methods clip."""
    controls = explorer.controls

    def disable(_change: object = None) -> None:
        weights, by = controls["what"].value == "weights", controls["calibration"].value
        controls["granularity"].disabled = not weights
        controls["calibration"].disabled = weights
        controls["clip"].disabled = not weights and by != "percentile"
        controls["outlier"].disabled = not weights and by == DYNAMIC

    for name in ("what", "calibration"):
        controls[name].observe(disable, "value")
    disable()

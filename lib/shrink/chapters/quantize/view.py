"""What a setting of chapter 03's explorer shows, and how it is said in words."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from shrink.chapters.quantize.network import DYNAMIC, GROUP, Setting
from shrink.classroom.explorers.strip import Strip

BITS = tuple(range(2, 9))
CLIPS = np.geomspace(0.003, 1, 30)  # of the largest magnitude
BINS = 120


@dataclass(frozen=True)
class Point:
    """What comes of a setting at some number of bits; the errors are sums of squares."""

    clipping: float
    rounding: float
    reach: float  # the range as a part of the largest magnitude, the median over the ranges
    part: int  # the part whose range has the median width
    span: tuple[float, float]  # its range
    levels: np.ndarray  # and the numbers that its integers stand for

    @property
    def error(self) -> float:
        return self.clipping + self.rounding


@dataclass(frozen=True)
class Histogram:
    """Of the numbers on show, and of the part of them whose levels are shown."""

    edges: np.ndarray  # (BINS + 1,)
    counts: np.ndarray  # (2, BINS): all numbers, and the part
    part: str  # its name, or "" where one range is for all
    ends: tuple[float, float]  # its least and its largest number

    @classmethod
    def of(cls, x: Tensor, by: str, part: int) -> "Histogram":
        """Of the numbers of a matrix, with a range for each of the parts by `by`."""
        x = x.cpu()
        edges = np.linspace(min(x.min().item(), 0), max(x.max().item(), 0) or 1, BINS + 1)
        some, name = x.flatten(), ""
        if by in ("channel", DYNAMIC):
            some, name = x[part], f"{'unit' if by == 'channel' else 'batch'} {part}"
        elif by == "group":
            row, column = divmod(part, -(-x.shape[1] // GROUP))
            some = x[row, GROUP * column : GROUP * (column + 1)]
            name = f"unit {row}, group {column}"
        counts = [torch.histc(n, BINS, edges[0], edges[-1]).numpy() for n in (x, some)]
        return cls(edges, np.stack(counts), name, (some.min().item(), some.max().item()))


@dataclass(frozen=True)
class View:
    """What the figure shows for one setting of the controls."""

    bits: int
    setting: Setting
    point: Point  # at these bits
    histogram: Histogram
    curve: np.ndarray  # (2, len(CLIPS)): clipping and rounding
    accuracies: np.ndarray  # (len(BITS),), fractions
    band: np.ndarray  # (seeds, len(BITS)), fractions, where nothing is disturbed
    dense_accuracy: float  # in float32, with the same outlier among the weights
    images: int  # validation images that were asked
    bytes: tuple[int, int, int, int]  # float32, quantized; of that integers, and scales
    changed: int  # answers
    other_changed: int  # by another seed
    strip: Strip  # the first of those images, answer in float32 and now


def summarise(view: View) -> str:
    """The numbers of the view in words."""
    here, setting = BITS.index(view.bits), view.setting
    band = 100 * view.band[:, here]
    sentences = [
        f"<b>{setting.what.capitalize()}</b> in {view.bits} bits, {_how(setting)}: "
        f"<b>{100 * view.accuracies[here]:.1f} %</b> right of {view.images:,} validation images, "
        f"in float32 {100 * view.dense_accuracy:.1f} %, {len(band)} seeds undisturbed "
        f"{band.min():.1f} to {band.max():.1f} %.",
        f"Answers that changed: {view.changed:,}; by another seed: {view.other_changed:,}.",
    ]
    if setting.mine:
        sentences.insert(0, "<b>Your scale_and_zero_point and quantize.</b>")
    stay = "activations" if setting.what == "weights" else "weights"
    shown = [_summarise_errors(view), _summarise_bytes(view), f"The {stay} stay floats."]
    return "<br>".join([" ".join(sentences), " ".join(shown)])


def describe(view: View) -> str:
    """What the figure shows, for those who do not see it."""
    setting, point = view.setting, view.point
    part = f" of {view.histogram.part}" if view.histogram.part else ""
    curve = ", ".join(
        f"{bits} bits {100 * right:.1f}" for bits, right in zip(BITS, view.accuracies, strict=True)
    )
    return (
        f"Histogram of {_on_show(setting)} with the {len(point.levels):,} levels{part} from "
        f"{number(point.levels.min())} to {number(point.levels.max())}: {setting.what} in "
        f"{view.bits} bits, {_how(setting)}. Squared error {number(point.error)}, clipping "
        f"{number(point.clipping)} and rounding {number(point.rounding)}. Accuracy in %: {curve}, "
        f"float32 {100 * view.dense_accuracy:.1f}. {view.bytes[1]:,} bytes, in float32 "
        f"{view.bytes[0]:,}. {view.changed:,} answers changed, the first of them shown."
    )


def _on_show(setting: Setting) -> str:
    return "fc1's weights" if setting.what == "weights" else "fc1's outputs on calibration images"


def _how(setting: Setting) -> str:
    weights, by = setting.what == "weights", setting.by
    words = "symmetric, " if setting.symmetric else "asymmetric, "
    if weights:
        words += f"a scale per {by}"
    else:
        words += "each batch by its own range" if by == DYNAMIC else f"calibrated by {by}"
    if setting.percentile < 100:
        words += f", clipped at the {setting.percentile:g}th percentile"
    if setting.outlier > 1:
        one = "one weight of fc1" if weights else "one calibration activation a layer"
        words += f", {one} made {setting.outlier:g} times as large"
    return words


def number(value: float) -> str:
    """With three digits, or all of those before the point."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _summarise_errors(view: View) -> str:
    point, total = view.point, view.curve.sum(0)
    return (
        f"Of {_on_show(view.setting)}: squared error {number(point.error)}, clipping "
        f"{number(point.clipping)} and rounding {number(point.rounding)}; a clip at "
        f"{100 * CLIPS[total.argmin()]:.0f} % of the largest magnitude would have "
        f"{number(total.min())}."
    )


def _summarise_bytes(view: View) -> str:
    dense, quantized, _, scales = view.bytes
    if view.setting.what == "activations":
        return f"The layers' inputs take {quantized:,} bytes an image, not {dense:,}."
    of_scales = f", {scales:,} of them scales and zero points" if scales else ""
    return f"The file has {quantized:,} bytes{of_scales}, not {dense:,}."

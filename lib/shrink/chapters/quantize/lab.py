"""What chapter 03's explorer computes: a network quantized, at each number of bits."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrink.chapters.quantize import mine, prepared
from shrink.chapters.quantize.errors import by_rows, over_clips, squared_errors
from shrink.chapters.quantize.network import (
    DYNAMIC,
    IMAGES,
    ON_SHOW,
    UNDISTURBED,
    Setting,
    answers,
    disturbed,
    in_parts,
    left,
    magnitudes,
    ranges_of,
    see,
    spans,
    weight_spans,
)
from shrink.chapters.quantize.ordered import Ordered
from shrink.chapters.quantize.sizes import bytes_of_activations, bytes_of_file, has_zero_points
from shrink.chapters.quantize.view import BITS, Histogram, Point, View
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.memory import Memory
from shrink.classroom.explorers.refusals import refuse_a_part, refuse_one_seed
from shrink.classroom.explorers.strip import Strip
from shrink.quantization import QParams, choose_qparams

REMEMBERED = 500  # results
LARGE = 6  # of those with as many numbers as the network


class QuantizationLab:
    """The networks behind the explorer, their sweeps over the bits, and what was asked lately."""

    def __init__(
        self, dataset: Dataset, exercises: Mapping[str, Exercise], seeds: tuple[int, ...]
    ) -> None:
        refuse_one_seed(seeds)
        refuse_a_part(exercises, mine.NAMES)
        self.exercises = exercises
        self.net = prepared.network(dataset, seeds[0])
        self.labels = dataset.validation.labels[:IMAGES].cpu().numpy()
        self.images = dataset.validation.images[:IMAGES, 0].cpu().numpy()
        self._memory, self._large = Memory(REMEMBERED), Memory(LARGE)
        self._mine: tuple[Hashable, Memory] = (None, Memory(0))
        swept, self._static = prepared.on_show(dataset, self.net)  # ranges of the first seed
        others = [prepared.another(dataset, seed) for seed in seeds[1:]]
        sweeps = np.stack([swept, *(right for right, _ in others)], 1)
        self.bands = dict(zip(UNDISTURBED, sweeps, strict=True))  # (seeds, bits)
        self.other_answers = others[0][1]

    def accuracy(self, answers: np.ndarray) -> float:
        """The fraction right."""
        return float((answers == self.labels).mean())

    def view(
        self,
        bits: int,
        outlier: float,
        clip: float,
        what: str,
        symmetric: bool,
        granularity: str,
        calibration: str,
        source: str = "reference",
    ) -> View:
        """Everything the figure shows.

        Raises:
            ExerciseError: `source` is "mine", and there is no answer yet, or none for the setting.
        """
        by = granularity if what == "weights" else calibration
        setting = Setting(
            what,
            symmetric,
            by,
            outlier=float(outlier) if by != DYNAMIC else 1.0,
            percentile=float(clip) if what == "weights" or by == "percentile" else 100.0,
            mine=source == "mine",
        )
        if setting.mine:
            mine.refuse_what_it_has_no_form_for(setting)
        found, dense = self._answers(setting, bits), self._dense(setting)
        point = self._once(setting)(("point", setting, bits), lambda: self._point(setting, bits))
        changed = np.flatnonzero(found[bits] != dense)
        return View(
            bits=bits,
            setting=setting,
            point=point,
            histogram=self._histogram(setting, point.part),
            curve=self._curve(setting, bits),
            accuracies=self._accuracies(found),
            band=self.bands[Setting(what, symmetric, by)],
            dense_accuracy=self.accuracy(dense),
            images=len(self.labels),
            bytes=self._bytes(setting, bits),
            changed=len(changed),
            other_changed=int((self.other_answers != dense).sum()),
            strip=Strip.of(self.images, changed, dense, found[bits]),
        )

    def _accuracies(self, found: Mapping[int, np.ndarray]) -> np.ndarray:
        """At each number of bits; NaN where there are no answers."""
        return np.array([self.accuracy(found[b]) if b in found else np.nan for b in BITS])

    # --- ranges, and what they leave -------------------------------------------------------

    def _ranges(self, setting: Setting, bits: int) -> Sequence[tuple] | None:
        """Of each layer's weights, or of its inputs; None where each batch has its own."""
        if setting.what == "weights":
            return self._memory.once(("spans", setting), lambda: self._weight_spans(setting))
        if setting.by == DYNAMIC:
            return None
        if found := self._static.get((setting, bits)):
            return found
        looked = ("seen", setting.outlier)
        seen = self._memory.once(looked, lambda: see(self.net, setting))
        return ranges_of(seen, setting, bits)

    def _weight_spans(self, setting: Setting) -> Sequence[tuple[Tensor, Tensor]]:
        if setting.percentile == 100:
            return weight_spans(self.net, setting)
        sizes = self._large.once(
            ("magnitudes", *parted(setting)), lambda: magnitudes(self.net, setting)
        )
        return weight_spans(self.net, setting, sizes)

    def _left(self, setting: Setting, bits: int, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """What quantizing leaves of x, by the library or by the student."""
        if setting.mine:
            return mine.left(self.exercises, bits, x, low, high)
        return left(setting, bits, x, low, high)

    def _once(self, setting: Setting) -> Callable[..., Any]:
        """What remembers; that of mine forgets as soon as another setting or answer is on show."""
        if not setting.mine:
            return self._memory.once
        key = (setting, *(exercise.student for exercise in self.exercises.values()))
        if self._mine[0] != key:
            self._mine = (key, Memory(REMEMBERED))
        return self._mine[1].once

    def _answers(self, setting: Setting, bits: int) -> dict[int, np.ndarray]:
        """The answers at each number of bits; those of mine at which it fails are missing."""

        def ask(b: int) -> np.ndarray:
            return answers(self.net, setting, b, self._ranges(setting, b), self._left)

        found, once = {}, self._once(setting)
        for b in sorted(BITS, key=lambda b: b != bits):
            try:
                found[b] = once(("answers", setting, b), partial(ask, b))
            except (Exception, SystemExit):
                if b == bits or not setting.mine:
                    raise
        return found

    def _point(self, setting: Setting, bits: int) -> Point:
        x, ranges = self._on_show(setting), self._ranges(setting, bits)
        parts = in_parts(x, setting.by)
        ends = ranges[ON_SHOW[setting.what]] if ranges else spans(parts)
        low, high = (
            end if isinstance(end, Tensor) else x.new_tensor(end).view(1, 1, 1) for end in ends
        )
        kept = self._left(setting, bits, x, low, high)
        p = choose_qparams(low, high, bits, setting.symmetric)
        clipping, rounding = squared_errors(by_rows(x, setting.by), p, by_rows(kept, setting.by))
        edge = torch.maximum(*(end.abs() for end in spans(parts)))
        reach = torch.maximum(-low, high) / edge.where(edge > 0, 1)
        part = int((high - low).flatten().argsort(stable=True)[low.numel() // 2])
        return Point(
            clipping=clipping,
            rounding=rounding,
            reach=reach.median().item(),
            part=part,
            span=(low.flatten()[part].item(), high.flatten()[part].item()),
            levels=in_parts(kept, setting.by)[part, 0].unique().cpu().numpy()
            if setting.mine
            else levels(p, part),
        )

    # --- what else the figure shows --------------------------------------------------------

    def _on_show(self, setting: Setting) -> Tensor:
        return disturbed(self.net, setting)[ON_SHOW[setting.what]]

    def _dense(self, setting: Setting) -> np.ndarray:
        """The answers in float32, with the outlier where it is among the weights."""
        weights = setting.what == "weights"

        def make() -> np.ndarray:
            return self.net.answers(disturbed(self.net, setting) if weights else self.net.weights)

        return self._memory.once(("dense", weights and setting.outlier), make)

    def _curve(self, setting: Setting, bits: int) -> np.ndarray:
        x = self._on_show(setting)

        def make() -> np.ndarray:
            ordered = self._large.once(parted(setting), lambda: Ordered.of(x, setting.by))
            return over_clips(x, ordered, setting, bits)

        return self._memory.once(("curve", *parted(setting), setting.symmetric, bits), make)

    def _histogram(self, setting: Setting, part: int) -> Histogram:
        key = ("histogram", *parted(setting), part)
        return self._memory.once(
            key, lambda: Histogram.of(self._on_show(setting), setting.by, part)
        )

    def _bytes(self, setting: Setting, bits: int) -> tuple[int, int, int, int]:
        if setting.what == "activations":
            return bytes_of_activations(self.net, bits)
        ranges = self._ranges(setting, bits)
        shape = (setting.symmetric, setting.by, bits, *has_zero_points(setting, bits, ranges))
        return self._memory.once(
            ("bytes", *shape), lambda: bytes_of_file(self.net, setting, bits, ranges)
        )


def parted(setting: Setting) -> tuple[Hashable, ...]:
    """What decides which numbers are on show, and their parts: no static calibration does."""
    weights = setting.what == "weights"
    return setting.what, setting.outlier, setting.by if weights or setting.by == DYNAMIC else ""


def levels(p: QParams, part: int) -> np.ndarray:
    """The numbers that the integers of one part stand for."""
    scale, zero_point = (t.flatten()[part].item() for t in (p.scale, p.zero_point))
    return scale * (np.arange(p.q_min, p.q_max + 1) - zero_point)

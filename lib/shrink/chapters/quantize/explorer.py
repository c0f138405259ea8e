"""The explorer of chapter 03: bits, range and scale, of the weights or of the activations."""

import itertools
import math
import threading
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import ipywidgets as widgets
import numpy as np
import torch
from torch import Tensor

from shrink.chapters.quantize import prepared
from shrink.chapters.quantize.figure import (
    BINS,
    BITS,
    CAPTION,
    CLIPS,
    DYNAMIC,
    SHOWN,
    View,
    draw,
    summarise,
    update,
)
from shrink.chapters.quantize.network import (
    GRANULARITIES,
    GROUP,
    IMAGES,
    ON_SHOW,
    UNDISTURBED,
    Network,
    Ranges,
    Setting,
    answers,
    disturbed,
    find_outlier,
    in_parts,
    left,
    ranges_of,
    see,
    spans,
    weight_spans,
)
from shrink.classroom import formats, measure
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.explorers.controls import toggle
from shrink.classroom.explorers.explorer import Explorer
from shrink.quantization import QParams, choose_qparams
from shrink.quantization.calibration import METHODS

CHUNK = 2**15  # numbers at a time: they stay in the cache
REMEMBERED = 500  # results


@dataclass(frozen=True)
class Point:
    """What comes of a setting at some number of bits; the errors are sums of squares."""

    answers: np.ndarray  # to each image
    clipping: float
    rounding: float
    snr: float  # dB, of all numbers but the outlier
    reach: float  # the range as a part of the largest magnitude, the median over the ranges
    part: int  # the part whose range has the median width
    span: tuple[float, float]  # its range
    levels: np.ndarray  # and the numbers that its integers stand for


def by_rows(x: Tensor, by: str) -> Tensor:
    """The same, but where one range is for all: its rows are rows still."""
    return in_parts(x, by if by == "group" else "channel")


def squared_errors(x: Tensor, p: QParams, left: Tensor | None = None) -> tuple[float, float]:
    """The squared errors of clipping and of rounding, each summed over all numbers.

    What is more than half a step beyond the levels of `p` counts as clipped.

    Args:
        x: (rows, parts, numbers), looked at some rows at a time, which is much faster.
        p: of shape (rows, parts, 1), or of one range.
        left: what is left of x, by default what `p` leaves.
    """
    sums = np.zeros(2)
    some = max(CHUNK // x[0].numel(), 1)
    columns = (p.scale, *((q - p.zero_point) * p.scale for q in (p.q_min, p.q_max)))
    columns = (column.expand(len(x), -1, 1).split(some) for column in columns)
    lefts = left.split(some) if left is not None else itertools.repeat(None)
    for rows, scale, low, high, kept in zip(x.split(some), *columns, lefts, strict=False):
        inside = rows.clamp(low - scale / 2, high + scale / 2)
        beyond = inside != rows
        if kept is None:
            kept = inside.clamp_(low, high).mul_(1 / scale).round_().mul_(scale)
        errors = (kept - rows).square_()
        clipping = errors.where(beyond, 0).sum().item()
        sums += clipping, errors.masked_fill_(beyond, 0).sum().item()
    return float(sums[0]), float(sums[1])


def as_pair(answer: object) -> tuple[float, float]:
    """What the student's `scale_and_zero_point` gave, two numbers.

    Raises:
        ExerciseError: it is something else, or a scale that nothing can be divided by.
    """
    try:
        scale, zero_point = map(float, answer)
    except (TypeError, ValueError):
        scale = zero_point = math.nan
    if not (math.isfinite(scale) and math.isfinite(zero_point) and scale):
        raise ExerciseError(
            "scale_and_zero_point gives two numbers, (scale, zero_point), the scale not 0; "
            f"yours gave {answer!r}"
        )
    return scale, int(zero_point) if zero_point.is_integer() else zero_point


def as_floats(q: object, x: Tensor, scale: float, zero_point: float) -> Tensor:
    """The floats that the student's integers stand for.

    Raises:
        ExerciseError: they are no tensor of x's shape, or not finite.
    """
    shape = tuple(x.shape)
    if not isinstance(q, Tensor) or q.shape != x.shape:
        given = f"shape {tuple(q.shape)}" if isinstance(q, Tensor) else type(q).__name__
        raise ExerciseError(f"quantize gives a tensor of x's shape, {shape}; yours gave {given}")
    left = scale * (q.detach().to(x.dtype) - zero_point)
    if not left.isfinite().all():
        raise ExerciseError("quantize gives integers; some of yours are NaN or infinite")
    return left


class QuantizationLab:
    """The networks behind the explorer, their sweeps over the bits, and what was asked lately."""

    def __init__(
        self, dataset: Dataset, exercises: Mapping[str, Exercise], seeds: tuple[int, ...]
    ) -> None:
        if len(seeds) < 2:
            raise ValueError(f"at least two seeds are compared, not {seeds!r}")
        needed = {"scale_and_zero_point", "quantize"}
        if missing := needed - set(exercises) if exercises else None:
            raise ValueError(f"the switch to mine also needs {', '.join(sorted(missing))}")
        self.exercises = exercises
        self.net = prepared.network(dataset, seeds[0])
        self.labels = dataset.validation.labels[:IMAGES].cpu().numpy()
        self.images = dataset.validation.images[:IMAGES, 0].cpu().numpy()
        self._float_bytes = measure.size(self.net.state)
        self._memory: dict[Hashable, Any] = {}
        self._mine: tuple[Hashable, dict[int, Point]] = (None, {})
        self._lock = threading.Lock()
        swept, ranges = prepared.on_show(dataset, self.net)
        self._ranges = ranges  # of the first seed, undisturbed
        others = [prepared.another(dataset, seed) for seed in seeds[1:]]
        sweeps = np.stack([swept, *(right for right, _ in others)], 1)
        self.bands = dict(zip(UNDISTURBED, sweeps, strict=True))  # (seeds, bits)
        self.other_answers = others[0][1]

    def accuracy(self, answers: np.ndarray) -> float:
        """The fraction right."""
        return float((answers == self.labels).mean())

    def _once(self, key: Hashable, make: Callable[[], Any]) -> Any:
        """What `make` gives, remembered for some time."""
        with self._lock:
            if key in self._memory:
                return self._memory[key]
        made = make()
        with self._lock:
            self._memory[key] = made
            while len(self._memory) > REMEMBERED:
                del self._memory[next(iter(self._memory))]
        return made

    # --- ranges, and what they leave -------------------------------------------------------

    def _calibrate(self, net: Network, setting: Setting, bits: int) -> Ranges | None:
        """The range (low, high) of each layer's inputs, where it is static."""
        if setting.by not in METHODS:
            return None
        if found := self._ranges.get((setting, bits)):
            return found
        seen = self._once(("seen", setting.outlier), lambda: see(net, setting))
        return ranges_of(seen, setting, bits)

    def _weight_spans(self, net: Network, setting: Setting) -> list[tuple[Tensor, Tensor]]:
        """The ranges of each layer's weights, clipped at the percentile: low and high."""
        return self._once((net, setting), lambda: weight_spans(net, setting))

    def _left(self, setting: Setting, bits: int, x: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """What quantizing leaves of x; a matrix if there is more than one range."""
        if setting.mine and low.numel() > 1:  # a batch a row
            rows = zip(x.split(1), low, high, strict=True)
            return torch.cat([self._left(setting, bits, *row) for row in rows])
        if setting.mine:
            range_of, quantize = (self.exercises[n] for n in ("scale_and_zero_point", "quantize"))
            scale, zero_point = as_pair(range_of.mine(low.item(), high.item(), bits))
            q = quantize.mine(x.clone(), scale, zero_point, bits)
            return as_floats(q, x, scale, zero_point)
        return left(setting, bits, x, low, high)

    def _answers(self, setting: Setting, bits: int, ranges: Ranges | None) -> np.ndarray:
        ends = self._weight_spans(self.net, setting) if setting.what == "weights" else None
        return answers(self.net, setting, bits, ranges or ends, self._left)

    def _point(self, setting: Setting, bits: int) -> Point:
        x, ranges = self._on_show(setting), self._calibrate(self.net, setting, bits)
        answers = self._answers(setting, bits, ranges)
        parts = in_parts(x, setting.by)
        if ranges:
            ends = ranges[ON_SHOW[setting.what]]
            low, high = (x.new_tensor(end).view(1, 1, 1) for end in ends)
        elif setting.what == "weights":
            low, high = self._weight_spans(self.net, setting)[0]
        else:
            low, high = spans(parts)
        left = self._left(setting, bits, x, low, high)
        p = choose_qparams(low, high, bits, setting.symmetric)
        clipping, rounding = squared_errors(by_rows(x, setting.by), p, by_rows(left, setting.by))
        edge = torch.maximum(*(end.abs() for end in spans(parts)))
        reach = torch.maximum(-low, high) / edge.where(edge > 0, 1)
        part = int((high - low).flatten().argsort(stable=True)[low.numel() // 2])
        scale, zero_point, *span = (
            t.flatten()[part].item() for t in (p.scale, p.zero_point, low, high)
        )
        levels = scale * (np.arange(p.q_min, p.q_max + 1) - zero_point)
        return Point(
            answers=answers,
            clipping=clipping,
            rounding=rounding,
            snr=self._snr(setting, x, left),
            reach=reach.median().item(),
            part=part,
            span=tuple(span),
            levels=in_parts(left, setting.by)[part, 0].unique().cpu().numpy()
            if setting.mine
            else levels,
        )

    def _snr(self, setting: Setting, x: Tensor, left: Tensor) -> float:
        """The power of the numbers over that of their errors, in dB, but for the outlier's."""
        powers = [x.square(), (x - left).square()]
        if setting.outlier > 1:
            for power in powers:
                power[find_outlier(x, setting.what)] = 0
        signal, noise = (max(power.sum(dtype=torch.float64).item(), 1e-30) for power in powers)
        return 10 * math.log10(signal / noise)

    def _points(self, setting: Setting, bits: int) -> dict[int, Point]:
        """The point at each number of bits; those of mine at which it fails are missing.

        What mine gave is forgotten as soon as another setting, or another answer, is on show.
        """
        if not setting.mine:
            self._mine = (None, {})
            return {b: self._once((setting, b), lambda b=b: self._point(setting, b)) for b in BITS}
        key = (setting, *(exercise.student for exercise in self.exercises.values()))
        if self._mine[0] != key:
            self._mine = (key, {})
        points = self._mine[1]
        for b in sorted(set(BITS) - set(points), key=lambda b: b != bits):
            try:
                points[b] = self._point(setting, b)
            except (Exception, SystemExit):
                if b == bits:
                    raise
        return points

    # --- what the figure shows -------------------------------------------------------------

    def _on_show(self, setting: Setting) -> Tensor:
        return disturbed(self.net, setting)[ON_SHOW[setting.what]]

    def _curve(self, setting: Setting, bits: int) -> np.ndarray:
        """The errors of clipping and of rounding (2, clips) where each range is cut to a part."""
        x = self._on_show(setting)
        low, high = spans(in_parts(x, setting.by))
        edge = torch.maximum(-low, high)
        found = []
        for clip in CLIPS.tolist():
            ends = low.maximum(-clip * edge), high.minimum(clip * edge)
            p = choose_qparams(*ends, bits, setting.symmetric)
            found.append(squared_errors(by_rows(x, setting.by), p))
        return np.array(found).T

    def _histogram(self, setting: Setting, part: int) -> dict[str, Any]:
        """All numbers, and those of one part: the View's edges, counts, part and ends."""
        x = self._on_show(setting).cpu()
        edges = np.linspace(min(x.min().item(), 0), max(x.max().item(), 0) or 1, BINS + 1)
        some, name = x.flatten(), ""
        if setting.by in ("channel", DYNAMIC):
            some, name = x[part], f"{'unit' if setting.by == 'channel' else 'batch'} {part}"
        elif setting.by == "group":
            row, column = divmod(part, -(-x.shape[1] // GROUP))
            some = x[row, GROUP * column : GROUP * (column + 1)]
            name = f"unit {row}, group {column}"
        counts = [torch.histc(n, BINS, edges[0], edges[-1]).numpy() for n in (x, some)]
        ends = (some.min().item(), some.max().item())
        return {"edges": edges, "counts": np.stack(counts), "part": name, "ends": ends}

    def _bytes(self, setting: Setting, bits: int) -> tuple[int, int, int, int]:
        """Of float32 and of so many bits; of that the integers, and scales with zero points.

        For weights of the file, for activations of the layers' inputs in memory, for one image.
        """
        if setting.what == "activations":
            numbers = [x.shape[1] for x in self.net.inputs]
            packed = sum(-(-n * bits // 8) for n in numbers)
            return 4 * sum(numbers), packed, packed, 0
        options = {"channel": {"axis": 0}, "group": {"group": GROUP}}.get(setting.by, {})
        state, layers = dict(self.net.state), disturbed(self.net, setting)
        ranges = self._weight_spans(self.net, setting)
        names = [name for name, t in state.items() if t.dim() == 2]
        for name, w, (low, high) in zip(names, layers, ranges, strict=True):
            clipped = in_parts(w, setting.by).clamp(low, high)
            state[name] = clipped.view(len(w), -1)[:, : w.shape[1]]
        arrays = formats.pack_quantized(state, bits, symmetric=setting.symmetric, **options)
        integers = sum(a.nbytes for name, a in arrays.items() if name.endswith("/q"))
        scales = sum(a.nbytes for n, a in arrays.items() if n.endswith(("/scale", "/zero_point")))
        return self._float_bytes, measure.size(arrays), integers, scales

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
        if setting.mine and (symmetric or by in ("channel", "group")):
            raise ExerciseError(
                "your scale_and_zero_point and quantize know one asymmetric range for the whole "
                "tensor: choose asymmetric and a scale per tensor to see them, or reference"
            )
        points = self._points(setting, bits)
        point = points[bits]
        plain = Setting(what, symmetric, by)
        dense = self._once(
            ("dense", what == "weights" and outlier),
            lambda: self.net.answers(
                disturbed(self.net, setting) if what == "weights" else self.net.weights
            ),
        )
        static = by if what == "weights" or by == DYNAMIC else "static"
        curve = self._once(
            (what, symmetric, static, setting.outlier, bits), lambda: self._curve(setting, bits)
        )
        histogram = self._once(
            (what, static, setting.outlier, point.part),
            lambda: self._histogram(setting, point.part),
        )
        changed = np.flatnonzero(point.answers != dense)
        return View(
            bits=bits,
            what=what,
            symmetric=symmetric,
            by=by,
            outlier=setting.outlier,
            percentile=setting.percentile,
            mine=setting.mine,
            **histogram,
            span=point.span,
            levels=point.levels,
            clipping=point.clipping,
            rounding=point.rounding,
            reach=point.reach,
            curve=curve,
            snrs=np.array([points[b].snr if b in points else np.nan for b in BITS]),
            accuracies=np.array(
                [self.accuracy(points[b].answers) if b in points else np.nan for b in BITS]
            ),
            band=self.bands[plain],
            dense_accuracy=self.accuracy(dense),
            images=len(self.labels),
            bytes=self._once(
                ("bytes", what, what == "weights" and setting, bits),
                lambda: self._bytes(setting, bits),
            ),
            changed=len(changed),
            other_changed=int((self.other_answers != dense).sum()),
            strip=self._strip(changed[:SHOWN]),
            captions=tuple(f"{dense[i]} → {point.answers[i]}" for i in changed[:SHOWN]),
        )

    def _strip(self, images: np.ndarray) -> np.ndarray:
        """Up to SHOWN images in two rows, each with room for a caption under it."""
        cells = np.zeros((2, SHOWN // 2, 28 + CAPTION, 28), np.float32)
        cells.reshape(SHOWN, 28 + CAPTION, 28)[: len(images), :28] = self.images[images]
        return cells.transpose(0, 2, 1, 3).reshape(2 * (28 + CAPTION), -1)


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
    wide = {"layout": widgets.Layout(width="460px"), "style": {"description_width": "110px"}}
    controls = {
        "bits": widgets.IntSlider(4, min=2, max=8, description="bits", **wide),
        "outlier": widgets.FloatLogSlider(
            1, base=2, min=0, max=7, step=1, description="outlier, times", **wide
        ),
        "clip": widgets.FloatSlider(
            100, min=90, max=100, step=0.05, description="clip, percentile", **wide
        ),
        "what": toggle("quantize", ["weights", "activations"]),
        "symmetric": toggle("range", [("asymmetric", False), ("symmetric", True)], width=110),
        "granularity": toggle(
            "scale per",
            [(g if g != "group" else f"group of {GROUP}", g) for g in GRANULARITIES],
            width=110,
        ),
        "source": toggle("by", ["reference", "mine"][: 2 if exercises else 1]),
        "calibration": toggle("calibrate", [*METHODS, DYNAMIC], width=136),
    }
    explorer = Explorer(
        lab.view,
        draw,
        update,
        summarise,
        controls=controls,
        size=(9.6, 5.6),
        alt="Quantizing LeNet-300-100: the numbers' histogram with the levels that the bits have, "
        "the squared error of clipping and rounding over the clip, signal to noise and accuracy "
        "over the bits, the bytes, the images whose answer changed",
    )
    _disable_what_does_not_matter(explorer)
    return explorer


def _disable_what_does_not_matter(explorer: Explorer) -> None:
    """Weights are not calibrated, activations have one range a layer, and few methods clip."""
    controls = explorer.controls
    for row in explorer.children:  # the number box beside a slider goes with it
        if isinstance(row, widgets.HBox) and row.children[0] in controls.values():
            slider, *boxes = row.children
            for box in boxes:
                widgets.dlink((slider, "disabled"), (box, "disabled"))

    def disable(_change: object = None) -> None:
        weights, by = controls["what"].value == "weights", controls["calibration"].value
        controls["granularity"].disabled = not weights
        controls["calibration"].disabled = weights
        controls["clip"].disabled = not weights and by != "percentile"
        controls["outlier"].disabled = not weights and by == DYNAMIC

    for name in ("what", "calibration"):
        controls[name].observe(disable, "value")
    disable()

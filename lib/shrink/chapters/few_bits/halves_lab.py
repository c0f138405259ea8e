"""What chapter 10's explorer computes of halves: magnitudes over a format's range, and errors."""

import math
import threading
from typing import Any

import numpy as np

from shrink.chapters.few_bits import halves
from shrink.chapters.few_bits.halves_view import HalfRun, HalvesView, Updates
from shrink.classroom.data import Dataset, Split
from shrink.classroom.mixed_training import train_in
from shrink.classroom.progress import Progress
from shrink.classroom.training import Recipe, accuracy
from shrink.quantization.number_formats import FORMATS, Format

NUMBERS = ("gradients of activations", "gradients of weights", "activations", "weights")
MOVED = NUMBERS[:2]  # by the loss scale
NEW_SEEDS = 100  # from here on, of what the button trains
SMALL_RATE = halves.RATES[0]


class HalvesLab:
    """What was trained beforehand in halves, and the runs so far."""

    def __init__(self, dataset: Dataset, seeds: tuple[int, ...]) -> None:
        self.data, self.seeds = dataset, seeds
        self.magnitudes = halves.magnitudes(dataset)
        self.errors = self._errors(*halves.EXPONENTS)
        self.dynamic = self._errors(None)[:, 0]
        self.float32 = self._errors("float32")[:, 0]
        self.updates = {way: self._updates(way) for way in halves.ways(SMALL_RATE)}
        self.runs: list[HalfRun] = []

    def _errors(self, *scales: int | str | None) -> np.ndarray:
        """(seeds, scales) in %."""
        return 100 * np.array(
            [[halves.at_scale(self.data, one, seed).error for one in scales] for seed in self.seeds]
        )

    def view(self, format: str, loss_scale: float, numbers: str, step: int) -> HalvesView:
        """Everything the figure shows of a setting of the controls; the loss scale counts as the
        nearest power of two.
        """
        exponent = nearest_power(loss_scale)
        by = exponent if numbers in MOVED else 0
        counts, chosen = self.magnitudes.of(step, numbers), FORMATS[format]
        lost, over = halves.lost(counts, chosen, by)
        octaves = counts.reshape(-1, halves.PARTS).sum(1)
        return HalvesView(
            format=chosen,
            exponent=exponent,
            numbers=numbers,
            step=step,
            magnitudes=np.arange(len(octaves) + 1) + halves.OCTAVES[0] + by,
            shares=octaves / counts.sum(),
            lost=lost,
            subnormal=_below_normal(counts, chosen, by) - lost,
            over=over,
            ends=tuple(map(math.log2, halves.ends(chosen))),
            scales=halves.EXPONENTS,
            errors=self.errors,
            dynamic=self.dynamic,
            float32=self.float32,
            updates=self.updates,
            images=len(self.data.validation),
            runs=tuple(self.runs),
        )

    def _updates(self, way: str) -> Updates:
        """What a way comes to at the small rate."""
        runs = [halves.run(self.data, way, SMALL_RATE, seed) for seed in self.seeds]
        stored = [run for run in runs if len(run.swallowed)]
        return Updates(
            100 * np.array([run.error for run in runs]),
            100 * np.array([run.swallowed[:, 0].mean() for run in stored]),
            100 * np.array([run.swallowed_amount[:, 0].mean() for run in stored]),
        )

    def work(self, values: dict[str, Any], stop: threading.Event, progress: Progress) -> None:
        """Train once more in the format and at the loss scale on show, with float32 master weights;
        the run is kept, also when stopped.
        """
        exponent, seed = nearest_power(values["loss_scale"]), NEW_SEEDS + len(self.runs)
        images, labels = self.data.train.images, self.data.train.labels
        net = halves.initial(seed).to(images.device)
        scaler = halves.scaler_of(exponent)
        done = train_in(
            net,
            Split(images[: halves.TRAINED], labels[: halves.TRAINED]),
            Recipe(halves.SCALED_EPOCHS, halves.SCALED_RATE, 0, halves.BATCH),
            format=FORMATS[values["format"]],
            scaler=scaler,
            seed=seed,
            progress=progress,
            stop=stop,
        )
        wrong = 1 - accuracy(net, self.data.validation)
        counts = scaler.skipped, done.steps, done.stopped
        self.runs.append(HalfRun(values["format"], exponent, seed, wrong, *counts))


def nearest_power(scale: float) -> int:
    """The exponent of the nearest power of two.

    >>> nearest_power(1024), nearest_power(0.26), nearest_power(100_000)
    (10, -2, 17)
    """
    return round(math.log2(scale))


def _below_normal(counts: np.ndarray, format: Format, exponent: int) -> float:
    """The fraction below the least normal number, which is where a bin begins."""
    edges = np.log2(halves.EDGES) + exponent
    end = int(np.searchsorted(edges, math.log2(format.least_normal) - 1e-6))
    return float(counts[:end].sum() / counts.sum())

"""What chapter 10's explorer computes of weights in few bits: rounding, a unit, and errors."""

import itertools
import threading
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrink.chapters.few_bits import networks, trainings
from shrink.chapters.few_bits.rounding_lab import Mine, Reference, Rounder, highest
from shrink.chapters.few_bits.unit_lab import IMAGES, Unit, UnitTraining, three_weights
from shrink.chapters.few_bits.weights_view import Run, Staircase, WeightsView
from shrink.classroom.data import Dataset
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.explorers.memory import Memory
from shrink.classroom.progress import Progress
from shrink.classroom.training import accuracy
from shrink.quantization import aware

PER = ("layer", "channel")
POINTS = 401  # of the staircase
BINS = 61  # of the histogram
WIDE = 4  # standard deviations of the weights that the axis reaches at least
ROOM = 1.3  # times the range of the integers that it reaches at least
NEW_SEEDS = 100  # from here on, of what the button trains


class WeightsLab:
    """The weights of fc1, one of its units, and what was trained beforehand."""

    def __init__(self, dataset: Dataset, exercise: Exercise | None, seeds: tuple[int, ...]) -> None:
        self.data, self.exercise, self.seeds = dataset, exercise, seeds
        net = networks.folded(dataset, seeds[0])
        self.layer = net.fc1.weight.detach().cpu()
        largest = self.layer.abs().amax(1)
        self.channel = self.layer[int(largest.argsort()[len(largest) // 2])]  # in the middle
        self.unit = Unit(self.channel, dataset.train.images[:IMAGES].flatten(1).cpu())
        floats = [trainings.outcomes(dataset, trainings.WAYS[0], seed) for seed in seeds]
        self.whole = 100 * float(np.mean([of[trainings.BITS[0]].floats for of in floats]))
        self.errors = {per: self._errors(per == "channel") for per in PER}
        self.runs: list[Run] = []
        starts = itertools.product(trainings.BITS, aware.SCALES[:2], PER)
        self._scales = {start: self._scale(*start) for start in starts}
        self._sorted = {per: np.sort(self._weights(per).numpy().ravel()) for per in PER}
        self._trained = Memory(50)

    def view(self, bits: int, scale: str, per: str, clip: bool, mine: bool) -> WeightsView:
        """Everything the figure shows of a setting of the controls.

        Raises:
            ExerciseError: `mine`, and there is no answer yet, or it gives no rounded numbers.
        """
        step = self._scales[bits, "fixed" if scale == "learned" else scale, per]
        rounder = Mine(bits, self.exercise) if mine else Reference(bits, clip)
        unit = self._train_unit(rounder, bits, scale, per, step)
        stairs = self._stairs(rounder, bits, scale, per, step)
        counts = self._counted(per, np.linspace(-stairs.reach, stairs.reach, BINS + 1))
        end = float(step) * highest(bits)
        zeros = float(step) / 2 if bits > 1 else 0
        return WeightsView(
            bits=bits,
            scale=scale,
            per=per,
            clip=clip,
            mine=mine,
            step=float(step),
            stairs=stairs,
            counts=counts,
            size=len(self._sorted[per]),
            zeros=self._share_within(per, zeros),
            beyond=1 - self._share_within(per, end),
            unit=unit,
            drawn=three_weights(unit),
            bits_of=trainings.BITS,
            errors=self.errors[per],
            whole=self.whole,
            images=len(self.data.validation),
            runs=tuple(self.runs),
        )

    def _errors(self, per_channel: bool) -> dict[str, np.ndarray]:
        """What is prepared of the ways, in %: (seeds, bits) each."""
        found = {}
        for way, bits in trainings.PREPARED[networks.LENET, per_channel].items():
            asked = partial(trainings.outcomes, self.data, way, per_channel=per_channel)
            by_seed = [asked(seed) for seed in self.seeds]
            found[way] = 100 * np.array([[of[b].error for b in bits] for of in by_seed])
        return found

    # --- rounding --------------------------------------------------------------------------

    def _weights(self, per: str) -> Tensor:
        return self.layer if per == "layer" else self.channel

    def _scale(self, bits: int, scale: str, per: str) -> Tensor:
        """The scale before training, (), as training aware of it begins."""
        weight = self._weights(per)
        return aware.UniformWeights(weight, bits, scale=scale).integers(weight)[1].detach()

    def _stairs(self, rounder: Rounder, bits: int, scale: str, per: str, step: Tensor) -> Staircase:
        spread = float(self._weights(per).std())
        reach = max(ROOM * float(step) * highest(bits), WIDE * spread)
        latent = torch.linspace(-reach, reach, POINTS)
        rounded, back = rounder(latent, step)
        gradient, _ = back(torch.ones(POINTS))
        by_scale = None
        if scale == "learned":
            q, inside = rounded / step, (latent / step).abs() <= highest(bits)
            by_scale = (q if bits == 1 else q - latent / step * inside).numpy()
        return Staircase(latent.numpy(), rounded.numpy(), gradient.numpy(), by_scale)

    def _counted(self, per: str, edges: np.ndarray) -> np.ndarray:
        """How many weights are in each bin."""
        return np.diff(np.searchsorted(self._sorted[per], edges.astype(np.float32)))

    def _share_within(self, per: str, end: float) -> float:
        """The share of weights from -end to end."""
        weights, end = self._sorted[per], np.float32(end)
        if end == 0:
            return 0.0
        low, high = np.searchsorted(weights, -end), np.searchsorted(weights, end, side="right")
        return float(high - low) / len(weights)

    def _train_unit(
        self, rounder: Rounder, bits: int, scale: str, per: str, step: Tensor
    ) -> UnitTraining:
        follow = partial(self._follow, bits) if (scale, per) == ("follows", "channel") else None
        make = partial(self.unit.train, rounder, step, scale == "learned", follow)
        if isinstance(rounder, Mine):
            return make()
        return self._trained.once((rounder, scale, per), make)

    @staticmethod
    def _follow(bits: int, weight: Tensor) -> Tensor:
        """The scale of a unit that follows its weights."""
        if bits == 1:
            return weight.abs().mean()
        return weight.abs().max() / highest(bits)

    # --- what the button does --------------------------------------------------------------

    def work(self, values: dict[str, Any], stop: threading.Event, progress: Progress) -> None:
        """Train the network in the bits on show; the run is kept, also when stopped."""
        bits, scale, per = values["bits"], values["scale"], values["per"]
        seed = NEW_SEEDS + len(self.runs)
        net = networks.folded(self.data, self.seeds[0])
        how = networks.options(scale, bits, per == "channel")
        net = aware.prepare(net, in_place=True, **how)
        done = networks.take_steps(net, self.data, seed, progress=progress, stop=stop)
        wrong = 1 - accuracy(net, self.data.validation)
        self.runs.append(Run(bits, scale, per, seed, wrong, done.steps, done.stopped))

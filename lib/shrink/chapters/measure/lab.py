"""What chapter 01's explorer computes and measures: energies, bytes, and times on this machine."""

import math
import threading
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from shrink import cost, latency
from shrink.chapters.measure.view import BATCHES, KB, MEMORIES, Measured, View
from shrink.classroom import models
from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.progress import Progress, new_bar
from shrink.cost import Energy, Layer
from shrink.latency import Latency, Roofs

NETWORKS = {"LeNet-300-100": "lenet-300-100", "LeNet-5": "lenet-5"}  # as shown → as built
RUNS, ROUNDS = (2, 9), 6  # warm-up and timed: so few that all of it takes some seconds
HASTY, PATIENCE = (1, 3), 5.0  # fewer runs after so many seconds: the machine is busy elsewhere
STEPS = 1 + 2 * len(NETWORKS) * len(BATCHES)


class MeasureLab:
    """The networks behind the explorer: counted once, and measured at the start and when asked."""

    def __init__(
        self, exercise: Exercise | None, device: torch.device, roofs: Roofs | None = None
    ) -> None:
        self.exercise, self.device = exercise, device
        self.nets = {shown: models.build(n, seed=0).to(device) for shown, n in NETWORKS.items()}
        self.layers = {n: cost.layers(net, self._images(1)) for n, net in self.nets.items()}
        with new_bar("measuring this machine", total=STEPS) as bar:
            self.measured = self._measure(
                threading.Event(), lambda done, total: bar.update(), roofs
            )

    def _images(self, batch: int) -> torch.Tensor:
        noise = torch.rand(batch, 1, 28, 28, generator=torch.Generator().manual_seed(0))
        return noise.to(self.device)

    def _measure(
        self, stop: threading.Event, progress: Progress, roofs: Roofs | None = None
    ) -> Measured | None:
        """Roofs (if not given) and networks, measured afresh; None when stopped on the way."""
        layers: dict[tuple[str, int], dict[str, Latency]] = {}
        whole: dict[tuple[str, int], Latency] = {}
        began = time.monotonic()
        roofs = roofs or latency.measure_roofs(self.device, rounds=ROUNDS)
        progress(1, STEPS)
        for model, net in self.nets.items():
            for batch in BATCHES:
                images = self._images(batch)
                for found, measure in (
                    (layers, latency.layer_latencies),
                    (whole, latency.latency),
                ):
                    if stop.is_set():
                        return None
                    late = time.monotonic() - began > PATIENCE
                    found[model, batch] = measure(net, images, *(HASTY if late else RUNS))
                    progress(1 + len(layers) + len(whole), STEPS)
        return None if stop.is_set() else Measured(roofs, layers, whole)

    def measure_again(
        self, values: dict[str, Any], stop: threading.Event, progress: Progress
    ) -> None:
        """Replace the measurements, all of them at once; if stopped on the way, keep the old."""
        self.measured = self._measure(stop, progress) or self.measured

    def energies(
        self, model: str, memory: float, batch: int, bits: int, source: str
    ) -> list[Energy]:
        """The estimate for each layer, with `memory` KB on chip: the library's or the student's."""
        network, on_chip = self.layers[model], memory * KB
        if source != "mine":
            return cost.energy(network, on_chip, batch, bits)
        mine = self.exercise.mine
        return cost.energy(network, on_chip, batch, bits, by=lambda *args: as_energy(mine(*args)))

    def view(
        self, memory: float, batch: float, bits: int, model: str, source: str = "reference"
    ) -> View:
        """Everything the figure shows; `memory` is in KB."""
        batch, network, measured = round(batch), self.layers[model], self.measured
        nearest = min(BATCHES, key=lambda b: abs(math.log2(b / batch)))
        hungriest = max(network, key=lambda layer: layer.inputs + layer.outputs)
        parameters = sum(layer.parameters for layer in network)
        room = memory * KB * 8 // bits
        kept = sum(kept for _, kept in cost.share_room(network, room, batch))
        total = sum_up(self.energies(model, memory, batch, bits, source))
        curve = [sum_up(self.energies(model, m, batch, bits, source)) for m in MEMORIES]
        return View(
            model=model,
            memory=memory,
            batch=batch,
            bits=bits,
            mine=source == "mine",
            total=total,
            curve=np.array([(e.arithmetic, e.sram, e.dram, e.total) for e in curve]).T,
            parameter_bytes=parameters * bits / 8,
            live_bytes=batch * (hungriest.inputs + hungriest.outputs) * bits / 8,
            hungriest=hungriest.name,
            stays=kept / parameters,
            roofs=measured.roofs,
            nearest=nearest,
            points={layer.name: self._points(measured, model, layer) for layer in network},
            whole=measured.whole[model, nearest],
        )

    def _points(self, measured: Measured, model: str, layer: Layer) -> np.ndarray:
        """(2, batches): operations per byte in float32, and operations a second as measured."""
        seconds = [measured.layers[model, b][layer.name].median for b in BATCHES]
        return np.array(
            [
                [cost.intensity(layer, b) for b in BATCHES],
                [2 * layer.macs * b / s for b, s in zip(BATCHES, seconds, strict=True)],
            ]
        )


def sum_up(energies: Sequence[Energy]) -> Energy:
    return sum(energies, start=Energy(0, 0, 0))


def as_energy(answer: object) -> Energy:
    """What a student's function gave: an `Energy`, or three numbers in its order.

    Raises:
        ExerciseError: it is neither.
    """
    names = ("arithmetic", "sram", "dram")
    try:
        named = all(hasattr(answer, name) for name in names)
        numbers = [float(n) for n in ([getattr(answer, n) for n in names] if named else answer)]
    except (TypeError, ValueError):
        numbers = []
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ExerciseError(
            "layer_energy gives three numbers in pJ, (arithmetic, sram, dram); "
            f"yours gave {answer!r}"
        )
    return Energy(*numbers)

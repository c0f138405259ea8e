"""Chapter 01's explorer on a machine whose clock is told what to say."""

import dataclasses

from shrink import latency
from shrink.chapters import measure as exercises
from shrink.chapters.measure import explorer
from shrink.latency import Latency, Roofs
from tests.chapters.small import Small

ROOFS = Roofs(flops=100e9, memory=20e9, cache=60e9, threads=2, device="cpu")
EXERCISES = (exercises.layer_energy,)


class Machine:
    """Stands in for the clock: each measurement takes no time, and gives what it is told to."""

    def __init__(self, factor=1.0):
        self.factor, self.calls, self.on_call = factor, [], lambda: None

    def stand_in(self, patch):
        patch.setattr(latency, "layer_latencies", self.layers)
        patch.setattr(latency, "latency", self.whole)
        patch.setattr(latency, "measure_roofs", self.roofs)

    def _latency(self, seconds, batch, runs):
        seconds *= self.factor
        return Latency(0.9 * seconds, seconds, 1.2 * seconds, runs, batch, 2, "cpu")

    def layers(self, model, images, warm_up, runs):
        self.calls.append(("layers", len(images), warm_up, runs))
        self.on_call()
        names = [name for name, _ in model.named_children()]
        batch = len(images)
        return {n: self._latency(1e-5 * (i + batch), batch, runs) for i, n in enumerate(names)}

    def whole(self, model, images, warm_up, runs):
        self.calls.append(("whole", len(images), warm_up, runs))
        self.on_call()
        return self._latency(1e-4 * len(images) ** 0.5, len(images), runs)

    def roofs(self, device, rounds):
        self.calls.append(("roofs", str(device), rounds))
        return dataclasses.replace(ROOFS, flops=ROOFS.flops / self.factor)


def prepare(patch):
    """Measured again, the machine does half of what the roofs that were given say."""
    Machine(factor=2.0).stand_in(patch)


EXPLORERS = (
    Small(
        "costs",
        prepare,
        lambda _: explorer.explore_costs(*EXERCISES, device="cpu", roofs=ROOFS),
        EXERCISES,
        alone=lambda _: explorer.explore_costs(device="cpu", roofs=ROOFS),
        runs="",
    ),
)

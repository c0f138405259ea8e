"""Networks of one hidden layer, from one unit to 2,048: what is counted, and what it takes here."""

from dataclasses import dataclass

import torch
from torch import nn

from shrink.chapters.measure.view import number, share
from shrink.classroom.explorers.memory import Memory
from shrink.latency import Latency, latency
from shrink.modes import seeded

MOST = 2048  # units
INPUTS, OUTPUTS = 784, 10
RUNS = 5, 40  # of each network: warm-up, and timed


@dataclass(frozen=True)
class UnitsView:
    """One network beside the largest one."""

    units: int
    macs: int  # for one image, counted
    time: Latency  # of one image, measured
    macs_share: float  # of the largest network's
    time_share: float


class UnitsLab:
    """Counts and times the networks of the slider; each is timed once, those of its stops at once.

    Args:
        device: to measure on.
    """

    def __init__(self, device: torch.device) -> None:
        self._image = torch.zeros(1, INPUTS, device=device)
        self._times = Memory(MOST)
        for power in range(MOST.bit_length()):
            self._time(2**power)

    def view(self, units: float) -> UnitsView:
        """What the figure shows."""
        units = round(units)
        time = self._time(units)
        return UnitsView(
            units, macs(units), time, units / MOST, time.median / self._time(MOST).median
        )

    def _time(self, units: int) -> Latency:
        return self._times.once(units, lambda: latency(self._network(units), self._image, *RUNS))

    def _network(self, units: int) -> nn.Module:
        with seeded(0):
            layers = nn.Linear(INPUTS, units), nn.ReLU(), nn.Linear(units, OUTPUTS)
        return nn.Sequential(*layers).to(self._image.device)


def macs(units: int) -> int:
    """The multiply-accumulates for one image: one for each weight.

    >>> macs(300)
    238200
    """
    return units * (INPUTS + OUTPUTS)


def describe(view: UnitsView) -> str:
    """What the figure shows, for those who do not see it."""
    return (
        f"Two bars, with {view.units:,} of {MOST:,} units: multiply-accumulates "
        f"{share(view.macs_share)} of those of the largest network, time {share(view.time_share)}."
    )


def summarise(view: UnitsView) -> str:
    """The numbers of the view in words."""
    low, median, high = (1e6 * t for t in (view.time.low, view.time.median, view.time.high))
    return (
        f"<b>{view.units:,} unit{'s' * (view.units != 1)}</b>: {view.macs:,} multiply-accumulates "
        f"for one image, counted: <b>{share(view.macs_share)}</b> of those with {MOST:,} units. "
        f"<b>{number(median)} µs</b>, measured here ({number(low)} to {number(high)}): "
        f"<b>{share(view.time_share)}</b>."
    )

"""What a setting of chapter 01's explorer shows, and how it is said in words."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from shrink.cost import Energy
from shrink.latency import Latency, Roofs

KB = 1024  # bytes, in this chapter
BATCHES = tuple(2**i for i in range(9))  # measured
MEMORIES = 2 ** np.arange(3, 12.125, 0.125)  # KB: the estimate is drawn over them
MICRO = 1e6  # pJ in a µJ


@dataclass(frozen=True)
class Measured:
    """What this machine took in float32: layers and whole networks by (model, batch)."""

    roofs: Roofs
    layers: Mapping[tuple[str, int], Mapping[str, Latency]]
    whole: Mapping[tuple[str, int], Latency]


@dataclass(frozen=True)
class View:
    """What the figure shows for one setting of the controls. Energies are estimates, in pJ."""

    model: str
    memory: float  # KB on chip
    batch: int
    bits: int
    mine: bool  # whether the energies are the student's
    total: Energy  # for one image
    curve: np.ndarray  # (4, len(MEMORIES)): arithmetic, SRAM, DRAM, total
    parameter_bytes: float
    live_bytes: float  # inputs and outputs of the hungriest layer, for the whole batch
    hungriest: str
    stays: float  # the fraction of the parameters that stays on chip
    roofs: Roofs  # measured
    nearest: int  # the measured batch nearest to the one asked for
    points: dict[str, np.ndarray]  # layer → (2, len(BATCHES)): operations per byte, a second
    whole: Latency  # of the nearest batch, measured


def summarise(view: View) -> str:
    """The numbers of the view in words."""
    return f"{_of_estimate(view)}<br>{_of_measurement(view)}"


def _of_estimate(view: View) -> str:
    parts = view.total
    dram = f" ({share(parts.dram / parts.total)})" if parts.total > 0 else ""
    return (
        f"<b>Estimated</b>{' by your layer_energy' * view.mine}: "
        f"an image of a batch of {view.batch}, numbers of {view.bits} bit{'s' * (view.bits > 1)}: "
        f"<b>{number(parts.total / MICRO)} µJ</b>, of which arithmetic "
        f"{number(parts.arithmetic / MICRO)}, SRAM {number(parts.sram / MICRO)} and DRAM "
        f"{number(parts.dram / MICRO)}{dram}. "
        f"Of {number(view.parameter_bytes / KB)} KB of parameters {share(view.stays)} stay on chip."
    )


def _of_measurement(view: View) -> str:
    whole = view.whole
    near = f", the nearest to {view.batch}" * (whole.batch != view.batch)
    low, median, high = (1e6 * t / whole.batch for t in (whole.low, whole.median, whole.high))
    other = " The measurement stays in float32 whatever the bits." * (view.bits != 32)
    return (
        f"<b>Measured here:</b> "
        f"<b>{number(median)} µs</b> an image ({number(low)} to {number(high)}) for {view.model} "
        f"in float32, batch {whole.batch}{near}, {whole.conditions}. "
        f"At best {number(view.roofs.flops / 1e9)} billion operations a second, and "
        f"{number(view.roofs.memory / 1e9)} billion bytes from memory.{other}"
    )


def describe(view: View) -> str:
    """What the figure shows, for those who do not see it."""
    e, here = view.total, BATCHES.index(view.nearest)
    parts = {"arithmetic": e.arithmetic, "SRAM": e.sram, "DRAM": e.dram}
    curve = ", ".join(f"{name} {number(energy / MICRO)}" for name, energy in parts.items())
    points = ", ".join(
        f"{name} {number(rate[here] / 1e9)} at {number(intensity[here])}"
        for name, (intensity, rate) in view.points.items()
    )
    parameters, live = number(view.parameter_bytes / KB), number(view.live_bytes / KB)
    return (
        f"Estimated energy of an image over the memory on chip, at {number(view.memory)} KB "
        f"{number(e.total / MICRO)} µJ: {curve}. Counted: {parameters} KB of parameters, "
        f"{share(view.stays)} of them on chip, and {live} KB of inputs and outputs of "
        f"{view.hungriest}. Measured at batch {view.nearest}, in "
        f"billion operations a second at operations per byte: {points}; the roof of arithmetic is "
        f"at {number(view.roofs.flops / 1e9)}."
    )


def number(value: float) -> str:
    """Three digits, and no exponent where it can be helped.

    >>> number(1684.2), number(1.2241), number(0.02748), number(0)
    ('1,684', '1.22', '0.0275', '0')
    """
    return f"{value:,.0f}" if 100 <= abs(value) < 1e7 else f"{value:.3g}"


def share(fraction: float) -> str:
    """A percentage that says 0 or 100 only where it is.

    >>> share(0.9996), share(1), share(0.0546), share(0.00003)
    ('99.9 %', '100 %', '5.5 %', '0.1 %')
    """
    tenths = round(1000 * fraction)
    tenths = 999 if fraction < 1 and tenths >= 1000 else max(tenths, 1) if fraction > 0 else tenths
    return f"{tenths / 10:g} %"

"""What a stop of a slider costs us: the processor time of compute, draw and encode, no browser."""

import os
import time
from collections.abc import Callable, Iterator

import ipywidgets as widgets
import numpy as np
import torch

from shrink import sharing
from shrink.chapters.code.explorer import explore_coding
from shrink.chapters.code.file_explorer import explore_file
from shrink.chapters.distil.explorer import explore_distillation
from shrink.chapters.few_bits.explorer import explore_few_bits
from shrink.chapters.measure.explorer import explore_costs
from shrink.chapters.measure.units_explorer import explore_units
from shrink.chapters.mixed.explorer import explore_mixed
from shrink.chapters.prune.explorer import explore_pruning
from shrink.chapters.quantize.explorer import explore_quantization
from shrink.chapters.saliency.explorer import explore_saliency
from shrink.chapters.share.explorer import explore_sharing
from shrink.chapters.structure.explorer import explore_structure
from shrink.chapters.tickets.explorer import explore_tickets
from shrink.classroom import baselines, models
from shrink.classroom.data import Dataset, load
from shrink.classroom.explorers import ahead
from shrink.classroom.explorers.controls import SLIDERS, put
from shrink.classroom.explorers.explorer import Explorer
from shrink.coding import codec
from shrink.latency import Roofs
from shrink.start.explorer import explore
from tests.bench.rows import Row, goal

PATIENCE = 30  # ms of processor time, 95 of 100 times
STOPS = 30  # of a slider at most, each way and in jumps
ROOFS = Roofs(flops=100e9, memory=20e9, cache=60e9, threads=1, device="cpu")


def explorers() -> Iterator[Row]:
    """Each slider of each explorer on glyphs: stop by stop from where it begins, and in jumps.

    No stop is visited twice. Stop by stop, the next is prepared before the slider comes to it, as
    for a student who looks at each picture; for jumps nothing is prepared.
    """
    os.environ["SHRINK_DATASET"] = "glyphs"
    data = load()
    for name, make in EXPLORERS.items():
        explorer = make(data)
        for slider in _sliders(explorer):
            steps, jumps = _steps(explorer, slider), _jumps(explorer, slider)
            p95 = float(np.percentile(steps, 95))
            yield Row(
                f"explorer of {name}, {slider}, processor time of a stop, p95",
                f"{p95:.0f} ms",
                f"median {np.median(steps):.0f} ms; jumps {np.median(jumps):.0f} ms, "
                f"p95 {np.percentile(jumps, 95):.0f} ms",
                ", ".join(goal(p95, PATIENCE, "ms")),
            )


def _sliders(explorer: Explorer) -> list[str]:
    every = explorer.controls.items()
    return [n for n, control in every if isinstance(control, SLIDERS) and n not in explorer.hidden]


def _steps(explorer: Explorer, name: str) -> list[float]:
    """Milliseconds of each stop to the right of where the slider begins, and then to the left."""
    control = explorer.controls[name]
    first, stops = control.value, _stops(control)
    here = int(np.abs(np.array(stops) - first).argmin())
    found = []
    for way in (stops[here + 1 :], stops[:here][::-1]):
        for stop in way[:STOPS]:
            explorer.results.wait(60)
            found.append(_moved(explorer, control, stop))
        put(control, first)  # a move, from which the next stop of each other slider is prepared
    return found


def _jumps(explorer: Explorer, name: str) -> list[float]:
    """Milliseconds of stops all over the slider, which then goes back."""
    control = explorer.controls[name]
    first, stops = control.value, _stops(control)
    some = np.unique(np.linspace(0, len(stops) - 1, STOPS).round().astype(int))
    explorer.results.forget()
    before, ahead.STOPS = ahead.STOPS, 0
    chosen = np.random.default_rng(0).permutation(some)
    found = [_moved(explorer, control, stops[i]) for i in chosen if stops[i] != control.value]
    ahead.STOPS = before
    put(control, first)
    return found


def _moved(explorer: Explorer, control: widgets.Widget, value: float) -> float:
    redraws, began = explorer.redraws, time.thread_time()
    put(control, value)
    milliseconds = 1000 * (time.thread_time() - began)
    assert explorer.redraws > redraws and explorer.error is None, value
    return milliseconds


def _stops(slider: widgets.Widget) -> list:
    places = [slider.min + slider.step * i for i in range(_last(slider) + 1)]
    if isinstance(slider, widgets.FloatLogSlider):
        return [slider.base**place for place in places]
    return [type(slider.value)(f"{place:.12g}") for place in places]


def _last(slider: widgets.Widget) -> int:
    return round((slider.max - slider.min) / slider.step)


def _explore_file(data: Dataset) -> Explorer:
    net = baselines.pruned_baseline("lenet-300-100", data)
    shared = {name: sharing.share(w, 32) for name, w in models.weights(net).items()}
    return explore_file(codec.encode(net.state_dict() | shared, code="huffman"), data)


def _asked(explorer: Explorer, question: str) -> Explorer:
    """The explorer with this question asked."""
    explorer.move(question=question)
    return explorer


def _kernel(data: Dataset) -> Explorer:
    explorer = explore_mixed(data)
    explorer.move(scene="one kernel", rounded="by rank")
    return explorer


def _halves(data: Dataset) -> Explorer:
    explorer = explore_few_bits(data)
    explorer.move(scene="halves")
    return explorer


EXPLORERS: dict[str, Callable[[Dataset], Explorer]] = {
    "the start page": lambda _: explore(),
    "chapter 01, units": lambda _: explore_units("cpu"),
    "chapter 01": lambda _: explore_costs(device=torch.device("cpu"), roofs=ROOFS),
    "chapter 02": explore_pruning,
    "chapter 03": explore_quantization,
    "chapter 04": explore_sharing,
    "chapter 05": explore_coding,
    "chapter 05, the file": _explore_file,
    "chapter 06": explore_distillation,
    "chapter 07": explore_structure,
    "chapter 08, after training": explore_saliency,
    "chapter 08, before training": lambda data: _asked(explore_saliency(data), "before training"),
    "chapter 09, how it learns": explore_tickets,
    "chapter 09, which weights": lambda data: _asked(explore_tickets(data), "which weights"),
    "chapter 10, weights in few bits": explore_few_bits,
    "chapter 10, halves": _halves,
    "chapter 11, bits by layer": explore_mixed,
    "chapter 11, one kernel": _kernel,
}

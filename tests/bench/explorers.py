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
from shrink.chapters.measure.explorer import explore_costs
from shrink.chapters.prune.explorer import explore_pruning
from shrink.chapters.quantize.explorer import explore_quantization
from shrink.chapters.share.explorer import explore_sharing
from shrink.classroom import baselines, models
from shrink.classroom.data import Dataset, load
from shrink.classroom.explorers.controls import SLIDERS, put
from shrink.classroom.explorers.explorer import Explorer
from shrink.coding import codec
from shrink.latency import Roofs
from tests.bench.rows import Row, goal

PATIENCE = 30  # ms of processor time, 95 of 100 times
STOPS = 60  # of a slider at most, over its whole length
ROOFS = Roofs(flops=100e9, memory=20e9, cache=60e9, threads=1, device="cpu")


def explorers() -> Iterator[Row]:
    """Each slider of each explorer on glyphs, over its stops, each of them visited first here."""
    os.environ["SHRINK_DATASET"] = "glyphs"
    data = load()
    for name, make in EXPLORERS.items():
        explorer = make(data)
        for slider in _sliders(explorer):
            computed, whole = _over_its_stops(explorer, slider)
            p95 = float(np.percentile(whole, 95))
            yield Row(
                f"explorer of chapter {name}, a stop of {slider}, processor time at p95",
                f"{p95:.0f} ms",
                f"median {np.median(whole):.0f} ms, of which {np.median(computed):.0f} compute",
                ", ".join(goal(p95, PATIENCE, "ms")),
            )


def _sliders(explorer: Explorer) -> list[str]:
    every = explorer.controls.items()
    return [n for n, control in every if isinstance(control, SLIDERS) and n not in explorer.hidden]


def _over_its_stops(explorer: Explorer, name: str) -> tuple[list[float], list[float]]:
    """Milliseconds of computing and of all together, at each stop; the slider goes back then."""
    control, compute = explorer.controls[name], explorer.results._compute
    first, computed, whole = control.value, [], []

    def timed(**values: object) -> object:
        began = time.thread_time()
        result = compute(**values)
        computed.append(1000 * (time.thread_time() - began))
        return result

    explorer.results._compute = timed
    for value in _stops(control):
        redraws, began = explorer.redraws, time.thread_time()
        put(control, value)
        if explorer.redraws > redraws:  # it was there before
            whole.append(1000 * (time.thread_time() - began))
        assert explorer.error is None, (name, value)
    explorer.results._compute = compute
    put(control, first)
    return computed, whole


def _stops(slider: widgets.Widget) -> list:
    steps = round((slider.max - slider.min) / slider.step)
    places = np.unique(np.linspace(0, steps, min(steps + 1, STOPS)).round())
    places = [slider.min + slider.step * int(place) for place in places]
    if isinstance(slider, widgets.FloatLogSlider):
        return [slider.base**place for place in places]
    return places


def _explore_file(data: Dataset) -> Explorer:
    net = baselines.pruned_baseline("lenet-300-100", data)
    shared = {name: sharing.share(w, 32) for name, w in models.weights(net).items()}
    return explore_file(codec.encode(net.state_dict() | shared, code="huffman"), data)


EXPLORERS: dict[str, Callable[[Dataset], Explorer]] = {
    "01": lambda _: explore_costs(device=torch.device("cpu"), roofs=ROOFS),
    "02": explore_pruning,
    "03": explore_quantization,
    "04": explore_sharing,
    "05": explore_coding,
    "05, the file": _explore_file,
    "06": explore_distillation,
}

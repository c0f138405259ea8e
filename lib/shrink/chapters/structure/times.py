"""What chapter 07's explorer measures on the machine at hand: convolutions and networks."""

import threading
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from shrink.chapters.structure.view import CHANNELS, WIDTHS, Times
from shrink.classroom.progress import Progress
from shrink.latency import latency
from shrink.modes import seeded

SIDE, IMAGES = 14, 16  # of what the convolution is asked
BATCHES = (1, 64)  # of what the networks are
ROUNDS = 20  # everything takes its turn in each, so that a busy moment spoils one of twenty

Timed = tuple[nn.Module, Tensor]


def measure_times(
    nets: Mapping[str, nn.Module],
    share: float,
    images: Tensor,
    stop: threading.Event,
    progress: Progress,
) -> Times | None:
    """The times of a convolution of each of WIDTHS, and of the networks "whole" and "small".

    Each is the fastest of ROUNDS calls. `share` is that of the small network's channels. None if it
    was stopped.
    """
    timed = _convolutions(images.device)
    for name, net in nets.items():
        for batch in BATCHES:
            timed[name, batch] = net, images[:batch]
    keys, seconds = [*timed], {key: [] for key in timed}
    total = (ROUNDS + 1) * len(keys)
    for done in range(total):
        if stop.is_set():
            return None
        key = keys[done % len(keys)]
        found = latency(*timed[key], warm_up=0, runs=1)
        if done >= len(keys):  # the first round warms up
            seconds[key].append(found.median)
        progress(done + 1, total)
    best = {key: min(times) for key, times in seconds.items()}
    of = {kind: {n: t for (k, n), t in best.items() if k == kind} for kind, _ in best}
    return Times(**of, share=share, conditions=found.conditions)


def _convolutions(device: torch.device) -> dict[tuple[str, int], Timed]:
    """One of each of WIDTHS, with what it is asked."""
    with seeded(0):  # so that a measurement does not change what a cell draws
        x = torch.rand(IMAGES, CHANNELS, SIDE, SIDE)
        layers = {k: nn.Conv2d(CHANNELS, k, 3, padding=1, bias=False) for k in WIDTHS}
    return {("convolution", k): (layer.to(device), x.to(device)) for k, layer in layers.items()}

"""What latent weights are for, prepared: few of them flip at a step, and without them none does."""

import threading
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from shrink.chapters.few_bits.networks import (
    LENET,
    SECONDS,
    count_steps,
    folded,
    integers,
    made_of,
    moved,
    options,
    take_steps,
)
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset
from shrink.classroom.progress import Progress, bar_progress, new_bar
from shrink.classroom.training import accuracy
from shrink.quantization import aware

WATCHED = 60  # steps, the first ones
WATCHED_WAYS = {1: "follows", 2: "learned"}  # bits → one of `networks.WAYS`


@dataclass(frozen=True)
class Trails:
    """Three weights of fc1 over the first steps, (steps + 1, 3), and its scale, (steps + 1,).

    Of all its weights the first changes its rounded value most often, the second moves furthest of
    those that change it once, and the third of those that never do.
    """

    latent: np.ndarray
    rounded: np.ndarray
    scale: np.ndarray


def trails(dataset: Dataset, bits: int, seed: int = 0) -> Trails:
    """What three latent weights do, and the values they are rounded to; kept.

    Of 1 bit, with a scale that follows them, or of 2 bits, with a learned one. Raises `ValueError`
    for other bits.
    """
    if bits not in WATCHED_WAYS:
        raise ValueError(f"weights of 1 or 2 bits are watched, not of {bits!r}")

    def make() -> dict[str, Tensor]:
        title = f"seed {seed}, {bits} bits, {WATCHED} steps"
        with new_bar(title, seconds=SECONDS[LENET] * WATCHED, unit="step") as bar:
            return _watched(dataset, bits, seed, bar_progress(bar))

    found = kept("few-bits/trails", make, *made_of(dataset, seed), _watched, bits)
    return Trails(*(found[name].numpy() for name in ("latent", "rounded", "scale")))


def _watched(dataset: Dataset, bits: int, seed: int, progress: Progress) -> dict[str, Tensor]:
    net = aware.prepare(folded(dataset, seed), **options(WATCHED_WAYS[bits], bits))
    latent, levels, scales = [], [], []
    enough = threading.Event()

    def watch() -> None:
        q, scale = net.fc1.weight_quantizer.integers(net.fc1.layer.weight)
        latent.append(net.fc1.layer.weight.detach().flatten().clone())
        levels.append(q.flatten().clone())
        scales.append(scale.detach().clone())

    def after(step: int, planned: int) -> None:
        watch()
        progress(step, WATCHED)
        if step == WATCHED:
            enough.set()

    watch()
    take_steps(net, dataset, seed, progress=after, stop=enough)
    w, q, scale = torch.stack(latent), torch.stack(levels), torch.stack(scales)
    changes = (q[1:] != q[:-1]).sum(0)
    way = (w[-1] - w[0]).abs()
    chosen = torch.stack(
        [
            changes.argmax(),
            torch.where(changes == 1, way, -1).argmax(),
            torch.where(changes == 0, way, -1).argmax(),
        ]
    )
    return {"latent": w[:, chosen], "rounded": q[:, chosen] * scale[:, None], "scale": scale}


@dataclass(frozen=True)
class WithoutLatents:
    """Fractions: what it gets wrong before and after the steps, and the signs that have flipped."""

    before: float
    error: float
    flipped: float


def without_latents(dataset: Dataset, seed: int) -> WithoutLatents:
    """What comes of signs and their scale if every step's result is rounded and stored; kept."""

    def make() -> dict[str, Tensor]:
        total = count_steps(dataset)
        title = f"seed {seed}, signs without latent weights"
        with new_bar(title, seconds=SECONDS[LENET] * total, total=total, unit="step") as bar:
            found = _without_latents(dataset, seed, bar_progress(bar))
        return {"found": torch.tensor(found, dtype=torch.float64)}

    found = kept("few-bits/without-latents", make, *made_of(dataset, seed), _without_latents)
    return WithoutLatents(*found["found"].tolist())


def _without_latents(dataset: Dataset, seed: int, progress: Progress) -> list[float]:
    net = aware.prepare(folded(dataset, seed), **options("fixed", bits=1))
    layers = list(aware.aware_layers(net).values())
    _store_rounded(layers)
    before, start = 1 - accuracy(net, dataset.validation), integers(net)

    def after(step: int, planned: int) -> None:
        _store_rounded(layers)
        progress(step, planned)

    take_steps(net, dataset, seed, progress=after)
    return [before, 1 - accuracy(net, dataset.validation), moved(start, integers(net))]


@torch.no_grad()
def _store_rounded(layers: list[nn.Module]) -> None:
    for part in layers:
        part.layer.weight.copy_(part.weight_quantizer(part.layer.weight))

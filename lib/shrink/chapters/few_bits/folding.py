"""A network whose batch norms are folded after it was trained aware of few bits, prepared."""

from dataclasses import dataclass

import torch
from torch import Tensor

from shrink.chapters.few_bits.networks import SECONDS, count_steps, made_of, options, take_steps
from shrink.classroom.baselines import baseline
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset
from shrink.classroom.progress import Progress, bar_progress, new_bar
from shrink.classroom.training import accuracy
from shrink.quantization import aware
from shrink.quantization.forms import WEIGHTED

NAME = "separable"
PREPARED = ((4, False), (3, True))  # bits, and whether each channel has a scale


@dataclass(frozen=True)
class Folding:
    """Fractions of validation images that are wrong: with the norms apart, and folded."""

    apart: float
    folded: float


def folded_afterwards(dataset: Dataset, bits: int, per_channel: bool, seed: int) -> Folding:
    """What folding does to weights of few bits that were trained while norms stood apart; kept.

    The separable network learns with rounded weights and its batch norms as they are. Then these
    are folded into the rounded weights, which are rounded again, by least squares.

    Raises `ValueError` for what is not `PREPARED`.
    """
    if (bits, per_channel) not in PREPARED:
        per = "channel" if per_channel else "layer"
        raise ValueError(f"{bits!r} bits with one scale per {per} are not prepared")

    def make() -> dict[str, Tensor]:
        total = count_steps(dataset, NAME)
        title = f"seed {seed}, {bits} bits, norms folded afterwards"
        with new_bar(title, seconds=SECONDS[NAME] * total, total=total, unit="step") as bar:
            found = _folded_afterwards(dataset, bits, per_channel, seed, bar_progress(bar))
        return {"found": torch.tensor(found, dtype=torch.float64)}

    parts = (_folded_afterwards, bits, per_channel)
    found = kept("few-bits/folded-afterwards", make, *made_of(dataset, seed, NAME), *parts)
    return Folding(*found["found"].tolist())


def _folded_afterwards(
    dataset: Dataset, bits: int, per_channel: bool, seed: int, progress: Progress
) -> list[float]:
    net = baseline(NAME, dataset, seed=seed)
    for name, layer in list(net.named_modules()):
        if isinstance(layer, WEIGHTED):
            weight = aware.UniformWeights(layer.weight.detach(), bits, per_channel, "learned")
            net.set_submodule(name, aware.AwareLayer(layer, weight))
    take_steps(net, dataset, seed, NAME, progress)
    apart = 1 - accuracy(net, dataset.validation)
    again = aware.prepare(aware.as_plain(net), **options("after training", bits, per_channel))
    return [apart, 1 - accuracy(again.eval(), dataset.validation)]

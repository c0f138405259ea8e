"""Networks of few bits, prepared: what quantizing after training costs, and training gives back.

Each way starts from the trained network of its seed and takes equally many steps, on the same
images in the same order.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor, nn

from shrink.classroom.baselines import baseline, baseline_made_of
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split, key_once
from shrink.classroom.progress import bar_progress, new_bar
from shrink.classroom.training import Recipe, accuracy, train
from shrink.quantization import aware

SEEDS = (0, 1, 2)
BITS = (4, 3, 2, 1)
WAYS = ("after training", "trained on, then rounded", "follows", "fixed", "learned")
TRAINED = 12_000  # training images, the first ones
RECIPE = Recipe(epochs=4, learning_rate=0.02, weight_decay=0)
SECONDS = 2  # a training, on two cores


def error(dataset: Dataset, way: str, bits: int, seed: int, model: str = "lenet-300-100") -> float:
    """The fraction of validation images that a network of few bits gets wrong; kept."""

    def make() -> dict[str, Tensor]:
        with new_bar(f"seed {seed}, {bits} bits, {way}", seconds=SECONDS, unit="step") as bar:
            net = _trained(dataset, way, bits, seed, model, bar_progress(bar))
        wrong = 1 - accuracy(net, dataset.validation)
        return {"error": torch.tensor(wrong, dtype=torch.float64)}

    made_of = (*baseline_made_of(model, dataset, seed), _trained, way, bits, RECIPE)
    splits = key_once(dataset.train), key_once(dataset.validation)
    return float(kept("few-bits/error", make, *splits, *made_of)["error"])


def _trained(
    dataset: Dataset, way: str, bits: int, seed: int, model: str, progress: object
) -> nn.Module:
    net = baseline(model, dataset, seed=seed)
    few = Split(dataset.train.images[:TRAINED], dataset.train.labels[:TRAINED])
    if way == "trained on, then rounded":
        train(net, few, RECIPE, seed=seed, progress=progress)
    if way in WAYS[:2]:
        return aware.prepare(net, weight_bits=bits, scale="fixed").eval()
    net = aware.prepare(net, weight_bits=bits, scale=way)
    train(net, few, RECIPE, seed=seed, progress=progress)
    return net.eval()


def trainings(dataset: Dataset) -> Iterator[partial]:
    """What makes all that the text and the explorer need and that takes long, one by one."""
    for seed in SEEDS:
        for bits in BITS:
            for way in WAYS:
                yield partial(error, dataset, way, bits, seed)

"""What chapter 03's explorer shows without delay: the networks quantized in every way."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor

from shrink.chapters.quantize.network import (
    BATCH,
    IMAGES,
    NAME,
    SEEN,
    UNDISTURBED,
    Network,
    Ranges,
    Setting,
    answers,
    ranges_of,
    see,
    weight_spans,
)
from shrink.chapters.quantize.view import BITS
from shrink.classroom.baselines import baseline, baseline_made_of
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset
from shrink.classroom.progress import new_bar
from shrink.quantization.calibration import METHODS

SEEDS = (0, 1, 2)
SECONDS = 10  # for the sweep of one network


def network(dataset: Dataset, seed: int) -> Network:
    return Network(baseline(NAME, dataset, seed=seed), dataset)


def on_show(dataset: Dataset, net: Network) -> tuple[np.ndarray, dict[tuple[Setting, int], Ranges]]:
    """Of the network on show, undisturbed: the accuracies (settings, bits), and the ranges of the
    layers' inputs by setting and bits, where they are static.
    """

    def make() -> dict[str, Tensor]:
        return _swept(net, dataset, 0)

    asked = (dataset.validation.labels[:IMAGES], net.images, net.inputs[0])
    swept = kept("sweeps/quantize", make, net.state, *asked, *_how())
    ranges = {
        (setting, bits): list(map(tuple, found))
        for setting, of_bits in zip(UNDISTURBED, swept["ranges"].tolist(), strict=True)
        for bits, found in zip(BITS, of_bits, strict=True)
        if setting.by in METHODS
    }
    return swept["right"].numpy(), ranges


def another(dataset: Dataset, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Of the network of another seed: the accuracies (settings, bits), and its answers (images,)
    in float32. The network is made only if need be.
    """

    def make() -> dict[str, Tensor]:
        net = network(dataset, seed)
        plain = torch.from_numpy(net.answers(net.weights))
        return {"right": _swept(net, dataset, seed)["right"], "answers": plain}

    made_of = (*baseline_made_of(NAME, dataset, seed), dataset.validation, IMAGES, SEEN)
    found = kept("sweeps/quantize-another", make, *made_of, *_how())
    return found["right"].numpy(), found["answers"].numpy()


def first_picture(dataset: Dataset) -> None:
    """Make what the chapter needs up to its explorer."""
    on_show(dataset, network(dataset, SEEDS[0]))
    for seed in SEEDS[1:]:
        another(dataset, seed)


def further_cells(dataset: Dataset) -> Iterator[Callable[[], object]]:
    """What makes the things that the cells below the explorer need, one by one."""
    yield partial(baseline, "separable", dataset)
    for seed in SEEDS[1:]:
        yield partial(baseline, NAME, dataset, seed=seed)


def _how() -> tuple[object, ...]:
    return UNDISTURBED, BITS, BATCH, _sweep


def _swept(net: Network, dataset: Dataset, seed: int) -> dict[str, Tensor]:
    title = f"sweeping over bits, seed {seed}"
    with new_bar(title, seconds=SECONDS, total=len(UNDISTURBED)) as bar:
        labels = dataset.validation.labels[:IMAGES].cpu().numpy()
        return _sweep(net, labels, bar.update)


def _sweep(net: Network, labels: np.ndarray, done: Callable[[], object]) -> dict[str, Tensor]:
    """Accuracies "right" (settings, bits), and "ranges" (settings, bits, layers, 2)."""
    shape = (len(UNDISTURBED), len(BITS))
    right, ranges = np.zeros(shape), np.zeros((*shape, len(net.inputs), 2))
    seen = see(net, next(s for s in UNDISTURBED if s.by in METHODS))
    for i, setting in enumerate(UNDISTURBED):
        ends = weight_spans(net, setting) if setting.what == "weights" else None
        for j, bits in enumerate(BITS):
            if setting.by in METHODS:
                ranges[i, j] = ends = ranges_of(seen, setting, bits)
            right[i, j] = (answers(net, setting, bits, ends) == labels).mean()
        done()
    return {"right": torch.from_numpy(right), "ranges": torch.from_numpy(ranges)}

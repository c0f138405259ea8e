"""What chapter 04's explorer shows without delay: networks with any number of values."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
from torch import Tensor

from shrink import sharing
from shrink.chapters.share.network import (
    HOWS,
    IMAGES,
    NAME,
    Network,
    codebooks,
    nearest,
    rebuilt,
    share,
    squared_error,
)
from shrink.chapters.share.tuning import train_shared
from shrink.chapters.share.view import BAND, KS
from shrink.classroom import formats, measure, models
from shrink.classroom.baselines import (
    baseline,
    baseline_made_of,
    pruned_baseline,
    pruned_made_of,
)
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset
from shrink.classroom.progress import new_bar
from shrink.classroom.training import Recipe

KINDS = {"dense": baseline, "pruned": pruned_baseline}
MADE_OF = {"dense": baseline_made_of, "pruned": pruned_made_of}
SEEDS = (0, 1, 2)
# Values a layer that the text trains: their number, the learning rate, what is made of gradients.
TUNED = ((4, 0.001, "sum"), (4, 0.0001, "sum"), (4, 1.0, "mean"), (2, 1.0, "mean"))
SECONDS = 6  # for a sweep over all k

Arrays = dict[str, np.ndarray]


def network(dataset: Dataset, kind: str, seed: int) -> Network:
    """LeNet-300-100, "dense" or "pruned"."""
    net = KINDS[kind](NAME, dataset, seed=seed)
    return Network(net, dataset.validation.images[:IMAGES])


def on_show(net: Network) -> dict[str, Arrays]:
    """By how the values are found, for each k of KS: the "codebooks" (k, layers, 64), filled up
    with NaN, the "errors" (k, layers) and the "answers" (k, images) uint8.
    """
    found = {}
    for how in HOWS:

        def make(how: str = how) -> dict[str, Tensor]:
            title = f"sweeping over k, {how}"
            with new_bar(title, seconds=SECONDS, total=len(KS)) as bar:
                return _sweep(net, how, KS, bar.update)

        made_of = (net.state, net.images, how, KS, _sweep)
        found[how] = _arrays(kept(f"sweeps/share-{how}", make, *made_of))
    return found


def another(dataset: Dataset, kind: str, seed: int) -> Arrays:
    """Of the network of another seed, for each k of BAND and each beginning of k-means, as in
    "linear.errors": the "errors" (k, layers), and how much is "right" (k,); and what "answers" it
    gives as it is, (images,) uint8. The network is made only if need be.
    """

    def make() -> dict[str, Tensor]:
        net, labels = network(dataset, kind, seed), dataset.validation.labels[:IMAGES].cpu().numpy()
        title = f"sweeping over k, seed {seed}"
        steps = len(sharing.INITS) * len(BAND)
        with new_bar(title, seconds=SECONDS, total=steps) as bar:
            return _on_band(net, labels, bar.update)

    made_of = (*MADE_OF[kind](NAME, dataset, seed), dataset.validation, IMAGES, BAND, _on_band)
    return _arrays(kept(f"sweeps/share-another-{kind}", make, *made_of))


def lengths(net: Network, books: np.ndarray) -> np.ndarray:
    """For each k the bytes of the file, and of that of numbers, codebooks and gaps: (k, 4).

    `books` are the codebooks of one beginning; how k-means begins does not matter to the bytes.
    """
    return kept("sweeps/share-bytes", lambda: _lengths(net, books), net.state, books, _lengths)[
        "lengths"
    ].numpy()


def first_picture(dataset: Dataset) -> None:
    """Make what the chapter needs up to its explorer."""
    pruned_baseline(NAME, dataset, seed=SEEDS[0])
    for k, rate, reduction in TUNED:
        model = baseline(NAME, dataset)
        shared = {n: sharing.share(w.detach(), k) for n, w in models.weights(model).items()}
        recipe = Recipe(2, rate, weight_decay=0)
        train_shared(model, shared, dataset.train, recipe, seed=1, reduction=reduction)
    for kind in KINDS:
        net = network(dataset, kind, SEEDS[0])
        lengths(net, on_show(net)[sharing.INITS[0]]["codebooks"])
        for seed in SEEDS[1:]:
            another(dataset, kind, seed)


def further_cells(dataset: Dataset) -> Iterator[Callable[[], object]]:
    """What makes the things that the cells below the explorer need, one by one."""
    for seed in SEEDS[1:]:
        yield partial(pruned_baseline, NAME, dataset, seed=seed)


def _arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _sweep(net: Network, how: str, ks: np.ndarray, done: Callable[[], object]) -> dict[str, Tensor]:
    by_layer = [codebooks(layer.values, how, ks) for layer in net.layers]
    filled = torch.full((len(ks), len(net.layers), int(KS[-1])), torch.nan)
    errors, answers = torch.zeros(len(ks), len(net.layers), dtype=torch.float64), []
    for i in range(len(ks)):
        left = [rebuilt(one, found[i]) for one, found in zip(net.layers, by_layer, strict=True)]
        answers.append(torch.from_numpy(net.answers(left)))
        for j, (layer, found) in enumerate(zip(net.layers, by_layer, strict=True)):
            filled[i, j, : len(found[i])] = found[i].cpu()
            errors[i, j] = squared_error(layer, left[j])
        done()
    return {"codebooks": filled, "errors": errors, "answers": torch.stack(answers)}


def _on_band(net: Network, labels: np.ndarray, done: Callable[[], object]) -> dict[str, Tensor]:
    plain = net.answers([layer.weight for layer in net.layers])
    found = {"answers": torch.from_numpy(plain)}
    for how in sharing.INITS:
        swept = _sweep(net, how, BAND, done)
        right = (swept["answers"].numpy() == labels).mean(-1)
        found |= {f"{how}.errors": swept["errors"], f"{how}.right": torch.from_numpy(right)}
    return found


def _lengths(net: Network, books: np.ndarray) -> dict[str, Tensor]:
    found = []
    for row in books:
        shared = dict(zip(net.names, share(net, row, nearest), strict=True))
        arrays = formats.pack_shared(net.state, shared)
        parts = (
            sum(array.nbytes for name, array in arrays.items() if name.endswith(part))
            for part in ("/numbers", "/codebook", "/gaps")
        )
        found.append([measure.size(arrays), *parts])
    return {"lengths": torch.tensor(found)}

"""What chapter 05's explorer shows without delay: what its network codes at each sparsity."""

import copy
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from shrink import pruning, sharing
from shrink.chapters.code.sizes import GAP_BITS, symbols_of
from shrink.chapters.code.view import TUNED_AT
from shrink.classroom import models
from shrink.classroom.baselines import baseline, pruned_baseline
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split
from shrink.classroom.progress import new_bar
from shrink.classroom.training import predict

NAME = "lenet-300-100"
STOPS = tuple(range(50, 99, 3))  # the slider's: %
NUMBERS = (2, 4, 16, 64)  # besides the zero
SECONDS = 30  # for the sweep


def sweep(dense: nn.Module, tuned: nn.Module, asked: Split) -> dict[int, dict[str, Tensor]]:
    """At each of STOPS: accuracies, and each layer's symbols for each number of values.

    Args:
        dense, tuned: the network that is pruned below `TUNED_AT` %, and the one that was
            fine-tuned there, which is pruned from there on.
        asked: the images that say the accuracy.
    """
    title = "sweeping over sparsity and values"
    with new_bar(title, seconds=SECONDS, total=len(STOPS), delay=1) as bar:  # what ships is quicker
        found = {}
        for stop in STOPS:
            net = dense if stop < TUNED_AT else tuned

            def make(net: nn.Module = net, stop: int = stop) -> dict[str, Tensor]:
                return _measure(net, asked, stop)

            found[stop] = kept(f"sweeps/code-{stop}", make, net, asked, stop, _measure)
            bar.update()
    return found


def first_picture(dataset: Dataset) -> None:
    """Make what the chapter needs up to its explorer."""
    tuned = pruned_baseline(NAME, dataset)
    sweep(baseline(NAME, dataset), tuned, dataset.validation)


def further_cells(dataset: Dataset) -> Iterator[Callable[[], object]]:
    """What makes the things that the cells below the explorer need, one by one."""
    yield from ()


def _measure(net: nn.Module, asked: Split, stop: int) -> dict[str, Tensor]:
    weights = prune(net, stop)
    shared = {k: [sharing.share(w, k) for w in weights.values()] for k in NUMBERS}
    by_values = [
        dict(zip(weights, (part.weight for part in parts), strict=True))
        for parts in shared.values()
    ]
    right = [_accuracy(net, asked, state) for state in (*by_values, weights)]
    found = {"right": torch.tensor(right, dtype=torch.float64)}  # the last: not shared
    names = [name.removesuffix(".weight") for name in weights]
    for k, layers in symbols_of(shared).items():
        for name, layer in zip(names, layers, strict=True):
            found[f"{k}.{name}.codebook"] = layer.codebook
            found[f"{k}.{name}.zero"] = torch.tensor(-1 if layer.zero is None else layer.zero)
            found[f"{k}.{name}.values"] = layer.values
            found[f"{k}.{name}.ans"] = torch.from_numpy(layer.ans)
            if k == NUMBERS[0]:  # the gaps are the same for all
                gaps = zip(GAP_BITS, layer.gaps, strict=False)
                found |= {f"{name}.gaps.{bits}": counts for bits, counts in gaps}
    return found


def prune(net: nn.Module, stop: int) -> dict[str, Tensor]:
    """The weights without `stop` % of them, the smallest of all layers."""
    weights = {name: w.detach() for name, w in models.weights(net).items()}
    return pruning.apply_masks(weights, pruning.global_masks(weights, stop / 100))


def _accuracy(net: nn.Module, asked: Split, weights: dict[str, Tensor]) -> float:
    changed = copy.deepcopy(net)
    changed.load_state_dict(weights, strict=False)
    answers = predict(changed, asked.images)
    return (answers == asked.labels).double().mean().item()

"""What chapter 02's explorer shows without delay: the networks asked at every sparsity."""

import copy
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from shrink import pruning
from shrink.chapters.prune.view import CURVE
from shrink.classroom import formats, measure, models
from shrink.classroom.baselines import baseline, baseline_made_of
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset
from shrink.classroom.progress import new_bar
from shrink.classroom.training import predict
from shrink.coding import sparse

NAME = "lenet-300-100"
STOPS = np.round(np.arange(101) / 100, 2)  # the slider's
WEIGHTS, SCOPES, SEEDS = ("trained", "initial"), ("global", "local"), (0, 1, 2)
SECONDS = 5  # for one sweep

Chooser = Callable[[Mapping[str, Tensor], float], dict[str, Tensor]]
Arrays = dict[str, np.ndarray]


def network(dataset: Dataset, weights: str, seed: int) -> nn.Module:
    """LeNet-300-100, "trained" or as it begins."""
    if weights == "trained":
        return baseline(NAME, dataset, seed=seed)
    return models.build(NAME, seed).to(dataset.train.images.device).eval()


def on_show(dataset: Dataset, net: nn.Module) -> dict[str, Arrays]:
    """By scope, at each of STOPS: the network's "answers" (stops, images) uint8 to the validation
    images, and the "bytes" (stops, formats) of its file.
    """
    images, found = dataset.validation.images, {}
    for scope in SCOPES:

        def make(scope: str = scope) -> dict[str, Tensor]:
            title = f"sweeping over sparsity, {scope}"
            with new_bar(title, seconds=SECONDS, total=len(STOPS)) as bar:
                return _sweep(net, images, scope, bar.update)

        made_of = (net, images, scope, STOPS, _sweep)
        found[scope] = _arrays(kept(f"sweeps/prune-{scope}", make, *made_of))
    return found


def another(dataset: Dataset, weights: str, seed: int) -> Arrays:
    """Of the network of another seed: which "answers" it gives as it is, (images,) uint8, and of
    each scope how much is right on the curve, (points,). The network is made only if need be.
    """

    def make() -> dict[str, Tensor]:
        return _on_curve(network(dataset, weights, seed), dataset)

    made_of = (*baseline_made_of(NAME, dataset, seed), dataset.validation, CURVE, _on_curve)
    return _arrays(kept(f"sweeps/prune-another-{weights}", make, weights, *made_of))


def first_picture(dataset: Dataset) -> None:
    """Make what the chapter needs up to its explorer."""
    for weights in WEIGHTS:
        on_show(dataset, network(dataset, weights, SEEDS[0]))
        for seed in SEEDS[1:]:
            another(dataset, weights, seed)


def further_cells(dataset: Dataset) -> Iterator[Callable[[], object]]:
    """What makes the things that the cells below the explorer need, one by one."""
    yield from ()


def _arrays(tensors: Mapping[str, Tensor]) -> Arrays:
    return {name: tensor.numpy() for name, tensor in tensors.items()}


def _sweep(
    net: nn.Module, images: Tensor, scope: str, done: Callable[[], object]
) -> dict[str, Tensor]:
    answers, lengths = [], []
    for weights in _pruned(net, scope, STOPS):
        answers.append(ask(net, images, weights))
        lengths.append(list(file_bytes(net.state_dict() | weights).values()))
        done()
    return {"answers": torch.from_numpy(np.stack(answers)), "bytes": torch.tensor(lengths)}


def _on_curve(net: nn.Module, dataset: Dataset) -> dict[str, Tensor]:
    images, labels = dataset.validation.images, dataset.validation.labels.cpu().numpy()
    found = {"answers": torch.from_numpy(ask(net, images, {}))}
    for scope in SCOPES:
        answers = [ask(net, images, weights) for weights in _pruned(net, scope, CURVE)]
        found[scope] = torch.from_numpy((np.stack(answers) == labels).mean(-1))
    return found


def _pruned(net: nn.Module, scope: str, stops: np.ndarray):
    weights = models.weights(net)
    for sparsity in stops.tolist():
        yield pruning.apply_masks(weights, masks_of(scope)(weights, sparsity))


def masks_of(scope: str) -> Chooser:
    """The library's masks: ranked "global"-ly, or each layer by itself."""
    if scope == "global":
        return pruning.global_masks
    return local_masks


def local_masks(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """Each layer ranked by itself."""
    return {name: pruning.magnitude_mask(w, sparsity) for name, w in weights.items()}


def ask(net: nn.Module, images: Tensor, weights: Mapping[str, Tensor]) -> np.ndarray:
    """The answers (images,) uint8 of the network with these weights in place of its own."""
    pruned = copy.deepcopy(net)
    pruned.load_state_dict(weights, strict=False)
    return predict(pruned, images).to(torch.uint8).cpu().numpy()


def file_bytes(state: Mapping[str, Tensor]) -> dict[str, int]:
    """The length of the model's file in each sparse format."""
    return {format: measure.size(formats.pack(state, format)) for format in sparse.FORMATS}

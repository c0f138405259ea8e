"""What deletions really do to the loss, beside what is said of them: chapter 08's small networks."""

import copy
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, vmap

from shrink import pruning
from shrink.classroom import models
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split
from shrink.classroom.progress import new_bar
from shrink.classroom.training import Recipe, train
from shrink.modes import in_use

ORDERS = ("magnitude", "OBD", "gradient", "random")  # gradient: |g·w|
OUT = {
    "mnist": Recipe(40, 0.1, 0.0),
    "glyphs": Recipe(80, 0.1, 0.0),
    "digits": Recipe(80, 0.1, 0.0),
}
LESS = Recipe(epochs=1, learning_rate=0.1, weight_decay=0.0)
AT_ONCE = 40  # copies of the network that are asked at once
SECONDS = 0.0006  # a step of training

Curvature = Mapping[str, Tensor] | Tensor


def trained(name: str, dataset: Dataset, seed: int, *, out: bool = True) -> nn.Module:
    """The small network of this name, trained out; or, `out=False`, for one epoch."""
    net = models.build(name, seed).to(dataset.train.images.device)
    recipe = OUT[dataset.name] if out else LESS

    def make() -> dict[str, Tensor]:
        steps = recipe.epochs * -(-len(dataset.train) // recipe.batch_size)
        with new_bar(f"training {name}, seed {seed}", seconds=SECONDS * steps, total=steps) as bar:
            train(net, dataset.train, recipe, seed=seed, progress=lambda *_: bar.update())
        return net.state_dict()

    made_of = (models.MODELS[name], seed, recipe, train, dataset.train)
    net.load_state_dict(kept(f"saliency/{name}", make, *made_of))
    return net.eval()


def asked(dataset: Dataset, n: int = 2000) -> Split:
    """The first n training images: OBD speaks of the loss that was trained."""
    return Split(dataset.train.images[:n], dataset.train.labels[:n])


def order_of(
    net: nn.Module, split: Split, by: str, *, seed: int = 0, diagonal: str = "backpropagated"
) -> dict[str, Tensor]:
    """The scores of the weights, of which the smallest go first, in one of ORDERS."""
    weights = models.weights(net)
    if by == "magnitude":
        return {name: w.detach().abs() for name, w in weights.items()}
    if by == "OBD":
        found = pruning.hessian_diagonal(net, split.images, split.labels, diagonal)
        return pruning.obd_saliency(weights, found)
    if by == "gradient":
        return pruning.snip_scores(net, split.images, split.labels)
    if by != "random":
        raise ValueError(f"by must be one of {', '.join(ORDERS)}, not {by!r}")
    generator = torch.Generator().manual_seed(seed)
    return {n: torch.rand(w.shape, generator=generator).to(w.device) for n, w in weights.items()}


def losses(net: nn.Module, split: Split, copies: Mapping[str, Tensor]) -> Tensor:
    """The mean cross entropy of each copy of the network: name → (copies, *shape) of its weights."""

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(functional_call(net, weights, (split.images,)), split.labels)

    with in_use(net):
        return vmap(loss, chunk_size=AT_ONCE)(dict(copies))


def true_rises(net: nn.Module, split: Split, places: Sequence[tuple[str, int]]) -> Tensor:
    """The rise of the loss when a weight alone is deleted, (places,): name and flat index of each."""
    weights = {name: w.detach() for name, w in models.weights(net).items()}
    found = []
    for start in range(0, len(places), AT_ONCE):
        part = places[start : start + AT_ONCE]
        copies = {n: w.expand(len(part), *w.shape).clone() for n, w in weights.items()}
        for row, (name, place) in enumerate(part):
            copies[name][row].view(-1)[place] = 0
        found.append(losses(net, split, copies))
    whole = losses(net, split, {n: w[None] for n, w in weights.items()})
    return torch.cat(found) - whole


def rise_along(
    net: nn.Module,
    split: Split,
    scores: Mapping[str, Tensor],
    fractions: Sequence[float],
    curvature: Curvature | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The loss's rise, actual and predicted, when these fractions of the weights go, smallest first.

    `curvature` is a diagonal by name, or the full Hessian of all parameters or of the weights.
    """
    weights = {name: w.detach() for name, w in models.weights(net).items()}
    masks = [pruning.masks_from_scores(scores, share) for share in fractions]
    copies = {n: torch.stack([w * mask[n] for mask in masks]) for n, w in weights.items()}
    whole = losses(net, split, {n: w[None] for n, w in weights.items()})
    actual = (losses(net, split, copies) - whole).cpu().numpy()
    if curvature is None:
        return actual, np.full(len(masks), np.nan)
    predicted = [pruning.predicted_rise(weights, mask, curvature) for mask in masks]
    return actual, np.array(predicted)


@torch.no_grad()
def rescaled(net: nn.Module, strength: float, seed: int = 0) -> nn.Module:
    """A copy that computes the same function: what makes a hidden ReLU unit times s, what reads it
    divided by s. ln s is uniform in ±strength, another for each unit.
    """
    net = copy.deepcopy(net)
    layers = [m for m in net.modules() if isinstance(m, nn.Linear)]
    generator = torch.Generator().manual_seed(seed)
    for maker, reader in zip(layers, layers[1:], strict=False):
        draw = torch.rand(maker.out_features, generator=generator)
        s = (strength * (2 * draw - 1)).exp().to(maker.weight)
        maker.weight *= s[:, None]
        maker.bias *= s
        reader.weight /= s
    return net

"""What deletions do to the training loss, beside what Optimal Brain Damage predicts."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, jvp, vmap

from shrink import pruning
from shrink.classroom import models
from shrink.classroom.baselines import RECIPES, baseline
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split, key_once
from shrink.classroom.training import Recipe, train
from shrink.modes import in_use, seeded

ORDERS = ("magnitude", "OBD", "gradient", "random")  # gradient: |g·w|
LESS = Recipe(epochs=1, weight_decay=0)  # of a network that is far from a minimum
AT_ONCE = 8  # copies of the network that are asked at once
APART = 1000  # from a seed that makes a network: by the same one random scores are its weights

Masks = Mapping[str, Tensor]
Curvature = Mapping[str, Tensor] | Tensor


def trained(name: str, dataset: Dataset, seed: int, *, out: bool = True) -> nn.Module:
    """The small network "tiny-tanh" or "tiny-relu", trained out; or for one epoch only.

    Trained out it is the baseline: OBD assumes a minimum of the loss, so it has no weight decay.
    """
    if out:
        return baseline(name, dataset, seed=seed)
    net = models.build(name, seed).to(dataset.train.images.device)

    def make() -> dict[str, Tensor]:
        train(net, dataset.train, LESS, seed=seed)
        return net.state_dict()

    made_of = (*trained_made_of(name, dataset, out=False), seed, key_once(dataset.train))
    net.load_state_dict(kept(f"saliency/{name}", make, *made_of))
    return net.eval()


def trained_made_of(name: str, dataset: Dataset, *, out: bool) -> tuple[object, ...]:
    """What goes into `trained` beside seed and images, for `kept`: networks need not be at hand.

    In a key `trained` itself would count with the recipes of all networks there are.
    """
    return models.MODELS[name], seeded, RECIPES[name, dataset.name] if out else LESS, train


def asked(dataset: Dataset, n: int = 2000) -> Split:
    """The first n training images: OBD speaks of the loss that was trained."""
    return Split(dataset.train.images[:n], dataset.train.labels[:n])


def order_of(
    net: nn.Module, split: Split, by: str, *, seed: int = 0, diagonal: str = "backpropagated"
) -> dict[str, Tensor]:
    """The scores of the weights in one of ORDERS: the smallest go first.

    `seed` counts for "random", and may be the one that made the network. `diagonal` is for "OBD",
    as `hessian_diagonal` has it.
    """
    if by not in ORDERS:
        raise ValueError(f"by must be one of {', '.join(ORDERS)}, not {by!r}")
    weights = weights_of(net)
    if by == "magnitude":
        return {name: w.abs() for name, w in weights.items()}
    if by == "gradient":
        return pruning.snip_scores(net, split.images, split.labels)
    if by == "OBD":
        found = pruning.hessian_diagonal(net, split.images, split.labels, diagonal)
        return pruning.obd_saliency(weights, found)
    generator = torch.Generator().manual_seed(APART + seed)
    return {n: torch.rand(w.shape, generator=generator).to(w.device) for n, w in weights.items()}


def weights_of(net: nn.Module) -> dict[str, Tensor]:
    """The network's weights by name, without gradients."""
    return {name: w.detach() for name, w in models.weights(net).items()}


def places(net: nn.Module, n: int, seed: int = 0) -> list[tuple[str, int]]:
    """Single weights, n drawn from all of the network: the name and the flat index of each."""
    every = [(name, i) for name, w in weights_of(net).items() for i in range(w.numel())]
    order = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed))
    return [every[i] for i in order[:n].tolist()]


def at(scores: Mapping[str, Tensor], where: Sequence[tuple[str, int]]) -> Tensor:
    """The scores of single weights, (places,)."""
    return torch.stack([scores[name].flatten()[i] for name, i in where])


def losses(net: nn.Module, split: Split, copies: Mapping[str, Tensor]) -> Tensor:
    """The mean cross entropy of each of several copies of the network, (copies,).

    `copies` has the weights by name, each (copies, *shape); other parameters are the network's.
    """

    def loss(weights: dict[str, Tensor]) -> Tensor:
        return F.cross_entropy(functional_call(net, weights, (split.images,)), split.labels)

    with in_use(net):
        return vmap(loss, chunk_size=AT_ONCE)(dict(copies))


def true_rises(net: nn.Module, split: Split, where: Sequence[tuple[str, int]]) -> Tensor:
    """The rise of the loss when a weight alone is deleted, for each of `where`, (places,)."""
    weights = weights_of(net)
    found = [losses(net, split, {name: w[None] for name, w in weights.items()})]
    for start in range(0, len(where), AT_ONCE):
        part = where[start : start + AT_ONCE]
        copies = {name: w.expand(len(part), *w.shape).clone() for name, w in weights.items()}
        for row, (name, place) in enumerate(part):
            copies[name][row].view(-1)[place] = 0
        found.append(losses(net, split, copies))
    whole, *alone = torch.cat(found).unbind()
    return torch.stack(alone) - whole


def rise_along(
    net: nn.Module,
    split: Split,
    scores: Mapping[str, Tensor],
    fractions: Sequence[float],
    curvature: Curvature | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """The rise of the loss, actual and predicted, when these fractions go: two arrays (fractions,).

    `curvature` is a diagonal by name or a full Hessian, over the weights alone or all parameters
    (`full_hessian`). Without it the prediction is NaN.
    """
    weights = weights_of(net)
    masks = [pruning.masks_from_scores(scores, share) for share in fractions]
    left = {name: torch.stack([w * mask[name] for mask in masks]) for name, w in weights.items()}
    whole, *pruned = losses(
        net, split, {name: torch.cat([w[None], left[name]]) for name, w in weights.items()}
    ).tolist()
    actual = np.array(pruned) - whole
    if curvature is None:
        return actual, np.full_like(actual, np.nan)
    moves = {name: left[name] - w for name, w in weights.items()}
    if isinstance(curvature, Tensor):
        flat = torch.cat([move.flatten(1) for move in moves.values()], 1).to(curvature.dtype)
        curvature = over_weights(net, curvature)
        predicted = ((flat @ curvature) * flat).sum(1) / 2
    else:
        parts = [(curvature[name] * move**2).flatten(1).sum(1) for name, move in moves.items()]
        predicted = torch.stack(parts).sum(0) / 2
    return actual, predicted.cpu().double().numpy()


def over_weights(net: nn.Module, hessian: Tensor) -> Tensor:
    """A Hessian over all parameters without the rows and columns of what is no weight."""
    named = dict(net.named_parameters())
    weights = weights_of(net)
    if len(hessian) == sum(w.numel() for w in weights.values()):
        return hessian
    kept = torch.cat([torch.full((p.numel(),), name in weights) for name, p in named.items()])
    kept = kept.to(hessian.device)
    return hessian[kept][:, kept]


@dataclass(frozen=True)
class Parts:
    """The rise of the loss by a deletion, taken apart; OBD counts the diagonal alone.

    `gradient` is what first order adds away from a minimum, `diagonal` the sum of ½·h·w², `mixed`
    the rest of the second order, and `beyond` what is left of the actual rise.
    """

    gradient: float
    diagonal: float
    mixed: float
    beyond: float

    @property
    def actual(self) -> float:
        return self.gradient + self.diagonal + self.mixed + self.beyond


def parts_of(net: nn.Module, split: Split, masks: Masks, diagonal: Mapping[str, Tensor]) -> Parts:
    """What the rise of the loss is made of when the masks prune: ½·dᵀH d without the Hessian.

    Along the deletion d the loss is a function of one number, t from 0 to 1, and its first and
    second derivatives at 0 are gᵀd and dᵀH d.
    """
    weights = weights_of(net)
    move = {name: torch.where(masks[name], 0, -w) for name, w in weights.items()}

    def loss(t: Tensor) -> Tensor:
        moved = {name: w + t * move[name] for name, w in weights.items()}
        return F.cross_entropy(functional_call(net, moved, (split.images,)), split.labels)

    def slope(t: Tensor) -> Tensor:
        return jvp(loss, (t,), (torch.ones_like(t),))[1]

    with in_use(net):
        start = split.images.new_zeros(())
        first, second = (float(x) for x in jvp(slope, (start,), (torch.ones_like(start),)))
        actual = float(loss(start + 1) - loss(start))
    alone = pruning.predicted_rise(weights, masks, diagonal)
    return Parts(first, alone, second / 2 - alone, actual - first - second / 2)


@torch.no_grad()
def rescaled(net: nn.Module, strength: float, seed: int = 0) -> nn.Module:
    """A copy that computes the same function: each hidden ReLU unit times s, its readers over s.

    Incoming weights and bias are multiplied, outgoing weights divided; s is another for each unit,
    with ln s uniform between -`strength` and `strength`.

    Raises:
        ValueError: the units are no ReLU units: tanh(s·a) is not s·tanh(a).
    """
    if getattr(net, "activation", torch.relu) is not torch.relu:
        raise ValueError(f"only ReLU units can be rescaled, and a {type(net).__name__} has others")
    net = copy.deepcopy(net)
    layers = [layer for layer in net.modules() if isinstance(layer, nn.Linear)]
    generator = torch.Generator().manual_seed(seed)
    for layer, reader in pairwise(layers):
        drawn = 2 * torch.rand(layer.out_features, generator=generator) - 1
        s = (strength * drawn).exp().to(layer.weight)
        layer.weight *= s[:, None]
        if layer.bias is not None:
            layer.bias *= s
        reader.weight /= s
    return net

"""Several small networks trained at once, each under masks of its own, on the same batches.

One by one, a small network spends most of a training between the products: in calls, and in reading
the same images. Stacked, all take their step together, and nothing of one reaches another.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.arguments import check_real, whole_number, whole_seed
from shrink.classroom import models
from shrink.classroom.data import Split
from shrink.classroom.models import LeNet300100
from shrink.classroom.progress import Progress
from shrink.classroom.training import Training
from shrink.pruning.arguments import check_masks

LAYERS = ("fc1", "fc2", "fc3")


def train_side_by_side(
    networks: Sequence[LeNet300100],
    masks: Sequence[Mapping[str, Tensor]],
    split: Split,
    *,
    epochs: int,
    learning_rate: float = 2e-3,
    batch_size: int = 128,
    seed: int = 0,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> tuple[Training, ...]:
    """Train each network in place as `train_masked` does with these arguments, all at once.

    The results are those of one after the other up to rounding: sums over a batch may be added up
    in another order. `progress` may look at the networks, which are live.

    Args:
        networks: LeNet-300-100 or smaller relatives, all of one shape and dtype; on one device with
            the masks and the split.
        masks: for each network those of `models.weights`, name → bool, True = keep; weights that
            have none are trained whole.

    Raises:
        TypeError, ValueError: a network is no LeNet300100, they differ in shape, there are not as
            many masks as networks, or else as in `train_masked`. The networks are as they were.
    """
    epochs = whole_number("epochs", epochs, 0)
    batch_size = whole_number("batch_size", batch_size, 1)
    seed = whole_seed(seed)
    check_real("learning_rate", learning_rate)
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning_rate must be above 0 and finite, not {learning_rate}")
    if not len(split):
        raise ValueError("the split is empty: there are no images to train on")
    _check(networks, masks)
    planned = epochs * -(-len(split) // batch_size)
    steps, losses = 0, []
    with _stacked(networks) as stacked:
        optimizer = torch.optim.Adam(stacked.values(), learning_rate, fused=True)
        kept = _hold(stacked, networks, masks)
        for network in networks:
            network.train()
        for epoch in range(epochs):
            generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
            order = torch.randperm(len(split), generator=generator).to(split.labels.device)
            total = torch.zeros(len(networks), dtype=torch.float64, device=order.device)
            for batch in order.split(batch_size):
                if stop is not None and stop.is_set():
                    return _trainings(steps, planned, losses, len(networks))
                each = _losses(stacked, split.images[batch], split.labels[batch])
                optimizer.zero_grad()
                each.sum().backward()
                for name, keep in kept.items():
                    stacked[name].grad.mul_(keep)
                optimizer.step()
                total += each.detach() * len(batch)
                steps += 1
                if progress is not None:
                    progress(steps, planned)
            losses.append((total / len(split)).tolist())
    return _trainings(steps, planned, losses, len(networks))


def _check(networks: Sequence[nn.Module], masks: Sequence[Mapping[str, Tensor]]) -> None:
    if not networks:
        raise ValueError("there are no networks to train")
    if len(networks) != len(masks):
        raise ValueError(f"{len(networks)} networks need as many masks, not {len(masks)}")
    for network in networks:
        if type(network) is not LeNet300100:
            raise TypeError(f"LeNet300100 trains side by side, not {type(network).__name__}")
    parameters = [p for network in networks for p in network.parameters()]
    if len({id(p) for p in parameters}) < len(parameters):
        raise ValueError("two of the networks are one, or share a parameter")
    if not all(p.requires_grad for p in parameters):
        raise ValueError("a parameter is frozen, and all are trained side by side")
    first, *others = map(_form, networks)
    if different := [other for other in others if other != first]:
        raise ValueError(f"networks side by side have one form, not {first} and {different[0]}")
    for network, own in zip(networks, masks, strict=True):
        check_masks(models.weights(network), own)


def _form(network: nn.Module) -> str:
    layers = [network.get_submodule(name).weight for name in LAYERS]
    units = "-".join(str(len(weight)) for weight in layers)
    return f"{units} units in {layers[0].dtype} on {layers[0].device}"


@contextmanager
def _stacked(networks: Sequence[nn.Module]) -> Iterator[dict[str, Tensor]]:
    """Name → parameters of all networks as one leaf; inside, those of a network are views of it."""
    named = [dict(network.named_parameters()) for network in networks]
    stacked = {
        name: torch.stack([own[name].detach() for own in named]).requires_grad_()
        for name in named[0]
    }
    try:
        for i, own in enumerate(named):
            for name, parameter in own.items():
                parameter.data = stacked[name].detach()[i]
        yield stacked
    finally:
        for own in named:
            for parameter in own.values():
                parameter.data = parameter.data.clone()


def _hold(
    stacked: Mapping[str, Tensor],
    networks: Sequence[nn.Module],
    masks: Sequence[Mapping[str, Tensor]],
) -> dict[str, Tensor]:
    """Name → masks of all networks, with the zeros in place.

    Adam has no weight decay here: a weight that is 0 and gets no gradient stays 0.
    """
    kept = {}
    for name, weights in models.weights(networks[0]).items():
        if any(name in own for own in masks):
            whole = torch.ones_like(weights, dtype=torch.bool)
            kept[name] = torch.stack([own.get(name, whole) for own in masks])
            stacked[name].data.mul_(kept[name])
    return kept


def _losses(stacked: Mapping[str, Tensor], images: Tensor, labels: Tensor) -> Tensor:
    """Images (n, ...) and labels (n,) → the mean cross entropy of each network."""
    first = stacked["fc1.weight"]
    count, width, pixels = first.shape
    bias = stacked["fc1.bias"].flatten()
    x = F.linear(images.flatten(1), first.view(count * width, pixels), bias)  # of all networks
    x = x.view(-1, count, width).transpose(0, 1)
    for name in LAYERS[1:]:
        weight, bias = stacked[f"{name}.weight"], stacked[f"{name}.bias"]
        x = torch.baddbmm(bias.unsqueeze(1), F.relu(x), weight.mT)
    several = labels.expand(count, -1)
    return F.cross_entropy(x.transpose(1, 2), several, reduction="none").mean(1)


def _trainings(
    steps: int, planned: int, losses: Sequence[Sequence[float]], count: int
) -> tuple[Training, ...]:
    """What each of the networks' trainings was, from the losses by epoch and network."""
    return tuple(
        Training(steps, planned, tuple(by_network[i] for by_network in losses))
        for i in range(count)
    )

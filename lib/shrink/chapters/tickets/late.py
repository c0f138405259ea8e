"""Where rewinding to step 0 fails: a deeper network that SGD trains at a high rate.

Source: Frankle, Dziugaite, Roy and Carbin 2019, "Stabilizing the Lottery Ticket Hypothesis".
Differs: they rewind ResNet-20 and larger networks on CIFAR-10 and ImageNet.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink import pruning
from shrink.chapters.tickets.rounds import APART
from shrink.classroom import models
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split, key_once
from shrink.classroom.progress import new_bar
from shrink.classroom.training import Recipe, accuracy, train
from shrink.modes import denormals_flushed, seeded

SEEDS = (0, 1, 2)
ROUNDS, RATE = 4, 0.6
TRAINED = 6000  # training images, the first ones
RECIPE = Recipe(epochs=5, learning_rate=0.4, weight_decay=0, batch_size=100)
STARTS = {"step 0": 0, "step 60": 60, "new initial values": 0}  # to which their masks are rewound
SECONDS = 2  # a training, on two cores


class DeepNet(nn.Module):
    """Six layers of 100 units, each with batch norm, and an output layer.

    Images (n, 1, 28, 28) float32 → logits (n, 10).
    """

    def __init__(self) -> None:
        super().__init__()
        sizes = (784, *(100,) * 6)
        self.layers = nn.ModuleList(map(partial(nn.Linear, bias=False), sizes[:-1], sizes[1:]))
        self.norms = nn.ModuleList(map(nn.BatchNorm1d, sizes[1:]))
        self.output = nn.Linear(sizes[-1], 10)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = F.relu(norm(layer(x)))
        return self.output(x)


def initial(seed: int) -> nn.Module:
    """The network before training, on the CPU."""
    with seeded(seed):
        return DeepNet()


def kept_shares() -> list[float]:
    """Of all weights, the fraction that is left after each round, from 0 on."""
    return pruning.kept_shares(models.weights(initial(0)), RATE, ROUNDS)


def accuracies(dataset: Dataset, start: str, seed: int) -> np.ndarray:
    """After each round, from 0 (dense) on: validation accuracy in %; kept.

    Each round begins with the initial values, with those of step 60 of the first training (an
    epoch), or, under the masks of the first, with new initial values. Raises `ValueError` for a
    start that is not one of `STARTS`.
    """
    if start not in STARTS:
        raise ValueError(f"no start named {start!r}; there are {', '.join(STARTS)}")

    def make() -> dict[str, Tensor]:
        count = ROUNDS + 1 + ROUNDS * (start == "new initial values")
        title = f"seed {seed}, rewound to {start}"
        with new_bar(title, seconds=SECONDS * count, total=count, unit="training") as bar:
            found = _accuracies(dataset, start, seed, bar.update)
        return {"accuracy": torch.tensor(found, dtype=torch.float64)}

    split = key_once(dataset.train), key_once(dataset.validation)
    return kept("tickets/late", make, *split, _accuracies, start, seed)["accuracy"].numpy()


def _accuracies(dataset: Dataset, start: str, seed: int, done: Callable[[], object]) -> list[float]:
    net = initial(seed).to(dataset.train.images.device)
    whole = {n: torch.ones_like(w, dtype=torch.bool) for n, w in models.weights(net).items()}
    learn = partial(_trained, dataset, seed, done)
    found = []
    for ticket in pruning.find_tickets(net, learn, whole, RATE, ROUNDS, rewind_to=STARTS[start]):
        asked = net
        if ticket.number and start == "new initial values":
            asked = initial(seed + APART).to(dataset.train.images.device)
            learn(asked, ticket.masks, lambda step: None)
        found.append(100 * accuracy(asked, dataset.validation))
    return found


def _trained(
    dataset: Dataset,
    seed: int,
    done: Callable[[], object],
    net: nn.Module,
    masks: Mapping[str, Tensor],
    watch: Callable[[int], object],
) -> None:
    split = Split(dataset.train.images[:TRAINED], dataset.train.labels[:TRAINED])
    with denormals_flushed():
        train(
            net,
            split,
            RECIPE,
            seed=seed,
            hold=partial(pruning.hold_masks, models.weights(net), masks),
            progress=lambda step, planned: watch(step),
        )
    done()


def trainings(dataset: Dataset) -> Iterator[partial]:
    """What makes all that the text needs and that takes long, one by one."""
    for seed in SEEDS:
        for start in STARTS:
            yield partial(accuracies, dataset, start, seed)

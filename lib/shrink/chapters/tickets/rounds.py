"""Rounds of iterative magnitude pruning, prepared: what each arm learns at each share kept."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink import pruning
from shrink.classroom import models
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split, key_once
from shrink.classroom.masked_training import train_masked
from shrink.classroom.models import LeNet300100
from shrink.classroom.progress import new_bar
from shrink.modes import in_use, seeded

ARMS = ("ticket", "re-initialised", "random places", "signs only")
SEEDS = (0, 1, 2)
ROUNDS = 16
RATES = {"fc1.weight": 0.2, "fc2.weight": 0.2, "fc3.weight": 0.1}
APART = 1000  # from the seed that makes a network to one that draws anew

TRAINED = 12_000  # training images, the first ones
EPOCHS, BATCH, LEARNING_RATE = 3, 60, 1.2e-3
STEPS = EPOCHS * TRAINED // BATCH
REWINDS = (0, 100, None)  # steps; None: the end
WATCHED = tuple(range(0, STEPS + 1, 50))  # the steps after which validation images are asked
ASKED = 2000  # of them, the first ones
SECONDS = 2  # a training, on two cores


@dataclass(frozen=True)
class Curve:
    """What a training shows on validation images, after each of `WATCHED` steps."""

    accuracy: np.ndarray  # fractions
    loss: np.ndarray  # nats per image


@dataclass(frozen=True)
class Chain:
    """All rounds of one seed: `gone` says in which round a weight went, `ROUNDS` + 1 if in none."""

    gone: dict[str, Tensor]
    curves: tuple[Curve, ...]

    def masks(self, number: int) -> dict[str, Tensor]:
        """Those of a round, 0 (all True) to `ROUNDS`."""
        return {name: gone > number for name, gone in self.gone.items()}


def initial(seed: int) -> nn.Module:
    """LeNet-300-100 as it is before training, on the CPU."""
    with seeded(seed):
        return LeNet300100()


def kept_share(number: int) -> float:
    """Of all weights, the fraction that is left after a round."""
    sizes = {name: w.numel() for name, w in models.weights(initial(0)).items()}
    left = {n: pruning.count_survivors(s, RATES[n], number)[-1] for n, s in sizes.items()}
    return sum(left.values()) / sum(sizes.values())


def trained(
    net: nn.Module, masks: Mapping[str, Tensor], dataset: Dataset, seed: int, also=lambda step: None
) -> Curve:
    """Train the network in place under the masks, and watch it."""
    shown = Split(dataset.train.images[:TRAINED], dataset.train.labels[:TRAINED])
    found = [asked(net, dataset)]

    def after(step: int, planned: int) -> None:
        also(step)
        if step in WATCHED:
            found.append(asked(net, dataset))

    train_masked(
        net,
        masks,
        shown,
        epochs=EPOCHS,
        learning_rate=LEARNING_RATE,
        batch_size=BATCH,
        seed=seed,
        progress=after,
    )
    accuracy, loss = np.array(found).T
    return Curve(accuracy, loss)


def asked(net: nn.Module, dataset: Dataset) -> tuple[float, float]:
    """Accuracy and loss on the first validation images."""
    images, labels = dataset.validation.images[:ASKED], dataset.validation.labels[:ASKED]
    with in_use(net):
        logits = net(images)
    right = (logits.argmax(1) == labels).double().mean()
    return float(right), float(F.cross_entropy(logits, labels))


def chain(dataset: Dataset, seed: int, rewind_to: int | None = 0) -> Chain:
    """All rounds of a seed, trained once and kept."""

    def make() -> dict[str, Tensor]:
        net = initial(seed).to(dataset.train.images.device)
        weights = models.weights(net)
        gone = {n: torch.full_like(w, ROUNDS + 1, dtype=torch.uint8) for n, w in weights.items()}
        masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in weights.items()}
        curves: list[Curve] = []

        def train(net: nn.Module, masks: Mapping[str, Tensor], also) -> None:
            curves.append(trained(net, masks, dataset, seed, also))

        with new_bar(f"rounds of seed {seed}", seconds=SECONDS * (ROUNDS + 1), unit="round") as bar:
            for found in pruning.find_tickets(
                net, train, masks, RATES, ROUNDS, rewind_to=rewind_to
            ):
                for name, mask in found.masks.items():
                    gone[name][~mask & (gone[name] > ROUNDS)] = found.number
                bar.update()
        numbers = np.array([[c.accuracy, c.loss] for c in curves])
        return {**gone, "curves": torch.from_numpy(numbers)}

    split = key_once(dataset.train), key_once(dataset.validation)
    found = kept(
        "tickets/chain",
        make,
        *split,
        initial,
        trained,
        pruning.find_tickets,
        RATES,
        ROUNDS,
        seed,
        rewind_to,
    )
    curves = found.pop("curves").numpy()
    device = dataset.train.images.device
    return Chain({n: t.to(device) for n, t in found.items()}, tuple(Curve(*c) for c in curves))


def started(arm: str, seed: int, masks: dict[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network before training, on the CPU, and its masks: the ticket, or one thing changed.

    Raises `ValueError` for an unknown arm.
    """
    if arm not in ARMS:
        raise ValueError(f"no arm named {arm!r}; there are {', '.join(ARMS)}")
    net = initial(seed + APART * (arm == "re-initialised"))
    if arm == "random places":
        masks = pruning.shuffle_masks(masks, seed + APART)
    if arm == "signs only":
        net.load_state_dict(pruning.signed_constants(models.weights(net)), strict=False)
    return net, masks


def curve(dataset: Dataset, arm: str, number: int, seed: int) -> Curve:
    """What an arm learns under the masks of a round, or as many at random places; kept."""
    if arm == "ticket" or not number:
        return chain(dataset, seed).curves[number]

    def make() -> dict[str, Tensor]:
        net, masks = started(arm, seed, chain(dataset, seed).masks(number))
        found = trained(net.to(dataset.train.images.device), masks, dataset, seed)
        return {"curve": torch.from_numpy(np.array([found.accuracy, found.loss]))}

    split = key_once(dataset.train), key_once(dataset.validation)
    made_of = (*split, chain, started, trained, arm, number, seed)
    return Curve(*kept("tickets/curve", make, *made_of)["curve"].numpy())


def trainings(dataset: Dataset) -> Iterator[partial]:
    """What makes all that the text and the explorer need and that takes long, one by one."""
    for seed in SEEDS:
        for rewind_to in REWINDS:
            yield partial(chain, dataset, seed, rewind_to)
        for arm in ARMS[1:]:
            for number in range(1, ROUNDS + 1):
                yield partial(curve, dataset, arm, number, seed)

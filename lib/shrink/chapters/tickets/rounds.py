"""Rounds of iterative magnitude pruning, prepared: what each arm learns at each share kept.

LeNet-300-100 trains as Frankle and Carbin 2019 have it, but on fewer images and for fewer steps,
so that a training takes a second or two. The rewindings and all arms share the order of the images.
"""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from shrink import pruning
from shrink.classroom import models
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split, key_once
from shrink.classroom.masked_training import train_masked
from shrink.classroom.models import LeNet300100
from shrink.classroom.progress import Progress, bar_progress, new_bar
from shrink.classroom.side_by_side import train_side_by_side
from shrink.modes import denormals_flushed, in_use, seeded

ARMS = ("ticket", "re-initialised", "random places", "signs only")
SEEDS = (0, 1, 2)
ROUNDS = 16
RATES = {"fc1.weight": 0.2, "fc2.weight": 0.2, "fc3.weight": 0.1}
SHOWN = (3, 7, 12, 15)  # rounds after which 51, 21, 7 and 3.6 % of the weights are left
HALVES = {"fc1.weight": 0.5, "fc2.weight": 0.5, "fc3.weight": 0.25}
HALVED = (100, 50, 25, 12.6, 6.3, 3.2)  # % of the weights that are left after rounds of `HALVES`
APART = 1000  # from the seed that makes a network to one that draws anew

TRAINED = 12_000  # training images, the first ones
EPOCHS, BATCH, LEARNING_RATE = 3, 60, 1.2e-3
TOGETHER = 8  # networks of one arm, which are trained at once
STEPS = EPOCHS * TRAINED // BATCH
REWINDS = (0, 100, None)  # steps; None: the end
WATCHED = (0, 25, 50, 100, 150, 200, 300, 400, 500, 600)  # steps after which `ASKED` are asked
ASKED = 2000  # validation images, the first ones; after the last step all are asked
SECONDS = 2  # a training, on two cores


@dataclass(frozen=True)
class Curve:
    """What a training shows on validation images, after each of `WATCHED` steps.

    A training that was stopped has fewer.
    """

    accuracy: np.ndarray  # fractions
    loss: np.ndarray  # nats per image


@dataclass(frozen=True)
class Chain:
    """All rounds of one seed: a curve for each, from 0 (dense) to `ROUNDS`, and their masks.

    `gone` says of each weight in which round it went, `ROUNDS` + 1 if in none. It is empty where
    rounds are rewound to another step than 0, of which only the curves are kept.
    """

    gone: dict[str, Tensor]
    curves: tuple[Curve, ...]

    def masks(self, number: int) -> dict[str, Tensor]:
        """Those under which the network of a round learns; of round 0 all are True.

        Raises `ValueError` where they are not kept, or for a number that is no round.
        """
        if not self.gone:
            raise ValueError("masks are kept only of the rounds that are rewound to step 0")
        if not 0 <= number < len(self.curves):
            raise ValueError(f"there are rounds 0 to {len(self.curves) - 1}, not {number}")
        return {name: self.gone[name] > number for name in RATES}  # always in the same order


def initial(seed: int) -> nn.Module:
    """LeNet-300-100 as it is before training, on the CPU."""
    with seeded(seed):
        return LeNet300100()


def kept_share(number: int) -> float:
    """Of all weights, the fraction that is left after a round.

    >>> [f"{kept_share(number):.1%}" for number in (0, *SHOWN)]
    ['100.0%', '51.3%', '21.1%', '7.0%', '3.6%']
    """
    return pruning.kept_shares(models.weights(initial(0)), RATES, number)[-1]


def prepared(arm: str) -> tuple[int, ...]:
    """The rounds of which an arm is prepared, without 0; signs alone are trained at four only.

    Raises `ValueError` for an unknown arm.
    """
    _check_arm(arm)
    return SHOWN if arm == "signs only" else tuple(range(1, ROUNDS + 1))


def trained(
    net: nn.Module,
    masks: Mapping[str, Tensor],
    dataset: Dataset,
    seed: int,
    watch: Callable[[int], object] | None = None,
    stop: threading.Event | None = None,
) -> Curve:
    """Train the network in place under the masks, and ask validation images on the way.

    Args:
        net, masks, dataset: on one device.
        seed: of the order of the images.
        watch: called with the number of steps done after each of them.
        stop: when set, training ends after the step under way.
    """
    pruning.rewind(net, pruning.snapshot(net), masks)
    watched = _Watched([net], dataset, watch)
    with denormals_flushed():
        train_masked(net, masks, _shown(dataset), **_how(seed), progress=watched, stop=stop)
    return watched.curves()[0]


def trained_together(
    nets: Sequence[nn.Module],
    masks: Sequence[Mapping[str, Tensor]],
    dataset: Dataset,
    seed: int,
) -> list[Curve]:
    """The same for several networks at once, which is faster, and the same up to rounding."""
    for net, own in zip(nets, masks, strict=True):
        pruning.rewind(net, pruning.snapshot(net), own)
    watched = _Watched(nets, dataset)
    with denormals_flushed():
        train_side_by_side(nets, masks, _shown(dataset), **_how(seed), progress=watched)
    return watched.curves()


def _shown(dataset: Dataset) -> Split:
    return Split(dataset.train.images[:TRAINED], dataset.train.labels[:TRAINED])


def _how(seed: int) -> dict[str, float]:
    return {
        "epochs": EPOCHS,
        "learning_rate": LEARNING_RATE,
        "batch_size": BATCH,
        "seed": seed,
    }


class _Watched:
    """The progress of a training, in which networks are asked after each of `WATCHED` steps."""

    def __init__(
        self,
        nets: Sequence[nn.Module],
        dataset: Dataset,
        watch: Callable[[int], object] | None = None,
    ) -> None:
        self.nets, self.all, self.watch = nets, dataset.validation, watch
        self.few = Split(self.all.images[:ASKED], self.all.labels[:ASKED])
        self.found = [[asked(net, self.few)] for net in nets]

    def __call__(self, step: int, planned: int) -> None:
        if self.watch is not None:
            self.watch(step)
        if step in WATCHED:
            for net, found in zip(self.nets, self.found, strict=True):
                found.append(asked(net, self.few if step < planned else self.all))

    def curves(self) -> list[Curve]:
        return [Curve(*np.array(found).T) for found in self.found]


def asked(net: nn.Module, split: Split) -> tuple[float, float]:
    """Accuracy, a fraction, and loss in nats per image."""
    with in_use(net):
        logits = net(split.images)
    right = (logits.argmax(1) == split.labels).double().mean()
    return float(right), float(F.cross_entropy(logits, split.labels))


def chain(dataset: Dataset, seed: int, rewind_to: int | None = 0) -> Chain:
    """All rounds of a seed, trained once and kept; `rewind_to` as in `pruning.find_tickets`."""

    def make() -> dict[str, Tensor]:
        to = "the end" if rewind_to is None else f"step {rewind_to}"
        count = ROUNDS + 1
        with _bar(f"seed {seed}, rewound to {to}", count) as bar:
            return _all_rounds(dataset, seed, rewind_to, bar.update)

    found = kept("tickets/chain", make, *_splits(dataset), _all_rounds, seed, rewind_to)
    curves = found.pop("curves").numpy()
    device = dataset.train.images.device
    return Chain({n: t.to(device) for n, t in found.items()}, tuple(Curve(*c) for c in curves))


def _all_rounds(
    dataset: Dataset, seed: int, rewind_to: int | None, done: Callable[[], object]
) -> dict[str, Tensor]:
    net = initial(seed).to(dataset.train.images.device)
    weights = models.weights(net)
    gone = {n: torch.full_like(w, ROUNDS + 1, dtype=torch.uint8) for n, w in weights.items()}
    masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in weights.items()}
    curves: list[Curve] = []

    def train(net: nn.Module, masks: Mapping[str, Tensor], watch: Callable[[int], None]) -> None:
        curves.append(trained(net, masks, dataset, seed, watch))

    for found in pruning.find_tickets(net, train, masks, RATES, ROUNDS, rewind_to=rewind_to):
        for name, mask in found.masks.items():
            gone[name][~mask & (gone[name] > ROUNDS)] = found.number
        done()
    return {"curves": _stacked(curves), **(gone if rewind_to == 0 else {})}


def _splits(dataset: Dataset) -> tuple[object, ...]:
    """What stands for the data in a key."""
    return key_once(dataset.train), key_once(dataset.validation)


def _bar(title: str, count: int) -> tqdm:
    return new_bar(title, seconds=SECONDS * count, total=count, unit="training")


def _stacked(curves: list[Curve]) -> Tensor:
    return torch.from_numpy(np.array([[c.accuracy, c.loss] for c in curves]))


def started(arm: str, seed: int, masks: dict[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
    """The network before training, on the CPU, and its masks: the ticket, or one thing changed.

    "re-initialised" has new initial values, "random places" as many weights per layer elsewhere,
    and "signs only" of each initial weight its sign times the standard deviation of its layer.

    Raises `ValueError` for an unknown arm.
    """
    _check_arm(arm)
    net = initial(seed + APART * (arm == "re-initialised"))
    if arm == "random places":
        masks = pruning.shuffle_masks(masks, seed + APART)
    if arm == "signs only":
        constants = pruning.signed_constants(models.weights(net))
        net.load_state_dict({**net.state_dict(), **constants})
    return net, masks


def _check_arm(arm: str) -> None:
    if arm not in ARMS:
        raise ValueError(f"no arm named {arm!r}; there are {', '.join(ARMS)}")


def curve(dataset: Dataset, arm: str, number: int, seed: int) -> Curve:
    """What an arm learns under the masks of a round; round 0 is the dense network for every arm.

    Raises `ValueError` for an unknown arm, and a round of which it is not `prepared`.
    """
    if number not in (0, *prepared(arm)):
        shown = ", ".join(map(str, prepared(arm)))
        raise ValueError(f"{arm} is prepared of rounds 0, {shown}, not of {number!r}")
    if arm == "ticket" or not number:
        return chain(dataset, seed).curves[number]
    return curves_of(dataset, arm, seed)[number]


def curves_of(dataset: Dataset, arm: str, seed: int) -> dict[int, Curve]:
    """Of an arm other than the ticket, by round; kept."""
    numbers = prepared(arm)

    def make() -> dict[str, Tensor]:
        found = chain(dataset, seed)
        with _bar(f"seed {seed}, {arm}", len(numbers)) as bar:
            return _of_arm(dataset, arm, seed, found, bar.update)

    made_of = (_all_rounds, _of_arm, arm, seed)
    curves = kept("tickets/curves", make, *_splits(dataset), *made_of)["curves"].numpy()
    return {number: Curve(*c) for number, c in zip(numbers, curves, strict=True)}


def _of_arm(
    dataset: Dataset, arm: str, seed: int, found: Chain, done: Callable[[int], object]
) -> dict[str, Tensor]:
    curves = []
    numbers = prepared(arm)
    for i in range(0, len(numbers), TOGETHER):
        pairs = [started(arm, seed, found.masks(number)) for number in numbers[i : i + TOGETHER]]
        nets = [net.to(dataset.train.images.device) for net, _ in pairs]
        curves += trained_together(nets, [masks for _, masks in pairs], dataset, seed)
        done(len(pairs))
    return {"curves": _stacked(curves)}


def halved(dataset: Dataset, arm: str, seed: int) -> Iterator[Curve]:
    """What an arm learns, dense and in five rounds that halve the network; nothing is kept.

    Of the output layer a quarter goes each time. `HALVED` says how many weights are left. The
    ticket takes six trainings. Another arm takes five more, and its dense network is the ticket's.

    Raises `ValueError` for an unknown arm.
    """
    _check_arm(arm)
    net = initial(seed).to(dataset.train.images.device)
    masks = {n: torch.ones_like(w, dtype=torch.bool) for n, w in models.weights(net).items()}
    curves: list[Curve] = []

    def train(net: nn.Module, masks: Mapping[str, Tensor], watch: Callable[[int], None]) -> None:
        curves.append(trained(net, masks, dataset, seed, watch))

    for found in pruning.find_tickets(net, train, masks, HALVES, len(HALVED) - 1):
        if found.number and arm != "ticket":
            other, own = started(arm, seed, found.masks)
            curves.append(trained(other.to(dataset.train.images.device), own, dataset, seed))
        yield curves[-1]


def dense_as_long(dataset: Dataset, number: int, seed: int) -> float:
    """Accuracy of the dense network after as many steps as all rounds up to that one take; kept.

    A fraction of all validation images. The network trains in one go, and is not watched.
    """

    def make() -> dict[str, Tensor]:
        title = f"seed {seed}, dense for {number + 1} trainings"
        with new_bar(title, seconds=SECONDS * (number + 1), unit="step") as bar:
            net = _dense_as_long(dataset, number, seed, bar_progress(bar))
        return {"accuracy": torch.tensor(asked(net, dataset.validation)[0], dtype=torch.float64)}

    made_of = (*_splits(dataset), _dense_as_long, asked, number, seed)
    return float(kept("tickets/dense-as-long", make, *made_of)["accuracy"])


def _dense_as_long(dataset: Dataset, number: int, seed: int, progress: Progress) -> nn.Module:
    net = initial(seed).to(dataset.train.images.device)
    how = _how(seed) | {"epochs": EPOCHS * (number + 1)}
    with denormals_flushed():
        train_masked(net, {}, _shown(dataset), **how, progress=progress)
    return net


def surviving_pixels(masks: Mapping[str, Tensor]) -> Tensor:
    """Of each pixel, how many of its weights in the first layer are left: (28, 28) int64."""
    return masks["fc1.weight"].sum(0).view(28, 28)


def trainings(dataset: Dataset) -> Iterator[partial]:
    """What makes all that the text and the explorer need and that takes long, one by one."""
    for seed in SEEDS:
        for rewind_to in REWINDS:
            yield partial(chain, dataset, seed, rewind_to)
        for arm in ARMS[1:]:
            yield partial(curve, dataset, arm, prepared(arm)[-1], seed)
        yield partial(dense_as_long, dataset, SHOWN[1], seed)

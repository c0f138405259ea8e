"""Frankle and Carbin 2019, section 2: does a pruned network learn from its own initial values?

"The Lottery Ticket Hypothesis: Finding Sparse, Trainable Neural Networks" (arXiv 1803.03635v5)
prunes LeNet-300-100 on MNIST round by round, and each time rewinds what is left to its initial
values: the winning ticket. It stops earlier than the dense network and is no less accurate; with
new initial values it loses both. We train the tickets of sixteen rounds, and beside four of them
the same masks with new initial values, and as many weights per layer at random places.

Differs: six epochs, 5502 steps, where the paper takes 50 000 iterations, 54 epochs; PyTorch's usual
initial values, uniform, where the paper draws from Glorot's normal distribution. Within six epochs
a network that learns slowly may have its least validation loss at the end, where a longer training
would show it later.

The recipe is the paper's, not chosen by us. On the validation images of seed 10, which is not
reported, the dense network's least loss comes before the end, so six epochs are enough to see it.
Recipe and rules of the verdict were committed before a test error was read.
"""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink import pruning
from shrink.chapters.tickets import rounds
from shrink.classroom import models
from shrink.classroom.cache import cached_tensors
from shrink.classroom.data import Dataset, Split
from shrink.classroom.masked_training import train_masked
from shrink.classroom.progress import new_bar
from shrink.classroom.training import predict
from shrink.modes import denormals_flushed, in_use
from shrink.papers.jobs import Job
from shrink.papers.lottery_result import ARMS, RULES, Result

__all__ = ["RECIPE", "Result", "run", "waves"]


@dataclass(frozen=True)
class Plan:
    """How tickets are found and networks trained.

    After each of `rounds` a fraction of each layer's weights that are left goes, its `rates`. The
    arms other than the ticket are trained after the rounds in `controlled`. After `every` so many
    steps the validation images are asked. `margin` is in points of accuracy.
    """

    rounds: int
    rates: Mapping[str, float]
    controlled: tuple[int, ...]
    epochs: int
    learning_rate: float
    batch_size: int
    every: int
    margin: float


PLAN = Plan(
    rounds=16,
    rates={"fc1.weight": 0.2, "fc2.weight": 0.2, "fc3.weight": 0.1},
    controlled=(3, 7, 12, 15),
    epochs=6,
    learning_rate=1.2e-3,
    batch_size=60,
    every=100,
    margin=0.1,
)
RECIPE = json.loads(json.dumps({**asdict(PLAN), "rules": RULES}))


def run(dataset: Dataset, seed: int, folder: Path) -> dict[str, dict]:
    """Train all arms of one seed.

    Each training is kept in `folder`, a file per round and arm; after a kill the same call goes on
    from there.

    Returns:
        "kept": of all weights, the fraction left after each round. "images": how many of
        "validation" and "test" are asked. Of each arm, round → `errors` on test images, at the
        "end" and "stopped"; `stopped`, the step of the least validation loss, the first if there
        are several; and for the rounds in which arms are compared the `curve`: of every second
        time that they were asked, the `loss` on validation images and how many are `right`.
    """
    found: dict[str, dict] = {arm: {} for arm in ARMS}
    shares = []
    for number, masks, training in tickets(dataset, seed, folder):
        shares.append(_share(masks))
        compared = number in (0, *PLAN.controlled)
        found["ticket"][str(number)] = _told(training, curve=compared)
        for arm in ARMS[1:] if number in PLAN.controlled else ():
            training = control(dataset, seed, folder, arm, number)
            found[arm][str(number)] = _told(training, curve=True)
    images = {"validation": len(dataset.validation), "test": len(dataset.test)}
    return {"images": images, "kept": shares, **found}


def tickets(
    dataset: Dataset, seed: int, folder: Path
) -> Iterator[tuple[int, dict[str, Tensor], dict[str, Tensor]]]:
    """Of each round its number, the masks, and what the training under them has shown."""
    found: dict[str, Tensor] = {}
    net = rounds.initial(seed).to(dataset.train.images.device)
    numbers = itertools.count()

    def train(net: nn.Module, masks: Mapping[str, Tensor], watch: object) -> None:
        nonlocal found
        number = next(numbers)
        title = f"seed {seed}, ticket, round {number}"
        path = folder / f"ticket-{number}.safetensors"
        found = cached_tensors(path, lambda: _trained(net, masks, dataset, seed, title))
        net.load_state_dict({name: found[f"net/{name}"] for name in net.state_dict()})

    whole = {n: torch.ones_like(w, dtype=torch.bool) for n, w in models.weights(net).items()}
    for ticket in pruning.find_tickets(net, train, whole, PLAN.rates, PLAN.rounds, rewind_to=0):
        yield ticket.number, ticket.masks, found


def find(dataset: Dataset, seed: int, folder: Path) -> None:
    """Train the tickets of all rounds of one seed."""
    for _ in tickets(dataset, seed, folder):
        pass


def control(dataset: Dataset, seed: int, folder: Path, arm: str, number: int) -> dict[str, Tensor]:
    """What the training of another arm has shown, with the ticket's masks of that round."""

    def make() -> dict[str, Tensor]:
        found = tickets(dataset, seed, folder)
        masks = next(masks for made, masks, _ in found if made == number)
        net, own = rounds.started(arm, seed, masks)
        net = net.to(dataset.train.images.device)
        return _trained(net, own, dataset, seed, f"seed {seed}, {arm}, round {number}")

    return cached_tensors(folder / f"{arm.replace(' ', '-')}-{number}.safetensors", make)


def waves(seeds: Sequence[int]) -> Iterator[list[Job]]:
    """The rounds of each seed; then the other arms, which need the tickets' masks."""
    yield [Job(find, seed) for seed in seeds]
    yield [
        Job(control, seed, (arm, number))
        for seed in seeds
        for number in PLAN.controlled
        for arm in ARMS[1:]
    ]


def _trained(
    net: nn.Module, masks: Mapping[str, Tensor], dataset: Dataset, seed: int, title: str
) -> dict[str, Tensor]:
    """Train the network in place; its state at the end, and what validation and test show."""
    steps: list[int] = []
    curve: list[tuple[float, int]] = []
    best: dict[str, Tensor] = {}

    with new_bar(title, unit="step") as bar:

        def after(step: int, planned: int) -> None:
            nonlocal best
            bar.total = planned
            bar.update()
            if step % PLAN.every:
                return
            loss, right = _asked(net, dataset.validation)
            if not curve or loss < min(curve)[0]:
                best = pruning.snapshot(net)
            steps.append(step)
            curve.append((loss, right))

        with denormals_flushed():
            train_masked(
                net,
                masks,
                dataset.train,
                epochs=PLAN.epochs,
                learning_rate=PLAN.learning_rate,
                batch_size=PLAN.batch_size,
                seed=seed,
                progress=after,
            )
    state = pruning.snapshot(net)
    at_end = _errors(net, dataset.test)
    net.load_state_dict(best)
    errors = torch.tensor([at_end, _errors(net, dataset.test)])
    table = torch.tensor(curve, dtype=torch.float64)
    net_state = {f"net/{name}": tensor for name, tensor in state.items()}
    return {"steps": torch.tensor(steps), "curve": table, "errors": errors, **net_state}


def _asked(net: nn.Module, split: Split) -> tuple[float, int]:
    """The loss of the images, and how many are right."""
    with in_use(net):
        logits = net(split.images)
    right = int((logits.argmax(1) == split.labels).sum())
    return float(F.cross_entropy(logits, split.labels)), right


def _errors(net: nn.Module, split: Split) -> int:
    return int((predict(net, split.images) != split.labels).sum())


def _told(training: Mapping[str, Tensor], *, curve: bool) -> dict:
    """What the record has of a training."""
    losses, rights = training["curve"].T.tolist()
    steps = training["steps"].tolist()
    at_end, stopped = training["errors"].tolist()
    found: dict = {
        "errors": {"end": at_end, "stopped": stopped},
        "stopped": steps[losses.index(min(losses))],
    }
    if curve:
        found["curve"] = {
            "step": steps[1::2],
            "loss": [round(loss, 4) for loss in losses[1::2]],
            "right": [int(right) for right in rights[1::2]],
        }
    return found


def _share(masks: Mapping[str, Tensor]) -> float:
    return sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())

"""Courbariaux, Bengio and David 2015: does a network with weights of one bit learn MNIST as well?

"BinaryConnect: Training Deep Neural Networks with binary weights during propagations" (arXiv
1511.00363) multiplies by signs and adds the steps to latent floats. A perceptron of three hidden
layers of 1024 units has 1.29 ± 0.08 % test error with deterministic signs, and 1.30 ± 0.04 with
floats (both quoted from memory). We train both kinds alike: from the same initial values, for as
many steps, on the same images in the same order, by a rate that was chosen for each. As in the
authors' code, signs are times H, half the bound of Glorot's uniform initial values, and latent
weights are clipped at ±H; batch norm follows each product, the last one too, and the loss is the
squared hinge.

Differs: the paper trains for up to 1000 epochs by SGD without momentum, and takes the epoch of the
least validation error; we train for far fewer, by Adam (as the authors' code does), along a cosine
to 0, and take the end. The pixels are 0 to 1 where theirs are -1 to 1; products have no bias, which
batch norm would take off again.

Of the rates 0.001, 0.003 and 0.01 each arm has the one with the least error after two epochs on the
validation images of seed 10, which is not reported. Recipe and rules of the verdict were committed
before a test error was read.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.classroom.cache import cached_tensors
from shrink.classroom.data import Dataset, Split
from shrink.classroom.progress import Progress, bar_progress, new_bar
from shrink.classroom.training import predict
from shrink.modes import denormals_flushed, seeded
from shrink.papers.binaryconnect_result import ARMS, BINARY, FLOAT, RULES, Result
from shrink.papers.jobs import Job
from shrink.quantization.binary import binarize, clip_latents_, signs

__all__ = ["RECIPE", "Result", "run", "waves"]


@dataclass(frozen=True)
class Plan:
    """The network and how it is trained.

    `rates` are the learning rates of the arms, at the first step. `margin` and `limit` are in
    points of test error.
    """

    hidden: tuple[int, ...]
    epochs: int
    batch_size: int
    rates: dict[str, float]
    margin: float
    limit: float


PLAN = Plan(
    hidden=(1024, 1024, 1024),
    epochs=12,
    batch_size=200,
    rates={FLOAT: 3e-3, BINARY: 1e-2},
    margin=0.2,
    limit=1.5,
)
RECIPE = json.loads(json.dumps({**asdict(PLAN), "rules": RULES}))


class Perceptron(nn.Module):
    """Layers of rectified units, with batch norm after each product and weights of 1 or 32 bits.

    Images (n, 1, 28, 28) float32 → scores (n, 10).
    """

    def __init__(self, hidden: tuple[int, ...], binary: bool) -> None:
        super().__init__()
        self.binary, widths = binary, (784, *hidden, 10)
        self.layers = nn.ModuleList(nn.Linear(n, m, bias=False) for n, m in pairwise(widths))
        self.norms = nn.ModuleList(nn.BatchNorm1d(width) for width in widths[1:])
        self.bounds = [bound(layer.weight) for layer in self.layers]
        for layer, limit in zip(self.layers, self.bounds, strict=True):
            nn.init.uniform_(layer.weight, -limit, limit)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1)
        for layer, norm, scale in zip(self.layers, self.norms, self.bounds, strict=True):
            weight = binarize(layer.weight, scale) if self.binary else layer.weight
            x = norm(F.linear(F.relu(x), weight))  # the images have nothing below 0
        return x

    def clip_latents_(self) -> None:
        """Latent weights back to ±H; without binary weights there are none."""
        if self.binary:
            for layer, limit in zip(self.layers, self.bounds, strict=True):
                clip_latents_(layer.weight, limit)


def bound(weight: Tensor) -> float:
    """The H of a layer, √(6 / (inputs + outputs)) / 2.

    >>> bound(torch.empty(14, 10))
    0.25
    """
    return (6 / sum(weight.shape)) ** 0.5 / 2


def initial(seed: int, arm: str) -> Perceptron:
    """The network of an arm before training; the seed's initial values are the same for both."""
    with seeded(seed):
        return Perceptron(PLAN.hidden, binary=arm == BINARY)


def run(dataset: Dataset, seed: int, folder: Path) -> dict:
    """Train both arms of one seed.

    Each training is kept in `folder`, a file per arm; after a kill the same call goes on from
    there.

    Returns:
        "images": how many of the test set are asked. Of each arm how many it gets wrong: `errors`,
        at the end; `other`, with the other kind of weights in its place, the signs of the float
        network or the latent floats of the binary one, and batch norms measured anew; and `turned`,
        the fraction of weights whose sign is not the initial one.
    """
    found: dict = {"images": len(dataset.test)}
    for arm in ARMS:
        made = train_arm(dataset, seed, folder, arm)
        counts = {name: int(made[name]) for name in ("errors", "other")}
        found[arm] = {**counts, "turned": round(float(made["turned"]), 4)}
    return found


def train_arm(dataset: Dataset, seed: int, folder: Path, arm: str) -> dict[str, Tensor]:
    """The errors of an arm's network on test images, and how many signs are turned; kept."""

    def make() -> dict[str, Tensor]:
        net = initial(seed, arm).to(dataset.train.images.device)
        before = all_signs(net)
        with new_bar(f"seed {seed}, {arm}", unit="step") as bar:
            train(net, dataset.train, seed, PLAN.rates[arm], bar_progress(bar))
        errors, turned = wrong(net, dataset.test), (all_signs(net) != before).float().mean()
        net.binary = not net.binary
        measure_norms(net, dataset.train)
        return {"errors": errors, "other": wrong(net, dataset.test), "turned": turned}

    return cached_tensors(folder / f"{arm}.safetensors", make)


def waves(seeds: Sequence[int]) -> list[list[Job]]:
    """Each arm of each seed by itself."""
    return [[Job(train_arm, seed, (arm,)) for seed in seeds for arm in ARMS]]


def train(net: Perceptron, split: Split, seed: int, rate: float, progress: Progress) -> None:
    """Train the network in place by Adam, the rate falling to zero along a cosine."""
    optimizer = torch.optim.Adam(net.parameters(), rate, fused=True)
    planned = PLAN.epochs * -(-len(split) // PLAN.batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, planned)
    net.train()
    steps = 0
    with denormals_flushed():
        for epoch in range(PLAN.epochs):
            generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
            order = torch.randperm(len(split), generator=generator).to(split.labels.device)
            for batch in order.split(PLAN.batch_size):
                loss = squared_hinge(net(split.images[batch]), split.labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                net.clip_latents_()
                schedule.step()
                steps += 1
                progress(steps, planned)


def squared_hinge(scores: Tensor, labels: Tensor) -> Tensor:
    """The mean of max(0, 1 - t · score)², with t = 1 for the right class and -1 for the others.

    >>> squared_hinge(torch.tensor([[0.5, -3.0, 0.0]]), torch.tensor([0]))  # (0.25 + 0 + 1) / 3
    tensor(0.4167)
    """
    t = 2 * F.one_hot(labels, scores.shape[1]) - 1
    return F.relu(1 - t * scores).square().mean()


def all_signs(net: Perceptron) -> Tensor:
    """The signs of all weights, (weights,)."""
    return torch.cat([signs(layer.weight).flatten() for layer in net.layers])


def measure_norms(net: Perceptron, split: Split) -> None:
    """Let batch norms take means and variances of these images, with the weights as they are."""
    for norm in net.norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    net.train()
    with torch.no_grad():
        for images in split.images.split(PLAN.batch_size):
            net(images)


def wrong(net: nn.Module, split: Split) -> Tensor:
    return (predict(net, split.images) != split.labels).sum()

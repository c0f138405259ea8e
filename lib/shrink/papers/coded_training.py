"""A network that trains for the length of its file: rounded weights, and a price for their bits.

Weights and biases are integers times a step for each tensor, which is learned. What the integers
cost in bits counts in the loss, at a price that follows from how long the file should be: it rises
while the file is too long, and falls while it is too short.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from shrink.classroom import checkpoints
from shrink.classroom.cache import remove
from shrink.classroom.data import Split
from shrink.classroom.progress import Progress
from shrink.classroom.training import Examples
from shrink.coding import codec
from shrink.papers.coded_net import CodedNet
from shrink.quantization.code_length import Costs

FIRST_PRICE = 1e-7  # loss for a bit
MOST = 2**24  # of `codec.encode`, for a file that is still too long
RENEWED = 20  # optimizer steps for which the costs of integers hold
GAIN, QUICKEST = 2.0, 0.2  # of the price's logarithm for that of the length, and at most, each time


@dataclass(frozen=True)
class Rounds:
    """A training: its epochs and Adam's rate, which holds for `high` of them and falls to 0 along
    a cosine.

    For a file of `bytes`: during the first `shrinking` epochs the length that is asked for falls
    from that of the beginning to this. Without `bytes` weights are floats.
    """

    epochs: int
    learning_rate: float = 2e-3
    high: float = 0.3
    shrinking: int = 0
    bytes: int | None = None
    batch_size: int = 128


def train_coded(
    model: CodedNet,
    split: Split,
    rounds: Rounds,
    *,
    seed: int,
    loss: Callable[..., Tensor],
    examples: Examples,
    progress: Progress | None = None,
    checkpoint: Path | None = None,
) -> None:
    """Train the model in place, for a file of so many bytes if the rounds say so.

    The other arguments are those of `training.train`; after a kill the same call goes on from the
    checkpoint, with the same result.
    """
    if rounds.bytes is not None:
        model.begin()
    trained = model.parameters() if model.rounds else model.net.parameters()
    optimizer = torch.optim.Adam(trained, lr=rounds.learning_rate, fused=True)
    per_epoch = -(-len(split) // rounds.batch_size)
    planned = rounds.epochs * per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_rate, rounds, planned))
    target = _Target(model, rounds, per_epoch)
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule, "target": target}
    plan = repr((rounds, seed, len(split), model.shapes))
    model.train()
    losses = checkpoints.resume(checkpoint, parts, plan)
    for epoch in range(len(losses), rounds.epochs):
        total = 0.0
        generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
        order = torch.randperm(len(split), generator=generator).to(split.labels.device)
        for i, batch in enumerate(order.split(rounds.batch_size)):
            step = epoch * per_epoch + i
            images, *beside = examples(batch, generator)
            found = loss(model(images), images, *beside)
            total += found.detach().float() * len(batch)
            if rounds.bytes is not None:
                found = found + target.toll(step)
            optimizer.zero_grad()
            found.backward()
            optimizer.step()
            schedule.step()
            if progress is not None:
                progress(step + 1, planned)
        if rounds.bytes is not None:
            target.measure()
        losses.append(float(total) / len(split))
        checkpoints.save(checkpoint, parts, plan, losses)
    if checkpoint is not None:
        remove(checkpoint)


class _Target(nn.Module):
    """What bits cost in a training for a file of so many bytes.

    `price` of a bit, in the loss; `begun`, the bits at the beginning; `beside`, by how much a file
    is longer than its integers' bits.
    """

    def __init__(self, model: CodedNet, rounds: Rounds, per_epoch: int) -> None:
        super().__init__()
        self.__dict__["model"] = model  # no part of this one's state
        self.rounds, self.per_epoch = rounds, per_epoch
        self.costs: dict[str, Costs] = {}
        for name, first in (("price", FIRST_PRICE), ("begun", 0.0), ("beside", 1.1)):
            self.register_buffer(name, torch.tensor(first, dtype=torch.float64))

    def toll(self, step: int) -> Tensor:
        """What is added to the loss in a step of the training."""
        if step % self.per_epoch % RENEWED == 0:
            self.costs, bits = self.model.costs()
            if step == 0:
                self.begun.fill_(bits)
            too_long = GAIN * math.log(bits / self._wanted(step / self.per_epoch))
            self.price *= math.exp(max(-QUICKEST, min(QUICKEST, too_long)))
        return float(self.price) * self.model.bits(self.costs)

    def _wanted(self, epoch: float) -> float:
        """The bits that are asked for: they fall by the same part in each shrinking epoch."""
        left = max(1 - epoch / self.rounds.shrinking, 0) if self.rounds.shrinking else 0
        last = 8 * self.rounds.bytes / float(self.beside)
        return math.exp(left * math.log(float(self.begun)) + (1 - left) * math.log(last))

    def measure(self) -> None:
        """Compare the file with its integers' bits."""
        _, bits = self.model.costs()
        content = codec.encode(self.model.parts(), most=MOST)
        self.beside.fill_(8 * len(content) / bits)


def _rate(rounds: Rounds, planned: int, step: int) -> float:
    """The part of the learning rate that a step has."""
    after = max(step / max(planned, 1) - rounds.high, 0) / (1 - rounds.high)
    return 0.5 * (1 + math.cos(math.pi * after))

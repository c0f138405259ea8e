"""A network that trains for the length of its file: rounded weights, and a price for their bits.

Weights and biases are integers times a step for each tensor, which is learned. What the integers
cost in bits counts in the loss, at a price that follows from how long the file should be: it rises
while the file is too long, and falls while it is too short.
"""

import itertools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call

from shrink.classroom import checkpoints, models
from shrink.classroom.cache import remove
from shrink.classroom.data import Split
from shrink.classroom.progress import Progress
from shrink.classroom.training import Examples
from shrink.coding import codec
from shrink.pruning import units
from shrink.quantization.code_length import LARGEST, Costs, code_length, costs_of

FIRST_STEP = 0.7  # of a tensor's standard deviation
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


class CodedNet(nn.Module):
    """A network of floats, `net`, and what rounds it: a step for each tensor, by its logarithm.

    Without steps (before `begin`) it answers as `net` does.
    """

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        self.shapes = {name: tuple(p.shape) for name, p in net.named_parameters()}
        self.sizes = [p.numel() for p in net.parameters()]
        self.weights = list(models.weights(net))
        self.log_steps = nn.Parameter(torch.full((len(self.sizes),), math.nan))

    @property
    def rounds(self) -> bool:
        return not bool(self.log_steps.detach().isnan().any())

    @torch.no_grad()
    def begin(self) -> None:
        """Steps for the weights as they are; where there are some, they stay."""
        if not self.rounds:
            spread = [p.std(correction=0) for p in self.net.parameters()]
            self.log_steps.copy_((FIRST_STEP * torch.stack(spread) + 1e-3).log())

    def forward(self, images: Tensor) -> Tensor:
        """What it answers with rounded parameters; latent ones and steps get gradients as in LSQ.

        That is `fake_quantize_lsq`, without its factor, of all tensors at once.
        """
        if not self.rounds:
            return self.net(images)
        steps = self._steps()
        place = self._place(steps)
        rounded = (place + (place.round() - place).detach()) * steps
        return functional_call(self.net, self._tensors(rounded), (images,))

    def bits(self, costs: Mapping[str, Costs]) -> Tensor:
        """What the integers cost, with gradients for latent parameters and steps."""
        columns = self._columns(self._place(self._steps()))
        return torch.stack([code_length(t, costs[name]) for name, t in columns.items()]).sum()

    @torch.no_grad()
    def costs(self) -> tuple[dict[str, Costs], float]:
        """The costs of the integers as they are now, and the bits of all."""
        columns = self._columns(self._place(self._steps()).round())
        costs = {name: costs_of(q) for name, q in columns.items()}
        return costs, sum(float(code_length(q, costs[name])) for name, q in columns.items())

    @torch.no_grad()
    def parts(self) -> dict[str, codec.ArithmeticCoded]:
        """What its file holds: the integers, and steps in half precision.

        Units come in an order that codes well, and without those that change nothing.
        """
        tensors = self._tensors(self._place(self._steps()).round().to(torch.int8).cpu())
        layers = [name.removesuffix(".weight") for name in self.weights]
        tensors = units.keep_units(tensors, layers, _useful_units(tensors, layers))
        steps = self.log_steps.exp().half().float().cpu().unbind()
        return {
            name: codec.ArithmeticCoded(tensors[name], step)
            for name, step in zip(self.shapes, steps, strict=True)
        }

    def _steps(self) -> Tensor:
        """Each number's own."""
        steps = self.log_steps.exp().unbind()
        return torch.cat([s.expand(n) for s, n in zip(steps, self.sizes, strict=True)])

    def _place(self, steps: Tensor) -> Tensor:
        """All numbers in steps, one after the other; a kernel's channels last."""
        ordered = (p.permute(0, 2, 3, 1) if p.dim() == 4 else p for p in self.net.parameters())
        flat = torch.cat([p.reshape(-1) for p in ordered])
        return (flat / steps).clamp(-LARGEST, LARGEST)

    def _tensors(self, flat: Tensor) -> dict[str, Tensor]:
        found = {}
        for (name, shape), part in zip(self.shapes.items(), flat.split(self.sizes), strict=True):
            if len(shape) == 4:
                out, channels, height, width = shape
                found[name] = part.view(out, height, width, channels).permute(0, 3, 1, 2)
            else:
                found[name] = part.view(shape)
        return found

    def _columns(self, flat: Tensor) -> dict[str, Tensor]:
        """The weights, and all biases as one column."""
        tensors = self._tensors(flat)
        biases = [t.flatten() for name, t in tensors.items() if name not in self.weights]
        return {name: tensors[name] for name in self.weights} | {"biases": torch.cat(biases)}


def _useful_units(tensors: Mapping[str, Tensor], layers: list[str]) -> list[Tensor]:
    """Of each hidden layer the units that are used, those with most weights first.

    A unit whose weights and bias are all 0, or whose answer no unit behind it takes, changes
    nothing: linear layers, ReLU and the maximum of a pool give 0 for 0.
    """
    kept = []
    for layer, following in itertools.pairwise(layers):
        weight, bias = tensors[f"{layer}.weight"], tensors[f"{layer}.bias"]
        taken = tensors[f"{following}.weight"].unflatten(1, (len(weight), -1))
        count = (weight != 0).flatten(1).sum(1)
        useful = ((count > 0) | (bias != 0)) & (taken != 0).movedim(1, 0).flatten(1).any(1)
        useful[0] |= not bool(useful.any())  # a layer keeps one
        order = count.argsort(descending=True, stable=True)
        kept.append(order[useful[order]])
    return kept


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

"""Training with masks held: the time of a step beside that of the dense network, in one loop."""

import itertools
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from shrink import pruning
from shrink.classroom import data, models
from tests.bench.rows import Row, faster, in_turns

RATES = {"fc1.weight": 0.2, "fc2.weight": 0.2, "fc3.weight": 0.1}
ROUNDS = (0, 7, 15)  # 100, 21 and 3.6 % are left
EARLIER, STEPS = 1000, 10  # steps before any is timed, and those that are timed at once


class _Training:
    """LeNet-300-100 and fused Adam, which go on where they were."""

    def __init__(self, split: data.Split, batch_size: int) -> None:
        self.net = models.build("lenet-300-100", seed=0)
        self.weights = models.weights(self.net)
        self.optimizer = torch.optim.Adam(self.net.parameters(), 1.2e-3, fused=True)
        order = torch.randperm(len(split), generator=torch.Generator().manual_seed(0))
        batches = order[: len(order) // batch_size * batch_size].split(batch_size)
        self.split, self.batches = split, itertools.cycle(batches)

    def steps(self, number: int = STEPS) -> None:
        for batch in itertools.islice(self.batches, number):
            loss = F.cross_entropy(self.net(self.split.images[batch]), self.split.labels[batch])
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()

    def largest(self, number: int) -> dict[str, Tensor]:
        """Masks of as many weights as are left after so many rounds."""
        counts = {n: (w.numel(), RATES[n]) for n, w in self.weights.items()}
        left = {n: pruning.count_survivors(*c, number)[-1] for n, c in counts.items()}
        return {
            n: pruning.magnitude_mask(w, 1 - left[n] / w.numel()) for n, w in self.weights.items()
        }


def masks_held() -> Iterator[Row]:
    """At three shares and two batch sizes.

    What it costs is one mask applied to the gradients and to the weights, in each step.
    """
    train = data.load(announce=False).train
    split = data.Split(train.images[:12_000], train.labels[:12_000])
    for batch_size in (60, 128):
        dense = _Training(split, batch_size)
        dense.steps(EARLIER)
        for number in ROUNDS:
            masks = dense.largest(number)
            yield _beside(dense, split, batch_size, masks)
    yield _once(dense.weights["fc1.weight"].detach(), dense.largest(ROUNDS[1])["fc1.weight"])


def _once(weight: Tensor, mask: Tensor) -> Row:
    """By the bits of the numbers, as `hold_masks` has it, and by `torch.where`."""
    whole = mask.to(torch.int32).neg_()  # all bits where the mask is True
    zero = weight.new_zeros(())

    def bitwise() -> Tensor:
        return weight.view(torch.int32) & whole

    def where() -> Tensor:
        return torch.where(mask, weight, zero)

    same = "same bits" if where().view(torch.int32).equal(bitwise()) else "BITS DIFFER"
    ours, other = in_turns(bitwise, where)
    return Row(
        f"one mask of 300 by 784 applied, {100 * float(mask.float().mean()):.1f} % left",
        f"{ours:.2f} ms",
        f"torch.where {other:.2f} ms",
        f"{faster(ours, other)}; {same}",
    )


def _beside(dense: _Training, split: data.Split, batch_size: int, masks: dict[str, Tensor]) -> Row:
    masked = _Training(split, batch_size)
    left = sum(int(m.sum()) for m in masks.values()) / sum(m.numel() for m in masks.values())
    with pruning.hold_masks(masked.weights, masks, masked.optimizer):
        masked.steps(EARLIER)
        held, free = (t / STEPS for t in in_turns(masked.steps, dense.steps, runs=15))
    return Row(
        f"a step of LeNet-300-100 with masks held, {100 * left:.1f} % of its weights left, "
        f"batch {batch_size}",
        f"{held:.2f} ms",
        f"dense {free:.2f} ms",
        f"{held / free:.2f}x; goal 1.15x: {'met' if held / free <= 1.15 else 'not met'}",
    )

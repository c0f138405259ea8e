"""Training that shows progress, stops when asked and resumes after a kill."""

import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.arguments import whole_number, whole_seed
from shrink.classroom import CourseError, checkpoints
from shrink.classroom.cache import remove
from shrink.classroom.data import Split
from shrink.classroom.progress import Progress
from shrink.modes import in_use

# What makes a batch of the indices of its images, (n,) int64 on the split's device, with an epoch's
# generator on the CPU: the images and the labels, and whatever else the loss is given.
Examples = Callable[[Tensor, torch.Generator], tuple[Tensor, ...]]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: SGD with Nesterov momentum 0.9, the learning rate falling to zero
    along a cosine over the steps planned.
    """

    epochs: int
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    batch_size: int = 128

    def __post_init__(self) -> None:
        for name, least in (("epochs", 0), ("batch_size", 1)):
            number = whole_number(name, getattr(self, name), least)
            object.__setattr__(self, name, number)


@dataclass(frozen=True)
class Training:
    """What a training did: the optimizer steps taken of those planned, and each epoch's mean loss.

    `losses` are in nats per image, those of a resumed training's first part included.
    """

    steps: int
    planned: int
    losses: tuple[float, ...]

    @property
    def stopped(self) -> bool:
        return self.steps < self.planned


def pick_device(name: str | None = None) -> torch.device:
    """The device to work on: `name`, else `$SHRINK_DEVICE`, else a GPU when there is one.

    Raises:
        CourseError: the device is unknown to torch, or not there.
    """
    name = name or os.environ.get("SHRINK_DEVICE") or None
    if name is None:
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.ones(1, device=name).sum().item()  # some GPUs are listed and cannot compute
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise CourseError(
            f"no device {name!r} here ({reason}); SHRINK_DEVICE=cpu works without it"
        ) from None
    return torch.device(name)


def predict(model: nn.Module, images: Tensor, batch_size: int = 2000) -> Tensor:
    """The class with the largest logit: images (n, 1, 28, 28) → int64 (n,), on their device.

    Raises `TypeError` when the model gives anything but logits (n, classes).
    """
    batch_size = whole_number("batch_size", batch_size, 1)
    with in_use(model):
        return torch.cat([_answers(model(batch)) for batch in images.split(batch_size)])


def _answers(logits: Tensor) -> Tensor:
    if not isinstance(logits, Tensor) or logits.dim() < 2:
        got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise TypeError(f"the model must give logits (n, classes), not {got}")
    return logits.argmax(1)


def accuracy(model: nn.Module, split: Split) -> float:
    """The fraction of `split` that the model, on the same device, gets right."""
    return int((predict(model, split.images) == split.labels).sum()) / len(split)


def train(
    model: nn.Module,
    split: Split,
    recipe: Recipe,
    *,
    seed: int = 0,
    loss: Callable[..., Tensor] | None = None,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    examples: Examples | None = None,
    hold: Callable[[torch.optim.Optimizer], AbstractContextManager] | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
    checkpoint: Path | None = None,
) -> Training:
    """Train the model in place; the order of the images follows from `seed`.

    Args:
        model, split: on one device.
        loss: (logits, images, labels) of a batch → its loss; without it, cross entropy.
        augment: (images, generator on the CPU) → the images to train on, for example `shifted`.
        examples: makes each batch, instead of `augment`. After images and labels the loss also
            gets whatever else this returns, such as a teacher's answers.
        hold: called with the optimizer; the context it returns is open while the model trains,
            as with `lambda optimizer: pruning.hold_masks(weights, masks, optimizer)`.
        progress: called after each step with the steps done and the steps in all.
        stop: when set, training ends after the step under way; the model keeps what it has.
        checkpoint: a file written after each epoch, from which a killed training resumes; removed
            when training is complete. A stopped training keeps it. If it is damaged or belongs to
            another training, or cannot be written, training goes on without it and a line says so.

    Raises:
        ValueError: both `augment` and `examples` are given.
    """
    if augment is not None and examples is not None:
        raise ValueError("examples makes the whole batch: give it the augmentation, and not train")
    seed = whole_seed(seed)
    examples = examples or _plain(split, augment)
    loss = loss or _cross_entropy
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    per_epoch = -(-len(split) // recipe.batch_size)
    planned = recipe.epochs * per_epoch
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(planned, 1))
    parts = {"model": model, "optimizer": optimizer, "schedule": schedule}
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    plan = repr((recipe, seed, len(split), shapes))
    model.train()
    with hold(optimizer) if hold else nullcontext():
        losses = checkpoints.resume(
            checkpoint, parts, plan
        )  # after the hold, which may set the weights
        for epoch in range(len(losses), recipe.epochs):
            total = 0.0
            generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
            for i, batch in enumerate(_batches(split, recipe, generator)):
                if stop is not None and stop.is_set():
                    return Training(epoch * per_epoch + i, planned, tuple(losses))
                images, *beside = examples(batch, generator)
                found = loss(model(images), images, *beside)
                optimizer.zero_grad()
                found.backward()
                optimizer.step()
                schedule.step()
                total += found.detach().float() * len(batch)
                if progress is not None:
                    progress(epoch * per_epoch + i + 1, planned)
            losses.append(float(total) / len(split))
            checkpoints.save(checkpoint, parts, plan, losses)
    if checkpoint is not None:
        remove(checkpoint)
    return Training(planned, planned, tuple(losses))


def shifted(images: Tensor, generator: torch.Generator, pixels: int = 1) -> Tensor:
    """Each image moved by -`pixels` to `pixels` along each axis, at random; zeros come in.

    Images (n, channels, height, width) → a new tensor of that shape.

    >>> image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> shifted(image, torch.Generator().manual_seed(4))  # one to the right
    tensor([[[[0., 1.],
              [0., 3.]]]])
    """
    return shift(images, draw_shifts(len(images), generator, pixels))


def draw_shifts(n: int, generator: torch.Generator, pixels: int = 1) -> Tensor:
    """How far each of n images goes down and to the right: int64 (2, n), -`pixels` to `pixels`."""
    return pixels - torch.randint(2 * pixels + 1, (2, n), generator=generator)


def shift(images: Tensor, shifts: Tensor) -> Tensor:
    """Each image moved down and to the right by its own of the shifts, (2, n); zeros come in.

    >>> image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> shift(image, torch.tensor([[-1], [0]]))  # one up
    tensor([[[[3., 4.],
              [0., 0.]]]])
    """
    n, _, height, width = images.shape
    pixels = int(shifts.abs().max()) if n else 0
    padded = F.pad(images, (pixels,) * 4)
    windows = padded.unfold(2, height, 1).unfold(3, width, 1)
    top, left = pixels - shifts.to(images.device)  # of the window that is kept
    return windows[torch.arange(n, device=images.device), :, top, left]


def _cross_entropy(logits: Tensor, images: Tensor, labels: Tensor, *beside: Tensor) -> Tensor:
    return F.cross_entropy(logits, labels)


def _plain(split: Split, augment: Callable[[Tensor, torch.Generator], Tensor] | None) -> Examples:
    """Images and labels as they are in the split, or the images augmented."""

    def examples(batch: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        images = split.images[batch]
        return augment(images, generator) if augment else images, split.labels[batch]

    return examples


def _batches(split: Split, recipe: Recipe, generator: torch.Generator) -> tuple[Tensor, ...]:
    """The epoch's images in batches of indices, in the generator's order."""
    order = torch.randperm(len(split), generator=generator).to(split.labels.device)
    return order.split(recipe.batch_size)

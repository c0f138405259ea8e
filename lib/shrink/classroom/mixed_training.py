"""Training with 16 or 8 bit floats: with float32 master weights or without, and a loss scale."""

import math
import threading
from collections.abc import Callable, Mapping
from contextlib import nullcontext

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.arguments import whole_seed
from shrink.classroom.data import Split
from shrink.classroom.progress import Progress
from shrink.classroom.training import Recipe, Training
from shrink.quantization.mixed_precision import LossScaler, compute_in, round_stored
from shrink.quantization.number_formats import Format

# What is told of a step: how many are done, and of each parameter what it was before and what
# float32 made of it, before it was rounded again.
Watch = Callable[[int, Mapping[str, tuple[Tensor, Tensor]]], None]


def train_in(
    model: nn.Module,
    split: Split,
    recipe: Recipe,
    *,
    format: Format | None = None,
    gradients: Format | None = None,
    master: bool = True,
    scaler: LossScaler | None = None,
    seed: int = 0,
    watch: Watch | None = None,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Training:
    """Train the model in place as `training.train` does, computing in a format.

    The format is simulated, as `mixed_precision` says. The images come in the order that they have
    in `training.train`, and without format and scaler the weights come out the same.

    Args:
        model, split: on one device.
        format: of weights and activations; None: float32.
        gradients: of gradients, if it is another one.
        master: the optimizer changes weights in float32. Without, weights and momentum are rounded
            to the format at the start and after each step. Afterwards the model has float32
            weights, with the numbers of the format where there is no master.
        scaler: scales the loss, and skips steps. `scaler.skipped` says how many.
        watch: called after each step; weights are not to be changed there.
        progress: called after each step with the steps done and the steps in all.
        stop: when set, training ends after the step under way; the model keeps what it has.

    Returns:
        A step that is skipped counts as taken. `losses` are not scaled.

    Raises:
        FloatingPointError: as `LossScaler.step`.
        ValueError: no master weights, and no format either.
    """
    if format is None and (gradients is not None or not master):
        raise ValueError("without a format all is float32: give none for gradients, nor master")
    seed = whole_seed(seed)
    optimizer = torch.optim.SGD(
        model.parameters(),
        lr=recipe.learning_rate,
        momentum=0.9,
        nesterov=True,
        weight_decay=recipe.weight_decay,
        fused=True,
    )
    planned = recipe.epochs * -(-len(split) // recipe.batch_size)
    steps, losses = 0, []
    if not master:
        round_stored(optimizer, format)
    model.train()
    with compute_in(model, format, gradients) if format else nullcontext():
        for epoch in range(recipe.epochs):
            total = 0.0
            generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
            order = torch.randperm(len(split), generator=generator).to(split.labels.device)
            for batch in order.split(recipe.batch_size):
                if stop is not None and stop.is_set():
                    return Training(steps, planned, tuple(losses))
                for group in optimizer.param_groups:  # a scheduler warns where steps are skipped
                    group["lr"] = _falling(recipe.learning_rate, steps / planned)
                before = _copies(model) if watch else {}
                loss = F.cross_entropy(model(split.images[batch]), split.labels[batch])
                optimizer.zero_grad()
                (scaler.scaled(loss) if scaler else loss).backward()
                scaler.step(optimizer) if scaler else optimizer.step()
                steps += 1
                if watch is not None:
                    parameters = model.named_parameters()
                    watch(steps, {n: (before[n], p.detach()) for n, p in parameters})
                if not master:
                    round_stored(optimizer, format)
                total += float(loss.detach()) * len(batch)
                if progress is not None:
                    progress(steps, planned)
            losses.append(total / len(split))
    return Training(planned, planned, tuple(losses))


def _falling(rate: float, done: float) -> float:
    """The learning rate along a cosine, `done` from 0 to 1."""
    return rate * (1 + math.cos(math.pi * done)) / 2


def _copies(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters()}

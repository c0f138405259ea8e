"""Training under masks by Adam, for networks that lose their weights before they have learned."""

import threading
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink import pruning
from shrink.arguments import check_real, whole_number, whole_seed
from shrink.classroom import models
from shrink.classroom.data import Split
from shrink.classroom.progress import Progress
from shrink.classroom.training import Training


def train_masked(
    model: nn.Module,
    masks: Mapping[str, Tensor],
    split: Split,
    *,
    epochs: int,
    learning_rate: float = 2e-3,
    batch_size: int = 128,
    seed: int = 0,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> Training:
    """Train the model in place by Adam, with zeros held where the masks are False.

    A network that has lost most of its weights before training has small gradients, and a rate at
    which SGD trains one mask is too low for another. Adam divides each gradient by its usual size.
    The loss is cross entropy, the rate stays as it is, and there is no weight decay. With one seed
    the images come in the same order as in `training.train`.

    Args:
        model, masks, split: on one device. The masks are those of `models.weights(model)`, name →
            bool, True = keep; weights that have none are trained whole, as biases are.
        progress: called after each step with the steps done and the steps in all.
        stop: when set, training ends after the step under way; the model keeps what it has.

    Raises:
        TypeError, ValueError: epochs, learning rate, batch size or seed are no such numbers, the
            split is empty, or masks and weights do not fit, as in `pruning.hold_masks`. The model
            is as it was then.
    """
    epochs = whole_number("epochs", epochs, 0)
    batch_size = whole_number("batch_size", batch_size, 1)
    seed = whole_seed(seed)
    check_real("learning_rate", learning_rate)
    if not 0 < learning_rate < float("inf"):
        raise ValueError(f"learning_rate must be above 0 and finite, not {learning_rate}")
    if not len(split):
        raise ValueError("the split is empty: there are no images to train on")
    optimizer = torch.optim.Adam(model.parameters(), learning_rate, fused=True)
    planned = epochs * -(-len(split) // batch_size)
    steps, losses = 0, []
    with pruning.hold_masks(models.weights(model), masks, optimizer):
        model.train()
        for epoch in range(epochs):
            generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
            order = torch.randperm(len(split), generator=generator).to(split.labels.device)
            total = 0.0
            for batch in order.split(batch_size):
                if stop is not None and stop.is_set():
                    return Training(steps, planned, tuple(losses))
                loss = F.cross_entropy(model(split.images[batch]), split.labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(batch)
                steps += 1
                if progress is not None:
                    progress(steps, planned)
            losses.append(float(total) / len(split))
    return Training(planned, planned, tuple(losses))

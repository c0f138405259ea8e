"""Training under masks by Adam: what is left of a network learns, what is gone stays gone."""

import threading
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink import pruning
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

    A network that has lost most of its weights before training has small gradients, and a rate of
    SGD that suits one mask is too low for another. Adam divides by the gradients' own size.
    """
    optimizer = torch.optim.Adam(model.parameters(), learning_rate)
    planned = epochs * -(-len(split) // batch_size)
    step, losses = 0, []
    model.train()
    with pruning.hold_masks(models.weights(model), masks, optimizer):
        for epoch in range(epochs):
            generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
            order = torch.randperm(len(split), generator=generator).to(split.labels.device)
            total = 0.0
            for batch in order.split(batch_size):
                if stop is not None and stop.is_set():
                    return Training(step, planned, tuple(losses))
                loss = F.cross_entropy(model(split.images[batch]), split.labels[batch])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.detach() * len(batch)
                step += 1
                if progress is not None:
                    progress(step, planned)
            losses.append(float(total) / len(split))
    return Training(planned, planned, tuple(losses))

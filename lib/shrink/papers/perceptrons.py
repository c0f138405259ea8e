"""Perceptrons of several widths, trained side by side: one product for all where each would wait.

With a few thousand weights most of a training step is overhead. So the networks are stacked, filled
up with zeros to the widest, and see the same batches; each has weights and a loss of its own.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink import pruning
from shrink.pruning import fill_up


class SideBySide(nn.Module):
    """The perceptrons of these weights, as `pruning.perceptron` has them: → (networks, n, outputs).

    It is for training: batch norm uses the statistics of the batch. A unit that is filled up gives
    zeros, and neither what comes in nor what goes out of it ever gets a gradient.
    """

    def __init__(self, networks: Sequence[Sequence[Tensor]]) -> None:
        super().__init__()
        self.shapes = [[weight.shape for weight in weights] for weights in networks]
        stacks = []
        for layer in zip(*networks, strict=True):
            widest = [max(sizes) for sizes in zip(*(w.shape for w in layer), strict=True)]
            stacks.append(torch.stack([fill_up(w.detach(), widest) for w in layer]))
        self.stacks = nn.ParameterList(stacks)

    def forward(self, images: Tensor) -> Tensor:
        x = images.flatten(1) @ self.stacks[0].flatten(0, 1).T  # of all networks, as one product
        for weights in list(self.stacks)[1:]:
            x = F.relu(F.batch_norm(x, None, None, training=True))  # (n, networks · units)
            x = x.unflatten(1, (len(weights), -1)).transpose(0, 1) @ weights.mT
            x = x.transpose(0, 1).flatten(1)
        return x.unflatten(1, (len(self.shapes), -1)).transpose(0, 1)

    def weights(self) -> list[list[Tensor]]:
        """Those of each network, without the zeros."""
        return [
            [pruning.crop_weight(w[i], *shape) for w, shape in zip(self.stacks, own, strict=True)]
            for i, own in enumerate(self.shapes)
        ]


def summed_loss(logits: Tensor, images: Tensor, labels: Tensor) -> Tensor:
    """The sum of the networks' losses, each of which moves its own weights alone."""
    answers = labels.expand(len(logits), -1)
    return len(logits) * F.cross_entropy(logits.flatten(0, 1), answers.flatten())

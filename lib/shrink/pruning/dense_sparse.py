"""Dense-sparse-dense training: prune, train under the masks, then give the weights back."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from shrink.pruning.masks import magnitude_mask

PHASES = ("dense", "sparse", "dense again")
Train = Callable[[nn.Module, Mapping[str, Tensor], str], object]


def dense_sparse_dense(
    model: nn.Module, train: Train, weights: Mapping[str, Tensor], sparsity: float
) -> dict[str, Tensor]:
    """Train the model in place three times: dense, with the smallest weights at 0, dense again.

    In the last training the pruned weights begin at exactly 0.

    Args:
        model: changed in place.
        train: called with the model, the masks to hold (none: {}) and the phase, one of `PHASES`.
            Its optimizer starts afresh each time, so that no weight has momentum.
        weights: the parameters of the model that are pruned, by name.
        sparsity: the fraction of each layer that is pruned meanwhile, by magnitude.

    Returns:
        The masks of the sparse phase.

    Source: Han et al. 2017, "DSD: Dense-Sparse-Dense Training for Deep Neural Networks".
    """
    train(model, {}, PHASES[0])
    masks = {name: magnitude_mask(w.detach(), sparsity) for name, w in weights.items()}
    with torch.no_grad():
        for name, w in weights.items():
            w.masked_fill_(~masks[name], 0)
    train(model, masks, PHASES[1])
    train(model, {}, PHASES[2])
    return masks


def dense_throughout(model: nn.Module, train: Train) -> None:
    """The control: the same three trainings with the same restarts, and no weight pruned."""
    for phase in PHASES:
        train(model, {}, phase)

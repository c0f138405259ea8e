"""Dense-sparse-dense training: prune, train under the masks, then give the weights back."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from shrink.plain import check_module
from shrink.pruning.arguments import check_weights, number_pruned
from shrink.pruning.masks import magnitude_mask
from shrink.tensors import check_trainable, first_names

PHASES = ("dense", "sparse", "dense again")
Train = Callable[[nn.Module, Mapping[str, Tensor], str], object]


def dense_sparse_dense(
    model: nn.Module, train: Train, weights: Mapping[str, Tensor], sparsity: float
) -> dict[str, Tensor]:
    """Train the model in place three times: dense, with the smallest weights held at 0, and dense.

    After the first training each layer loses the weights of smallest magnitude, exactly
    round(sparsity · n) of its n. The second trains the rest. In the third the masks are gone: the
    pruned weights learn again, from exactly 0. Nothing else is changed between two trainings:
    biases, the norms' statistics and the weights that are kept go on from where they are.

    `train` holds the masks that it is given, as with `hold_masks`, and makes a new optimizer in
    each phase, so that no weight comes back with momentum from before it was pruned. Of the two
    only the zeros can be checked here, after the second training.

    >>> model = nn.Linear(4, 1, bias=False)
    >>> with torch.no_grad():
    ...     _ = model.weight.copy_(torch.tensor([[1.0, -2.0, 3.0, -4.0]]))
    >>> def train(model, masks, phase):
    ...     print(phase, model.weight.data.tolist(), *(mask.tolist() for mask in masks.values()))
    >>> masks = dense_sparse_dense(model, train, {"weight": model.weight}, sparsity=0.5)
    dense [[1.0, -2.0, 3.0, -4.0]]
    sparse [[0.0, 0.0, 3.0, -4.0]] [[False, False, True, True]]
    dense again [[0.0, 0.0, 3.0, -4.0]]

    Args:
        model: changed in place.
        train: called with the model, the masks to hold (none: {}) and the phase, one of `PHASES`,
            from which it takes its learning rate: lower in each, in the paper.
        weights: name → parameter of the model, floating point, all on one device: those that are
            pruned for a while.
        sparsity: the fraction of each layer that is pruned, 0 to 1; the paper has 0.25 to 0.5 for
            most networks.

    Returns:
        The masks of the sparse phase: name → bool tensor, True = kept; for a weight under several
        names, which is pruned once, one mask under each.

    Raises:
        TypeError: the model is no module, `weights` is no mapping of dense floating-point tensors,
            or `sparsity` no number. Nothing is trained then.
        ValueError: a weight is none of the model's parameters, is frozen, empty, holds NaN, or is a
            view of another; or `sparsity` lies outside 0 to 1. Nothing is trained then. Or, after a
            training: a weight holds NaN, is no longer the model's, or was pruned and is not 0.

    Source: Han et al. 2017, "DSD: Dense-Sparse-Dense Training for Deep Neural Networks", section 2.
    Differs: the paper prunes up to a threshold, so that of equal weights all go; here the number is
        met exactly. It leaves the first convolution whole; do so by leaving it out of `weights`. It
        says nothing about the optimizer's state.
    """
    check_module(model)
    number_pruned(sparsity, 1)
    _check(model, weights)
    train(model, {}, PHASES[0])
    _check(model, weights)
    masks = _smallest(weights, sparsity)
    with torch.no_grad():
        for name, weight in weights.items():
            weight.masked_fill_(~masks[name], 0)
    train(model, masks, PHASES[1])
    _check(model, weights)
    _check_zeros(weights, masks)
    train(model, {}, PHASES[2])
    return masks


def dense_throughout(model: nn.Module, train: Train) -> None:
    """The control of dense-sparse-dense: the same three trainings in place, and no weight pruned.

    `train` is that of `dense_sparse_dense`, and gets the same phases, so that epochs, learning
    rates and restarts are the same; its masks are always {}. What dense-sparse-dense has more than
    this is owed to the zeros.

    >>> dense_throughout(nn.Linear(4, 1), lambda model, masks, phase: print(phase, masks))
    dense {}
    sparse {}
    dense again {}

    Source: Han et al. 2017, section 4.3, go on training the dense network at a lower rate; section
        4.5 compares with as many epochs, at the first rate throughout.
    Differs: here all three phases have the same epochs and rates as in dense-sparse-dense.
    """
    for phase in PHASES:
        train(model, {}, phase)


def _check(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Raise unless they are parameters of the model that learn, and hold numbers."""
    check_weights(weights)
    first_names(weights)  # refuses views
    parameters = {id(parameter) for parameter in model.parameters()}
    for name, weight in weights.items():
        check_trainable(name, weight)
        if id(weight) not in parameters:
            raise ValueError(f"{name} is no parameter of the model, which would not notice")


def _smallest(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """The masks that prune the smallest weights of each layer; of a tied weight, one."""
    first = first_names(weights)
    masks = {n: magnitude_mask(w, sparsity) for n, w in weights.items() if n == first[n]}
    return {name: masks[first[name]] for name in weights}


def _check_zeros(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    for name, mask in masks.items():
        pruned = weights[name].detach()[~mask]
        if changed := int((pruned != 0).sum()):
            raise ValueError(
                f"{name}: {changed} of {pruned.numel()} pruned weights are not 0 after the sparse "
                "training; train must hold the masks that it is given, as hold_masks does"
            )

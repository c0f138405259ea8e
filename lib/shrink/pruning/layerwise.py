"""How much each layer alone can lose."""

from collections.abc import Callable, Iterable, Mapping

from torch import Tensor

from shrink.pruning.arguments import check_weights, number_pruned
from shrink.pruning.masks import apply_masks, magnitude_mask
from shrink.tensors import first_names


def sensitivity(
    weights: Mapping[str, Tensor],
    evaluate: Callable[[dict[str, Tensor]], float],
    sparsities: Iterable[float],
) -> dict[str, list[float]]:
    """How much each layer alone can lose: prune one at a time, leave all others whole.

    >>> import torch
    >>> weights = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([10.0, 30.0])}
    >>> sensitivity(weights, lambda pruned: sum(w.sum().item() for w in pruned.values()), [0, 0.5])
    {'a': [43.0, 42.0], 'b': [43.0, 33.0]}

    Args:
        weights: name → tensor of any shape, floating point; not changed.
        evaluate: all weights, by name → the accuracy, on validation data: a sparsity chosen by a
            look at the test set makes the test result worthless.
        sparsities: the fractions of a layer's weights that are pruned by magnitude, in any order.

    Returns:
        name → what `evaluate` gave at each of `sparsities`, in their order; a tensor under several
        names is pruned under all of them at once, and evaluated once.

    Raises:
        TypeError, ValueError: as `global_masks`, before anything is evaluated.

    Source: Han et al. 2015, section 5, figure 6.
    """
    check_weights(weights)
    sparsities = list(sparsities)
    for sparsity in sparsities:
        number_pruned(sparsity, 1)

    def with_pruned(name: str, sparsity: float) -> dict[str, Tensor]:
        return apply_masks(weights, {name: magnitude_mask(weights[name], sparsity)})

    first = first_names(weights)
    found = {
        name: [evaluate(with_pruned(name, s)) for s in sparsities]
        for name in weights
        if name == first[name]
    }
    return {name: list(found[first[name]]) for name in weights}

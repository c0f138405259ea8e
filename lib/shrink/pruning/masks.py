"""Magnitude pruning: which weights go, and how they stay gone while the rest is trained.

A mask is a bool tensor of the weight's shape, True where the weight is kept. Choosing masks is kept
apart from applying them, so that any other way of choosing can use the rest of this file.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer

from shrink.arguments import whole_seed
from shrink.pruning.arguments import (
    check_mask,
    check_masks,
    check_weight,
    check_weights,
    number_pruned,
)
from shrink.tensors import (
    check_gradient,
    check_mapping,
    check_optimizer,
    check_trainable,
    first_names,
)

WHOLE_OF_SIZE = {
    torch.float16: torch.int16,
    torch.bfloat16: torch.int16,
    torch.float32: torch.int32,
    torch.float64: torch.int64,
}


def magnitude_mask(weight: Tensor, sparsity: float) -> Tensor:
    """The mask that prunes the weights of smallest magnitude, exactly round(sparsity · n) of them.

    >>> magnitude_mask(torch.tensor([0.1, -3.0, 0.2, 1.0]), sparsity=0.5)
    tensor([False,  True, False,  True])

    Where magnitudes tie, those that come first, row by row, go first, never more than that number:

    >>> magnitude_mask(torch.tensor([2.0, -2.0, 2.0, 2.0]), sparsity=0.5)
    tensor([False, False,  True,  True])

    Args:
        weight: any shape, floating point, on any device; it is not changed.
        sparsity: the fraction of zeros wanted, 0 to 1; `round` is Python's (half to even).

    Returns:
        bool tensor of the weight's shape, True = keep.

    Raises:
        TypeError: `weight` is not a floating-point tensor, or `sparsity` is not a number.
        ValueError: `weight` is empty or holds NaN, or `sparsity` lies outside 0 to 1.

    Source: Han, Pool, Tran, Dally 2015, "Learning both Weights and Connections for Efficient
        Neural Networks", section 3.
    Differs: the paper prunes below a threshold, a quality parameter times the layer's standard
        deviation, so that the sparsity is a result; here it is given and met exactly.
    """
    check_weight("weight", weight)
    pruned = number_pruned(sparsity, weight.numel())
    return _drop_smallest(weight.detach().abs().flatten(), pruned).view(weight.shape)


def global_masks(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """One mask per layer, from one ranking of all weights: the smallest go, wherever they are.

    Of n weights in all, exactly round(sparsity · n) are pruned; a layer of small weights loses
    more than one of large weights, and may lose everything. A tensor under several names, as tied
    weights have, is ranked and counted once.

    >>> weights = {"small": torch.tensor([0.1, -0.2]), "large": torch.tensor([1.0, -2.0, 3.0, 0.3])}
    >>> global_masks(weights, sparsity=0.5)
    {'small': tensor([False, False]), 'large': tensor([ True,  True,  True, False])}

    Args:
        weights: name → tensor of any shape, floating point, all on one device; not changed.
        sparsity: the fraction of zeros wanted over all layers together, 0 to 1.

    Returns:
        name → bool tensor of that weight's shape, True = keep, in the order of `weights`; for a
        tensor under several names, one mask under each.

    Raises:
        TypeError: `weights` is not a mapping of dense floating-point tensors, or `sparsity` no
            number.
        ValueError: there is no weight, one is empty or holds NaN, they lie on different devices,
            one is a view of another, or `sparsity` lies outside 0 to 1.

    Source: Han et al. 2015, section 3, but with one threshold for the network, not one per layer.
    """
    check_weights(weights)
    first = first_names(weights)
    scores = {name: weights[name].detach().abs() for name in weights if name == first[name]}
    masks = _rank(scores, number_pruned(sparsity, _count(scores)))
    return {name: masks[first[name]] for name in weights}


def grow_masks(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], sparsity: float
) -> dict[str, Tensor]:
    """Global masks for a higher sparsity that prune all that `masks` prune, and more.

    What is pruned stays pruned, whatever its weight is by now; the rest is ranked as in
    `global_masks`. Where `masks` prune that much already, they come back as they are.

    >>> weights = {"w": torch.tensor([9.0, 3.0, 1.0, 2.0])}
    >>> grow_masks(weights, {"w": torch.tensor([False, True, True, True])}, sparsity=0.5)
    {'w': tensor([False,  True, False,  True])}

    Args:
        weights: name → tensor of any shape, floating point, all on one device; not changed.
        masks: one for each of `weights`, a bool tensor of its shape and device; not changed.
        sparsity: the fraction of zeros wanted over all layers together, 0 to 1.

    Returns:
        name → new bool tensor of that weight's shape, True = keep.

    Raises:
        TypeError, ValueError: as `global_masks` and `apply_masks`; or a weight has no mask.

    Source: Zhu and Gupta 2017, "To prune, or not to prune", section 3 (masks only grow).
    """
    check_weights(weights)
    check_masks(weights, masks)
    if missing := [name for name in weights if name not in masks]:
        raise ValueError(f"there is no mask for {', '.join(map(str, missing))}")
    first = first_names(weights)
    scores = {
        name: torch.where(masks[name], weights[name].detach().abs(), -1)
        for name in weights
        if name == first[name]
    }
    already = sum(int((~masks[name]).sum()) for name in scores)
    grown = _rank(scores, max(number_pruned(sparsity, _count(scores)), already))
    return {name: grown[first[name]] for name in weights}


def shuffle_masks(masks: Mapping[str, Tensor], seed: int) -> dict[str, Tensor]:
    """Masks that keep as many weights of each layer, at random places: pruning without a choice.

    The control for any way of choosing: what does the choice itself buy?

    >>> shuffled = shuffle_masks({"w": torch.tensor([True, False, False, False])}, seed=0)
    >>> shuffled["w"].sum().item(), shuffled["w"].shape
    (1, torch.Size([4]))

    Args:
        masks: name → bool tensor; not changed.
        seed: the same seed shuffles alike, on every device.

    Returns:
        name → new bool tensor of the mask's shape and device; one for a mask under several names,
        as `global_masks` has it for tied weights.

    Raises:
        TypeError: `masks` is no mapping of bool tensors, or the seed is not whole.
    """
    check_mapping("masks", masks)
    for name, mask in masks.items():
        check_mask(name, mask)
    generator = torch.Generator().manual_seed(whole_seed(seed))
    shuffled: dict[int, Tensor] = {}
    for mask in masks.values():
        if id(mask) not in shuffled:
            order = torch.randperm(mask.numel(), generator=generator).to(mask.device)
            shuffled[id(mask)] = mask.flatten()[order].view(mask.shape)
    return {name: shuffled[id(mask)] for name, mask in masks.items()}


def apply_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with zeros where the masks are False; weights that have no mask are kept whole.

    A tensor under several names has the mask of any of them, and comes back as one.

    >>> apply_masks({"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([True, False])})
    {'w': tensor([1., 0.])}

    Args:
        weights: name → tensor; not changed. A model's `state_dict()` will do.
        masks: name → bool tensor of the shape and device of the weight of that name.

    Returns:
        name → new tensor, one for each of `weights`.

    Raises:
        TypeError: `weights` is no mapping of tensors, or `masks` none of bool tensors; a weight
            that has a mask is sparse.
        ValueError: a mask has no weight of its name, or another shape or device; a weight that has
            one is a view of another, or has two under two names, which differ.
    """
    check_masks(weights, masks)
    first = first_names(weights, used=masks)
    of_tensor = {first[name]: mask for name, mask in masks.items()}
    applied = {
        name: _masked(weight.detach(), of_tensor[name])
        if name in of_tensor
        else weight.detach().clone()
        for name, weight in weights.items()
        if name == first[name]
    }
    return {name: applied[first[name]] for name in weights}


@contextmanager
def hold_masks(
    weights: Mapping[str, Tensor], masks: Mapping[str, Tensor], optimizer: Optimizer
) -> Iterator[None]:
    """Change the weights in place to their masked values, and hold the zeros through training.

    Inside the `with` block the gradient of a pruned weight is zero, and after each step of
    `optimizer` the weight is zero again, whatever momentum or weight decay remembers of it.
    `masks` is read at each step: put a new mask in the dict, and it holds from the next step on.

    >>> w = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
    >>> sgd = torch.optim.SGD([w], lr=0.1, momentum=0.9)
    >>> with hold_masks({"w": w}, {"w": torch.tensor([True, False])}, sgd):
    ...     w.sum().backward()
    ...     sgd.step()
    >>> w.data
    tensor([0.9000, 0.0000])

    Args:
        weights: name → leaf tensor that `optimizer` trains.
        masks: name → bool tensor of the shape and device of the weight of that name.
        optimizer: any `torch.optim.Optimizer`.

    Raises:
        TypeError: `weights` is no mapping of tensors, `masks` none of bool tensors, or `optimizer`
            none; a weight or its gradient is sparse, as of an `nn.Embedding(sparse=True)`.
        ValueError: a mask has no weight of its name, or another shape or device, or its weight is
            no leaf that requires a gradient; a weight is a view of another, or has two masks under
            two names, which differ. Nothing is changed then.

    Source: Han et al. 2015, section 3.3 (retraining keeps the surviving weights' values).
    """
    check_optimizer(optimizer)
    check_masks(weights, masks)
    for name in masks:
        check_trainable(name, weights[name])
    held = {name: _Held(name, weights[name], masks) for name in masks}

    def zero_pruned(*_: object) -> None:
        for weight in held.values():
            weight.zero_pruned()

    hooks = [optimizer.register_step_post_hook(zero_pruned)]
    try:
        for name, weight in held.items():
            hooks.append(weights[name].register_post_accumulate_grad_hook(weight.mask_gradient))
        zero_pruned()
        yield
    finally:
        for hook in hooks:
            hook.remove()


class _Held:
    """A weight, whose values and gradients become 0 in place where its mask of the moment is False.

    On the CPU by their bits, which is several times as fast as `torch.where` (`make bench`).
    """

    def __init__(self, name: str, weight: Tensor, masks: Mapping[str, Tensor]) -> None:
        self.name, self.weight, self.masks = name, weight, masks
        self.mask, self.version, self.bits = None, None, None

    def zero_pruned(self) -> None:
        self._zero(self.weight)

    def mask_gradient(self, weight: Tensor) -> None:
        """Called with the weight once its gradient is complete."""
        check_gradient(self.name, weight.grad)
        if weight.grad.requires_grad:  # with create_graph, which needs a step that it can derive
            weight.grad = _masked(weight.grad, self.masks[self.name])
        else:
            self._zero(weight.grad)

    @torch.no_grad()
    def _zero(self, values: Tensor) -> None:
        if values.device.type != "cpu" or values.dtype not in WHOLE_OF_SIZE:
            values.masked_fill_(~self.masks[self.name], 0)
        else:
            whole = WHOLE_OF_SIZE[values.dtype]
            values.view(whole).bitwise_and_(self._bits(whole))

    def _bits(self, whole: torch.dtype) -> Tensor:
        """All bits where the mask is True, else none; made anew where the mask is another."""
        mask = self.masks[self.name]
        version = None if mask.is_inference() else mask._version  # rises with changes in place
        known = self.mask is mask and self.version == version is not None
        if not known or self.bits.dtype != whole:
            check_mask(self.name, mask)
            self.bits = mask.to(whole).neg_()  # -1 has every bit
            self.mask, self.version = mask, version
        return self.bits


def _count(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() for tensor in tensors.values())


def _rank(scores: Mapping[str, Tensor], count: int) -> dict[str, Tensor]:
    """One mask a layer, False for the `count` smallest scores of all layers together."""
    keep = _drop_smallest(torch.cat([score.flatten() for score in scores.values()]), count)
    parts = keep.split([score.numel() for score in scores.values()])
    return {n: part.view(scores[n].shape) for n, part in zip(scores, parts, strict=True)}


def _drop_smallest(scores: Tensor, count: int) -> Tensor:
    """1-D scores → bool mask, False for exactly the `count` smallest, the first of equal ones."""
    if count == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    threshold = _kth_smallest(scores, count)
    keep = scores > threshold
    ties = (scores == threshold).nonzero().flatten()
    pruned_ties = count - int((scores < threshold).sum())
    keep[ties[pruned_ties:]] = True
    return keep


def _kth_smallest(scores: Tensor, k: int) -> Tensor | float:
    """The k-th smallest score, counted from 1.

    On the CPU by numpy's partition, several times as fast as kthvalue (`make bench`).
    """
    if scores.device.type == "cpu" and scores.dtype in (torch.float32, torch.float64):
        return float(np.partition(scores.numpy(), k - 1)[k - 1])
    return scores.kthvalue(k).values


def _masked(values: Tensor, mask: Tensor) -> Tensor:
    """Zeros where the mask is False, even where the value is infinite."""
    return torch.where(mask, values, values.new_zeros(()))

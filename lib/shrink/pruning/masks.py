"""Magnitude pruning: which weights go, when, and how they stay gone while the rest is trained.

A mask is a bool tensor of the weight's shape, True where the weight is kept. Choosing masks and
applying them are apart, so that any other way of choosing can use the rest of this file. Three
parts: masks (which), holding them (staying gone), schedules and sensitivity (when, and how much).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from numbers import Real
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer


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
        deviation, so that the sparsity is a result; here it is asked for and met exactly.
    """
    _check_weight("weight", weight)
    pruned = _number_pruned(sparsity, weight.numel())
    return _drop_smallest(weight.detach().abs().flatten(), pruned).view(weight.shape)


def global_masks(weights: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """One mask a layer, from one ranking of all weights: the smallest go, wherever they are.

    Of n weights in all, exactly round(sparsity · n) are pruned; a layer of small weights loses
    more than one of large weights, and may lose everything.

    >>> weights = {"small": torch.tensor([0.1, -0.2]), "large": torch.tensor([1.0, -2.0, 3.0, 0.3])}
    >>> global_masks(weights, sparsity=0.5)
    {'small': tensor([False, False]), 'large': tensor([ True,  True,  True, False])}

    Args:
        weights: name → tensor of any shape, floating point, all on one device; not changed.
        sparsity: the fraction of zeros wanted over all layers together, 0 to 1.

    Returns:
        name → bool tensor of that weight's shape, True = keep, in the order of `weights`.

    Raises:
        TypeError: `weights` is not a mapping of floating-point tensors, or `sparsity` no number.
        ValueError: there is no weight, one is empty or holds NaN, they lie on different devices,
            or `sparsity` lies outside 0 to 1.

    Source: Han et al. 2015, section 3, with one threshold for the network in place of one a layer.
    """
    _check_weights(weights)
    pruned = _number_pruned(sparsity, sum(weight.numel() for weight in weights.values()))
    return _rank({name: weight.detach().abs() for name, weight in weights.items()}, pruned)


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
    _check_weights(weights)
    _check_masks(weights, masks)
    if missing := [name for name in weights if name not in masks]:
        raise ValueError(f"there is no mask for {', '.join(missing)}")
    already = sum(int((~mask).sum()) for mask in masks.values())
    pruned = _number_pruned(sparsity, sum(weight.numel() for weight in weights.values()))
    scores = {name: torch.where(masks[name], w.detach().abs(), -1) for name, w in weights.items()}
    return _rank(scores, max(pruned, already))


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
        name → new bool tensor of the mask's shape and device.
    """
    generator = torch.Generator().manual_seed(seed)
    return {
        name: mask.flatten()[
            torch.randperm(mask.numel(), generator=generator).to(mask.device)
        ].view(mask.shape)
        for name, mask in masks.items()
    }


def apply_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights with zeros where the masks are False; weights that have no mask are kept whole.

    >>> apply_masks({"w": torch.tensor([1.0, 2.0])}, {"w": torch.tensor([True, False])})
    {'w': tensor([1., 0.])}

    Args:
        weights: name → tensor; not changed. A model's `state_dict()` will do.
        masks: name → bool tensor of the shape and device of the weight of that name.

    Returns:
        name → new tensor, one for each of `weights`.

    Raises:
        TypeError: `weights` is no mapping of tensors, or `masks` none of bool tensors.
        ValueError: a mask has no weight of its name, or another shape or device.
    """
    _check_masks(weights, masks)
    return {
        name: _masked(weight.detach(), masks[name]) if name in masks else weight.detach().clone()
        for name, weight in weights.items()
    }


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
        TypeError: `weights` is no mapping of tensors, or `masks` none of bool tensors.
        ValueError: a mask has no weight of its name, or another shape or device, or its weight is
            no leaf that requires a gradient. Nothing is changed then.

    Source: Han et al. 2015, section 3.3 (retraining keeps the surviving weights' values).
    """
    _check_masks(weights, masks)
    for name in masks:
        if not (weights[name].is_leaf and weights[name].requires_grad):
            raise ValueError(f"{name} is not a parameter to train: a leaf that requires a gradient")

    @torch.no_grad()
    def zero_pruned(*_: object) -> None:
        for name, mask in masks.items():
            weights[name].copy_(_masked(weights[name], mask))

    def mask_gradient(name: str) -> Callable[[Tensor], Tensor]:
        return lambda gradient: _masked(gradient, masks[name])

    hooks = [optimizer.register_step_post_hook(zero_pruned)]
    try:
        hooks += [weights[name].register_hook(mask_gradient(name)) for name in masks]
        zero_pruned()
        yield
    finally:
        for hook in hooks:
            hook.remove()


def cubic_sparsity(
    step: int, *, begin: int = 0, end: int, initial: float = 0.0, final: float
) -> float:
    """The sparsity at a training step: fast at first, slower as less is left, then constant.

    s = s_f + (s_i - s_f) · (1 - (t - t_0) / (t_1 - t_0))³ between t_0 and t_1; s_i before, s_f
    after.

    >>> [cubic_sparsity(step, begin=100, end=300, final=0.5) for step in (0, 100, 200, 300, 900)]
    [0.0, 0.0, 0.4375, 0.5, 0.5]

    Args:
        step: optimizer steps taken, t.
        begin, end: the steps t_0 and t_1 between which the sparsity rises.
        initial, final: the sparsities s_i and s_f, 0 to 1; final is not below initial.

    Raises:
        ValueError: `end` is not after `begin`, or not 0 <= `initial` <= `final` <= 1.

    Source: Zhu and Gupta 2017, "To prune, or not to prune", equation 1.
    """
    if not begin < end:
        raise ValueError(f"end must come after begin, not {end!r} after {begin!r}")
    if not 0 <= initial <= final <= 1:
        raise ValueError(
            f"sparsity must rise within 0 to 1, not from initial={initial!r} to final={final!r}"
        )
    left = 1 - min(max((step - begin) / (end - begin), 0.0), 1.0)
    return final + (initial - final) * left**3


@contextmanager
def prune_gradually(
    weights: Mapping[str, Tensor],
    optimizer: Optimizer,
    sparsity_at: Callable[[int], float],
    *,
    every: int = 100,
) -> Iterator[Mapping[str, Tensor]]:
    """Change the weights in place: prune more and more of them while `optimizer` trains the rest.

    Inside the `with` block the masks are held as by `hold_masks`, and after every `every`-th step
    of `optimizer` they grow to the sparsity of that step, ranked over all layers. Steps count from
    0 at entry; masks never shrink, even where `sparsity_at` falls.

    >>> w = torch.nn.Parameter(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    >>> sgd = torch.optim.SGD([w], lr=0.5)
    >>> with prune_gradually({"w": w}, sgd, lambda step: 0.25 * step, every=1) as masks:
    ...     for step in range(2):
    ...         sgd.zero_grad()
    ...         w.sum().backward()
    ...         sgd.step()
    >>> masks["w"], w.data
    (tensor([False, False,  True,  True]), tensor([0., 0., 2., 3.]))

    Args:
        weights: name → leaf tensor that `optimizer` trains; all on one device.
        optimizer: any `torch.optim.Optimizer`.
        sparsity_at: step → sparsity over all layers together, as `cubic_sparsity`.
        every: steps from one growth to the next. A last target is met only at a step that is a
            multiple of it.

    Yields:
        The masks of the moment, in a mapping that is brought up to date as they grow.

    Raises:
        TypeError, ValueError: as `global_masks` and `hold_masks`; or `every` is less than 1.

    Source: Zhu and Gupta 2017, section 3.
    Differs: the paper ranks each layer by itself; here one ranking spans the network.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1 step, not {every!r}")
    masks = global_masks(weights, sparsity_at(0))
    step = 0

    def grow(*_: object) -> None:
        nonlocal step
        step += 1
        if step % every == 0:
            masks.update(grow_masks(weights, masks, sparsity_at(step)))

    hook = optimizer.register_step_post_hook(grow)  # before hold_masks' own, which then zeroes
    try:
        with hold_masks(weights, masks, optimizer):
            yield MappingProxyType(masks)
    finally:
        hook.remove()


def prune_iteratively(
    weights: Mapping[str, Tensor],
    sparsities: Iterable[float],
    fine_tune: Callable[[dict[str, Tensor]], object],
) -> dict[str, Tensor]:
    """Prune a little, fine-tune, prune more: the weights are what `fine_tune` makes of them.

    Each round ranks the weights as they are then; what was pruned stays pruned. `fine_tune` is
    called with the round's masks and trains the same weights in place while it holds them.

    >>> w = torch.tensor([1.0, 2.0, 3.0, 4.0])
    >>> def fine_tune(masks):
    ...     w.mul_(masks["w"]).mul_(torch.tensor([1.0, 1.0, 0.5, 1.0]))
    >>> prune_iteratively({"w": w}, [0.25, 0.5], fine_tune)
    {'w': tensor([False,  True, False,  True])}

    Args:
        weights: name → tensor, floating point, all on one device; read at each round.
        sparsities: of each round, over all layers together; none lower than the one before.
        fine_tune: masks → anything.

    Returns:
        The last round's masks; all True when `sparsities` is empty.

    Raises:
        TypeError, ValueError: as `global_masks`, before anything is trained; or a sparsity is
            lower than the one before.

    Source: Han et al. 2015, section 3.4 (iterative pruning).
    """
    _check_weights(weights)
    rounds = list(sparsities)
    for sparsity, after in pairwise([0.0, *rounds]):
        _number_pruned(after, 1)
        if after < sparsity:
            raise ValueError(f"sparsities must not fall, as from {sparsity!r} to {after!r}")
    masks = global_masks(weights, 0)
    for sparsity in rounds:
        masks = grow_masks(weights, masks, sparsity)
        fine_tune(masks)
    return masks


def sensitivity(
    weights: Mapping[str, Tensor],
    evaluate: Callable[[dict[str, Tensor]], float],
    sparsities: Sequence[float],
) -> dict[str, list[float]]:
    """How much each layer alone can lose: prune one at a time, leave all others whole.

    >>> weights = {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([10.0, 30.0])}
    >>> sensitivity(weights, lambda pruned: sum(w.sum().item() for w in pruned.values()), [0, 0.5])
    {'a': [43.0, 42.0], 'b': [43.0, 33.0]}

    Args:
        weights: name → tensor of any shape, floating point; not changed.
        evaluate: all weights, by name → the accuracy, on validation data: a sparsity chosen by a
            look at the test set makes the test result worthless.
        sparsities: the fractions of a layer's weights that are pruned by magnitude, in any order.

    Returns:
        name → what `evaluate` gave at each of `sparsities`, in their order.

    Raises:
        TypeError, ValueError: as `global_masks`, before anything is evaluated.

    Source: Han et al. 2015, section 5, figure 6.
    """
    _check_weights(weights)
    for sparsity in sparsities:
        _number_pruned(sparsity, 1)

    def with_pruned(name: str, sparsity: float) -> dict[str, Tensor]:
        return apply_masks(weights, {name: magnitude_mask(weights[name], sparsity)})

    return {name: [evaluate(with_pruned(name, s)) for s in sparsities] for name in weights}


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
    return torch.where(mask, values, 0)


def _number_pruned(sparsity: float, n: int) -> int:
    if not isinstance(sparsity, Real) or isinstance(sparsity, bool):
        raise TypeError(f"sparsity must be a number, not {sparsity!r}")
    if not 0 <= sparsity <= 1:
        raise ValueError(f"sparsity must lie between 0 and 1, not {sparsity!r}")
    return round(float(sparsity) * n)


def _check_weight(name: str, weight: Tensor) -> None:
    if not isinstance(weight, Tensor):
        raise TypeError(f"{name} must be a tensor, not a {type(weight).__name__}")
    if weight.dtype not in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        raise TypeError(f"{name} must be floating point of 16, 32 or 64 bits, not {weight.dtype}")
    if weight.numel() == 0:
        raise ValueError(f"{name} is empty: its shape is {tuple(weight.shape)}")
    if nans := int(weight.isnan().sum()):
        raise ValueError(f"{name} holds {nans} NaN of {weight.numel()} values")


def _check_weights(weights: Mapping[str, Tensor]) -> None:
    if not isinstance(weights, Mapping):
        raise TypeError(f"weights must map names to tensors, not be a {type(weights).__name__}")
    if not weights:
        raise ValueError("weights is empty: there is nothing to prune")
    for name, weight in weights.items():
        _check_weight(name, weight)
    devices = {weight.device for weight in weights.values()}
    if len(devices) > 1:
        raise ValueError(f"weights lie on different devices: {', '.join(map(str, devices))}")


def _check_masks(weights: Mapping[str, Tensor], masks: Mapping[str, Tensor]) -> None:
    for what, given in {"weights": weights, "masks": masks}.items():
        if not isinstance(given, Mapping):
            raise TypeError(f"{what} must map names to tensors, not be a {type(given).__name__}")
    for name, weight in weights.items():
        if not isinstance(weight, Tensor):
            raise TypeError(f"{name} must be a tensor, not a {type(weight).__name__}")
    for name, mask in masks.items():
        if name not in weights:
            raise ValueError(f"a mask is named {name!r}, a weight is not: {', '.join(weights)}")
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            got = getattr(mask, "dtype", type(mask).__name__)
            raise TypeError(f"the mask of {name} must be a bool tensor, not {got}")
        if mask.shape != weights[name].shape:
            raise ValueError(
                f"the mask of {name} has shape {tuple(mask.shape)}, "
                f"its weight {tuple(weights[name].shape)}"
            )
        if mask.device != weights[name].device:
            raise ValueError(
                f"the mask of {name} is on {mask.device}, its weight on {weights[name].device}"
            )

"""Pruning by any score, at once or in steps that score anew what is left."""

from collections.abc import Callable, Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from shrink.arguments import check_real, whole_number
from shrink.plain import copied
from shrink.pruning.arguments import check_weight, check_weights, number_pruned
from shrink.pruning.masks import _drop_smallest, _rank
from shrink.tensors import check_floating, check_mapping, first_names


def exponential_sparsity(step: int, steps: int, final: float) -> float:
    """The sparsity after a step: each of the steps keeps the same share of what is left.

    s = 1 - (1 - s_f)^(t/T), so that 1/(1 - s), the compression, grows by the same factor each time.

    >>> [exponential_sparsity(step, 2, 0.75) for step in (0, 1, 2)]
    [0.0, 0.5, 0.75]

    Args:
        step: t, from 0 to `steps`.
        steps: T, how many there are.
        final: the sparsity s_f after the last, 0 to 1.

    Raises:
        TypeError: something is no number, or a step is not whole.
        ValueError: `steps` is less than 1, `step` not within 0 to `steps`, or `final` not within 0
            to 1.

    Source: Tanaka et al. 2020, "Pruning neural networks without any data by iteratively conserving
        synaptic flow", algorithm 1.
    """
    steps = whole_number("steps", steps, 1)
    step = whole_number("step", step, 0, steps)
    number_pruned(final, 1)
    return 1 - (1 - final) ** (step / steps)


def masks_from_scores(scores: Mapping[str, Tensor], sparsity: float) -> dict[str, Tensor]:
    """One mask per weight, from one ranking of all scores: the smallest go, exactly round(s · n).

    Where scores tie, those that come first go first, never more than that number. What has the
    score -inf goes before all else.

    >>> masks_from_scores({"a": torch.tensor([[5.0, 1.0]]), "b": torch.tensor([[1.0, -2.0]])}, 0.5)
    {'a': tensor([[ True, False]]), 'b': tensor([[ True, False]])}

    Args:
        scores: name → tensor of any shape, floating point of one type, all on one device.
        sparsity: the fraction of zeros wanted over all together, 0 to 1.

    Returns:
        name → bool tensor of the shape of its scores, True = keep; for a tensor under several
        names, which counts once, one mask under each.

    Raises:
        TypeError: `scores` is no mapping of floating-point tensors, or `sparsity` is no number.
        ValueError: there is no score, one is NaN, they are of several types or on several devices,
            or `sparsity` lies outside 0 to 1.
    """
    check_weights(scores)
    _check_one_type("scores", scores)
    first = first_names(scores)
    once = {name: scores[name].detach() for name in scores if name == first[name]}
    masks = _rank(once, number_pruned(sparsity, sum(score.numel() for score in once.values())))
    return {name: masks[first[name]] for name in scores}


def prune_by_score(
    model: nn.Module,
    score: Callable[[nn.Module], Mapping[str, Tensor]],
    sparsity: float,
    steps: int = 1,
    schedule: Callable[[int, int, float], float] = exponential_sparsity,
) -> dict[str, Tensor]:
    """Masks by a score that is taken anew in each step, of the model masked so far.

    After each step exactly round(s · n) of the n weights are pruned, s the step's sparsity: those
    of the smallest scores among the weights that are left, the first of equal ones. What is pruned
    stays pruned, whatever score it gets later.

    >>> model = nn.Linear(4, 1)
    >>> with torch.no_grad():
    ...     _ = model.weight.copy_(torch.tensor([[1.0, -2.0, 3.0, -4.0]]))
    >>> prune_by_score(model, lambda net: {"weight": net.weight.abs()}, 0.5, steps=2)
    {'weight': tensor([[False, False,  True,  True]])}

    Args:
        model: not changed: what is masked is a copy.
        score: the masked copy → name → score of each weight, floating point of the weight's
            shape; large = keep. For SynFlow `lambda net: synflow_scores(net, (1, 28, 28))`.
        sparsity: after the last step, 0 to 1.
        steps: how often the rest is scored and ranked; 1 is pruning in one shot.
        schedule: (step, steps, sparsity) → the sparsity after each step from 1 to `steps`.

    Returns:
        name → bool tensor, True = keep, for each name of the scores; for a weight under several
        names, which counts once, one mask under each.

    Raises:
        TypeError: the model is no module, the scores are no mapping of floating-point tensors, or
            a number is none.
        ValueError: the schedule falls, leaves 0 to 1, or ends elsewhere than at `sparsity`; a score
            is of no parameter, has another shape or is NaN; or a step scores other weights than
            the first. Errors of `score` are passed on.

    Source: Tanaka et al. 2020, algorithm 1 and section 5 (positive, conservative scores that are
        taken in steps do not empty a layer early).
    Differs: the authors' code ranks pruned weights again, by a threshold, and so may prune more
        where scores tie.
    """
    steps = whole_number("steps", steps, 1)
    sparsities = _sparsities(schedule, steps, sparsity)
    net = copied(model)
    left: _Left | None = None
    for to_reach in sparsities:
        scores = score(net)
        left = left or _Left(net, scores)
        left.prune(scores, to_reach)
    return left.masks()


def _sparsities(
    schedule: Callable[[int, int, float], float], steps: int, sparsity: float
) -> list[float]:
    """Those after each step, the last of them exactly `sparsity`."""
    number_pruned(sparsity, 1)
    planned = [schedule(step, steps, sparsity) for step in range(1, steps + 1)]
    for step, (before, after) in enumerate(pairwise([0.0, *planned]), 1):
        check_real(f"the schedule's sparsity at step {step}", after)
        if not 0 <= after <= 1:
            raise ValueError(f"the schedule gives {after!r} at step {step}, not 0 to 1")
        if after < before:
            raise ValueError(f"the schedule falls from {before!r} to {after!r} at step {step}")
    if abs(planned[-1] - sparsity) > 1e-9:
        raise ValueError(f"the schedule ends at {planned[-1]!r}, and asked for is {sparsity!r}")
    return [min(planned_one, sparsity) for planned_one in planned[:-1]] + [sparsity]


class _Left:
    """The weights of a network that are not pruned, by their places; the pruned are zeros in it."""

    def __init__(self, net: nn.Module, scores: Mapping[str, Tensor]) -> None:
        check_mapping("the scores", scores)
        named = dict(net.named_parameters(remove_duplicate=False))
        if not scores:
            raise ValueError("there is no score, and so nothing to prune")
        if strangers := [name for name in scores if name not in named]:
            raise ValueError(f"a score is named {strangers[0]!r}, and no parameter of the model is")
        self.first = first_names({name: named[name] for name in scores})
        self.weights = {name: named[name] for name in scores if name == self.first[name]}
        check_weights(self.weights)
        _check_one_type("the weights", self.weights)
        self.flat = torch.cat([w.detach().reshape(-1) for w in self.weights.values()])
        for part, w in zip(self._parts(self.flat), self.weights.values(), strict=True):
            w.data = part
        self.places = torch.arange(
            len(self.flat), device=self.flat.device
        )  # of those that are left

    def prune(self, scores: Mapping[str, Tensor], sparsity: float) -> None:
        """Prune more of the weights by these scores, until as many are pruned as that is."""
        self._check(scores)
        already = len(self.flat) - len(self.places)
        if drop := number_pruned(sparsity, len(self.flat)) - already:
            values = torch.cat([scores[name].detach().reshape(-1) for name in self.weights])
            values = values if not already else values.index_select(0, self.places)
            if values.amax().isnan():
                check_weight("the scores", values)
            keep = _keep_largest(values, drop)
            self.flat[self.places.index_select(0, _places(~keep))] = 0
            self.places = self.places.index_select(0, _places(keep))

    def masks(self) -> dict[str, Tensor]:
        """True where a weight is left."""
        mask = torch.zeros(len(self.flat), dtype=torch.bool, device=self.flat.device)
        mask[self.places] = True
        masks = dict(zip(self.weights, self._parts(mask), strict=True))
        return {name: masks[first] for name, first in self.first.items()}

    def _parts(self, flat: Tensor) -> list[Tensor]:
        parts = flat.split([w.numel() for w in self.weights.values()])
        return [part.view(w.shape) for part, w in zip(parts, self.weights.values(), strict=True)]

    def _check(self, scores: Mapping[str, Tensor]) -> None:
        check_mapping("the scores", scores)
        if scores.keys() != self.first.keys():
            differ = sorted(scores.keys() ^ self.first.keys())
            raise ValueError(f"a step scores other weights than the first: {', '.join(differ)}")
        for name, weight in self.weights.items():
            score = scores[name]
            check_floating(score, f"the scores of {name}")
            if score.shape != weight.shape or score.device != weight.device:
                raise ValueError(
                    f"the scores of {name} are {tuple(score.shape)} on {score.device}, "
                    f"the weights {tuple(weight.shape)} on {weight.device}"
                )
        _check_one_type("the scores", {name: scores[name] for name in self.weights})


def _keep_largest(scores: Tensor, drop: int) -> Tensor:
    """1-D scores → bool mask, False for exactly the `drop` smallest, the first of equal ones.

    On the CPU by numpy, several times as fast as torch's comparisons (`make bench`).
    """
    if scores.device.type != "cpu" or scores.dtype not in (torch.float32, torch.float64):
        return _drop_smallest(scores, drop)
    numbers = scores.numpy()
    threshold = np.partition(numbers, drop - 1)[drop - 1]
    keep = numbers > threshold
    if staying := len(keep) - drop - np.count_nonzero(keep):
        keep[np.flatnonzero(numbers == threshold)[-staying:]] = True
    return torch.from_numpy(keep)


def _places(mask: Tensor) -> Tensor:
    """Where a 1-D mask is True, int64, ascending."""
    if mask.device.type != "cpu":
        return mask.nonzero().flatten()
    return torch.from_numpy(np.flatnonzero(mask.numpy()))


def _check_one_type(what: str, tensors: Mapping[str, Tensor]) -> None:
    types = {tensor.dtype: None for tensor in tensors.values()}
    if len(types) > 1:
        raise ValueError(f"{what} are of several types: {', '.join(map(str, types))}")

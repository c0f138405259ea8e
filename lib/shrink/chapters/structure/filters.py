"""An exercise of chapter 07: which filters of a convolution stay.

The oracle is `torch.nn.utils.prune.ln_structured` on the weight in float64. Where norms tie, any of
the equal filters may stay.
"""

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from shrink import pruning
from shrink.classroom.exercises.attempt import Mistake, Wrong, known
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise

INDICES = (torch.int64, torch.int32)  # what torch takes for the numbers of entries


def norms(weight: Tensor) -> Tensor:
    """The L1 norm of each filter, in float64."""
    return weight.detach().double().abs().sum((1, 2, 3))


def _largest(scores: Tensor, count: int) -> Tensor:
    return scores.argsort(descending=True, stable=True)[:count].sort().values


def _right(weight: Tensor, count: int) -> Tensor:
    layer = nn.Module()
    layer.weight = nn.Parameter(weight.detach().double())
    prune.ln_structured(layer, "weight", amount=len(weight) - count, n=1, dim=0)
    return layer.weight_mask.flatten(1).any(1).nonzero().flatten()


@known(
    "these are the norms of the input channels: the filters lie along axis 0, so add up over all "
    "axes but that one, (1, 2, 3)",
    "axis 1",
)
def _by_inputs(weight: Tensor, count: int) -> Tensor:
    return _largest(weight.detach().double().abs().sum((0, 2, 3)), count)


@known(
    "with their signs, weights cancel: a filter of large weights can have the sum 0; take .abs() "
    "before you add up",
    "signed sum",
)
def _signed(weight: Tensor, count: int) -> Tensor:
    return _largest(weight.detach().double().sum((1, 2, 3)), count)


@known(
    "the signs cancel in the sum, before .abs() is taken: take it of each weight, and then add up",
    "absolute value of the sum",
)
def _cancelled(weight: Tensor, count: int) -> Tensor:
    return _largest(weight.detach().double().sum((1, 2, 3)).abs(), count)


@known(
    "this is the L2 norm, the root of the sum of squares, which is what .norm() gives unless told "
    "otherwise; the L1 norm is the sum of the absolute values",
    "L2 norm",
)
def _euclidean(weight: Tensor, count: int) -> Tensor:
    return _largest(weight.detach().double().square().sum((1, 2, 3)), count)


@known(
    "these are the filters above the mean, and how many those are depends on the weights: rank the "
    "norms and take the first `count`",
    "one mean over everything",
)
def _above_the_mean(weight: Tensor, count: int) -> Tensor:
    return (norms(weight) > norms(weight).mean()).nonzero().flatten()


@known("these are the filters that go; return the numbers of those that stay", "those to drop")
def _dropped(weight: Tensor, count: int) -> Tensor:
    return norms(weight).argsort()[: len(weight) - count].sort().values


@known("argsort begins with the smallest norm, and these are the smallest: the largest stay")
def _the_smallest(weight: Tensor, count: int) -> Tensor:
    return norms(weight).argsort()[:count].sort().values


@known(
    "the filters are right, and their order is that of the norms: sort the numbers, or the small "
    "network has its channels in another order than the large one",
    "unsorted",
)
def _by_norm(weight: Tensor, count: int) -> Tensor:
    return norms(weight).argsort(descending=True, stable=True)[:count]


@known(
    "this is a mask, with one entry per filter; return the numbers of the filters that stay: "
    "mask.nonzero().flatten()",
    "a mask",
)
def _mask(weight: Tensor, count: int) -> Tensor:
    mask = torch.zeros(len(weight), dtype=torch.bool, device=weight.device)
    mask[_largest(norms(weight), count)] = True
    return mask


MISTAKES = (
    _by_inputs,
    _signed,
    _cancelled,
    _euclidean,
    _above_the_mean,
    _dropped,
    _the_smallest,
    _by_norm,
    _mask,
)


def _comparable(result: Any) -> Any:
    """What two results are compared by: indices of either type are alike."""
    if not isinstance(result, Tensor) or result.layout != torch.strided:
        return result
    kind = "indices" if result.dtype in INDICES else str(result.dtype)
    return kind, tuple(result.shape), result.tolist()


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, int]]]:
    g = generator(rng)

    def filters(*shape: int, count: int) -> tuple[Tensor, int]:
        """Filters of other strengths, signs and shares of zeros, no two norms near each other."""
        ones = [1] * (len(shape) - 1)
        while True:
            weight = torch.randn(shape, generator=g) + torch.randn(shape[0], *ones, generator=g)
            zeros = torch.rand(shape, generator=g) < torch.rand(shape[0], *ones, generator=g)
            weight = (20 * weight).round().masked_fill(zeros, 0) / 10 + 0.0  # no -0.0
            if len(weight) == 1 or norms(weight).sort().values.diff().min() > 1e-3:
                return weight, count

    def telling_of(mistake: Mistake) -> tuple[Tensor, int]:
        """Filters of which that mistake keeps others."""
        for _ in range(1000):
            weight, count = filters(4, 3, 1, 2, count=rng.choice([1, 3]))
            if _comparable(mistake(weight, count)) != _comparable(_right(weight, count)):
                break
        return weight, count

    def equal() -> tuple[Tensor, int]:
        """Filters of two norms, one of them several times, under other signs and in other order."""
        first = torch.tensor([3.0, -2.0, 1.0, 0.5])
        weight = torch.stack([first, -first, 2 * first, first.flip(0), 2 * first, first])
        return weight[rng.sample(range(6), 6)].view(6, 1, 2, 2), rng.choice([1, 3, 4, 5])

    def changed(change: Callable[[Tensor], Tensor], *shape: int) -> tuple[Tensor, int]:
        weight, count = filters(*shape, count=4)
        return change(weight), count

    for mistake in MISTAKES:
        yield partial(telling_of, mistake)
    yield lambda: filters(8, 1, 3, 3, count=3)  # one input, as a stem has
    yield lambda: filters(7, 3, 1, 1, count=5)
    yield lambda: filters(4, 2, 3, 3, count=4)
    yield lambda: filters(1, 3, 2, 2, count=1)
    yield equal
    yield equal
    yield lambda: (torch.zeros(4, 2, 3, 3), 2)
    yield lambda: filters(32, 16, 3, 3, count=20)
    yield lambda: changed(lambda w: w.transpose(0, 1), 6, 6, 2, 2)  # not contiguous
    yield lambda: changed(Tensor.double, 6, 3, 2, 2)
    yield lambda: changed(nn.Parameter, 6, 3, 2, 2)
    if torch.cuda.is_available():
        yield lambda: changed(Tensor.cuda, 6, 3, 2, 2)


def _wrong_filters(given: Any, right: Tensor, weight: Tensor, count: int) -> Wrong | None:
    wrong = partial(Wrong, expected=right, given=given)
    if not isinstance(given, Tensor):
        return wrong("the numbers of the filters are a tensor")
    if given.dtype not in INDICES or given.layout != torch.strided:
        return wrong(
            "the numbers of the filters are int64, which torch indexes by (it takes uint8 and bool "
            "for masks, and smaller whole numbers for nothing)"
        )
    if given.shape != right.shape or given.device != weight.device:
        return wrong(
            f"return as many numbers as filters stay, {count}, on one axis, and on the device of "
            "the weight"
        )
    numbers, filters = given.tolist(), len(weight)
    if strangers := [number for number in numbers if not 0 <= number < filters]:
        return wrong(f"the filters are numbered 0 to {filters - 1}, and none is {strangers[0]}")
    if len(set(numbers)) < count:
        return wrong("each filter stays once")
    return _not_the_largest(given, right, weight) or (
        wrong("the numbers must ascend") if numbers != sorted(numbers) else None
    )


def _not_the_largest(given: Tensor, right: Tensor, weight: Tensor) -> Wrong | None:
    """Wrong where a filter that goes has a larger norm than one that stays."""
    size = norms(weight)
    goes = torch.ones_like(size, dtype=torch.bool)
    goes[given.long()] = False
    if not goes.any():
        return None
    most = size.where(goes, size.new_tensor(-1.0)).argmax()
    least = given[size[given.long()].argmin()]
    if size[most] <= size[least] + 1e-5 * (1 + size[least]):
        return None
    return Wrong(
        f"filter {int(most)} has the L1 norm {size[most]:.4g} and goes, filter {int(least)} has "
        f"{size[least]:.4g} and stays",
        expected=right,
        given=given,
    )


def _reference(weight: Tensor, count: int) -> Tensor:
    """The numbers of the `count` filters with the largest L1 norm, int64, ascending.

    >>> filters_to_keep(torch.tensor([3.0, -5.0, 1.0]).view(3, 1, 1, 1), count=2)
    tensor([0, 1])
    """
    return pruning.keep_strongest(pruning.weight_scores(weight), count)


filters_to_keep = Exercise(
    "filters_to_keep",
    by_cases(_cases, _right, _wrong_filters, mistakes=MISTAKES, alike=_comparable),
    reference=_reference,
    core=True,
    minutes=10,
    mistakes=MISTAKES,
)

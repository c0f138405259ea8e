"""An exercise of chapter 04: the number of the nearest value, for each weight.

The oracle measures each distance in float64; where two values are equally near, both are right.
"""

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shrink import sharing
from shrink.classroom.exercises.attempt import Wrong, known, place_of
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise

INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def differences(weights: Tensor, codebook: Tensor) -> Tensor:
    """Each weight less each value: the weights' shape, and the values along a last axis."""
    return weights.detach().double().unsqueeze(-1) - codebook.detach().double()


def nearest(weights: Tensor, codebook: Tensor) -> Tensor:
    """The number of the nearest value for each weight, the lower one where two are equally near."""
    return differences(weights, codebook).abs().argmin(-1)


@known(
    "weights - codebook is least where it is most negative, at the largest value: a distance has "
    "no sign, so take .abs() or the square before the argmin"
)
def signed_distance(weights: Tensor, codebook: Tensor) -> Tensor:
    return differences(weights, codebook).argmin(-1)


@known("this is the largest value that is not above the weight; the one above it may be nearer")
def the_one_below(weights: Tensor, codebook: Tensor) -> Tensor:
    numbers = torch.searchsorted(codebook.detach().double(), weights.detach().double(), right=True)
    return (numbers - 1).clamp(min=0)


@known(
    "-1 and 1 are not near each other: take the absolute value of the difference, not of weights "
    "and codebook"
)
def magnitudes(weights: Tensor, codebook: Tensor) -> Tensor:
    return nearest(weights.abs(), codebook.abs())


@known(
    "searchsorted gives the place, 0 to k, at which a weight would be inserted among the values, "
    "and no value has the number k: search among the midpoints between neighbours instead"
)
def where_it_would_be_inserted(weights: Tensor, codebook: Tensor) -> Tensor:
    return torch.searchsorted(codebook.detach().double(), weights.detach().double())


@known(
    "the values need not lie at equal distances, and rounding finds the nearest only on a grid of "
    "equal steps"
)
def on_a_ruler(weights: Tensor, codebook: Tensor) -> Tensor:
    w, c = weights.detach().double(), codebook.detach().double()
    step = (c[-1] - c[0]) / max(len(c) - 1, 1)
    return ((w - c[0]) / step).round().clamp(0, len(c) - 1).long()


@known(
    "this finds the nearest weight for each value; find the nearest value for each weight: argmin "
    "over the other axis"
)
def a_weight_for_each_value(weights: Tensor, codebook: Tensor) -> Tensor:
    return differences(weights.flatten(), codebook).abs().argmin(0)


MISTAKES = (
    signed_distance,
    the_one_below,
    magnitudes,
    where_it_would_be_inserted,
    on_a_ruler,
    a_weight_for_each_value,
)


def _comparable(result: Any) -> Any:
    """What two results are compared by: integers of any type are alike."""
    if not isinstance(result, Tensor) or result.layout != torch.strided:
        return result
    kind = "integers" if result.dtype in INTEGERS else str(result.dtype)
    return kind, tuple(result.shape), result.tolist()


def _codebook(rng: random.Random, k: int) -> Tensor:
    """Rising, on both sides of 0, at distances that differ."""
    steps = [rng.choice([0.2, 0.5, 1.0, 3.0]) * rng.uniform(0.8, 1.2) for _ in range(k)]
    codebook = torch.tensor(steps, dtype=torch.float64).cumsum(0)
    return (codebook - codebook.mean() - rng.uniform(-0.1, 0.1)).float()


def _case(rng: random.Random, *shape: int, k: int, far: float = 1.0) -> tuple[Tensor, Tensor]:
    """Most weights between the values, some beyond them; none near a midpoint."""
    codebook = _codebook(rng, k)
    low, high = codebook.min().item() - far, codebook.max().item() + far
    weights = []
    while len(weights) < torch.Size(shape).numel():
        w = rng.uniform(low, high)
        two = (codebook.double() - w).abs().sort().values[:2]
        if len(two) < 2 or two[1] - two[0] > 0.02:
            weights.append(w)
    return torch.tensor(weights).view(shape), codebook


def _ties(rng: random.Random) -> tuple[Tensor, Tensor]:
    """Exactly between two values: either is right."""
    codebook = torch.tensor(sorted(rng.sample(range(-8, 9), 4))) / 4.0
    return torch.cat([(codebook[1:] + codebook[:-1]) / 2, codebook]), codebook


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, Tensor]]]:
    def changed(change: Callable[[Tensor], Tensor], *shape: int) -> tuple[Tensor, Tensor]:
        weights, codebook = _case(rng, *shape, k=4)
        return change(weights), codebook

    yield lambda: _case(rng, 9, k=4)
    yield lambda: _case(rng, 3, 4, k=3)
    yield lambda: _case(rng, 8, k=5, far=4)
    yield lambda: _case(rng, 6, k=1)
    yield lambda: _case(rng, 2, 3, 2, 2, k=7)
    yield lambda: _case(rng, k=4)
    yield lambda: _case(rng, 0, k=3)
    yield lambda: _ties(rng)
    yield lambda: _case(rng, 6, 7, k=300)
    yield lambda: changed(Tensor.t, 3, 4)  # not contiguous
    yield lambda: changed(torch.nn.Parameter, 6)
    if torch.cuda.is_available():
        yield lambda: tuple(t.cuda() for t in _case(rng, 6, k=4))


def wrong_numbers(numbers: Any, right: Tensor, weights: Tensor, codebook: Tensor) -> Wrong | None:
    """What is wrong with the numbers of the nearest values, if anything."""
    wrong = partial(Wrong, expected=right, given=numbers)
    if not isinstance(numbers, Tensor):
        return wrong("the numbers are a tensor")
    if numbers.dtype not in INTEGERS or numbers.layout != torch.strided:
        return wrong("the numbers are integers")
    if numbers.shape != weights.shape or numbers.device != weights.device:
        return Wrong(
            "the numbers have the shape and device of the weights",
            expected=place_of(weights.shape, weights.device),
            given=place_of(numbers.shape, numbers.device),
        )
    chosen, k = numbers.long(), len(codebook)
    outside = (chosen < 0) | (chosen >= k)
    if outside.any():
        found = int(chosen[outside].flatten()[0])
        return wrong(
            f"the codebook has {k} values, numbered 0 to {k - 1}, and none is number {found}"
        )
    return _not_nearest(numbers, right, weights, codebook)


def _not_nearest(numbers: Tensor, right: Tensor, weights: Tensor, codebook: Tensor) -> Wrong | None:
    chosen, away = numbers.long(), differences(weights, codebook).abs()
    mine, least = away.gather(-1, chosen.unsqueeze(-1)).squeeze(-1), away.amin(-1)
    off = mine > least + 1e-5 * (1 + least)
    if not off.any():
        return None
    at = tuple(off.nonzero()[0].tolist())
    near, taken = codebook[right[at]].item(), codebook[chosen[at]].item()
    return Wrong(
        f"{weights[at].item():.4g} is {least[at]:.3g} from {near:.4g}, number {int(right[at])}, "
        f"and {mine[at]:.3g} from {taken:.4g}, number {int(chosen[at])}, which you chose",
        expected=right,
        given=numbers,
    )


def _reference(weights: Tensor, codebook: Tensor) -> Tensor:
    """The number of the nearest value in the codebook, for each of the weights.

    >>> assign(torch.tensor([[0.4, 0.6], [-3.0, 9.0]]), torch.tensor([0.0, 1.0, 5.0]))
    tensor([[0, 1],
            [0, 2]])
    """
    return sharing.assign(weights, codebook).long()


assign = Exercise(
    "assign",
    by_cases(_cases, nearest, wrong_numbers, mistakes=MISTAKES, alike=_comparable),
    reference=_reference,
    core=True,
    minutes=10,
    mistakes=MISTAKES,
)

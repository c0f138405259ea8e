"""The exercises of chapter 04, Share: here `assign`, and how to break k-means.

The oracle measures each distance in float64; where two values are equally near, both are right.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from shrink import sharing
from shrink.chapters.share import (
    updating as share_update,
)
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise

Assigner = Callable[[Tensor, Tensor], Tensor]
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)
MOST_WEIGHTS, MOST_VALUES = 6, 4  # of an input that breaks k-means


def _differences(weights: Tensor, codebook: Tensor) -> Tensor:
    """Each weight less each value: the weights' shape, and the values along a last axis."""
    return weights.detach().double().unsqueeze(-1) - codebook.detach().double()


def _nearest(weights: Tensor, codebook: Tensor) -> Tensor:
    return _differences(weights, codebook).abs().argmin(-1)


def _signed(weights: Tensor, codebook: Tensor) -> Tensor:
    return _differences(weights, codebook).argmin(-1)


def _below(weights: Tensor, codebook: Tensor) -> Tensor:
    """The largest value that is not above the weight."""
    numbers = torch.searchsorted(codebook.detach().double(), weights.detach().double(), right=True)
    return (numbers - 1).clamp(min=0)


def _insertion(weights: Tensor, codebook: Tensor) -> Tensor:
    return torch.searchsorted(codebook.detach().double(), weights.detach().double())


def _above(weights: Tensor, codebook: Tensor) -> Tensor:
    return _insertion(weights, codebook).clamp(max=len(codebook) - 1)


def _magnitudes(weights: Tensor, codebook: Tensor) -> Tensor:
    return _nearest(weights.abs(), codebook.abs())


def _on_a_ruler(weights: Tensor, codebook: Tensor) -> Tensor:
    w, c = weights.detach().double(), codebook.detach().double()
    step = (c[-1] - c[0]) / max(len(c) - 1, 1)
    return ((w - c[0]) / step).round().clamp(0, len(c) - 1).long()


def _of_each_value(weights: Tensor, codebook: Tensor) -> Tensor:
    return _differences(weights.flatten(), codebook).abs().argmin(0)


def _then(change: Callable[[Tensor, Tensor], Tensor]) -> Assigner:
    """The right numbers, and then something is done to them."""
    return lambda weights, codebook: change(_nearest(weights, codebook), codebook)


SIGNED = Mistake(
    "signed distance",
    _signed,
    "weights - codebook is least where it is most negative, at the largest value: a distance has "
    "no sign, so take .abs() or the square before the argmin",
)
BELOW = Mistake(
    "the one below",
    _below,
    "this is the largest value that is not above the weight; the one above it may be nearer",
)
MAGNITUDES = Mistake(
    "magnitudes",
    _magnitudes,
    "-1 and 1 are not near each other: the absolute value is taken of the difference, not of "
    "weights and codebook",
)

ASSIGN_MISTAKES = (
    SIGNED,
    BELOW,
    MAGNITUDES,
    Mistake(
        "the one above",
        _above,
        "this is the first value that is not below the weight; the one below it may be nearer",
    ),
    Mistake(
        "where it would be inserted",
        _insertion,
        "searchsorted says where a weight belongs in the order of the values, up to k, which is no "
        "value's number: search among the midpoints between neighbours instead",
    ),
    Mistake(
        "farthest",
        lambda weights, codebook: _differences(weights, codebook).abs().argmax(-1),
        "this is the value that is farthest away: argmin",
    ),
    Mistake(
        "on a ruler",
        _on_a_ruler,
        "the values are at any distances from each other: rounding finds the nearest only on a "
        "grid of equal steps",
    ),
    Mistake(
        "a weight for each value",
        _of_each_value,
        "this is the nearest weight to each value; each weight wants its nearest value: argmin "
        "over the other axis",
    ),
    Mistake(
        "values",
        _then(lambda numbers, codebook: codebook.detach()[numbers]),
        "these are the values themselves; return their numbers in the codebook, integers",
    ),
    Mistake(
        "from 1",
        _then(lambda numbers, _: numbers + 1),
        "values are numbered from 0, as codebook[0] has it",
    ),
    Mistake(
        "flattened",
        _then(lambda numbers, _: numbers.flatten()),
        "the numbers are right, but they are in a row: give them the shape of the weights",
    ),
    Mistake(
        "kept float",
        _then(lambda numbers, _: numbers.float()),
        "the numbers are right, but of a float type; codebook[numbers] needs integers",
    ),
    Mistake(
        "distances",
        lambda weights, codebook: _differences(weights, codebook).abs().amin(-1).float(),
        "these are the distances to the nearest value: argmin says which value it is, min how far",
    ),
)


def _listed(result: Any) -> Any:
    """A tensor as what compares, integers of any type alike."""
    if not isinstance(result, Tensor) or result.layout != torch.strided:
        return result
    kind = "integers" if result.dtype in INTEGERS else str(result.dtype)
    return kind, tuple(result.shape), result.tolist()


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, Tensor]]]:
    def codebook(k: int) -> Tensor:
        """Rising, on both sides of 0, at distances that differ."""
        steps = [rng.choice([0.2, 0.5, 1.0, 3.0]) * rng.uniform(0.8, 1.2) for _ in range(k)]
        values = torch.tensor(steps, dtype=torch.float64).cumsum(0)
        return (values - values.mean() - rng.uniform(-0.1, 0.1)).float()

    def weights(values: Tensor, *shape: int, far: float = 1.0) -> Tensor:
        """Most between the values, some beyond them; none near a midpoint."""
        low, high = values.min().item() - far, values.max().item() + far
        found = []
        while len(found) < torch.Size(shape).numel():
            w = rng.uniform(low, high)
            two = (values.double() - w).abs().sort().values[:2]
            if len(two) < 2 or two[1] - two[0] > 0.02:
                found.append(w)
        return torch.tensor(found).view(shape)

    def case(*shape: int, k: int, far: float = 1.0) -> tuple[Tensor, Tensor]:
        values = codebook(k)
        return weights(values, *shape, far=far), values

    def ties() -> tuple[Tensor, Tensor]:
        """Exactly between two values: either is right."""
        values = torch.tensor(sorted(rng.sample(range(-8, 9), 4))) / 4.0
        return torch.cat([(values[1:] + values[:-1]) / 2, values]), values

    def changed(change: Callable[[Tensor], Any], *shape: int) -> tuple[Tensor, Tensor]:
        w, values = case(*shape, k=4)
        return change(w), values

    yield lambda: case(9, k=4)
    yield lambda: case(3, 4, k=3)
    yield lambda: case(8, k=5, far=4)
    yield lambda: case(6, k=1)
    yield lambda: case(2, 3, 2, 2, k=7)
    yield lambda: case(k=4)
    yield lambda: case(0, k=3)
    yield ties
    yield lambda: case(6, 7, k=300)
    yield lambda: changed(Tensor.t, 3, 4)  # not contiguous
    yield lambda: changed(torch.nn.Parameter, 6)
    if torch.cuda.is_available():
        yield lambda: tuple(t.cuda() for t in case(6, k=4))


def _check_assign(answer: Attempt, rng: random.Random) -> None:
    for weights, codebook in telling(_cases(rng), _nearest, ASSIGN_MISTAKES, _listed):
        numbers = answer(weights, codebook, alike=_listed)
        if wrong := wrong_numbers(numbers, weights, codebook):
            raise wrong


def wrong_numbers(numbers: Any, weights: Tensor, codebook: Tensor) -> Wrong | None:
    """What is wrong with the numbers of the nearest values, if anything."""
    right = _nearest(weights, codebook)
    if not isinstance(numbers, Tensor):
        return Wrong("the numbers are a tensor", expected=right, given=numbers)
    if numbers.dtype not in INTEGERS or numbers.layout != torch.strided:
        return Wrong("the numbers are integers", expected=right, given=numbers)
    if numbers.shape != weights.shape or numbers.device != weights.device:
        return Wrong(
            "the numbers have the shape and device of the weights",
            expected=(tuple(weights.shape), str(weights.device)),
            given=(tuple(numbers.shape), str(numbers.device)),
        )
    given, k = numbers.long(), len(codebook)
    outside = (given < 0) | (given >= k)
    if outside.any():
        found = int(given[outside].flatten()[0])
        return Wrong(
            f"the codebook has {k} values, numbered 0 to {k - 1}, and none is number {found}",
            expected=right,
            given=numbers,
        )
    distances = _differences(weights, codebook).abs()
    mine, least = distances.gather(-1, given.unsqueeze(-1)).squeeze(-1), distances.amin(-1)
    off = mine > least + 1e-5 * (1 + least)
    if not off.any():
        return None
    at = tuple(off.nonzero()[0].tolist())
    near, taken = codebook[right[at]].item(), codebook[given[at]].item()
    return Wrong(
        f"{weights[at].item():.4g} is {least[at]:.3g} from {near:.4g}, number {int(right[at])}, "
        f"and {mine[at]:.3g} from {taken:.4g}, number {int(given[at])}, which you chose",
        expected=right,
        given=numbers,
    )


def _reference_assign(weights: Tensor, codebook: Tensor) -> Tensor:
    """The number of the nearest value in the codebook, for each of the weights.

    >>> assign(torch.tensor([[0.4, 0.6], [-3.0, 9.0]]), torch.tensor([0.0, 1.0, 5.0]))
    tensor([[0, 1],
            [0, 2]])
    """
    return sharing.assign(weights, codebook).long()


assign = Exercise(
    "assign",
    _check_assign,
    reference=_reference_assign,
    core=True,
    minutes=10,
    mistakes=ASSIGN_MISTAKES,
)


def _step(
    number: Assigner = _nearest, value: Callable[..., Tensor] = share_update.means
) -> Callable[[Tensor, Tensor], Tensor]:
    """One step of k-means with these: numbers, and from them a new codebook."""
    return lambda weights, codebook: value(weights, number(weights, codebook), codebook)


BREAKABLE = (
    Mistake(SIGNED.name, _step(_signed), SIGNED.hint),
    Mistake(BELOW.name, _step(_below), BELOW.hint),
    Mistake(MAGNITUDES.name, _step(_magnitudes), MAGNITUDES.hint),
    Mistake(
        share_update.MEDIAN.name,
        _step(value=share_update.MEDIAN.function),
        share_update.MEDIAN.hint,
    ),
    Mistake(
        share_update.EMPTY_ZERO.name,
        _step(value=share_update.EMPTY_ZERO.function),
        share_update.EMPTY_ZERO.hint,
    ),
)


def _check_break_k_means(answer: Attempt, rng: random.Random) -> None:
    given = answer()
    if not (isinstance(given, tuple | list) and len(given) == 2):
        raise Wrong("return two tensors", expected="(weights, codebook)", given=given)
    for tensor, most in zip(given, (MOST_WEIGHTS, MOST_VALUES), strict=True):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.dim() != 1:
            raise Wrong("weights and codebook are float tensors with one axis", given=given)
        if not 1 <= len(tensor) <= most or not tensor.isfinite().all():
            raise Wrong(
                f"at most {MOST_WEIGHTS} finite weights and {MOST_VALUES} finite values, and one "
                "of each at least",
                given=given,
            )
    weights, codebook = (tensor.detach().cpu().double() for tensor in given)
    if not (codebook.diff() > 0).all():
        raise Wrong("the codebook rises", given=codebook)
    two = _differences(weights, codebook).abs().sort(-1).values
    if len(codebook) > 1 and (two[:, 1] - two[:, 0] < 1e-6).any():
        raise Wrong(
            "a weight lies exactly between two values, and then both are right: move it",
            given=given,
        )
    right = _step()(weights, codebook)
    hides = [m.name for m in BREAKABLE if torch.allclose(m.function(weights, codebook), right)]
    if hides:
        broken = [m.name for m in BREAKABLE if m.name not in hides]
        raise Wrong(
            f"{', '.join(hides)}: on your input the new codebook comes out right, so the mistake "
            f"hides (wrong there, as it should be: {', '.join(broken) or 'none'})",
            given=given,
        )


break_k_means = Exercise("break_k_means", _check_break_k_means, core=False, minutes=10)

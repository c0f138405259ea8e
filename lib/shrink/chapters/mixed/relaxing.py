"""An exercise of chapter 11: AdaRound's relaxed rounding, its regulariser, start and end."""

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shrink.chapters.mixed.relaxing_mistakes import MISTAKES, OF_PARTS, Relaxed, relaxed
from shrink.chapters.mixed.relaxing_oracle import (
    NAMES,
    Values,
    by_numpy,
    differing,
    off_at_start,
    reason,
    share_up,
    slopes,
)
from shrink.classroom.exercises.attempt import Wrong, kind_of, place_of
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.parts import Part

Case = tuple[Tensor, float, int, int, Tensor, float]


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    g = generator(rng)

    def case(*shape: int, bits: int, betas: list[int], device: str = "cpu") -> Case:
        """Weights in 64ths of a step: no order of the arithmetic moves one past an integer.

        The last one lies at the end of the range, and its v would round it up.
        """
        most = 2 ** (bits - 1) - 1
        scale, beta = rng.choice([0.125, 0.25, 0.5]), rng.choice(betas)
        low = torch.randint(-most, most, shape, generator=g)
        parts = torch.randint(6, 59, shape, generator=g)
        parts[parts == 32] = 40
        steps = low + parts / 64
        steps.view(-1)[-1] = most
        while True:
            v = torch.randint(-40, 41, shape, generator=g) / 10
            v.view(-1)[-1] = rng.choice([1.1, 1.5])
            if _tells(v):
                v = v.to(device).requires_grad_()
                return (scale * steps).to(device), scale, -most, most, v, beta

    yield lambda: case(2, 4, bits=3, betas=[3, 5])  # a power of 2h - 1 has a sign
    yield lambda: case(3, 5, bits=4, betas=[2, 8, 20])
    yield lambda: case(2, 1, 3, 3, bits=2, betas=[2, 3])  # a convolution's
    yield lambda: case(7, bits=3, betas=[4, 5])
    if torch.cuda.is_available():
        yield lambda: case(2, 4, bits=3, betas=[2], device="cuda")


def _tells(v: Tensor) -> bool:
    """Whether some weights are decided, up and down, some are not, and none is nearly half."""
    h = torch.from_numpy(share_up(v))
    kinds = h == 0, h == 1, (h > 0.05) & (h < 0.95)
    return all(bool(kind.any()) for kind in kinds) and bool(((h - 0.5).abs() > 0.05).all())


def _read(result: Any) -> Any:
    """Four tensors as what `==` compares, near numbers as equal; anything else as it is."""
    if not isinstance(result, tuple | list) or not all(isinstance(t, Tensor) for t in result):
        return result
    return tuple(Values(tensor.detach()) for tensor in result)


def _wrong_rounding(given: Any, right: Relaxed, *case: Any) -> Wrong | None:
    wrong = partial(Wrong, expected=right, given=given)
    listed = isinstance(given, tuple | list) and len(given) == len(NAMES)
    if not listed or not all(isinstance(tensor, Tensor) for tensor in given):
        return wrong(f"return four tensors, ({', '.join(NAMES)})")
    pairs = list(zip(given, right, strict=True))
    for name, (mine, its) in zip(NAMES, pairs, strict=True):
        if unlike := _unlike(name, mine, its):
            return unlike
    for name, (mine, its) in zip(NAMES, pairs, strict=True):
        mine = mine.detach()
        if name == "start":
            fraction = (case[0] / case[1]).frac() % 1
            wrong_places = off_at_start(mine, fraction.cpu().double().numpy())
        else:
            wrong_places = differing(mine, its)
        if wrong_places.any():
            at = tuple(wrong_places.nonzero()[0].tolist())
            why = reason(name, at or (0,) * case[0].dim(), mine, *case)
            place = f"{name}[{', '.join(map(str, at))}]" if at else name
            return wrong(f"{place} must be {its[at]:.5g}, not {mine[at]:.5g}: {why}")
    return _wrong_slope(given, *case)


def _unlike(name: str, given: Tensor, right: Tensor) -> Wrong | None:
    if name == "rounded":
        if given.layout != torch.strided or given.is_complex() or given.dtype == torch.bool:
            told = "rounded is a tensor of integers, whether its type is one of floats or not"
            return Wrong(told, given=kind_of(given))
    elif kind_of(given) != kind_of(right):
        told = f"{name} is a tensor of {kind_of(right)}"
        return Wrong(told, expected=kind_of(right), given=kind_of(given))
    if (given.shape, given.device) != (right.shape, right.device):
        told = (
            "the regulariser is one number, as a tensor of shape ()"
            if name == "regulariser"
            else f"{name} has the shape and the device of the weight"
        )
        expected = place_of(right.shape, right.device)
        return Wrong(told, expected=expected, given=place_of(given.shape, given.device))
    return None


def _wrong_slope(given: Relaxed, *case: Any) -> Wrong | None:
    """What gradient descent on v would meet."""
    v = case[4]
    rights = slopes(*case)
    for name, result, right in zip(NAMES[1:3], given[1:3], rights, strict=True):
        told = f"{name} is right in its value, and no gradient comes from it to v"
        if not result.requires_grad:
            return Wrong(f"{told}: detach(), .data, item() and numpy cut it off")
        (slope,) = torch.autograd.grad(result.sum(), v, retain_graph=True, allow_unused=True)
        if slope is None:
            return Wrong(f"{told}: it must be computed from v itself")
        if (wrong_places := differing(slope, right)).any():
            at = tuple(wrong_places.nonzero()[0].tolist())
            place = f"v[{', '.join(map(str, at))}] = {v[at]:.3g}"
            return Wrong(
                f"{name} is right in its value, but not in its gradient: by {place} its derivative "
                f"is {right[at]:.4g}, not {slope[at]:.4g}"
            )
    return None


def _one_of(result: Any, which: int) -> Values:
    return Values(result[which].detach())


def _parts(*case: Any) -> Iterator[Part]:
    for which, name in enumerate(NAMES):
        yield Part(f"in {name}", case, partial(_one_of, which=which))


relaxed_rounding = Exercise(
    "relaxed_rounding",
    by_cases(
        _cases,
        by_numpy,
        _wrong_rounding,
        mistakes=MISTAKES,
        alike=_read,
        parts=_parts,
        of_parts=OF_PARTS,
    ),
    reference=relaxed,
    core=False,
    minutes=15,
    mistakes=MISTAKES,
)

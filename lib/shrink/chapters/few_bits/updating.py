"""An exercise of chapter 10: one training step of a layer whose weights have one bit."""

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shrink.chapters.few_bits.updating_mistakes import (
    MISTAKES,
    OF_PARTS,
    Loss,
    Step,
    one_bit,
    stepped,
)
from shrink.chapters.few_bits.updating_oracle import NAMES, Numbers, by_torch, off, reason
from shrink.classroom.exercises.attempt import Wrong, kind_of, place_of
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.parts import Part

IMAGES = 8

Case = tuple[Tensor, Tensor, float, Loss, float, float]


def _squared_error(x: Tensor, target: Tensor, shape: torch.Size) -> Loss:
    """The loss of a layer on these inputs; a function, so that a copy of it is itself."""

    def loss(weight: Tensor, bias: Tensor) -> Tensor:
        for name, given, right in (("weight", weight, shape), ("bias", bias, target.shape[1:])):
            if not isinstance(given, Tensor) or given.shape != right:
                found = tuple(given.shape) if isinstance(given, Tensor) else type(given).__name__
                raise ValueError(
                    f"loss takes (weight, bias); {name} is a tensor of shape {tuple(right)}, "
                    f"not {found}"
                )
        away = x @ weight.flatten(1).T + bias - target
        return away.square().sum() / 2 / len(x)

    return loss


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    g = generator(rng)

    def case(*shape: int, scale: float, device: str = "cpu", zeros: bool = False) -> Case:
        """Steps of about half a scale; a latent weight that is 0 is seen only where `zeros`."""
        rate, decay = rng.choice([0.1, 0.2]), rng.choice([0.2, 0.3, 0.5])
        while True:
            parts = torch.randint(-99, 100, shape, generator=g) / 100
            latent = scale * parts.where(parts != 0, 0.5)
            bias = torch.randint(-20, 21, shape[:1], generator=g) / 10
            x = torch.randn(IMAGES, latent[0].numel(), generator=g)
            if zeros:
                latent[0] = 0
                x[:, -1] = 0
            noise = torch.randn(IMAGES, shape[0], generator=g) * scale * IMAGES**0.5 / rate / 2
            target = x @ one_bit(latent, scale).flatten(1).T + bias + noise
            latent, bias, x, target = (t.to(device) for t in (latent, bias, x, target))
            found = latent, bias, scale, _squared_error(x, target, latent.shape), rate, decay
            if zeros or _tells(latent, by_torch(*found)[0], scale):
                return found

    def scale() -> float:
        return rng.choice([0.02, 0.03, 0.05])

    for _ in range(2):
        yield lambda: case(2, 4, scale=scale())
    yield lambda: case(3, 5, scale=0.25)
    yield lambda: case(2, 3, 2, 2, scale=scale())  # a convolution's
    yield lambda: case(2, 4, scale=scale(), zeros=True)
    if torch.cuda.is_available():
        yield lambda: case(2, 4, scale=scale(), device="cuda")


def _tells(old: Tensor, new: Tensor, scale: float) -> bool:
    """Whether a sign flips, a latent weight is clipped, and none ends so near 0 that it may."""
    flips = bool(((old >= 0) != (new >= 0)).any())
    return flips and bool((new.abs() == scale).any() and (new.abs() > scale / 50).all())


def _read(result: Any) -> Any:
    """Three tensors as what `==` compares, near numbers as equal; anything else as it is."""
    if not isinstance(result, tuple | list) or not all(isinstance(t, Tensor) for t in result):
        return result
    return tuple(Numbers(tensor.detach()) for tensor in result)


def _wrong_step(given: Any, right: Step, *case: Any) -> Wrong | None:
    wrong = partial(Wrong, expected=right, given=given)
    listed = isinstance(given, tuple | list) and len(given) == len(NAMES)
    if not listed or not all(isinstance(tensor, Tensor) for tensor in given):
        return wrong("return three tensors, (latent, bias, weight)")
    pairs = list(zip(given, right, strict=True))
    for name, (mine, its) in zip(NAMES, pairs, strict=True):
        if unlike := _unlike(name, mine, its):
            return unlike
    for name, (mine, its) in zip(NAMES, pairs, strict=True):
        wrong_places = off(mine.detach(), its, scale=case[2])
        if wrong_places.any():
            at = tuple(wrong_places.nonzero()[0].tolist())
            place = f"{name}[{', '.join(map(str, at))}]"
            why = reason(name, at, right, *case)
            return wrong(f"{place} must be {its[at]:.5g}, not {mine[at]:.5g}: {why}")
    return None


def _unlike(name: str, given: Tensor, right: Tensor) -> Wrong | None:
    if kind_of(given) != kind_of(right):
        told = f"{name} is a tensor of {kind_of(right)}"
        return Wrong(told, expected=kind_of(right), given=kind_of(given))
    if (given.shape, given.device) != (right.shape, right.device):
        told = f"{name} has the shape and the device of what came in"
        expected = place_of(right.shape, right.device)
        return Wrong(told, expected=expected, given=place_of(given.shape, given.device))
    return None


def _one_of(result: Any, which: int) -> Numbers:
    return Numbers(result[which].detach())


def _parts(*case: Any) -> Iterator[Part]:
    for which, name in enumerate(NAMES):
        yield Part(f"in {name}", case, partial(_one_of, which=which))


latent_step = Exercise(
    "latent_step",
    by_cases(
        _cases,
        by_torch,
        _wrong_step,
        mistakes=MISTAKES,
        alike=_read,
        parts=_parts,
        of_parts=OF_PARTS,
    ),
    reference=stepped,
    core=False,
    minutes=12,
    mistakes=MISTAKES,
)

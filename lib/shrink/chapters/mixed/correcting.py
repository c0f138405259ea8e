"""An exercise of chapter 11: the bias that takes off what rounding adds to the mean outputs."""

import random
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from shrink.chapters.mixed.correcting_mistakes import MISTAKES, OF_PARTS, corrected
from shrink.chapters.mixed.correcting_oracle import by_least_squares, differing, outputs
from shrink.classroom.exercises.attempt import Wrong, kind_of, place_of
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.parts import Part

Case = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


class _Numbers:
    """Those of a tensor, equal to others that are near."""

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Numbers) or kind_of(self.tensor) != kind_of(other.tensor):
            return False
        if self.tensor.shape != other.tensor.shape:
            return False
        return not differing(self.tensor, other.tensor).any()


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    g = generator(rng)

    def case(*shape: int, images: int, size: int = 0, device: str = "cpu") -> Case:
        """Weights in steps of 0.5, and inputs that ReLU gave, in the one network cut to 0.25."""
        weight = torch.randn(shape, generator=g)
        bias = torch.randint(1, 20, shape[:1], generator=g) / 10
        places = (size, size) if size else ()
        x = torch.randn(images, shape[1], *places, generator=g).relu() + 0.1
        weight, bias, x = (t.to(device) for t in (weight, bias, x))
        return bias, weight, (2 * weight).round() / 2, x, (4 * x).floor() / 4

    yield lambda: case(2, 3, images=3)
    yield lambda: case(3, 10, images=rng.choice([5, 7]))
    yield lambda: case(3, 3, 2, 2, images=4, size=4)
    yield lambda: case(2, 3, 3, 2, images=3, size=5)
    yield lambda: case(1, 1, images=2)
    if torch.cuda.is_available():
        yield lambda: case(2, 3, images=3, device="cuda")


def _read(result: Any) -> Any:
    return _Numbers(result.detach()) if isinstance(result, Tensor) else result


def _wrong_bias(given: Any, right: Tensor, *case: Tensor) -> Wrong | None:
    if not isinstance(given, Tensor):
        return Wrong("the bias is a tensor", expected=right, given=given)
    if kind_of(given) != kind_of(right):
        told = "the new bias has the type of bias"
        return Wrong(told, expected=kind_of(right), given=kind_of(given))
    if (given.shape, given.device) != (right.shape, right.device):
        told = "the new bias has the shape and the device of bias"
        expected = place_of(right.shape, right.device)
        return Wrong(told, expected=expected, given=place_of(given.shape, given.device))
    wrong_places = differing(given.detach(), right)
    if not wrong_places.any():
        return None
    at = int(wrong_places.nonzero()[0, 0])
    bias, weight, rounded, x, rounded_x = case
    mean = outputs(weight, x).mean(0)[at]
    rounded_mean = outputs(rounded, rounded_x).mean(0)[at]
    return Wrong(
        f"the bias of output {at} must be {right[at]:.5g}, not {given[at]:.5g}: without a bias its "
        f"mean is {mean:.5g} in the float layer and {rounded_mean:.5g} in the quantized one, and "
        f"the old bias is {bias[at]:.5g}",
        expected=right,
        given=given,
    )


def _parts(
    bias: Tensor, weight: Tensor, rounded: Tensor, x: Tensor, rounded_x: Tensor
) -> Iterator[Part]:
    case = partial(Part, view=None)
    yield case("where nothing was rounded", (bias, weight, weight.clone(), x, x.clone()))
    yield case("where only the weight was rounded", (bias, weight, rounded, x, x.clone()))
    yield case("where only the inputs differ", (bias, weight, weight.clone(), x, rounded_x))
    yield case("with a bias of 0", (bias * 0, weight, rounded, x, rounded_x))


correct_bias = Exercise(
    "correct_bias",
    by_cases(
        _cases,
        by_least_squares,
        _wrong_bias,
        mistakes=MISTAKES,
        alike=_read,
        parts=_parts,
        of_parts=OF_PARTS,
    ),
    reference=corrected,
    core=False,
    minutes=10,
    mistakes=MISTAKES,
)

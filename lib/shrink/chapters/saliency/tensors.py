"""What the checks of exercises 1, 2 and 5 share: one number per weight, as answers give them."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Wrong, kind_of, place_of

RELATIVE, OF_THE_LARGEST = 1e-3, 1e-4  # how far apart equal numbers may be: float32 rounds
NOISE = 1e-7  # and what it leaves of sums that are 0


def some_numbers(g: torch.Generator, *shape: int) -> Tensor:
    """Numbers of both signs with one decimal, from 0.1 to 2 in magnitude, as float32."""
    signs = 2 * torch.randint(2, shape, generator=g) - 1
    return signs * torch.randint(1, 21, shape, generator=g) / 10


def in_doubt(logits: Tensor) -> bool:
    """Whether a class is uncertain for some image; if none is, float32 rounds the derivatives."""
    return bool(logits.detach().softmax(1).amax(1).min() < 0.9)


def is_dense(given: Any) -> bool:
    """Whether it is a tensor of real floats that can be read one by one."""
    return (
        isinstance(given, Tensor)
        and given.layout == torch.strided
        and given.is_floating_point()
        and not given.is_meta
    )


def numbers(tensor: Tensor) -> Tensor:
    """The tensor in float64, on the CPU and without a gradient."""
    return tensor.detach().as_subclass(Tensor).double().cpu()


def is_near(given: Tensor, right: Tensor, scale: Tensor | None = None) -> Tensor:
    """Where the numbers agree; one near 0 may be off by a part of the largest.

    `scale` are the numbers whose largest counts, where those that are right are differences.
    """
    given, right = numbers(given), numbers(right)
    scale = right if scale is None else numbers(scale)
    largest = scale.abs().max().item() if scale.numel() else 0.0
    return (given - right).abs() <= RELATIVE * right.abs() + OF_THE_LARGEST * largest


@dataclass(frozen=True, eq=False)
class Close:
    """A tensor that equals another of its shape whose numbers are near, whatever the types."""

    tensor: Tensor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Close) or self.tensor.shape != other.tensor.shape:
            return False
        a, b = numbers(self.tensor), numbers(other.tensor)
        same = (a == b) | (a.isnan() & b.isnan()) | ((a - b).abs() < NOISE)
        return bool((same | is_near(a, b)).all())


def comparable(given: Any) -> Any:
    """What two tensors are compared by; anything else as it is."""
    return Close(given) if is_dense(given) else given


def wrong_kind(given: Any, right: Tensor, what: str) -> Wrong | None:
    """What is wrong with a tensor that must have this shape and device, its numbers aside."""
    if not isinstance(given, Tensor):
        return Wrong(f"{what} is a tensor", expected=right, given=given)
    if not is_dense(given):
        return Wrong(
            f"{what} is a dense tensor of floats", expected=kind_of(right), given=kind_of(given)
        )
    if given.shape != right.shape or given.device != right.device:
        return Wrong(
            f"{what} has one number per weight, in the shape and on the device of the weights",
            expected=place_of(right.shape, right.device),
            given=place_of(given.shape, given.device),
        )
    return None


def worst(given: Tensor, right: Tensor, scale: Tensor | None = None) -> tuple[int, ...] | None:
    """The place where the numbers differ most, or are not finite; None where all are near."""
    if is_near(given, right, scale).all():
        return None
    off = (numbers(given) - numbers(right)).abs().nan_to_num(torch.inf)
    return tuple(int(i) for i in torch.unravel_index(off.argmax(), off.shape))

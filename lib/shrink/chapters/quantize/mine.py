"""Quantizing by the student's own functions, as chapter 03's explorer asks for it."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from shrink.chapters.quantize.network import Setting
from shrink.classroom.exercises.exercise import Exercise, ExerciseError
from shrink.classroom.explorers import refusals

NAMES = ("scale_and_zero_point", "quantize")


def refuse_what_it_has_no_form_for(setting: Setting) -> None:
    """Raise an ExerciseError where the ranges are symmetric, or several of one matrix."""
    if setting.symmetric or setting.by in ("channel", "group"):
        raise ExerciseError(
            "your scale_and_zero_point and quantize know one asymmetric range for the whole "
            "tensor: choose asymmetric and a scale per tensor to see them, or reference"
        )


def left(
    exercises: Mapping[str, Exercise], bits: int, x: Tensor, low: Tensor, high: Tensor
) -> Tensor:
    """What the student's functions leave of x, of one range or of a range for each row.

    Raises:
        ExerciseError: one of them has no answer yet, or gave something else than it promises.
    """
    if low.numel() > 1:
        rows = zip(x.split(1), low, high, strict=True)
        return torch.cat([left(exercises, bits, *row) for row in rows])
    range_of, quantize = (exercises[name] for name in NAMES)
    scale, zero_point = as_pair(range_of.mine(low.item(), high.item(), bits))
    q = quantize.mine(x.clone(), scale, zero_point, bits)
    return as_floats(q, x, scale, zero_point)


def as_pair(answer: object) -> tuple[float, float]:
    """What the student's `scale_and_zero_point` gave, two numbers.

    Raises:
        ExerciseError: it is something else, or a scale that nothing can be divided by.
    """
    try:
        scale, zero_point = map(float, answer)
    except (TypeError, ValueError):
        scale = zero_point = math.nan
    if not (math.isfinite(scale) and math.isfinite(zero_point) and scale):
        raise ExerciseError(
            "scale_and_zero_point gives two numbers, (scale, zero_point), the scale not 0; "
            f"yours gave {answer!r}"
        )
    return scale, int(zero_point) if zero_point.is_integer() else zero_point


def as_floats(q: object, x: Tensor, scale: float, zero_point: float) -> Tensor:
    """The floats that the student's integers stand for.

    Raises:
        ExerciseError: they are no tensor of x's shape, or not finite.
    """
    promise = f"quantize gives a tensor of x's shape, {tuple(x.shape)}"
    q = refusals.tensor_of_shape(q, x.shape, promise)
    floats = scale * (q.detach().to(x.dtype) - zero_point)
    refusals.refuse_what_is_not_finite(floats, "quantize gives integers;")
    return floats

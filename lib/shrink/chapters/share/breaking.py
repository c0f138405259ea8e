"""An exercise of chapter 04: weights and values on which each wrong step of k-means shows."""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from shrink.chapters.share import assignment, updating
from shrink.classroom.exercises.attempt import Attempt, Wrong
from shrink.classroom.exercises.cases import none_may_hide
from shrink.classroom.exercises.exercise import Exercise

MOST_WEIGHTS, MOST_VALUES = 6, 4  # of an input that breaks k-means


def _step(
    number: Callable[..., Tensor] = assignment.nearest,
    value: Callable[..., Tensor] = updating.means,
) -> Callable[[Tensor, Tensor], Tensor]:
    """One step of k-means with these: from weights and codebook numbers, from them new values."""
    return lambda weights, codebook: value(weights, number(weights, codebook), codebook)


step = _step()
ASSIGNING = (assignment.signed_distance, assignment.the_one_below, assignment.magnitudes)
UPDATING = (updating.MEDIAN, updating.EMPTY_ZERO)
BREAKABLE = (
    *(replace(mistake, function=_step(number=mistake)) for mistake in ASSIGNING),
    *(replace(mistake, function=_step(value=mistake)) for mistake in UPDATING),
)


def _read(given: Any) -> tuple[Tensor, Tensor]:
    """Weights and codebook in float64, or `Wrong` where k-means has no use for them."""
    if not (isinstance(given, tuple | list) and len(given) == 2):
        raise Wrong("return two tensors", expected="(weights, codebook)", given=given)
    for tensor, most in zip(given, (MOST_WEIGHTS, MOST_VALUES), strict=True):
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.dim() != 1:
            raise Wrong("weights and codebook are float tensors with one axis", given=given)
        if not 1 <= len(tensor) <= most or not tensor.isfinite().all():
            raise Wrong(
                f"at most {MOST_WEIGHTS} finite weights and {MOST_VALUES} finite values, and at "
                "least one of each",
                given=given,
            )
    weights, codebook = (tensor.detach().cpu().double() for tensor in given)
    if not (codebook.diff() > 0).all():
        raise Wrong("the codebook rises", given=codebook)
    two = assignment.differences(weights, codebook).abs().sort(-1).values
    if len(codebook) > 1 and (two[:, 1] - two[:, 0] < 1e-6).any():
        raise Wrong(
            "a weight lies exactly between two values, and then both are right: move it",
            given=given,
        )
    return weights, codebook


def _check(answer: Attempt, rng: random.Random) -> None:
    given = answer()
    weights, codebook = _read(given)
    right = step(weights, codebook)
    none_may_hide(
        BREAKABLE,
        lambda mistake: torch.allclose(mistake(weights, codebook), right),
        given,
        "on your input the new codebook comes out right",
    )


break_k_means = Exercise("break_k_means", _check, core=False, minutes=10)

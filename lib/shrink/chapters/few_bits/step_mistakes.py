"""Known mistakes of chapter 10's exercise on the gradient of a learned step."""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from shrink.classroom.exercises.attempt import Mistake

Derivative = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]  # x / s, q, whether inside, s
Factor = Callable[[Tensor, Tensor, int, int], float]  # x, step, q_min, q_max


def _frozen_error(ratio: Tensor, q: Tensor, inside: Tensor, _: Tensor) -> Tensor:
    return torch.where(inside, q - ratio, q)


def _of_each_step(x: Tensor, step: Tensor, q_min: int, q_max: int) -> float:
    return 1 / math.sqrt(x.numel() / step.numel() * q_max)


def _answer(
    derivative: Derivative = _frozen_error,
    factor: Factor = _of_each_step,
    arriving: Callable[[Tensor], Tensor] = Tensor.detach,
) -> Callable[..., Tensor]:
    """An answer with these parts, by default the right ones."""

    def learned_step_gradient(
        gradient: Tensor, x: Tensor, step: Tensor, q_min: int, q_max: int
    ) -> Tensor:
        x, s = x.detach(), step.detach()
        ratio = x / s
        q = ratio.round().clamp(q_min, q_max)
        inside = (ratio >= q_min) & (ratio <= q_max)
        terms = arriving(gradient) * derivative(ratio, q, inside, s)
        return terms.sum_to_size(step.shape) * factor(x, s, q_min, q_max)

    return learned_step_gradient


MISTAKES = (
    Mistake(
        "q alone",
        _answer(lambda ratio, q, inside, s: q),
        "q everywhere is the derivative with q held fixed. But q falls when s grows: straight "
        "through, as x / s does. Inside the range hold the rounding error q - x / s fixed",
    ),
    Mistake(
        "no factor",
        _answer(factor=lambda *_: 1.0),
        "this is the sum alone: divide by the root of N q_max, or a step with many numbers moves "
        "far more, for its size, than a weight does",
    ),
    Mistake(
        "all numbers counted",
        _answer(factor=lambda x, step, q_min, q_max: 1 / math.sqrt(x.numel() * q_max)),
        "N is the size of the whole tensor, and a step has only the numbers of its own channel: "
        "divide by the number of steps",
    ),
    Mistake(
        "not clipped",
        _answer(lambda ratio, q, inside, s: q - ratio),
        "what is clipped has q - x / s too, and x / s may be anything there: beyond the ends the "
        "output is s q_max or s q_min, whatever x is",
    ),
    Mistake(
        "clipped ones left out",
        _answer(lambda ratio, q, inside, s: (q - ratio) * inside),
        "what is clipped gives nothing here. Its x has no gradient, but its step has: the output "
        "s q_max grows with s, and that is what widens a range that is too narrow",
    ),
    Mistake(
        "sign",
        _answer(lambda ratio, q, inside, s: torch.where(inside, ratio - q, q)),
        "inside the range the sign is the wrong way round: s q = x + s (q - x / s), and the "
        "bracket is the derivative",
    ),
    Mistake(
        "all levels",
        _answer(factor=lambda x, step, q_min, q_max: _of_each_step(x, step, 0, q_max - q_min)),
        "under the root stands the number of all steps from q_min to q_max: take q_max alone",
    ),
    Mistake(
        "gradient ignored",
        _answer(arriving=torch.ones_like),
        "each number counts the same: by the chain rule its derivative is multiplied by the "
        "gradient that arrives there",
    ),
    Mistake(
        "error not in steps",
        _answer(lambda ratio, q, inside, s: torch.where(inside, s * (q - ratio), q)),
        "s q - x is the rounding error in the unit of x: the derivative is the error in steps, "
        "q - x / s",
    ),
)

"""An exercise of chapter 06: logits softened by a temperature.

The oracle is PyTorch's softmax in float64.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from shrink import distillation
from shrink.chapters.distil.compare import comparable, is_near
from shrink.classroom.exercises.attempt import Mistake, Wrong
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise


def right_softened(logits: Tensor, temperature: float) -> Tensor:
    """The softened probabilities, in float64."""
    return torch.softmax(logits.detach().double() / temperature, -1)


def _shares(powers: Tensor) -> Tensor:
    return powers / powers.sum(-1, keepdim=True)


SOFTEN_MISTAKES = (
    Mistake(
        "overflow",
        lambda logits, temperature: _shares((logits / temperature).exp()),
        "exp() of more than 88 is infinite in float32, and below -103 it is 0, so that a row "
        "becomes 0 / 0: subtract the largest logit of each row first, which changes no answer, or "
        "call torch.softmax",
    ),
    Mistake(
        "largest of all",
        lambda logits, temperature: _shares(((logits - logits.max()) / temperature).exp()),
        "this subtracts the largest of all logits: where a row lies far below it, all its exp() "
        "are 0. Subtract the largest of each row: amax(-1, keepdim=True)",
    ),
    Mistake(
        "not softened",
        lambda logits, temperature: torch.softmax(logits, -1),
        "the temperature does nothing here: divide the logits by it",
    ),
    Mistake(
        "multiplied",
        lambda logits, temperature: torch.softmax(logits * temperature, -1),
        "a higher temperature makes the answers more even: divide the logits by it",
    ),
    Mistake(
        "divided afterwards",
        lambda logits, temperature: torch.softmax(logits, -1) / temperature,
        "divide the logits, before the softmax; here the probabilities of a row no longer sum to 1",
    ),
    Mistake(
        "softmax twice",
        lambda logits, temperature: torch.softmax(torch.softmax(logits, -1) / temperature, -1),
        "this softens probabilities; they all lie between 0 and 1, so the result is nearly even: "
        "soften the logits",
    ),
    Mistake(
        "roots of shares",
        lambda logits, temperature: _shares(torch.softmax(logits, -1) ** (1 / temperature)),
        "on paper this is the same, but a probability that is too small for float32 becomes 0, and "
        "so does its root at any temperature: soften the logits",
    ),
)


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, float]]]:
    def logits(*shape: int, spread: float = 4) -> Tensor:
        count = torch.Size(shape).numel()
        return torch.tensor([rng.uniform(-spread, spread) for _ in range(count)]).view(shape)

    def far_apart() -> Tensor:
        """Rows that lie far above and far below 0."""
        return logits(3, 4) + torch.tensor([[300.0], [-300.0], [0.0]])

    def tied() -> Tensor:
        row = [5.0, 5.0, 3.0, -2.0]
        rng.shuffle(row)
        return torch.tensor([row])

    yield lambda: (logits(3, 4), rng.choice([2.5, 3.0, 4.0]))
    yield lambda: (logits(2, 5), rng.choice([0.3, 0.5]))
    yield lambda: (far_apart(), rng.choice([0.8, 1.0, 1.5]))
    yield lambda: (logits(2, 4, spread=300), rng.choice([100.0, 200.0]))
    yield lambda: (torch.tensor([[1.0, 4.0, 2.0], [9.0, 7.0, 8.0]]), 0.01)
    yield lambda: (tied(), 0.001)
    yield lambda: (logits(6), 1.0)
    yield lambda: (logits(2, 3, 4), 20.0)
    yield lambda: (logits(3, 4), 1e6)
    yield lambda: (logits(4, 3).t(), 2.0)  # not contiguous
    yield lambda: (torch.nn.Parameter(logits(2, 3)), 5.0)
    yield lambda: (logits(3, 1), 2.0)
    if torch.cuda.is_available():
        yield lambda: (logits(3, 4).cuda(), 2.0)


def _wrong(given: Any, right: Tensor, logits: Tensor, temperature: float) -> Wrong | None:
    right = right.float()

    def wrong(hint: str) -> Wrong:
        return Wrong(hint, expected=right, given=given)

    if not isinstance(given, Tensor) or not given.is_floating_point():
        return wrong("probabilities are a float tensor")
    if given.shape != right.shape or given.device != right.device:
        return wrong("the probabilities have the shape and device of the logits")
    if given.isnan().any():
        return wrong("NaN is no probability")
    sums = given.detach().sum(-1).flatten()
    off = (sums - 1).abs() > 1e-3
    if off.any():
        return wrong(f"the probabilities of a row sum to 1, and not to {sums[off][0]:.4g}")
    if not is_near(given, right).all():
        return wrong(f"these are not the probabilities at a temperature of {temperature:g}")
    return None


soften = Exercise(
    "soften",
    by_cases(_cases, right_softened, _wrong, mistakes=SOFTEN_MISTAKES, alike=comparable),
    reference=distillation.soften,
    core=True,
    minutes=10,
    mistakes=SOFTEN_MISTAKES,
)

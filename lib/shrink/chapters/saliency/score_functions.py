"""The functions that exercise 4 hands to an answer: scores of a flat tensor of weights.

Weights and scores are whole numbers, so that equal scores are equal, whatever the order of sums.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor

from shrink.chapters.saliency import chains


@dataclass(frozen=True)
class Score:
    """A function from all weights, with zeros for those pruned, to a score for each.

    It remembers what it is asked.
    """

    name: str
    function: Callable[[Tensor], Tensor]
    weights: int
    asked: list[int] = field(default_factory=list, compare=False)  # how many weights are not 0

    def __call__(self, weights: Tensor) -> Tensor:
        if not isinstance(weights, Tensor) or weights.shape != (self.weights,):
            got = tuple(weights.shape) if isinstance(weights, Tensor) else type(weights).__name__
            raise ValueError(
                f"score takes all {self.weights} weights, with 0 for those that are pruned, not "
                f"{got}"
            )
        self.asked.append(int(weights.count_nonzero()))
        return self.function(weights)

    @property
    def left(self) -> list[int]:
        """How many weights were left, without repetitions."""
        return [count for count, _ in groupby(self.asked)]

    def __repr__(self) -> str:
        return self.name


def whole_numbers(g: torch.Generator, *shape: int) -> Tensor:
    """Whole numbers from -9 to 9 and not 0, as float32."""
    signs = 2 * torch.randint(2, shape, generator=g) - 1
    return (signs * torch.randint(1, 10, shape, generator=g)).float()


def synflow_of(*sizes: int) -> Score:
    def synflow(weights: Tensor) -> Tensor:
        return chains.joined(chains.synflow(chains.parted(weights, sizes)))

    name = f"synflow of {'-'.join(map(str, sizes))}"
    return Score(name, synflow, chains.number_of_weights(sizes))


def quadratic(g: torch.Generator, weights: int) -> Score:
    """The size of the gradient of a quadratic loss, which pruned weights have too."""
    hessian, start = whole_numbers(g, weights, weights), whole_numbers(g, weights)

    def gradient(weights: Tensor) -> Tensor:
        return (hessian.to(weights) @ weights + start.to(weights)).abs()

    return Score("gradient", gradient, weights)


def signed(g: torch.Generator, weights: int) -> Score:
    """w · (Hw), as GraSP has it: negative for many weights, 0 for those that are pruned."""
    hessian = whole_numbers(g, weights, weights)
    return Score("w * (H @ w)", lambda w: w * (hessian.to(w) @ w), weights)

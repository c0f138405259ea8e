"""An exercise of chapter 06: the bias that restores a class that the student has never seen.

The oracle tries every bias at which some image changes its answer. A bias passes when nearly as
many images are right as can be, so any search that is fine enough is.
"""

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from shrink import distillation
from shrink.classroom.exercises.attempt import Mistake, Wrong
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import About, about
from shrink.classroom.exercises.parts import Part

_ALLOWED = 0.01  # of all images: how far the count may be from the best


def _bias(result: Any) -> Any:
    return about(result, relative=0.03, absolute=0.005)


def right_with(logits: Tensor, labels: Tensor, missing: int, bias: float) -> int:
    """How many images are right with the bias."""
    raised = logits.clone()
    raised[:, missing] += bias
    return int((raised.argmax(1) == labels).sum())


def _gaps(logits: Tensor, missing: int) -> Tensor:
    """What each image needs to become one of the class: the largest other logit minus its own."""
    others = torch.cat([logits[:, :missing], logits[:, missing + 1 :]], 1)
    return others.amax(1) - logits[:, missing]


def _candidates(logits: Tensor, missing: int) -> Tensor:
    """A bias between each two gaps, and one far beyond each end."""
    gaps = _gaps(logits.double(), missing).sort().values
    spread = gaps[-1:] - gaps[:1] + 1
    return torch.cat([gaps[:1] - spread, (gaps[1:] + gaps[:-1]) / 2, gaps[-1:] + spread])


def _right_with_each(logits: Tensor, labels: Tensor, missing: int, biases: Tensor) -> Tensor:
    """How many images are right with each of the biases, all at once."""
    others = logits.clone()
    others[:, missing] = -torch.inf
    gaps = _gaps(logits.double(), missing)
    gained = gaps[labels == missing].sort().values  # right once the bias has passed the gap
    lost = gaps[others.argmax(1) == labels].sort().values  # and these, until it has
    biases = biases.double()
    return torch.searchsorted(gained, biases) + len(lost) - torch.searchsorted(lost, biases)


def best(logits: Tensor, labels: Tensor, missing: int) -> float:
    """A best bias."""
    biases = _candidates(logits, missing)
    return biases[_right_with_each(logits, labels, missing, biases).argmax()].item()


def _best_of(biases: Tensor) -> Callable[[Tensor, Tensor, int], float]:
    """A search among these biases and no others: the first of the best."""

    def best_bias(logits: Tensor, labels: Tensor, missing: int) -> float:
        right = _right_with_each(logits, labels, missing, biases)
        return biases[int(right.argmax())].item()

    return best_bias


BIAS_MISTAKES = (
    Mistake(
        "the missing class alone",
        lambda logits, labels, missing: _candidates(logits, missing)[-1].item(),
        "with so large a bias every image is one of the missing class: count the right ones among "
        "all images, not among those of that class",
    ),
    Mistake(
        "mean shortfall",
        lambda logits, labels, missing: _gaps(logits, missing)[labels == missing].mean().item(),
        "this is how much the images of the missing class lack on average, so about half of them "
        "still lack something: try many biases, and count",
    ),
    Mistake(
        "subtracted",
        lambda logits, labels, missing: -best(logits, labels, missing),
        "this is the number to subtract from the logit; return the one to add",
    ),
    Mistake(
        "whole numbers",
        _best_of(torch.arange(-100.0, 101)),
        "whole numbers are too coarse: logits may differ by less than 1",
    ),
    Mistake(
        "0 to 10",
        _best_of(torch.arange(501) / 50),
        "the biases that you try end too early: how far to go depends on how far apart the logits "
        "are",
    ),
    Mistake(
        "only up",
        _best_of(torch.arange(5001) / 50),
        "the bias may be below 0: where the class is answered too often",
    ),
    Mistake(
        "as many as there are",
        lambda *case: _candidates(case[0], case[2])[(case[1] == case[2]).sum()].item(),
        "with this bias the class is answered as often as it occurs; the question is how many "
        "answers are right: try many biases, and count",
    ),
    Mistake(
        "to all logits",
        lambda logits, labels, missing: _candidates(logits, missing)[0].item(),
        "adding the same number to every logit changes no answer, so the first that you tried "
        "looks as good as any: add it to the logit of the missing class alone",
    ),
)


def _passes(bias: float, best: float, *case: Any) -> bool:
    """Whether nearly as many are right as can be."""
    images = len(case[1])
    return right_with(*case, bias) >= right_with(*case, best) - _ALLOWED * images


def _as_the_check_sees_it(mistake: Mistake) -> Mistake:
    """The same, with the best bias in place of another that passes."""

    def best_bias(*case: Any) -> float:
        bias, right = mistake.function(*case), best(*case)
        return right if _passes(bias, right, *case) else bias

    return replace(mistake, function=best_bias)


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, Tensor, int]]]:
    g = generator(rng)

    def case(
        classes: int,
        missing: int,
        lowered: tuple[float, float],
        scale: float = 1,
        strange: int = 2,
        among: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, int]:
        """Logits in which the right class leads by about 6, and the missing one is lowered.

        The first `strange` images of the missing class have the largest gaps of all: to have them
        right is not worth what it costs. Labels are `among` these, or all.
        """
        n, every = 200, torch.arange(classes)
        among = every if among is None else among
        labels = among[torch.randint(len(among), (n,), generator=g)]
        logits = 1.5 * torch.randn(n, classes, generator=g)
        logits[torch.arange(n), labels] += 6 + 2 * torch.randn(n, generator=g)
        logits[:, missing] -= rng.uniform(*lowered)
        gaps = _gaps(logits, missing)
        strangest = (labels == missing).nonzero()[:strange, 0]
        logits[strangest, missing] -= gaps.max() + 4 - gaps[strangest]
        return scale * logits, labels, missing

    yield lambda: case(10, rng.randrange(1, 9), (8, 10))
    yield lambda: case(10, rng.randrange(1, 9), (8, 10), scale=0.03)
    yield lambda: case(10, rng.randrange(1, 9), (9, 11), scale=4)
    yield lambda: case(10, rng.randrange(1, 9), (-14, -12))
    yield lambda: case(3, 0, (10, 12))
    yield lambda: case(5, 4, (8, 10), scale=0.1)
    yield lambda: case(10, rng.randrange(1, 9), (8, 10), strange=10)
    yield lambda: case(4, 2, (8, 10), among=torch.tensor([2]))  # the best lies beyond all gaps
    yield lambda: case(4, 2, (-3, -2), among=torch.tensor([0, 1, 3]))


def _parts(*_: Any) -> Iterator[Part]:
    """A best bias that is an ordinary number, one below 1, a large one, and one below 0."""
    for draw, _ in zip(_cases(random.Random(0)), range(4), strict=False):
        case = draw()
        yield Part(f"where the best bias is about {best(*case):.2g}", case)


def _wrong(given: Any, right: float, *case: Any) -> Wrong | None:
    bias = _bias(given)
    if not isinstance(bias, About) or not math.isfinite(bias.value):
        return Wrong("return one number, the bias", expected=right, given=given)
    if _passes(bias.value, right, *case):
        return None
    found, most = (right_with(*case, value) for value in (bias.value, right))
    return Wrong(
        f"with this bias {found} of {len(case[1])} images are right; with another {most}",
        expected=f"about {right:.4g}",
        given=given,
    )


best_bias = Exercise(
    "best_bias",
    by_cases(
        _cases,
        best,
        _wrong,
        mistakes=[_as_the_check_sees_it(mistake) for mistake in BIAS_MISTAKES],
        alike=_bias,
        parts=_parts,
    ),
    reference=distillation.best_bias,
    core=True,
    minutes=15,
    mistakes=BIAS_MISTAKES,
)

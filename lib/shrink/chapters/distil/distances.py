"""An exercise of chapter 06: images as far apart in the student as in the teacher.

The oracle goes pair by pair, in float64.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from shrink import distillation
from shrink.chapters.distil.compare import comparable, reaches_teacher, wrong_gradient, wrong_loss
from shrink.classroom.exercises.attempt import Mistake, Wrong
from shrink.classroom.exercises.cases import by_cases, generator
from shrink.classroom.exercises.exercise import Exercise


def _relative_distances(features: Tensor) -> list[float]:
    """The distances of all pairs over their mean, as the definition has them."""
    rows = features.detach().double().flatten(1).tolist()
    distances = [math.dist(a, b) for a, b in itertools.combinations(rows, 2)]
    mean = math.fsum(distances) / len(distances)
    return [distance / mean for distance in distances]


def _huber(difference: float) -> float:
    size = abs(difference)
    return size**2 / 2 if size <= 1 else size - 0.5


def right_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean of Huber's loss over the pairs' distances, each network's divided by their mean."""
    both = map(_relative_distances, (student, teacher))
    losses = [_huber(a - b) for a, b in zip(*both, strict=True)]
    return torch.tensor(math.fsum(losses) / len(losses), dtype=torch.float64)


def _pairs(features: Tensor) -> Tensor:
    return torch.pdist(features.flatten(1))


def _all_with_all(features: Tensor) -> Tensor:
    """All distances, from each image to each, itself included."""
    x = features.flatten(1)
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")


def _loss_with(
    distances: Callable[[Tensor], Tensor] = _pairs,
    divided: Callable[[Tensor], Tensor] = lambda d: d / d.mean(),
    loss: Callable[[Tensor, Tensor], Tensor] = F.huber_loss,
) -> Callable[[Tensor, Tensor], Tensor]:
    """The right loss with one of its steps replaced."""

    def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
        return loss(*(divided(distances(x)) for x in (student, teacher.detach())))

    return distance_loss


def _by_the_teachers_mean(student: Tensor, teacher: Tensor) -> Tensor:
    ours, theirs = _pairs(student), _pairs(teacher)
    return F.huber_loss(ours / theirs.mean(), theirs / theirs.mean())


DISTANCE_MISTAKES = (
    Mistake(
        "not divided",
        _loss_with(divided=lambda d: d),
        "divide the distances of each network by their mean",
    ),
    Mistake(
        "by the teacher's mean",
        _by_the_teachers_mean,
        "the student's distances are divided by the student's own mean",
    ),
    Mistake(
        "itself included",
        _loss_with(_all_with_all),
        "an image's distance to itself, 0, is among the pairs: it makes both means smaller. Take "
        "each pair of two images once",
    ),
    Mistake(
        "squared distances",
        _loss_with(lambda x: _pairs(x).square()),
        "these are squared distances: take the root",
    ),
    Mistake(
        "squares",
        _loss_with(loss=lambda a, b: (a - b).square().mean()),
        "this is the mean square of the differences; Huber's loss is half the square up to 1, and "
        "linear beyond",
    ),
    Mistake(
        "half squares",
        _loss_with(loss=lambda a, b: (a - b).square().mean() / 2),
        "Huber's loss is linear where the difference is above 1: |d| - 1/2",
    ),
    Mistake(
        "features",
        lambda student, teacher: F.huber_loss(student.flatten(1), teacher.flatten(1)),
        "this compares the features; compare the distances within each network, so that the two "
        "may have different numbers of features",
    ),
)


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, Tensor]]]:
    g = generator(rng)

    def features(n: int, *shape: int, outlier: float = 0) -> Tensor:
        x = torch.randn(n, *shape, generator=g)
        x[0] += outlier
        return x

    def pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
        return student.requires_grad_(), teacher.requires_grad_()

    yield lambda: pair(features(5, 3), 3 * features(5, 3, outlier=9))
    yield lambda: pair(features(4, 2, outlier=20), features(4, 6))
    yield lambda: pair(features(4, 2, 3, 3), features(4, 5, 2, 2, outlier=30))
    yield lambda: pair(10 * features(2, 3), features(2, 4))
    yield lambda: pair(features(12, 5), features(12, 5))


def _wrong(given: Any, right: Tensor, student: Tensor, teacher: Tensor) -> Wrong | None:
    (gradient,) = torch.autograd.grad(_loss_with()(student, teacher), student)
    return (
        wrong_loss(given, right)
        or wrong_gradient(given, student, gradient, "the student's features")
        or reaches_teacher(given, teacher)
    )


distance_loss = Exercise(
    "distance_loss",
    by_cases(_cases, right_distance, _wrong, mistakes=DISTANCE_MISTAKES, alike=comparable),
    reference=distillation.distance_loss,
    core=False,
    minutes=12,
    mistakes=DISTANCE_MISTAKES,
)

"""Exercises of chapter 06: what a student learns from inside the teacher, hints and distances.

The oracles go image by image, and pair by pair, in float64.
"""

import itertools
import math
import random
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from shrink import distillation
from shrink.chapters.distil.numbers import seen, wrong_gradient, wrong_loss
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise

Hint = tuple[Tensor, Tensor, nn.Module]


def right_hint(student: Tensor, teacher: Tensor, regressor: nn.Module) -> Tensor:
    """Half the mean of the squared differences, number by number."""
    with torch.no_grad():
        two = regressor(student).flatten().tolist(), teacher.flatten().tolist()
    squares = [(a - b) ** 2 for a, b in zip(*two, strict=True)]
    return torch.tensor(math.fsum(squares) / len(squares) / 2, dtype=torch.float64)


def _of_differences(
    reduce: Callable[[Tensor], Tensor],
) -> Callable[[Tensor, Tensor, nn.Module], Tensor]:
    """A loss made of the differences of the regressor's result and the hint."""
    return lambda student, teacher, regressor: reduce(regressor(student) - teacher)


HINT_MISTAKES = (
    Mistake(
        "not halved",
        _of_differences(lambda d: d.square().mean()),
        "this is the mean of the squares; half of it is asked for",
    ),
    Mistake(
        "summed",
        _of_differences(lambda d: d.square().sum() / 2),
        "this is a sum over everything; take the mean",
    ),
    Mistake(
        "summed over the features",
        _of_differences(lambda d: d.square().flatten(1).sum(1).mean() / 2),
        "the features are summed, and the mean is over the images alone: the mean over both is "
        "asked for, so that a weight suits layers of any size",
    ),
    Mistake(
        "magnitudes",
        _of_differences(lambda d: d.abs().mean() / 2),
        "these are magnitudes; the squares of the differences are asked for",
    ),
    Mistake(
        "length",
        _of_differences(lambda d: d.flatten(1).norm(dim=1).mean() / 2),
        "this is the length of the difference, with a root; no root",
    ),
    Mistake(
        "square of the mean",
        _of_differences(lambda d: d.mean() ** 2 / 2),
        "the mean comes after the square; differences of both signs would cancel",
    ),
    Mistake(
        "no regressor",
        lambda student, teacher, regressor: (student - teacher).square().mean() / 2,
        "the regressor does nothing here: it makes the teacher's kind of features of the student's",
    ),
    Mistake(
        "regressor on the teacher",
        lambda student, teacher, regressor: (student - regressor(teacher)).square().mean() / 2,
        "it is the student's features that go through the regressor, not the teacher's",
    ),
    Mistake(
        "regressor on both",
        lambda student, teacher, regressor: (
            (regressor(student) - regressor(teacher)).square().mean() / 2
        ),
        "the teacher's features stay as they are; the regressor is for the student's",
    ),
)


def _hint_cases(rng: random.Random) -> Iterator[Callable[[], Hint]]:
    g = torch.Generator().manual_seed(rng.randrange(2**31))

    def features(*shape: int) -> Tensor:
        return torch.randn(shape, generator=g).requires_grad_()

    def filled(regressor: nn.Module) -> nn.Module:
        for p in regressor.parameters():
            p.data.copy_(torch.randn(p.shape, generator=g))
        return regressor

    yield lambda: (features(3, 4), features(3, 4), filled(nn.Linear(4, 4)))
    yield lambda: (features(4, 2), features(4, 5), filled(nn.Linear(2, 5)))
    yield lambda: (features(2, 3, 4, 4), features(2, 6, 4, 4), filled(nn.Conv2d(3, 6, 1)))
    yield lambda: (features(2, 2, 5, 5), features(2, 3, 3, 3), filled(nn.Conv2d(2, 3, 3)))
    yield lambda: (features(5, 3), features(5, 3), nn.Identity())
    yield lambda: (features(1, 1), features(1, 1), filled(nn.Linear(1, 1)))


def _check_hint(answer: Attempt, rng: random.Random) -> None:
    for student, teacher, regressor in telling(_hint_cases(rng), right_hint, HINT_MISTAKES, seen):
        loss = answer(student, teacher, regressor, alike=seen)
        right = regressor(student)
        right = (right - teacher.detach()).square().sum() / right.numel() / 2
        named = {"the student's features": student}
        named |= {f"the regressor's {name}": p for name, p in regressor.named_parameters()}
        wrong = wrong_loss(loss, right_hint(student, teacher, regressor))
        for name, tensor in named.items():
            (gradient,) = torch.autograd.grad(right, tensor, retain_graph=True)
            wrong = wrong or wrong_gradient(loss, tensor, gradient, name)
        if wrong := wrong or _reaches_teacher(loss, teacher):
            raise wrong


def _reaches_teacher(loss: Tensor, teacher: Tensor) -> Wrong | None:
    (found,) = torch.autograd.grad(loss, teacher, retain_graph=True, allow_unused=True)
    if found is None or not found.any():
        return None
    return Wrong(
        "the loss is right, and a gradient goes to the teacher's features: the teacher is not to "
        "come towards the student, so detach() them",
        expected=None,
        given=found,
    )


hint_loss = Exercise(
    "hint_loss",
    _check_hint,
    reference=distillation.hint_loss,
    core=False,
    minutes=10,
    mistakes=HINT_MISTAKES,
)


def _pairs(features: Tensor) -> list[float]:
    """The distances of all pairs, as the definition has them."""
    rows = features.detach().double().flatten(1).tolist()
    return [math.dist(a, b) for a, b in itertools.combinations(rows, 2)]


def _huber(difference: float) -> float:
    size = abs(difference)
    return size**2 / 2 if size <= 1 else size - 0.5


def right_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean of Huber's loss over the pairs' distances, each network's divided by their mean."""
    two = [
        [d / (math.fsum(all_) / len(all_)) for d in all_]
        for all_ in map(_pairs, (student, teacher))
    ]
    found = [_huber(a - b) for a, b in zip(*two, strict=True)]
    return torch.tensor(math.fsum(found) / len(found), dtype=torch.float64)


def _distances(features: Tensor) -> Tensor:
    return torch.pdist(features.flatten(1))


def _normalised(distances: Tensor) -> Tensor:
    return distances / distances.mean()


def _but(
    distances: Callable[[Tensor], Tensor] = _distances,
    normalised: Callable[[Tensor], Tensor] = _normalised,
    loss: Callable[[Tensor, Tensor], Tensor] = nn.functional.huber_loss,
) -> Callable[[Tensor, Tensor], Tensor]:
    """The right loss but for one of its steps."""

    def distance_loss(student: Tensor, teacher: Tensor) -> Tensor:
        ours, theirs = (normalised(distances(x)) for x in (student, teacher.detach()))
        return loss(ours, theirs)

    return distance_loss


def _square(features: Tensor) -> Tensor:
    """All distances, from each image to each, itself included."""
    x = features.flatten(1)
    return torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")


def _by_the_teachers(student: Tensor, teacher: Tensor) -> Tensor:
    ours, theirs = _distances(student), _distances(teacher)
    return nn.functional.huber_loss(ours / theirs.mean(), theirs / theirs.mean())


def _of_features(student: Tensor, teacher: Tensor) -> Tensor:
    return nn.functional.huber_loss(student.flatten(1), teacher.flatten(1))


def _off_diagonal(square: Tensor) -> Tensor:
    n = len(square)
    return square.mean() * n / (n - 1)


DISTANCE_MISTAKES = (
    Mistake(
        "not divided",
        _but(normalised=lambda d: d),
        "the distances are as the networks have them: each network's are divided by their mean",
    ),
    Mistake(
        "divided by the largest",
        _but(normalised=lambda d: d / d.max()),
        "each network's distances are divided by their mean, not by the largest",
    ),
    Mistake(
        "by the teacher's mean",
        _by_the_teachers,
        "the student's distances are divided by the student's own mean",
    ),
    Mistake(
        "itself included",
        _but(_square),
        "an image's distance to itself, 0, is among the pairs: it makes both means smaller. Take "
        "each pair of two images once",
    ),
    Mistake(
        "itself in the loss",
        _but(_square, lambda d: d / _off_diagonal(d)),
        "the distances are right, and the mean of the loss counts an image with itself: take each "
        "pair of two images once",
    ),
    Mistake(
        "itself in the mean",
        _but(
            _square,
            loss=lambda a, b: _off_diagonal(nn.functional.huber_loss(a, b, reduction="none")),
        ),
        "the mean by which the distances are divided counts an image with itself",
    ),
    Mistake(
        "squared distances",
        _but(lambda x: _distances(x).square()),
        "these are squared distances: take the root",
    ),
    Mistake(
        "squares",
        _but(loss=lambda a, b: (a - b).square().mean()),
        "this is the mean square of the differences; Huber's loss is half of that up to 1, and "
        "linear beyond",
    ),
    Mistake(
        "half squares",
        _but(loss=lambda a, b: (a - b).square().mean() / 2),
        "Huber's loss is linear where the difference is above 1: |d| - 1/2",
    ),
    Mistake(
        "magnitudes",
        _but(loss=lambda a, b: (a - b).abs().mean()),
        "these are magnitudes; Huber's loss is half the square up to 1, and |d| - 1/2 beyond",
    ),
    Mistake(
        "summed",
        _but(loss=lambda a, b: nn.functional.huber_loss(a, b, reduction="sum")),
        "this is the sum over the pairs: take the mean",
    ),
    Mistake(
        "features",
        _of_features,
        "this compares the features; it is the distances within each network that are compared, "
        "so that the two may have different numbers of features",
    ),
    Mistake(
        "sums of magnitudes",
        _but(lambda x: torch.pdist(x.flatten(1), p=1)),
        "these distances add up magnitudes; the Euclidean one is the root of the sum of squares",
    ),
)


def _distance_cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, Tensor]]]:
    g = torch.Generator().manual_seed(rng.randrange(2**31))

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


def _check_distance(answer: Attempt, rng: random.Random) -> None:
    cases = telling(_distance_cases(rng), right_distance, DISTANCE_MISTAKES, seen)
    for student, teacher in cases:
        loss = answer(student, teacher, alike=seen)
        (gradient,) = torch.autograd.grad(_but()(student, teacher), student)
        wrong = (
            wrong_loss(loss, right_distance(student, teacher))
            or wrong_gradient(loss, student, gradient, "the student's features")
            or _reaches_teacher(loss, teacher)
        )
        if wrong:
            raise wrong


distance_loss = Exercise(
    "distance_loss",
    _check_distance,
    reference=distillation.distance_loss,
    core=False,
    minutes=12,
    mistakes=DISTANCE_MISTAKES,
)

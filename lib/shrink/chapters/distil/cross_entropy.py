"""An exercise of chapter 06: cross entropy with the teacher's answers, and KL, in one function.

The oracle is the sum of the definition in float64, and the gradient of both by hand.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor

from shrink.chapters.distil.compare import comparable, wrong_gradient, wrong_loss
from shrink.chapters.distil.losses import kl, kl_of_logs, logs, random_logits, right_gradient
from shrink.classroom.exercises.attempt import Mistake, Wrong
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise

Pair = tuple[Tensor, Tensor]


def _entropy(logs: Tensor) -> Tensor:
    return -(logs.exp() * logs).sum(-1).mean()


def right_pair(student: Tensor, teacher: Tensor, temperature: float) -> Pair:
    """Cross entropy with the teacher's softened answers, and KL, in float64."""
    z, v = student.detach().double(), teacher.detach().double()
    relative = kl(z, v, temperature)
    return relative + _entropy(logs(v, temperature)), relative


def _pair(
    change: Callable[[Tensor, Tensor, Tensor, Tensor, float], Pair],
) -> Callable[[Tensor, Tensor, float], Pair]:
    """A pair made of: cross entropy, KL, student's and teacher's logs, and the temperature."""

    def soft_losses(student: Tensor, teacher: Tensor, temperature: float) -> Pair:
        p, q = logs(student, temperature), logs(teacher, temperature)
        return change(-(q.exp() * p).sum(-1).mean(), kl_of_logs(q, p).mean(), p, q, temperature)

    return soft_losses


PAIR_MISTAKES = (
    Mistake(
        "exchanged",
        _pair(lambda ce, kl, *_: (kl, ce)),
        "the two are right, in the other order: first the cross entropy, then KL",
    ),
    Mistake(
        "entropy added",
        _pair(lambda ce, kl, p, q, _: (ce, ce + _entropy(q))),
        "KL is the cross entropy minus the entropy of q; here the entropy is added",
    ),
    Mistake(
        "the student's entropy",
        _pair(lambda ce, kl, p, q, _: (ce, ce - _entropy(p))),
        "subtract the teacher's entropy, that of q; the student's has a gradient",
    ),
    Mistake(
        "KL exchanged",
        _pair(lambda ce, kl, p, q, _: (ce, kl_of_logs(p, q).mean())),
        "the cross entropy is right, but KL's arguments are exchanged: the teacher's q comes first",
    ),
    Mistake(
        "T² in them",
        _pair(lambda ce, kl, p, q, t: (t**2 * ce, t**2 * kl)),
        "the factor temperature**2 is not asked for here",
    ),
    Mistake(
        "the same twice",
        _pair(lambda ce, kl, *_: (ce, ce)),
        "the second, KL, must be 0 where the student answers as the teacher does",
    ),
    Mistake(
        "0 log 0",
        _pair(lambda ce, kl, p, q, _: (ce, ((e := q.exp()) * (e.log() - p)).sum(-1).mean())),
        "where q is 0, 0 times its logarithm is NaN: take log_softmax of the logits",
    ),
)


def _cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, Tensor, float]]]:
    def case(n: int, classes: int, temperature: float, teacher: float = 3) -> tuple:
        z, v = random_logits(rng, n, classes), random_logits(rng, n, classes, teacher)
        return z.requires_grad_(), v, temperature

    yield lambda: case(3, 4, rng.choice([2.0, 3.0]))
    yield lambda: case(3, 3, rng.choice([0.4, 0.5]))
    yield lambda: case(2, 4, 0.5, teacher=150)
    yield lambda: case(5, 10, 1.0)
    yield lambda: case(1, 4, 8.0)


def _comparable_pair(result: Any) -> Any:
    both = isinstance(result, tuple | list)
    return tuple(map(comparable, result)) if both else comparable(result)


def _wrong(given: Any, right: Pair, z: Tensor, v: Tensor, temperature: float) -> Wrong | None:
    if not isinstance(given, tuple | list) or len(given) != 2:
        return Wrong("return two losses", expected="(cross entropy, KL)", given=given)
    # With alpha = 1 the labels do not matter; both losses have this gradient, without T².
    gradient = right_gradient(z, v, v.argmax(1), temperature, 1) / temperature**2
    for name, loss, number in zip(("the cross entropy", "KL"), given, right, strict=True):
        wrong = wrong_loss(loss, number, name) or wrong_gradient(
            loss, z, gradient, "the student's logits"
        )
        if wrong:
            return wrong
    return None


soft_losses = Exercise(
    "soft_losses",
    by_cases(_cases, right_pair, _wrong, mistakes=PAIR_MISTAKES, alike=_comparable_pair),
    core=False,
    minutes=8,
    mistakes=PAIR_MISTAKES,
)

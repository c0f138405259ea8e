"""Exercises of chapter 06: the distillation loss with its gradient, and cross entropy beside KL.

The oracle is the sum of the definition in float64, and its gradient by hand.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from shrink import distillation
from shrink.chapters.distil.numbers import seen, seen_pair, wrong_gradient, wrong_loss
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise

Loss = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]
Case = tuple[Tensor, Tensor, Tensor, float, float]


def _logs(logits: Tensor, temperature: float = 1) -> Tensor:
    return torch.log_softmax(logits / temperature, -1)


def _relative(a: Tensor, b: Tensor) -> Tensor:
    """KL of two rows of logarithms, for each image."""
    return (a.exp() * (a - b)).sum(-1)


def _kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    return _relative(_logs(teacher, temperature), _logs(student, temperature)).mean()


def _entropy(logs: Tensor) -> Tensor:
    return -(logs.exp() * logs).sum(-1).mean()


def _mix(hard: Tensor, soft: Tensor, temperature: float, alpha: float) -> Tensor:
    return (1 - alpha) * hard + alpha * temperature**2 * soft


def _but(
    soft: Callable[[Tensor, Tensor, float], Tensor] = _kl,
    hard: Callable[[Tensor, Tensor, float], Tensor] = lambda z, y, _: F.cross_entropy(z, y),
    mix: Callable[[Tensor, Tensor, float, float], Tensor] = _mix,
) -> Loss:
    """The right loss but for one of its parts, or how they are mixed."""

    def loss(z: Tensor, v: Tensor, y: Tensor, temperature: float, alpha: float) -> Tensor:
        return mix(hard(z, y, temperature), soft(z, v, temperature), temperature, alpha)

    return loss


def right_loss(z: Tensor, v: Tensor, y: Tensor, temperature: float, alpha: float) -> Tensor:
    """The loss, in float64."""
    return _but()(z.detach().double(), v.detach().double(), y, temperature, alpha)


def right_gradient(z: Tensor, v: Tensor, y: Tensor, temperature: float, alpha: float) -> Tensor:
    """By the student's logits: (1 - alpha) · (p at T = 1 less the label) + alpha · T · (p - q)."""
    z, v = z.detach().double(), v.detach().double()
    hard = torch.softmax(z, -1) - F.one_hot(y, z.shape[1])
    soft = torch.softmax(z / temperature, -1) - torch.softmax(v / temperature, -1)
    return ((1 - alpha) * hard + alpha * temperature * soft) / len(z)


NO_T_SQUARED = Mistake(
    "no T²",
    _but(mix=lambda hard, soft, temperature, alpha: (1 - alpha) * hard + alpha * soft),
    "the soft part lacks the factor temperature**2: its gradient shrinks by that much",
)
SUMMED = Mistake(
    "summed",
    _but(lambda z, v, t: _relative(_logs(v, t), _logs(z, t)).sum()),
    "the soft part is summed over the images, and so grows with the batch: take the mean, as the "
    'hard part does (kl_div\'s reduction="batchmean")',
)
EXCHANGED = Mistake(
    "arguments exchanged",
    _but(lambda z, v, t: _kl(v, z, t)),
    "this is KL(p ‖ q), which asks what the student says that the teacher does not; the teacher's "
    "q comes first and weighs the logarithms",
)
TEACHER_HARD = Mistake(
    "teacher not softened",
    _but(lambda z, v, t: _relative(_logs(v), _logs(z, t)).mean()),
    "the teacher's logits are not divided by the temperature: both are softened alike",
)
ALPHA_EXCHANGED = Mistake(
    "alpha exchanged",
    _but(mix=lambda hard, soft, t, alpha: alpha * hard + (1 - alpha) * t**2 * soft),
    "alpha is the weight of the soft part, and 1 - alpha that of the hard part",
)
WRONG_AXIS = Mistake(
    "over the images",
    _but(lambda z, v, t: _relative(*((x / t).log_softmax(0) for x in (v, z))).mean()),
    "the softmax goes over the images, and not over the classes: the last axis",
)
# Those that `break_the_loss` is to tell from the right one.
BREAKABLE = (NO_T_SQUARED, SUMMED, EXCHANGED, TEACHER_HARD, ALPHA_EXCHANGED, WRONG_AXIS)

LOSS_MISTAKES = (
    *BREAKABLE,
    Mistake(
        "T once",
        _but(mix=lambda hard, soft, t, alpha: (1 - alpha) * hard + alpha * t * soft),
        "the soft part is multiplied by the temperature once: by its square",
    ),
    Mistake(
        "all times T²",
        _but(mix=lambda hard, soft, t, alpha: t**2 * ((1 - alpha) * hard + alpha * soft)),
        "temperature**2 belongs to the soft part alone",
    ),
    Mistake(
        "mean over the classes",
        _but(lambda z, v, t: _kl(z, v, t) / z.shape[1]),
        "the soft part is divided by the number of classes: a sum over classes, a mean over images "
        '(kl_div\'s reduction="mean" divides by both; "batchmean" does not)',
    ),
    Mistake(
        "student not softened",
        _but(lambda z, v, t: _relative(_logs(v, t), _logs(z)).mean()),
        "in the soft part the student's logits are divided by the temperature, too",
    ),
    Mistake(
        "neither softened",
        _but(lambda z, v, t: _kl(z, v, 1)),
        "in the soft part both networks' logits are divided by the temperature",
    ),
    Mistake(
        "hard part softened",
        _but(hard=lambda z, y, t: F.cross_entropy(z / t, y)),
        "in the hard part the student's logits stay as they are, at temperature 1",
    ),
    Mistake(
        "not weighed",
        _but(mix=lambda hard, soft, t, alpha: hard + alpha * t**2 * soft),
        "the hard part has the weight 1 - alpha",
    ),
    Mistake(
        "cross entropy",
        _but(lambda z, v, t: -(_logs(v, t).exp() * _logs(z, t)).sum(-1).mean()),
        "this soft part is the cross entropy: its gradient is right, and its value is too large by "
        "the entropy of q. Take sum(q * log q) off it, too: KL is 0 where the two agree",
    ),
    Mistake(
        "no logarithm",
        _but(lambda z, v, t: F.kl_div(_logs(z, t).exp(), _logs(v, t).exp(), reduction="batchmean")),
        "kl_div wants the student's logarithms: log_softmax in place of softmax",
    ),
    Mistake(
        "two logarithms",
        _but(lambda z, v, t: F.kl_div(_logs(z, t), _logs(v, t), reduction="batchmean")),
        "kl_div wants the teacher's probabilities, or log_target=True",
    ),
    Mistake(
        "log of the softmax",
        _but(lambda z, v, t: _relative(_logs(v, t), torch.softmax(z / t, -1).log()).mean()),
        "where a probability is too small for float32 it is 0, and its logarithm minus infinity: "
        "log_softmax does both at once, safely",
    ),
    Mistake(
        "0 log 0",
        _but(
            lambda z, v, t: (
                ((q := torch.softmax(v / t, -1)) * (q.log() - _logs(z, t))).sum(-1).mean()
            )
        ),
        "where the teacher's probability is 0, 0 times its logarithm is NaN: take log_softmax of "
        "the teacher's logits, or kl_div, which knows",
    ),
    Mistake(
        "the teacher's labels",
        _but(lambda z, v, t: F.cross_entropy(z, v.argmax(-1))),
        "this takes the teacher's first choice alone; its whole answer, softened, is the target",
    ),
)


def _logits(rng: random.Random, n: int, classes: int, spread: float = 3) -> Tensor:
    rows = [[rng.uniform(-spread, spread) for _ in range(classes)] for _ in range(n)]
    return torch.tensor(rows).view(n, classes)


def _loss_cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    def case(n: int, classes: int, temperature: float, alpha: float, **spread: float) -> Case:
        z = _logits(rng, n, classes, spread.get("student", 3))
        v = _logits(rng, n, classes, spread.get("teacher", 3))
        labels = torch.tensor([rng.randrange(classes) for _ in range(n)])
        return z.requires_grad_(), v, labels, temperature, alpha

    yield lambda: case(4, 5, rng.choice([2.0, 3.0, 4.0]), rng.choice([0.2, 0.3, 0.7, 0.9]))
    yield lambda: case(3, 4, rng.choice([0.4, 0.5]), rng.choice([0.3, 0.8]))
    yield lambda: case(2, 4, 0.5, 0.9, student=150)
    yield lambda: case(2, 4, 0.5, 0.9, teacher=150)
    yield lambda: case(3, 6, 1.0, 0.5)
    yield lambda: case(4, 3, 5.0, 0.0)
    yield lambda: case(4, 3, 5.0, 1.0)
    yield lambda: case(1, 10, 8.0, 0.6)
    yield lambda: case(64, 10, 4.0, 0.9)
    if torch.cuda.is_available():
        yield lambda: tuple(
            t.detach().cuda().requires_grad_(t.requires_grad) if isinstance(t, Tensor) else t
            for t in case(4, 5, 3.0, 0.7)
        )


def _check_loss(answer: Attempt, rng: random.Random) -> None:
    for case in telling(_loss_cases(rng), right_loss, LOSS_MISTAKES, seen):
        loss = answer(*case, alike=seen)
        wrong = wrong_loss(loss, right_loss(*case)) or wrong_gradient(
            loss, case[0], right_gradient(*case), "the student's logits"
        )
        if wrong:
            raise wrong


distillation_loss = Exercise(
    "distillation_loss",
    _check_loss,
    reference=distillation.distillation_loss,
    core=True,
    minutes=15,
    mistakes=LOSS_MISTAKES,
)


def right_pair(student: Tensor, teacher: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Cross entropy with the teacher's softened answers, and KL, in float64."""
    z, v = student.detach().double(), teacher.detach().double()
    kl = _kl(z, v, temperature)
    return kl + _entropy(_logs(v, temperature)), kl


def _pair(
    change: Callable[[Tensor, Tensor, Tensor, Tensor, float], Any],
) -> Callable[[Tensor, Tensor, float], Any]:
    """Something made of: cross entropy, KL, student's and teacher's logs, and the temperature."""

    def soft_losses(student: Tensor, teacher: Tensor, temperature: float) -> Any:
        q, p = _logs(teacher, temperature), _logs(student, temperature)
        kl = _relative(q, p).mean()
        return change(-(q.exp() * p).sum(-1).mean(), kl, p, q, temperature)

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
        "KL is the cross entropy less the entropy of q; here it is added",
    ),
    Mistake(
        "the student's entropy",
        _pair(lambda ce, kl, p, q, _: (ce, ce - _entropy(p))),
        "it is the teacher's entropy, of q, that is taken off; the student's has a gradient",
    ),
    Mistake(
        "arguments exchanged",
        _pair(
            lambda ce, kl, p, q, _: (_relative(p, q).mean() + _entropy(p), _relative(p, q).mean())
        ),
        "the teacher's q weighs the logarithms, in both",
    ),
    Mistake(
        "KL exchanged",
        _pair(lambda ce, kl, p, q, _: (ce, _relative(p, q).mean())),
        "the cross entropy is right, and KL has its arguments exchanged: the teacher's q weighs",
    ),
    Mistake(
        "T² in them",
        _pair(lambda ce, kl, p, q, t: (t**2 * ce, t**2 * kl)),
        "the factor temperature**2 is not asked for here",
    ),
    Mistake(
        "summed",
        _pair(lambda ce, kl, p, q, _: (len(p) * ce, len(p) * kl)),
        "these are sums over the images: take the mean",
    ),
    Mistake(
        "mean over the classes",
        _pair(lambda ce, kl, p, q, _: (ce / p.shape[1], kl / p.shape[1])),
        "sum over the classes, and take the mean over the images alone",
    ),
    Mistake(
        "the same twice",
        _pair(lambda ce, kl, *_: (ce, ce)),
        "the second is to be 0 where the student answers as the teacher does",
    ),
    Mistake(
        "the entropy",
        _pair(lambda ce, kl, p, q, _: (ce, _entropy(q))),
        "the second is the entropy of q, by which the two losses differ; KL is the cross entropy "
        "less that",
    ),
    Mistake(
        "0 log 0",
        _pair(
            lambda ce, kl, p, q, _: (ce, ((e := q.exp()) * (e.log() - p)).sum(-1).mean()),
        ),
        "where q is 0, 0 times its logarithm is NaN: take log_softmax of the logits",
    ),
)


def _pair_cases(rng: random.Random) -> Iterator[Callable[[], tuple[Tensor, Tensor, float]]]:
    def case(n: int, classes: int, temperature: float, teacher: float = 3) -> tuple:
        z, v = _logits(rng, n, classes), _logits(rng, n, classes, teacher)
        return z.requires_grad_(), v, temperature

    yield lambda: case(3, 4, rng.choice([2.0, 3.0]))
    yield lambda: case(3, 3, rng.choice([0.4, 0.5]))
    yield lambda: case(2, 4, 0.5, teacher=150)
    yield lambda: case(5, 10, 1.0)
    yield lambda: case(1, 4, 8.0)


def _check_pair(answer: Attempt, rng: random.Random) -> None:
    for case in telling(_pair_cases(rng), right_pair, PAIR_MISTAKES, seen_pair):
        given, right = answer(*case, alike=seen_pair), right_pair(*case)
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise Wrong("return two losses", expected="(cross entropy, KL)", given=given)
        z, v, temperature = case
        gradient = right_gradient(z, v, v.argmax(1), temperature, 1) / temperature**2
        for name, loss, number in zip(("the cross entropy", "KL"), given, right, strict=True):
            wrong = wrong_loss(loss, number, name) or wrong_gradient(
                loss, z, gradient, "the student's logits"
            )
            if wrong:
                raise wrong


soft_losses = Exercise("soft_losses", _check_pair, core=False, minutes=8, mistakes=PAIR_MISTAKES)

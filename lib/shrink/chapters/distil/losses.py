"""An exercise of chapter 06: the distillation loss, with its gradient.

The oracle is the sum of the definition in float64, and its gradient by hand.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from shrink import distillation
from shrink.chapters.distil.compare import comparable, wrong_gradient, wrong_loss
from shrink.classroom.exercises.attempt import Mistake, Wrong
from shrink.classroom.exercises.cases import by_cases
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.parts import Part

Case = tuple[Tensor, Tensor, Tensor, float, float]
Loss = Callable[[Tensor, Tensor, Tensor, float, float], Tensor]


def logs(logits: Tensor, temperature: float = 1) -> Tensor:
    """Logarithms of the softened probabilities."""
    return torch.log_softmax(logits / temperature, -1)


def kl_of_logs(a: Tensor, b: Tensor) -> Tensor:
    """KL of two rows of logarithms, for each image."""
    return (a.exp() * (a - b)).sum(-1)


def kl(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """KL(q ‖ p) of the softened answers, the teacher's q and the student's p: mean over images."""
    return kl_of_logs(logs(teacher, temperature), logs(student, temperature)).mean()


def _weighted(hard: Tensor, soft: Tensor, temperature: float, alpha: float) -> Tensor:
    return (1 - alpha) * hard + alpha * temperature**2 * soft


def _loss_with(
    soft: Callable[[Tensor, Tensor, float], Tensor] = kl,
    weighted: Callable[[Tensor, Tensor, float, float], Tensor] = _weighted,
) -> Loss:
    """The right loss with another soft part, or its two parts weighted in another way."""

    def loss(z: Tensor, v: Tensor, y: Tensor, temperature: float, alpha: float) -> Tensor:
        return weighted(F.cross_entropy(z, y), soft(z, v, temperature), temperature, alpha)

    return loss


def right_loss(z: Tensor, v: Tensor, y: Tensor, temperature: float, alpha: float) -> Tensor:
    """The loss, in float64."""
    return _loss_with()(z.detach().double(), v.detach().double(), y, temperature, alpha)


def right_gradient(z: Tensor, v: Tensor, y: Tensor, temperature: float, alpha: float) -> Tensor:
    """By the student's logits: (1 - alpha) · (p at T = 1 less the label) + alpha · T · (p - q)."""
    z, v = z.detach().double(), v.detach().double()
    hard = torch.softmax(z, -1) - F.one_hot(y, z.shape[1])
    soft = torch.softmax(z / temperature, -1) - torch.softmax(v / temperature, -1)
    return ((1 - alpha) * hard + alpha * temperature * soft) / len(z)


# Those on which the input of `break_the_loss` must differ from the right one.
BREAKABLE = (
    Mistake(
        "no T²",
        _loss_with(weighted=lambda hard, soft, t, alpha: (1 - alpha) * hard + alpha * soft),
        "the soft part lacks the factor temperature**2: its gradient shrinks by that much",
    ),
    Mistake(
        "summed",
        _loss_with(lambda z, v, t: kl_of_logs(logs(v, t), logs(z, t)).sum()),
        "the soft part is summed over the images, and so grows with the batch: take the mean, as "
        'the hard part does (kl_div\'s reduction="batchmean")',
    ),
    Mistake(
        "arguments exchanged",
        _loss_with(lambda z, v, t: kl(v, z, t)),
        "this is KL(p ‖ q), which checks only the answers that the student gives; the teacher's q "
        "comes first, and weights the logarithms",
    ),
    Mistake(
        "teacher not softened",
        _loss_with(lambda z, v, t: kl_of_logs(logs(v), logs(z, t)).mean()),
        "the teacher's logits are not divided by the temperature: soften both",
    ),
    Mistake(
        "alpha exchanged",
        _loss_with(weighted=lambda hard, soft, t, alpha: alpha * hard + (1 - alpha) * t**2 * soft),
        "alpha is the weight of the soft part, and 1 - alpha that of the hard part",
    ),
    Mistake(
        "over the images",
        _loss_with(lambda z, v, t: kl_of_logs(*((x / t).log_softmax(0) for x in (v, z))).mean()),
        "the softmax goes over the images; take it over the classes, the last axis",
    ),
)

LOSS_MISTAKES = (
    *BREAKABLE,
    Mistake(
        "mean over the classes",
        _loss_with(lambda z, v, t: kl(z, v, t) / z.shape[1]),
        "the soft part is divided by the number of classes: a sum over classes, a mean over images "
        '(kl_div\'s reduction="mean" divides by both; "batchmean" does not)',
    ),
    Mistake(
        "cross entropy",
        _loss_with(lambda z, v, t: -(logs(v, t).exp() * logs(z, t)).sum(-1).mean()),
        "this soft part is the cross entropy: its gradient is right, and its value is too large by "
        "the entropy of q. Add sum(q * log q), which is below 0: KL is 0 where the two agree",
    ),
    Mistake(
        "no logarithm",
        _loss_with(
            lambda z, v, t: F.kl_div(logs(z, t).exp(), logs(v, t).exp(), reduction="batchmean")
        ),
        "kl_div wants the student's logarithms: log_softmax in place of softmax",
    ),
)


def random_logits(rng: random.Random, n: int, classes: int, spread: float = 3) -> Tensor:
    """Logits (n, classes) from -spread to spread."""
    rows = [[rng.uniform(-spread, spread) for _ in range(classes)] for _ in range(n)]
    return torch.tensor(rows).view(n, classes)


def _cases(rng: random.Random) -> Iterator[Callable[[], Case]]:
    def case(n: int, classes: int, temperature: float, alpha: float, **spread: float) -> Case:
        z = random_logits(rng, n, classes, spread.get("student", 3))
        v = random_logits(rng, n, classes, spread.get("teacher", 3))
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


def _parts(z: Tensor, v: Tensor, y: Tensor, temperature: float, alpha: float) -> Iterator[Part]:
    """One term at a time, and each where the temperature changes nothing."""
    hot = 2.0 if temperature == 1 else temperature
    for also, t in (("", hot), (" and temperature = 1", 1.0)):
        for a in (0, 1):
            case = (z.detach().clone().requires_grad_(), v, y, t, float(a))
            yield Part(f"at alpha = {a}{also}", case)


def _wrong(given: Any, right: Tensor, *case: Any) -> Wrong | None:
    return wrong_loss(given, right) or wrong_gradient(
        given, case[0], right_gradient(*case), "the student's logits"
    )


distillation_loss = Exercise(
    "distillation_loss",
    by_cases(_cases, right_loss, _wrong, mistakes=LOSS_MISTAKES, alike=comparable, parts=_parts),
    reference=distillation.distillation_loss,
    core=True,
    minutes=15,
    mistakes=LOSS_MISTAKES,
)

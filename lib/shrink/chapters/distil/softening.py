"""The exercises of chapter 06, Distil: here `soften`, and how to break the loss.

The oracle is PyTorch's softmax in float64.
"""

import random
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from shrink import distillation
from shrink.chapters.distil import (
    losses as distil_loss,
)
from shrink.chapters.distil.numbers import is_near, seen
from shrink.classroom.exercises.attempt import Attempt, Mistake, Wrong
from shrink.classroom.exercises.cases import telling
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import plain

MOST_IMAGES, MOST_CLASSES, LARGEST_LOGIT = 3, 4, 20  # of an input that breaks the loss


def _right(logits: Tensor, temperature: float) -> Tensor:
    return torch.softmax(logits.detach().double() / temperature, -1)


def _shares(powers: Tensor) -> Tensor:
    return powers / powers.sum(-1, keepdim=True)


def _less_the_largest(logits: Tensor, temperature: float) -> Tensor:
    """The largest of each row is taken off, though not divided."""
    return _shares((logits / temperature - logits.amax(-1, keepdim=True)).exp())


SOFTEN_MISTAKES = (
    Mistake(
        "overflow",
        lambda logits, temperature: _shares((logits / temperature).exp()),
        "exp() of more than 88 is infinite in float32, and of all below -103 it is 0, so that 0 is "
        "divided by 0: take the largest of each row off first, which changes no share, or call "
        "torch.softmax",
    ),
    Mistake(
        "largest of all",
        lambda logits, temperature: _shares(((logits - logits.max()) / temperature).exp()),
        "this takes the largest of all logits off: where a row lies far below it, all its exp() "
        "are 0. Each row has a largest of its own: amax(-1, keepdim=True)",
    ),
    Mistake(
        "largest not divided",
        _less_the_largest,
        "the largest logit is taken off after the division, and was not divided itself",
    ),
    Mistake(
        "clamped",
        lambda logits, temperature: torch.softmax((logits / temperature).clamp(-80, 80), -1),
        "clamp() makes different logits equal: take the largest of each row off instead",
    ),
    Mistake(
        "not softened",
        lambda logits, temperature: torch.softmax(logits, -1),
        "the temperature does nothing here: divide the logits by it",
    ),
    Mistake(
        "multiplied",
        lambda logits, temperature: torch.softmax(logits * temperature, -1),
        "the higher the temperature, the more even: divide the logits by it, do not multiply",
    ),
    Mistake(
        "divided afterwards",
        lambda logits, temperature: torch.softmax(logits, -1) / temperature,
        "it is the logits that are divided, before the softmax; here the shares of a row no longer "
        "sum to 1",
    ),
    Mistake(
        "divided and normalised",
        lambda logits, temperature: _shares(logits.exp() / temperature),
        "divided after exp(), the temperature cancels: divide the logits",
    ),
    Mistake(
        "softmax twice",
        lambda logits, temperature: torch.softmax(torch.softmax(logits, -1) / temperature, -1),
        "this softens probabilities, which lie between 0 and 1, and so are nearly even: soften the "
        "logits",
    ),
    Mistake(
        "roots of shares",
        lambda logits, temperature: _shares(torch.softmax(logits, -1) ** (1 / temperature)),
        "on paper this is the same, but a share that is too small for float32 is 0, and so is its "
        "root at any temperature: soften the logits",
    ),
    Mistake(
        "over the images",
        lambda logits, temperature: torch.softmax(logits / temperature, 0),
        "this shares a class out among the images: the sum over the last axis, the classes, is 1",
    ),
    Mistake(
        "over everything",
        lambda logits, temperature: torch.softmax((logits / temperature).flatten(), 0).view(
            logits.shape
        ),
        "all numbers together sum to 1; each row's are to",
    ),
    Mistake(
        "logs",
        lambda logits, temperature: torch.log_softmax(logits / temperature, -1),
        "these are the logarithms of the probabilities",
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


def _check_soften(answer: Attempt, rng: random.Random) -> None:
    for logits, temperature in telling(_cases(rng), _right, SOFTEN_MISTAKES, seen):
        given = answer(logits, temperature, alike=seen)
        right = _right(logits, temperature).float()
        if not isinstance(given, Tensor) or not given.is_floating_point():
            raise Wrong("probabilities are a float tensor", expected=right, given=given)
        if given.shape != right.shape or given.device != right.device:
            raise Wrong(
                "the probabilities have the shape and device of the logits",
                expected=right,
                given=given,
            )
        if given.isnan().any():
            raise Wrong("NaN is no probability", expected=right, given=given)
        sums = given.detach().sum(-1).flatten()
        off = (sums - 1).abs() > 1e-3
        if off.any():
            raise Wrong(
                f"the probabilities of a row sum to 1, and not to {sums[off][0]:.4g}",
                expected=right,
                given=given,
            )
        if not is_near(given, right).all():
            raise Wrong(f"not as at a temperature of {temperature:g}", expected=right, given=given)


soften = Exercise(
    "soften",
    _check_soften,
    reference=distillation.soften,
    core=True,
    minutes=10,
    mistakes=SOFTEN_MISTAKES,
)


def _check_break_the_loss(answer: Attempt, rng: random.Random) -> None:
    given = answer()
    if not (isinstance(given, tuple | list) and len(given) == 5):
        raise Wrong(
            "return five things",
            expected="(student_logits, teacher_logits, labels, temperature, alpha)",
            given=given,
        )
    case = _case_of(*given)
    right = float(distil_loss.right_loss(*case))
    if not 0.01 < right < 100:
        raise Wrong(f"the right loss is {right:.3g} there; keep it from 0.01 to 100", given=given)
    found = {m.name: float(m.function(*case)) / right for m in distil_loss.BREAKABLE}
    hides = {name: ratio for name, ratio in found.items() if 0.5 < ratio < 2}
    if hides:
        told = ", ".join(f"{name} ({ratio:.2f} times)" for name, ratio in hides.items())
        broken = [name for name in found if name not in hides]
        raise Wrong(
            f"{told}: less than half or more than twice the right loss, {right:.3g}, is wanted "
            f"(far enough off: {', '.join(broken) or 'none'})",
            given=given,
        )


def _case_of(
    student: Any, teacher: Any, labels: Any, temperature: Any, alpha: Any
) -> tuple[Tensor, Tensor, Tensor, float, float]:
    """What was returned, as the loss takes it; `Wrong` where it cannot."""
    for logits in (student, teacher):
        if not isinstance(logits, Tensor) or not logits.is_floating_point() or logits.dim() != 2:
            raise Wrong("logits are float tensors (images, classes)", given=logits)
    if student.shape != teacher.shape:
        raise Wrong("student and teacher answer for the same images and classes", given=teacher)
    images, classes = student.shape
    if not (1 <= images <= MOST_IMAGES and 2 <= classes <= MOST_CLASSES):
        raise Wrong(
            f"at most {MOST_IMAGES} images and {MOST_CLASSES} classes, and two classes at least",
            given=student,
        )
    for logits in (student, teacher):
        if not (logits.abs() <= LARGEST_LOGIT).all():
            raise Wrong(f"logits lie from -{LARGEST_LOGIT} to {LARGEST_LOGIT}", given=logits)
    integers = isinstance(labels, Tensor) and labels.dtype == torch.int64
    if not integers or labels.shape != (images,):
        raise Wrong("labels are integers, int64, one an image", given=labels)
    if not ((labels >= 0) & (labels < classes)).all():
        raise Wrong(f"labels lie from 0 to {classes - 1}", given=labels)
    temperature, alpha = plain(temperature), plain(alpha)
    if type(temperature) not in (int, float) or not 0.1 <= temperature <= 20:
        raise Wrong("the temperature is a number from 0.1 to 20", given=temperature)
    if type(alpha) not in (int, float) or not 0 <= alpha <= 1:
        raise Wrong("alpha is a number from 0 to 1", given=alpha)
    logits = (one.detach().cpu().double() for one in (student, teacher))
    return *logits, labels.cpu(), float(temperature), float(alpha)


break_the_loss = Exercise("break_the_loss", _check_break_the_loss, core=False, minutes=10)

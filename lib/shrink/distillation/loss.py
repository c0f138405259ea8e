"""Distillation: a small network learns from the softened answers of a large one, the teacher.

Several teachers are averaged first: `average_targets`, and then `soft_loss`. A chain of teacher
assistants is distillation repeated, and needs no code of its own: each network, smaller than the
one before, is taught by that and teaches the next (Mirzadeh et al. 2020, "Improved Knowledge
Distillation via Teacher Assistant"). `features` and `relations` stand in place of answers.
"""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from shrink.arguments import check_real, whole
from shrink.tensors import check_floating, check_one_device, check_whole, wide

UNLABELLED = -100  # a label that torch's cross entropy leaves out
LOGITS = "logits and probabilities"


def soften(logits: Tensor, temperature: float) -> Tensor:
    """The softmax of logits / temperature: the higher the temperature, the more even.

    Towards 0 it becomes one-hot, if one logit is the largest; at 1 it is the softmax; towards
    infinity every class gets the same.

    Args:
        logits: float (..., classes). A class at minus infinity gets 0, unless all are.
        temperature: above 0, finite.

    Returns:
        Probabilities of the logits' shape and dtype; each row's sum is 1.

    Source: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", equation 1.

    Raises:
        TypeError: the logits are not floating point, or the temperature is no number.
        ValueError: there is no class, or the temperature is not above 0 and finite.

    >>> logits = torch.tensor([0.0, 1.0]) * math.log(3)  # odds of 1 to 3
    >>> soften(logits, 1), soften(logits, 0.5)  # and of 1 to 9
    (tensor([0.2500, 0.7500]), tensor([0.1000, 0.9000]))
    """
    temperature = _checked_temperature(temperature)
    check_floating(logits, LOGITS)
    if logits.dim() == 0 or logits.shape[-1] == 0:
        raise ValueError(f"logits are (..., classes), at least one, not {tuple(logits.shape)}")
    return F.softmax(_cooled(_levelled(logits), temperature), -1).to(logits.dtype)


def average_targets(
    teachers_logits: Tensor | Sequence[Tensor],
    temperature: float,
    weights: Sequence[float] | None = None,
) -> Tensor:
    """The soft targets of several teachers: the mean of their softened answers.

    Args:
        teachers_logits: float (n, classes) of each teacher, or all in one (teachers, n, classes).
        temperature: above 0, finite.
        weights: how much each teacher counts, at least 0, of any sum; without them, all alike.

    Returns:
        Probabilities (n, classes), float32 where the logits are narrower.

    Source: Hinton, Vinyals, Dean 2015, section 1; You, Xu, Xu, Tao 2017, "Learning from Multiple
        Teacher Networks".
    Differs: Hinton et al. offer the geometric mean, too: that is, normalised, `soften` of the mean
        of the logits. You et al. teach relations between images in hidden layers besides.

    Raises:
        TypeError: logits are not floating point.
        ValueError: there is no teacher, shapes differ, the temperature is out of range, or weights
            are not one for each teacher, negative, infinite or all 0.

    >>> odds = torch.tensor([[[1.0, 3.0]], [[1.0, 1.0]]])  # of two teachers
    >>> average_targets(odds.log(), 1), average_targets(odds.log(), 1, weights=[3, 1])
    (tensor([[0.3750, 0.6250]]), tensor([[0.3125, 0.6875]]))
    """
    for logits in teachers_logits:
        check_floating(logits, LOGITS)
    shapes = [tuple(logits.shape) for logits in teachers_logits]
    if len(set(shapes)) != 1 or len(shapes[0]) != 2:
        raise ValueError(
            f"each teacher's logits are (n, classes), alike for all, not {shapes}; of one, [logits]"
        )
    shares = [1.0] * len(shapes) if weights is None else [float(weight) for weight in weights]
    total = math.fsum(shares)
    if len(shares) != len(shapes) or min(shares) < 0 or not 0 < total < math.inf:
        raise ValueError(
            f"weights must be at least 0, one above, for {len(shapes)} teachers, not {weights!r}"
        )
    answers = (soften(_wide(logits), temperature) for logits in teachers_logits)
    return sum(share / total * answer for share, answer in zip(shares, answers, strict=True))


def soft_loss(student_logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    """T² · KL(targets ‖ student), the mean over the batch: what soft targets alone teach.

    The relative entropy KL = Σ q · log(q / p) is that of the targets q and the student's softened
    answers p. Its gradient falls as 1 / T² where T exceeds the spread of the logits; the factor T²
    makes up for that. In float32 the value keeps three digits up to a T of about 1000, the gradient
    to 10 000; beyond, the answers are so alike that rounding hides their differences.

    Args:
        student_logits: float (n, classes).
        targets: probabilities (n, classes), softened at the same temperature, as by
            `average_targets`. No gradient goes to them.
        temperature: T, above 0, finite.

    Returns:
        The loss in nats, without axes, in float32 or float64. It is infinite where a student's
        logit of minus infinity rules out what the targets do not.

    Source: Hinton, Vinyals, Dean 2015, section 2.
    Differs: the paper has the cross entropy with the soft targets; its gradient is the same.

    Raises:
        TypeError: the logits are not floating point.
        ValueError: there is no image, shapes or devices differ, targets are no probabilities, or
            the temperature is out of range.

    >>> soft_loss(torch.zeros(1, 2), torch.tensor([[0.25, 0.75]]), 1)  # log 2 + Σ q log q
    tensor(0.1308)
    """
    temperature = _checked_temperature(temperature)
    _check_same_shape(student_logits, targets)
    targets = _wide(targets.detach())
    sums = targets.sum(-1)
    if not ((targets >= 0).all() and ((sums - 1).abs() < 0.02).all()):  # bfloat16 has two digits
        raise ValueError("targets must be probabilities, each row's sum 1: soften the logits first")
    return _soft_loss(student_logits, targets, temperature)


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float,
    alpha: float,
) -> Tensor:
    """(1 - alpha) · cross entropy + alpha · T² · KL(teacher ‖ student), the mean over the batch.

    The second part is the `soft_loss` of the teacher's softened answers. Images whose label is -100
    have none, as in torch: they count in the second part alone, and where no image has a label it
    is all that there is.

    Args:
        student_logits, teacher_logits: float (n, classes). No gradient goes to the teacher's.
        labels: whole numbers (n,), each a class or -100. At alpha = 1 they are not looked at.
        temperature: T, above 0, finite.
        alpha: the weight of the teacher's answers, 0 to 1.

    Returns:
        The loss in nats, without axes, in float32 or float64.

    Source: Hinton, Vinyals, Dean 2015, section 2.
    Differs: as `soft_loss`.

    Raises:
        TypeError: logits are not floating point, labels are not whole, or temperature or alpha is
            no number.
        ValueError: there is no image, shapes or devices differ, a label is no class, temperature or
            alpha is out of range, or alpha is 0 and no image has a label.

    >>> student, teacher = torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]])
    >>> label = torch.tensor([1])
    >>> distillation_loss(student, teacher, label, temperature=1, alpha=0)  # log 2
    tensor(0.6931)
    >>> distillation_loss(student, teacher, label, 1, 1)  # log 2 + 1/4 log 1/4 + 3/4 log 3/4
    tensor(0.1308)
    """
    check_real("alpha", alpha)
    temperature = _checked_temperature(temperature)
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be 0 to 1, not {alpha!r}")
    _check_same_shape(student_logits, teacher_logits)
    student, teacher = _wide(student_logits), _wide(teacher_logits.detach())
    parts = []  # what counts nothing is left out: it may be infinite
    if alpha < 1 and ((labels := _classes(labels, student)) != UNLABELLED).any():
        parts.append((1 - alpha) * F.cross_entropy(student, labels))
    if alpha > 0:
        parts.append(alpha * _soft_loss(student, soften(teacher, temperature), temperature))
    if not parts:
        raise ValueError(f"alpha is 0 and all labels are {UNLABELLED}: there is nothing to learn")
    return sum(parts)


def best_bias(logits: Tensor, labels: Tensor, missing: int) -> float:
    """The number that, added to the logit of class `missing`, makes the most images right.

    A student that has seen no image of a class may know it from a teacher's answers to others, and
    yet find it too unlikely. One number corrects that. Choose it on images that are not the test
    images; the paper chose it on these.

    Args:
        logits: float (n, classes), finite.
        labels: whole numbers (n,), each a class, or -100 for an image that does not count.
        missing: the class.

    Returns:
        The middle of a range of best biases; 1 beyond the last image, where it is open.

    Source: Hinton, Vinyals, Dean 2015, section 3.

    Raises:
        TypeError: the logits are not floating point, or the labels not whole.
        ValueError: there is no image with a label or no such class, a label is no class, shapes or
            devices differ, or a logit is not finite.

    >>> logits = torch.tensor([[2.0, 0.0], [9.0, 1.0], [3.0, 0.0], [1.0, 0.0]])
    >>> best_bias(logits, torch.tensor([1, 0, 1, 0]), missing=1)  # between 3 and 8
    5.5
    """
    check_floating(logits, LOGITS)
    labels, given = _classes(labels, logits), missing
    missing = whole(given)
    if missing is None or not 0 <= missing < logits.shape[1] or logits.shape[1] < 2:
        there = f"0 to {logits.shape[1] - 1}"
        raise ValueError(f"missing must be one of two classes or more, {there}, not {given!r}")
    others, labels = logits[labels != UNLABELLED].double(), labels[labels != UNLABELLED]
    if not others.isfinite().all():
        raise ValueError("logits must be finite")
    if not len(labels):
        raise ValueError(f"all labels are {UNLABELLED}: there is no image to make right")
    own, others = others[:, missing], others.index_fill(1, labels.new_tensor([missing]), -math.inf)
    largest, answers = others.max(1)
    gaps, order = (largest - own).sort()  # an image is held for the class from its gap on
    change = (labels == missing).int() - (labels == answers).int()
    right = F.pad(change[order].cumsum(0), (1, 0))  # with so many images beyond their gaps
    ends = torch.cat([gaps[:1] - 2, gaps, gaps[-1:] + 2])
    right[ends[1:] == ends[:-1]] = -len(labels) - 1  # no bias lies between two equal gaps
    i = int(right.argmax())
    return float(ends[i] + ends[i + 1]) / 2


def _soft_loss(student_logits: Tensor, q: Tensor, temperature: float) -> Tensor:
    gaps = temperature * q.log() - _scaled_logs(student_logits, temperature)
    return temperature * (q * gaps.masked_fill(q == 0, 0)).sum(-1).mean()


def _scaled_logs(logits: Tensor, temperature: float) -> Tensor:
    """T · log of the softened answers, without overflow however small T is."""
    levelled = _levelled(logits)
    return levelled - temperature * _cooled(levelled, temperature).logsumexp(-1, keepdim=True)


def _cooled(levelled: Tensor, temperature: float) -> Tensor:
    """The logits / temperature, or the smallest temperature that their dtype can divide by."""
    return levelled / max(temperature, torch.finfo(levelled.dtype).tiny)


def _levelled(logits: Tensor) -> Tensor:
    """The logits with each row's largest at 0, in float32 at least."""
    wide = _wide(logits)
    return wide - wide.detach().amax(-1, keepdim=True)


def _wide(numbers: Tensor) -> Tensor:
    """In float32 at least: narrower numbers have too few digits for exponentials and sums."""
    return wide(numbers, LOGITS)


def _checked_temperature(temperature: float) -> float | Tensor:
    """As a float, or as the tensor that it is: it may learn."""
    given = temperature
    learned = isinstance(given, Tensor) and not given.dim()
    if not learned or given.dtype == torch.bool or given.is_complex():
        check_real("the temperature", given)
        try:
            temperature = float(given)
        except OverflowError:
            temperature = math.inf
    if not 0 < temperature < math.inf:
        raise ValueError(f"the temperature must be above 0 and finite, not {given!r}")
    return temperature


def _check_same_shape(student: Tensor, teacher: Tensor) -> None:
    for logits in (student, teacher):
        check_floating(logits, LOGITS)
    if student.dim() != 2 or student.shape != teacher.shape or not student.numel():
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise ValueError(
            f"logits are (n, classes), n at least 1, alike for student and teacher, not {shapes}"
        )
    check_one_device(student, teacher)


def _classes(labels: Tensor, logits: Tensor) -> Tensor:
    """The labels as int64, (n,): each a class that the logits have, or -100 for none."""
    check_whole(labels, "labels")
    if logits.dim() != 2 or labels.shape != logits.shape[:1] or not logits.numel():
        shapes = f"{tuple(logits.shape)} and {tuple(labels.shape)}"
        raise ValueError(f"logits are (n, classes) and labels (n,), n at least 1, not {shapes}")
    check_one_device(labels, logits)
    labels, classes = labels.long(), logits.shape[1]
    strange = labels[(labels != UNLABELLED) & ((labels < 0) | (labels >= classes))]
    if len(strange):
        raise ValueError(
            f"labels must be 0 to {classes - 1}, or {UNLABELLED} for none, not {int(strange[0])}"
        )
    return labels

"""Distillation: a small network learns from the softened answers of a large one, the teacher."""

import math

import torch.nn.functional as F
from torch import Tensor


def soften(logits: Tensor, temperature: float) -> Tensor:
    """The softmax of logits / temperature: the higher the temperature, the more even.

    Towards 0 it becomes one-hot, where one logit is the largest; at 1 it is the softmax; towards
    infinity every class gets the same.

    Args:
        logits: float (..., classes).
        temperature: above 0, finite.

    Returns:
        Probabilities of the logits' shape and dtype; each row's sum is 1.

    Source: Hinton, Vinyals, Dean 2015, "Distilling the Knowledge in a Neural Network", equation 1.

    Raises:
        ValueError: the temperature is not above 0 and finite.

    >>> import torch
    >>> logits = torch.tensor([0.0, 1.0]) * math.log(3)  # odds of 1 to 3
    >>> soften(logits, 1), soften(logits, 0.5)  # and of 1 to 9
    (tensor([0.2500, 0.7500]), tensor([0.1000, 0.9000]))
    """
    return F.log_softmax(_cooled(logits, temperature), -1).exp()


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor,
    temperature: float,
    alpha: float,
) -> Tensor:
    """(1 - alpha) · cross entropy + alpha · T² · KL(teacher ‖ student), the mean over the batch.

    The relative entropy KL is that of the softened answers, Σ p_t · log(p_t / p_s). Its gradient
    falls as 1 / T² where T exceeds the spread of the logits; the factor T² makes up for that.

    Args:
        student_logits, teacher_logits: float (n, classes). No gradient goes to the teacher's.
        labels: int64 (n,).
        temperature: T, above 0, finite.
        alpha: the weight of the teacher's answers, 0 to 1.

    Returns:
        The loss in nats, without axes.

    Source: Hinton, Vinyals, Dean 2015, section 2.
    Differs: the paper has the cross entropy with the soft targets; its gradient is the same.

    Raises:
        ValueError: shapes differ, or temperature or alpha is out of range.

    >>> import torch
    >>> student, teacher = torch.zeros(1, 2), torch.tensor([[0.0, math.log(3)]])
    >>> label = torch.tensor([1])
    >>> distillation_loss(student, teacher, label, temperature=1, alpha=0)  # log 2
    tensor(0.6931)
    >>> distillation_loss(student, teacher, label, 1, 1)  # log 2 + 1/4 log 1/4 + 3/4 log 3/4
    tensor(0.1308)
    """
    if not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be 0 to 1, not {alpha!r}")
    if student_logits.shape != teacher_logits.shape:
        shapes = f"{tuple(student_logits.shape)} and {tuple(teacher_logits.shape)}"
        raise ValueError(
            f"student and teacher answer for the same images and classes, not {shapes}"
        )
    targets = F.log_softmax(_cooled(teacher_logits.detach(), temperature), -1)
    answers = F.log_softmax(_cooled(student_logits, temperature), -1)
    soft = F.kl_div(answers, targets, reduction="batchmean", log_target=True)
    hard = F.cross_entropy(student_logits, labels)
    return (1 - alpha) * hard + alpha * temperature**2 * soft


def _cooled(logits: Tensor, temperature: float) -> Tensor:
    """Logits / temperature, each row's largest at 0, so that no temperature makes one overflow."""
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ValueError(f"the temperature must be above 0 and finite, not {temperature!r}")
    return (logits - logits.amax(-1, keepdim=True)) / temperature

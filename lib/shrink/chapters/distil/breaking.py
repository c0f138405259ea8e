"""An exercise of chapter 06: an input on which six wrong losses are far from the right one."""

import random
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from shrink.chapters.distil.losses import BREAKABLE, Case, right_loss
from shrink.classroom.exercises.attempt import Attempt, Wrong
from shrink.classroom.exercises.cases import none_may_hide
from shrink.classroom.exercises.exercise import Exercise
from shrink.classroom.exercises.numbers import plain

MOST_IMAGES, MOST_CLASSES, LARGEST_LOGIT = 3, 4, 20  # of an input that breaks the loss


def _check_break_the_loss(answer: Attempt, rng: random.Random) -> None:
    given = answer()
    if not (isinstance(given, tuple | list) and len(given) == 5):
        raise Wrong(
            "return five things",
            expected="(student_logits, teacher_logits, labels, temperature, alpha)",
            given=given,
        )
    case = _case_of(*given)
    right = float(right_loss(*case))
    if not 0.01 < right < 100:
        raise Wrong(f"the right loss is {right:.3g} there; keep it from 0.01 to 100", given=given)
    none_may_hide(
        [replace(m, name=f"{m.name} ({float(m(*case)) / right:.2f} times)") for m in BREAKABLE],
        lambda mistake: 0.5 < float(mistake(*case)) / right < 2,
        given,
        f"on your input neither below half nor above twice the right loss, {right:.3g}",
        "far enough off",
    )


def _case_of(student: Any, teacher: Any, labels: Any, temperature: Any, alpha: Any) -> Case:
    """What was returned, as the loss takes it; `Wrong` where it cannot."""
    _need_logits(student, teacher)
    images, classes = student.shape
    integers = isinstance(labels, Tensor) and labels.dtype == torch.int64
    one_each = integers and labels.shape == (images,)
    _need(one_each, "labels are integers, int64, one per image", labels)
    within = ((labels >= 0) & (labels < classes)).all()
    _need(within, f"labels lie from 0 to {classes - 1}", labels)
    temperature, alpha = plain(temperature), plain(alpha)
    within = type(temperature) in (int, float) and 0.1 <= temperature <= 20
    _need(within, "the temperature is a number from 0.1 to 20", temperature)
    within = type(alpha) in (int, float) and 0 <= alpha <= 1
    _need(within, "alpha is a number from 0 to 1", alpha)
    logits = (one.detach().cpu().double() for one in (student, teacher))
    return *logits, labels.cpu(), float(temperature), float(alpha)


def _need_logits(student: Any, teacher: Any) -> None:
    for logits in (student, teacher):
        floats = isinstance(logits, Tensor) and logits.is_floating_point()
        _need(floats and logits.dim() == 2, "logits are float tensors (images, classes)", logits)
    same = student.shape == teacher.shape
    _need(same, "student and teacher have logits for the same images and classes", teacher)
    images, classes = student.shape
    within = 1 <= images <= MOST_IMAGES and 2 <= classes <= MOST_CLASSES
    most = f"at most {MOST_IMAGES} images and {MOST_CLASSES} classes, and at least two classes"
    _need(within, most, student)
    for logits in (student, teacher):
        within = (logits.abs() <= LARGEST_LOGIT).all()
        _need(within, f"logits lie from -{LARGEST_LOGIT} to {LARGEST_LOGIT}", logits)


def _need(holds: bool | Tensor, told: str, given: Any) -> None:
    if not holds:
        raise Wrong(told, given=given)


break_the_loss = Exercise("break_the_loss", _check_break_the_loss, core=False, minutes=10)

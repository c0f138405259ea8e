"""What chapter 06's explorer shows without delay: what teacher and students answer."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shrink.chapters.distil.lessons import (
    ALPHA,
    CHAPTERS,
    IMAGES,
    RECIPE,
    SEEDS,
    TAUGHT_AT,
    TEACHER,
    WIDTH,
    ask_above,
    hot_lessons,
    lesson,
    shown,
)
from shrink.chapters.distil.pupils import Lesson, Pupils, taught, teach
from shrink.chapters.distil.students import Students
from shrink.chapters.distil.teacher import ask
from shrink.classroom.baselines import baseline
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split, ten_digits
from shrink.classroom.training import Training

ENDS = (0.1, 100.0)
TEMPERATURES = tuple(sorted(CHAPTERS + ENDS))  # of the sweep

Logits = dict[str, Tensor]  # (students, n, 10) on the "validation" images and the ten "digits"


@dataclass(frozen=True)
class Pair:
    """What a student that was taught answers, and the same one alone."""

    others: np.ndarray  # (2, images) uint8: the answer, were the missing digit's logit very low
    shortfalls: np.ndarray  # (2, images) float32: what that logit lacks to be the largest
    digits: np.ndarray  # the taught one's logits on the ten digits, (10, 10)
    missing: int | None  # where it is None the shortfalls are infinite
    taught_at: float  # the temperature

    @classmethod
    def of(cls, logits: Logits, temperature: float, missing: int | None) -> "Pair":
        """Of the logits of the two, the taught one first."""
        return cls.told(_told(logits, missing), temperature, missing)

    @classmethod
    def told(cls, told: Mapping[str, Tensor], temperature: float, missing: int | None) -> "Pair":
        """Of what `_told` says."""
        found = (told[name].numpy() for name in ("others", "shortfalls", "digits"))
        return cls(*found, missing, temperature)

    def answers(self, bias: float = 0.0) -> np.ndarray:
        """The answers with the bias on the missing digit's logit, (2, images)."""
        if self.missing is None:
            return self.others
        return np.where(self.shortfalls < bias, self.missing, self.others)


class Prepared:
    """The teacher's answers, and students taught at each temperature or without a digit.

    Attributes:
        teacher: the network.
        by_teacher: its "answers" to the validation images (n,) and logits on the ten "digits".
        swept: at each of TEMPERATURES how much of the validation images the students get right
            that were taught there, (seeds,); at None the same students alone.
        pairs: the first seed's students, by the digit that they miss; taught at TAUGHT_AT.
    """

    def __init__(self, dataset: Dataset, seeds: tuple[int, ...]) -> None:
        ten = ten_digits(dataset)
        self.pictures = ten.images[:, 0].cpu().numpy()
        self.validation = dataset.validation
        self.asked = {"validation": dataset.validation.images, "digits": ten.images}
        images, labels = dataset.train.images[:IMAGES], dataset.train.labels[:IMAGES]
        self.split, self.seeds = Split(images, labels), seeds
        self.teacher = baseline(TEACHER, dataset)
        made_of = (self.teacher, self.asked, _by_teacher)
        found = kept("sweeps/teacher", lambda: _by_teacher(self.teacher, self.asked), *made_of)
        self.by_teacher = {name: tensor.numpy() for name, tensor in found.items()}
        self.swept: dict[float | None, np.ndarray] = {}
        first = self._sweep((None, *CHAPTERS))
        self._sweep(ENDS)
        self.pairs = {None: self._pair(first[TAUGHT_AT], first[None], None)} | self._without()

    @functools.cached_property
    def answers(self) -> Tensor:
        """The teacher's logits on the images to learn from, (n, 10)."""
        return ask(self.teacher, self.split.images)

    def _sweep(self, temperatures: tuple[float | None, ...]) -> dict[float | None, Students]:
        """Fill `swept`, and give the first seed's student at each temperature; at None it is alone.

        In this order the chapter's cells ask for the same students.
        """
        lessons = [
            lesson(seed) if T is None else lesson(seed, T, ALPHA)
            for T in temperatures
            for seed in self.seeds
        ]
        students = self._taught(lessons)
        right = students.accuracies(self.validation).reshape(len(temperatures), -1)
        self.swept |= dict(zip(temperatures, right, strict=True))
        count = len(self.seeds)
        return {T: students[i * count : i * count + 1] for i, T in enumerate(temperatures)}

    def _without(self) -> dict[int | None, Pair]:
        """Each digit → students of the first seed that never saw it."""
        seed, digits = self.seeds[0], range(10)
        lessons = [
            one
            for d in digits
            for one in (lesson(seed, TAUGHT_AT, ALPHA, d), lesson(seed, missing=d))
        ]
        students = self._taught(lessons)
        one_by_one = [students[i : i + 1] for i in range(len(lessons))]
        both = zip(one_by_one[::2], one_by_one[1::2], strict=True)
        return {d: self._pair(*pair, d) for d, pair in zip(digits, both, strict=True)}

    def _pair(self, distilled: Students, alone: Students, missing: int | None) -> Pair:
        """What one student and another answer."""

        def make() -> dict[str, Tensor]:
            return _told(self.asked_of(Pupils([*distilled, *alone])), missing)

        made_of = (distilled.made_of, alone.made_of, missing, self.asked, _told)
        return Pair.told(kept("sweeps/distil", make, *made_of), TAUGHT_AT, missing)

    def _taught(self, lessons: list[Lesson]) -> Students:
        return taught(self.split, self.teacher, lessons, RECIPE, width=WIDTH)

    def teach(self, lessons: list[Lesson], **options: Any) -> tuple[Pupils, Training]:
        """Students of these lessons; `options` as `pupils.teach` has them."""
        return teach(self.split, self.answers, lessons, RECIPE, **{"width": WIDTH} | options)

    def asked_of(self, students: Pupils) -> Logits:
        """The students' logits on the "validation" images and the ten "digits", on the CPU."""
        with torch.no_grad():
            return {name: students(images).cpu() for name, images in self.asked.items()}


def _told(logits: Logits, missing: int | None) -> dict[str, Tensor]:
    """What is kept of the logits of two students: see `Pair`."""
    others = logits["validation"].clone()
    short = torch.full(others.shape[:-1], torch.inf)
    if missing is not None:
        others[..., missing] = -torch.inf
        short = others.amax(-1) - logits["validation"][..., missing]
    digits = logits["digits"][0].clone()
    return {"others": others.argmax(-1).to(torch.uint8), "shortfalls": short, "digits": digits}


def _by_teacher(teacher: nn.Module, asked: Mapping[str, Tensor]) -> dict[str, Tensor]:
    answers = ask(teacher, asked["validation"]).argmax(-1)
    return {"answers": answers.to(torch.uint8), "digits": ask(teacher, asked["digits"])}


def first_picture(dataset: Dataset) -> None:
    """Make what the chapter needs up to its explorer."""
    ask_above(dataset)
    Prepared(dataset, SEEDS)


def further_cells(dataset: Dataset) -> Iterator[Callable[[], object]]:
    """What makes the things that the cells below the explorer need, one by one.

    That is the students themselves, those of the sweep, of whom some are looked at.
    """
    split, teacher = shown(dataset), baseline(TEACHER, dataset)
    yield lambda: list(taught(split, teacher, hot_lessons(), RECIPE))

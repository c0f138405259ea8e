"""What chapter 06's explorer trains beforehand: once, with a progress bar, and cached."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from shrink.chapters.distil.pupils import Lesson, Pupils, paced, taught, teach
from shrink.chapters.distil.teacher import ask
from shrink.classroom.baselines import baseline
from shrink.classroom.cache import kept
from shrink.classroom.data import Dataset, Split, ten_digits
from shrink.classroom.training import Recipe, Training

TEACHER = "lenet-5"
IMAGES = 10_000  # the first of the training images, to learn from
RECIPE = Recipe(epochs=6, learning_rate=0.05, weight_decay=0, batch_size=32)
WIDTH, ALPHA, TAUGHT_AT = 30, 0.9, 4.0
CHAPTERS = (0.5, 1.0, 2.0, 4.0, 8.0, 20.0)  # temperatures that the chapter's own cells teach at
ENDS = (0.1, 100.0)
TEMPERATURES = tuple(sorted(CHAPTERS + ENDS))  # of the sweep
SEEDS = (0, 1, 2, 3, 4)

Logits = dict[str, Tensor]  # (students, n, 10) on the "validation" images and the ten "digits"


def lesson(
    seed: int, temperature: float = 1.0, alpha: float = 0.0, missing: int | None = None
) -> Lesson:
    """A lesson at the learning rate that suits it; without temperature and alpha, alone."""
    return paced(Lesson(seed, temperature, alpha, missing))


@dataclass(frozen=True)
class Pair:
    """A student that was taught, and the same one alone."""

    validation: np.ndarray  # their logits (2, images, 10)
    digits: np.ndarray  # the taught one's on the ten digits, (10, 10)
    missing: int | None
    taught_at: float  # the temperature

    @classmethod
    def of(cls, logits: Logits, temperature: float, missing: int | None) -> "Pair":
        """Of the logits of the two, the taught one first."""
        return cls(logits["validation"].numpy(), logits["digits"][0].numpy(), missing, temperature)


class Prepared:
    """The teacher's answers, and students taught at each temperature or without a digit.

    Attributes:
        by_teacher: its logits on the "validation" images and the ten "digits".
        swept: at each of TEMPERATURES logits (seeds, images, 10) of the students taught there; at
            None those of the same students alone.
        pairs: the first seed's students, by the digit that they miss; taught at TAUGHT_AT.
    """

    def __init__(self, dataset: Dataset, seeds: tuple[int, ...]) -> None:
        ten = ten_digits(dataset)
        self.pictures = ten.images[:, 0].cpu().numpy()
        self.asked = {"validation": dataset.validation.images, "digits": ten.images}
        images, labels = dataset.train.images[:IMAGES], dataset.train.labels[:IMAGES]
        self.split, self.seeds = Split(images, labels), seeds
        teacher = baseline(TEACHER, dataset)
        found = _answers(teacher, self.asked | {"train": images})
        self.answers = found["train"].to(images.device)
        self.by_teacher = {name: found[name].numpy() for name in self.asked}
        at_each = self._sweep((None, *CHAPTERS)) | self._sweep(ENDS)
        self.swept = {T: logits["validation"].numpy() for T, logits in at_each.items()}
        first = {
            name: torch.stack([at_each[T][name][0] for T in (TAUGHT_AT, None)])
            for name in self.asked
        }
        self.pairs: dict[int | None, Pair] = {None: Pair.of(first, TAUGHT_AT, None)}
        self.pairs |= self._without()

    def _sweep(self, temperatures: tuple[float | None, ...]) -> dict[float | None, Logits]:
        """Each temperature → the logits of a student a seed; at None each is alone.

        In this order the chapter's cells ask for the same students: they are found in the cache.
        """
        lessons = [
            lesson(seed) if T is None else lesson(seed, T, ALPHA)
            for T in temperatures
            for seed in self.seeds
        ]
        logits = {n: x.split(len(self.seeds)) for n, x in self._logits(lessons).items()}
        return {T: {n: x[i] for n, x in logits.items()} for i, T in enumerate(temperatures)}

    def _without(self) -> dict[int, Pair]:
        """Each digit → students of the first seed that never saw it."""
        seed, digits = self.seeds[0], range(10)
        lessons = [
            one
            for d in digits
            for one in (lesson(seed, TAUGHT_AT, ALPHA, d), lesson(seed, missing=d))
        ]
        logits = {n: x.split(2) for n, x in self._logits(lessons).items()}
        return {d: Pair.of({n: x[d] for n, x in logits.items()}, TAUGHT_AT, d) for d in digits}

    def _logits(self, lessons: list[Lesson]) -> Logits:
        networks = taught(self.split, self.answers, lessons, RECIPE, width=WIDTH)
        return self.asked_of(Pupils(networks))

    def teach(self, lessons: list[Lesson], **options: Any) -> tuple[Pupils, Training]:
        """Students of these lessons; `options` as `pupils.teach` has them."""
        return teach(self.split, self.answers, lessons, RECIPE, **{"width": WIDTH} | options)

    def asked_of(self, students: Pupils) -> Logits:
        """The students' logits on the "validation" images and the ten "digits", on the CPU."""
        with torch.no_grad():
            return {name: students(images).cpu() for name, images in self.asked.items()}


def _answers(teacher: nn.Module, asked: dict[str, Tensor]) -> dict[str, Tensor]:
    """The teacher's logits on each of these images, on the CPU: kept, or made now."""
    return kept("sweeps/teacher", lambda: _ask_all(teacher, asked), teacher, asked, _ask_all)


def _ask_all(teacher: nn.Module, asked: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: ask(teacher, images) for name, images in asked.items()}


def first_picture(dataset: Dataset) -> None:
    """Nothing ships: the students that the text and the explorer teach are ten megabytes."""


def further_cells(dataset: Dataset) -> None:
    """Make the students of the explorer, which the text asks for too."""
    Prepared(dataset, SEEDS)

"""The students of chapter 06's cells above the explorer, and what is measured of them.

The cells of the text ask for the same. The results that they need are kept, and ship.
"""

import torch
from torch import Tensor, nn

from shrink import distillation
from shrink.chapters.distil.guided import each_guided
from shrink.chapters.distil.pupils import Lesson, paced, taught
from shrink.chapters.distil.teacher import ask
from shrink.classroom.baselines import baseline
from shrink.classroom.data import Dataset, Split
from shrink.classroom.training import Recipe

TEACHER = "lenet-5"
IMAGES = 10_000  # the first of the training images, to learn from
RECIPE = Recipe(epochs=6, learning_rate=0.05, weight_decay=0, batch_size=32)
WIDTH, ALPHA, TAUGHT_AT = 30, 0.9, 4.0
CHAPTERS = (0.5, 1.0, 2.0, 4.0, 8.0, 20.0)  # temperatures that the chapter's own cells teach at
SEEDS = (0, 1, 2, 3, 4)
RATES = (0.05, 0.1, 0.2, 0.4, 1.0, 2.0)
MISSING = 3
WEIGHTS = {"hint": 0.1, "distance": 1.0}


def lesson(
    seed: int, temperature: float = 1.0, alpha: float = 0.0, missing: int | None = None
) -> Lesson:
    """A lesson at the learning rate that suits it; without temperature and alpha, alone."""
    return paced(Lesson(seed, temperature, alpha, missing))


def shown(dataset: Dataset) -> Split:
    """The images to learn from, with their labels."""
    return Split(dataset.train.images[:IMAGES], dataset.train.labels[:IMAGES])


def hot_lessons() -> list[Lesson]:
    """A lesson alone for each seed, and one at each temperature."""
    return [lesson(s) for s in SEEDS] + [lesson(s, T, ALPHA) for T in CHAPTERS for s in SEEDS]


def ask_above(dataset: Dataset) -> None:
    """Ask the students for all that the cells above the explorer ask them for."""
    split, teacher = shown(dataset), baseline(TEACHER, dataset)
    ways = ((1.0, 0.0), (TAUGHT_AT, ALPHA))
    rates = [Lesson(s, *way, rate=rate) for way in ways for rate in RATES for s in range(3)]
    taught(split, teacher, rates, RECIPE).accuracies(dataset.validation)
    students = taught(split, teacher, hot_lessons(), RECIPE)
    for part in (dataset.validation, dataset.test):
        students.accuracies(part)
    _transfer(dataset, split, teacher)
    without = [lesson(s, *way, missing=MISSING) for way in ways for s in SEEDS]
    list(taught(split, teacher, without, RECIPE))
    _relatives(dataset, split, teacher)


def _transfer(dataset: Dataset, split: Split, teacher: nn.Module) -> None:
    for s in SEEDS:
        rows = 100 * s + torch.arange(IMAGES) % 100
        few = Split(split.images[rows], split.labels[rows])
        pair = [lesson(s), lesson(s, TAUGHT_AT, 1.0)]
        taught(few, teacher, pair, RECIPE).accuracies(dataset.validation)
    told = [lesson(s, TAUGHT_AT, 1.0) for s in SEEDS]
    taught(split, teacher, told, RECIPE).accuracies(dataset.validation)


def _relatives(dataset: Dataset, split: Split, teacher: nn.Module) -> None:
    answers, features = _inside(teacher, split.images)
    others = (baseline(name, dataset) for name in ("lenet-300-100", "separable"))
    three = [answers, *(ask(one, split.images) for one in others)]
    averaged = 4 * distillation.average_targets(three, 4).log()
    assistant = taught(split, teacher, [lesson(SEEDS[0], TAUGHT_AT, ALPHA)], RECIPE, width=100)
    plans = [lesson(s, TAUGHT_AT, ALPHA) for s in SEEDS]
    for theirs in (averaged, assistant):
        taught(split, theirs, plans, RECIPE).accuracies(dataset.test)
    for way, weight in WEIGHTS.items():
        guided = each_guided(split, answers, features, plans, RECIPE, way=way, weight=weight)
        guided.accuracies(dataset.test)


def _inside(teacher: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """The teacher's logits, and what its layer fc1 has before the ReLU."""
    answers, features = [], []
    with distillation.captured(teacher, ["fc1"]) as found:
        for some in images.split(2000):
            answers.append(ask(teacher, some))
            features.append(found["fc1"])
    return torch.cat(answers), torch.cat(features)

"""Hinton, Vinyals and Dean 2015 on MNIST, section 3, with its controls, at a small scale.

A teacher of 1200 units a layer, trained with dropout on shifted images, teaches networks of 800
and of 30. Five questions, each with its table: what is gained over the same network alone, and over
the one that sees shifted images itself; a digit that the student never saw; which temperature suits
30 units; few images, labelled or answered; and other ways to teach, at as many steps.

The rates of 800 units, taught and alone (not with shifts), were chosen among three each, in
trainings of five epochs, on the validation images of seed 10, which is not reported. With 30 units
a rate is chosen for each temperature, and a weight for each guide, on the validation images of the
seeds reported, when the tables are made; few images, relatives and guides learn at the middle rate.
Recipe and rules of the verdict were committed before a test error was read.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink import distillation
from shrink.chapters.distil.guided import guided
from shrink.chapters.distil.pupils import Lesson, paced, taught
from shrink.chapters.distil.teacher import ask
from shrink.classroom import models
from shrink.classroom.cache import cached_tensors
from shrink.classroom.data import Dataset, Split
from shrink.classroom.training import Examples, Recipe, predict, shifted
from shrink.papers.distillation_result import Result
from shrink.papers.stages import Stages

__all__ = ["RECIPE", "Result", "run"]

NAME = "lenet-300-100"  # whose relatives all networks here are


@dataclass(frozen=True)
class Plan:
    """Who learns, how long, and from what.

    The first of `teachers`, which are seeds, teaches all students; all of them the ensemble's.
    Students of `small` units learn by `alone` or by `taught`, at the paper's temperature `hot`;
    students of `narrow` units by `side_by_side`, at `rates` times what `paced` says.
    Where nothing else is said these have the temperature `warm`. `missing` is the class left out;
    `few` are numbers of images; `assistant` is units, and `weights` are tried for each guide.
    """

    teachers: tuple[int, ...]
    teacher_units: int
    dropout: float
    teacher: Recipe
    pixels: int
    small: int
    alone: Recipe
    taught: Recipe
    hot: float
    alpha: float
    missing: int
    narrow: int
    side_by_side: Recipe
    rates: tuple[float, ...]
    temperatures: tuple[float, ...]
    warm: float
    few: tuple[int, ...]
    assistant: int
    weights: Mapping[str, tuple[float, ...]]


PLAN = Plan(
    teachers=(0, 1, 2),
    teacher_units=1200,
    dropout=0.25,
    teacher=Recipe(epochs=24, learning_rate=0.1, weight_decay=5e-5, batch_size=256),
    pixels=2,
    small=800,
    alone=Recipe(epochs=10, learning_rate=0.2, weight_decay=0),
    taught=Recipe(epochs=10, learning_rate=0.05, weight_decay=0),
    hot=20.0,
    alpha=0.9,
    missing=3,
    narrow=30,
    side_by_side=Recipe(epochs=12, learning_rate=0.1, weight_decay=0),
    rates=(0.5, 1.0, 2.0),
    temperatures=(1.0, 2.5, 4.0, 8.0, 20.0),
    warm=4.0,
    few=(100, 1000),
    assistant=120,
    weights={"hint": (0.01, 0.1, 1.0), "distance": (0.1, 1.0, 10.0)},
)
RECIPE = json.loads(json.dumps(asdict(PLAN)))


class Teacher(models.LeNet300100):
    """The course's two hidden layers, whose units drop out in training."""

    def forward(self, images: Tensor) -> Tensor:
        x = F.dropout(F.relu(self.fc1(images.flatten(1))), PLAN.dropout, self.training)
        x = F.dropout(F.relu(self.fc2(x)), PLAN.dropout, self.training)
        return self.fc3(x)


def run(dataset: Dataset, seed: int, folder: Path) -> dict[str, dict]:
    """All students of one seed, after the teachers, which all seeds share.

    What is trained is kept in `folder`, and the teachers beside it; students of 30 units, which
    take a minute, in the course's cache. After a kill the same call goes on from there.

    Returns:
        table → arm → how many images of "validation" and "test" the network gets wrong. Arms of
        "missing" have those of "test" alone, of which "missed" are of the missing class, and their
        "bias"; those of "temperatures" and "guides" have an arm for each rate or weight. "images"
        says how many there are, and how many of the test images are of the missing class.
    """
    teachers = [_teacher(dataset, s, folder.parent / f"teacher-{s}") for s in PLAN.teachers]
    images = dataset.train.images
    answers = [
        _kept(folder.parent / f"teacher-{s}" / "answers.safetensors", partial(ask, net, images)).to(
            images.device
        )
        for s, net in zip(PLAN.teachers, teachers, strict=True)
    ]
    return {
        "small": {"teacher": _wrong(teachers[0], dataset)}
        | _small(dataset, seed, folder, answers[0]),
        "missing": _missing(dataset, seed, folder, answers[0]),
        "temperatures": _temperatures(dataset, seed, answers[0]),
        "few": _few(dataset, seed, answers[0]),
        "relatives": _relatives(dataset, seed, answers),
        "guides": _guides(dataset, seed, answers[0], teachers[0]),
        "images": {
            "validation": len(dataset.validation),
            "test": len(dataset.test),
            "missing": int((dataset.test.labels == PLAN.missing).sum()),
        },
    }


def _teacher(dataset: Dataset, seed: int, folder: Path) -> nn.Module:
    """A trained teacher. What dropout drops follows from the seed, unless a training is resumed."""
    hidden = (PLAN.teacher_units,) * 2
    net = Teacher(hidden)
    net.load_state_dict(models.build(NAME, seed, hidden=hidden).state_dict())
    stages = Stages(dataset, seed, net.to(dataset.train.images.device), folder)
    stages.examples = _examples(dataset.train, pixels=PLAN.pixels)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        stages.train("trained", PLAN.teacher)
    return net


def _student(
    dataset: Dataset, seed: int, folder: Path, recipe: Recipe, examples: Examples
) -> nn.Module:
    """A student of 800 units; it is taught where the examples have a teacher's answers."""
    net = models.build(NAME, seed, hidden=(PLAN.small,) * 2).to(dataset.train.images.device)
    stages = Stages(dataset, seed, net, folder)
    stages.examples, stages.loss = examples, _loss
    stages.train("trained", recipe)
    return net


def _loss(logits: Tensor, images: Tensor, labels: Tensor, *theirs: Tensor) -> Tensor:
    if not theirs:
        return F.cross_entropy(logits, labels)
    return distillation.distillation_loss(logits, *theirs, labels, PLAN.hot, PLAN.alpha)


def _examples(split: Split, *answers: Tensor, pixels: int = 0) -> Examples:
    """The images, shifted by up to so many pixels, their labels, and the answers to them."""

    def examples(batch: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        images = split.images[batch]
        if pixels:
            images = shifted(images, generator, pixels)
        return images, split.labels[batch], *(table[batch] for table in answers)

    return examples


def _small(dataset: Dataset, seed: int, folder: Path, answers: Tensor) -> dict[str, dict[str, int]]:
    """The student alone, distilled, and alone with the shifts that the teacher had."""
    split = dataset.train
    student = partial(_student, dataset, seed)
    nets = {
        "alone": student(folder / "alone", PLAN.alone, _examples(split)),
        "distilled": student(folder / "distilled", PLAN.taught, _examples(split, answers)),
        "alone, shifts": student(
            folder / "shifted", PLAN.alone, _examples(split, pixels=PLAN.pixels)
        ),
    }
    return {arm: _wrong(net, dataset) for arm, net in nets.items()}


def _missing(
    dataset: Dataset, seed: int, folder: Path, answers: Tensor
) -> dict[str, dict[str, int]]:
    """A student that sees no image of one class, with the bias of that class as it is, or raised.

    The bias is the best on validation images, or that with which as many of them are held for the
    class as one in ten, which takes no label.
    """
    seen = dataset.train.labels != PLAN.missing
    split = Split(dataset.train.images[seen], dataset.train.labels[seen])
    rest = replace(dataset, train=split)
    examples = _examples(split, answers[seen])
    net = _student(rest, seed, folder / "missing", PLAN.taught, examples)
    logits = {part: ask(net, getattr(dataset, part).images) for part in ("validation", "test")}
    labels = dataset.validation.labels
    biases = {
        "as it is": 0.0,
        "best": distillation.best_bias(logits["validation"], labels, PLAN.missing),
        "a tenth": _bias_for_a_tenth(logits["validation"]),
    }
    raised = F.one_hot(torch.tensor(PLAN.missing, device=labels.device), logits["test"].shape[1])
    return {
        arm: _wrong_answers((logits["test"] + bias * raised).argmax(1), dataset.test.labels)
        | {"bias": bias}
        for arm, bias in biases.items()
    }


def _bias_for_a_tenth(logits: Tensor) -> float:
    """With it one of ten images is held for the class."""
    others = logits.index_fill(1, torch.tensor([PLAN.missing], device=logits.device), -torch.inf)
    return float((others.amax(1) - logits[:, PLAN.missing]).quantile(0.1))


def _wrong_answers(answers: Tensor, labels: Tensor) -> dict[str, int]:
    wrong = answers != labels
    missed = wrong & (labels == PLAN.missing)
    return {"test": int(wrong.sum()), "missed": int(missed.sum())}


def _lesson(seed: int, temperature: float = PLAN.warm, rate: float = 1.0, **more: float) -> Lesson:
    return paced(Lesson(seed, temperature, rate=rate, **{"alpha": PLAN.alpha, **more}))


def _alone(seed: int, rate: float = 1.0) -> Lesson:
    return _lesson(seed, 1.0, rate, alpha=0.0)


def _side_by_side(
    split: Split, answers: Tensor, lessons: list[Lesson], width: int | None = None
) -> list[nn.Module]:
    """Students of one seed, which is that of the order of the images as well."""
    order = lessons[0].seed
    width = PLAN.narrow if width is None else width
    return taught(split, answers, lessons, PLAN.side_by_side, width=width, order=order)


def _temperatures(dataset: Dataset, seed: int, answers: Tensor) -> dict[str, dict[str, dict]]:
    """Thirty units a layer, alone and taught at each temperature; "alone" or T → rate → wrong."""
    plans = {"alone": partial(_alone, seed)}
    plans |= {f"{t:g}": partial(_lesson, seed, t) for t in PLAN.temperatures}
    lessons = [plan(rate=rate) for plan in plans.values() for rate in PLAN.rates]
    nets = iter(_side_by_side(dataset.train, answers, lessons))
    return {arm: {f"{rate:g}": _wrong(next(nets), dataset) for rate in PLAN.rates} for arm in plans}


def _few(dataset: Dataset, seed: int, answers: Tensor) -> dict[str, dict[str, int]]:
    """Labels of few images, the teacher's answers to these, and its answers to all: as many steps.

    Another seed draws other images. Who has answers has no label.
    """
    found, told = {}, _lesson(seed, alpha=1.0)
    everything = torch.arange(len(dataset.train))
    for n in PLAN.few:
        rows = (n * seed + everything % n) % len(everything)
        split = Split(dataset.train.images[rows], dataset.train.labels[rows])
        nets = _side_by_side(split, answers[rows], [_alone(seed), told])
        for arm, net in zip(("labels", "answers"), nets, strict=True):
            found[f"{arm}, {n}"] = _wrong(net, dataset)
    (net,) = _side_by_side(dataset.train, answers, [told])
    return {**found, "answers, all": _wrong(net, dataset)}


def _relatives(dataset: Dataset, seed: int, answers: list[Tensor]) -> dict[str, dict[str, int]]:
    """The same student taught by one teacher, by three, and by an assistant that it taught."""
    lesson, warm = [_lesson(seed)], PLAN.warm
    (assistant,) = _side_by_side(dataset.train, answers[0], lesson, width=PLAN.assistant)
    mean = distillation.average_targets(answers, warm)
    theirs = {
        "plain": answers[0],
        "ensemble": warm * mean.log(),  # logits that soften to the mean
        "assistant": ask(assistant, dataset.train.images),
    }
    found = {"the assistant itself": _wrong(assistant, dataset)}
    for arm, logits in theirs.items():
        (net,) = _side_by_side(dataset.train, logits, lesson)
        found[arm] = _wrong(net, dataset)
    return found


def _guides(
    dataset: Dataset, seed: int, answers: Tensor, teacher: nn.Module
) -> dict[str, dict[str, dict[str, int]]]:
    """Guided from inside besides, by the teacher's second layer: way → weight → wrong."""
    with distillation.captured(teacher, ["fc2"]) as inside:
        features = torch.cat(
            [(ask(teacher, some), inside["fc2"])[1] for some in dataset.train.images.split(2000)]
        )
    learn = partial(
        guided,
        dataset.train,
        answers,
        features,
        _lesson(seed),
        PLAN.side_by_side,
        width=PLAN.narrow,
        order=seed,
    )
    return {
        way: {f"{w:g}": _wrong(learn(way=way, weight=w), dataset) for w in weights}
        for way, weights in PLAN.weights.items()
    }


def _kept(path: Path, make: Callable[[], Tensor]) -> Tensor:
    """The tensor that an earlier call left, or that is made now."""
    return cached_tensors(path, lambda: {"answers": make()})["answers"]


def _wrong(net: nn.Module, dataset: Dataset) -> dict[str, int]:
    """How many images of each part the network gets wrong."""
    parts = {"validation": dataset.validation, "test": dataset.test}
    return {
        part: int((predict(net, split.images) != split.labels).sum())
        for part, split in parts.items()
    }

"""Small networks that a teacher teaches: many side by side, trained now or read from the cache.

With thirty units a layer most of a training is overhead. So students of one width are stacked and
see the same batches; each has weights and a loss of its own, and nothing of one reaches another.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from shrink.chapters.distil.students import Students
from shrink.chapters.distil.teacher import ask
from shrink.classroom.cache import kept
from shrink.classroom.data import Split
from shrink.classroom.made_of import fingerprint
from shrink.classroom.models import LeNet300100
from shrink.classroom.progress import Progress, bar_progress, new_bar
from shrink.classroom.training import Recipe, Training, train
from shrink.modes import seeded

LAYERS = ("fc1", "fc2", "fc3")
Teacher = Tensor | nn.Module | Students
STEP, WEIGHT = 0.8e-3, 9e-9  # about how many seconds a step takes: of any, and for each weight


@dataclass(frozen=True)
class Lesson:
    """What a student begins with and learns from: the seed of its weights, and its loss.

    The loss is `distillation_loss` with this temperature and alpha; with alpha 0 the student is on
    its own, and learns from labels. It sees no image of the digit `missing`. Its learning rate is
    the recipe's times `rate`.
    """

    seed: int
    temperature: float = 4.0
    alpha: float = 0.9
    missing: int | None = None
    rate: float = 1.0


def paced(lesson: Lesson) -> Lesson:
    """The lesson at a learning rate that suits it, where the recipe's suits a student on its own.

    The gradient of T² · KL grows with T, up to a T of about 5, and so would the steps: at one rate
    for all either training diverges at a T of 4, or the student alone learns too slowly to be
    compared with. The rule was chosen on validation images, on glyphs and on MNIST.

    >>> paced(Lesson(seed=0, temperature=4, alpha=0.5)).rate  # 1 / (0.5 + 0.5 * 4)
    0.4
    """
    length = 1 - lesson.alpha + lesson.alpha * min(lesson.temperature, 5)
    return replace(lesson, rate=lesson.rate / length)


class Pupils(nn.Module):
    """Relatives of LeNet-300-100, all of one shape: images (n, ...) → logits (students, n, 10)."""

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        for name in LAYERS:
            layers = [getattr(network, name) for network in networks]
            weights = torch.stack([layer.weight.detach() for layer in layers])
            biases = torch.stack([layer.bias.detach() for layer in layers])
            self.register_parameter(f"{name}_weight", nn.Parameter(weights))
            self.register_parameter(f"{name}_bias", nn.Parameter(biases))

    def forward(self, images: Tensor) -> Tensor:
        students, width, pixels = self.fc1_weight.shape
        first = self.fc1_weight.view(students * width, pixels)  # of all students, as one product
        x = F.linear(images.flatten(1), first, self.fc1_bias.flatten())
        x = F.relu(x).view(-1, students, width).transpose(0, 1)
        x = F.relu(torch.baddbmm(self.fc2_bias.unsqueeze(1), x, self.fc2_weight.mT))
        return torch.baddbmm(self.fc3_bias.unsqueeze(1), x, self.fc3_weight.mT)

    def states(self) -> dict[str, Tensor]:
        """The state of each network, as "2/fc1.weight"."""
        return {
            f"{i}/{name.replace('_', '.')}": tensor
            for name, stacked in self.state_dict().items()
            for i, tensor in enumerate(stacked)
        }


def taught(
    split: Split,
    teacher: Teacher,
    lessons: Sequence[Lesson],
    recipe: Recipe,
    *,
    width: int = 30,
    order: int = 0,
) -> Students:
    """One student per lesson, as `teach` trains them, with a progress bar; then they are kept.

    Args:
        teacher: a network that answers to the split's images, or `taught` students, the first of
            whom is the teacher; or the answers themselves, logits (n, 10).
    """
    known = teacher.made_of if isinstance(teacher, Students) else teacher
    known = fingerprint(known) if isinstance(known, Tensor) else known
    made_of = (split, known, tuple(lessons), recipe, width, order, teach)

    def make() -> dict[str, Tensor]:
        answers = _answers(teacher, split.images)
        seconds = _seconds(split, lessons, recipe, width)
        title = f"teaching {len(lessons)} students"
        with new_bar(title, seconds=seconds, unit="step") as bar:
            options = {"width": width, "order": order, "progress": bar_progress(bar)}
            pupils, _ = teach(split, answers, lessons, recipe, **options)
        return pupils.states()

    def networks() -> list[nn.Module]:
        states = kept("pupils/taught", make, *made_of)
        built = [build(lesson.seed, width).to(split.images.device) for lesson in lessons]
        for i, network in enumerate(built):
            network.load_state_dict({name: states[f"{i}/{name}"] for name in network.state_dict()})
        return [network.eval() for network in built]

    return Students.of(networks, len(lessons), made_of)


def _answers(teacher: Teacher, images: Tensor) -> Tensor:
    if isinstance(teacher, Tensor):
        return teacher
    return ask(teacher[0] if isinstance(teacher, Students) else teacher, images)


def _seconds(split: Split, lessons: Sequence[Lesson], recipe: Recipe, width: int) -> float:
    """About how long `teach` takes on two cores."""
    steps = recipe.epochs * -(-len(split) // recipe.batch_size)
    return steps * (STEP + WEIGHT * len(lessons) * 784 * width)


def teach(
    split: Split,
    answers: Tensor,
    lessons: Sequence[Lesson],
    recipe: Recipe,
    *,
    width: int = 30,
    labelled: int | None = None,
    order: int = 0,
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> tuple[Pupils, Training]:
    """Train one student per lesson, with two hidden layers of `width` units, on the same batches.

    Args:
        split: the images, and the labels for those who learn from labels.
        answers: the teacher's logits on these images, (n, 10).
        recipe: for all lessons.
        labelled: how many images, the first ones, have a label; all if it is not given. For the
            labels' part of the loss a batch has as many of these as of all for the teacher's part.
        order: the seed of the order of the images.
        progress, stop: as `train` has them.

    Raises:
        ValueError: a rate is not 1 and the recipe has weight decay, or no image has a label.
    """
    if recipe.weight_decay and any(lesson.rate != 1 for lesson in lessons):
        raise ValueError("rates of their own need a recipe without weight decay")
    count = len(split) if labelled is None else min(labelled, len(split))
    if count < 1:
        raise ValueError(f"at least one image must have a label, not {labelled!r}")
    device = split.images.device
    pupils = Pupils([build(lesson.seed, width).to(device) for lesson in lessons])

    def examples(batch: Tensor, _: torch.Generator) -> tuple[Tensor, ...]:
        told = batch % count
        rows = batch if count == len(split) else torch.cat([batch, told])
        return split.images[rows], split.labels[told], split.labels[batch], answers[batch]

    done = train(
        pupils,
        split,
        recipe,
        seed=order,
        loss=_loss(lessons, device),
        examples=examples,
        progress=progress,
        stop=stop,
    )
    return pupils.eval(), done


def build(seed: int, width: int = 30) -> nn.Module:
    """An untrained student."""
    with seeded(seed):
        return LeNet300100(hidden=(width, width))


def _loss(lessons: Sequence[Lesson], device: torch.device) -> Callable[..., Tensor]:
    """The sum of the students' losses, each of which moves its own weights alone.

    A student's loss is scaled by its rate: with SGD that scales the learning rate. In place of
    KL(q ‖ p) stands the cross entropy of p with q, which has the same gradient.
    """
    rates, alphas, temperatures = (
        torch.tensor([float(getattr(lesson, name)) for lesson in lessons], device=device)
        for name in ("rate", "alpha", "temperature")
    )
    unseen = [-1 if lesson.missing is None else lesson.missing for lesson in lessons]
    missing = torch.tensor(unseen, device=device).unsqueeze(1)
    of_rows = temperatures.view(-1, 1, 1)

    def mean(losses: Tensor, labels: Tensor) -> Tensor:
        """Over the images that each student sees: (students, n) → (students,)."""
        seen = labels != missing
        return (losses * seen).sum(1) / seen.sum(1).clamp(min=1)

    def loss(
        logits: Tensor, images: Tensor, told: Tensor, labels: Tensor, answers: Tensor
    ) -> Tensor:
        n = len(labels)
        logs = logits[:, -n:].log_softmax(-1)
        hard = -logs.gather(-1, told.view(1, n, 1).expand(len(lessons), n, 1))[..., 0]
        q = (answers / of_rows).softmax(-1)
        soft = -(q * (logits[:, :n] / of_rows).log_softmax(-1)).sum(-1)
        taught = temperatures**2 * mean(soft, labels)
        return (rates * ((1 - alphas) * mean(hard, told) + alphas * taught)).sum()

    return loss

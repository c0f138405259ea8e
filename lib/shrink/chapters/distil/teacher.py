"""A teacher's answers beside each batch that a student is trained on: asked for, or kept on disk.

A teacher is asked about the very images that the student sees. Where these are moved by whole
pixels there are only so many of them, and the answers are worked out once, for all trainings. Any
other augmentation makes new images each time: there the teacher is asked as training goes, by
`with_answers`.
"""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from shrink.classroom.cache import kept
from shrink.classroom.data import Split
from shrink.classroom.made_of import key_of
from shrink.classroom.progress import Progress
from shrink.classroom.training import Examples, draw_shifts, shift
from shrink.modes import in_use

BATCH = 2000  # images that a teacher answers at a time


def ask(teacher: nn.Module, images: Tensor) -> Tensor:
    """The teacher's logits, in evaluation mode, without gradients: images (n, ...) → (n, classes).

    >>> ask(nn.Dropout(), torch.tensor([[1.0, 2.0]]))
    tensor([[1., 2.]])
    """
    with in_use(teacher):
        return torch.cat([teacher(some) for some in images.split(BATCH)])


def with_answers(
    split: Split,
    *teachers: nn.Module,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
) -> Examples:
    """Examples for `train`: images, labels, and each teacher's logits, asked for batch by batch.

    The loss is then called with logits, images, labels and (n, classes) for each teacher.

    Args:
        split, teachers: on one device.
        augment: as `train` has it; the teachers see what it makes of the images.
    """

    def examples(batch: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        images = split.images[batch]
        if augment is not None:
            images = augment(images, generator)
        return images, split.labels[batch], *(ask(teacher, images) for teacher in teachers)

    return examples


def with_cached_answers(
    split: Split, *teachers: nn.Module, pixels: int = 1, progress: Progress | None = None
) -> Examples:
    """The same as `with_answers(split, *teachers, augment=shifted)`, looked up and not asked for.

    The answers are worked out now, for all images in each of their (2 · pixels + 1)² places, or
    read from files in `cache_dir()`, one for each teacher and shift; a call that was killed goes
    on where it was. Nine shifts of 55 000 images are 20 MB per teacher, on disk and in memory.

    Args:
        split, teachers: on one device. The teachers' modes change while they answer.
        pixels: how far images are moved, as in `shifted`; 0 leaves them where they are.
        progress: called after each shift with the shifts done and the shifts in all.
    """
    places = list(itertools.product(range(-pixels, pixels + 1), repeat=2))
    tables, total = [], len(teachers) * len(places)
    seen = key_of(split.images)
    for teacher in teachers:
        table = []
        for place in places:
            table.append(_answers_at(teacher, seen, split.images, place))
            if progress is not None:
                progress(len(tables) * len(places) + len(table), total)
        tables.append(torch.stack(table).to(split.images.device))

    def examples(batch: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        shifts = draw_shifts(len(batch), generator, pixels)
        images = shift(split.images[batch], shifts)
        down, right = shifts.to(batch.device) + pixels
        number = down * (2 * pixels + 1) + right  # in `places`
        return images, split.labels[batch], *(table[number, batch] for table in tables)

    return examples


def _answers_at(teacher: nn.Module, seen: str, images: Tensor, place: tuple[int, int]) -> Tensor:
    """The teacher's logits on all images, whose key is `seen`, moved by `place`; kept in a file.

    The file's key sees of a network its class and code, what it prints, and its state, and not an
    attribute that it does not print.
    """
    down, right = place

    def make() -> dict[str, Tensor]:
        return {"logits": torch.cat([ask(teacher, moved(some)) for some in images.split(BATCH)])}

    def moved(some: Tensor) -> Tensor:
        return shift(some, torch.tensor([[down], [right]]).expand(2, len(some)))

    name = f"teachers/down{down:+d}-right{right:+d}"
    return kept(name, make, teacher, seen, images.device, place, ask, shift)["logits"]

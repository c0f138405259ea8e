"""A teacher's answers beside each batch that a student is trained on: asked for, or kept on disk.

A teacher is asked about the very images that the student sees. Where these are moved by whole
pixels there are only so many of them, and the answers are worked out once, for all trainings. Any
other augmentation makes new images each time: there the teacher is asked as training goes, by
`with_answers`.
"""

import hashlib
import itertools
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from shrink.classroom.cache import cache_dir, cached_tensors
from shrink.classroom.data import Split
from shrink.classroom.progress import Progress
from shrink.classroom.training import Examples, draw_shifts, shift
from shrink.modes import in_use

VERSION = 1  # of the file: what is in it, and how the images are moved
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

    The loss is then called with logits, images, labels and (n, classes) a teacher.

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
    on where it was. Nine shifts of 55 000 images are 20 MB a teacher, on disk and in memory.

    Args:
        split, teachers: on one device. The teachers' modes change while they answer.
        pixels: how far images are moved, as in `shifted`; 0 leaves them where they are.
        progress: called after each shift with the shifts done and the shifts in all.
    """
    places = list(itertools.product(range(-pixels, pixels + 1), repeat=2))
    tables, total = [], len(teachers) * len(places)
    seen = _digest("", {"images": split.images})
    for teacher in teachers:
        key, kept = _key(teacher, seen, split.images.device), []
        for place in places:
            kept.append(_kept(key, teacher, split.images, place))
            if progress is not None:
                progress(len(tables) * len(places) + len(kept), total)
        tables.append(torch.stack(kept).to(split.images.device))

    def examples(batch: Tensor, generator: torch.Generator) -> tuple[Tensor, ...]:
        shifts = draw_shifts(len(batch), generator, pixels)
        images = shift(split.images[batch], shifts)
        down, right = shifts.to(batch.device) + pixels
        number = down * (2 * pixels + 1) + right  # in `places`
        return images, split.labels[batch], *(table[number, batch] for table in tables)

    return examples


def _kept(key: str, teacher: nn.Module, images: Tensor, place: tuple[int, int]) -> Tensor:
    """The teacher's logits on all images moved by `place`: from their file, or made for it."""
    down, right = place

    def make() -> dict[str, Tensor]:
        return {"logits": torch.cat([ask(teacher, moved(some)) for some in images.split(BATCH)])}

    def moved(some: Tensor) -> Tensor:
        return shift(some, torch.tensor([[down], [right]]).expand(2, len(some)))

    path = cache_dir() / "teachers" / key / f"down{down:+d}-right{right:+d}.safetensors"
    return cached_tensors(path, make)["logits"]


def _key(teacher: nn.Module, seen: str, device: torch.device) -> str:
    """What the answers depend on, besides the shift: the network, its state, the images, torch.

    A network is told from another by its class and what it prints: that a class was given another
    `forward` in the meantime is not seen, nor an attribute that it does not print.
    """
    kind = f"{type(teacher).__module__}.{type(teacher).__qualname__}"
    about = repr((VERSION, torch.__version__, device.type, kind, str(teacher), seen))
    return _digest(about, {**teacher.state_dict(), **dict(teacher.named_buffers())})


def _digest(about: str, tensors: Mapping[str, Tensor]) -> str:
    """A hash of the text, and of each tensor's name, dtype, shape and content."""
    key = hashlib.sha256(about.encode())
    for name, tensor in tensors.items():
        key.update(repr((name, tensor.dtype, tuple(tensor.shape))).encode())
        key.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy())
    return key.hexdigest()[:32]

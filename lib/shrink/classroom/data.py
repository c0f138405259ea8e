"""The data sets behind one call, `load`: MNIST when it is at hand, else digits drawn from fonts.

Nothing here downloads; `shrink data mnist` does.
"""

import functools
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from shrink.classroom import CourseError, glyphs, mnist
from shrink.classroom.cache import kept, kept_path
from shrink.classroom.made_of import key_of
from shrink.classroom.progress import bar_progress, new_bar


@dataclass(frozen=True)
class Split:
    """Images (n, 1, 28, 28) float32 in 0..1, and their labels (n,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))


def key_once(split: Split) -> tuple[str, Tensor]:
    """What stands in `kept` for images and labels: their key, computed once, and their device.

    A data set has tens of millions of pixels, and to read them all takes a good part of a second:
    too long for each of a hundred things that are made of it. The key is computed anew if torch has
    changed a tensor in place; what is written into its memory in other ways goes unnoticed.

    >>> digits = Split(torch.zeros(3, 1, 2, 2), torch.tensor([3, 1, 4]))
    >>> before, _ = key_once(digits)
    >>> digits.images[0] += 1
    >>> key_once(digits)[0] == before
    False
    """
    images, labels = split.images, split.labels
    return _key_of(images, labels, images._version, labels._version), labels[:0]


@functools.lru_cache(maxsize=4)  # training and validation of two data sets, which live as long
def _key_of(images: Tensor, labels: Tensor, *versions: int) -> str:
    return key_of(images, labels)


@dataclass(frozen=True)
class Dataset:
    """Train, validation and test: choices are made on validation, test is for the final figure."""

    name: str
    train: Split
    validation: Split
    test: Split

    def to(self, device: torch.device | str) -> "Dataset":
        parts = (self.train, self.validation, self.test)
        return Dataset(self.name, *(part.to(device) for part in parts))


def load(
    name: str | None = None, device: torch.device | str = "cpu", announce: bool = True
) -> Dataset:
    """The data set "mnist", "glyphs" or "digits", on `device`; one line says which it is.

    With no name it is the one that `$SHRINK_DATASET` names, else mnist when it is at hand, else
    glyphs. Never downloads. `announce=False` keeps quiet. Raises `ValueError` for an unknown name,
    and `CourseError` when the environment names none of the three, mnist is asked for and missing,
    or a file in `$SHRINK_DATA` is damaged.

    >>> data = load("digits")
    data: digits, scikit-learn's 8x8 digits; 1197 train, 200 validation, 400 test; for MNIST run
    `shrink data mnist`
    >>> data.train.images.shape, data.train.images.dtype, data.train.labels.dtype
    (torch.Size([1197, 1, 28, 28]), torch.float32, torch.int64)
    """
    name = name or _named_by_the_environment()
    content = mnist.content() if name in (None, "mnist") else None
    name = name or ("mnist" if content else "glyphs")
    if name == "mnist":
        dataset, about = _mnist(content), "handwritten digits"
    elif name == "glyphs":
        dataset, about = _glyphs(announce), "synthetic digits, drawn from fonts"
    elif name == "digits":
        dataset, about = _digits(), "scikit-learn's 8x8 digits"
    else:
        raise ValueError(f"no data set named {name!r}; there are mnist, glyphs, digits")
    if announce:
        parts = ("train", "validation", "test")
        sizes = ", ".join(f"{len(getattr(dataset, part))} {part}" for part in parts)
        hint = "" if name == "mnist" else f"; for MNIST {mnist.how_to_get()}"
        print(f"data: {name}, {about}; {sizes}{hint}")
    return dataset.to(device)


def _named_by_the_environment() -> str | None:
    name = os.environ.get("SHRINK_DATASET") or None
    if name not in (None, "mnist", "glyphs", "digits"):
        raise CourseError(f"SHRINK_DATASET must be mnist, glyphs or digits, not {name!r}")
    return name


def ten_digits(dataset: Dataset) -> Split:
    """The course's ten test digits: the first test image of each class, in order 0 to 9.

    >>> ten_digits(load("digits", announce=False)).labels.tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    test = dataset.test
    first = torch.stack([(test.labels == digit).nonzero()[0, 0] for digit in range(10)])
    return Split(test.images[first], test.labels[first])


def mnist_indices() -> tuple[Tensor, Tensor]:
    """Which of MNIST's 60 000 training images are train (55 000) and validation (5000): int64.

    >>> train, validation = mnist_indices()
    >>> len(train), len(validation), len(set(train.tolist()) & set(validation.tolist()))
    (55000, 5000, 0)
    """
    order = torch.randperm(60_000, generator=torch.Generator().manual_seed(0))
    return order[5000:], order[:5000]


def _mnist(content: dict[str, bytes] | None) -> Dataset:
    if content is None:
        raise CourseError(
            f"MNIST is not at hand: {mnist.how_to_get()}, or set SHRINK_DATA to a folder that "
            "holds mnist/*.gz"
        )
    images, labels, test_images, test_labels = (
        torch.from_numpy(np.frombuffer(content[name], np.uint8, offset=offset).copy())
        for name, offset in zip(mnist.FILES, (16, 8, 16, 8), strict=True)
    )
    images = images.view(-1, 28, 28)
    train, validation = mnist_indices()
    return Dataset(
        "mnist",
        _split(images[train], labels[train]),
        _split(images[validation], labels[validation]),
        _split(test_images.view(-1, 28, 28), test_labels),
    )


def _glyphs(show_progress: bool) -> Dataset:
    """Drawn on the first call and kept."""
    tensors = kept("glyphs", lambda: _draw_glyphs(show_progress), *_drawing())
    parts = (_split(tensors[f"{part}.images"], tensors[f"{part}.labels"]) for part in glyphs.SIZES)
    return Dataset("glyphs", *parts)


def glyphs_file() -> Path:
    """Where the glyphs are kept once they have been drawn."""
    return kept_path("glyphs", *_drawing())


def _drawing() -> tuple[object, ...]:
    return glyphs.draw, glyphs.SIZES


def _draw_glyphs(show_progress: bool) -> dict[str, Tensor]:
    tensors = {}
    for part, size in glyphs.SIZES.items():
        with new_bar(f"drawing glyphs, {part}", total=size, disable=not show_progress) as bar:
            images, labels = glyphs.draw(part, progress=bar_progress(bar))
        tensors |= {f"{part}.images": images, f"{part}.labels": labels}
    return tensors


def _digits() -> Dataset:
    """Scikit-learn's 1797 real digits, 8x8, blown up to 20x20 in the middle of 28x28 (bilinear).

    For tests that must take a second. Too few to teach from: one of 400 test images is a quarter
    of a point, and a 95 % interval around an error of 3 % is 1.7 points to either side, more than
    most effects that the chapters show.
    """
    from sklearn.datasets import load_digits  # here, as it takes longer than all else of load()

    images, labels = load_digits(return_X_y=True)
    images = torch.tensor(images, dtype=torch.float32).view(-1, 1, 8, 8) / 16
    images = F.pad(F.interpolate(images, size=(20, 20), mode="bilinear"), (4, 4, 4, 4))
    labels = torch.tensor(labels)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    by_class = order[labels[order].argsort(stable=True)]
    ninth = torch.arange(len(labels)) % 9  # of every nine of a class: six, one and two
    parts = (by_class[mask].sort().values for mask in (ninth > 2, ninth == 2, ninth < 2))
    return Dataset("digits", *(Split(images[part], labels[part]) for part in parts))


def _split(images: Tensor, labels: Tensor) -> Split:
    """From uint8 images (n, 28, 28) and labels."""
    return Split(images.unsqueeze(1).float() / 255, labels.long())

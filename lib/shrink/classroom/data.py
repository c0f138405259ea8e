"""The data sets behind one call, `load`: MNIST when it is at hand, else digits drawn from fonts.

Nothing here downloads but `fetch_mnist`, which `shrink data mnist` calls.
"""

import gzip
import hashlib
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pooch
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from shrink.classroom import CourseError, glyphs
from shrink.classroom.files import cache_dir, cached_tensors

MIRRORS = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
# SHA-256 of each official archive, for the download, and of what is in it, for every reading:
# an archive that was zipped again is as good.
MNIST_FILES = {
    "train-images-idx3-ubyte": (
        "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    ),
    "train-labels-idx1-ubyte": (
        "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "t10k-images-idx3-ubyte": (
        "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    ),
    "t10k-labels-idx1-ubyte": (
        "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}


@dataclass(frozen=True)
class Split:
    """Images (n, 1, 28, 28) float32 in 0..1, and their labels (n,) int64."""

    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device | str) -> "Split":
        return Split(self.images.to(device), self.labels.to(device))


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
    and `CourseError` when mnist is asked for and missing, or a file in `$SHRINK_DATA` is damaged.

    >>> data = load("digits")
    data: digits, scikit-learn's 8x8 digits; 1197 train, 200 validation, 400 test; for MNIST run
    `shrink data mnist`
    >>> data.train.images.shape, data.train.images.dtype, data.train.labels.dtype
    (torch.Size([1197, 1, 28, 28]), torch.float32, torch.int64)
    """
    name = name or os.environ.get("SHRINK_DATASET") or None
    content = _mnist_content() if name in (None, "mnist") else None
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
        hint = "" if name == "mnist" else "; for MNIST run `shrink data mnist`"
        print(f"data: {name}, {about}; {sizes}{hint}")
    return dataset.to(device)


def ten_digits(dataset: Dataset) -> Split:
    """The course's ten test digits: the first test image of each class, in order 0 to 9.

    >>> ten_digits(load("digits", announce=False)).labels.tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    test = dataset.test
    first = torch.stack([(test.labels == digit).nonzero()[0, 0] for digit in range(10)])
    return Split(test.images[first], test.labels[first])


def mnist_at_hand() -> bool:
    """Whether `load("mnist")` would succeed; takes half a second, as all four files are verified.

    Raises `CourseError` when a file in `$SHRINK_DATA` is damaged, as `load` does.
    """
    return _mnist_content() is not None


def fetch_mnist(timeout: float = 30, progress: bool = True) -> Path:
    """Download what is missing of MNIST (11 MB) into the cache, and return its folder.

    `timeout` is in seconds and holds for each wait for the server. A download is verified before
    it takes its name, so one that is killed leaves nothing that looks right. Raises `CourseError`
    when no mirror delivers.
    """
    pooch.get_logger().setLevel("ERROR")
    folder = cache_dir() / "mnist"
    for name, (archive_hash, _) in MNIST_FILES.items():
        if _official_content(folder, name) is None:
            _download(f"{name}.gz", archive_hash, folder, timeout, progress)
    return folder


def _download(file: str, archive_hash: str, folder: Path, timeout: float, progress: bool) -> None:
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=timeout)
    reasons = []
    for mirror in MIRRORS:
        try:
            pooch.retrieve(mirror + file, archive_hash, file, folder, downloader=downloader)
            return
        except (OSError, ValueError) as error:  # of requests, of the disk; of pooch, for the hash
            reason = "wrong content" if isinstance(error, ValueError) else type(error).__name__
            reasons.append(f"{urlsplit(mirror).netloc}: {reason}")
    raise CourseError(
        f"could not download {file} ({'; '.join(reasons)}); try `shrink data mnist` again with a "
        "network, or go on with glyphs, which need none"
    )


def _official_content(folder: Path, name: str) -> bytes | None:
    """The unzipped official file, or None when it is missing, damaged or another one."""
    try:
        content = gzip.decompress((folder / f"{name}.gz").read_bytes())
    except (OSError, EOFError, zlib.error):
        return None
    return content if hashlib.sha256(content).hexdigest() == MNIST_FILES[name][1] else None


def _mnist_content() -> dict[str, bytes] | None:
    """The four unzipped files, from `$SHRINK_DATA/mnist` or else the cache; None if not there."""
    if os.environ.get("SHRINK_DATA"):
        folder = Path(os.environ["SHRINK_DATA"], "mnist")
        if any((folder / f"{name}.gz").exists() for name in MNIST_FILES):
            return {name: _named_content(folder, name) for name in MNIST_FILES}
    contents = {name: _official_content(cache_dir() / "mnist", name) for name in MNIST_FILES}
    return None if None in contents.values() else contents


def _named_content(folder: Path, name: str) -> bytes:
    content = _official_content(folder, name)
    if content is None:
        raise CourseError(
            f"{folder / name}.gz is missing, damaged or not the official MNIST file (its content "
            "has another SHA-256); copy it again, or unset SHRINK_DATA"
        )
    return content


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
            "MNIST is not at hand: run `shrink data mnist`, or set SHRINK_DATA to a folder that "
            "holds mnist/*.gz"
        )
    images, labels, test_images, test_labels = (
        torch.from_numpy(np.frombuffer(content[name], np.uint8, offset=offset).copy())
        for name, offset in zip(MNIST_FILES, (16, 8, 16, 8), strict=True)
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
    """Drawn on the first call and cached; the name of the file says which drawing it is."""
    path = cache_dir() / f"glyphs-{glyphs.VERSION}.safetensors"
    tensors = cached_tensors(path, lambda: _draw_glyphs(show_progress))
    parts = (_split(tensors[f"{part}.images"], tensors[f"{part}.labels"]) for part in glyphs.SIZES)
    return Dataset("glyphs", *parts)


def _draw_glyphs(show_progress: bool) -> dict[str, Tensor]:
    tensors = {}
    for part, size in glyphs.SIZES.items():
        with tqdm(total=size, desc=f"drawing glyphs, {part}", disable=not show_progress) as bar:
            images, labels = glyphs.draw(part, progress=_advance(bar))
        tensors |= {f"{part}.images": images, f"{part}.labels": labels}
    return tensors


def _advance(bar: tqdm) -> Callable[[int, int], None]:
    return lambda done, total: bar.update(done - bar.n)


def _digits() -> Dataset:
    """Scikit-learn's 1797 real digits, 8x8, blown up to 20x20 in the middle of 28x28 (bilinear).

    For tests that must take a second. Too few to teach from: one of 400 test images is a quarter
    of a point, and a 95 % interval around an error of 3 % is 1.7 points to either side, which is
    more than most of what the chapters show.
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

"""The byte league of chapter 05: networks from strangers' files, and how well they do.

A student hands in the file itself, so nobody claims an accuracy: whoever gathers them measures it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from reprlib import repr as brief
from typing import TYPE_CHECKING

from torch import nn

from shrink.classroom import CourseError, measure, models
from shrink.classroom.baselines import baseline
from shrink.classroom.class_work.handing_in import LARGEST, Result, by_name
from shrink.classroom.data import load
from shrink.classroom.training import accuracy, pick_device
from shrink.coding import codec

if TYPE_CHECKING:
    from shrink.chapters.code.standings import Standings

Point = tuple[int, float]  # bytes of a file, and the error of its network in %


@dataclass(frozen=True)
class League:
    """What every student makes as short and as good as they can: a file of a network.

    The result is the file, as `coding.codec` writes it, with at most `most` bytes. Whoever gathers
    the class reads it as a stranger's file, and measures the network in it. `model` is one of
    `models`.
    """

    name: str
    title: str
    model: str
    most: int
    datasets: tuple[str, ...] = ()

    @property
    def largest(self) -> int:
        """The most bytes of a result: the file in base64, and the rest of the result."""
        return LARGEST + 4 * -(-self.most // 3)

    def checked(self, found: object, student: str) -> dict[str, bytes]:
        """The file, given as bytes or in base64; `CourseError` unless it holds such a network."""
        content = by_name("the results", found, ("file",))["file"]
        if isinstance(content, str):
            try:
                content = base64.b64decode(content, validate=True)
            except ValueError as error:
                raise CourseError(f"damaged: the file is no base64 ({error})") from None
        if not isinstance(content, bytes):
            raise CourseError(f"the file is {brief(content)}, and not bytes")
        if len(content) > self.most:
            raise CourseError(f"the file has {len(content):,} bytes, and {self.most:,} at most")
        network(content, self.model)
        return {"file": content}

    def stored(self, checked: Mapping[str, bytes]) -> dict[str, str]:
        """What `checked` gave, as it is written."""
        return {"file": base64.b64encode(checked["file"]).decode()}

    def group(self, dataset: str | None, results: tuple[Result, ...]) -> Standings:
        """The class's files, each measured here; raises as `evaluate` does."""
        from shrink.chapters.code.standings import Standings  # loads without matplotlib till then

        points, dense = evaluate([result.found["file"] for result in results], self.model, dataset)
        return Standings(self, dataset, results, tuple(points), dense)


def network(content: bytes, name: str) -> nn.Module:
    """The network `name` with the weights in a codec file; nothing in the file is run.

    Raises:
        CourseError: it is no such file, or of another network, or a number is not finite.
    """
    model = models.build(name, seed=0)
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    try:
        found = codec.decode(content, expected=shapes)
    except codec.CodecError as error:
        raise CourseError(f"no file of a {name}: {str(error)[:300]}") from None
    for key, tensor in found.items():
        if not tensor.float().isfinite().all():
            raise CourseError(f"{key} holds a number that is NaN or infinite")
    model.load_state_dict({key: tensor.float() for key, tensor in found.items()})
    return model.eval()


def evaluate(files: Sequence[bytes], name: str, dataset: str) -> tuple[list[Point], Point]:
    """The point of each file, measured on the validation images, and that of the dense baseline.

    Raises `CourseError` when the data are not at hand.
    """
    device = pick_device()
    data = load(dataset, device=device, announce=False)

    def error(model: nn.Module) -> float:
        return 100 * (1 - accuracy(model.to(device), data.validation))

    dense = baseline(name, data)
    points = [(len(content), error(network(content, name))) for content in files]
    return points, (measure.size(dense.state_dict()), error(dense))


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points that no other beats in bytes or error without losing in the other.

    They are sorted by bytes, and equal points come once.

    >>> frontier([(30, 2.0), (10, 4.0), (20, 4.0), (20, 3.0), (40, 2.0)])
    [(10, 4.0), (20, 3.0), (30, 2.0)]
    """
    best: list[Point] = []
    for point in sorted(points):
        if not best or point[1] < best[-1][1]:
            best.append(point)
    return best

"""What a model costs and what it gets right: the length of a file, and the model read back from it.

`write` stores named arrays as safetensors; the file's length is the size that chapters 01 to 04
count. Chapter 05 has a file of its own. `measure` writes a model, reads it back into a fresh copy
and evaluates that one, so that a report is about the file and not about what happens to be in
memory.
"""

import copy
import html
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load as load_bytes
from safetensors.torch import save as save_bytes
from torch import Tensor, nn

from shrink import cost
from shrink.classroom import CourseError
from shrink.classroom.data import Split
from shrink.classroom.training import predict
from shrink.files import write_atomically
from shrink.latency import latency

RUNNING_TABLE = Path("running_table.json")
ON_CHIP = 64 * 1024  # bytes of SRAM, of the machine that the energy is estimated for


@dataclass(frozen=True)
class Report:
    """One row of the running table; sizes in bytes, `correct` of `images` test images.

    `macs` and `microjoules` are for one image and follow from shapes and the file's length; the
    energy is an estimate (`cost.energy`, with `ON_CHIP` bytes of SRAM). `milliseconds` are the
    quartiles of the time of one image, measured as `timed_on` says. Rows of older tables have
    none of the four.
    """

    name: str
    dataset: str
    parameters: int
    nonzeros: int
    file_bytes: int
    correct: int
    images: int
    macs: int | None = None
    microjoules: float | None = None
    milliseconds: tuple[float, float, float] | None = None
    timed_on: str | None = None

    @property
    def accuracy(self) -> float:
        """The fraction of the images that are right."""
        return self.correct / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy (Wilson): what another draw of test images may give.

        >>> low, high = Report("dense", "mnist", 10, 10, 100, correct=9840, images=10000).interval
        >>> f"{low:.4f} to {high:.4f}"
        '0.9813 to 0.9863'
        """
        n, p, z = self.images, self.accuracy, 1.96
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(centre - half, 0.0), min(centre + half, 1.0)

    def _repr_html_(self) -> str:
        return Table((self,))._repr_html_()


@dataclass(frozen=True)
class Table:
    """Reports as a table, in the order in which they were first recorded."""

    rows: tuple[Report, ...]

    def _cells(self) -> list[tuple[str, ...]]:
        head = (
            "",
            "data",
            "parameters",
            "nonzero",
            "file, bytes",
            "accuracy, % (95 % interval)",
            "MACs",
            "energy, µJ, estimated",
            "time, ms, measured (quartiles)",
        )
        return [head] + [
            (
                r.name,
                r.dataset,
                f"{r.parameters:,}",
                f"{r.nonzeros:,}",
                f"{r.file_bytes:,}",
                _with_range(100 * r.accuracy, *(100 * bound for bound in r.interval), form=".2f"),
                "" if r.macs is None else f"{r.macs:,}",
                "" if r.microjoules is None else f"{r.microjoules:.3g}",
                _time(r),
            )
            for r in self.rows
        ]

    def __str__(self) -> str:
        cells = self._cells()
        widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
        return "\n".join(
            "  ".join(text.rjust(width) for text, width in zip(row, widths, strict=True))
            for row in cells
        )

    def _repr_html_(self) -> str:
        head, *body = [[html.escape(text) for text in row] for row in self._cells()]
        return "".join(
            [
                "<table><thead><tr>",
                *(f"<th>{text}</th>" for text in head),
                "</tr></thead><tbody>",
                *("<tr>" + "".join(f"<td>{text}</td>" for text in row) + "</tr>" for row in body),
                "</tbody></table>",
            ]
        )


def _with_range(value: float, low: float, high: float, form: str) -> str:
    return f"{value:{form}} ({low:{form}} to {high:{form}})"


def _time(report: Report) -> str:
    if report.milliseconds is None:
        return ""
    low, median, high = report.milliseconds
    return f"{_with_range(median, low, high, form='.3g')}, {report.timed_on or 'unknown'}"


def write(path: Path | str, arrays: Mapping[str, Tensor | np.ndarray]) -> int:
    """Store named arrays as a safetensors file and return its length in bytes.

    The file appears whole or not at all. Raises `TypeError` when a value is neither a tensor nor
    an array.
    """
    return write_atomically(path, _encode(arrays))


def size(arrays: Mapping[str, Tensor | np.ndarray]) -> int:
    """The length in bytes of the file that `write` would store.

    >>> size({"w": torch.zeros(1000)}) - size({"w": torch.zeros(1000, dtype=torch.int8)})
    3000
    """
    return len(_encode(arrays))


def _encode(arrays: Mapping[str, Tensor | np.ndarray]) -> bytes:
    tensors = {}
    for name, array in arrays.items():
        if not isinstance(array, Tensor | np.ndarray):
            raise TypeError(f"{name} must be a tensor or an array, not a {type(array).__name__}")
        if isinstance(array, np.ndarray):
            array = torch.from_numpy(array.copy())  # a view may run backwards
        tensors[name] = array.detach().cpu().clone(memory_format=torch.contiguous_format)
    return save_bytes(tensors)


def read(path: Path | str) -> dict[str, Tensor]:
    """The named tensors that `write` stored."""
    return load_bytes(Path(path).read_bytes())


Arrays = Mapping[str, Tensor]


def measure(
    name: str,
    model: nn.Module,
    split: Split,
    dataset: str,
    path: Path | str,
    *,
    encode: Callable[[Arrays], Arrays | bytes] = dict,
    decode: Callable[[Any], Arrays] = dict,
    num_bits: int = 32,
) -> Report:
    """Write the model to `path`, read it back, and report on what the file holds.

    Its time is that of one image on the images' device, with as many threads as torch has.

    Args:
        name: what the row of the running table is called.
        split: the test images, on any device; the model is evaluated there.
        dataset: the name of the data.
        encode: the model's tensors by name → the arrays to store, or all bytes of a file that has a
            format of its own; without it, the tensors.
        decode: the arrays, or the bytes, that were stored → the tensors.
        num_bits: what the model computes in, for the energy: 8 for a network of integers.
    """
    decoded, one = copy.deepcopy(model).to(split.images.device), split.images[:1]
    network = cost.layers(decoded, one)
    stored = encode(model.state_dict())
    own_format = isinstance(stored, bytes)
    length = write_atomically(path, stored) if own_format else write(path, stored)
    decoded.load_state_dict(decode(Path(path).read_bytes() if own_format else read(path)))
    energy = cost.energy(network, ON_CHIP, num_bits=num_bits, stored_bytes=length)
    time = latency(decoded, one)
    return Report(
        name=name,
        dataset=dataset,
        parameters=cost.parameters_and_bytes(decoded)[0],
        nonzeros=cost.nonzeros(decoded),
        file_bytes=length,
        correct=int((predict(decoded, split.images) == split.labels).sum()),
        images=len(split),
        macs=sum(layer.macs for layer in network),
        microjoules=sum(layer.total for layer in energy) / 1e6,
        milliseconds=(1000 * time.low, 1000 * time.median, 1000 * time.high),
        timed_on=time.conditions,
    )


def record(report: Report, path: Path | str = RUNNING_TABLE) -> Table:
    """Put the report into the running table that all chapters share, and return the table.

    A row of the same name and data is replaced. Deleting the file is safe.

    Raises:
        CourseError: the file is there and is no running table; it is left as it is.
    """
    path = Path(path)
    rows = {(r.name, r.dataset): r for r in _rows(path)}
    rows[report.name, report.dataset] = report
    text = json.dumps([asdict(r) for r in rows.values()], indent=1) + "\n"
    write_atomically(path, text.encode())
    return Table(tuple(rows.values()))


def _rows(path: Path) -> list[Report]:
    if not path.exists():
        return []
    try:
        rows = [_report(row) for row in json.loads(path.read_text(encoding="utf-8"))]
        str(Table(tuple(rows)))  # a row that cannot be shown is no row
        return rows
    except (ValueError, TypeError, ArithmeticError) as error:
        raise CourseError(
            f"{path} is no running table ({error}); delete it, and the next row makes a new one"
        ) from None


def _report(row: dict) -> Report:
    """The report of a row that an older or a newer course may have written."""
    known = {field.name: row[field.name] for field in fields(Report) if field.name in row}
    if known.get("milliseconds") is not None:
        low, median, high = map(float, known["milliseconds"])
        known["milliseconds"] = (low, median, high)
    return Report(**known)

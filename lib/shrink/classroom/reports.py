"""What was measured of a network, and the running table to which all chapters add a row."""

import html
import json
import math
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from filelock import FileLock

from shrink.classroom import CourseError, written
from shrink.classroom.cache import kept_if_possible
from shrink.files import write_atomically

RUNNING_TABLE = written.RESULTS / "running_table.json"
PATIENCE = 10.0  # seconds to wait for others who write the table
_not_written: dict[Path, dict[tuple[str, str], "Report"]] = {}  # rows for which there was no room


@dataclass(frozen=True)
class Report:
    """One row of the running table; sizes in bytes, `correct` of `images` test images.

    `macs` and `microjoules` are for one image and follow from shapes and the file's length; the
    energy is an estimate (`cost.energy`, with `measure.ON_CHIP` bytes of SRAM). `milliseconds` are
    the quartiles of the time of one image, measured as `timed_on` says. Rows of older tables have
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


def record(report: Report, path: Path | str = RUNNING_TABLE) -> Table:
    """Put the report into the running table that all chapters share, and return the table.

    A row of the same name and data is replaced. Deleting the file is safe, and so is recording in
    several chapters at once: each waits for the others, and a lock dies with its process. Where the
    table cannot be written, or stays locked, a line says so, once; the rows last as long as the
    process, and are written with the next one that can be. A table that an earlier course wrote
    beside the chapters is taken over.

    Raises:
        CourseError: the file is there and is no running table; it is left as it is.
    """
    path = Path(path).absolute()
    new = {(report.name, report.dataset): report}
    with kept_if_possible():
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(f".{path.name}.lock"), timeout=PATIENCE):
            written.fetch(path)
            rows = _with(_not_written.get(path, {}) | new, path)
            text = json.dumps([asdict(r) for r in rows], indent=1) + "\n"
            write_atomically(path, text.encode())
            _not_written.pop(path, None)
        return Table(rows)
    waiting = _not_written.setdefault(path, {})
    waiting.update(new)
    return Table(_with(waiting, path))


def _with(rows: dict[tuple[str, str], Report], path: Path) -> tuple[Report, ...]:
    """The rows that are stored, with these, each in the place of one of its name and data."""
    return tuple(({(r.name, r.dataset): r for r in _rows(path)} | rows).values())


def _rows(path: Path) -> list[Report]:
    try:
        stored = json.loads(path.read_bytes())
        if not isinstance(stored, list):
            raise TypeError(f"a {type(stored).__name__} is no list of rows")
        rows = [_report(row) for row in stored]
        str(Table(tuple(rows))).encode()  # a row that cannot be shown is no row
        return rows
    except (FileNotFoundError, NotADirectoryError):
        return []
    except Exception as error:  # a file of any kind may be there
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

"""What `shrink gather` does: a class's results, from the files of `hand_in`, as figures.

Whatever else lies in the folder is told and left out, but for hidden files and our own pictures.
"""

import io
import json
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief

import numpy as np

from shrink.chapters.code import league
from shrink.classroom import CourseError, plots
from shrink.classroom.class_work import experiments
from shrink.classroom.class_work.experiments import EXPERIMENTS, LARGEST, League, Result
from shrink.files import write_atomically

NAMED_WITHIN = 1024  # bytes, of a file that may be longer than LARGEST, for its experiment
SOFTWARE = "shrink gather"  # says in a PNG that we made it


@dataclass(frozen=True)
class Skipped:
    """A file that is left out, named relative to the folder, and why."""

    file: str
    reason: str

    def __str__(self) -> str:
        return experiments.printable(f"{self.file}: {self.reason}")


@dataclass(frozen=True)
class Group:
    """What the students of a class found in one experiment, where it matters on one data set."""

    experiment: str
    dataset: str | None
    results: tuple[Result, ...]

    def values(self) -> dict[str, np.ndarray]:
        """Series → array (students, x)."""
        names = EXPERIMENTS[self.experiment].series
        return {name: np.array([result.found[name] for result in self.results]) for name in names}

    @property
    def about(self) -> str:
        """How many students, and on which data, or on how many kinds of machine."""
        students = f"{len(self.results)} student{'s' * (len(self.results) != 1)}"
        if self.dataset:
            return f"{students}, {self.dataset}"
        kinds = len({result.machine for result in self.results})
        return f"{students}, {kinds} kind{'s' * (kinds != 1)} of machine"

    def __str__(self) -> str:
        plan = EXPERIMENTS[self.experiment]
        columns = [[plan.x_label, *map(str, plan.x)]]
        for name, values in self.values().items():
            columns.append([name, *map(_mean_and_deviation, values.T)])
        widths = [max(map(len, column)) for column in columns]
        lines = [f"{plan.name}, {self.about}: {plan.y_label}, mean ± standard deviation"]
        for first, *rest in zip(*columns, strict=True):
            cells = [text.rjust(width) for text, width in zip(rest, widths[1:], strict=True)]
            lines.append("  ".join(["", first.ljust(widths[0]), *cells]))
        return "\n".join(lines)

    def draw(self) -> plots.Plot:
        """Every student as a dot, without names; the mean, and the band of most students."""
        plan = EXPERIMENTS[self.experiment]
        title = f"{plan.title}\n{self.about}"
        plot, (ax,) = plots.new(alt=str(self), width=5.6, height=3.6)
        ax.set(title=title, xlabel=plan.x_label, xscale=plan.x_scale)
        if plan.y_scale == "accuracy":
            plots.accuracy_axis(ax)
            errors = 100 - np.concatenate(list(self.values().values()))
            most, least = max(errors.max(), 1), min(errors.min(), 10)
            ax.set_ylim(max(100 - 2 * most, -2), 100 - least / 2)  # no student is cut off
        else:
            ax.set_yscale(plan.y_scale)
        plots.students(ax, plan.x, self.values(), plan.baseline)
        ax.set_ylabel(plan.y_label)
        return plot

    def write(self, folder: Path) -> Path:
        """Write the figure as a PNG; an earlier one of ours is replaced.

        Raises `CourseError` when another picture has that name.
        """
        path = folder / f"{experiments.stem(self.experiment, self.dataset)}.png"
        if path.exists() and not _is_ours(path):
            raise CourseError(f"{path} is no picture of shrink gather: move it, or pass --out")
        buffer = io.BytesIO()
        self.draw().savefig(buffer, format="png", dpi=200, metadata={"Software": SOFTWARE})
        write_atomically(path, buffer.getvalue())
        return path


@dataclass(frozen=True)
class Standings(Group):
    """The files of a league, as they were measured here: the points of the results, in their order.

    `dense` is the point of the network that nobody has made smaller.
    """

    points: tuple[league.Point, ...]
    dense: league.Point

    def __str__(self) -> str:
        best = set(league.frontier(self.points))
        lines = [f"{self.experiment}, {self.about}: bytes, and error on validation images in %"]
        for point in sorted(self.points):
            beaten = "" if point in best else "  (another is no longer and errs no more)"
            lines.append(f"  {point[0]:9,}  {point[1]:5.2f}{beaten}")
        return "\n".join([*lines, f"  {self.dense[0]:9,}  {self.dense[1]:5.2f}  dense"])

    def draw(self) -> plots.Plot:
        """Every student as a dot, without names; the frontier, and the dense network."""
        plot, (ax,) = plots.new(alt=str(self), width=5.6, height=3.6)
        plots.league(ax, self.points, league.frontier(self.points), self.dense)
        title = f"{EXPERIMENTS[self.experiment].title}\n{self.about}"
        ax.set(title=title, xlabel="bytes of the file", ylabel="error on validation images, %")
        return plot


@dataclass(frozen=True)
class Gathered:
    """The results of a folder, in the order of the experiments, and the files left out."""

    groups: tuple[Group, ...]
    skipped: tuple[Skipped, ...]


def gather(folder: Path | str) -> Gathered:
    """Read the results among the JSON files in the folder and the folders in it; writes nothing.

    Hidden files and folders are passed over. Of two results of a student in one experiment the
    first counts, in the order of the files' names. Raises `CourseError` when there is no folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"no folder {folder}")
    kept: dict[tuple, tuple[str, Result]] = {}
    skipped = []
    for file in _json_files(folder, skipped):
        try:
            result = parse(_read(folder / file))
        except CourseError as error:
            skipped.append(Skipped(file, str(error)))
            continue
        key = (result.experiment, result.dataset, experiments.same_name(result.student))
        first, other = kept.setdefault(key, (file, result))
        if first != file:
            same = "the same result as in" if other.found == result.found else "not the result of"
            reason = f'"{result.student}" again, {same} {first}, which counts'
            skipped.append(Skipped(file, reason))
    groups: dict[tuple, list[Result]] = {}
    for (experiment, dataset, _), (_, result) in kept.items():
        groups.setdefault((experiment, dataset), []).append(result)
    order = list(EXPERIMENTS)
    made = []
    for key in sorted(groups, key=lambda key: (order.index(key[0]), key[1] or "")):
        try:
            made.append(_group(*key, tuple(groups[key])))
        except CourseError as error:
            files = (file for (*of, _), (file, _) in kept.items() if tuple(of) == key)
            skipped += [Skipped(file, f"cannot be measured here: {error}") for file in files]
    return Gathered(tuple(made), tuple(skipped))


def _group(experiment: str, dataset: str | None, results: tuple[Result, ...]) -> Group:
    """The results; the files of a league are measured, which needs the data."""
    plan = EXPERIMENTS[experiment]
    if not isinstance(plan, League):
        return Group(experiment, dataset, results)
    files = [result.found["file"] for result in results]
    points, dense = league.evaluate(files, plan.model, dataset)
    return Standings(experiment, dataset, results, tuple(points), dense)


def parse(content: bytes) -> Result:
    """The result that `hand_in` wrote; raises `CourseError` with the reason where it is none."""
    try:
        record = json.loads(
            content.decode("utf-8-sig"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except (ValueError, RecursionError) as error:
        raise CourseError(f"damaged, or no JSON ({error})") from None
    if not isinstance(record, dict) or record.get("format") != experiments.FORMAT:
        raise CourseError("not a result of a class experiment")
    version = record.get("version")
    if type(version) is int and version > experiments.VERSION:
        raise CourseError(f"of a newer course (version {brief(version)}): update this one")
    if type(version) is not int or version != experiments.VERSION:
        raise CourseError(f"no version {brief(version)}")
    if missing := [name for name in (*experiments.FIELDS, "digest") if name not in record]:
        raise CourseError(f"incomplete: without {', '.join(missing)}")
    plan = experiments.named(record["experiment"])
    _check_length(content, plan.largest)
    student, dataset, machine = record["student"], record["dataset"], record["machine"]
    if type(record["seed"]) is not int or record["seed"] != experiments.seed_of(student):
        raise CourseError(f'edited: the seed is not that of "{student}"')
    plan.check_dataset(dataset)
    if not isinstance(machine, str):
        raise CourseError(f"damaged: no machine {brief(machine)}")
    result = Result(plan.name, student, dataset, machine, plan.checked(record["results"]))
    if result.record() != record:
        raise CourseError("edited: the digest is not that of the content")
    return result


def _json_files(folder: Path, skipped: list[Skipped]) -> Iterator[str]:
    """The paths relative to the folder, sorted; what cannot be read or is not JSON is skipped."""

    def skip(error: OSError) -> None:
        name = Path(error.filename).relative_to(folder).as_posix()
        skipped.append(Skipped(name, f"cannot be read ({error.strerror})"))

    found = []
    for place, folders, files in os.walk(folder, onerror=skip):
        folders[:] = [name for name in folders if not name.startswith(".")]
        links = [name for name in folders if Path(place, name).is_symlink()]  # not followed
        for name in (*links, *files):
            path = Path(place, name)
            shown = path.relative_to(folder).as_posix()
            if name.startswith(".") or _is_ours(path):
                continue
            if name in links or not name.lower().endswith(".json"):
                kind = "a link to a folder" if name in links else "no .json file"
                skipped.append(Skipped(shown, kind))
            else:
                found.append(shown)
    return iter(sorted(found))


def _is_ours(path: Path) -> bool:
    """Whether it is a picture that an earlier `shrink gather` wrote."""
    try:
        if path.suffix != ".png" or not stat.S_ISREG(path.stat().st_mode):
            return False
        with open(path, "rb") as file:
            return SOFTWARE.encode() in file.read(1024)
    except OSError:
        return False


def _read(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise CourseError("not a file")
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
            largest = _largest(content)
            content += file.read(largest + 1 - len(content))
    except OSError as error:
        raise CourseError(f"cannot be read ({error.strerror})") from None
    _check_length(content, largest)
    return content


def _largest(begin: bytes) -> int:
    """The most bytes of a file that begins so: more than `LARGEST` only where it names a league.

    What else is read then is refused by the length for its own experiment, in `parse`.
    """
    named = re.search(rb'"experiment"\s*:\s*"([\w-]+)"', begin[:NAMED_WITHIN])
    plan = EXPERIMENTS.get(named[1].decode()) if named else None
    return plan.largest if plan else LARGEST


def _check_length(content: bytes, largest: int) -> None:
    if len(content) > largest:
        raise CourseError(f"larger than {largest // 1024} KB")


def _unique(pairs: list[tuple[str, object]]) -> dict:
    if len(content := dict(pairs)) < len(pairs):
        raise ValueError("a name comes twice")
    return content


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number")


def _mean_and_deviation(values: np.ndarray) -> str:
    """Over the students; of a single one there is no deviation."""
    form = ".2f" if values.mean() >= 0.1 else ".3g"
    mean = f"{values.mean():{form}}"
    return f"{mean} ± {values.std(ddof=1):{form}}" if len(values) > 1 else mean

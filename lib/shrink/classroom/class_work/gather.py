"""What `shrink gather` does: a class's results, from the files of `hand_in`, as figures.

Whatever else lies in the folder is told and left out, except hidden files and our own pictures.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shrink.classroom import CourseError
from shrink.classroom.class_work.group import Group
from shrink.classroom.class_work.handing_in import ClassExperiment, Result, same_name
from shrink.classroom.class_work.reading import Skipped, read_folder


@dataclass(frozen=True)
class Gathered:
    """The results of a folder, in the order of the experiments, and the files left out."""

    groups: tuple[Group, ...]
    skipped: tuple[Skipped, ...]


def gather(folder: Path | str, experiments: Sequence[ClassExperiment]) -> Gathered:
    """Read the results in the folder and the folders in it, experiment by experiment in this order.

    Of two results of a student in one experiment the first counts, in the order of the files'
    names. Writes nothing. Raises `CourseError` when there is no folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CourseError(f"no folder {folder}")
    named = {experiment.name: experiment for experiment in experiments}
    results, skipped = read_folder(folder, named)
    groups, again = _grouped(results)
    skipped += again
    made = []
    for name, dataset in sorted(groups, key=lambda key: ([*named].index(key[0]), key[1] or "")):
        by_file = groups[name, dataset]
        try:
            made.append(named[name].group(dataset, tuple(by_file.values())))
        except CourseError as error:
            skipped += [Skipped(file, f"cannot be measured here: {error}") for file in by_file]
    return Gathered(tuple(made), tuple(skipped))


def _grouped(
    results: Sequence[tuple[str, Result]],
) -> tuple[dict[tuple[str, str | None], dict[str, Result]], list[Skipped]]:
    """By experiment and data set: file → result, the first of each student; the others skipped."""
    first: dict[tuple, tuple[str, Result]] = {}
    groups: dict[tuple[str, str | None], dict[str, Result]] = {}
    skipped = []
    for file, result in results:
        of = (result.experiment.name, result.dataset)
        counts, other = first.setdefault((*of, same_name(result.student)), (file, result))
        if counts == file:
            groups.setdefault(of, {})[file] = result
            continue
        same = "the same result as in" if other.found == result.found else "not the result of"
        skipped.append(Skipped(file, f'"{result.student}" again, {same} {counts}, which counts'))
    return groups, skipped
